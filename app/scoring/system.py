"""A translation system to be scored: a run, and everything that decides its output."""

import functools
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from app.presets.schema import GENERATOR, SearchPreset
from app.runs.checkpoints import to_stderr
from app.runs.gate import read_gate
from app.runs.origin import commit
from app.runs.run import Run
from app.scoring.results import Results
from app.scoring.testsets import TestSet, in_order, shuffled
from app.terminal import decoding_progress
from app.translation.decoder import KERAS, Engine
from app.translation.lines import DocumentLine
from app.translation.translator import Translator
from data.errors import UserError
from data.files import checksum, checksum_of
from data.terms import Glossary, open_glossary
from data.windows import BACKWARD

PACKAGES = ("sacrebleu", "sentencepiece", "snowballstemmer")
# The settings decided by the machine that can change a translation.
_COMPARED = ("precision", "backend", "cores", "threads")

# `made_by` has these only where they play a part: a record with one was made differently from a record without it.
_OPTIONAL = ("memory", "corrected", "retrieval", "gate", "language_model", "glossary")


class Kept(NamedTuple):
    """The lines of a results file, and the record that lists the file."""

    lines: list[str]
    record: dict


class System:
    """A run, and how it translates.

    Existing translations of the same text by the same weights, search, engine and precision are taken from the run's
    results; new ones are written there.

    Args:
        run: the run of a training; `Run.with_precision` chooses the precision of Keras.
        checkpoint: which weights to use, see `Run.weights_file`.
        search: search settings; by default those of the run's preset.
        engine: the engine that computes the model.
        memory: a translation memory to read, see `app.translation.memory.open_memory`.
        corrected: whether documents are post-edited, see `document_lines`; not for a run that reads them backward.
        load: called before the engine is first imported.
        report: called with each note and warning; by default they go to standard error.
        glossary: a file of terms to translate with, see `data.terms.open_glossary`.
    """

    def __init__(
        self,
        run: Run,
        checkpoint: str = "auto",
        search: SearchPreset | None = None,
        engine: Engine = KERAS,
        load: Callable[[], None] = lambda: None,
        report: Callable[[str], None] = to_stderr,
        memory: Path | str | None = None,
        corrected: bool = False,
        glossary: Path | str | None = None,
    ):
        if corrected:
            refuse_backward(run)
        self.run, self.checkpoint, self.engine = run, checkpoint, engine
        self.memory, self.corrected = memory and Path(memory), corrected
        self.glossary_file = glossary and Path(glossary)
        self.search = search or run.preset.search
        self.results = Results(run.path, report)
        self._load, self._report = load, report

    @functools.cached_property
    def translator(self) -> Translator:
        """The run's translator; loaded on first use."""
        self._load()
        reading = {"memory": self.memory, "glossary": self.glossary}
        return Translator.of_run(self.run, self.checkpoint, self.search, self.engine, **reading)

    @functools.cached_property
    def glossary(self) -> Glossary | None:
        """The glossary that it translates with."""
        data = self.run.preset.data
        return self.glossary_file and open_glossary(self.glossary_file, data.source, data.target)

    @property
    def title(self) -> str:
        """Its name in comparisons."""
        files = [file.name for file in (self.memory, self.glossary_file) if file]
        with_ = [*(["corrections"] if self.corrected else []), *files]
        return f"{self.run.path} with {' and '.join(with_)}" if with_ else str(self.run.path)

    def name_of(self, test: TestSet, shuffle: bool = False) -> str:
        """The name of the results of a test set."""
        parts = [test.name, "shuffled" * shuffle, "corrected" * self.corrected]
        parts += [file.stem for file in (self.memory, self.glossary_file) if file]
        return "-".join(filter(None, parts))

    @functools.cached_property
    def scorer(self) -> Translator:
        """The `Translator` that scores given translations: always Keras in float32.

        In bfloat16, the other segments of a batch change a segment's score by more than its context does.
        """
        if self.engine == KERAS and self.decided["precision"] == "float32":
            return self.translator
        self._load()
        return Translator.of_run(self.run.with_precision("float32"), self.checkpoint, self.search)

    @property
    def by_documents(self) -> bool:
        """Whether the model reads documents."""
        return self.run.preset.reads_documents(self.search)

    @functools.cached_property
    def made_by(self) -> dict:
        """The preset, the weights, and the user's other choices."""
        name, _, found = self.run.weights_file(self.checkpoint)
        weights = {"asked_for": self.checkpoint, "used": name, "checksum": found}
        if name == "averaged":
            weights["updates"] = self.run.summary().get("averaged", {}).get("updates", [])
        return {"preset": self.run.preset.name, "weights": weights, **self.choices}

    @functools.cached_property
    def choices(self) -> dict:
        """The user's choices except the weights: search, windows, engine, and what is read in addition to the model."""
        return {
            "search": {key: value for key, value in asdict(self.search).items() if key != "ensemble"},
            "ensemble": [{"run": Path(path).name, **_weights(Run.open(path))} for path in self.search.ensemble],
            "documents": asdict(self.run.preset.documents),
            "engine": self.engine.as_dict(),
            **self._reading,
            **self._language_model,
            **({"glossary": _named(self.glossary_file)} if self.glossary_file else {}),
        }

    @property
    def _language_model(self) -> dict:
        if not self.search.language_model:
            return {}
        return {"language_model": _weights(Run.open(self.search.language_model, GENERATOR))}

    @property
    def _reading(self) -> dict:
        """What is read in addition to the model, and how."""
        settings = self.run.preset.retrieval
        reads_own = self.by_documents and settings.own > 0
        if not (self.memory or self.corrected or reads_own):
            return {}
        gate = read_gate(self.run)
        return {
            "memory": _named(self.memory) if self.memory else {},
            "corrected": self.corrected,
            "retrieval": asdict(settings),
            **({"gate": checksum_of(gate._asdict())} if gate else {}),
        }

    @functools.cached_property
    def decided(self) -> dict:
        """The settings decided by the machine: precision, backend, processor, cores and threads."""
        from app.runs.precision import decided, decoding_policy, processor_name
        from data.parallel import cores

        if self.engine != KERAS:
            chosen = {"precision": self.engine.quantization, "backend": self.engine.name}
            return {**chosen, "processor": processor_name(), "cores": cores(), "threads": {}}
        self._load()
        found = decided(decoding_policy(self.run.preset.training.precision))
        return {name: found[name] for name in (*_COMPARED, "processor")}

    def translations(
        self, test: TestSet, shuffle: bool = False, again: bool = False, as_baseline: bool = False
    ) -> Kept:
        """One translation for each segment of a test set.

        Args:
            test: what to translate.
            shuffle: whether each segment is translated with a context that is not its own.
            again: whether to translate even if valid translations exist.
            as_baseline: see `kept`.

        Raises:
            UserError: the test set has no sources; otherwise as for `kept`.
        """
        if test.sources is None:
            raise UserError(f"{test.origin} has no source text to translate")
        if self.by_documents and not test.documents:
            self._report(
                f"note: {test.origin} does not say where documents begin: each segment is translated without context"
            )
        name = self.name_of(test, shuffle)
        about = {**test.summary(), "shuffled": shuffle}
        file = f"{name}.{self.run.preset.data.target}"
        return self.kept(name, file, about, lambda: self._translate(test, shuffle), again, as_baseline)

    def kept(
        self,
        name: str,
        file: str,
        test: dict,
        make: Callable[[], tuple[Sequence[str], dict]],
        again: bool = False,
        as_baseline: bool = False,
    ) -> Kept:
        """The lines of a results file: from an earlier evaluation if they are still valid, or newly made.

        Args:
            name: name of the record.
            file: name of the file.
            test: the test set, for the record.
            make: makes the lines, and further values for the record.
            again: whether to make them even if valid ones exist.
            as_baseline: whether to accept results of these weights with any search, engine and precision.

        Raises:
            UserError: the file of a baseline was edited or is damaged.
        """
        record = {} if again else self.results.record(name)
        if self._still_valid(record, test, as_baseline):
            try:
                lines = self.results.lines(record, file)
            except UserError as error:
                if as_baseline:
                    raise UserError(f"{error}; delete it to recreate it") from error
                self._report(f"note: {error}; recreating it")
                lines = None
            if lines is not None:
                return Kept(lines, record)
        if as_baseline:
            self._report(f"note: {self.run.path} has not been evaluated on {test['name']}: evaluating it now")
        lines, more = make()
        record = {"test_set": test, **self.made_by, "decided": self.decided, **self._written(), **more}
        return Kept(list(lines), self.results.write(name, record, {file: lines}))

    def _still_valid(self, record: dict, test: dict, as_baseline: bool) -> bool:
        """Whether a record is of this text and was made with the current settings."""
        if any(record.get("test_set", {}).get(key) != test.get(key) for key in ("fingerprint", "shuffled")):
            return False
        if as_baseline:
            weights = record["weights"]
            return weights["checksum"] == self.run.weights_file(weights["asked_for"])[2]
        # A record made before there were ensembles has no such key.
        record = {"ensemble": [], **record}
        if any(record.get(key) != self.made_by.get(key) for key in {*self.made_by, *_OPTIONAL}):
            return False
        return all(record["decided"][key] == self.decided[key] for key in _COMPARED)

    def _translate(self, test: TestSet, shuffle: bool) -> tuple[list[str], dict]:
        order = shuffled(test.segments) if shuffle else list(range(test.segments))
        lines = [test.sources[number] for number in order]
        corrections = [test.references[number] for number in order]
        translator = self.translator
        self._warm_up(translator, next((line for line in lines if line.strip()), ""))
        before, start = translator.output_tokens, time.perf_counter()
        with decoding_progress(test.segments) as progress:
            if self.corrected:
                hypotheses = translator.translate_lines(document_lines(test, lines, corrections))
                found = list(_counted((each.text for each in hypotheses), test.segments, progress))
            else:
                found = translated(translator, test, lines, self.by_documents, progress)
        seconds = time.perf_counter() - start
        speed = {
            "seconds": round(seconds, 2),
            "segments_per_second": round(test.segments / seconds, 2),
            "output_tokens_per_second": round((translator.output_tokens - before) / seconds, 1),
        }
        return in_order(found, order), {"decoding": speed}

    def _warm_up(self, translator: Translator, line: str) -> None:
        """Compiles the search, which must not count towards the speed."""
        if self.corrected:
            list(translator.translate_lines(iter(2 * [DocumentLine(0, line, line, known=False)])))
        elif not self.by_documents:
            translator.translate_all([line])

    def _written(self) -> dict:
        """The date, the code, the machine and the package versions."""
        packages = ["keras", "tensorflow"] if self.engine == KERAS else [self.engine.name]
        return {
            "commit": commit(),
            "machine": platform.platform(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in (*packages, *PACKAGES)},
            },
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def refuse_backward(run: Run) -> None:
    """Refuses to post-edit the documents of a run that reads them backward.

    Raises:
        UserError: the run reads them backward.
    """
    if run.preset.documents.order == BACKWARD:
        raise UserError(
            f'{run.path}: documents.order = "backward" translates documents from their end, but people correct them '
            "from the beginning: score it without corrections"
        )


