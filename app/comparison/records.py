"""The records in a contestant's run folder: how far it is, and how it scored."""

import functools
import math
import statistics
from dataclasses import dataclass, field
from typing import Any

from app.comparison.plan import Contestant, Plan
from app.runs.journal import LOG, Journal, read_log
from app.runs.run import Run
from app.runs.weights import count_values
from app.scoring.bootstrap import Measure
from app.scoring.departures import departures
from app.scoring.evaluation import DOCUMENTS, PRONOUNS
from app.scoring.results import Results
from data.errors import UserError

SHUFFLED = "shuffled"
# A baseline's score in its own record and in another's are the same sum of the same numbers.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Training:
    """How far a training is, by its last checkpoint.

    Args:
        begun: whether its run folder exists.
        finished: whether it has ended, with averaged weights.
        update: updates done.
        seconds: the time they took.
        tokens: target tokens trained on; None if an earlier version did a part of the training.
        tokens_per_second: the median speed, in target tokens; None before the first entry of the log.
        validation: the best validation: `update`, `bleu`, `nll` and so on; {} before the first.
    """

    begun: bool = False
    finished: bool = False
    update: int = 0
    seconds: float = 0.0
    tokens: int | None = None
    tokens_per_second: float | None = None
    validation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """A score of a contestant and its difference from the baseline with the same seed.

    Args:
        measure: as in the record.
        difference: None without a baseline.
        p_value: the p-value of the difference; None if the evaluation does not test it.
    """

    measure: Measure
    difference: float | None = None
    p_value: float | None = None

    def as_dict(self) -> dict:
        """The figures, for JSON."""
        measure = self.measure
        figures = {"value": measure.value, "low": measure.low, "high": measure.high}
        figures |= {"difference": self.difference, "p_value": self.p_value}
        # Not a number, such as the consistency of a text in which no word comes back: JSON has no word for it.
        known = {name: None if figure is None or math.isnan(figure) else figure for name, figure in figures.items()}
        return {**known, "digits": measure.digits, "signature": measure.signature}

    @classmethod
    def from_dict(cls, name: str, figures: dict) -> "Score":
        """The inverse of `as_dict`, with the score's name; what was drawn for the interval is lost."""
        value = math.nan if figures["value"] is None else figures["value"]
        more = {key: figures[key] for key in ("low", "high", "digits", "signature")}
        return cls(Measure(name, value, units="", count=0, **more), figures["difference"], figures["p_value"])


def read_training(contestant: Contestant | Run) -> Training:
    """How far the training of a contestant, or of any other run, is.

    Raises:
        UserError: a file of the run is damaged.
    """
    if not Run.exists(contestant.path):
        return Training()
    run = Run(contestant.path, contestant.preset)
    ended = run.ended
    found = None if ended else run.checkpoints.latest(lambda _: None)
    journal = ended or Journal.from_summary(found[1] if found else {})
    log = read_log(run.path / LOG)
    speeds = [entry["tokens_per_second"] for entry in log if "tokens_per_second" in entry]
    best = [entry for entry in log if "validation" in entry and entry["update"] == (journal.best or {}).get("update")]
    return Training(
        begun=True,
        finished=bool(ended),
        update=journal.update,
        seconds=journal.seconds,
        tokens=journal.tokens,
        tokens_per_second=statistics.median(speeds) if speeds else None,
        validation={"update": best[-1]["update"], **_without_sample(best[-1]["validation"])} if best else {},
    )


