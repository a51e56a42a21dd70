"""The queue: trains and scores what a plan names, each step in a process, and resumes where it stopped."""

import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from app.comparison.measures import TRAINING, TRANSLATION, Measurements
from app.comparison.plan import Contestant, Plan
from app.comparison.processes import PATIENCE, Process, shares
from app.comparison.records import Records, read_records, read_training
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
    TRAINING: "measuring the training of {} on long documents",
    STACKS: "measuring stacks by length",
}
# Steps that need the weights of a finished training.
NEED_WEIGHTS = (SCORE, CONTROL, TRANSLATION, TRAINING)
PROGRAM = (sys.executable, "-m", "app")
BENCH = (sys.executable, "-m", "app.bench")
PRESETS, LOGS = "presets", "logs"
# Steps that measure time run alone, on all cores.
ALONE = (TRANSLATION, TRAINING, STACKS)
PAUSE = 0.1


class Step(NamedTuple):
    """One thing to do with a contestant: a key of `DOING`. Stacks are measured once, whatever the contestant."""

    what: str
    contestant: Contestant

    def __str__(self) -> str:
        return DOING[self.what].format(self.contestant.name)


class _Running(NamedTuple):
    """A step that is being done.

    Args:
        step: the step.
        process: the process that does it.
        cores: the cores that the process has; none for all.
        log: the file that it writes to.
        start: where its part of the log begins.
        began: when it began, by the monotonic clock.
    """

    step: Step
    process: Process
    cores: list[int]
    log: Path
    start: int
    began: float


