"""Makes text uniform and leaves out pairs that would teach a model nothing or something wrong."""

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

from data.language import LanguageJudge, prose_words
from data.pairs import Pair

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
    """What becomes of single characters that are no text; None drops them."""
    table: dict[int, str | None] = {code: None for code in [*range(0x20), 0x7F] if not chr(code).isspace()}
    for code in range(0x80, 0xA0):
        # A C1 control is a Windows-1252 character that was read as Latin-1: browsers repair it so, too.
        table[code] = bytes([code]).decode("cp1252", "ignore") or None
    invisible = [0xAD, 0x34F, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070)]
    invisible += [0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xFDD0, 0xFDF0)]
    invisible += [plane + end for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)]
    table |= dict.fromkeys(invisible)
    return table


JUNK = _junk_table()
_ANY_JUNK = re.compile("[" + "".join(map(re.escape, map(chr, JUNK))) + "]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Joiners hold emoji together and shape Arabic or Indic letters; beside a Latin letter, digit or space they are junk.
_NO_JOINER = "[^\0-\u036f\u1e00-\u1eff\\s]"
_JOINERS = re.compile(f"(?<!{_NO_JOINER})[\u200c\u200d]+|[\u200c\u200d]+(?!{_NO_JOINER})")


def normalise(text: str, lowercase: bool = False) -> str:
    """Writes equal text equally; training and translating both do it first.

    - Unicode's composed form (NFC).
    - Every run of white space, line ends and no-break spaces included, becomes one space; none at the ends.
    - Control characters go; those of U+0080-U+009F become the Windows-1252 characters that they once were.
    - Invisible characters go: zero-width space, byte order mark, direction marks, noncharacters, and the soft hyphen,
      which would split words for the tokenizer. Joiners stay where they bind emoji or letters of other scripts.
    - Half a surrogate pair becomes U+FFFD.

    Applied twice it gives the same as applied once. Quotes, dashes and ellipses stay as they are: which one stands
    where is part of the translation.

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
    if _ANY_JUNK.search(text):
        text = text.translate(JUNK)
    text = unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))
    if "\u200c" in text or "\u200d" in text:
        text = unicodedata.normalize("NFC", _JOINERS.sub("", text))
    return text


@dataclasses.dataclass(frozen=True)
class CleaningOptions:
    """Which pairs of a training split are left out.

    Args:
        lowercase: whether both sides become lower case.
        max_words: pairs with a side of more words are left out.
        max_ratio: pairs where one side has more than this many times the characters of the other are left out.
            Characters, not words: one German word may stand for five English ones.
        max_copied_words: pairs with equal sides are left out when they have more words than this. Shorter ones are
            mostly names ("Home Assistant") and worth learning; longer ones are untranslated, and a few of them in a
            hundred are enough to make a model copy (Khayrallah and Koehn 2018).
        deduplicate: whether only the first of equal pairs stays.
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

    seen: int = 0
    kept: int = 0
    removed: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(REASONS, 0))

    def __add__(self, other: "CleaningReport") -> "CleaningReport":
        removed = {reason: self.removed[reason] + other.removed[reason] for reason in REASONS}
        return CleaningReport(self.seen + other.seen, self.kept + other.kept, removed)

    def as_dict(self) -> dict[str, int]:
        """The counts as one flat dictionary."""
        return {"seen": self.seen, **self.removed, "kept": self.kept}

    def table(self) -> str:
        """The counts as lines of text, with the share of all pairs."""
        rows = [("pairs read", self.seen), *((REASONS[key], -count) for key, count in self.removed.items())]
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
) -> Iterator[Pair]:
    """Normalises the pairs of a training split and passes on the good ones, one by one, in their order.

    Of what has passed only a hash of 64 bits is remembered, to find duplicates: about 70 bytes a pair.

    Args:
        pairs: raw pairs.
        options: what is left out.
        source: language of the source side, an ISO 639-1 code.
        target: language of the target side.
        report: is counted up while the pairs are drawn.

    Yields:
        Normalised pairs.
    """
    options = options or CleaningOptions()
    report = CleaningReport() if report is None else report
    judges = ()
    if options.language_filter:
        judges = (LanguageJudge(source, target), LanguageJudge(target, source))
    hashes: set[int] = set()
    for pair in normalise_pairs(pairs, options):
        report.seen += 1
        if reason := _fault(pair, options, hashes, judges):
            report.removed[reason] += 1
        else:
            report.kept += 1
            yield pair


def normalise_pairs(pairs: Iterable[Pair], options: CleaningOptions | None = None) -> Iterator[Pair]:
    """Normalises pairs and leaves none out: for validation and test splits, which are to stay whole."""
    lowercase = bool(options and options.lowercase)
    for pair in pairs:
        yield Pair(normalise(pair.source, lowercase), normalise(pair.target, lowercase), pair.doc)


def _fault(pair: Pair, options: CleaningOptions, hashes: set[int], judges) -> str | None:
    """The first reason to leave a normalised pair out, a key of `REASONS`; None for a good pair."""
    source, target = pair.source, pair.target
    if not source or not target:
        return "empty"
    # Between words of normalised text stands exactly one space.
    if max(source.count(" "), target.count(" ")) >= options.max_words:
        return "long"
    if max(len(source), len(target)) > options.max_ratio * min(len(source), len(target)):
        return "ratio"
    if source == target and len(prose_words(source)) > options.max_copied_words:
        return "untranslated"
    if options.deduplicate:
        digest = hashlib.blake2b(f"{source}\n{target}".encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        if number in hashes:
            return "duplicate"
        hashes.add(number)
    if any(judge.is_foreign(text) for judge, text in zip(judges, (source, target), strict=False)):
        return "language"
    return None
