"""Corpora into the table of pairs: folders, wmt14, TMX, Parquet; whole or not at all."""

import gzip

import pyarrow
import pyarrow.parquet
import pytest

from data.cleaning import normalise
from data.corpora.corpora import Corpora
from data.errors import UserError
from data.language import LanguageJudge, prose_words
from data.pairs import Pair
from data.warehouse.files import open_source
from data.warehouse.loading import load, loads
from data.warehouse.quality import Inspector
from tests.data.corpora import test_wmt14
from tests.data.warehouse.sources import ListCorpus, read, texts

TEXTS = [
    ("Save  the\u00a0file.", "Sichern Sie die Datei.", "d1"),
    ("", "leer", "d1"),
    ("Copy the following text", "Copy the following text", "d2"),
    ("La Commission n'a pas du tout été interrogée sur cette question", "Die Kommission wurde dazu nicht gefragt", ""),
]


def test_columns_say_what_the_filters_of_the_local_path_look_at(warehouse):
    loaded = load(warehouse, ListCorpus("a", {"train": TEXTS, "test": TEXTS[:1]}), workers=1)
    assert (loaded.corpus, loaded.pairs, loaded.unchanged) == ("a", {"train": 4, "test": 1}, False)
    rows = read(warehouse, "SELECT * FROM pairs WHERE split = 'train' ORDER BY position")
    judges = LanguageJudge("en", "de"), LanguageJudge("de", "en")
    for number, (row, (en, de, doc)) in enumerate(zip(rows, TEXTS, strict=True)):
        en, de = normalise(en), normalise(de)
        expected = {
            "corpus": "a",
            "split": "train",
            "doc": doc or None,
            "position": number,
            "en": en,
            "de": de,
            "en_words": len(en.split()),
            "de_words": len(de.split()),
            "en_length": len(en),
            "de_length": len(de),
            "copied_words": len(prose_words(en)) if en == de else 0,
            "en_foreign": judges[0].is_foreign(en),
            "de_foreign": judges[1].is_foreign(de),
        }
        assert {key: row[key] for key in expected} == expected
    assert [row["copied_words"] for row in rows] == [0, 0, 4, 0]
    assert [row["en_foreign"] for row in rows] == [False, False, False, True]
    (same,) = read(warehouse, "SELECT * FROM pairs WHERE split = 'test'")
    assert {key: value for key, value in same.items() if key != "split"} == {
        key: value for key, value in rows[0].items() if key != "split"
    }


def test_a_corpus_loaded_anew_replaces_itself_alone(warehouse):
    load(warehouse, ListCorpus("a", {"train": [("one", "eins"), ("two", "zwei")]}), workers=1)
    load(warehouse, ListCorpus("b", {"train": [("three", "drei")]}), workers=1)
    loaded = load(warehouse, ListCorpus("a", {"train": [("four", "vier")]}), workers=1)
    assert not loaded.unchanged
    assert [pair.source for pair in texts(warehouse)] == ["four", "three"]
    assert [(row["corpus"], row["pairs"]) for row in loads(warehouse)] == [("a", 1), ("b", 1)]


def test_what_is_there_unchanged_is_not_loaded_again(warehouse):
    corpus = ListCorpus("a", {"train": [("one", "eins")], "test": [("two", "zwei")]})
    load(warehouse, corpus, workers=1)
    corpus.pairs = None
    again = load(warehouse, corpus, workers=1)
    assert again.unchanged and again.pairs == {"train": 1, "test": 1}
    del corpus.pairs
    assert not load(warehouse, corpus, inspector=Inspector(languages=False), workers=1).unchanged, "other columns"
    warehouse.run("DELETE FROM pairs WHERE split = 'test'")
    assert not load(warehouse, corpus, inspector=Inspector(languages=False), workers=1).unchanged, "rows are missing"
    assert len(texts(warehouse, split="test")) == 1


