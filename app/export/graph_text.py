"""Text processing before and after the model, in TensorFlow operations that run without any of this code.

Each function here does to a tensor of strings what a function of `data.cleaning`, `app.translation.lines` or
`app.translation.text` does to one Python string. The result is the same except for letters newer than the Unicode
version of TensorFlow's ICU.
"""

import functools
import sys
from collections.abc import Callable, Iterable

import tensorflow as tf
import tensorflow_text

from app.translation.lines import BREAKS
from app.translation.text import KINDS, clings
from data.cleaning import JUNK

_EVERY = range(sys.maxunicode + 1)
_JOINERS = "[\\x{200c}\\x{200d}]+"


def normalise(texts: tf.Tensor, lowercase: bool = False) -> tf.Tensor:
    """`data.cleaning.normalise` of each text (N,); bytes that are not UTF-8 become U+FFFD first."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    for code, meant in JUNK.items():
        if meant:
            texts = tf.strings.regex_replace(texts, f"\\x{{{code:x}}}", meant)
    texts = tf.strings.regex_replace(texts, _class(code for code, meant in JUNK.items() if not meant), "")
    texts = _compose(_without_junk_joiners(_compose(texts)))
    texts = _strip(tf.strings.regex_replace(texts, f"{_class(_spaces())}+", " "))
    return _compose(tf.strings.lower(texts, encoding="utf-8")) if lowercase else texts


def one_line(texts: tf.Tensor) -> tf.Tensor:
    """`app.translation.lines.one_line` of each text (N,)."""
    return _strip(tf.strings.regex_replace(texts, BREAKS, " "))


def split_long(texts: tf.Tensor, count: Callable, limit: int) -> tuple[tf.Tensor, tf.Tensor]:
    """`app.translation.text.split_long` of each text.

    Args:
        texts: normalised text (N,), none of it empty.
        count: gives the lengths in tokens (M,) int32 of texts (M,).
        limit: the maximum tokens of a part.

    Returns:
        The parts (P,), those of one text side by side, and the index of the text of each part (P,) int32.
    """
    owners = tf.range(tf.size(texts))
    for kind in KINDS:
        texts, owners = _split_at(kind, texts, owners, count, limit)
    return _halve(texts, owners, count, limit)


def _class(codes: Iterable[int]) -> str:
    """A character class of RE2."""
    return "[" + "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in _ranges(codes)) + "]"


def _ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    """The first and last of each unbroken run of numbers."""
    codes = sorted(codes)
    firsts = [code for before, code in zip([None, *codes], codes, strict=False) if before != code - 1]
    lasts = [code for code, after in zip(codes, [*codes[1:], None], strict=True) if after != code + 1]
    return list(zip(firsts, lasts, strict=True))


@functools.cache
def _spaces() -> list[int]:
    """White space as Python defines it, which is more than RE2's."""
    return [code for code in _EVERY if chr(code).isspace()]


@functools.cache
def _clinging_edges() -> list[int]:
    """The first code of each range of characters that cling to the one before, and the first code after it."""
    ranges = _ranges(code for code in _EVERY if clings(chr(code)))
    return [edge for first, last in ranges for edge in (first, last + 1)]


def _compose(texts):
    return tensorflow_text.normalize_utf8(texts, "NFC")


def _strip(texts):
    white = f"{_class(_spaces())}+"
    return tf.strings.regex_replace(texts, f"^{white}|{white}$", "")


def _without_junk_joiners(texts):
    """Removes joiners at either end and next to a Latin letter, digit or space."""
    bare = _class({*range(0x370), *range(0x1E00, 0x1F00), *_spaces()})
    texts = tf.strings.regex_replace(texts, f"(^|{bare}){_JOINERS}", "\\1")
    return tf.strings.regex_replace(texts, f"{_JOINERS}({bare}|$)", "\\1")


