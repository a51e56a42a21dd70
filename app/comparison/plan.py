"""Plans of comparisons: TOML files with systems, seeds and test sets."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.presets.preset import NAME, Preset, list_presets, load_preset
from app.runs.run import Run
from app.scoring.contrapro import find_items, fingerprint, read_items
from app.scoring.evaluation import PRONOUNS
from app.scoring.testsets import load_documents
from app.training.first_stage import first_stage
from data.corpora.corpora import parse_mixture
from data.errors import UserError
from data.files import read_toml

SPLITS = ("train", "validation", "test")
_PLAN = {
    "name": str,
    "preset": str,
    "set": list[str],
    "seeds": list[int],
    "corpora": list[str],
    "score": dict,
    "systems": dict,
}
_SYSTEM = {"set": list[str], "seeds": list[int]}
_SCORE = {
    "corpora": list[str],
    "split": str,
    "baseline": str,
    "contrapro": bool,
    "items": int,
    "control": bool,
    "samples": int,
}
_TYPES: dict[Any, str] = {
    str: "a string in quotes",
    int: "a whole number of at least 0",
    bool: "true or false",
    dict: "a section",
    list[str]: "a list of strings",
    list[int]: "a list of whole numbers of at least 0",
}


@dataclass(frozen=True)
class Scoring:
    """What is scored, and how.

    Args:
        corpora: names of corpora with documents.
        split: the split of them.
        baseline: the system that the others are compared with; "" for none.
        contrapro: whether to score pronouns.
        items: how many items of ContraPro; 0 for all.
        control: whether to translate the documents in shuffled order as well.
        samples: bootstrap samples.
    """

    corpora: tuple[str, ...]
    split: str = "test"
    baseline: str = ""
    contrapro: bool = False
    items: int = 0
    control: bool = False
    samples: int = 1000


@dataclass(frozen=True)
class Contestant:
    """One training of the comparison: a system with a seed, its run folder, and its preset."""

    system: str
    seed: int
    path: Path
    preset: Preset

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return self.path.name


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Args:
        path: the file that it was read from.
        name: its name.
        folder: where runs and report are written.
        folders: folders that hold corpora.
        score: what is scored.
        contestants: all trainings, in the order in which they are done: seed by seed, the baseline first.
        texts: what is scored: the name of the results of each test set, and the fingerprint of its text.
    """

    path: Path
    name: str
    folder: Path
    folders: tuple[str, ...]
    score: Scoring
    contestants: tuple[Contestant, ...]
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def tests(self) -> list[str]:
        """The names of the results of documents."""
        return [name for name in self.texts if name != PRONOUNS]

    @property
    def systems(self) -> list[str]:
        """The names of all systems, the baseline first."""
        return list(dict.fromkeys(each.system for each in self.contestants))

    def baseline_of(self, contestant: Contestant) -> Contestant | None:
        """What a contestant is compared with: the baseline with the same seed, if there is one."""
        if contestant.system == self.score.baseline:
            return None
        same = (each for each in self.contestants if each.seed == contestant.seed)
        return next((each for each in same if each.system == self.score.baseline), None)

    def chosen(self, systems: Collection[str]) -> list[Contestant]:
        """The contestants of some systems; all if none is named.

        Raises:
            UserError: a name that the plan has not.
        """
        for name in systems:
            if name not in self.systems:
                raise UserError(f'{self.path}: there is no system "{name}"; choose from {", ".join(self.systems)}')
        return [each for each in self.contestants if not systems or each.system in systems]

    def check(self) -> None:
        """Looks for what would otherwise fail hours later.

        Raises:
            UserError: a corpus or a run to start from is missing, or a training was begun with other settings.
        """
        for contestant in self.contestants:
            self._check_run(contestant)

    def _check_run(self, contestant: Contestant) -> None:
        path, preset = contestant.path, contestant.preset
        begun = Run(path, preset) if Run.exists(path) else None
        if begun and (begun.summary().get("finished") or begun.checkpoints.all()):
            Run.restore_preset(path, preset)
            changed = Run.open(path, kind=None).preset.differences(preset)
            if changed:
                raise UserError(
                    f"{path}: was trained with other settings than {self.path} has: {'; '.join(map(str, changed))}. "
                    "Take the change back, choose another folder with --runs, or remove this run"
                )
            return
        corpora = preset.corpora(self.folders)
        for name in [*(name for name, _ in parse_mixture(preset.data.corpora)), *preset.data.validation]:
            corpora.open(name)
        if preset.training.start:
            first_stage(Run(path, preset))


