"""Scores a run, or a file of translations, on a test set."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from app.presets.schema import SearchPreset
from app.scoring.metrics import (
    Comparison,
    LengthScore,
    Score,
    ScoreOptions,
    bleu,
    bleu_by_length,
    check_lengths,
    compare,
    has_moses,
    score,
)
from app.scoring.report import decoding_progress
from app.scoring.testsets import TestSet
from app.translation.decoded import KERAS, Engine
from app.translation.lines import read_text
from data.errors import UserError
from data.files import atomic_write

PACKAGES = ("sacrebleu", "sentencepiece")


class Example(NamedTuple):
    """A segment, its translation, and the reference."""

    source: str
    hypothesis: str
    reference: str


@dataclass(frozen=True)
class Evaluation:
    """What was scored, and how it came out.

    Args:
        test: the test set.
        hypotheses: the translations.
        scores: BLEU, chrF2++ and TER.
        tokenised: BLEU on Moses' tokens, as older papers give it; None where it was not asked for.
        lengths: BLEU by the length of the source; empty where the sources are not known.
        comparisons: beside the baseline; empty without one.
        baseline: what that was.
        how: all that made the translations, for the record: checkpoint, search, speed.
    """

    test: TestSet
    hypotheses: list[str]
    scores: list[Score]
    tokenised: Score | None = None
    lengths: list[LengthScore] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    baseline: str = ""
    how: dict = field(default_factory=dict)

    def as_dict(self) -> dict:
        """All but the text, for JSON."""
        test = {"name": self.test.name, "origin": self.test.origin, "segments": len(self.test.references)}
        found = {
            "test_set": {**test, "fingerprint": self.test.fingerprint},
            "scores": [score.as_dict() for score in self.scores],
            "bleu_on_moses_tokens": self.tokenised and self.tokenised.as_dict(),
            "bleu_by_source_words": [score.as_dict() for score in self.lengths],
            **self.how,
        }
        if self.comparisons:
            found["baseline"] = {"name": self.baseline, "scores": [c.as_dict() for c in self.comparisons]}
        return found


def evaluate(
    run,
    test: TestSet,
    *,
    checkpoint: str = "auto",
    search: SearchPreset | None = None,
    options: ScoreOptions | None = None,
    moses: bool | None = None,
    baseline=None,
    engine: Engine = KERAS,
) -> Evaluation:
    """Decodes a test set with a run's model, scores it, and writes both into the run's folder.

    `results/NAME.LANGUAGE` gets the translations, `results/NAME.json` the scores and all that is needed to get them
    again, and `results.json` the scores of all sets so far; NAME is the test set's, such as `multi30k-test`.

    Args:
        run: an `app.runs.run.Run`.
        test: what to translate and score on; see `app.scoring.testsets.load_test_set`.
        checkpoint: "auto", "averaged", "best" or "last", see `Run.weights`.
        search: instead of that of the run's preset.
        options: how to score; by default lower-cased if the preset is.
        moses: whether to give BLEU on Moses' tokens as well; by default where the preset is lower-cased, as such
            benchmarks are mostly scored so, if sacremoses is installed.
        baseline: a run that has been evaluated on the same set, or a file of translations, to compare with.
        engine: the program that computes the model.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: for anything that is missing or does not fit.
    """
    data = run.preset.data
    options = options or ScoreOptions(lowercase=data.lowercase)
    options = replace(options, language=data.target, test=test.test, pair=test.pair)
    other = baseline and read_baseline(baseline, test, data.target)
    search = search or run.preset.search
    hypotheses, how = _decode(run, test, checkpoint, search, engine)
    moses = data.lowercase and has_moses() if moses is None else moses
    evaluation = evaluate_lines(hypotheses, test, options, moses, other)
    evaluation = replace(evaluation, how={"preset": run.preset.name, **how, **_record(engine)})
    write_results(evaluation, run.path, data.target)
    return evaluation


def evaluate_lines(
    hypotheses: list[str],
    test: TestSet,
    options: ScoreOptions | None = None,
    moses: bool = False,
    baseline: tuple[str, list[str]] | None = None,
) -> Evaluation:
    """Scores translations, wherever they come from.

    Args:
        hypotheses: one for each segment of the test set.
        test: the test set.
        options: how to score.
        moses: whether to give BLEU on Moses' tokens as well, lower-cased.
        baseline: name and translations to compare with.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: for another number of lines than the test set has.
    """
    options = options or ScoreOptions(test=test.test, pair=test.pair)
    references = test.references
    check_lengths(hypotheses, references)
    tokens = replace(options, tokenize="moses", lowercase=True)
    return Evaluation(
        test,
        hypotheses,
        score(hypotheses, references, options),
        bleu(hypotheses, references, tokens) if moses else None,
        bleu_by_length(test.sources, hypotheses, references, options) if test.sources else [],
        compare(baseline[1], hypotheses, references, options) if baseline else [],
        baseline[0] if baseline else "",
    )


def decode_bleu(
    translator,
    sources: Sequence[str],
    references: Sequence[str],
    lowercase: bool | None = None,
    shown: int = 1,
    progress: Callable[[float], None] | None = None,
) -> tuple[float, list[Example]]:
    """BLEU of what a translator really puts out; quick enough to be run during a training.

    Args:
        translator: an `app.translation.translator.Translator`.
        sources, references: segments.
        lowercase: whether case counts nothing; by default so if the model knows no case.
        shown: number of examples wanted, drawn evenly from all segments.
        progress: see `Translator.translate_all`.

    Returns:
        BLEU, 0 to 100, and the examples.
    """
    hypotheses = translator.translate_all(sources, progress)
    lowercase = translator.lowercase if lowercase is None else lowercase
    figure = bleu(hypotheses, references, ScoreOptions(lowercase, samples=0))
    step = max(1, len(sources) // max(1, shown))
    rows = range(step // 2, len(sources), step)[:shown]
    return figure.value, [Example(sources[row], hypotheses[row], references[row]) for row in rows]


def read_baseline(baseline, test: TestSet, language: str) -> tuple[str, list[str]]:
    """The name of a baseline and its translations.

    Args:
        baseline: the folder of a run, or a file of translations.
        test: the test set that it must have translated.
        language: target language.

    Raises:
        UserError: there is no such file, the run has not been evaluated on this set, or the lines are not as many.
    """
    path = Path(baseline)
    file = path
    if path.is_dir():
        file = path / "results" / f"{test.name}.{language}"
        if not file.exists():
            raise UserError(f"{path} has no translations of {test.name}; first run: weitblick evaluate {path}")
        _check_same_set(file.with_suffix(".json"), test)
    lines = read_text(file)
    if test.first:
        lines = lines[: test.first]
    check_lengths(lines, test.references, f"the baseline {file}")
    return str(path), lines


def write_results(evaluation: Evaluation, folder: Path, language: str) -> None:
    """Writes translations and scores into a run's folder, each file whole or not at all."""
    results = folder / "results"
    name = evaluation.test.name
    with atomic_write(results / f"{name}.{language}", "w") as file:
        file.writelines(f"{line}\n" for line in evaluation.hypotheses)
    _write_json(results / f"{name}.json", evaluation.as_dict())
    every = {path.stem: _read_json(path) for path in sorted(results.glob("*.json"))}
    _write_json(folder / "results.json", {name: found for name, found in every.items() if found})


