"""Cleaning, deduplication, overlap, near duplicates, samples and splits, on every database."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.cleaning import CleaningOptions, CleaningReport, clean
from data.errors import UserError
from data.pairs import Pair, consecutive
from data.warehouse.loading import load, loads
from data.warehouse.opening import open_warehouse
from data.warehouse.quality import Inspector
from data.warehouse.refining import Recipe, refine
from data.warehouse.sql import user_query
from tests.data.warehouse.sources import ListCorpus, read, texts

QUICK = CleaningOptions(language_filter=False)
NOT_LOOKED_AT = Inspector(languages=False)

PIECES = [
    "Save",
    "the file",
    "now.",
    "Datei",
    "sichern",
    "\u00ad",
    "  ",
    "\u00a0",
    "",
    "ﬁ",
    "e\u0301",
    "İ",
    "<b>",
    "7",
    "\U0001f469\u200d\U0001f680",
    "\x93quoted\x94",
    "The Commission has not been asked about this matter at all",
    "Die Kommission ist dazu leider überhaupt nicht gefragt worden",
    "La Commission n'a pas du tout été interrogée sur cette question",
]
SIDES = st.lists(st.sampled_from(PIECES), max_size=5).map(" ".join)
PAIRS = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=12).map(lambda pairs: pairs + pairs[::2])
OPTIONS = st.builds(
    CleaningOptions,
    lowercase=st.booleans(),
    max_words=st.integers(1, 30),
    max_ratio=st.sampled_from([1.0, 1.3, 2.0, 4.0]),
    max_copied_words=st.integers(0, 4),
    deduplicate=st.booleans(),
    language_filter=st.booleans(),
)


MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=15)


@pytest.fixture
def duck(tmp_path):
    """A DuckDB file: quick enough for many examples."""
    with open_warehouse(str(tmp_path / "many.duckdb"), create=True) as opened:
        yield opened


@MANY
@given(pairs=PAIRS, options=OPTIONS)
def test_cleaning_is_that_of_the_local_path(duck, pairs, options):
    check_cleaning(duck, pairs, options)


@pytest.mark.parametrize(
    "options", [CleaningOptions(), CleaningOptions(True, 4, 1.5, 1), CleaningOptions(deduplicate=False)], ids=str
)
def test_cleaning_is_that_of_the_local_path_on_every_database(warehouse, options):
    draw = random.Random(5)
    sides = [[" ".join(draw.choices(PIECES, k=draw.randrange(5))) for _ in range(300)] for _ in "ab"]
    check_cleaning(warehouse, [*zip(*sides, strict=True), *zip(sides[0][:50], sides[0], strict=False)], options)


def check_cleaning(warehouse, pairs, options):
    """The same pairs, and the same counts."""
    report = CleaningReport()
    expected = list(clean(ListCorpus("c", {"train": pairs}).pairs("train"), options, report=report))
    load(warehouse, ListCorpus("c", {"train": pairs}), inspector=Inspector(options.lowercase), workers=1)
    recipe = Recipe({"c": 1.0}, options)
    if not expected:
        with pytest.raises(UserError, match=f"none of {len(pairs)} training pairs is left"):
            refine(warehouse, recipe, "cleaned")
        return
    refined = refine(warehouse, recipe, "cleaned")
    assert texts(warehouse, "cleaned") == expected
    counts = refined.corpora["c"].as_dict()
    assert {key: counts[key] for key in report.as_dict()} == report.as_dict()
    assert refined.splits == {"train": len(expected)}


def corpora(warehouse, **splits):
    for name, lists in splits.items():
        load(warehouse, ListCorpus(name, lists), inspector=NOT_LOOKED_AT, workers=1)


def removed(refined, corpus):
    report = refined.corpora[corpus]
    assert report.seen - sum(report.removed.values()) == report.kept
    return {reason: number for reason, number in report.removed.items() if number}


def test_a_pair_of_two_corpora_stays_in_the_one_named_first(warehouse):
    corpora(
        warehouse,
        a={"train": [("one", "eins"), ("two", "zwei"), ("two", "zwei")]},
        b={"train": [("two", "zwei"), ("three", "drei")]},
        c={"train": [("three", "drei"), ("one", "eins"), ("four", "vier")]},
    )
    refined = refine(warehouse, Recipe({"c": 1, "a": 1}, QUICK), "cleaned")
    assert removed(refined, "c") == {}
    assert removed(refined, "a") == {"duplicate": 1, "repeated": 1}
    assert [pair.source for pair in texts(warehouse, "cleaned")] == ["two", "three", "one", "four"]
    refined = refine(warehouse, Recipe({}, QUICK), "cleaned")
    assert [pair.source for pair in texts(warehouse, "cleaned")] == ["one", "two", "three", "four"]
    assert removed(refined, "c") == {"repeated": 2}
    kept = refine(warehouse, Recipe({}, CleaningOptions(language_filter=False, deduplicate=False)), "cleaned")
    assert kept.total.kept == 8


def test_validation_and_test_pass_whole_and_as_they_are(warehouse):
    held_out = [("", "leer"), ("same", "gleich"), ("same", "gleich")]
    corpora(warehouse, a={"train": [("same", "gleich"), ("x", "y")], "validation": held_out, "test": held_out})
    refined = refine(warehouse, Recipe({}, QUICK), "cleaned")
    assert refined.splits == {"test": 3, "train": 2, "validation": 3}
    assert [tuple(pair[:2]) for pair in texts(warehouse, "cleaned", "test")] == held_out


WORDS = [f"w{number}" for number in range(30)]
LINE = st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=9)


def grams(words, length):
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)} | {tuple(words)}


@MANY
@given(
    training=st.lists(st.tuples(LINE, LINE), min_size=1, max_size=8),
    held_out=st.lists(st.tuples(LINE, LINE), min_size=1, max_size=3),
    length=st.integers(2, 4),
)
def test_overlap_is_what_comparing_all_n_grams_finds(duck, training, held_out, length):
    check_overlap(duck, training, held_out, length)


def test_overlap_on_every_database(warehouse):
    draw = random.Random(7)
    lines = [tuple([draw.choice(WORDS[:8]) for _ in range(draw.randrange(1, 9))] for _ in "ab") for _ in range(60)]
    assert check_overlap(warehouse, lines[:50], lines[50:], 3) > 5


def check_overlap(warehouse, training, held_out, length):
    spelt = [(" ".join(en), " ".join(de)) for en, de in training]
    # Case, punctuation and spaces are no difference.
    other = [(", ".join(en).upper() + "!", "„" + "  ".join(de) + "“") for en, de in held_out]
    corpora(warehouse, a={"train": [("nothing in common", "überhaupt nichts"), *spelt]}, t={"test": other})
    found = [set().union(*(grams(pair[side], length) for pair in held_out)) for side in (0, 1)]
    expected = [
        texts
        for texts, words in zip(spelt, training, strict=True)
        if not any(grams(words[side], length) & found[side] for side in (0, 1))
    ]
    options = CleaningOptions(language_filter=False, deduplicate=False, max_ratio=99.0, max_copied_words=99)
    refined = refine(warehouse, Recipe({"a": 1.0}, options, tests=("t",), overlap=length), "cleaned")
    assert [tuple(pair[:2]) for pair in texts(warehouse, "cleaned")][1:] == expected
    assert removed(refined, "a").get("overlap", 0) == len(training) - len(expected)
    assert refined.splits == {"train": len(expected) + 1}, "the test corpus is not taken"
    return len(training) - len(expected)


def sentence(draw, count):
    return [draw.choice(["alpha", "beta", "gamma", "delta"]) + str(draw.randrange(400)) for _ in range(count)]


def test_nearly_equal_pairs_stay_once(warehouse):
    draw = random.Random(3)
    originals, near, far = [], [], []
    for _ in range(60):
        en, de = sentence(draw, 20), sentence(draw, 20)
        originals.append((" ".join(en), " ".join(de)))
        near.append((" ".join(["New", *en[1:]]).upper() + ".", " ".join(de)))  # 37 of 39 shingles
        far.append((" ".join(en[:12] + sentence(draw, 8)), " ".join(de[:12] + sentence(draw, 8))))  # 22 of 54
    corpora(warehouse, a={"train": originals}, b={"train": near + far})
    refined = refine(warehouse, Recipe({}, QUICK, near=0.8), "cleaned")
    assert removed(refined, "a") == {}
    assert removed(refined, "b") == {"near": 60}
    assert [tuple(pair[:2]) for pair in texts(warehouse, "cleaned")] == originals + far
    assert refine(warehouse, Recipe({"b": 1, "a": 1}, QUICK, near=0.8), "cleaned").corpora["a"].removed["near"] == 60


def test_the_similarity_counts_exactly(warehouse):
    words = [f"word{number}" for number in range(40)]
    base = (" ".join(words[:20]), " ".join(words[20:]))
    changed = (" ".join(words[:18] + ["x", "y"]), base[1])  # 36 of 40 shingles
    corpora(warehouse, a={"train": [base, changed]})
    assert removed(refine(warehouse, Recipe({}, QUICK, near=0.90), "cleaned"), "a") == {"near": 1}
    assert removed(refine(warehouse, Recipe({}, QUICK, near=0.91), "cleaned"), "a") == {}


def documents(count, pairs, name="d"):
    return [
        (f"en {name} {doc} {n}", f"de {name} {doc} {n}", f"{name}{doc}") for doc in range(count) for n in range(pairs)
    ]


def test_a_sample_draws_whole_documents_and_the_same_ones_again(warehouse):
    corpora(warehouse, a={"train": documents(200, 3)}, b={"train": [pair[:2] for pair in documents(1, 400, "e")]})
    recipe = Recipe({"a": 0.25, "b": 0.5}, QUICK)
    refined = refine(warehouse, recipe, "some")
    counts = {
        row["doc"]: row["n"]
        for row in read(warehouse, "SELECT doc, COUNT(*) AS n FROM some WHERE corpus = 'a' GROUP BY doc")
    }
    assert set(counts.values()) == {3}
    assert 30 < len(counts) < 70
    assert 160 < refined.corpora["b"].kept < 240
    first = texts(warehouse, "some")
    assert refine(warehouse, recipe, "some").total == refined.total
    assert texts(warehouse, "some") == first
    refine(warehouse, Recipe({"a": 0.25, "b": 0.5}, QUICK, seed=2), "some")
    assert texts(warehouse, "some") != first
    refine(warehouse, Recipe({"a": 0.5, "b": 1}, QUICK), "more")
    assert set(texts(warehouse, "more")) > set(first), "a larger share has all of a smaller one"


def test_the_drawn_documents_are_known_beforehand(warehouse):
    """Written down once: no database and no later version may draw others."""
    corpora(warehouse, a={"train": documents(12, 1)})
    refine(warehouse, Recipe({"a": 0.5}, QUICK), "some")
    assert [pair.doc for pair in texts(warehouse, "some")] == ["d0", "d3", "d4", "d8", "d11"]


def test_a_weight_above_one_repeats_documents_in_order(warehouse):
    corpora(warehouse, a={"train": documents(10, 2)}, b={"train": documents(2, 1, "e")})
    refined = refine(warehouse, Recipe({"a": 2.5, "b": 1}, QUICK), "weighted")
    copied = [pair for pair in texts(warehouse, "weighted") if pair[0].startswith("en d")]
    assert list(consecutive((Pair(*pair) for pair in copied), str)) == copied, "each copy is a document of its own"
    found = [(*pair[:2], pair[2].partition("#")[0]) for pair in copied]
    assert found[:40] == documents(10, 2) * 2
    rest = found[40:]
    assert 0 < len(rest) < 20
    assert all(found.count(pair) == 3 for pair in rest)
    assert refined.splits["train"] == len(found) + 2
    places = read(warehouse, "SELECT position FROM weighted WHERE corpus = 'a' ORDER BY position")
    assert len({row["position"] for row in places}) == len(places)


def test_documents_are_split_whole(warehouse):
    own = [("own", "eigen", "own")]
    corpora(warehouse, a={"train": documents(300, 2), "test": own})
    refined = refine(warehouse, Recipe({}, QUICK, validation=0.1, test=0.2), "split_")
    parts = {split: texts(warehouse, "split_", split) for split in ("train", "validation", "test")}
    assert refined.splits == {split: len(pairs) for split, pairs in parts.items()}
    assert parts["test"][0] == own[0], "what was there before comes first"
    docs = {split: {pair.doc for pair in pairs} for split, pairs in parts.items()}
    assert not docs["train"] & docs["validation"] and not docs["train"] & docs["test"]
    assert sorted(pair for pairs in parts.values() for pair in pairs) == sorted([*documents(300, 2), *own])
    assert 10 < len(docs["validation"]) < 50 and 35 < len(docs["test"]) < 90
    assert parts["train"] == [pair for pair in documents(300, 2) if pair[2] in docs["train"]], "still in reading order"


def test_what_cannot_be_refined_is_explained(warehouse):
    with pytest.raises(UserError, match="no table or view '?pairs"):
        refine(warehouse, Recipe({}, QUICK), "cleaned")
    corpora(warehouse, a={"train": [("one", "eins")]})
    for recipe, into, message in [
        (Recipe({"b": 1}, QUICK), "cleaned", "has no corpus 'b'; it has a"),
        (Recipe({}, QUICK, tests=("b",)), "cleaned", "has no corpus 'b'; it has a"),
        (Recipe({}, QUICK, tests=("a",)), "cleaned", "'a' in table 'pairs' has training pairs only.* --split test"),
        (Recipe({}, CleaningOptions()), "cleaned", "'a' was loaded with --no-languages"),
        (Recipe({}, CleaningOptions(lowercase=True)), "cleaned", "needs a corpus that was loaded with --lowercase"),
        (Recipe({}, QUICK), "pairs", "the new table cannot be 'pairs'"),
        (Recipe({}, QUICK), "my table", "cannot be the name of a table"),
    ]:
        with pytest.raises(UserError, match=message):
            refine(warehouse, recipe, into)
    refine(warehouse, Recipe({}, QUICK), "mine")
    warehouse.make_view("seen", user_query("WITH pairs AS (SELECT * FROM mine) SELECT * FROM pairs"))
    for into, source, message in [
        ("Pairs", "mine", "the new table cannot be 'Pairs'"),
        ("loads", "pairs", "the new table cannot be 'loads'"),
        ("LOADS", "pairs", "the new table cannot be 'LOADS'"),
        ("Scratch_left_out", "pairs", "the new table cannot be 'Scratch_left_out'"),
        ("Mine", "mine", "the new table cannot be 'Mine', from which its rows come"),
        ("mine", "seen", "the new table cannot be 'mine', from which its rows come"),
        ("Mine", "pairs", "has a table 'mine', from which 'Mine' differs only in case"),
    ]:
        with pytest.raises(UserError, match=message):
            refine(warehouse, Recipe({}, QUICK), into, source)
    assert len(texts(warehouse)) == len(texts(warehouse, "mine")) == len(loads(warehouse)) == 1
    warehouse.run("DROP VIEW seen")
    warehouse.run("DROP TABLE mine")
    warehouse.run("CREATE TABLE other AS SELECT corpus, position FROM pairs")
    with pytest.raises(UserError, match="'other': column 'split' is missing"):
        refine(warehouse, Recipe({}, QUICK), "cleaned", "other")
    assert warehouse.tables() == ["loads", "other", "pairs"], "nothing is left behind"
