"""Plans, trainings and results that are written by hand, for tests of the comparison.

As a program it stands in for the command line: it "trains" and "scores" in no time.

    python -m tests.app.comparison.made_up train PRESET --run DIR
    python -m tests.app.comparison.made_up evaluate-documents DIR --baseline DIR ...
    python -m tests.app.comparison.made_up probe --memory KIND | --run DIR ...

A file `FOLDER/hold` beside the runs lets a training wait until SIGTERM, a file `FOLDER/fail` lets those fail whose run
it names. Each call is noted in `FOLDER/calls`.
"""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

from app.comparison.plan import Plan, read_plan
from app.presets.preset import load_preset
from app.probe.candidates import candidate
from app.probe.experiment import Experiment
from app.probe.experiment import Results as Recall
from app.probe.length_report import TRAINING, TRANSLATION, add
from app.runs.run import Run
from app.scoring.bootstrap import Comparison, Measure
from app.scoring.consistency import ALL
from app.scoring.cxmi import CONTENT
from app.scoring.results import Results
from app.scoring.system import System
from app.scoring.testsets import TestSet, load_documents
from data.corpora.corpora import Corpora
from tests.app.toy_training import PRESET, write_corpus

PROGRAM = (sys.executable, "-m", "tests.app.comparison.made_up")
PLAN = """
preset = "toy.toml"
set = ["updates=20", "windows=segments", "precision=auto"]
corpora = ["{place}/corpora"]
[score]
corpora = ["toys"]
baseline = "none"
control = true
[systems.gru]
set = ["memory.kind=gru"]
seeds = [1, 2]
[systems.none]
set = ["memory.kind=none"]
"""


def write_plan(place: Path, text: str = PLAN) -> Path:
    """Writes a plan and, unless they are there, its preset and the corpus that both name."""
    if not (place / "corpora").exists():
        toys = write_corpus(place / "corpora" / "toys", train=60, validation=24, document=4)
        for path in list(toys.glob("*.validation.txt")):
            shutil.copy(path, path.with_name(path.name.replace("validation", "test")))
        (place / "toy.toml").write_text(PRESET.format(corpus="toys"), encoding="utf-8")
    path = place / "memories.toml"
    path.write_text(text.replace("{place}", str(place)), encoding="utf-8")
    return path


def made_up_plan(place: Path, text: str = PLAN) -> Plan:
    """The plan in a folder, with its runs beside it."""
    return read_plan(write_plan(place, text), place / "runs")


def train(path: Path, preset, seconds: float = 90.0, speeds=(100, 300, 200)) -> Run:
    """A finished training of two weights."""
    run = Run.create(path, preset)
    run.save_average({"a": np.ones((3, 4)), "b": np.zeros(5)}, [20])
    entries = [{"update": 10 * n, "tokens_per_second": speed} for n, speed in enumerate(speeds, start=1)]
    entries.append({"update": 20, "validation": {"nll": 2.5, "bleu": 12.25, "sample": ["a", "b", "c"]}})
    (path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entries), encoding="utf-8")
    best = {"update": 20, "score": 12.25}
    updates = preset.training.updates
    run.write_summary(finished={"update": updates, "seconds": seconds, "best": best, "why": "all updates are done"})
    return run


def score(run: Run, test: TestSet, values: dict[str, float], baseline: str = "", **more) -> None:
    """The record of a test set, as `evaluate-documents` writes it.

    Args:
        run: the run.
        test: the test set.
        values: the scores by name; others are 0.
        baseline: the path of a run that they are compared with.
        more: `others`, its scores; `p`, of each difference; `suffix`, of the name, for shuffled segments; `samples`;
            `precision`; `record`, other values of the record.
    """
    others = more.get("others")
    found = []
    for name in ("s-BLEU", "d-BLEU", "chrF2++", ALL, CONTENT):
        value, other = values.get(name, 0.0), others and others.get(name, 0.0)
        compared = None if other is None or name == CONTENT else Comparison(other, value - other, p_value=more["p"])
        signature, digits = (f"of:{name}", 1) if "BLEU" in name else ("", 4 if name == CONTENT else 1)
        found.append(
            Measure(name, value, None, None, "documents", 6, None, compared, signature, digits=digits).as_dict()
        )
    section = {"samples": more.get("samples", 1000), "baseline": baseline, "scores": found[:3]}
    section |= {"consistency": found[3:4], "cxmi": found[4:]}
    test_set = {**test.summary(), "shuffled": bool(more.get("suffix"))}
    weights = {"checksum": run.weights_file()[2]}
    record = {"test_set": test_set, "weights": weights, **System(run).choices, "document_scores": section}
    record |= more.get("record", {})
    record["decoding"] = {"seconds": 2.0, "output_tokens_per_second": 50.0}
    machine = {"backend": "tensorflow", "cores": 2, "processor": "made up"}
    record["decided"] = {"precision": more.get("precision", "float32"), **machine}
    Results(run.path).write(test.name + more.get("suffix", ""), record)