def _decode(run, test: TestSet, checkpoint: str, search: SearchPreset, engine: Engine) -> tuple[list[str], dict]:
    from app.translation.translator import Translator

    if test.sources is None:
        raise UserError(f"{test.origin} has no source text to translate")
    translator = Translator.of_run(run, checkpoint, search, engine)
    # The first call compiles the search, which is no part of the speed.
    translator.translate_all([next((source for source in test.sources if source.strip()), "")])
    before, start = translator.output_tokens, time.perf_counter()
    with decoding_progress(len(test.sources)) as progress:
        hypotheses = translator.translate_all(test.sources, progress)
    seconds = time.perf_counter() - start
    speed = {
        "seconds": round(seconds, 2),
        "segments_per_second": round(len(test.sources) / seconds, 2),
        "output_tokens_per_second": round((translator.output_tokens - before) / seconds, 1),
    }
    how = {"weights": _weights(run, checkpoint), "search": asdict(search), "engine": engine._asdict()}
    return hypotheses, {**how, "decoding": speed}


def _weights(run, checkpoint: str) -> dict:
    """Which weights were used, with a hash of them."""
    name, arrays = run.weights(checkpoint)
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(arrays[key].tobytes())
    found = {"asked_for": checkpoint, "used": name, "sha256": digest.hexdigest()[:16]}
    if name == "averaged":
        found["updates"] = run.summary().get("averaged", {}).get("updates", [])
    return found


def _record(engine: Engine) -> dict:
    """Where, when and with what."""
    from app.runs.precision import processor

    hardware = {"processor": processor(), "machine": platform.platform()}
    packages = [engine.name, *PACKAGES]
    if engine == KERAS:
        import keras

        hardware["backend"] = keras.backend.backend()
        packages.insert(1, "tensorflow")
    return {
        "hardware": hardware,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _check_same_set(path: Path, test: TestSet) -> None:
    found = _read_json(path).get("test_set", {}).get("fingerprint")
    if found and found != test.fingerprint:
        raise UserError(f"{path}: the baseline was scored on another text of this name; evaluate it again")


def _read_json(path: Path) -> dict:
    """What a file of results says; nothing where it is missing or damaged, as it can be made again."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_json(path: Path, content: dict) -> None:
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
