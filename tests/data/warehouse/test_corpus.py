"""Queries as corpora, profiles, and rows as files."""

import pyarrow.parquet
import pytest

from data.corpora.corpora import Corpora, parse_mixture
from data.errors import UserError
from data.pairs import Pair
from data.warehouse.exporting import export
from data.warehouse.files import open_source
from data.warehouse.loading import load
from data.warehouse.order import in_order
from data.warehouse.profile import profile
from data.warehouse.quality import Inspector
from data.warehouse.sql import user_query
from tests.data.warehouse.sources import ListCorpus, read

TALKS = [(f"talk {n}", f"Vortrag {n}", f"t{n // 3}") for n in range(9)]
NEWS = [(f"news {n} has been here", f"Nachricht {n}") for n in range(4)]


@pytest.fixture
def filled(warehouse):
    quick = Inspector(languages=False)
    load(warehouse, ListCorpus("talks", {"train": TALKS, "test": TALKS[:2]}), inspector=quick, workers=1)
    load(warehouse, ListCorpus("news", {"train": [*NEWS, NEWS[0]]}), inspector=quick, workers=1)
    return warehouse


def corpus_of(warehouse, query, *languages):
    return Corpora((), warehouse.address, *languages).open(f"warehouse:{query}")


def test_a_table_is_read_in_the_order_of_its_documents(filled):
    corpus = corpus_of(filled, "pairs")
    assert corpus.splits() == ("train", "test")
    assert corpus.size("train") == 14 and corpus.size("test") == 2
    assert corpus.has_documents
    pairs = list(corpus.pairs("train"))
    assert pairs == [*(Pair(*pair) for pair in [*NEWS, NEWS[0]]), *(Pair(en, de, f"talks/{d}") for en, de, d in TALKS)]
    assert list(corpus_of(filled, "pairs", "de", "en").pairs("train"))[0] == Pair(NEWS[0][1], NEWS[0][0])


def test_other_selects_and_names(filled):
    corpus = corpus_of(filled, "SELECT * FROM pairs WHERE corpus = 'talks' AND MOD(position, 2) = 0")
    assert [pair.source for pair in corpus.pairs("train")] == [f"talk {n}" for n in range(0, 9, 2)]
    assert not corpus_of(filled, "SELECT * EXCEPT (doc) FROM pairs").has_documents
    query = "SELECT en, de FROM pairs WHERE corpus = 'talks' AND split = 'train' ORDER BY position DESC LIMIT 4"
    corpus = corpus_of(filled, query)
    assert corpus.splits() == ("train",)
    assert corpus.size("train") == 4
    assert list(corpus.pairs("train")) == [Pair(f"talk {n}", f"Vortrag {n}") for n in (8, 7, 6, 5)]
    both = corpus_of(filled, "SELECT split, en, de FROM pairs WHERE corpus = 'talks' ORDER BY position DESC, split")
    assert [pair.source for pair in both.pairs("test")] == ["talk 1", "talk 0"]
    query = "SELECT de AS nl, en AS fr, corpus, position FROM pairs WHERE corpus = 'news'"
    corpus = corpus_of(filled, query, "fr", "nl")
    assert list(corpus.pairs("train"))[0] == Pair(*NEWS[0])


def test_a_view_is_a_query_with_a_name(filled):
    filled.make_view("long_news", user_query("SELECT * FROM pairs AS p WHERE p.corpus = 'news' AND position > 1"))
    assert filled.tables() == ["loads", "long_news", "pairs"]
    corpus = corpus_of(filled, "long_news")
    assert [pair.source for pair in corpus.pairs("train")] == [NEWS[2][0], NEWS[3][0], NEWS[0][0]]
    filled.run("DELETE FROM pairs WHERE position = 2")
    assert corpus.size("train") == 2, "it shows what is in the table now"
    filled.make_view("long_news", user_query("WITH t AS (SELECT * FROM pairs) SELECT * FROM t WHERE corpus = 'talks'"))
    assert corpus_of(filled, "long_news").size("train") == 8
    for name in ("pairs", "Pairs", "Loads", "scratch_view"):
        with pytest.raises(UserError, match=f"the new table cannot be '{name}'"):
            filled.make_view(name, user_query("SELECT 1 AS n"))
    with pytest.raises(UserError, match="cannot be 'long_news', from which its rows come"):
        filled.make_view("long_news", user_query("SELECT * FROM long_news WHERE position > 1"))
    assert corpus_of(filled, "long_news").size("train") == 8
    assert filled.columns("pairs")["en"] == "STRING"


