"""What stacks cost by depth and by length, each measured in a separate process, and how exact they are."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from app.bench.contestant import Contestant, ContestantFailed
from app.figure import curve, svg
from data.files import atomic_write

DEPTHS = (2, 6, 12, 24)
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
WIDTH = 256
# The three ways to join layers with full attention, then LSH attention alone and with everything that saves memory.
STACKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reversible": {"stack": "reversible"},
    "bdia": {"stack": "bdia"},
    "lsh": {"attention": "lsh"},
    "reformer": {"attention": "lsh", "stack": "reversible", "feed_forward_chunks": 8},
}
# By depth, with as many tokens as a training batch has.
BY_DEPTH: Sequence[str] = ("plain", "reversible", "bdia")
ROWS, LENGTH = 16, 256
PRECISIONS = ("float32", "bfloat16")
# Scoring has no backward pass, so layers keep nothing that they could forget: only attention matters there.
BY_LENGTH: dict[str, Sequence[str]] = {"training": tuple(STACKS), "scoring": ("plain", "lsh")}
LAYERS = 2
# LSH attention: rounds of hashing, and the length at which they are compared with full attention.
ROUNDS, TOKENS = (0, 1, 2, 4, 8, 16), 2048
# Longer inputs are left out once a call takes longer than this.
PATIENCE = 60.0


def units(quick: bool) -> int:
    """How many steps a measurement has."""
    depths, lengths = _sizes(quick)
    stacks = len(depths) * len(BY_DEPTH) + len(lengths) * sum(map(len, BY_LENGTH.values()))
    return len(PRECISIONS) * stacks + 1


def measure(repeat: int, quick: bool, log: Path, step: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and memory of one call.

    Args:
        repeat: calls of which the median is taken.
        quick: only the smallest sizes.
        log: what the processes print.
        step: called with a line before each measurement.

    Returns:
        Under "depth" and "length", lists of rows: what was measured, "seconds", and "megabytes", the peak memory of a
        call above what was in use before; or "error". Under "undone" and "approached", the rows of
        `app.bench.contestants.exactness`.
    """
    depths, lengths = _sizes(quick)
    about = {"width": WIDTH, "repeat": repeat}
    log.parent.mkdir(parents=True, exist_ok=True)

    def measured(name, shape):
        return {"stack": name, **shape, **_one({**about, **shape, "settings": STACKS[name]}, log)}

    by_depth, by_length = [], []
    for precision in PRECISIONS:
        for layers in depths:
            for name in BY_DEPTH:
                step(f"{name}, {layers} layers, {precision}")
                shape = {"layers": layers, "rows": ROWS, "length": LENGTH, "what": "training", "precision": precision}
                by_depth.append(measured(name, shape))
        for what, names in BY_LENGTH.items():
            for name in names:
                by_length += _longer_and_longer(measured, name, what, precision, lengths, step)
    step("how exact stacks are")
    rounds, tokens = (ROUNDS[:2], 256) if quick else (ROUNDS, TOKENS)
    spec = {"depths": depths, "rows": 4, "length": 64, "rounds": rounds, "tokens": tokens, **about}
    with Contestant("exactness", spec, log=log) as one:
        exact = one.answer()
    exact = {name: exact[name] for name in ("undone", "approached")}
    return {"depth": by_depth, "length": by_length, **exact, "tokens": tokens, **about}


def _longer_and_longer(measured, name, what, precision, lengths, step) -> Iterator[dict[str, Any]]:
    """The rows of one stack by length, until a call fails or takes too long."""
    slow = ""
    for length in lengths:
        step(f"{name}, {what}, {length:,} tokens, {precision}")
        shape = {"layers": LAYERS, "rows": 1, "length": length, "what": what, "precision": precision}
        row = {"stack": name, **shape, "error": slow} if slow else measured(name, shape)
        yield row
        if row.get("error") or row["seconds"] > PATIENCE:
            slow = row.get("error") or f"left out, as {length:,} tokens took {row['seconds']:.0f} s"


def _sizes(quick):
    return (DEPTHS[:2], LENGTHS[:2]) if quick else (DEPTHS, LENGTHS)


def _one(spec: dict[str, Any], log: Path) -> dict[str, Any]:
    try:
        with Contestant("stack", spec, log=log) as one:
            found = one.answer()
    except ContestantFailed as error:
        return {"error": str(error)}
    return {"seconds": found["seconds"], "megabytes": found["megabytes"]}


def draw(result: dict[str, Any], folder: Path) -> bool:
    """Writes stacks-*.svg, if Matplotlib is installed; returns whether it is."""
    depth = [row for row in result["depth"] if row["precision"] == PRECISIONS[0]]
    length = [row for row in result["length"] if (row["what"], row["precision"]) == ("training", PRECISIONS[0])]
    rounds = [{**row, "stack": "lsh"} for row in result["approached"]]
    memory, time = ("megabytes", "MB for a training step"), ("seconds", "seconds for a training step")
    figures = {
        "stacks-depth": (depth, ("layers", "layers"), memory),
        "stacks-length": (length, ("length", "tokens"), memory),
        "stacks-seconds": (length, ("length", "tokens"), time),
        "stacks-rounds": (rounds, ("rounds", "rounds of hashing"), ("error", "distance from full attention")),
    }
    for name, drawn in figures.items():
        content = svg(name, functools.partial(_draw_lines, *drawn))
        if content is None:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / f"{name}.svg") as file:
            file.write(content)
    return True


def _draw_lines(rows: Iterable[dict[str, Any]], x: tuple[str, str], y: tuple[str, str], figure: Any) -> None:
    """One value against a size, a line for each stack; `x` and `y` are keys and labels."""
    axis, rows = figure.subplots(), [row for row in rows if y[0] in row]
    for number, name in enumerate(dict.fromkeys(row["stack"] for row in rows)):
        own = [row for row in rows if row["stack"] == name]
        axis.plot([row[x[0]] for row in own], [row[y[0]] for row in own], **curve(number), label=name)
    # Rounds begin at 0, which a logarithmic axis does not have.
    axis.set_xscale("log" if all(row[x[0]] for row in rows) else "symlog", base=2)
    values = [row[y[0]] for row in rows]
    if max(values) > 20 * min(values):
        axis.set_yscale("log")
    else:
        axis.set_ylim(0)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.set_xlabel(x[1])
    axis.set_ylabel(y[1])
    axis.set_title(f"{y[1][0].upper()}{y[1][1:]}, by {x[1]}")
    axis.grid(True)
    axis.legend()
