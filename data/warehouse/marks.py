"""Pieces of SQL that the steps of refining share: which pairs are still there, which comes first, which are drawn."""

from collections.abc import Iterable, Mapping

from data.warehouse.minhash import NO_WORD
from data.warehouse.sql import Value

# The rank of a corpus times this, plus a position, is one number that says which pair comes first.
PLACES = 2**40
# Fifteen hexadecimal digits of a hash are compared as text, which is the same in every database.
_DIGITS = 15

# The training pairs of `source` that are not in `left_out` yet; a corpus without a rank is not taken.
STILL_THERE = """
    source LEFT JOIN left_out ON left_out.corpus = source.corpus AND left_out.position = source.position
    WHERE source.split = 'train' AND left_out.position IS NULL AND {rank} IS NOT NULL
"""


def by_corpus(values: Mapping[str, Value], name: str, column: str = "source.corpus") -> tuple[str, dict[str, Value]]:
    """An expression whose value depends on the corpus, NULL for others, and its parameters.

    Args:
        values: the value for each corpus.
        name: what the names of the parameters begin with.
        column: the one that has the corpus.
    """
    cases, parameters = [], {}
    for number, (corpus, value) in enumerate(values.items()):
        cases.append(f"WHEN @{name}_corpus_{number} THEN @{name}_{number}")
        parameters |= {f"{name}_corpus_{number}": corpus, f"{name}_{number}": value}
    return f"CASE {column} {' '.join(cases)} END", parameters


def one_of(corpora: Iterable[str], name: str, column: str = "source.corpus") -> tuple[str, dict[str, Value]]:
    """An expression that is true for some corpora, and its parameters."""
    parameters = {f"{name}_{number}": corpus for number, corpus in enumerate(corpora)}
    return f"({' OR '.join(f'{column} = @{key}' for key in parameters)})", parameters


def drawn(purpose: str) -> str:
    """An expression for the fixed random number of a document (of a pair without one), to compare with `share`.

    It depends on `@seed`, the purpose and the names of corpus and document, not on other pairs or on the database.
    """
    unit = "COALESCE(source.doc, CAST(source.digest AS STRING))"
    return f"SUBSTR(TO_HEX(MD5(CONCAT(@seed, ' {purpose} ', source.corpus, ' ', {unit}))), 1, {_DIGITS})"


def share(part: float) -> str:
    """The bound below which `drawn` falls for this part of all documents, 0 to 1."""
    return "g" if part >= 1 else f"{int(part * 16**_DIGITS):0{_DIGITS}x}"


def grams(column: str, length: int) -> str:
    """Expressions, for ARRAY_CONCAT, of all n-grams of a text with one space between words.

    A regular expression finds only n-grams that do not overlap, so it runs `length` times, each time with one more word
    skipped at the start. The patterns are parameters, see `gram_patterns`.
    """
    begun = [column, *(f"REGEXP_REPLACE({column}, @skipped_{n}, '')" for n in range(1, length))]
    return ", ".join(f"REGEXP_EXTRACT_ALL({text}, @gram)" for text in begun)


def gram_patterns(length: int) -> dict[str, Value]:
    """The parameters of `grams`."""
    patterns: dict[str, Value] = {f"skipped_{n}": f"^(?:[^ ]+ ){{{n}}}" for n in range(1, length)}
    return patterns | {"gram": "[^ ]+" + f"(?: [^ ]+){{{length - 1}}}"}


def words(column: str) -> str:
    """An expression for the lower-cased words of a text, with one space between them."""
    return f"TRIM(REGEXP_REPLACE(LOWER({column}), r'{NO_WORD}', ' '))"