def test_the_fingerprint_changes_with_the_rows_and_their_order_alone(filled):
    def fingerprint(query="pairs", split="train", languages=()):
        return corpus_of(filled, query, *languages).fingerprint(split)

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint("SELECT * FROM pairs ORDER BY corpus, position") == first, "the same rows in the same order"
    assert fingerprint("SELECT * FROM pairs ORDER BY corpus, position DESC") != first
    assert len({first, fingerprint(split="test"), fingerprint(languages=("de", "en"))}) == 3
    load(filled, ListCorpus("more", {"test": [("x", "y")]}), inspector=Inspector(languages=False), workers=1)
    assert fingerprint() == first
    filled.run("UPDATE pairs SET de = 'anders' WHERE corpus = 'talks' AND position = 3 AND split = 'train'")
    assert fingerprint() != first


def test_a_query_that_is_no_corpus_is_explained(filled):
    for query, message in [
        ("nothing", "no table or view '?nothing"),
        ("SELECT en, de FROM pairs", "the rows have no order; add ORDER BY"),
        ("SELECT * FROM pairs LIMIT 3", "the rows have no order; add ORDER BY"),
        ("SELECT en, corpus, position FROM pairs", "there is no column 'de', only en, corpus, position"),
        ("SELECT en, position AS de FROM pairs ORDER BY en", "column 'de' is INT64, expected STRING"),
        ("SELECT en, de, 'dev' AS split FROM pairs ORDER BY en", "column 'split' has 'dev'"),
        ("SELECT en, de, missing FROM pairs ORDER BY en", "missing"),
    ]:
        with pytest.raises(UserError, match=message):
            list(corpus_of(filled, query).pairs("train"))
    with pytest.raises(UserError, match="no split 'validation'; it has train, test"):
        list(corpus_of(filled, "pairs").pairs("validation"))


def test_only_a_select_is_a_corpus():
    with pytest.raises(UserError, match="must be a single SELECT"):
        Corpora(warehouse="none.duckdb").open("warehouse:DROP TABLE pairs")


def test_the_address_may_come_from_the_environment(filled, monkeypatch):
    with pytest.raises(UserError, match="no warehouse is named; add --warehouse ADDRESS or set WEITBLICK_WAREHOUSE"):
        Corpora().open("warehouse:pairs").splits()
    monkeypatch.setenv("WEITBLICK_WAREHOUSE", filled.address)
    assert Corpora().open("warehouse:pairs").splits() == ("train", "test")


def test_mixtures_hold_queries():
    query = "warehouse:SELECT * FROM pairs WHERE en LIKE '%10:30' AND de != 'a/b'"
    assert parse_mixture(["news:2", "warehouse:cleaned", "warehouse:other:0.5", query, query + " AND TRUE:3"]) == [
        ("news", 2.0),
        ("warehouse:cleaned", 1.0),
        ("warehouse:other", 0.5),
        (query, 1.0),
        (query + " AND TRUE", 3.0),
    ]
    with pytest.raises(UserError, match="weight"):
        parse_mixture(["warehouse:cleaned:0"])


def test_profiles_count_each_corpus_and_split(filled):
    found = {(p.corpus, p.split): p for p in profile(filled)}
    assert list(found) == [("news", "train"), ("talks", "test"), ("talks", "train")]
    news, talks = found["news", "train"], found["talks", "train"]
    assert (news.pairs, news.documents, news.duplicates, news.en_words, news.de_words) == (5, 0, 1, 25, 10)
    assert (talks.pairs, talks.documents, talks.duplicates) == (9, 3, 0)
    assert talks.en_length == sum(len(pair[0]) for pair in TALKS)
    assert dict(news.histogram())["0-5"] == 5 and dict(news.histogram())["101+"] == 0
    assert news.lengths == {5: 5} and news.length_at(0.5) == 5 and talks.length_at(0.99) == 2


