"""Selects the pairs to train on from all that were loaded: makes one new table, and counts each reason for leaving out.

The steps, in this order: the filters of `data.cleaning` and exact duplicates within a corpus, pairs that are also in a
corpus named before, overlap with test sets, nearly equal pairs, and a sample. Only the split "train" is filtered;
validation and test pairs are all passed on.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from data.cleaning import REASONS, CleaningOptions, CleaningReport
from data.corpora.folder import SPLITS
from data.errors import UserError
from data.warehouse import overlap, similarity
from data.warehouse.base import Warehouse
from data.warehouse.loading import loads
from data.warehouse.marks import STILL_THERE, by_corpus, drawn, one_of, share
from data.warehouse.schema import PAIR_COLUMNS, PAIRS
from data.warehouse.sql import statement

# Why a pair is left out, besides `data.cleaning.REASONS`, in the order of the steps.
FURTHER_REASONS = {
    "repeated": "in a corpus named before",
    "overlap": "overlap with test sets",
    "near": "nearly equal to another",
    "sample": "not in the sample",
}

# The filters of `data.cleaning`, and duplicates within a corpus, in its order.
_CLEAN = """
    CREATE OR REPLACE TABLE left_out AS
    WITH training AS (
        SELECT corpus, position, digest, en_foreign OR de_foreign AS foreign_side, CASE
            WHEN en_words = 0 OR de_words = 0 THEN 'empty'
            WHEN GREATEST(en_words, de_words) > @max_words THEN 'long'
            WHEN GREATEST(en_length, de_length) > @max_ratio * LEAST(en_length, de_length) THEN 'ratio'
            WHEN copied_words > @max_copied_words THEN 'untranslated' END AS fault
        FROM source WHERE split = 'train' AND {rank} IS NOT NULL
    ),
    firsts AS (
        SELECT corpus, digest, MIN(position) AS earliest FROM training WHERE fault IS NULL AND @deduplicate
        GROUP BY corpus, digest HAVING COUNT(*) > 1
    ),
    judged AS (
        SELECT training.corpus AS corpus, training.position AS position, CASE
            WHEN training.fault IS NOT NULL THEN training.fault
            WHEN training.position > firsts.earliest THEN 'duplicate'
            WHEN @language_filter AND training.foreign_side THEN 'language' END AS fault
        FROM training LEFT JOIN firsts ON firsts.corpus = training.corpus AND firsts.digest = training.digest
    )
    SELECT corpus, position, fault FROM judged WHERE fault IS NOT NULL
"""
_REPEATED = """
    INSERT INTO left_out (corpus, position, fault)
    WITH training AS (
        SELECT source.corpus AS corpus, source.position AS position, source.digest AS digest, {rank} AS place
        FROM {still_there}
    ),
    firsts AS (SELECT digest, MIN(place) AS earliest FROM training GROUP BY digest HAVING COUNT(*) > 1)
    SELECT training.corpus, training.position, 'repeated'
    FROM training JOIN firsts ON firsts.digest = training.digest WHERE training.place > firsts.earliest
"""
_SAMPLE = """
    INSERT INTO left_out (corpus, position, fault)
    SELECT source.corpus, source.position, 'sample' FROM {still_there} AND {drawn} >= {share}
"""
# Pairs that were in a split before come first in it; those copied or moved into it follow, shifted by `@stride`.
_COPY = """
    CREATE OR REPLACE TABLE made AS
    WITH kept AS (
        SELECT source.*, {copies} AS copies, CASE WHEN source.split != 'train' THEN source.split
            WHEN {drawn} < @test_share THEN 'test' WHEN {drawn} < @held_out_share THEN 'validation'
            ELSE 'train' END AS new_split
        FROM source
        LEFT JOIN left_out ON left_out.corpus = source.corpus AND left_out.position = source.position
            AND source.split = 'train'
        WHERE left_out.position IS NULL AND {rank} IS NOT NULL
    )
    SELECT corpus, new_split AS split,
        CASE WHEN copy > 1 THEN doc || '#' || CAST(copy AS STRING) ELSE doc END AS doc,
        position + @stride * (copy - 1 + CASE WHEN new_split = split THEN 0 ELSE 1 END) AS position, {rest}
    FROM kept CROSS JOIN UNNEST(GENERATE_ARRAY(1, CASE WHEN new_split = 'train' THEN copies ELSE 1 END)) AS copy
