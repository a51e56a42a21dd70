"""Faults of hypotheses (loops, and copies that are lost or doubled), and which hypothesis to take instead."""

from collections import Counter
from collections.abc import Callable, Sequence

from app.translation.decoder import Decoded

# Tokens in the longest block that counts as a loop, and how often it must come in a row.
LONGEST, TIMES = 12, 3


def choose(
    found: Sequence[list[Decoded]],
    sources: Sequence[Sequence[int]],
    span_ids: range,
    again: Callable[[list[int]], list[list[Decoded]]] | None = None,
    refuse_loops: bool = True,
) -> list[list[Decoded]]:
    """Replaces hypotheses with faults by the next ones, or mends them.

    A loop alone does not cause a second search, which takes time and finds no better translations; without another
    hypothesis, the loop is cut.

    Args:
        found: the hypotheses of each source, best first.
        sources: token ids.
        span_ids: ids of the numbered pieces.
        again: gives more hypotheses of some sources, named by their numbers; called where the best one loses or doubles
            a piece. None if there are no more.
        refuse_loops: whether loops are faults.

    Returns:
        The hypotheses of each source, no more than in `found`. If the best one is faulty, those with faults come last,
        and loops that count as faults are cut to what the source has.
    """

    def faulty(one: Decoded, source: Sequence[int]) -> bool:
        return not is_complete(one.ids, source, span_ids) or (refuse_loops and has_loop(one.ids, source))

    chosen = list(found)
    broken = [row for row, group in enumerate(found) if group and not is_complete(group[0].ids, sources[row], span_ids)]
    for row, group in zip(broken, again(broken) if again and broken else (), strict=False):
        chosen[row] = group or found[row]
    for row, (group, source) in enumerate(zip(chosen, sources, strict=True)):
        if group and faulty(group[0], source):
            ranked = sorted(group, key=lambda one, source=source: faulty(one, source))
            chosen[row] = [one._replace(ids=cut_loops(one.ids, source)) for one in ranked] if refuse_loops else ranked
    return [group[: len(few)] for group, few in zip(chosen, found, strict=True)]


def is_complete(ids: Sequence[int], source: Sequence[int], span_ids: range) -> bool:
    """Whether an output has each numbered piece of its source once, and no others."""
    if not span_ids:
        return True
    return Counter(i for i in ids if i in span_ids) == Counter({i for i in source if i in span_ids})


def has_loop(ids: Sequence[int], source: Sequence[int]) -> bool:
    """Whether a block of tokens comes more often in a row than any in the source, and at least three times."""
    # Few outputs repeat anything three times; only for those is the source searched.
    return _first_loop(ids, 1) is not None and _first_loop(ids, _most_repeated(source)) is not None


def cut_loops(ids: list[int], source: Sequence[int]) -> list[int]:
    """The tokens with each loop cut to one block, or to as many as come in a row in the source."""
    most = _most_repeated(source)
    while loop := _first_loop(ids, most):
        start, size, times = loop
        ids = ids[: start + size * max(1, most)] + ids[start + size * times :]
    return ids


def _most_repeated(ids: Sequence[int]) -> int:
    """How often the most repeated block of a source comes in a row; 1 if none is repeated."""
    most = 1
    for size in range(1, min(LONGEST, len(ids) // 2) + 1):
        for _, times in _runs(ids, size):
            most = max(most, times)
    return most


def _first_loop(ids: Sequence[int], most: int) -> tuple[int, int, int] | None:
    """Start, block size and repetitions of the loop with the smallest block."""
    for size in range(1, min(LONGEST, len(ids) // TIMES) + 1):
        for start, times in _runs(ids, size):
            if times >= max(TIMES, most + 1):
                return start, size, times
    return None


def _runs(ids: Sequence[int], size: int):
    """Where a block of this size is repeated: the start, and how often it comes in a row, at least twice."""
    equal = 0
    for place in range(size, len(ids) + 1):
        if place < len(ids) and ids[place] == ids[place - size]:
            equal += 1
            continue
        if equal >= size:
            yield place - equal - size, equal // size + 1
        equal = 0