def _train(preset: str, path: Path) -> None:
    folder = path.parent
    if (folder / "fail").exists() and (folder / "fail").read_text() == path.name:
        sys.exit("working\nerror: the loss is not a number")
    if (folder / "hold").exists():
        signal.signal(signal.SIGTERM, lambda *_: _stopped(folder))
        (folder / "holding").touch()
        time.sleep(60)
    train(path, load_preset(preset))


def _stopped(folder: Path) -> None:
    (folder / "stopped").touch()
    sys.exit(130)


def _evaluate(path: Path, options: list[str]) -> None:
    test = load_documents("toys", "test", Corpora([options[options.index("--corpora") + 1]]))
    baseline = options[options.index("--baseline") + 1] if "--baseline" in options else ""
    others = {"s-BLEU": float(Path(baseline).name[-1])} if baseline else None
    samples, suffix = int(options[options.index("--samples") + 1]), "-shuffled" * ("--shuffle-documents" in options)
    values = {"s-BLEU": float(path.name[-1])}
    run = Run(path, load_preset(path / "preset.toml"))
    score(run, test, values, baseline, others=others, p=0.25, suffix=suffix, samples=samples)


def recalled(place: Path, name: str, share: float, **terms) -> None:
    """The record of a memory's recall, the same at all distances, as `probe` writes it."""
    rows = [{"distance": each, "recall": share, "low": share - 0.1, "high": share + 0.1} for each in terms["distances"]]
    found = {"promised": None, "state_bytes": 4096, "weights": 9, "seconds": 7.0, "recall": rows}
    Recall(place, Experiment(**terms)).add(candidate(name), found)


def _probe(options: list[str]) -> None:
    """`probe`, which is called with all its options."""
    given = {name: options[options.index(name) + 1] for name in options if name.startswith("--")}
    output = Path(given["--output"])
    place = output.parent if "--memory" in given else output.parents[1]
    what = [given[name] for name in ("--memory", "--measure") if name in given]
    with (place / "calls").open("a", encoding="utf-8") as file:
        file.write(" ".join(["probe", *what, *([Path(given["--run"]).name] if "--run" in given else [])]) + "\n")
    numbers = {name: [int(each) for each in options[options.index(name) + 1 :] if each.isdecimal()] for name in given}
    if "--memory" in given:
        distances = tuple(numbers["--distances"])
        minutes, documents = float(given["--minutes"]), int(given["--documents"])
        recalled(output, given["--memory"], 0.5, distances=distances, minutes=minutes, documents=documents)
        return
    rows = [
        {"tokens": each, "position": each, "seconds_per_1000": 2.5, "peak_megabytes": 900.0, "megabytes_per_1000": 1.0}
        for each in numbers["--tokens"]
    ]
    what = {"length": TRANSLATION, "training": TRAINING}[given["--measure"]]
    add(output, given["--run"], "made up", what, {"state_bytes": 2048, "lengths": rows})


def main() -> None:
    """Does what the queue asks the command line for."""
    command, first, *options = sys.argv[1:]
    if command == "probe":
        _probe(sys.argv[2:])
        return
    path = Path(options[options.index("--run") + 1]) if command == "train" else Path(first)
    note = [command, path.name, *(option for option in options if option in ("--baseline", "--shuffle-documents"))]
    with (path.parent / "calls").open("a", encoding="utf-8") as file:
        file.write(" ".join(note) + "\n")
    if command == "train":
        _train(first, path)
    else:
        _evaluate(path, options)


if __name__ == "__main__":
    main()