def test_a_load_that_fails_leaves_what_was_there(warehouse, tmp_path):
    old = ListCorpus("a", {"train": [("one", "eins")]})
    load(warehouse, old, workers=1)
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "en.train.txt").write_text("x\n" * 21_000)
    (folder / "de.train.txt").write_bytes(b"y\n" * 20_999 + b"\xff\n")
    with pytest.raises(UserError, match=r"de.train.txt, line 21000: not valid UTF-8"):
        load(warehouse, open_source(str(folder)), workers=1)
    assert texts(warehouse) == list(old.pairs("train"))
    assert load(warehouse, old, workers=1).unchanged


def test_a_table_of_that_name_that_is_another_one_is_refused(warehouse):
    warehouse.run("CREATE TABLE pairs AS SELECT 'a' AS corpus, 1 AS en")
    with pytest.raises(UserError, match="'pairs' is not one of Weitblick's pairs: column 'split' is missing"):
        load(warehouse, ListCorpus("a", {"train": [("one", "eins")]}), workers=1)
    assert read(warehouse, "SELECT * FROM pairs") == [{"corpus": "a", "en": 1}]


def test_a_folder_keeps_its_documents_and_splits(warehouse, tmp_path):
    folder = tmp_path / "talks"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"en.{split}.txt").write_text(f"one {split}\ntwo\nthree\n")
        (folder / f"de.{split}.txt").write_text("eins\nzwei\ndrei\n")
        (folder / f"doc.{split}.txt").write_text("z\nz\na\n")
    corpus = open_source("talks", folders=[tmp_path])
    load(warehouse, corpus, workers=1)
    for split in ("train", "test"):
        assert texts(warehouse, split=split) == list(corpus.pairs(split))


def test_many_processes_give_the_same_rows(warehouse):
    corpus = ListCorpus("a", {"train": [(f"Number {n} is here", f"Nummer {n} ist da") for n in range(21_000)]})
    load(warehouse, corpus, "one", Inspector(languages=False), workers=1)
    load(warehouse, corpus, "many", Inspector(languages=False), workers=2)
    query = "SELECT * EXCEPT (corpus) FROM pairs WHERE corpus = @corpus ORDER BY position"
    one, many = (read(warehouse, query, {"corpus": name}) for name in ("one", "many"))
    assert len(one) == 21_000
    assert one == many


def test_wmt14_comes_through_tensorflow_datasets(warehouse, monkeypatch, tmp_path):
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    corpus = open_source("wmt14")
    test_wmt14.write_archives(corpus.archives)
    test_wmt14.expect_these_archives(corpus.archives, monkeypatch)
    loaded = load(warehouse, corpus, workers=1)
    assert loaded.pairs == {"train": 5, "validation": 2, "test": 3}
    for split in loaded.pairs:
        expected = [Pair(*(normalise(text) for text in pair)) for pair in Corpora().open("wmt14").pairs(split)]
        assert texts(warehouse, split=split) == expected