"""


@dataclass(frozen=True)
class Recipe:
    """What to leave out.

    Args:
        corpora: the corpora to take and their weights; a pair that several have stays in the one named first. Empty
            for all, in alphabetical order. A weight below 1 is the share of documents (of pairs, if there are none)
            that is drawn; one above 1 repeats them: 2.5 gives each twice and half of them once more.
        options: the filters; `lowercase` must be as the corpora were loaded.
        tests: corpora whose splits other than "train" are test sets, with which no training pair may overlap; they are
            not taken themselves unless named above.
        overlap: how many words in a row make an overlap, on either side. A shorter test segment counts as a whole.
        near: the Jaccard similarity of their shingles from which two pairs count as nearly equal; 0 keeps such pairs.
        validation, test: the shares of documents that go into these splits instead of "train".
        seed: of the sample and the split.
    """

    corpora: Mapping[str, float] = field(default_factory=dict)
    options: CleaningOptions = field(default_factory=CleaningOptions)
    tests: tuple[str, ...] = ()
    overlap: int = 8
    near: float = 0.0
    validation: float = 0.0
    test: float = 0.0
    seed: int = 1


@dataclass
class RefiningReport(CleaningReport):
    """A `CleaningReport` that also counts `FURTHER_REASONS`."""

    labels = REASONS | FURTHER_REASONS
    removed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RefiningReport.labels, 0))


@dataclass
class Refined:
    """The report on each corpus's training pairs, and the number of pairs in each split of the new table."""

    corpora: dict[str, RefiningReport]
    splits: dict[str, int]

    @property
    def total(self) -> RefiningReport:
        """The report on all corpora together."""
        return sum(self.corpora.values(), RefiningReport())


def refine(warehouse: Warehouse, recipe: Recipe, into: str, source: str = PAIRS) -> Refined:
    """Makes a new table of the pairs that a recipe keeps; the old table stays as it is.

    Args:
        warehouse: where both tables are.
        recipe: what to leave out.
        into: the new table; an existing one of that name is replaced once the new one is complete.
        source: the table or view to take from, with the columns of `data.warehouse.schema.PAIR_COLUMNS`.

    Returns:
        How many pairs were left out and why, and how many each split of the new table has.

    Raises:
        UserError: a corpus, table or column does not exist, columns were not computed at loading, or the recipe leaves
            nothing.
    """
    _check_tables(warehouse, into, source)
    seen = _seen(warehouse, recipe, source)
    ranks = _ranks(warehouse, recipe, source, seen)
    _check_loaded(warehouse, recipe, source, ranks)
    left_out = warehouse.scratch("left_out")
    try:
        _leave_out(warehouse, recipe, source, left_out, ranks)
        reports = _reports(warehouse, seen, left_out, ranks)
        if not sum(report.kept for report in reports.values()):
            raise UserError(_nothing_left(sum(reports.values(), RefiningReport())))
        _copy(warehouse, recipe, source, into, left_out, ranks)
    finally:
        warehouse.run(statement("DROP TABLE IF EXISTS gone", gone=left_out))
    rows = _rows(warehouse, "SELECT split, COUNT(*) AS n FROM made GROUP BY split", made=into)
    counts = {row["split"]: row["n"] for row in rows}
    return Refined(reports, {split: counts[split] for split in SPLITS if split in counts})


def _leave_out(warehouse: Warehouse, recipe: Recipe, source: str, left_out: str, ranks: dict[str, int]) -> None:
    """All steps that mark pairs."""
    rank, parameters = by_corpus(ranks, "rank")
    tables, options = {"source": source, "left_out": left_out}, dataclasses.asdict(recipe.options)
    used = ("max_words", "max_ratio", "max_copied_words", "deduplicate", "language_filter")
    options = {key: options[key] for key in used}
    warehouse.run(statement(_CLEAN.format(rank=rank), **tables), options | parameters)
    still_there = STILL_THERE.format(rank=rank)
    if recipe.options.deduplicate and len(ranks) > 1:
        warehouse.run(statement(_REPEATED.format(rank=rank, still_there=still_there), **tables), parameters)
    if recipe.tests:
        overlap.leave_out(warehouse, recipe.tests, recipe.overlap, ranks, source, left_out)
    if recipe.near:
        similarity.leave_out(warehouse, recipe.near, ranks, source, left_out)
    if any(weight < 1 for weight in recipe.corpora.values()):
        part, shares = by_corpus({c: share(recipe.corpora.get(c, 1)) for c in ranks}, "share")
        sample = _SAMPLE.format(still_there=still_there, drawn=drawn("sample"), share=part)
        warehouse.run(statement(sample, **tables), parameters | shares | {"seed": str(recipe.seed)})


