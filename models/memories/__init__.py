"""Memories: what is carried from one window of a document to the next, and the registry of their kinds.

A memory is one file in this folder. It declares a frozen dataclass of its settings (see `models.options.option`) and a
layer, a subclass of `models.memories.base.Memory`, and joins the two with `@memory(kind, Settings)`. Presets then offer
the kind and its settings as `[memory.KIND]`.

Importing this package does not import Keras, which would take seconds: only the settings are needed to read a preset.
"""

import ast
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.options import option

# Stored outside the model, see `models.memories.retrieval`; every run may read it, whatever its own kind.
RETRIEVAL = "retrieval"
# "concat" remembers only through its windows, which repeat the segments before the current one.
WITHOUT_LAYER = ("none", "concat", RETRIEVAL)
# Settings that all memories have; see `models.document.DocumentTransformer`.
GENERAL = ("kind", "sides", "layers", "read", "read_bias", "mixed")

AUTO, TOP, ALL = "auto", "top", "all"
GATE, ATTENTION, GATED_ATTENTION = "gate", "attention", "gated_attention"
# Both make what is read further keys of self-attention.
BY_ATTENTION = (ATTENTION, GATED_ATTENTION)

_settings: dict[str, type] = {}
_layers: dict[str, type] = {}
_modules: dict[str, str] = {}


def memory(kind: str, settings: type) -> Callable[[type], type]:
    """Registers the decorated layer as a kind of memory.

    Args:
        kind: its name in presets; several kinds may share a layer.
        settings: a frozen dataclass of `option` fields, which are the layer's arguments after the width. In the files
            of this folder it may use only literals, `option` and `dataclass`, because it is also created from the
            file's text alone. `IN_LAYERS = True` says that the memory holds the inputs of layers; `weightless`, that
            with these settings the layer has no weights.

    Example:
        @memory("gru", GRUSettings)
        @keras.saving.register_keras_serializable(package="weitblick")
        class GRUMemory(Memory):
            def __init__(self, width, slots=64, **kwargs):
    """

    def register(layer: type) -> type:
        if _modules.get(kind, layer.__module__) != layer.__module__:
            raise ValueError(f"{layer.__module__}: memory kind {kind!r} is taken by {_modules[kind]}")
        _declare(kind, settings, layer.__module__)
        _layers[kind] = layer
        return layer

    return register


def kinds() -> tuple[str, ...]:
    """The names of all kinds."""
    return tuple(dict.fromkeys((*WITHOUT_LAYER, *_settings)))


def trained_kinds() -> tuple[str, ...]:
    """The kinds that make a difference in training."""
    return tuple(kind for kind in kinds() if kind != RETRIEVAL)


def settings_of(kind: str) -> type:
    """The dataclass of a kind's settings; for kinds without settings, one without fields.

    Raises:
        ValueError: no such kind.
    """
    if kind not in kinds():
        raise ValueError(f"memory kind must be one of {', '.join(kinds())}, got {kind!r}")
    return _settings.get(kind, NoSettings)


def parts_of(kind: str) -> tuple[str, ...]:
    """The kinds that a combination such as "gru+recurrence" joins; for a single kind, just that kind."""
    return tuple(part.strip() for part in kind.split("+"))


def check_parts(kind: str) -> None:
    """Checks a kind or a combination, which must join a memory of a few vectors with one that holds layers' positions.

    Raises:
        ValueError: there is no such kind, or they do not go together. Says why.
    """
    parts = parts_of(kind)
    for part in parts:
        settings_of(part)
    for part in parts if len(parts) > 1 else ():
        if part == RETRIEVAL:
            raise ValueError('"retrieval" needs no combination: trusted pairs are read with every kind')
        if part in WITHOUT_LAYER:
            raise ValueError(f'"{part}" cannot be combined: it carries nothing from window to window')
    held = [part for part in parts if in_layers(part)]
    if len(held) > 1:
        raise ValueError(f'"{held[0]}" and "{held[1]}" would hold the same positions twice: choose one of them')
    if len(parts) > 1 and len(parts) - len(held) != 1:
        single = [each for each in trained_kinds() if each not in WITHOUT_LAYER]
        above, inside = (", ".join(each for each in single if in_layers(each) == held) for held in (False, True))
        raise ValueError(f'"{kind}": join one of {above} and one of {inside}, as in "gru+recurrence"')


def setting_names(kind: str) -> tuple[str, ...]:
    """The names of a kind's settings."""
    return tuple(key.name for key in fields(settings_of(kind)))


def settings_in(kind: str) -> dict[str, tuple[str, str]]:
    """The settings of all `parts_of` a kind: by name, the part and its setting. A setting that several parts have is
    called PART.NAME."""
    found = [(part, name) for part in parts_of(kind) for name in setting_names(part)]
    names = [name for _, name in found]
    return {name if names.count(name) == 1 else f"{part}.{name}": (part, name) for part, name in found}


