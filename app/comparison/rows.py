"""Rows of the scoreboard: a run's scores on a test set, with everything needed to make them again."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.comparison.records import Training, read_training
from app.presets.preset import Preset, list_presets, load_preset
from app.presets.text import to_toml
from app.runs.checkpoints import to_stderr
from app.runs.run import Run
from app.runs.weights import count_values
from app.scoring.bootstrap import Measure
from app.scoring.departures import departures
from app.scoring.evaluation import DOCUMENTS, MOSES
from app.scoring.results import Results
from data.corpora.corpora import is_folder, parse_mixture
from data.corpora.folder import SPLITS
from data.corpora.wmt14 import OFFICIAL
from data.errors import UserError

# Where commands look for folders of corpora, as on the pages of docs/.
CORPORA = "../corpora"
# Settings that a row names separately.
_APART = ("training.seed", "training.start")
_KEPT = ("name", "value", "low", "high", "units", "count", "signature")


@dataclass(frozen=True)
class Row:
    """A run's scores on one test set.

    Args:
        run: the name of its folder.
        preset: the preset of Weitblick that is closest to the run's; "" for an imported run.
        changes: keys that differ from that preset, as for --set.
        seed: the seed of the training.
        start: the run whose weights it began with; "" for none.
        test, fingerprint: what was scored, and a checksum of its text.
        scores: as in the results, each with its 95% interval and signature.
        updates, minutes, weights: those of the training; `weights` is how many numbers the model has.
        machine: what the run was trained on, or if imported translated on: precision, backend, cores, processor.
        commit: the code that scored it.
        date: when it was scored.
        tokens: target tokens trained on; None if not known.
        moses: BLEU on lower-cased Moses tokens, like one of `scores`; None if it was not measured.
        corpora: names of corpora that are folders: those of training and validation, and the one that was scored.
        corpus: how the preset names the scored corpus if it uses not a name, but a path or a query; "" otherwise.
        imported: format and folder of the imported model; "" for a run that was trained here.
        obstacle: why it cannot be made again by a command; "" if it can.
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
    tokens: int | None = None
    moses: dict[str, Any] | None = None
    corpora: tuple[str, ...] = ()
    corpus: str = ""
    imported: str = ""
    obstacle: str = ""

    @property
    def main(self) -> Measure:
        """The first score."""
        return Measure.from_dict(self.scores[0])

    @property
    def command(self) -> str:
        """The command that makes the run, or that imports it if it was imported."""
        if self.imported:
            return f"weitblick import {self.imported} --run runs/{shlex.quote(self.run)}"
        folder = [] if self.run == self.preset else ["--run", f"runs/{self.run}"]
        places = ["--corpora", CORPORA] if self.corpora else []
        return shlex.join(["weitblick", "train", self.preset, *folder, "--set", *self.settings, *places])

    @property
    def settings(self) -> list[str]:
        """Everything that differs from the preset, as for --set: `changes`, seed, and start."""
        start = [f"training.start={self.start}"] if self.start else []
        return [*self.changes, f"training.seed={self.seed}", *start]

    @property
    def scoring(self) -> list[str]:
        """The corpus and split that were scored, as options.

        Raises:
            UserError: it was scored from files.
        """
        found = _corpus_and_split(self.test)
        if not found:
            raise UserError(f"{self.test}: was scored from files; only what is in a corpus can be scored again")
        corpus, split = found
        return ["--corpus", self.corpus or corpus, *(["--split", split] if split != "test" else [])]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Row":
        """A row of a scoreboard's JSON file; one of an earlier version lacks the last fields."""
        read: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**read)


def rows_of(path: Path | str, report: Callable[[str], None] = to_stderr) -> list[Row]:
    """The rows of a run: one for each test set that its present weights were scored on as its preset says.

    Args:
        path: the run folder.
        report: called with a line for each result that is left out because it was not made as the preset says.

    Raises:
        UserError: it is not a run, its training has not ended, or it has no such score.
    """
    run = Run.open(path)
    training, imported = read_training(run), run.summary().get("imported")
    if not training.finished and not imported:
        raise UserError(f"{path}: the training has not ended; the same `weitblick train` command resumes it")
    results, checksum = Results(run.path), run.weights_file()[2]
    found = [(name, results.read(name)) for name in results.names()]
    present = [each for each in found if each[1].get("weights", {}).get("checksum") == checksum and _scores(each[1])]
    if not present:
        raise UserError(f"{path}: its weights were not scored; `weitblick evaluate {path}` does that")
    others = {name: _departures(run, record) for name, record in present}
    for name, why in others.items():
        if why:
            report(f"note: {path}: {name} is left out, as it was made with {'; '.join(why)}")
    plain = [record for name, record in present if not others[name]]
    if not plain:
        raise UserError(f"{path}: was not scored as its preset says; `weitblick evaluate {path}` does that")
    made: dict[str, Any] = _imported(imported) if imported else _trained(run, training)
    common: dict[str, Any] = {"run": run.path.resolve().name, "weights": count_values(run.weights_file()[1]), **made}
    return [Row(**common | _scored(run, record, made)) for record in plain]