def read_plan(path: Path | str, folder: Path | str | None = None) -> Plan:
    """Reads a plan and resolves the preset of each contestant.

    Args:
        path: the TOML file. A preset that is a file is looked for beside it.
        folder: where the runs are; runs/NAME by default.

    Raises:
        UserError: the file cannot be read, an unknown key, system or preset, a bad value, or no text to score on.
    """
    path = Path(path)
    content = _checked(read_toml(path, "plan"), _PLAN, path)
    for key in ("preset", "score", "systems"):
        if not content.get(key):
            raise UserError(f'{path}: "{key}" is missing; docs/compare.md has an example')
    name = content.get("name", path.stem)
    _check_name(name, f"{path}: name")
    folder = Path(folder) if folder else Path("runs") / name
    score = _scoring(content["score"], content["systems"], path)
    contestants = tuple(_contestants(content, score.baseline, folder, path))
    folders = tuple(content.get("corpora", ()))
    texts = dict(_texts(score, contestants[0].preset, folders))
    return Plan(path, name, folder, folders, score, contestants, texts)


def _checked(table: dict[str, Any], known: dict[str, Any], path: Path, section: str = "") -> dict[str, Any]:
    """A table, all of whose keys are known and have the right type; `section` stands before keys in messages."""
    for key, value in table.items():
        if key not in known:
            raise UserError(f'{path}: unknown key "{section}{key}"; choose from {", ".join(known)}')
        if not _is(value, known[key]):
            raise UserError(f"{path}: {section}{key}: expected {_TYPES[known[key]]}, got {value!r}")
    return table


def _is(value: Any, kind: Any) -> bool:
    if kind in (list[str], list[int]):
        return isinstance(value, list) and all(_is(each, kind.__args__[0]) for each in value)
    return type(value) is kind and (kind is not int or value >= 0)


def _check_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f'{where}: "{name}" becomes part of a folder\'s name, so it must consist of at most 100 letters, digits, '
            ". _ and - and not begin with a dot"
        )


def _scoring(table: dict[str, Any], systems: dict[str, Any], path: Path) -> Scoring:
    where = f"{path}: score."
    found = _checked(table, _SCORE, path, "score.")
    if not found.get("corpora"):
        raise UserError(f"{where}corpora: expected a list of corpora with documents, such as europarl")
    if found.get("split", "test") not in SPLITS:
        raise UserError(f'{where}split: got "{found["split"]}", choose from {", ".join(SPLITS)}')
    baseline = found.get("baseline", "")
    if baseline and baseline not in systems:
        raise UserError(f'{where}baseline: there is no system "{baseline}"; choose from {", ".join(systems)}')
    if found.get("items") and not found.get("contrapro"):
        raise UserError(f"{where}items: is for ContraPro: add contrapro = true, or leave it out")
    return Scoring(**{**found, "corpora": tuple(dict.fromkeys(found["corpora"]))})


def _contestants(content: dict[str, Any], baseline: str, folder: Path, path: Path) -> Iterator[Contestant]:
    """All contestants, seed by seed: each system has a result early, and the baseline before all others."""
    preset = _preset(content["preset"], path)
    seeds: dict[str, list[int]] = {}
    for name, table in content["systems"].items():
        where = f"{path}: systems.{name}"
        _check_name(name, where)
        if not isinstance(table, dict):
            raise UserError(f"{where}: expected a section, written [systems.{name}]")
        _checked(table, _SYSTEM, path, f"systems.{name}.")
        seeds[name] = _seeds(table.get("seeds", content.get("seeds", [1])), where)
    names = sorted(seeds, key=lambda name: name != baseline)
    for seed in dict.fromkeys(seed for name in names for seed in seeds[name]):
        for name in names:
            if seed in seeds[name]:
                changes = [*content.get("set", ()), *content["systems"][name].get("set", ())]
                resolved = _resolved(preset, changes, seed, f"{path}: systems.{name}")
                yield Contestant(name, seed, folder / f"{name}-{seed}", resolved)


def _seeds(seeds: list[int], where: str) -> list[int]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: seeds: expected at least one number, each once, got {seeds}")
    return seeds


def _preset(name: str, path: Path) -> Preset:
    """A built-in preset, or one beside the plan."""
    try:
        return load_preset(path.parent / name if name not in list_presets() and name.endswith(".toml") else name)
    except UserError as error:
        raise UserError(f"{path}: preset: {error}") from error


def _resolved(preset: Preset, changes: Iterable[str], seed: int, where: str) -> Preset:
    changes = list(changes)
    for change in changes:
        if change.partition("=")[0].strip() in ("seed", "training.seed"):
            raise UserError(f"{where}: set: {change}: the key seeds sets the seed; leave it out here")
    try:
        return preset.with_overrides([*changes, f"training.seed={seed}"])
    except UserError as error:
        raise UserError(f"{where}: set: {str(error).removeprefix('--set ')}") from error


def _texts(score: Scoring, preset: Preset, folders: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The name of each test set's results, and the fingerprint of its text."""
    corpora = preset.corpora(folders)
    for name in score.corpora:
        test = load_documents(name, score.split, corpora)
        yield test.name, test.fingerprint
    if score.contrapro:
        yield PRONOUNS, fingerprint(read_items(find_items(folders), score.items))