def _copy(warehouse: Warehouse, recipe: Recipe, source: str, into: str, left_out: str, ranks: dict[str, int]) -> None:
    """Makes the new table of the pairs that are not marked."""
    weights = {corpus: max(recipe.corpora.get(corpus, 1.0), 1.0) for corpus in ranks}
    whole, parameters = by_corpus({corpus: math.floor(weight) for corpus, weight in weights.items()}, "whole")
    part, parts = by_corpus({corpus: share(weight % 1) for corpus, weight in weights.items()}, "share")
    rank, rank_parameters = by_corpus(ranks, "rank")
    rest = ", ".join(column for column in PAIR_COLUMNS if column not in ("corpus", "split", "doc", "position"))
    copies = f"{whole} + CASE WHEN {drawn('sample')} < {part} THEN 1 ELSE 0 END"
    query = _COPY.format(copies=copies, drawn=drawn("split"), rank=rank, rest=rest)
    (longest,) = _rows(warehouse, "SELECT MAX(position) AS position FROM source", source=source)
    parameters |= (
        parts
        | rank_parameters
        | {
            "seed": str(recipe.seed),
            "test_share": share(recipe.test),
            "held_out_share": share(recipe.test + recipe.validation),
            "stride": longest["position"] + 1,
        }
    )
    warehouse.run(statement(query, made=into, source=source, left_out=left_out), parameters)


def _reports(
    warehouse: Warehouse, seen: dict[str, int], left_out: str, ranks: dict[str, int]
) -> dict[str, RefiningReport]:
    reports = {corpus: RefiningReport(seen[corpus], seen[corpus]) for corpus in ranks}
    query = "SELECT corpus, fault, COUNT(*) AS n FROM left_out GROUP BY corpus, fault"
    for row in _rows(warehouse, query, left_out=left_out):
        report = reports[row["corpus"]]
        report.removed[row["fault"]] = row["n"]
        report.kept -= row["n"]
    return reports


def _seen(warehouse: Warehouse, recipe: Recipe, source: str) -> dict[str, int]:
    """The training pairs of each corpus; checks that each test corpus has others."""
    query = """
        SELECT corpus, COUNTIF(split = 'train') AS n, COUNTIF(split != 'train') AS held_out
        FROM source GROUP BY corpus ORDER BY corpus
    """
    rows = _rows(warehouse, query, source=source)
    for row in rows:
        if row["corpus"] in recipe.tests and not row["held_out"]:
            raise UserError(
                f"{warehouse.address}: corpus {row['corpus']!r} in table {source!r} has training pairs only, so there "
                "is no test set to leave out; load it with --split test"
            )
    return {row["corpus"]: row["n"] for row in rows}


def _ranks(warehouse: Warehouse, recipe: Recipe, source: str, seen: dict[str, int]) -> dict[str, int]:
    """The corpora to take and their places in the order."""
    for corpus in (*recipe.corpora, *recipe.tests):
        if corpus not in seen:
            raise UserError(
                f"{warehouse.address}: table {source!r} has no corpus {corpus!r}; it has {', '.join(seen) or 'none'}"
            )
    return {corpus: rank for rank, corpus in enumerate(recipe.corpora or seen)}


def _check_tables(warehouse: Warehouse, into: str, source: str) -> None:
    warehouse.check_new(into, [source])
    there = warehouse.columns(source)
    for column, kind in PAIR_COLUMNS.items():
        if there.get(column) != kind:
            found = f"is {there[column]}, not {kind}" if column in there else "is missing"
            raise UserError(f"{warehouse.address}, {source!r}: column {column!r} {found}; take it from {PAIRS!r}")


def _check_loaded(warehouse: Warehouse, recipe: Recipe, source: str, ranks: dict[str, int]) -> None:
    """Checks the columns that loading may have left empty or computed from text in another case."""
    for row in loads(warehouse):
        if row["corpus"] in ranks and row["lowercase"] != recipe.options.lowercase:
            how = "with" if recipe.options.lowercase else "without"
            raise UserError(
                f"corpus {row['corpus']!r}: data.lowercase = {str(recipe.options.lowercase).lower()} needs a corpus "
                f"that was loaded {how} --lowercase; load it again"
            )
    if not recipe.options.language_filter:
        return
    taken, parameters = one_of(ranks, "corpus")
    query = (
        f"SELECT corpus, COUNT(*) AS n FROM source WHERE split = 'train' AND {taken} AND en_foreign IS NULL "
        "GROUP BY corpus ORDER BY corpus"
    )
    for row in _rows(warehouse, query, parameters, source=source):
        raise UserError(
            f"corpus {row['corpus']!r} was loaded with --no-languages, so it is unknown which pairs are in a wrong "
            "language; load it again without that option, or clean with --set language_filter=false"
        )


def _nothing_left(report: RefiningReport) -> str:
    reasons = ", ".join(f"{report.labels[key]}: {n:,}" for key, n in report.removed.items() if n)
    return f"none of {report.seen:,} training pairs is left ({reasons or 'there were none'}); leave out fewer"


def _rows(warehouse: Warehouse, query: str, parameters=None, **tables: str) -> list[dict]:
    return warehouse.records(statement(query, **tables), parameters)
