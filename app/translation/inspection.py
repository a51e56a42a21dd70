"""How a memory was used while a document was translated, segment by segment; for plots."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from app.presets.schema import MemoryPreset
from app.translation.decoder import Decoder
from data.tokenizer import BOS, EOS, Tokenizer
from models.memories import TOP, places_of

if TYPE_CHECKING:
    from app.translation.windows import Window

_DIGITS = 4


def hidden(memory: MemoryPreset) -> str:
    """Why the use of a memory cannot be shown; "" if it can."""
    if not memory.has_state:
        return f'memory.kind = "{memory.kind}" has no memory to show'
    places = places_of(memory.kind, memory.layers, memory.read).values()
    if TOP not in [place for place, _ in places]:
        return f'memory.kind = "{memory.kind}" is inside layers, and only a memory above the stacks can be shown'
    return ""


def inspect_window(window: "Window", decoder: Decoder, tokenizer: Tokenizer) -> Iterator[tuple]:
    """Reports how the memory was used in a finished window; call it before the window updates the memory.

    Args:
        window: an `app.translation.windows.Window`.
        decoder: an `app.translation.decoder.Decoder` that remembers.
        tokenizer: the model's.

    Yields:
        Each segment with a dictionary of plain numbers and lists: "document", "window" and "line", numbers from 1;
        "source" and "target", the pieces, breaks included; "source_gates" and "target_gates", how far the reading gate
        was open at each piece, 0 to 1; "source_gate" and "target_gate", the means of these; "source_slots" and
        "target_slots", the share of the reading attention that each slot got; "writes", the share of each slot that the
        window rewrote; "forgotten", the bits that this lost of each number in the slot; and "attended", the share of
        its attention that each slot gave to each source piece. Nothing for a memory that cannot be shown, see `hidden`.
    """
    found = decoder.inspect(window.packed(), window.document.memory)
    if not found:
        return
    source = target = 0
    for segment in window.segments:
        here = slice(source, source + len(segment.ids) + 1), slice(target, target + len(segment.target) + 1)
        source, target = here[0].stop, here[1].stop
        names = {"document": window.document.number, "window": window.number + 1, "line": segment.line.number}
        pieces = {"source": (*segment.ids, EOS), "target": (BOS, *segment.target)}
        pieces = {side: [tokenizer.piece(int(i)) for i in ids] for side, ids in pieces.items()}
        yield segment, names | pieces | _numbers(found, *here)


def _numbers(memory: dict[str, np.ndarray], source: slice, target: slice) -> dict:
    """The values at the positions `source` and `target` of a window; see `DocumentTransformer.inspect_memory`."""
    found = {}
    for side, here in (("source", source), ("target", target)):
        gates = memory[f"{side}_gates"][here]
        found[f"{side}_gate"], found[f"{side}_gates"] = gates.mean(), gates
        found[f"{side}_slots"] = memory[f"{side}_slots"][here].mean(axis=0)
    found |= {name: memory[name][0] for name in ("writes", "forgotten")}
    found["attended"] = memory["attended"][0][:, source]
    return {name: _plain(value) for name, value in found.items()}


def _plain(values) -> float | list:
    return np.round(np.asarray(values, "float64"), _DIGITS).tolist()