def _split_at(kind: str, texts, owners, count, limit):
    """Cuts the texts that are too long after each mark of a kind, and joins neighbours again while they fit."""
    marked = tf.where(count(texts) > limit, tf.strings.regex_replace(texts, kind, "\\0\n"), texts)
    pieces = tf.strings.split(marked, "\n")
    pieces, text_of = tf.strings.strip(pieces.values), tf.cast(pieces.value_rowids(), tf.int32)
    filled = pieces != ""
    pieces, text_of = pieces[filled], text_of[filled]

    heads = _group_heads(count(pieces), text_of, limit)
    # A joined text may have one token more than its pieces; if that is one too many, the pieces stay apart.
    fits = count(_join(pieces, heads)) <= limit
    heads |= ~tf.gather(fits, _groups(heads))
    return _join(pieces, heads), tf.gather(owners, text_of[heads])


def _join(pieces, heads):
    """Joins the pieces of each group, which begins where `heads` is True."""
    number = tf.reduce_sum(tf.cast(heads, tf.int32))
    return tf.strings.unsorted_segment_join(pieces, _groups(heads), number, separator=" ")


def _groups(heads):
    return tf.cumsum(tf.cast(heads, tf.int32)) - 1


def _group_heads(sizes, text_of, limit):
    """Which pieces (P,) begin a group, when each group takes as many pieces of a text as fit into the limit."""
    count = tf.size(sizes)
    ends = tf.cumsum(sizes)
    here = tf.range(count)
    next_text = tf.searchsorted(text_of, text_of, side="right")
    next_head = tf.searchsorted(ends, ends - sizes + limit, side="right")
    next_head = tf.minimum(tf.maximum(next_head, here + 1), next_text)
    # The heads are the pieces on the chain of `next_head` from the first piece. Doubling the jumps in each iteration
    # finds all of them in a few iterations; an extra entry past the last piece points to itself.
    jumps = tf.concat([next_head, [count]], axis=0)
    reached = tf.concat([[1], tf.zeros_like(next_head)], axis=0)

    def double(span, jumps, reached):
        further = tf.math.unsorted_segment_max(reached, jumps, count + 1)
        return 2 * span, tf.gather(jumps, jumps), tf.maximum(reached, further)

    reached = tf.while_loop(lambda span, *_: span <= count, double, (1, jumps, reached))[2]
    return tf.cast(reached[:count], tf.bool)


def _halve(texts, owners, count, limit):
    """Halves texts that are still too long until they fit, never before a character that clings."""

    def cut(_, texts, owners):
        codes = tf.strings.unicode_decode(texts, "UTF-8")
        lengths = tf.cast(codes.row_lengths(), tf.int32)
        rows = tf.cast(codes.value_rowids(), tf.int32)
        places = tf.range(tf.size(rows)) - tf.gather(tf.cumsum(lengths, exclusive=True), rows)
        clinging = tf.searchsorted(_clinging_edges(), codes.values, side="right") % 2 == 1
        good = ~clinging & (places >= tf.gather(lengths // 2, rows))
        places = tf.where(good, places, tf.gather(lengths, rows))
        middles = tf.minimum(tf.math.unsorted_segment_min(places, rows, tf.size(texts)), lengths)
        long = (count(texts) > limit) & (middles > 0) & (middles < lengths)
        middles = tf.where(long, middles, lengths)
        halves = [
            tf.strings.substr(texts, tf.zeros_like(middles), middles, unit="UTF8_CHAR"),
            tf.strings.substr(texts, tf.where(long, middles, 0), lengths - middles, unit="UTF8_CHAR"),
        ]
        real = tf.reshape(tf.stack([tf.ones_like(long), long], axis=1), [-1])
        texts = tf.reshape(tf.stack(halves, axis=1), [-1])[real]
        return tf.reduce_any(long), texts, tf.repeat(owners, 2)[real]

    shapes = (tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape([None]))
    return tf.while_loop(lambda going_on, *_: going_on, cut, (True, texts, owners), shape_invariants=shapes)[1:]
