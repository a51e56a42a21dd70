"""The queue: trains and scores what a plan names, one process after the other, and goes on where it stopped."""

import contextlib
import ctypes
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import app
from app.comparison.measures import TRAINING, TRANSLATION, Measurements
from app.comparison.plan import Contestant, Plan
from app.comparison.records import read_records, read_training
from app.comparison.report import read_failures, write_report
from app.runs.lock import locked
from app.terminal import clock
from data.errors import UserError
from data.files import atomic_write

TRAIN, SCORE, CONTROL, RECALL, STACKS = "train", "score", "control", "recall", "stacks"
DOING = {
    TRAIN: "training {}",
    SCORE: "scoring {}",
    CONTROL: "scoring {} on shuffled documents",
    RECALL: "measuring the recall of {}",
    TRANSLATION: "measuring the translation of long documents by {}",
    TRAINING: "measuring the training on long documents of {}",
    STACKS: "measuring stacks by length",
}
# What needs the weights of a finished training.
NEED_WEIGHTS = (SCORE, CONTROL, TRANSLATION, TRAINING)
PROGRAM = (sys.executable, "-m", "app")
BENCH = (sys.executable, "-m", "app.bench")
PRESETS, LOGS = "presets", "logs"
# A training that is asked to stop ends after its update; its run stays locked until then.
PATIENCE = 120.0
_PR_SET_PDEATHSIG = 1


class Step(NamedTuple):
    """One thing to do with a contestant: a key of `DOING`. Stacks are measured once, whatever the contestant."""

    what: str
    contestant: Contestant

    def __str__(self) -> str:
        return DOING[self.what].format(self.contestant.name)


