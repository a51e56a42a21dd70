"""Plans of comparisons: TOML files with systems, seeds and test sets."""

import functools
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.comparison.made_up import FOLDER as TEXTS
from app.comparison.made_up import write_documents
from app.comparison.recorded import read_content, recorded_runs
from app.comparison.sections import Costs, Recall, Scoring, Stacks, check_section, checked, scoring, section
from app.presets.preset import NAME, Preset, list_presets, load_preset
from app.runs.run import Run
from app.scoring.contrapro import find_items, fingerprint, read_items
from app.scoring.evaluation import PRONOUNS
from app.scoring.testsets import load_documents
from app.training.first_stage import SAME, differences, first_stage
from data.corpora.corpora import parse_mixture
from data.errors import UserError
from data.files import read_toml
from models.memories import in_layers, parts_of, trained_kinds

PLANS = Path(__file__).parent / "plans"
_PLAN = {
    "name": str,
    "preset": str,
    "set": list[str],
    "seeds": list[int],
    "corpora": list[str],
    "made_up": int,
    "stage": str,
    "kinds": bool,
    "records": list[str],
    "stages": dict,
    "score": dict,
    "recall": dict,
    "costs": dict,
    "stacks": dict,
    "systems": dict,
}
_SYSTEM = {"set": list[str], "seeds": list[int], "stage": str, "use": str}
_STAGE = {"preset": str, "set": list[str], "run": str}