class Records:
    """The results of one contestant, as they are now; they are read once.

    Args:
        plan: the plan.
        contestant: the contestant.
        baseline: the results of the contestant that it is compared with; None for none.
    """

    def __init__(self, plan: Plan, contestant: Contestant, baseline: "Records | None" = None):
        self.plan, self.contestant, self.baseline = plan, contestant, baseline
        self._read: dict[str, dict] = {}
        self._results = Results(contestant.path, report=lambda _: None)

    @functools.cached_property
    def training(self) -> Training:
        """How far the training is."""
        return read_training(self.contestant)

    @property
    def texts(self) -> list[str]:
        """The names of the results of all test sets."""
        return list(self.plan.texts)

    @property
    def terms(self) -> dict[str, Any]:
        """Everything that decides the scores; see `app.comparison.plan.Plan.terms`."""
        return self.plan.terms(self.contestant)

    @property
    def state(self) -> str:
        """How far the contestant is, in a word."""
        if not self.training.finished:
            return "in training" if self.training.begun else "not started"
        scored = self.is_scored() and (not self.plan.score.control or self.is_controlled())
        return "scored" if scored else "trained"

    def is_scored(self) -> bool:
        """Whether all results of the present weights are there, compared with the baseline if that is scored."""
        compared = bool(self.baseline and self.baseline.is_scored())
        return all(self._is_done(name, compared) for name in self.plan.texts)

    def is_controlled(self) -> bool:
        """Whether the results of the present weights on shuffled documents are there, if they can differ."""
        return not self.contestant.reads_context or all(self._is_shuffled(name) for name in self.plan.tests)

    def scores(self, name: str) -> dict[str, Score]:
        """The scores of one test set, by the names that they have in the record; {} if there are none."""
        mine = self._measures(name)
        theirs = self.baseline._measures(name) if self.baseline else {}
        tested = self._is_compared(name)
        return {key: _compared(measure, theirs.get(key), tested) for key, measure in mine.items()}

    def control(self, name: str) -> dict[str, Score]:
        """The scores of the same documents in shuffled order, compared with the right order."""
        found = self._measures(f"{name}-{SHUFFLED}") if self._is_shuffled(name) else {}
        return {key: _compared(measure, None, True) for key, measure in found.items()}

    def weights(self) -> int | None:
        """The number of weights; None before the training has ended."""
        if not self.training.finished:
            return None
        return count_values(Run(self.contestant.path, self.contestant.preset).weights_file()[1])

    def output_speed(self) -> float | None:
        """Output tokens a second in translation, over all test sets; None before the first."""
        found = (self._record(name).get("decoding") for name in self.plan.tests)
        speeds = [speed for speed in found if speed]
        seconds = sum(speed["seconds"] for speed in speeds)
        tokens = sum(speed["seconds"] * speed["output_tokens_per_second"] for speed in speeds)
        return tokens / seconds if seconds else None

    def decided(self) -> set[str]:
        """What the machine decided about the translations, in words; more than one entry if that has changed."""
        found = (self._record(name).get("decided") for name in self.plan.tests)
        return {
            f"{one['precision']}, {one['backend']}, cores: {one['cores']}, {one['processor']}" for one in found if one
        }

    def _is_done(self, name: str, compared: bool) -> bool:
        section = self._section(name)
        complete = section and (name == PRONOUNS or (section.get("cxmi") and section.get("consistency")))
        return bool(complete) and (not compared or self._is_compared(name))

    def _is_compared(self, name: str) -> bool:
        """Whether the scores of a test set are compared with the baseline's present ones."""
        return bool(self.baseline and self._agrees(name, self.baseline, name))

    def _is_shuffled(self, name: str) -> bool:
        """Whether the scores of shuffled documents are compared with the present ones of the right order."""
        return self._agrees(f"{name}-{SHUFFLED}", self, name)

    def _agrees(self, name: str, other: "Records", theirs: str) -> bool:
        """Whether the scores of one record are compared with those of another run's record as they are now."""
        section, measures = self._section(name), other._measures(theirs)
        # Only the folder's name: the run may have been compared by a path from another place.
        if not section or section["baseline"].rpartition("/")[2] != other.contestant.name:
            return False
        first = Measure.from_dict(section["scores"][0])
        value = measures[first.name].value if first.name in measures else math.nan
        return bool(first.comparison and abs(first.comparison.baseline - value) < TOLERANCE)

    def _measures(self, name: str) -> dict[str, Measure]:
        section = self._section(name)
        parts = (section.get(part, ()) for part in ("scores", "consistency", "cxmi"))
        return {found["name"]: Measure.from_dict(found) for part in parts for found in part}

    def _section(self, name: str) -> dict:
        """The scores in a record; {} if there are none with as many bootstrap samples as the plan asks for."""
        record = self._record(name)
        section = record if name == PRONOUNS else record.get(DOCUMENTS, {})
        return section if section.get("scores") and section["samples"] == self.plan.score.samples else {}

    def _record(self, name: str) -> dict:
        """A record of the present text and weights, made as the preset says; {} if there is none."""
        if name not in self._read:
            found, text = self._results.record(name), self.plan.texts.get(name.removesuffix(f"-{SHUFFLED}"))
            present = found and found["test_set"]["fingerprint"] == text
            self._read[name] = found if present and self._is_plain(name, found) else {}
        return self._read[name]

    def _is_plain(self, name: str, record: dict) -> bool:
        """Whether a record is of the weights that the contestant has now, and made as its preset says."""
        if not self._present or record["weights"]["checksum"] != self._present[1]:
            return False
        section = record if name == PRONOUNS else record.get(DOCUMENTS, {})
        try:
            return not departures(self._present[0], record, section.get("scores", ()), name.endswith(f"-{SHUFFLED}"))
        except UserError:  # the evaluation says what is missing
            return False

    @functools.cached_property
    def _present(self) -> tuple[Run, str] | None:
        """The contestant's run, and the checksum of the weights that it has now; None if it has none."""
        try:
            run = Run.open(self.contestant.path)
            return run, run.weights_file()[2]
        except UserError:
            return None


