"""Input: how fast text is encoded and batches are fed, compared with what training consumes."""

from collections.abc import Callable
from pathlib import Path

from app.bench.contestant import Contestant
from app.bench.shapes import SHAPES
from app.bench.training import PRESET

SHAPE = SHAPES["tiny"]  # the one that consumes batches fastest
SECONDS = 5


def units() -> int:
    """How many steps of the progress bar `measure` takes."""
    return 3


def measure(corpus: str, pairs: int, folder: Path, step: Callable[[str], None]) -> dict:
    """Encodes a corpus that is repeated up to a number of pairs, and draws batches from it.

    Args:
        corpus: what is encoded.
        pairs: how many pairs.
        folder: for the tokenizer and the shards.
        step: called with a line for the progress bar whenever a unit of work begins.

    Returns:
        For JSON: pairs a second, memory of all processes together, tokens and batches a second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    step("input: tokenizer")
    text = {"folder": str(folder), "preset": PRESET, "changes": SHAPE.changes(corpus), "batches": 2}
    with Contestant("text", text, log=folder / "text.log") as one:
        one.answer()
    spec = {
        "folder": str(folder),
        "corpus": corpus,
        "tokenizer": str(folder / "run" / "tokenizer.model"),
        "pairs": pairs,
        "batch_tokens": SHAPE.batch_tokens,
        "seconds": SECONDS,
    }
    step(f"input: encoding {pairs:,} pairs")
    with Contestant("input", spec, log=folder / "input.log") as one:
        encoded = one.answer()
        step("input: feeding batches")
        fed = one.answer()
    return {"encoding": encoded, "feeding": fed, "about": {"corpus": corpus, "shape": SHAPE.as_dict()}}