class Queue:
    """Does what is missing of a plan.

    Args:
        plan: the plan, checked.
        systems: only these systems; all if none is named.
        minutes: how long to go on; 0 for no limit. A training that is running then is stopped with a checkpoint.
        report: called with each line for the user.
        program: the command line that trains, scores and probes.
        bench: the program that measures stacks.
        seeds: only these seeds; all if none is named.
    """

    def __init__(
        self,
        plan: Plan,
        systems: Collection[str] = (),
        minutes: float = 0.0,
        report: Callable[[str], None] = print,
        program: Sequence[str] = PROGRAM,
        bench: Sequence[str] = BENCH,
        seeds: Collection[int] = (),
    ):
        self.plan, self.report, self.program, self.bench = plan, report, tuple(program), tuple(bench)
        self._contestants = plan.chosen(systems, seeds)
        self._began = time.monotonic()
        self._seconds = minutes * 60
        self._scorings: list[float] = []
        self._failed: dict[str, str] = {}
        self._failed_before: dict[str, str] = {}

    def run(self) -> list[Step]:
        """Does all steps that are not done, and writes the report after each.

        Returns:
            The steps that are left because the time was over.

        Raises:
            UserError: another queue has this folder, or steps failed; the others were done nevertheless.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once the running step has stopped.
        """
        with locked(self.plan.folder):
            missing = set(map(str, self._steps(self.plan.contestants)))
            before = read_failures(self.plan)
            self._failed_before = {step: why for step, why in before.items() if step in missing}
            left = self._work()
            self._write()
        if self._failed:
            listed = "; ".join(f"{step}: {why}" for step, why in self._failed.items())
            raise UserError(f"failed, run the same command again to try again: {listed}")
        return left

    def missing(self) -> list[Step]:
        """The steps that are not done, in their order."""
        return list(self._steps(self._contestants))

    def _steps(self, contestants: Iterable[Contestant]) -> Iterator[Step]:
        found, begun = read_records(self.plan), set()
        for contestant in contestants:
            records = found[contestant.name]
            stage = self.plan.stage_of(contestant)
            if stage and stage.path not in begun and not records.training.finished:
                begun.add(stage.path)
                if not read_training(stage).finished:
                    yield Step(TRAIN, stage)
            baseline, trained = records.baseline, records.training.finished
            # What is to be compared with a baseline that this call scores is scored again then.
            again = baseline and baseline.contestant in self._contestants and not baseline.is_scored()
            if not trained:
                yield Step(TRAIN, contestant)
            if not trained or again or not records.is_scored():
                yield Step(SCORE, contestant)
            if self.plan.score.control and not (trained and records.is_controlled()):
                yield Step(CONTROL, contestant)
            if contestant == self.plan.first_of(contestant.system):
                yield from self._measurements(contestant)
        if self.plan.stacks and self.plan.contestants[0] in contestants and not Measurements(self.plan).stacks():
            yield Step(STACKS, self.plan.contestants[0])

    def _measurements(self, contestant: Contestant) -> Iterator[Step]:
        """What is to be measured of a system, once."""
        found = Measurements(self.plan)
        if self.plan.recall and found.candidate(contestant.system) and not found.recall(contestant.system):
            yield Step(RECALL, contestant)
        for what in (TRANSLATION, TRAINING) if self.plan.costs else ():
            if not found.costs(contestant.system, what):
                yield Step(what, contestant)

    def _work(self) -> list[Step]:
        steps = self.missing()
        for number, step in enumerate(steps):
            if self._is_over():
                return steps[number:]
            if not self._is_possible(step):
                continue
            self.report(f"[{number + 1}/{len(steps)}] {step}; {self._times(steps[number:])}; log: {self._log(step)}")
            began = time.monotonic()
            why = self._do(step)
            self._failed_before.pop(str(step), None)
            training = read_training(step.contestant)
            if self._is_over() and step.what == TRAIN and not training.finished:
                self.report(f"{step}: stopped after update {training.update:,}, because the time is over")
                return steps[number:]
            if why:
                self._failed[str(step)] = why
            elif step.what in (SCORE, CONTROL):
                self._scorings.append(time.monotonic() - began)
            self.report(f"{step}: {why or 'done'}, after {clock(time.monotonic() - began)}")
            self._write()
        return []

    def _is_possible(self, step: Step) -> bool:
        """Whether the training that a step needs has ended; if not, it has failed and is named by itself."""
        if step.what in NEED_WEIGHTS:
            return read_training(step.contestant).finished
        stage = self.plan.stage_of(step.contestant) if step.what == TRAIN else None
        return not stage or read_training(stage).finished or read_training(step.contestant).begun

    def _write(self) -> None:
        write_report(self.plan, {**self._failed_before, **self._failed})

    def _is_over(self) -> bool:
        return bool(self._seconds) and time.monotonic() - self._began >= self._seconds

    def _times(self, steps: list[Step]) -> str:
        """The time used, and an estimate of what the steps will take."""
        trainings = [training_left(self.plan, step.contestant) for step in steps if step.what == TRAIN]
        scorings, unknown = sum(step.what in (SCORE, CONTROL) for step in steps), trainings.count(None)
        others = len(steps) - len(trainings) - scorings
        seconds = sum(filter(None, trainings))
        more = [f"{unknown} training{'s' * (unknown > 1)}"] if unknown else []
        if self._scorings:
            seconds += scorings * statistics.mean(self._scorings)
        elif scorings:
            more.append(f"{scorings} scoring{'s' * (scorings > 1)}")
        more += [f"{others} measurement{'s' * (others > 1)}"] if others else []
        left = " and ".join([*([f"about {clock(seconds)}"] if seconds else []), *more])
        return f"{clock(time.monotonic() - self._began)} used, left: {left}"

    def _log(self, step: Step) -> Path:
        return self.plan.folder / LOGS / f"{STACKS if step.what == STACKS else step.contestant.name}.log"

    def _do(self, step: Step) -> str:
        """Does a step; returns why it failed, or ""."""
        log = self._log(step)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            start = file.tell()
            if step.what == TRAIN:
                self._prepare(step.contestant)
            limited = self._seconds and step.what == TRAIN
            limit = self._began + self._seconds - time.monotonic() if limited else None
            program = self.bench if step.what == STACKS else self.program
            code = run_process([*program, *self._arguments(step)], file, limit)
        if not code:
            return "" if self._is_done(step) else "it has not written what it should have"
        return _last_line(log, start) if code > 0 else f"ended by signal {-code}, which may be too little memory"

    def _is_done(self, step: Step) -> bool:
        found, system = Measurements(self.plan), step.contestant.system
        if step.what == TRAIN:
            return read_training(step.contestant).finished
        if step.what == RECALL:
            return found.recall(system) is not None
        if step.what == STACKS:
            return bool(found.stacks())
        if step.what in (TRANSLATION, TRAINING):
            return bool(found.costs(system, step.what))
        records = read_records(self.plan)[step.contestant.name]
        return records.is_scored() if step.what == SCORE else records.is_controlled()

    def _prepare(self, contestant: Contestant) -> None:
        """Writes the preset of a training, and waits for the one that a killed queue has left."""
        with atomic_write(self._preset(contestant), "w") as file:
            file.write(contestant.preset.to_toml())
        began = time.monotonic()
        while True:
            try:
                with locked(contestant.path):
                    return
            except UserError:
                if time.monotonic() - began > PATIENCE:
                    return
                time.sleep(0.5)

    def _preset(self, contestant: Contestant) -> Path:
        return self.plan.folder / PRESETS / f"{contestant.name}.toml"

    def _arguments(self, step: Step) -> list[str]:
        """What follows the program's name."""
        contestant, score = step.contestant, self.plan.score
        folders = ["--corpora", *self.plan.folders] if self.plan.folders else []
        found = Measurements(self.plan)
        if step.what == RECALL:
            return found.recall_arguments(contestant.system)
        if step.what == STACKS:
            return found.stacks_arguments()
        if step.what in (TRANSLATION, TRAINING):
            return found.costs_arguments(contestant.system, step.what)
        if step.what == TRAIN:
            return ["train", str(self._preset(contestant)), "--run", str(contestant.path), *folders]
        texts = ["--corpus", *score.corpora, "--split", score.split, "--samples", str(score.samples), *folders]
        arguments = ["evaluate-documents", str(contestant.path), *texts]
        if step.what == CONTROL:
            return [*arguments, "--shuffle-documents", "--baseline", str(contestant.path)]
        baseline = read_records(self.plan)[contestant.name].baseline
        if baseline and baseline.is_scored():
            arguments += ["--baseline", str(baseline.contestant.path)]
        if score.contrapro:
            arguments += ["--contrapro", *(["--items", str(score.items)] if score.items else [])]
        return arguments


