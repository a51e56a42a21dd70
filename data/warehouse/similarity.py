"""Leaves out training pairs that nearly equal an earlier one, found by MinHash."""

from data.warehouse.base import Warehouse
from data.warehouse.marks import PLACES, STILL_THERE, by_corpus, gram_patterns, grams, words
from data.warehouse.schema import BANDS
from data.warehouse.sql import statement

SHINGLE = 2  # words, as in data.warehouse.minhash

# Pairs with the same band are compared only with the first of them: the work grows with the number of pairs and not
# with its square, however many are alike.
_BAND = """
    WITH training AS (SELECT {place} AS place, source.{band} AS band FROM {still_there} AND source.{band} IS NOT NULL),
    firsts AS (SELECT band, MIN(place) AS earliest FROM training GROUP BY band HAVING COUNT(*) > 1)
    SELECT training.place AS place, firsts.earliest AS earliest FROM training JOIN firsts ON training.band = firsts.band
    WHERE training.place > firsts.earliest
"""
_COMPARED = """
    CREATE OR REPLACE TABLE compared AS
    WITH distinct_ones AS (SELECT DISTINCT place, earliest FROM candidates),
    later AS (
        SELECT d.place AS place, d.earliest AS earliest, source.corpus AS corpus, source.position AS position,
            source.en AS en, source.de AS de
        FROM distinct_ones AS d JOIN source ON d.place = {place} WHERE source.split = 'train'
    )
    SELECT later.place AS place, later.earliest AS earliest, later.corpus AS corpus, later.position AS position,
        later.en AS en, later.de AS de, source.en AS first_en, source.de AS first_de
    FROM later JOIN source ON later.earliest = {place} WHERE source.split = 'train'
"""
_INSERT = """
    INSERT INTO left_out (corpus, position, fault)
    WITH parts AS ({parts}),
    shared AS (
        SELECT corpus, position, earliest, side, shingle, MIN(mine) != MAX(mine) AS both
        FROM parts GROUP BY corpus, position, earliest, side, shingle
    ),
    similar AS (
        SELECT corpus, position FROM shared GROUP BY corpus, position, earliest HAVING COUNTIF(both) >= @near * COUNT(*)
    )
    SELECT DISTINCT corpus, position, 'near' FROM similar
"""
_PART = """
    SELECT corpus, position, earliest, {side} AS side, {mine} AS mine, shingle
    FROM (SELECT corpus, position, earliest, {words} AS text FROM compared) AS compared
    CROSS JOIN UNNEST(CASE WHEN STRPOS(text, ' ') > 0 THEN ARRAY_CONCAT({shingles}) ELSE [text] END) AS shingle
    WHERE shingle != ''
"""


def leave_out(warehouse: Warehouse, near: float, ranks: dict[str, int], source: str, left_out: str) -> None:
    """Marks training pairs that nearly equal an earlier pair.

    Such a pair shares a MinHash band with the earlier one, and the Jaccard similarity of their sets of shingles, both
    sides together, is at least `near`. A shingle is two words in a row, lower-cased and without punctuation, or the
    only word. Broder calls this similarity the resemblance.

    Pairs with the same value of a band are compared only with the first of them. See `minhash.band_hashes` for how many
    nearly equal pairs share a band.

    Args:
        warehouse: where the tables are.
        near: the similarity, above 0 and at most 1.
        ranks: the corpora that training pairs are taken from, and their order.
        source, left_out: the table of pairs, and the table of those left out, to which rows are added.

    References:
        - Broder 1997, On the resemblance and containment of documents, https://doi.org/10.1109/SEQUEN.1997.666900
    """
    rank, parameters = by_corpus(ranks, "rank")
    scratch = {name: warehouse.scratch(name) for name in ("candidates", "compared")}
    tables = {"source": source, "left_out": left_out, **scratch}
    place = f"({rank} * {PLACES} + source.position)"
    try:
        for number in range(1, BANDS + 1):
            query = _BAND.format(place=place, band=f"band_{number}", still_there=STILL_THERE.format(rank=rank))
            begin = "CREATE OR REPLACE TABLE candidates AS"
            if number > 1:
                begin = "INSERT INTO candidates (place, earliest)"
            warehouse.run(statement(begin + query, **tables), parameters)
        warehouse.run(statement(_COMPARED.format(place=place), **tables), parameters)
        warehouse.run(statement(_INSERT.format(parts=_parts()), **tables), {"near": near} | gram_patterns(SHINGLE))
    finally:
        for table in scratch.values():
            warehouse.run(statement("DROP TABLE IF EXISTS gone", gone=table))


def _parts() -> str:
    """All shingles of both pairs: `mine` tells the pairs apart, `side` the languages."""
    columns = [("en", 0, 0), ("de", 1, 0), ("first_en", 0, 1), ("first_de", 1, 1)]
    shingles = grams("text", SHINGLE)
    return " UNION ALL ".join(
        _PART.format(words=words(column), shingles=shingles, side=side, mine=mine) for column, side, mine in columns
    )
