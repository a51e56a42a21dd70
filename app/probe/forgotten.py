"""How much the gates of a memory forget, in bits: what a recurrence would have to keep to be run backward."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from app.runs.run import Run
from app.translation.inspection import hidden
from app.translation.lines import DocumentLine
from app.translation.translator import Translator
from data.errors import UserError


class Forgotten(NamedTuple):
    """Means over the slots of the source memory and all windows but the first of each document.

    bits: how many bits a number in a slot loses in a window.
    written: the same for slots of which the window wrote at least a hundredth.
    share: the share of such slots.
    windows: how many windows were counted.
    """

    bits: float
    written: float
    share: float
    windows: int


def measure(run: Run, documents: Sequence[Sequence[str]]) -> Forgotten:
    """Translates documents greedily and counts what is forgotten on the way; see `models.memories.base.forgotten_bits`.

    Raises:
        UserError: the memory cannot be inspected, or no document has two windows.
    """
    if reason := hidden(run.preset.memory):
        raise UserError(f"--measure forgotten: {reason}")
    translator = Translator.of_run(run, search=replace(run.preset.search, beam=1))
    windows: dict[tuple[int, int], dict] = {}

    def watch(record: dict) -> None:
        windows.setdefault((record["document"], record["window"]), record)

    lines = (DocumentLine(number, text) for number, own in enumerate(documents, start=1) for text in own)
    for _ in translator.translate_lines(lines, watch):
        pass
    later = [record for (_, window), record in windows.items() if window > 1]
    if not later:
        raise UserError("--measure forgotten: no document has a second window; take more --lines, or another corpus")
    bits, writes = (np.array([record[name] for record in later]) for name in ("forgotten", "writes"))
    here = writes >= 0.01
    return Forgotten(bits.mean(), bits[here].mean() if here.any() else 0.0, here.mean(), len(later))
