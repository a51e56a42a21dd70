"""Normalises text and leaves out pairs that a model should not learn from."""

import dataclasses
import functools
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from typing import ClassVar, NamedTuple

from data.language import LanguageJudge, prose_words
from data.pairs import Pair
from data.parallel import Job, Workers, opened

CHUNK = 10_000  # pairs that a process works on at a time

# Why a pair is left out, in the order of the checks: cheap ones first.
REASONS = {
    "empty": "a side is empty",
    "long": "too long",
    "ratio": "lengths differ too much",
    "untranslated": "not translated",
    "duplicate": "duplicate",
    "language": "wrong language",
}


def _junk_table() -> dict[int, str | None]:
    """Replacements for characters that are not text; None drops them."""
    table: dict[int, str | None] = {code: None for code in [*range(0x20), 0x7F] if not chr(code).isspace()}
    for code in range(0x80, 0xA0):
        # A C1 control is a Windows-1252 character that was read as Latin-1; browsers repair it the same way.
        table[code] = bytes([code]).decode("cp1252", "ignore") or None
    invisible = [0xAD, 0x34F, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070)]
    invisible += [0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xFDD0, 0xFDF0)]
    invisible += [plane + end for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)]
    table |= dict.fromkeys(invisible)
    return table


JUNK = _junk_table()
_SURROGATE = re.compile("[\ud800-\udfff]")
# Joiners hold emoji together and shape Arabic or Indic letters; next to a Latin letter, digit or space they are junk.
_NO_JOINER = "[^\0-\u036f\u1e00-\u1eff\\s]"
_JOINERS = re.compile(f"(?<!{_NO_JOINER})[\u200c\u200d]+|[\u200c\u200d]+(?!{_NO_JOINER})")


def normalise(text: str, lowercase: bool = False) -> str:
    """Gives equal text one spelling; training and translation both begin with it.

    - Text gets Unicode's composed form (NFC).
    - Every run of white space, line ends and no-break spaces included, becomes one space; none stay at the ends.
    - Control characters are removed; those of U+0080-U+009F become the Windows-1252 characters that they once were.
    - Invisible characters are removed: zero-width space, byte order mark, direction marks, noncharacters, and the soft
      hyphen, which would split words for the tokenizer. Joiners stay where they bind emoji or letters of other scripts.
    - Half a surrogate pair becomes U+FFFD.

    Applying it twice gives the same as applying it once. Quotes, dashes and ellipses stay as they are: which one is
    used where is part of the translation.

    Args:
        text: one segment.
        lowercase: whether letters become lower case.

    Returns:
        The segment, without line ends.
    """
    if not (text.isascii() and text.isprintable()):
        text = _repaired(text)
    text = " ".join(text.split())
    if lowercase:
        text = unicodedata.normalize("NFC", text.lower())
    return text


def _repaired(text: str) -> str:
    # All junk is unprintable, except for one invisible mark.
    if text.isprintable() and "\u034f" not in text:
        return unicodedata.normalize("NFC", text)
    text = unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text.translate(JUNK)))
    if "\u200c" in text or "\u200d" in text:
        text = unicodedata.normalize("NFC", _JOINERS.sub("", text))
    return text


@dataclasses.dataclass(frozen=True)
class CleaningOptions:
    """Which pairs of a training split are left out.

    Args:
        lowercase: whether both sides become lower case.
        max_words: pairs with more words on a side are left out.
        max_ratio: pairs where one side has more than this many times the characters of the other are left out.
            Characters, not words: one German word may stand for five English ones.
        max_copied_words: pairs with equal sides are left out when they have more words than this. Shorter ones are
            mostly names ("Home Assistant") and worth learning; longer ones are untranslated, and a few of them in a
            hundred are enough to make a model copy (Khayrallah and Koehn 2018).
        deduplicate: whether only the first of several equal pairs stays.
        language_filter: whether pairs with a side that is clearly in another language are left out, see
            `data.language.LanguageJudge`.

    References:
        - Khayrallah and Koehn 2018, On the Impact of Various Types of Noise on Neural Machine Translation,
          https://aclanthology.org/W18-2709/
    """

    lowercase: bool = False
    max_words: int = 250
    max_ratio: float = 4.0
    max_copied_words: int = 3
    deduplicate: bool = True
    language_filter: bool = True


@dataclasses.dataclass
class CleaningReport:
    """How many pairs were seen, kept and left out, and why; reports of parts can be added.

    Args:
        seen: pairs read.
        kept: pairs passed on.
        removed: number of pairs for each key of `REASONS`. A pair counts for the first reason that applies.
    """

    labels: ClassVar[dict[str, str]] = REASONS

    seen: int = 0
    kept: int = 0
    removed: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(REASONS, 0))

    def __add__(self, other: "CleaningReport") -> "CleaningReport":
        removed = {reason: self.removed[reason] + other.removed[reason] for reason in self.labels}
        return type(self)(self.seen + other.seen, self.kept + other.kept, removed)

    def as_dict(self) -> dict[str, int]:
        """The counts as one flat dictionary."""
        return {"seen": self.seen, **self.removed, "kept": self.kept}

    def without_zeros(self) -> "CleaningReport":
        """The same without reasons whose count is zero."""
        return type(self)(self.seen, self.kept, {reason: count for reason, count in self.removed.items() if count})

    def table(self) -> str:
        """The counts as lines of text, with the share of all pairs."""
        rows = [("pairs read", self.seen), *((self.labels[key], -count) for key, count in self.removed.items())]
        rows.append(("pairs kept", self.kept))
        label_width = max(len(label) for label, _ in rows)
        width = max(len(f"{count:,}") for _, count in rows)
        return "\n".join(
            f"{label:<{label_width}}  {count:>{width},}  {abs(count) / max(self.seen, 1):>7.2%}"
            for label, count in rows
        )


