"""The time to a validation score: `weitblick train`, then JoeyNMT on the same text, pieces and shape."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from app.bench.contestant import Contestant, ContestantFailed
from app.presets.preset import load_preset

PRESET = "multi30k-tiny"
DROPOUT = "dropout=0.2"  # for both: the preset's value is for twice as many updates
SCHEDULE = ("schedule=linear", "updates=3500", "warmup=500")  # ours; JoeyNMT has none like it
GOAL, EVERY = 38.0, 250  # validation BLEU; updates between validations
PATIENCE = 2.0  # a peer is given up after this many times our seconds
POLL_SECONDS = 1.0
SILENCE = 900  # seconds for loading, and for a search through the validation text


class Validation(NamedTuple):
    """One validation: updates and seconds since the training began, and its BLEU."""

    update: int
    seconds: float
    bleu: float


def units() -> int:
    """How many steps of the progress bar `measure` takes."""
    return 3


def measure(
    changes: Sequence[str], corpora: Sequence[str], folder: Path, step: Callable, goal: float = GOAL
) -> dict[str, object]:
    """Trains one after the other until a validation reaches the goal.

    Args:
        changes: changes of the preset.
        corpora: folders that hold corpus folders.
        folder: for text, runs and logs; what is in it is replaced.
        step: called with a line for the progress bar whenever a unit of work begins.
        goal: the BLEU to reach.

    Returns:
        For JSON: the goal, and for each contestant its validations or an error.

    Raises:
        ContestantFailed: our own training failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    changes = [DROPOUT, *changes, f"validate_every={EVERY}"] if goal else [*changes]
    spec = _specification(changes, folder)
    step("race: text")
    paths = {"WEITBLICK_CORPORA": ":".join(map(str, corpora))} if corpora else {}
    with Contestant("text", {**spec, "batches": 1}, log=folder / "text.log", variables=paths) as one:
        one.answer()
    step("race: ours")
    recipe = [*SCHEDULE, *changes] if goal else changes
    with contextlib.closing(_ours(recipe, corpora, folder)) as validations:
        ours = until(validations, goal)
    precision = json.loads((folder / "run" / "run.json").read_text())["sessions"][0]["precision"]
    step("race: joeynmt")
    found: dict[str, object] = {"ours": {"validations": ours}}
    try:
        spec["precision"] = precision.removeprefix("mixed_")
        with Contestant("joeynmt_race", spec, peers=True, log=folder / "joeynmt.log") as one:
            seconds = PATIENCE * ours[-1].seconds
            found["joeynmt"] = {"validations": until(_answers(one, seconds), goal, seconds)}
    except ContestantFailed as error:
        found["joeynmt"] = {"error": str(error)}
    return {"preset": PRESET, "goal": goal, "contestants": found}


def until(validations: Iterator[Validation], goal: float, seconds: float = float("inf")) -> list[Validation]:
    """The validations up to the first one that reaches the goal or comes later than so many seconds."""
    found = []
    for one in validations:
        found.append(one)
        if one.bleu >= goal or one.seconds > seconds:
            break
    return found


def _specification(changes: Sequence[str], folder: Path) -> dict:
    preset = load_preset(PRESET, changes)
    model, training = preset.model, preset.training
    shape = {name: getattr(model, name) for name in ("encoder_layers", "decoder_layers", "width", "hidden", "heads")}
    return {
        "folder": str(folder),
        "preset": PRESET,
        "changes": list(changes),
        "shape": {**shape, "dropout": model.dropout},
        "batch_tokens": training.batch_tokens,
        "max_length": preset.data.max_length,
        "learning_rate": training.learning_rate,
        "warmup": training.warmup,
        "validate_every": training.validate_every,
    }


def _ours(changes: Sequence[str], corpora: Sequence[str], folder: Path) -> Generator[Validation]:
    """The validations of `weitblick train`, which is ended with the iterator.

    After the end of the training, the last one is of the averaged weights with beam search, as `weitblick evaluate`
    scores them.
    """
    weitblick, where = [sys.executable, "-m", "app"], ["--corpora", *corpora] if corpora else []
    command = [*weitblick, "train", PRESET, "--run", folder / "run", "--set", *changes, *where]
    log, told = folder / "run" / "log.jsonl", 0
    with open(folder / "ours.log", "wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            over = False
            while not over:
                over = process.poll() is not None
                found = _read(log)
                yield from found[told:]
                told = len(found)
                time.sleep(0 if over else POLL_SECONDS)
            begin = time.perf_counter()
            evaluation = [*weitblick, "evaluate", folder / "run", "--split", "validation", *where]
            if process.returncode or not told or subprocess.run(evaluation, stdout=out, stderr=out).returncode:
                raise ContestantFailed(f"our training failed; see {folder / 'ours.log'}")
            yield found[-1]._replace(
                seconds=found[-1].seconds + time.perf_counter() - begin, bleu=_score(folder / "run")
            )
        finally:
            process.send_signal(signal.SIGTERM)


def _score(run: Path) -> float:
    """The BLEU of the only evaluation of a run."""
    (record,) = json.loads((run / "results.json").read_text(encoding="utf-8")).values()
    return next(score["value"] for score in record["scores"] if score["name"] == "BLEU")


def _read(log: Path) -> list[Validation]:
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    records = [record for record in map(json.loads, lines) if "validation" in record]
    return [Validation(record["update"], record["seconds"], record["validation"]["bleu"]) for record in records]


def _answers(one: Contestant, seconds: float) -> Iterator[Validation]:
    """A contestant's validations; the wait allows for a late first one and for slow ones."""
    while True:
        answer = one.answer(2 * seconds + SILENCE)
        yield Validation(answer["update"], answer["seconds"], answer["bleu"])
