"""The sections of a plan: their keys, and what their values may be."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from data.corpora.folder import SPLITS
from data.errors import UserError

_LISTS = {tuple[str, ...]: list[str], tuple[int, ...]: list[int]}  # what TOML has for a field's type
_TYPES: dict[Any, str] = {
    str: "a string in quotes",
    int: "a whole number of at least 0",
    float: "a number above 0",
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
        split: which split of them.
        baseline: the system that the others are compared with; "" for none.
        contrapro: whether to score pronouns.
        items: how many items of ContraPro; 0 for all.
        control: whether to also translate the documents in shuffled order.
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
class Recall:
    """How the recall of memories by distance is measured; see `app.probe.experiment.Experiment`.

    Args:
        minutes: the time limit for the training of one memory.
        distances: in windows.
        documents: questions at each distance.
        records: files of other probes; their figures are taken if they were made on the same terms.
    """

    minutes: float = 4.0
    distances: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    documents: int = 1000
    records: tuple[str, ...] = ()


@dataclass(frozen=True)
class Costs:
    """How seconds and memory by length of a document are measured.

    Args:
        corpus: its test split makes up the document.
        tokens: lengths in source tokens.
    """

    corpus: str
    tokens: tuple[int, ...] = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


@dataclass(frozen=True)
class Stacks:
    """How seconds and memory of stacks by length of one input are measured.

    Args:
        quick: only the smallest sizes.
        records: files of benchmarks; the first one that has figures of stacks is taken.
    """

    quick: bool = False
    records: tuple[str, ...] = ()


def _keys(kind: Any) -> dict[str, Any]:
    """The keys of a section and the types of their values, which are the fields of its dataclass."""
    return {key: _LISTS.get(found, found) for key, found in get_type_hints(kind).items()}


def checked(table: dict[str, Any], known: dict[str, Any], path: Path, section: str = "") -> dict[str, Any]:
    """Returns a table whose keys are all known and have the right types; messages put `section` before keys."""
    for key, value in table.items():
        if key not in known:
            raise UserError(f'{path}: unknown key "{section}{key}"; choose from {", ".join(known)}')
        if not _is(value, known[key]):
            raise UserError(f"{path}: {section}{key}: expected {_TYPES[known[key]]}, got {value!r}")
    return table


def _is(value: Any, kind: Any) -> bool:
    if kind in (list[str], list[int]):
        return isinstance(value, list) and all(_is(each, kind.__args__[0]) for each in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value) and value > 0
    return type(value) is kind and (kind is not int or value >= 0)


def check_section(table: Any, name: str, known: dict[str, Any], path: Path) -> None:
    """Refuses what is not a section, an unknown key in it, or a value of the wrong type; `name` is the section's."""
    if not isinstance(table, dict):
        raise UserError(f"{path}: {name}: expected a section, written [{name}]")
    checked(table, known, path, f"{name}.")


def scoring(table: dict[str, Any], systems: dict[str, Any], path: Path) -> Scoring:
    """The section `[score]`.

    Args:
        table: its content.
        systems: the sections of all systems.
        path: the plan's file, for messages.

    Raises:
        UserError: an unknown key, or a value that makes no sense.
    """
    where = f"{path}: score."
    found = checked(table, _keys(Scoring), path, "score.")
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


def section(content: dict[str, Any], name: str, kind: Any, path: Path) -> Any:
    """Reads a section that may be missing.

    Args:
        content: the plan.
        name: the section: recall, costs or stacks.
        kind: its dataclass.
        path: the plan's file, for messages.

    Returns:
        None if it is missing.

    Raises:
        UserError: an unknown key, or a bad value.
    """
    if name not in content:
        return None
    found = checked(content[name], _keys(kind), path, f"{name}.")
    for key in ("distances", "tokens"):
        if key in found and not (found[key] and min(found[key])):
            raise UserError(f"{path}: {name}.{key}: expected numbers of at least 1, got {found[key]}")
    if name == "costs" and "corpus" not in found:
        raise UserError(f"{path}: costs.corpus: expected the name of a corpus with documents, such as europarl")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return kind(**values)
