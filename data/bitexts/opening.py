"""Chooses the reader of a bilingual file by the ending of its name."""

from pathlib import Path

from data.bitexts.base import Bitext
from data.bitexts.po import PoFile
from data.bitexts.tmx import TmxFile
from data.bitexts.tsv import TsvFile
from data.bitexts.xliff import XliffFile
from data.errors import UserError

_KINDS: dict[str, type[Bitext]] = {
    ".tmx": TmxFile,
    ".tmx.gz": TmxFile,
    ".xlf": XliffFile,
    ".xliff": XliffFile,
    ".po": PoFile,
    ".tsv": TsvFile,
}
ENDINGS = tuple(_KINDS)


def open_bitext(path: Path | str, source: str = "en", target: str = "de") -> Bitext:
    """Opens a bilingual file; it is read only when its pairs are.

    Args:
        path: a file that ends in one of `ENDINGS`.
        source: language of the source side, such as "en"; a file with the languages swapped is read as well.
        target: language of the target side.

    Returns:
        The file; its `pairs()` streams them.

    Raises:
        UserError: there is no such file, or its name has another ending.

    Example:
        >>> for pair in open_bitext("memory.tmx").pairs():
        ...     print(pair.source, pair.target)
    """
    path = Path(path).expanduser()
    for ending, kind in _KINDS.items():
        if path.name.lower().endswith(ending):
            return kind(path, source, target)
    raise UserError(f"{path}: a file of pairs ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}; rename or convert it")
