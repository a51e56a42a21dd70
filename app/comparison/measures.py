"""What is measured of the mechanisms besides their scores (recall, costs, stacks), and what of it is there already.

Each measurement is a separate process and leaves a record. Records made elsewhere count too, if they were made on the
same terms.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from app.comparison.plan import Plan
from app.comparison.recorded import read_content, recorded_costs
from app.probe.candidates import Candidate, candidate, name_of
from app.probe.experiment import RESULTS as PROBE
from app.probe.experiment import Experiment, Results
from app.probe.length_report import RESULTS as LENGTHS
from app.probe.length_report import TRAINING, TRANSLATION
from models.memories import parts_of, trained_kinds

PROBES, COSTS, BENCH, BENCHMARKS = "probe", "costs", "bench", "results.json"
# What each of the two costs is called by `probe --measure`.
MEASURES = {TRANSLATION: "length", TRAINING: "training"}


@dataclass(frozen=True)
class Recalled:
    """The recall of a memory.

    Args:
        found: the record; see `app.probe.experiment.examine`.
        file: the file with the record.
    """

    found: dict[str, Any]
    file: Path

    @property
    def shares(self) -> dict[int, tuple[float, float, float]]:
        """For each distance in windows the share of right answers, and its interval."""
        return {each["distance"]: (each["recall"], each["low"], each["high"]) for each in self.found["recall"]}


class Measurements:
    """The measurements of a plan as they are now; each file is read once.

    Args:
        plan: the plan.
    """

    def __init__(self, plan: Plan):
        self.plan = plan

    @cached_property
    def experiment(self) -> Experiment:
        """The terms on which recall is measured."""
        assert self.plan.recall
        wanted = self.plan.recall
        return Experiment(
            minutes=wanted.minutes, distances=tuple(sorted(set(wanted.distances))), documents=wanted.documents
        )

    def candidate(self, system: str) -> Candidate | None:
        """What the recall probe trains for a system; None for systems that the probe says nothing about.

        These are stacks, which have the memory of another system, and systems that read stored translations.
        """
        memory = self.plan.first_of(system).preset
        if not set(parts_of(memory.memory.kind)) <= set(trained_kinds()):
            return None
        name = name_of(memory)
        first = next(each for each in self.plan.systems if name_of(self.plan.first_of(each).preset) == name)
        return candidate(name) if system == first else None

    def recall(self, system: str) -> Recalled | None:
        """The recall of a system's memory; None if it is not known."""
        wanted = self.candidate(system) if self.plan.recall else None
        if not wanted:
            return None
        if self._own.has(wanted):
            return Recalled(self._own.memories[wanted.name], self._own.path)
        found = ((file, record.get(wanted.name)) for file, record in self._others.items())
        return next((Recalled(each, file) for file, each in found if each and self._is_equal(each, wanted)), None)

    def recall_record(self) -> dict[str, Any]:
        """The recall of all systems, as a probe writes it, so that another plan can use it."""
        if not self.plan.recall:
            return {}
        wanted = {system: self.candidate(system) for system in self.plan.systems}
        known = {each.name: self.recall(system) for system, each in wanted.items() if each}
        return {**self._terms, "memories": {name: each.found for name, each in known.items() if each}}

    def costs(self, system: str, what: str) -> dict[int, dict[str, float]]:
        """Seconds and memory of a system by length of a document in tokens; {} if they are not all known.

        Args:
            system: its name.
            what: `TRANSLATION` or `TRAINING`.

        Returns:
            The rows of `app.probe.sizes.Meter`, by length.
        """
        found = self._lengths(system, what)
        rows = {row["tokens"]: row for row in found.get("lengths", ())}
        return rows if self.plan.costs and set(self.plan.costs.tokens) <= set(rows) else {}

    def state_bytes(self, system: str) -> int | None:
        """The size of what translation carries along for a document, in bytes; None if it is not known."""
        found = (self._lengths(system, what).get("state_bytes") for what in (TRANSLATION, TRAINING))
        return next((size for size in found if size is not None), None)

    def stacks(self) -> dict[str, Any]:
        """Seconds and memory of stacks by length of one input, as `make bench` writes it; {} if unknown."""
        if not self.plan.stacks:
            return {}
        files = (*map(Path, self.plan.stacks.records), self.plan.folder / BENCH / BENCHMARKS)
        return next((found["stacks"] for found in map(read_content, files) if "stacks" in found), {})

    def recall_arguments(self, system: str) -> list[str]:
        """The command that measures the recall of a system's memory."""
        wanted, terms = self.candidate(system), self.experiment
        assert wanted
        numbers = ["--minutes", f"{terms.minutes:g}", "--documents", str(terms.documents)]
        distances = ["--distances", *map(str, terms.distances)]
        return ["probe", "--memory", wanted.name, *numbers, *distances, "--output", str(self.plan.folder / PROBES)]

    def costs_arguments(self, system: str, what: str) -> list[str]:
        """The command that measures what a system costs by length."""
        assert self.plan.costs
        path = self.plan.first_of(system).path
        folders = ["--corpora", *self.plan.folders] if self.plan.folders else []
        text = ["--corpus", self.plan.costs.corpus, *folders, "--tokens", *map(str, self.plan.costs.tokens)]
        return ["probe", "--run", str(path), "--measure", MEASURES[what], *text, "--output", str(path / COSTS)]

    def stacks_arguments(self) -> list[str]:
        """What follows `python -m app.bench` to measure stacks."""
        assert self.plan.stacks
        quick = ["--quick"] if self.plan.stacks.quick else []
        return ["--only", "stacks", "--folder", str(self.plan.folder / BENCH), *quick]

    @cached_property
    def _own(self) -> Results:
        return Results(self.plan.folder / PROBES, self.experiment)

    @cached_property
    def _others(self) -> dict[Path, dict[str, Any]]:
        """The memories in files of other probes with the same task, model and training documents."""
        assert self.plan.recall
        contents = {file: read_content(file) for file in map(Path, self.plan.recall.records)}
        return {
            file: content.get("memories", {})
            for file, content in contents.items()
            if all(content.get(name) == value for name, value in self._terms.items())
        }

    @property
    def _terms(self) -> dict[str, Any]:
        """What must be the same in another probe."""
        return {name: self.experiment.shared()[name] for name in ("task", "model", "longest")}

    def _is_equal(self, found: dict[str, Any], wanted: Candidate) -> bool:
        """Whether a record is of this memory with these settings; the record itself says how long it was trained."""
        mine, theirs = self.experiment.settings(wanted), found.get("settings", {})
        return {**theirs, "minutes": 0} == {**mine, "minutes": 0}

    def _lengths(self, system: str, what: str) -> dict[str, Any]:
        # The file has one run, whatever path it was measured by.
        runs = read_content(self.plan.first_of(system).path / COSTS / LENGTHS).get("runs", {})
        own = next(iter(runs.values()), None)
        return own[what] if own and what in own else recorded_costs(self.plan, system, what)


def probed(plan: Plan) -> Path:
    """The file with the recall that this plan has measured itself."""
    return plan.folder / PROBES / PROBE