def clean(
    pairs: Iterable[Pair],
    options: CleaningOptions | None = None,
    source: str = "en",
    target: str = "de",
    report: CleaningReport | None = None,
    workers: Workers | int | None = 1,
) -> Iterator[Pair]:
    """Normalises the pairs of a training split and passes on the good ones in order.

    To find duplicates, it remembers only a 64-bit hash of each pair that gets that far: about 70 bytes a pair.

    Args:
        pairs: raw pairs.
        options: what is left out.
        source: language of the source side, an ISO 639-1 code.
        target: language of the target side.
        report: is counted up while the pairs are drawn.
        workers: the processes that do the work, or their number; for `None` see `data.parallel.Workers`. The result
            does not depend on it. With 1 each pair is passed on before the next one is read, else they go in chunks.

    Yields:
        Normalised pairs.
    """
    options = options or CleaningOptions()
    report = CleaningReport() if report is None else report
    inspect, hashes = _Inspector(options, source, target), set()
    if workers == 1:
        inspected = ((pair.doc, inspect.pair(pair, hashes)) for pair in pairs)
    else:
        inspected = _inspect_chunks(pairs, inspect, workers)
    for doc, (fault, number, texts) in inspected:
        report.seen += 1
        if number is not None:
            fault = "duplicate" if number in hashes else fault
            hashes.add(number)
        if fault:
            report.removed[fault] += 1
        else:
            report.kept += 1
            yield Pair(texts[0], texts[1], doc)


def digest(pair: Pair) -> int:
    """A 64-bit hash of both sides of a normalised pair: equal pairs have equal hashes, others almost never."""
    text = f"{pair.source}\n{pair.target}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def normalise_pairs(pairs: Iterable[Pair], options: CleaningOptions | None = None) -> Iterator[Pair]:
    """Normalises pairs and leaves none out: for validation and test splits, which stay complete."""
    lowercase = bool(options and options.lowercase)
    for pair in pairs:
        yield Pair(normalise(pair.source, lowercase), normalise(pair.target, lowercase), pair.doc)


class _Inspection(NamedTuple):
    """What can be found out about a pair on its own; hashes of other pairs only save work.

    `fault` is the first reason to leave it out. If duplicates are left out, a pair without any of the reasons that come
    before "duplicate" has a `digest`.
    """

    fault: str | None
    digest: int | None
    texts: tuple[str, str] | None


@dataclasses.dataclass(frozen=True)
class _Inspector:
    """Inspects pairs, in any process; the language judges are created when they are first needed."""

    options: CleaningOptions
    source: str
    target: str

    def __call__(self, pairs: list[tuple[str, str]]) -> list[_Inspection]:
        return [self.pair(Pair(*pair)) for pair in pairs]

    def pair(self, pair: Pair, known: Container[int] = ()) -> _Inspection:
        """Inspects one raw pair; if its digest is known, its language is not judged."""
        lowercase = self.options.lowercase
        pair = Pair(normalise(pair.source, lowercase), normalise(pair.target, lowercase))
        fault = _fault(pair, self.options)
        if fault:
            return _Inspection(fault, None, None)
        number = digest(pair) if self.options.deduplicate else None
        if self.options.language_filter and number not in known:
            judges = _judges(self.source, self.target)
            if any(judge.is_foreign(text) for judge, text in zip(judges, pair, strict=False)):
                return _Inspection("language", number, None)
        return _Inspection(None, number, (pair.source, pair.target))


@functools.lru_cache(maxsize=4)
def _judges(source: str, target: str) -> tuple[LanguageJudge, LanguageJudge]:
    return LanguageJudge(source, target), LanguageJudge(target, source)


def _inspect_chunks(pairs: Iterable[Pair], inspect: _Inspector, workers) -> Iterator[tuple[str, _Inspection]]:
    """Yields the document and the inspection of each pair."""

    def jobs():
        drawn = iter(pairs)
        while chunk := list(itertools.islice(drawn, CHUNK)):
            yield Job(([pair[:2] for pair in chunk],), len(chunk), [pair.doc for pair in chunk])

    with opened(workers) as pool:
        for docs, found in pool.map(inspect, jobs()):
            yield from zip(docs, found, strict=True)


def _fault(pair: Pair, options: CleaningOptions) -> str | None:
    """The first of the cheap reasons to leave a normalised pair out, a key of `REASONS`; None if none applies."""
    source, target = pair.source, pair.target
    if not source or not target:
        return "empty"
    # Exactly one space separates the words of normalised text.
    if max(source.count(" "), target.count(" ")) >= options.max_words:
        return "long"
    if max(len(source), len(target)) > options.max_ratio * min(len(source), len(target)):
        return "ratio"
    if source == target and len(prose_words(source)) > options.max_copied_words:
        return "untranslated"
    return None
