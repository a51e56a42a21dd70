"""The unit that every corpus yields."""

from typing import NamedTuple


class Pair(NamedTuple):
    """One source segment, its translation, and the id of the document they stand in ("" where there is none)."""

    source: str
    target: str
    doc: str = ""
