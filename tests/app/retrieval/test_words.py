import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.retrieval.words import WordIndex, words_of

TEXTS = st.lists(st.lists(st.sampled_from(list("abcdef")), max_size=6).map(" ".join), min_size=1, max_size=12)


def bm25(texts: list[str], query: str) -> list[float]:
    """Scores straight from the formula."""
    documents = [words_of(text) for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        counts, score = Counter(document), 0.0
        for word in set(words_of(query)):
            having = sum(word in other for other in documents)
            rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            score += rarity * counts[word] / (counts[word] + 1.2 * (1 - 0.75 + 0.75 * len(document) / mean))
        scores.append(score)
    return scores


def test_words():
    assert words_of("Don't open \u27e612\u27e7_x, ÄPFEL 3!") == [
        "don",
        "t",
        "open",
        "\u27e612\u27e7",
        "_x",
        "äpfel",
        "3",
    ]
    assert words_of("...") == ["..."]
    assert words_of("") == [""]


def test_scores_by_hand():
    """Four segments of 2, 3, 1 and 2 words, 2 in the mean; "file" in three of them, "open" in two."""
    texts = ["Open file", "close file file", "open", "print page"]
    index = WordIndex.build(texts)
    file, open_ = math.log(1 + 2.5 / 2.5), math.log(1 + 2.5 / 2.5)
    assert bm25(texts, "open FILE") == pytest.approx(
        [
            file / (1 + 1.2) + open_ / (1 + 1.2),  # 0.630
            file * 2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2)),  # 0.380
            open_ / (1 + 1.2 * (0.25 + 0.75 / 2)),  # 0.396
            0,
        ]
    )
    assert index.similar("open FILE", 4) == [0, 2, 1]
    assert index.similar("open FILE", 2) == [0, 2]
    assert index.similar("page unheard", 4) == [3]
    assert index.similar("unheard of", 4) == []


def test_equal_scores_keep_the_order_of_segments():
    index = WordIndex.build(["b", "a", "c", "a", "a", "b c"])
    assert index.similar("a", 2) == [1, 3]
    assert index.similar("a", 9) == [1, 3, 4]


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.sampled_from(list("abcdefx")), max_size=5).map(" ".join), st.integers(1, 14))
def test_finds_the_best_by_the_formula(texts, query, count):
    found = WordIndex.build(texts).similar(query, count)
    expected = bm25(texts, query)
    best = sorted((score for score in expected if score > 0), reverse=True)[:count]
    assert len(set(found)) == len(found)
    assert [expected[number] for number in found] == pytest.approx(best, rel=1e-5)


def test_is_the_same_from_disk(tmp_path):
    texts = ["Öffnen \u27e61\u27e7", "\u27e61\u27e7 \u27e62\u27e7 of 3", "...", "of of of", ""]
    index = WordIndex.build(texts)
    index.save(tmp_path)
    loaded = WordIndex.load(tmp_path)
    for query in [*texts, "of \u27e61\u27e7", "nothing"]:
        assert loaded.similar(query, 3) == index.similar(query, 3)
    assert loaded.similar("...", 3) == [2]
