"""What the recall probe compares: kinds of memory with settings of their own, and how far each should remember."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from app.presets.preset import Preset
from app.presets.schema import MEMORY, ModelPreset, keys
from app.probe.documents import Task
from data.errors import UserError
from models.memories import (
    ALL,
    RETRIEVAL,
    TOP,
    WITHOUT_LAYER,
    parts_of,
    places_of,
    settings_by_part,
    settings_in,
    trained_kinds,
)

# Two layers, because concat must first join each value to its key, then look it up by the key asked for; rotary,
# because concat's windows are long and "the previous word" then works the same at every position.
MODEL: dict[str, Any] = {"encoder_layers": 2, "decoder_layers": 1, "width": 64, "hidden": 128, "heads": 4}
MODEL |= {"dropout": 0.0, "norm": "pre", "positions": "rotary"}
# Changes from the defaults. Those of the memories keep their limits within the measured distances: with 64 vectors per
# window `variable` would be eight times as large as `gru`, and caches of 128 positions hold 32 windows. Those of
# documents and training only satisfy the checks of presets; the probe makes its own windows.
PRESET = Preset("probe", model=ModelPreset(**MODEL)).with_overrides(
    [
        "memory.variable.summaries=4",
        "memory.recurrence.cache=64",
        "memory.cache.cache=64",
        "memory.compressive.cache=32",
        "memory.compressive.compressed=32",
        "documents.windows=segments",
        "documents.size=2",
        "training.memory_tokens=reference",
    ]
)


@dataclass(frozen=True)
class Candidate:
    """One of the memories that are compared.

    Attributes:
        name: the kind and the settings that were chosen for it, such as "compressive rate=2".
        memory: all its settings, as `models.document.DocumentTransformer` takes them.
    """

    name: str
    memory: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its kind of memory, or two joined by +."""
        return self.memory["kind"]

    @property
    def settings(self) -> dict[str, Any]:
        """Those settings that make a difference."""
        return {} if self.kind in WITHOUT_LAYER else {key: self.memory[key] for key in self.memory if key != "kind"}


def candidate(text: str, preset: Preset = PRESET) -> Candidate:
    """Reads a candidate.

    Args:
        text: a kind or two joined by +, perhaps followed by keys of a preset's `[memory]` and `[memory.KIND]` with
            values, such as "gru layers=all read=attention".
        preset: settings of its memories that are not in the text.

    Raises:
        UserError: an unknown kind or key, a bad value, or values that do not go together.
    """
    kind, *changes = text.split() or [""]
    name = " ".join([kind, *changes])
    if not set(parts_of(kind)) <= set(trained_kinds()):
        raise UserError(f'--memory "{name}": expected one of {", ".join(trained_kinds())}, perhaps with KEY=VALUE')
    overrides = [f"memory.kind={kind}", *(_with_section(change, kind, name) for change in changes)]
    try:
        return Candidate(name, preset.with_overrides(overrides).memory_settings())
    except UserError as error:
        raise UserError(f'--memory "{name}": {str(error).removeprefix("--set").lstrip(": ")}') from error


def name_of(preset: Preset) -> str:
    """A preset's memory by its name as a candidate: its kind, and the settings that differ from the defaults."""
    kind, default = preset.memory.kind, Preset("default")
    before, after = (replace(each, memory=replace(each.memory, kind=kind)) for each in (default, preset))
    changed = [
        change
        for change in before.differences(after)
        if change.key.startswith(MEMORY) and not change.key.startswith(MEMORY + RETRIEVAL)
    ]
    shown = {".".join((MEMORY + part, own)): name for name, (part, own) in settings_in(kind).items()}
    names = (shown.get(change.key) or change.key.rpartition(".")[2] for change in changed)
    return " ".join([kind, *(f"{name}={_written(change.after)}" for name, change in zip(names, changed, strict=True))])


def _written(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value}"


def _with_section(change: str, kind: str, name: str) -> str:
    """A change such as "rate=2" with the section of its key."""
    key, equals, value = change.partition("=")
    general = [] if kind in WITHOUT_LAYER else [each for each in keys("memory") if each != "kind"]
    own = settings_in(kind)
    if not equals or key not in (*general, *own):
        wanted = f"KEY=VALUE with one of {', '.join([*own, *general])}" if general else "no settings of this kind"
        raise UserError(f'--memory "{name}": expected {wanted}, got "{change}"')
    return f"memory.{change}" if key in general else f"{MEMORY}{'.'.join(own[key])}={value}"


class Reach(NamedTuple):
    """How far back a memory should remember, in windows.

    Fields:
        direct: the distance of the oldest window of which it holds anything.
        most: the same if each layer passes on what the layer below it has read.
    """

    direct: float
    most: float

    def __str__(self) -> str:
        return f"{self.direct:.0f}" if self.direct == self.most else f"{self.direct:.0f} to {self.most:.0f}"


def reach(candidate: Candidate, task: Task, context: int) -> Reach | None:
    """How far back the design of a memory lets it remember; None where it sets no limit, as with slots.

    A cache of P positions in each of L layers reaches P positions, and L times as many through the layers (Dai et al.
    2019, "Transformer-XL", section 3.2); with C vectors for r positions each, P + C * r (Rae et al. 2019, "Compressive
    Transformers for Long-Range Sequence Modelling", section 3). For two memories joined, the farther reach counts.

    Args:
        candidate: the memory.
        task: its windows are taken to have the mean size of filler.
        context: preceding segments in a window of `concat`.
    """
    memory = candidate.memory
    if candidate.kind in WITHOUT_LAYER:
        return Reach(context, context) if candidate.kind == "concat" else Reach(0, 0)
    found, settings = [], settings_by_part(candidate.kind, memory)
    for part, (places, _) in places_of(candidate.kind, memory["layers"], memory["read"]).items():
        own = settings[part]
        if "cache" in own:
            direct = (own["cache"] + own.get("compressed", 0) * own.get("rate", 0)) / task.window_tokens
        elif "segments" in own:
            direct = own["segments"]
        else:
            return None
        found.append(Reach(direct, direct * _layers(places, memory)))
    return Reach(max(each.direct for each in found), max(each.most for each in found))


def _layers(places: Any, memory: dict[str, Any]) -> int:
    """The number of layers with a memory, on the side that has more of them; 1 for one above the stacks."""
    stacks = [MODEL["encoder_layers"], *([MODEL["decoder_layers"]] if memory["sides"] == "both" else [])]
    if places == TOP:
        return 1
    return max(count if places == ALL else sum(number <= count for number in places) for count in stacks)