@dataclass(frozen=True)
class Contestant:
    """One training of the comparison: a system with a seed, its run folder, and its preset; and whether the system was
    added because it is a kind of memory that the plan does not name."""

    system: str
    seed: int
    path: Path
    preset: Preset
    added: bool = False

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return self.path.name

    @property
    def reads_context(self) -> bool:
        """Whether it reads more of a document than one segment, so that the order of documents may matter."""
        preset = self.preset
        stored = preset.documents.windows != "off" and preset.retrieval.own > 0
        carried = preset.memory.kind != "none" or bool(preset.search.language_model)
        return carried or stored or not preset.window_options().alone


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
        texts: the name of the results of each test set, and the fingerprint of its text.
        stages: trainings that others start from.
        recall, costs, stacks: what else is measured; None for nothing.
        uses: what each system is for, in words.
        records: files that another call has written next to a page; see `app.comparison.recorded`.
        made_up: whether the text is made up, so that figures mean nothing.
    """

    path: Path
    name: str
    folder: Path
    folders: tuple[str, ...]
    score: Scoring
    contestants: tuple[Contestant, ...]
    texts: dict[str, str] = field(default_factory=dict)
    stages: tuple[Contestant, ...] = ()
    recall: Recall | None = None
    costs: Costs | None = None
    stacks: Stacks | None = None
    uses: dict[str, str] = field(default_factory=dict)
    records: tuple[Path, ...] = ()
    made_up: bool = False

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

    def stage_of(self, contestant: Contestant) -> Contestant | None:
        """The training of this plan that a contestant starts from, if there is one."""
        return next((each for each in self.stages if str(each.path) == contestant.preset.training.start), None)

    @functools.cached_property
    def contents(self) -> list[dict[str, Any]]:
        """The contents of the files of `records`; read once."""
        return [read_content(file) for file in self.records]

    @functools.cached_property
    def recorded(self) -> dict[str, dict[str, Any]]:
        """The figures of contestants that need not be trained, by name; see `app.comparison.recorded`."""
        return recorded_runs(self)

    def first_of(self, system: str) -> Contestant:
        """The contestant that represents a system where one seed is enough; one trained here, if there is any."""
        own = [each for each in self.contestants if each.system == system]
        return next((each for each in own if each.name not in self.recorded), own[0])

    def cost_terms(self, system: str) -> dict[str, Any]:
        """Everything that decides what a system costs, for JSON."""
        preset = self.terms(self.first_of(system))["preset"]
        preset.pop("training.seed", None)
        return {"preset": preset, "corpus": self.costs.corpus if self.costs else ""}

    def terms(self, contestant: Contestant) -> dict[str, Any]:
        """Everything that decides how a contestant scores, for JSON.

        This is what differs from the defaults in its preset and in its stage's preset, and what it is scored on.
        """
        stage = self.stage_of(contestant)
        found = {
            "preset": _changes(contestant.preset),
            "stage": _changes(stage.preset) if stage else {},
            "texts": self.texts,
            "samples": self.score.samples,
            "control": self.score.control,
        }
        return json.loads(json.dumps(found))

    def chosen(self, systems: Collection[str] = (), seeds: Collection[int] = ()) -> list[Contestant]:
        """The contestants of some systems and seeds; of all if none is named.

        Raises:
            UserError: a name or a seed that is not in the plan.
        """
        for name in systems:
            if name not in self.systems:
                raise UserError(f'{self.path}: there is no system "{name}"; choose from {", ".join(self.systems)}')
        known = sorted({each.seed for each in self.contestants})
        for seed in seeds:
            if seed not in known:
                raise UserError(f"{self.path}: there is no seed {seed}; choose from {', '.join(map(str, known))}")
        named = (each for each in self.contestants if not systems or each.system in systems)
        return [each for each in named if not seeds or each.seed in seeds]

    def check(self) -> None:
        """Looks for anything that would otherwise fail hours later.

        Raises:
            UserError: a corpus or a run to start from is missing, or a training was begun with other settings.
        """
        for contestant in (*self.stages, *self.contestants):
            self._check_run(contestant)
        if self.costs:
            self.contestants[0].preset.corpora(self.folders).open(self.costs.corpus)

    def _check_run(self, contestant: Contestant) -> None:
        path, preset = contestant.path, contestant.preset
        begun = Run(path, preset) if Run.exists(path) else None
        if begun and (begun.summary().get("finished") or begun.checkpoints.all()):
            Run.restore_preset(path, preset)
            changed = Run.open(path, kind=None).preset.differences(preset)
            if changed:
                raise UserError(
                    f"{path}: was trained with settings other than {self.path} has: {'; '.join(map(str, changed))}. "
                    "Undo the change, choose another folder with --runs, or remove this run"
                )
            return
        corpora = preset.corpora(self.folders)
        for name in [*(name for name, _ in parse_mixture(preset.data.corpora)), *preset.data.validation]:
            corpora.open(name)
        stage = self.stage_of(contestant)
        if stage and (other := differences(stage.preset, preset, SAME)):
            where = f"{self.path}: systems.{contestant.system}"
            raise UserError(f"{where}: its stage has {', '.join(other)}: set these keys to the same values")
        if preset.training.start and not stage:
            first_stage(Run(path, preset))


def _changes(preset: Preset) -> dict[str, Any]:
    """What differs from the defaults, by key, except the path of the run that it starts from."""
    found = {each.key: each.after for each in Preset("").differences(preset)}
    return {key: value for key, value in found.items() if key != "training.start"}


def find_plan(text: str) -> Path:
    """The file of a plan: one of those that come with Weitblick, by name, or a path."""
    built_in = PLANS / f"{text}.toml"
    return built_in if NAME.fullmatch(text) and built_in.exists() else Path(text)


def read_plan(
    path: Path | str, folder: Path | str | None = None, folders: Iterable[str] = (), items: int | None = None
) -> Plan:
    """Reads a plan and resolves the preset of each contestant.

    Args:
        path: the TOML file. A preset that is a file is looked for next to it.
        folder: where the runs are; runs/NAME by default.
        folders: more folders that hold corpora.
        items: how many items of ContraPro to score, 0 for all; None for what the plan says.

    Raises:
        UserError: the file cannot be read; an unknown key, system or preset; a bad value; or no text to score on.
    """
    path = Path(path)
    content = checked(read_toml(path, "plan"), _PLAN, path)
    for key in ("preset", "score", "systems"):
        if not content.get(key):
            raise UserError(f'{path}: "{key}" is missing; docs/compare.md has an example')
    name = content.get("name", path.stem)
    _check_name(name, f"{path}: name")
    folder = Path(folder) if folder else Path("runs") / name
    folders = (*content.get("corpora", ()), *folders)
    if content.get("made_up"):
        write_documents(folder / TEXTS, content["made_up"])
        folders = (*folders, str(folder / TEXTS))
    score = scoring(content["score"], content["systems"], path)
    if items is not None:
        score = replace(score, contrapro=True, items=items)
    stages = dict(_stages(content, folder, path))
    contestants = tuple(_contestants(content, stages, score.baseline, folder, path))
    return Plan(
        path,
        name,
        folder,
        folders,
        score,
        contestants,
        dict(_texts(score, contestants[0].preset, folders)),
        tuple(stages.values()),
        section(content, "recall", Recall, path),
        section(content, "costs", Costs, path),
        section(content, "stacks", Stacks, path),
        {each: table["use"] for each, table in content["systems"].items() if table.get("use")},
        tuple(map(Path, content.get("records", ()))),
        bool(content.get("made_up")),
    )


def _check_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f'{where}: "{name}" becomes part of a folder\'s name, so it must consist of at most 100 letters, digits, '
            ". _ and - and not begin with a dot"
        )


def _stages(content: dict[str, Any], folder: Path, path: Path) -> Iterator[tuple[str, Contestant]]:
    """The trainings that systems may start from, by name."""
    for name, table in content.get("stages", {}).items():
        where = f"{path}: stages.{name}"
        _check_name(name, where)
        check_section(table, f"stages.{name}", _STAGE, path)
        if not table.get("preset"):
            raise UserError(f"{where}.preset: expected the name of a preset, such as starter")
        preset = _resolved(_preset(table["preset"], path), table.get("set", ()), 1, where)
        run = Path(table["run"]) if table.get("run") else folder / f"stage-{name}"
        yield name, Contestant(f"stage {name}", 1, run, preset)


def _contestants(
    content: dict[str, Any], stages: dict[str, Contestant], baseline: str, folder: Path, path: Path
) -> Iterator[Contestant]:
    """All contestants, seed by seed: each system has a result early, and the baseline before all others."""
    preset = _preset(content["preset"], path)
    systems, seeds = content["systems"], {}
    for name, table in systems.items():
        where = f"{path}: systems.{name}"
        _check_name(name, where)
        check_section(table, f"systems.{name}", _SYSTEM, path)
        seeds[name] = _seeds(table.get("seeds", content.get("seeds", [1])), where)
    changes = {name: [*content.get("set", ()), *table.get("set", ())] for name, table in systems.items()}
    for name, table in systems.items():
        if stage := table.get("stage", content.get("stage", "")):
            if stage not in stages:
                raise UserError(f'{path}: systems.{name}: there is no stage "{stage}"; choose from {", ".join(stages)}')
            changes[name].append(f"training.start={stages[stage].path}")
    if content.get("kinds"):
        named = [_resolved(preset, each, 1, f"{path}: systems.{name}").memory.kind for name, each in changes.items()]
        for kind, more in _other_kinds(named):
            start = [f"training.start={stages[content['stage']].path}"] if content.get("stage") in stages else []
            changes[kind], seeds[kind] = [*content.get("set", ()), *more, *start], content.get("seeds", [1])
    names = sorted(seeds, key=lambda name: name != baseline)
    for seed in dict.fromkeys(seed for name in names for seed in seeds[name]):
        for name in names:
            if seed in seeds[name]:
                resolved = _resolved(preset, changes[name], seed, f"{path}: systems.{name}")
                yield Contestant(name, seed, folder / f"{name}-{seed}", resolved, name not in systems)


def _other_kinds(named: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """The kinds of memory that no system has, those of a reader too, each with the changes that choose it."""
    known = {part for kind in named for part in parts_of(kind)}
    for kind in trained_kinds():
        if kind not in known:
            tokens = ["training.memory_tokens=reference"] if in_layers(kind) else []
            yield kind, [f"memory.kind={kind}", *tokens]


def _seeds(seeds: list[int], where: str) -> list[int]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: seeds: expected at least one number, each once, got {seeds}")
    return seeds


def _preset(name: str, path: Path) -> Preset:
    """A built-in preset, or one next to the plan."""
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
        raise UserError(f"{where}: set: {str(error).removeprefix('--set').lstrip(': ')}") from error


def _texts(score: Scoring, preset: Preset, folders: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The name of each test set's results, and the fingerprint of its text."""
    corpora = preset.corpora(folders)
    for name in score.corpora:
        test = load_documents(name, score.split, corpora)
        yield test.name, test.fingerprint
    if score.contrapro:
        yield PRONOUNS, fingerprint(read_items(find_items(folders), score.items))