def training_left(plan: Plan, contestant: Contestant) -> float | None:
    """Seconds that a training still needs; None if nothing tells.

    What has a time limit takes that long; for others the time of an update is taken from this training or, if it has
    none yet, from the others of the plan.
    """
    training, now = contestant.preset.training, read_training(contestant)
    limits = [max(training.minutes * 60 - now.seconds, 0.0)] if training.minutes else []
    others = [now] if now.update else [read_training(each) for each in plan.contestants]
    times = [each.seconds / each.update for each in others if each.update]
    if times:
        limits.append(max(training.updates - now.update, 0) * statistics.mean(times))
    return min(limits) if limits else None


def run_process(command: Sequence[str], log: IO[bytes], seconds: float | None = None) -> int:
    """Runs a process to its end, or until its time is over.

    It gets SIGTERM, on which a training writes a checkpoint, when the time is over, on Ctrl-C or SIGTERM to this
    process, and when this process is killed.

    Args:
        command: program and arguments.
        log: what both its outputs are written to.
        seconds: how long it may run; None for any time.

    Returns:
        The exit code; negative for a signal.
    """
    # So that the process is of this version, wherever it is started.
    paths = [str(Path(app.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
        # Ctrl-C in the terminal is then for this process alone, which passes it on.
        start_new_session=True,
        preexec_fn=_ends_with_parent(),
    )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(None if seconds is None else max(seconds, 0.0))
        process.terminate()
        return process.wait()
    except BaseException:
        _stop(process)
        raise


def _stop(process: subprocess.Popen) -> None:
    """Ends a process: in order, or at once if it takes too long or the user asks a second time."""
    try:
        process.terminate()
        process.wait(PATIENCE)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
        process.wait()


def _ends_with_parent() -> Callable[[], None] | None:
    """What a child does first so that it gets SIGTERM when its parent is gone; None where there is no such call."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return ask


def _last_line(log: Path, start: int) -> str:
    """The last line that a step has written to its log."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