class Queue:
    """Does the steps of a plan that are not done yet.

    Args:
        plan: the plan, checked.
        systems: only these systems; all if none is named.
        minutes: the time limit; 0 for none. A training that is still running then is stopped with a checkpoint.
        report: called with each line for the user.
        program: the command line that trains, scores and probes.
        bench: the program that measures stacks.
        seeds: only these seeds; all if none is named.
        jobs: how many steps are done at a time, each on its share of the cores; at most as many as there are cores.
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
        jobs: int = 1,
    ):
        self.plan, self.report, self.program, self.bench = plan, report, tuple(program), tuple(bench)
        self._contestants = plan.chosen(systems, seeds)
        self._began = time.monotonic()
        self._seconds = minutes * 60
        self._shares = shares(jobs)
        self._scorings: list[float] = []
        self._failed: dict[str, str] = {}
        self._failed_before: dict[str, str] = {}

    def run(self) -> list[Step]:
        """Does all steps that are not done, and writes the report after each.

        Returns:
            The steps that are left because the time ran out.

        Raises:
            UserError: another queue uses this folder, or steps failed; the other steps were still done.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once the running steps have stopped.
        """
        with locked(self.plan.folder):
            missing = set(map(str, self._steps(self.plan.contestants)))
            before = read_failures(self.plan)
            self._failed_before = {step: why for step, why in before.items() if step in missing}
            left = self._work()
            self._write()
        if self._failed:
            listed = "; ".join(f"{step}: {why}" for step, why in self._failed.items())
            raise UserError(f"failed; run the same command to try again: {listed}")
        return left

    def missing(self) -> list[Step]:
        """The steps that are not done, in their order."""
        return list(self._steps(self._contestants))

    def _steps(self, contestants: Iterable[Contestant]) -> Iterator[Step]:
        begun = set()
        for records in self._records(contestants):
            contestant = records.contestant
            stage = self.plan.stage_of(contestant)
            if stage and stage.path not in begun and not records.training.finished:
                begun.add(stage.path)
                if not read_training(stage).finished:
                    yield Step(TRAIN, stage)
            baseline, trained = records.baseline, records.training.finished
            # If this call scores the baseline, what is compared with it is scored again after that.
            again = baseline and baseline.contestant in self._contestants and not baseline.is_scored()
            if not trained:
                yield Step(TRAIN, contestant)
            if not trained or again or not records.is_scored():
                yield Step(SCORE, contestant)
            controlled = not contestant.reads_context or (trained and records.is_controlled())
            if self.plan.score.control and not controlled:
                yield Step(CONTROL, contestant)
            if contestant == self.plan.first_of(contestant.system):
                yield from self._measurements(contestant)
        if self.plan.stacks and self.plan.contestants[0] in contestants and not Measurements(self.plan).stacks():
            yield Step(STACKS, self.plan.contestants[0])

    def _records(self, contestants: Iterable[Contestant]) -> Iterator[Records]:
        """The records of contestants; before those of one that was added to a recorded seed, those of the baseline that
        is trained for it."""
        found, given = read_records(self.plan), set()
        for contestant in contestants:
            baseline = found[contestant.name].baseline
            if baseline and baseline.contestant.name in self.plan.recorded and baseline.contestant in self._contestants:
                if baseline.contestant.name not in given:
                    yield baseline
                given.add(baseline.contestant.name)
            yield found[contestant.name]

    def _measurements(self, contestant: Contestant) -> Iterator[Step]:
        """What is still to be measured of a system, once."""
        found = Measurements(self.plan)
        if self.plan.recall and found.candidate(contestant.system) and not found.recall(contestant.system):
            yield Step(RECALL, contestant)
        for what in (TRANSLATION, TRAINING) if self.plan.costs else ():
            if not found.costs(contestant.system, what):
                yield Step(what, contestant)

    def _work(self) -> list[Step]:
        waiting = self.missing()
        number, running = len(waiting), list[_Running]()
        left: list[Step] = []
        try:
            while running or (waiting and not self._is_over()):
                while not self._is_over() and (step := self._next(waiting, running)):
                    waiting.remove(step)
                    if self._is_possible(step):
                        done = number - len(waiting)
                        times = self._times([*(each.step for each in running), step, *waiting])
                        self.report(f"[{done}/{number}] {step}; {times}; log: {self._log(step)}")
                        running.append(self._start(step, running))
                time.sleep(PAUSE)
                for each in running:
                    if each.step.what == TRAIN and self._is_over():
                        each.process.end()
                ended = [each for each in running if each.process.code is not None]
                running = [each for each in running if each not in ended]
                left += [each.step for each in ended if not self._end(each)]
        finally:
            for each in running:
                each.process.end()
            for each in running:
                each.process.stop()
        return [*left, *waiting]

    def _next(self, waiting: list[Step], running: "list[_Running]") -> Step | None:
        """The first step that can start now; None for none."""
        busy = [each.step for each in running]
        if len(busy) >= len(self._shares) or any(map(self._is_alone, busy)):
            return None
        for number, step in enumerate(waiting):
            before = [*busy, *waiting[:number]]
            if not any(self._waits(step, each) for each in before) and not (busy and self._is_alone(step)):
                return step
        return None

    def _waits(self, step: Step, other: Step) -> bool:
        """Whether a step must wait until another, which comes before it, has ended."""
        before = [step.contestant, *([self.plan.stage_of(step.contestant)] if step.what == TRAIN else [])]
        scored = self.plan.baseline_of(step.contestant) if step.what == SCORE else None
        return other.contestant in before or (other.what, other.contestant) == (SCORE, scored)

    def _is_alone(self, step: Step) -> bool:
        """Whether nothing else may run during a step; figures on made-up text mean nothing anyway."""
        return step.what in ALONE and not self.plan.made_up

    def _is_possible(self, step: Step) -> bool:
        """Whether the training that a step needs has ended; if not, that training has failed and is reported itself."""
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
        about = clock(seconds / len(self._shares))
        left = " and ".join([*([f"about {about}"] if seconds else []), *more])
        return f"{clock(time.monotonic() - self._began)} used, left: {left}"

    def _log(self, step: Step) -> Path:
        return self.plan.folder / LOGS / f"{STACKS if step.what == STACKS else step.contestant.name}.log"

    def _start(self, step: Step, running: "list[_Running]") -> "_Running":
        """Starts the process of a step, on cores that no other has."""
        log = self._log(step)
        log.parent.mkdir(parents=True, exist_ok=True)
        used = [each.cores for each in running]
        cores = [] if self._is_alone(step) else next(each for each in self._shares if not each or each not in used)
        with log.open("ab") as file:
            start = file.tell()
            if step.what == TRAIN:
                self._prepare(step.contestant)
            program = self.bench if step.what == STACKS else self.program
            process = Process([*program, *self._arguments(step)], file, cores)
        return _Running(step, process, cores, log, start, time.monotonic())

    def _end(self, running: "_Running") -> bool:
        """Takes in what a process has done; returns False for a training that was stopped because the time is over."""
        step, seconds = running.step, time.monotonic() - running.began
        self._failed_before.pop(str(step), None)
        training = read_training(step.contestant)
        if self._is_over() and step.what == TRAIN and not training.finished:
            self.report(f"{step}: stopped after update {training.update:,}, because the time is up")
            return False
        why = self._why(running)
        if why:
            self._failed[str(step)] = why
        elif step.what in (SCORE, CONTROL):
            self._scorings.append(seconds)
        self.report(f"{step}: {why or 'done'}, after {clock(seconds)}")
        self._write()
        return True

    def _why(self, running: "_Running") -> str:
        """Why a step failed, or ""."""
        code = running.process.code
        if not code:
            return "" if self._is_done(running.step) else "it has not written what it should have"
        if code < 0:
            return f"ended by signal {-code}, perhaps for lack of memory"
        return _last_line(running.log, running.start)

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
        """Writes the preset of a training, and waits for the same training if a killed queue has left it running."""
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
    """Seconds that a training still needs; None if unknown.

    It ends at its time limit or after its last update, whichever is earlier. The time of an update is taken from this
    training or, if it has done none yet, from the others of the plan.
    """
    training, now = contestant.preset.training, read_training(contestant)
    limits = [max(training.minutes * 60 - now.seconds, 0.0)] if training.minutes else []
    others = [now] if now.update else [read_training(each) for each in plan.contestants]
    times = [each.seconds / each.update for each in others if each.update]
    if times:
        limits.append(max(training.updates - now.update, 0) * statistics.mean(times))
    return min(limits) if limits else None


def _last_line(log: Path, start: int) -> str:
    """The last line that a step has written to its log."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