def settings_by_part(kind: str, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each of the `parts_of` a kind, from values by the names of `settings_in` and of `GENERAL`.

    Raises:
        ValueError: the kind has no such setting.
    """
    known = settings_in(kind)
    found: dict[str, dict[str, Any]] = {part: {} for part in parts_of(kind)}
    for key in (key for key in given if key not in GENERAL):
        if key not in known:
            raise ValueError(f"memory kind {kind!r} has no setting {key!r}")
        part, name = known[key]
        found[part][name] = given[key]
    return found


def in_layers(kind: str) -> bool:
    """Whether a kind holds the inputs of layers, for self-attention, as its settings say by `IN_LAYERS = True`."""
    return getattr(settings_of(kind), "IN_LAYERS", False)


def places_of(kind: str, layers: Sequence[str], read: str) -> dict[str, tuple[Any, str]]:
    """Where each of the `parts_of` a kind is and how it is read; otherwise as `place_of`."""
    check_parts(kind)
    parts = parts_of(kind)
    if len(parts) > 1 and read in BY_ATTENTION:
        raise ValueError(
            f'memory.read: in "{kind}" self-attention can read only the memory that holds the inputs of layers, as '
            'distances to the other would mean nothing: choose "auto"'
        )
    return {part: place_of(part, layers, read) for part in parts}


def place_of(kind: str, layers: Sequence[str], read: str) -> tuple[Any, str]:
    """Where a memory is and how it is read.

    Args:
        kind: one of `kinds()` that has a layer.
        layers, read: as in a preset's `[memory]`.

    Returns:
        `TOP`, `ALL` or a list of layer numbers; and `GATE`, `ATTENTION` or `GATED_ATTENTION`.

    Raises:
        ValueError: there is no such place, or the kind cannot be there or be read that way. The message begins with the
            key.
    """
    entries = [str(entry) for entry in layers]
    places: Any = entries[0] if len(entries) == 1 else None
    if places not in (AUTO, TOP, ALL):
        if not entries or not all(entry.isdecimal() and int(entry) > 0 for entry in entries):
            raise ValueError(f"memory.layers: expected auto, top, all or numbers of layers from 1, got {layers!r}")
        places = sorted({int(entry) for entry in entries})
    places = places if places != AUTO else (ALL if in_layers(kind) else TOP)
    if read == AUTO:
        read = ATTENTION if in_layers(kind) else GATE
    if in_layers(kind) and places == TOP:
        raise ValueError(f'memory.layers: "{kind}" holds the inputs of layers: choose "all" or numbers of layers')
    if in_layers(kind) and read == GATE:
        raise ValueError(f'memory.read: "{kind}" is read by self-attention: choose "attention" or "gated_attention"')
    if places == TOP and read in BY_ATTENTION:
        raise ValueError(
            'memory.read: above a stack there is no self-attention: choose "gate", or memory.layers = "all"'
        )
    return places, read


def new_memory(kind: str, width: int, dtype: Any = None, name: str | None = None, **settings: Any) -> Any:
    """The layer of a kind of memory.

    Args:
        kind: one of `kinds()` that has a layer.
        width: model width D.
        dtype, name: the layer's.
        **settings: those that differ from the defaults of `settings_of(kind)`.

    Raises:
        ValueError: the kind has no layer, or does not have these settings.
    """
    known = [key.name for key in fields(settings_of(kind))]
    if kind in WITHOUT_LAYER:
        with_layer = [each for each in _settings if each not in WITHOUT_LAYER]
        raise ValueError(f"memory kind {kind!r} has no layer; choose from {', '.join(with_layer)}")
    for key in settings:
        if key not in known:
            raise ValueError(f"memory kind {kind!r} has no setting {key!r}; it has {', '.join(known)}")
    if kind not in _layers:
        importlib.import_module(_modules[kind])
    return _layers[kind](width, **asdict(settings_of(kind)(**settings)), dtype=dtype, name=name)


@dataclass(frozen=True)
class NoSettings:
    """Nothing can be set."""


def _declare(kind: str, settings: type, module: str) -> None:
    """Keeps the first declaration, so that all settings of a kind are of one class."""
    if wrong := [key.name for key in fields(settings) if key.name in GENERAL]:
        raise ValueError(f"memory kind {kind!r}: the setting {wrong[0]!r} is one that all memories have")
    _settings.setdefault(kind, settings)
    _modules[kind] = module


def _read_declarations(path: Path) -> None:
    """Declares the kinds of a file from its text: only its settings are executed, not its Keras import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found = [pair for node in classes.values() for pair in map(_registration, node.decorator_list) if pair]
    module = f"{__name__}.{path.stem}"
    names: dict[str, Any] = {"dataclass": dataclass, "option": option, "__name__": module}
    for kind, settings in found:
        code = ast.Module([classes[settings]], type_ignores=[])
        exec(compile(code, str(path), "exec"), names)
        _declare(kind, names[settings], module)


def _registration(node: ast.expr) -> tuple[str, str] | None:
    """The kind and the name of the settings in `@memory(kind, Settings)`."""
    match node:
        case ast.Call(func=ast.Name(id="memory"), args=[ast.Constant(value=kind), ast.Name(id=settings)]):
            return str(kind), settings
    return None


for _path in sorted(Path(__file__).parent.glob("*.py")):
    _read_declarations(_path)