ALL = "SELECT * FROM pairs ORDER BY corpus, split, position"


def test_exported_rows_load_again_as_they_were(filled, tmp_path):
    query = user_query("SELECT * FROM pairs WHERE corpus = 'talks' AND split = 'train' ORDER BY position")
    filled.run("UPDATE pairs SET en = 'a < b & \"c\" > d ]]> \U0001f642' WHERE corpus = 'talks' AND position = 0")
    expected = [Pair('a < b & "c" > d ]]> \U0001f642', *TALKS[0][1:]), *(Pair(*pair) for pair in TALKS[1:])]
    names = ["folder", "set.parquet", "set.tmx"]
    for name in names:
        assert export(filled.rows(query), tmp_path / "out" / name) == 9
        source = open_source(str(tmp_path / "out" / name))
        assert list(source.pairs("train")) == expected
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_rows_of_a_table_or_query_come_in_reading_order(filled):
    whole = [row["en"] for row in read(filled, ALL)]
    assert [row["en"] for row in read(filled, in_order(filled, "pairs"))] == whole
    assert [row["en"] for row in read(filled, in_order(filled, "SELECT * FROM pairs", ["en"]))] == whole
    query = "SELECT en FROM pairs WHERE split = 'test' ORDER BY position DESC"
    assert [row["en"] for row in read(filled, in_order(filled, query))] == ["talk 1", "talk 0"]
    filled.run("CREATE TABLE placeless AS SELECT corpus, split, en FROM pairs WHERE split = 'test'")
    for what in ("placeless", "SELECT en FROM pairs", "SELECT * FROM pairs LIMIT 3"):
        if filled.keeps_order:
            assert "ORDER" not in in_order(filled, what).sql()
        else:
            with pytest.raises(UserError, match="the rows have no order; use a SELECT with ORDER BY"):
                in_order(filled, what)


def test_a_folder_gets_all_splits_and_documents_where_there_are_any(filled, tmp_path):
    assert export(filled.rows(user_query(ALL)), tmp_path / "all") == 16
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names == [f"{column}.{split}.txt" for column in ("de", "doc", "en") for split in ("test", "train")]
    export(filled.rows(user_query("SELECT * FROM pairs WHERE corpus = 'news' ORDER BY position")), tmp_path / "news")
    assert sorted(path.name for path in (tmp_path / "news").iterdir()) == ["de.train.txt", "en.train.txt"]


def test_parquet_holds_any_result(filled, tmp_path):
    query = user_query("SELECT corpus, COUNT(*) AS n FROM pairs GROUP BY corpus ORDER BY corpus")
    export(filled.rows(query), tmp_path / "n.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "n.parquet").to_pylist() == [
        {"corpus": "news", "n": 5},
        {"corpus": "talks", "n": 11},
    ]


def test_what_cannot_be_exported_leaves_nothing(filled, tmp_path):
    with pytest.raises(UserError, match="no column 'de', only en"):
        export(filled.rows(user_query("SELECT en FROM pairs ORDER BY en")), tmp_path / "x.tmx")
    with pytest.raises(UserError, match="returned no row"):
        export(filled.rows(user_query("SELECT * FROM pairs WHERE en = '-'")), tmp_path / "x")
    with pytest.raises(UserError, match="no column"):
        export(filled.rows(user_query("SELECT en FROM pairs ORDER BY en")), tmp_path / "x")
    assert list(tmp_path.glob("*x*")) == []
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export(filled.rows(user_query(ALL)), tmp_path / "x")


def test_documents_whose_rows_do_not_stand_together_are_refused(filled):
    corpus = corpus_of(filled, "SELECT * FROM pairs WHERE corpus = 'talks' ORDER BY MOD(position, 3), position")
    with pytest.raises(UserError, match="row 4 of train: document .talks/t0. continues here after document"):
        list(corpus.pairs("train"))