TMX = """<?xml version="1.0"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en" datatype="plaintext"/><body>
<tu tuid="1"><prop type="x-document">manual</prop><tuv xml:lang="EN-us"><seg>Press <bpt i="1">&lt;b&gt;</bpt>Save<ept
i="1">&lt;/b&gt;</ept> &amp; go.</seg></tuv><tuv xml:lang="de_AT"><seg>Auf <hi>Sichern</hi> drücken.</seg></tuv></tu>
<tu><tuv xml:lang="fr"><seg>Non</seg></tuv><tuv xml:lang="en"><seg>No</seg></tuv></tu>
<tu><tuv lang="de"><seg>Ja</seg></tuv><tuv lang="en"><seg>Yes</seg></tuv><tuv lang="en-GB"><seg>Aye</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize("name", ["memory.train.tmx", "memory.train.TMX.gz"])
def test_tmx(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(TMX.encode()) if name.lower().endswith("gz") else TMX.encode())
    source = open_source(str(path), "validation")
    assert source.name == "memory.train"
    assert source.splits() == ("validation",)
    assert [Pair(normalise(p.source), normalise(p.target), p.doc) for p in source.pairs("validation")] == [
        Pair("Press Save & go.", "Auf Sichern drücken.", "manual"),
        Pair("Yes", "Ja"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TMX.replace("</body>", "<tu>").encode(), r"bad.tmx, line 8, column \d+: not well-formed XML"),
        (TMX.encode()[:300], "not well-formed XML"),
        (b"", "not well-formed XML"),
        (TMX.replace('"de', '"nl').encode(), "no unit has both English .* it has en, fr, nl"),
        (b"<tmx/>", "it has no unit at all"),
    ],
)
def test_a_damaged_tmx_is_explained_and_changes_nothing(warehouse, tmp_path, content, message):
    path = tmp_path / "bad.tmx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(warehouse, open_source(str(path)), workers=1)
    assert "pairs" not in warehouse.tables() or not texts(warehouse)


def test_a_packed_tmx_that_is_cut_short(tmp_path):
    path = tmp_path / "bad.tmx.gz"
    path.write_bytes(gzip.compress(TMX.encode() * 50)[:-20])
    with pytest.raises(UserError, match="bad.tmx.gz"):
        list(open_source(str(path)).pairs("train"))


def test_parquet(warehouse, tmp_path):
    path = tmp_path / "set.parquet"
    rows = {
        "en": ["one", None, "three"],
        "de": ["eins", "zwei", "drei"],
        "doc": [7, 7, 8],
        "split": ["train", "test", "train"],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), path)
    assert load(warehouse, open_source(str(path)), workers=1).pairs == {"train": 2, "test": 1}
    assert texts(warehouse) == [Pair("one", "eins", "7"), Pair("three", "drei", "8")]
    assert texts(warehouse, split="test") == [Pair("", "zwei", "7")]
    translation = [{"de": "eins", "en": "one"}, {"de": "zwei", "en": "two"}]
    pyarrow.parquet.write_table(pyarrow.table({"translation": translation}), path)
    load(warehouse, open_source(str(path), "validation"), workers=1)
    assert texts(warehouse, split="validation") == [Pair("one", "eins"), Pair("two", "zwei")]
    assert texts(warehouse) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"en": ["a"], "fr": ["b"]}, "no column 'de'; it has en, fr"),
        ({"en": ["a"], "de": [1]}, "column 'de' is of type int64, expected text"),
        ({"en": ["a"], "de": ["b"], "split": ["dev"]}, "column 'split' has 'dev'"),
        (None, "not a Parquet file, or cut short"),
    ],
)
def test_a_wrong_parquet_file_is_explained(tmp_path, table, message):
    path = tmp_path / "set.parquet"
    if table is None:
        path.write_bytes(b"PAR1 nothing PAR1")
    else:
        pyarrow.parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(UserError, match=message):
        open_source(str(path)).splits()


def test_a_missing_file_or_corpus_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing.tmx: there is no such file"):
        open_source(str(tmp_path / "nothing.tmx"))
    with pytest.raises(UserError, match="no corpus 'nothing'"):
        open_source("nothing")


UNIT = b'<tu><tuv xml:lang="en"><seg>%s</seg></tuv><tuv xml:lang="de"><seg>Hund</seg></tuv></tu>'


def test_tmx_documents_must_stand_together(tmp_path):
    units = [
        UNIT.replace(b"<tu>", b'<tu><prop type="x-document">%s</prop>' % doc) % b"dog" for doc in (b"a", b"b", b"a")
    ]
    path = tmp_path / "memory.tmx"
    path.write_bytes(b"<tmx><body>" + b"".join(units) + b"</body></tmx>")
    with pytest.raises(UserError, match="tmx, unit 3 in both languages: document 'a' continues here after .*'b'"):
        list(open_source(str(path)).pairs("train"))


def test_other_bilingual_files_are_loaded_alike(warehouse, tmp_path):
    path = tmp_path / "help.tsv"
    path.write_text("source\ttarget\nOpen  it\tÖffnen Sie es\nOpen\t\n", encoding="utf-8")
    assert load(warehouse, open_source(str(path), "test"), workers=1).pairs == {"test": 1}
    assert texts(warehouse, split="test") == [Pair("Open it", "Öffnen Sie es")]
