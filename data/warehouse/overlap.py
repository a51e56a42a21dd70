"""Leaves out training pairs that share several words in a row with test sets."""

from data.warehouse.base import Warehouse
from data.warehouse.marks import STILL_THERE, by_corpus, gram_patterns, grams, one_of, words
from data.warehouse.sql import statement

_INSERT = """
    INSERT INTO left_out (corpus, position, fault)
    WITH held_out AS (SELECT {en} AS en, {de} AS de FROM source WHERE source.split != 'train' AND {tests}),
    grams AS (
        SELECT DISTINCT 'en' AS side, gram FROM held_out CROSS JOIN UNNEST({grams_en}) AS gram WHERE gram != ''
        UNION ALL
        SELECT DISTINCT 'de' AS side, gram FROM held_out CROSS JOIN UNNEST({grams_de}) AS gram WHERE gram != ''
    ),
    training AS (SELECT source.corpus AS corpus, source.position AS position, {en} AS en, {de} AS de FROM {still_there})
    SELECT corpus, position, 'overlap' FROM (
        SELECT corpus, position, 'en' AS side, gram FROM training CROSS JOIN UNNEST({grams_en}) AS gram
        UNION ALL
        SELECT corpus, position, 'de' AS side, gram FROM training CROSS JOIN UNNEST({grams_de}) AS gram
    ) JOIN grams USING (side, gram)
    GROUP BY corpus, position
"""


def leave_out(
    warehouse: Warehouse, tests: tuple[str, ...], length: int, ranks: dict[str, int], source: str, left_out: str
) -> None:
    """Marks training pairs that share `length` words in a row, on either side, with the same side of a test segment.

    Case, punctuation and white space do not count. A test segment with fewer words counts as a whole: only a training
    segment with exactly these words overlaps with it.

    Args:
        warehouse: where the tables are.
        tests: corpora whose splits other than "train" are the test sets.
        length: the number of words.
        ranks: the corpora that training pairs are taken from.
        source, left_out: the table of pairs, and the table of those left out, to which rows are added.

    References:
        - Brown et al. 2020, Language Models are Few-Shot Learners, appendix C, https://arxiv.org/abs/2005.14165
    """
    rank, parameters = by_corpus(ranks, "rank")
    held_out, names = one_of(tests, "test")
    text = _INSERT.format(
        en=words("source.en"),
        de=words("source.de"),
        tests=held_out,
        grams_en=f"ARRAY_CONCAT({grams('en', length)}, [en])",
        grams_de=f"ARRAY_CONCAT({grams('de', length)}, [de])",
        still_there=STILL_THERE.format(rank=rank),
    )
    warehouse.run(statement(text, source=source, left_out=left_out), parameters | names | gram_patterns(length))
