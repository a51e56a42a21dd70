"""What stacks cost by depth and by length, each measured in a process of its own, and how exact they are."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from app.bench.contestant import Contestant, ContestantFailed
from app.figure import curve, svg
from data.files import atomic_write

DEPTHS = (2, 6, 12, 24)
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
WIDTH = 256
# By depth: every way to join layers, with as many tokens as a batch of training has.
STACKS: dict[str, dict[str, Any]] = {name: {"stack": name} for name in ("plain", "reversible", "bdia")}
ROWS, LENGTH = 16, 256
PRECISIONS = ("float32", "bfloat16")
# By length: both ways to attend, and LSH with all that spares memory.
ATTENTIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "lsh": {"attention": "lsh"},
    "reformer": {"attention": "lsh", "stack": "reversible", "feed_forward_chunks": 8},
}
LAYERS = 2
# LSH attention: rounds of hashing, and the length at which they are compared with full attention.
ROUNDS, TOKENS = (0, 1, 2, 4, 8, 16), 2048
# Longer inputs are left out once a call takes so long.
PATIENCE = 60.0


def units(quick: bool) -> int:
    """How many steps a measurement has."""
    depths, lengths = _sizes(quick)
    return len(depths) * len(STACKS) * len(PRECISIONS) + 2 * len(ATTENTIONS) * len(lengths) + 1


def measure(repeat: int, quick: bool, log: Path, step: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and memory of one call.

    Args:
        repeat: calls of which the median is taken.
        quick: only the smallest sizes.
        log: what the processes print.
        step: called with a line before each measurement.

    Returns:
        Under "depth" and "length" lists of rows: what was measured, "seconds" and "megabytes", the most memory of a
        call above what there was before; or "error". Under "undone" and "approached" those of
        `app.bench.contestants.exactness`.
    """
    depths, lengths = _sizes(quick)
    about = {"width": WIDTH, "repeat": repeat}
    log.parent.mkdir(parents=True, exist_ok=True)
    by_depth = []
    for precision in PRECISIONS:
        for layers in depths:
            for name, settings in STACKS.items():
                step(f"{name}, {layers} layers, {precision}")
                shape = {"layers": layers, "rows": ROWS, "length": LENGTH, "what": "training", "precision": precision}
                by_depth.append({"stack": name, **shape, **_one({**about, **shape, "settings": settings}, log)})
    by_length = []
    for what in ("training", "scoring"):
        for name, settings in ATTENTIONS.items():
            slow = ""
            for length in lengths:
                step(f"{name} attention, {what}, {length:,} tokens")
                shape = {"layers": LAYERS, "rows": 1, "length": length, "what": what, "precision": PRECISIONS[0]}
                found = {"error": slow} if slow else _one({**about, **shape, "settings": settings}, log)
                by_length.append({"attention": name, **shape, **found})
                if found.get("error") or found["seconds"] > PATIENCE:
                    slow = found.get("error") or f"left out, as {length:,} tokens took {found['seconds']:.0f} s"
    step("how exact stacks are")
    rounds, tokens = (ROUNDS[:2], 256) if quick else (ROUNDS, TOKENS)
    spec = {"depths": depths, "rows": 4, "length": 64, "rounds": rounds, "tokens": tokens, **about}
    with Contestant("exactness", spec, log=log) as one:
        exact = one.answer()
    exact = {name: exact[name] for name in ("undone", "approached")}
    return {"depth": by_depth, "length": by_length, **exact, "tokens": tokens, **about}


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
    length = [row for row in result["length"] if row["what"] == "training"]
    rounds = [{**row, "attention": "lsh"} for row in result["approached"]]
    memory, time = ("megabytes", "MB for a training step"), ("seconds", "seconds for a training step")
    figures = {
        "stacks-depth": (depth, "stack", ("layers", "layers"), memory),
        "stacks-length": (length, "attention", ("length", "tokens"), memory),
        "stacks-seconds": (length, "attention", ("length", "tokens"), time),
        "stacks-rounds": (
            rounds,
            "attention",
            ("rounds", "rounds of hashing"),
            ("error", "distance from full attention"),
        ),
    }
    for name, drawn in figures.items():
        content = svg(name, functools.partial(_draw_lines, *drawn))
        if content is None:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / f"{name}.svg") as file:
            file.write(content)
    return True


def _draw_lines(rows: Iterable[dict[str, Any]], by: str, x: tuple[str, str], y: tuple[str, str], figure: Any) -> None:
    """One value against a size, a line for each name; `x` and `y` are keys and labels."""
    axis, rows = figure.subplots(), [row for row in rows if y[0] in row]
    for number, name in enumerate(dict.fromkeys(row[by] for row in rows)):
        own = [row for row in rows if row[by] == name]
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
