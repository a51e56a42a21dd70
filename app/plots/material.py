"""What can be drawn from run folders: their logs, results and models, each read once, when it is needed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.comparison.report import RESULTS
from app.presets.schema import GENERATOR
from app.runs.journal import LOG, read_log
from app.runs.run import Run
from app.scoring.metrics import LengthScore
from data.errors import UserError
from data.files import read_json

if TYPE_CHECKING:
    from app.plots.learning import Log
    from app.translation.attention import Attention
    from app.translation.translator import Translator


class NoData(Exception):
    """There is nothing to draw; says why, and what to do."""


@dataclass(frozen=True)
class Chosen:
    """What to look at a model with.

    Args:
        sentence: for attention; by default the sample in the log of the training.
        translation: of the sentence; the model's own by default.
        document: a text file, for memories.
        checkpoint: which weights, see `Run.weights_file`.
        load: called before a model is loaded.
    """

    sentence: str | None = None
    translation: str | None = None
    document: str | None = None
    checkpoint: str = "auto"
    load: Callable[[], None] = lambda: None


class Material:
    """What is known of one or several runs.

    Args:
        paths: run folders.
        chosen: what to look at their models with.

    Raises:
        UserError: one of them is not a run.
    """

    def __init__(self, paths: Sequence[str | Path], chosen: Chosen | None = None):
        self.chosen = chosen or Chosen()
        found = [Path(path) for path in paths]
        names = [path.resolve().name for path in found]
        whole = len(set(names)) < len(names)
        self.runs = {
            str(path) if whole else name: Run.open(path, kind=None) for path, name in zip(found, names, strict=True)
        }

    @functools.cached_property
    def logs(self) -> dict[str, list[dict]]:
        """The entries of each log, by run; runs that have not begun are left out."""
        from app.plots.learning import has_curve

        logs = {name: read_log(run.path / LOG) for name, run in self.runs.items()}
        found = {name: log for name, log in logs.items() if has_curve(log)}
        if not found:
            raise NoData(f"no updates in {LOG} yet")
        return found

    @functools.cached_property
    def timed_logs(self) -> "dict[str, Log]":
        """The entries of each log that say how long the training had taken; runs without such entries are left out."""
        from app.plots.learning import has_curve, with_times

        found = {name: timed for name, log in self.logs.items() if has_curve(timed := with_times(log))}
        if not found:
            raise NoData(f"no times in {LOG}, which earlier versions did not write")
        return found

    @functools.cached_property
    def attention(self) -> "Attention":
        """What the model attends to in the sentence."""
        sentence, run = self.chosen.sentence, self._one
        if sentence is None:
            log = read_log(run.path / LOG)
            samples = [entry["validation"]["sample"] for entry in log if entry.get("validation", {}).get("sample")]
            if not samples:
                raise NoData("no sample in the log: name a sentence with --sentence TEXT")
            sentence = samples[-1][0]
        translator = self._translator
        from app.translation.attention import attend

        return attend(translator, sentence, self.chosen.translation)

    @functools.cached_property
    def records(self) -> list[dict[str, Any]]:
        """How the memory was used in each segment of the document."""
        from app.translation.inspection import hidden

        preset = self._one.preset
        if preset.documents.windows == "off":
            raise NoData(f"{self._one.path} was not trained on documents")
        if why := hidden(preset.memory):
            raise NoData(why)
        if not self.chosen.document:
            raise NoData("no document: name a text with --document FILE")
        from app.translation.lines import FILE, DocumentLines

        found: list[dict[str, Any]] = []
        lines = DocumentLines([self.chosen.document], FILE)
        for _ in self._translator.translate_lines(lines, found.append):
            pass
        if not found:
            raise UserError(f"{self.chosen.document}: there is no text to translate in this file")
        return found

    def scores(self, what: str) -> dict[str, dict[str, list[LengthScore]]]:
        """BLEU by length or position, by test set and run; see `app.plots.scores.buckets`."""
        from app.plots.scores import POSITION, buckets
        from app.scoring.results import Results

        found: dict[str, dict[str, list[LengthScore]]] = {}
        for name, run in self.runs.items():
            results = Results(run.path)
            for test in results.names():
                if scores := buckets(results.read(test), what):
                    found.setdefault(test, {})[name] = scores
        if not found:
            command = "evaluate-documents" if what == POSITION else "evaluate"
            raise NoData(f'no such results: "weitblick {command} {self._translators[0].path}" writes them')
        return found

    @property
    def _one(self) -> Run:
        if len(self.runs) > 1:
            raise NoData("drawn for one run at a time")
        return self._translators[0]

    @property
    def _translators(self) -> list[Run]:
        found = [run for run in self.runs.values() if run.preset.model.kind != GENERATOR]
        if not found:
            raise NoData("a generator does not translate")
        return found

    @functools.cached_property
    def _translator(self) -> "Translator":
        run = self._one.with_precision("float32")
        self.chosen.load()
        from app.translation.translator import Translator

        return Translator.of_run(run, self.chosen.checkpoint)


def is_comparison(path: str | Path) -> bool:
    """Whether a folder is that of a comparison, and not that of a run."""
    return (Path(path) / RESULTS).is_file() and not Run.exists(path)


def read_comparison(path: str | Path) -> Mapping[str, Any]:
    """The results of a comparison.

    Raises:
        UserError: the file is not what `weitblick compare` writes.
    """
    found = read_json(Path(path) / RESULTS)
    if not isinstance(found.get("runs"), dict) or "plan" not in found:
        raise UserError(f"{Path(path) / RESULTS}: not the results of a comparison; `weitblick compare` writes them")
    return found