def document_lines(test: TestSet, lines: Sequence[str], corrections: Sequence[str]) -> Iterator[DocumentLine]:
    """The lines of a test set by document, each with a correction that later lines may read.

    Args:
        test: the test set.
        lines: its sources, or what is translated in their place.
        corrections: one for each line.
    """
    for number, document in enumerate(test.cut(list(zip(lines, corrections, strict=True)))):
        for line, correction in document:
            yield DocumentLine(number, line, correction, known=False)


def translated(
    translator: Translator,
    test: TestSet,
    lines: Sequence[str],
    by_documents: bool,
    progress: Callable[[float], None] | None = None,
) -> list[str]:
    """One translation for each line.

    Args:
        translator: the translator.
        test: the test set, which knows the documents.
        lines: its sources, or what is translated in their place.
        by_documents: whether each line is read after the preceding lines of its document, or on its own.
        progress: called with the share that is done.
    """
    if not by_documents:
        return translator.translate_all(lines, progress)
    documents = translator.translate_documents(test.cut(lines))
    return list(_counted(chain.from_iterable(documents), test.segments, progress))


def _weights(run: Run) -> dict:
    """The weights that a run translates with, for the record."""
    name, _, found = run.weights_file()
    return {"weights": name, "checksum": found}


def _named(file: Path) -> dict:
    """A file that was read, for the record."""
    return {"name": file.name, "checksum": checksum(file)}


def _counted(found: Iterable[str], segments: int, progress: Callable[[float], None] | None) -> Iterator[str]:
    """Yields the translations as they arrive, and reports progress."""
    for number, text in enumerate(found, start=1):
        yield text
        if progress:
            progress(number / segments)
