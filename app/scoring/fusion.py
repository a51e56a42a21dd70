"""Chooses on validation text how much a language model counts in a translator's search."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from app.presets.schema import SearchPreset
from app.runs.run import Run
from app.scoring.bootstrap import Measure
from app.scoring.metrics import ScoreOptions, bleu
from app.scoring.system import translated
from app.scoring.testsets import TestSet
from app.terminal import decoding_progress
from app.translation.translator import Translator

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3)


class Weighed(NamedTuple):
    """A weight of the language model, and its BLEU, which from the second on is compared with the first."""

    weight: float
    bleu: Measure


def weigh(run: Run, test: TestSet, search: SearchPreset, language_model: str, checkpoint: str) -> Iterator[Weighed]:
    """Translates a test set with each weight, first without the language model.

    Args:
        run: the translator's run.
        test: documents or lines with references; the language model reads each document through.
        search: the other settings of the search.
        language_model: the path of the generator's run.
        checkpoint: which weights of the translator, see `Run.weights_file`.
    """
    alone = None
    for weight in WEIGHTS:
        tried = replace(search, language_model=language_model if weight else "", language_model_weight=weight)
        translator = Translator.of_run(run, checkpoint, tried)
        with decoding_progress(test.segments) as progress:
            found = translated(translator, test, test.sources, run.preset.reads_documents(tried), progress)
        yield Weighed(weight, bleu(found, test.references, ScoreOptions(run.preset.data.lowercase), alone))
        alone = found if alone is None else alone


def best(rows: list[Weighed]) -> Weighed:
    """The row with the highest BLEU; among equals, the one with the smallest weight."""
    return max(rows, key=lambda row: (row.bleu.value, -row.weight))
