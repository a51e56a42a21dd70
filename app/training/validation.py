"""Validates a model during training: loss on the validation split, and BLEU or, for a generator, a text it writes."""

import math
from dataclasses import replace
from typing import Any

from app.presets.preset import Preset
from app.presets.schema import GENERATOR
from app.training.objective import teacher_forcing
from app.training.preparation import Prepared, document_batches
from app.translation.generation import Choice, Writer
from app.translation.translator import Translator
from data.batching import Batch, ordered
from data.feeding import dataset_of
from data.pairs import by_document
from data.shards import Shards
from data.windows import DROPOUTS

# The most words that a generator is given to continue.
BEGINNING = 12


class Validation:
    """The validation of one training.

    If the preset has windows, the loss is over documents in order, with the memory state carried.

    Args:
        transformer: the model in training.
        prepared: the text.
        preset: `training.bleu_lines`, `training.monitor` and the search apply.
    """

    def __init__(self, transformer: Any, prepared: Prepared, preset: Preset):
        self.preset = preset
        self.batches, self.inputs = _batches(prepared.validation, preset), prepared.batches.inputs
        self.objective = teacher_forcing(transformer, preset)
        self.objective.build()
        self.objective.compile(jit_compile=False)
        kind = WrittenText if preset.model.kind == GENERATOR else Translations
        self.output = kind(transformer, prepared, preset)

    def __call__(self) -> dict:
        """Returns `nll` in nats per token, `perplexity`, a translator's `bleu`, and a `sample`: texts by name."""
        batches = dataset_of(lambda: iter(self.batches), self.inputs)
        found = self.objective.evaluate(batches, steps=len(self.batches), verbose=0, return_dict=True)
        nll = float(found["nll"])
        return {"nll": nll, "perplexity": math.exp(min(nll, 50.0)), **self.output()}

    def score(self, found: dict) -> float:
        """The score that checkpoints are compared by; higher is better."""
        return found["bleu"] if self.preset.training.monitor == "bleu" else -found["nll"]


class Translations:
    """Translates some of the validation split, whole documents if the preset has windows.

    Decoding is greedy, which is fast and ranks checkpoints like beam search.

    Args:
        transformer, prepared, preset: see `Validation`.
    """

    def __init__(self, transformer: Any, prepared: Prepared, preset: Preset):
        self.preset, self.in_documents = preset, preset.documents.windows != "off"
        lines = preset.training.bleu_lines or len(prepared.validation_pairs)
        documents = list(by_document(prepared.validation_pairs))
        alone = [spread(prepared.validation_pairs, lines)]
        self.chosen = spread_documents(documents, lines) if self.in_documents else alone
        greedy, windows = replace(preset.search, beam=1), preset.window_options()
        rest = {"form": preset.text_form(), "max_length": preset.data.max_length}
        self.translator = Translator.of_model(transformer, prepared.tokenizer, greedy, windows, **rest)

    def __call__(self) -> dict:
        """Returns `bleu` and a `sample` of source, reference and output."""
        from app.scoring.metrics import ScoreOptions, bleu
        from app.scoring.system import translated
        from app.scoring.testsets import TestSet

        sources, references = ([[pair[side] for pair in document] for document in self.chosen] for side in (0, 1))
        test = TestSet.of_documents("validation", sources, references, "the validation text")
        found = translated(self.translator, test, test.sources, self.in_documents)
        score = bleu(found, test.references, ScoreOptions(self.preset.data.lowercase, samples=0))
        shown = len(found) // 2
        sample = {"source": test.sources[shown], "reference": test.references[shown], "output": found[shown]}
        return {"bleu": score.value, "sample": sample}


class WrittenText:
    """Continues the first words of a validation segment with the likeliest token at each place.

    Args:
        transformer, prepared, preset: see `Validation`.
    """

    def __init__(self, transformer: Any, prepared: Prepared, preset: Preset):
        windows, choice = preset.window_options(), Choice(temperature=0)
        self.writer = Writer(transformer, prepared.tokenizer, windows, preset.data.max_length, choice)
        words = max(prepared.validation_pairs[:100], key=lambda pair: len(pair.target)).target.split()
        half = min(len(words) // 2, BEGINNING)
        while half and len(self.writer.encode(" ".join(words[:half]))) >= preset.data.max_length:
            half -= 1
        self.beginning, self.reference = " ".join(words[:half]), " ".join(words[half : half + BEGINNING])

    def __call__(self) -> dict:
        """Returns a `sample` of the beginning, how the text continues, and what the generator wrote."""
        self.writer.begin()
        self.writer.read(self.beginning)
        output = self.writer.write(2 * BEGINNING).strip()
        return {"sample": {"beginning": self.beginning, "reference": self.reference, "output": output}}


def _batches(shards: Shards, preset: Preset) -> list[Batch]:
    """Batches of the whole validation split, each segment once."""
    if preset.documents.windows == "off":
        return [batch for _, batch in ordered(shards, preset.training.batch_tokens)]
    # Nothing is left out or hidden here; each lane begins with a new document, and so with an empty memory.
    whole = replace(preset, documents=replace(preset.documents, **dict.fromkeys(DROPOUTS, 0.0)))
    return list(document_batches(whole, shards, multiple=8).epoch(0))


def spread(items: list, count: int) -> list:
    """`count` evenly spaced items, so that the sample represents all documents."""
    if count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def spread_documents(documents: list[list], lines: int) -> list[list]:
    """Whole documents, evenly spread over a list and in order, until they have at least `lines` lines."""
    # Bit-reversed order: any number of first elements is evenly spread.
    order = sorted(range(len(documents)), key=lambda number: int(f"{number:032b}"[::-1], 2))
    chosen, found = [], 0
    for number in order:
        if found >= lines:
            break
        chosen.append(number)
        found += len(documents[number])
    return [documents[number] for number in sorted(chosen)]