def _departures(run: Run, record: Mapping[str, Any]) -> list[str]:
    """How a record was made differently from what the preset says."""
    name, origin = record["test_set"]["name"], record["test_set"]["origin"]
    corpus, split = _corpus_and_split(origin) or ("", "")
    whole = {
        Path(origin).name,
        f"{Path(corpus).name}-{split}",
        *(f"{each.replace('/', '-')}-test" for each in OFFICIAL),
    }
    part = [] if name in whole else ["a part of the text"]
    return [*part, *departures(run, record, _scores(record))]


def _trained(run: Run, training: Training) -> dict[str, Any]:
    """What made a run that was trained."""
    preset, changes = _told(run.preset)
    sessions = run.summary().get("sessions") or [{}]
    retrieval = run.preset.retrieval
    # Without a translation memory, retrieval reads only the model's own output.
    learnt = retrieval.gate == "learnt" and retrieval.own > 0
    return {
        "preset": preset,
        "changes": changes,
        "seed": run.preset.training.seed,
        "start": run.preset.training.start,
        "updates": training.update,
        "minutes": round(training.seconds / 60, 1),
        "tokens": training.tokens,
        "machine": _machine(sessions[0]),
        "obstacle": "its retrieval gate was learnt by `weitblick tune`" if learnt else "",
    }


def _imported(summary: Mapping[str, str]) -> dict[str, Any]:
    """What made a run that was imported; it was not trained here, so only its scores are known."""
    obstacle = "it was imported, and not trained here: import the model and score it with `weitblick evaluate`"
    what = f"{summary['format']} {shlex.quote(Path(summary['folder']).name)}"
    nothing = {"preset": "", "changes": (), "seed": 0, "start": "", "updates": 0, "minutes": 0.0}
    return {**nothing, "imported": what, "obstacle": obstacle}


def _scored(run: Run, record: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says about the scores."""
    data, origin = run.preset.data, record["test_set"]["origin"]
    corpus, _ = _corpus_and_split(origin) or ("", "")
    named = [*(name for name, _ in parse_mixture(data.corpora)), *data.validation, *data.test]
    same = [name for name in named if corpus and not is_folder(name) and _name_of(name, run.preset) == corpus]
    needed = dict.fromkeys([*named, *([corpus] if corpus and not same else [])])
    moses = record.get(MOSES)
    return {
        "test": origin,
        "fingerprint": record["test_set"]["fingerprint"],
        "scores": tuple({key: score[key] for key in _KEPT} for score in _scores(record)),
        "moses": moses and {key: moses[key] for key in _KEPT},
        "corpora": () if made.get("imported") else tuple(filter(is_folder, needed)),
        "corpus": same[0] if same and same[0] != corpus else "",
        "machine": made.get("machine") or _machine(record["decided"]),
        "commit": record.get("commit", ""),
        "date": record["date"],
        "obstacle": made["obstacle"] or ("" if corpus else f"it was scored on {origin}, which is in no corpus"),
    }


def _name_of(corpus: str, preset: Preset) -> str:
    """What results call a corpus that a preset names differently, such as by its path; "" if it is not there."""
    try:
        return preset.corpora().open(corpus).name
    except UserError:
        return ""


def _scores(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores of a translated text in a record; [] if it has none, like the record of an analysis or of pronouns."""
    if "origin" not in record.get("test_set", {}):
        return []
    return record.get("scores") or record.get(DOCUMENTS, {}).get("scores", [])


def _corpus_and_split(test: str) -> tuple[str, str] | None:
    """The corpus and split that `TestSet.origin` names; None for files."""
    corpus, _, split = test.rpartition(", ")
    if corpus == "sacreBLEU":
        return split, "test"
    return (corpus, split) if split in SPLITS and corpus else None


def _machine(found: Mapping[str, Any]) -> str:
    """What a training, or a translation, was computed with."""
    known = {key: found.get(key, "unknown") for key in ("precision", "backend", "processor", "cores")}
    return "{precision}, {backend}, {processor}, cores: {cores}".format_map(known)


def _told(preset: Preset) -> tuple[str, tuple[str, ...]]:
    """The preset of Weitblick that is closest to this one, and the differences.

    From these, anybody's preset can be made on any machine.
    """
    names = [preset.name] if preset.name in list_presets() else list_presets()
    found = {name: load_preset(name).differences(preset) for name in names}
    name = min(found, key=lambda each: len(found[each]))
    return name, tuple(f"{one.key}={to_toml(one.after)}" for one in found[name] if one.key not in _APART)
