"""The columns that the filters use, computed once when a pair is loaded, with the functions that clean text locally."""

import functools
from dataclasses import dataclass

import pyarrow
import pyarrow.compute as pc

from data.cleaning import digest, normalise
from data.language import LanguageJudge, prose_words
from data.pairs import Pair
from data.warehouse.minhash import band_hashes
from data.warehouse.schema import QUALITY_COLUMNS, arrow_schema

# Raise it whenever the same text would get different columns.
VERSION = 1


@dataclass(frozen=True)
class Inspector:
    """Normalises pairs and computes their quality columns, in any process.

    Args:
        lowercase: whether letters become lower case.
        languages: whether each side's language is judged, which takes most of the time; if not, its columns are NULL.

    Call arguments:
        en, de: raw segments, N each.

    Returns:
        A record batch with N rows: `en` and `de` as `data.cleaning.normalise` writes them, and `QUALITY_COLUMNS`.
    """

    lowercase: bool = False
    languages: bool = True

    def __call__(self, en: list[str], de: list[str]) -> pyarrow.RecordBatch:
        sides = [[normalise(text, self.lowercase) for text in texts] for texts in (en, de)]
        texts = [pyarrow.array(side, pyarrow.string()) for side in sides]
        columns = dict(zip(("en", "de"), texts, strict=True)) | _sizes(*texts)
        pairs = list(zip(*sides, strict=True))
        columns["copied_words"] = [len(prose_words(source)) if source == target else 0 for source, target in pairs]
        columns["digest"] = [_signed(digest(Pair(*pair))) for pair in pairs]
        columns |= self._foreign(*sides)
        columns |= {f"band_{band}": hashes for band, hashes in enumerate(band_hashes(*texts), start=1)}
        schema = arrow_schema({"en": "STRING", "de": "STRING"} | QUALITY_COLUMNS)
        return pyarrow.RecordBatch.from_pydict(columns, schema=schema)

    def _foreign(self, en: list[str], de: list[str]) -> dict:
        if not self.languages:
            return {"en_foreign": [None] * len(en), "de_foreign": [None] * len(de)}
        judges = _judges()
        return {
            "en_foreign": [judges[0].is_foreign(text) for text in en],
            "de_foreign": [judges[1].is_foreign(text) for text in de],
        }


def _sizes(en: pyarrow.Array, de: pyarrow.Array) -> dict:
    """Words and characters of each side; exactly one space separates the words of normalised text."""
    columns = {}
    for name, texts in (("en", en), ("de", de)):
        length = pc.utf8_length(texts).cast(pyarrow.int64())
        spaces = pc.count_substring(texts, " ").cast(pyarrow.int64())
        columns[f"{name}_words"] = pc.if_else(pc.equal(length, 0), 0, pc.add(spaces, 1)).cast(pyarrow.int64())
        columns[f"{name}_length"] = length
    return columns


def _signed(number: int) -> int:
    """An unsigned 64-bit number as the INT64 with the same bits."""
    return number - 2**64 if number >= 2**63 else number


@functools.cache
def _judges() -> tuple[LanguageJudge, LanguageJudge]:
    return LanguageJudge("en", "de"), LanguageJudge("de", "en")
