"""What is carried from one window of a document to the next, behind one interface: see `models.memories.base`."""

from models.memories.base import Memory, positions_of
from models.memories.gru import GRUMemory
from models.memories.reading import GatedRead
from models.memories.summaries import SummaryMemory

__all__ = ["KINDS", "GRUMemory", "GatedRead", "Memory", "SummaryMemory", "new_memory", "positions_of"]

# "concat" remembers by its windows alone, which repeat the segments before the current one.
KINDS = ("none", "concat", "gru", "fixed", "variable")


def new_memory(kind: str, width: int, slots=64, segments=8, cell="gru", keep_bias=-1.0, **kwargs) -> Memory:
    """The memory of a preset; arguments as its section `[memory]` explains them."""
    if kind == "gru":
        return GRUMemory(width, slots, cell, keep_bias, **kwargs)
    if kind in ("fixed", "variable"):
        return SummaryMemory(width, slots if kind == "variable" else 1, segments, **kwargs)
    raise ValueError(f'memory kind must be "gru", "fixed" or "variable", got {kind!r}')
