"""The scoreboard: a row for each test set that a run was scored on, with all that is needed to repeat it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.comparison.records import read_training
from app.comparison.report import markdown_table
from app.presets.preset import Preset, list_presets, load_preset
from app.presets.text import to_toml
from app.runs.run import Run
from app.runs.weights import count_values
from app.scoring.bootstrap import Measure
from app.scoring.evaluation import DOCUMENTS
from app.scoring.results import Results
from data.errors import UserError
from data.files import read_json, write_between, write_json

BEGIN, END = "<!-- begin: written by weitblick scoreboard -->", "<!-- end: written by weitblick scoreboard -->"
# What decides where and when a run is made, not what comes out; and what a row names by itself.
_APART = ("training.seed", "training.start", "tokenizer.run")
COLUMNS = ("test", "score", "run", "updates", "minutes", "weights", "made on")


@dataclass(frozen=True)
class Row:
    """A run's scores on one test set.

    Args:
        run: the name of its folder.
        preset: the preset's name, or that of a preset file of somebody's own.
        changes: keys that differ from that preset, as for --set.
        seed: of the training.
        start: the run whose weights it began with; "" for none.
        test, fingerprint: what was scored, and a checksum of its text.
        scores: as in the results, each with its 95% interval and signature.
        updates, minutes, weights: of the training; `weights` are numbers in the model.
        machine: what it was trained on: precision, backend, cores, processor.
        commit: the code that scored it.
        date: when that was.
    """

    run: str
    preset: str
    changes: tuple[str, ...]
    seed: int
    start: str
    test: str
    fingerprint: str
    scores: tuple[dict[str, Any], ...]
    updates: int
    minutes: float
    weights: int
    machine: str
    commit: str
    date: str

    @property
    def main(self) -> Measure:
        """The first score."""
        return Measure.from_dict(self.scores[0])

    @property
    def command(self) -> str:
        """The command that makes the run."""
        changes = " ".join([*map(_quoted, self.changes), f"training.seed={self.seed}"])
        start = f" {_quoted(f'training.start={self.start}')}" if self.start else ""
        return f"weitblick train {self.preset} --set {changes}{start}"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Row":
        """A row of a scoreboard's JSON file."""
        return cls(**{**values, "changes": tuple(values["changes"]), "scores": tuple(values["scores"])})


def rows_of(path: Path | str) -> list[Row]:
    """The rows of a run.

    Raises:
        UserError: it is no run, its training has not ended, or it was not scored.
    """
    run = Run.open(path)
    training = read_training(run)
    if not training.finished:
        raise UserError(f"{path}: the training has not ended; the same `weitblick train` goes on with it")
    results, checksum = Results(run.path), run.weights_file()[2]
    found = [(name, results.read(name)) for name in results.names()]
    scored = [(name, record) for name, record in found if record.get("weights", {}).get("checksum") == checksum]
    if not scored:
        raise UserError(f"{path}: its weights were not scored; `weitblick evaluate {path}` does that")
    preset, changes = _told(run.preset)
    session = run.summary()["sessions"][0]
    common: dict[str, Any] = {
        "run": run.path.resolve().name,
        "preset": preset,
        "changes": changes,
        "seed": run.preset.training.seed,
        "start": run.preset.training.start,
        "updates": training.update,
        "minutes": round(training.seconds / 60, 1),
        "weights": count_values(run.weights_file()[1]),
        "machine": "{precision}, {backend}, {processor}, cores: {cores}".format_map(session),
    }
    return [Row(**common, **own) for _, record in scored if (own := _scored(record))]


def read_rows(path: Path | str) -> list[Row]:
    """The rows of a scoreboard's JSON file; none where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not Path(path).exists():
        return []
    try:
        return [Row.from_dict(one) for one in read_json(path)["rows"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: is no scoreboard; expected the file that `weitblick scoreboard` wrote") from error


def write_board(page: Path | str, rows: Sequence[Row]) -> list[Row]:
    """Puts rows into a page, between its two markers, and into a JSON file of the same name.

    Rows of other runs stay. Rows of the same run and test set are replaced.

    Args:
        page: a Markdown page.
        rows: the new rows.

    Returns:
        All rows, by test set, the best first.

    Raises:
        UserError: there is no such page, or it has no markers.
    """
    record = Path(page).with_suffix(".json")
    every = {(row.run, row.test): row for row in (*read_rows(record), *rows)}
    ordered = sorted(every.values(), key=lambda row: (row.test, -row.main.value, row.run))
    write_between(page, BEGIN, END, "\n".join(_markdown(ordered)))
    write_json(record, {"rows": [asdict(row) for row in ordered]})
    return ordered


def cells(row: Row) -> list[str]:
    """A row for people, below `COLUMNS`."""
    measure = row.main
    interval = "" if measure.low is None else f" ({measure.low:.1f} - {measure.high:.1f})"
    made = f"{row.machine}; {row.commit}, {row.date[:10]}"
    sizes = [f"{row.updates:,}", f"{row.minutes:.1f}", f"{row.weights:,}"]
    return [row.test, f"{measure.name} {measure.value:.1f}{interval}", row.run, *sizes, made]


def _markdown(rows: Sequence[Row]) -> Iterator[str]:
    yield from markdown_table(COLUMNS, list(map(cells, rows)))
    yield ""
    signatures = dict.fromkeys(score["signature"] for row in rows for score in row.scores[:1] if score["signature"])
    if signatures:
        yield f"Signatures: {', '.join(f'`{one}`' for one in signatures)}."
        yield ""
    yield "```text"
    for run, command in dict((row.run, row.command) for row in rows).items():
        yield f"{run}: {command}"
    yield "```"


def _scored(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the scores; {} if it has none, such as that of an analysis."""
    scores = record.get("scores") or record.get(DOCUMENTS, {}).get("scores", [])
    if not scores:
        return {}
    kept = ("name", "value", "low", "high", "units", "count", "signature")
    return {
        "test": record["test_set"]["origin"],
        "fingerprint": record["test_set"]["fingerprint"],
        "scores": tuple({key: score[key] for key in kept} for score in scores),
        "commit": record.get("commit", ""),
        "date": record["date"],
    }


def _told(preset: Preset) -> tuple[str, tuple[str, ...]]:
    """The name of a run's preset, and what differs from it; nothing where the preset does not come with Weitblick."""
    if preset.name not in list_presets():
        return preset.name, ()
    differences = load_preset(preset.name).differences(preset)
    return preset.name, tuple(f"{one.key}={to_toml(one.after)}" for one in differences if one.key not in _APART)


def _quoted(change: str) -> str:
    return f"'{change}'" if set(change) & set(' "[]') else change