class Recorded(Records):
    """The results of a contestant as another call has written them to a file; see `app.comparison.recorded`.

    Args:
        plan: the plan.
        contestant: the contestant.
        figures: the contestant's figures, see `app.comparison.report.figures`.
    """

    def __init__(self, plan: Plan, contestant: Contestant, figures: dict[str, Any]):
        super().__init__(plan, contestant)
        self._figures = figures

    @functools.cached_property
    def training(self) -> Training:
        """What is known of the training, which has ended."""
        speed, validation = self._figures["tokens_per_second"], self._figures["validation"]
        updates, seconds = self._figures["updates"], self._figures["minutes"] * 60
        return Training(True, True, updates, seconds, tokens_per_second=speed, validation=validation)

    @property
    def texts(self) -> list[str]:
        """The test sets that it was scored on, which may be more than the plan's."""
        return list(self.terms["texts"])

    @property
    def terms(self) -> dict[str, Any]:
        """The terms that it was scored on."""
        return self._figures["terms"]

    def is_scored(self) -> bool:
        """True: only complete results are taken from a file."""
        return True

    def is_controlled(self) -> bool:
        """True, if the plan asks for it."""
        return True

    def scores(self, name: str) -> dict[str, Score]:
        """See `Records.scores`."""
        return self._scores("scores", name)

    def control(self, name: str) -> dict[str, Score]:
        """See `Records.control`."""
        return self._scores("shuffled", name)

    def weights(self) -> int | None:
        """The number of weights."""
        return self._figures["weights"]

    def output_speed(self) -> float | None:
        """See `Records.output_speed`."""
        return self._figures["output_tokens_per_second"]

    def decided(self) -> set[str]:
        """See `Records.decided`."""
        return set(self._figures["decided"])

    def _scores(self, part: str, name: str) -> dict[str, Score]:
        return {key: Score.from_dict(key, found) for key, found in self._figures[part].get(name, {}).items()}


def read_records(plan: Plan) -> dict[str, Records]:
    """The results of all contestants, by name."""
    found: dict[str, Records] = {}
    # In a plan, the baseline's contestants come first.
    for contestant in plan.contestants:
        name, other = contestant.name, plan.baseline_of(contestant)
        if name in plan.recorded:
            found[name] = Recorded(plan, contestant, plan.recorded[name])
        else:
            # A baseline that is in a file has another start, and no translations to compare with.
            baseline = found[other.name] if other else None
            if other and other.name in plan.recorded:
                baseline = Records(plan, other)
            found[name] = Records(plan, contestant, baseline)
    return found


def _compared(measure: Measure, other: Measure | None, tested: bool) -> Score:
    """A score minus another run's; tested if the record has their comparison."""
    if tested and measure.comparison:
        return Score(measure, measure.comparison.difference, measure.comparison.p_value)
    return Score(measure, measure.value - other.value if other else None)


def _without_sample(validation: dict) -> dict:
    return {key: value for key, value in validation.items() if key != "sample"}
