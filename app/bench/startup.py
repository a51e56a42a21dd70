"""Start-up: one sentence from a cold start, as a whole and by steps."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.bench.contestant import PEERS, REPOSITORY, Contestant, ContestantFailed

LINE = "The meeting of the two presidents will take place in Berlin next week."
LENGTH = 20  # tokens that Marian, with random weights, is made to write
STEPS = ("imports", "model", "first", "second")


def units(repeat: int) -> int:
    """How many steps of the progress bar `measure` takes."""
    return 2 + 6 * repeat


def measure(run: Path, repeat: int, folder: Path, step: Callable) -> dict:
    """Times everything `repeat` times, in turns, each in a fresh process.

    Args:
        run: a trained run.
        repeat: turns.
        folder: for the export and Marian's weights.
        step: called with a line for the progress bar whenever a unit of work begins.

    Returns:
        For JSON: `whole`, label to seconds of a whole process, and `steps`, label to seconds of each step; medians.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export, marian = folder / "ctranslate2", folder / "marian"
    step("start-up: export")
    spec = {"run": str(run), "folder": str(folder), "grow": None, "arrays": None}
    if not export.exists():
        with Contestant("export", spec, log=folder / "export.log") as one:
            one.answer()
    step("start-up: a Marian model of the same shape")
    _timed([PEERS, "-m", "app.bench.contestants.startup", "marian-folder", marian, export])
    program = [sys.executable, "-m", "app"]
    wholes = {
        "weitblick --help": [*program, "--help"],
        "weitblick translate": [*program, "translate", run],
        "weitblick translate --engine ctranslate2": [*program, "translate", run, "--engine", "ctranslate2"],
    }
    stepped = {
        "ours": [sys.executable, "-m", "app.bench.contestants.startup", "ours", run],
        "ctranslate2": [PEERS, "-m", "app.bench.contestants.startup", "ctranslate2", export],
        "marian": [PEERS, "-m", "app.bench.contestants.startup", "marian", marian, str(LENGTH)],
    }
    seconds: dict[str, list] = {name: [] for name in (*wholes, *stepped)}
    steps: dict[str, list] = {name: [] for name in stepped}
    for turn in range(repeat):
        for name, command in (wholes | stepped).items():
            step(f"start-up: {name}, turn {turn + 1} of {repeat}")
            spent, printed = _timed(command)
            seconds[name].append(spent)
            if name in stepped:
                steps[name].append(dict(line.split() for line in printed.splitlines()))
    return {
        "whole": {name: _summary(seconds[name]) for name in wholes},
        "steps": {
            name: {part: statistics.median(float(turn[part]) for turn in turns) for part in STEPS}
            for name, turns in steps.items()
        },
        "about": {"repeat": repeat, "line": LINE},
    }


def _timed(command) -> tuple[float, str]:
    """Runs a command with the sentence as its input; returns the seconds it takes and what it prints.

    Raises:
        ContestantFailed: it failed.
    """
    begin = time.perf_counter()
    command = [str(part) for part in command]
    done = subprocess.run(command, input=LINE + "\n", capture_output=True, text=True, cwd=REPOSITORY)
    seconds = time.perf_counter() - begin
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ContestantFailed(f"{' '.join(command[1:4])}: {last[:200]}")
    return seconds, done.stdout


def _summary(seconds: list[float]) -> dict:
    middle = statistics.median(seconds)
    return {"median": middle, "spread": (max(seconds) - min(seconds)) / middle}
