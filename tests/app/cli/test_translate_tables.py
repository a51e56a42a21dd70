"""Tables of a warehouse are translated into others: by parts, in documents, resumed, and in SQL."""

from types import SimpleNamespace

import pytest

from app.runs.run import Run
from app.translation import tables
from app.translation.translator import Translator
from data.corpora.corpora import Corpora
from data.warehouse.duck import DuckWarehouse
from data.warehouse.opening import open_warehouse
from tests.app.cli.test_document_translate_command import DOCUMENTS, make_run
from tests.app.cli.test_warehouse_cli import run as corpora_command

pytest.importorskip("duckdb")
EN = ["the red dog sees", "a cat", "the old house", "the dog finds a cat", "a big tree"]
DOC = ["a", "a", "b", "b", "b"]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("sentences"))


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("documents"), *DOCUMENTS)


@pytest.fixture
def warehouse(tmp_path, monkeypatch, capsys):
    """A warehouse with the table `pairs`; its address is in the environment."""
    address = str(tmp_path / "w.duckdb")
    monkeypatch.setenv("WEITBLICK_WAREHOUSE", address)
    folder = tmp_path / "corpora" / "talks"
    folder.mkdir(parents=True)
    for name, lines in {"en": EN, "de": [f"mensch {n}" for n in range(len(EN))], "doc": DOC}.items():
        (folder / f"{name}.train.txt").write_text("".join(f"{line}\n" for line in lines))
    corpora_command(capsys, "load", "talks", "--corpora", tmp_path / "corpora", "--no-languages")
    return address


def rows(address, table="made"):
    with open_warehouse(address, read_only=True) as opened:
        return opened.records(f"SELECT * FROM {table} ORDER BY position")


def translated(path):
    return [found[0].text for found in Translator.of_run(Run.open(path)).nbest(EN, 1)]


def test_a_table_of_translations_is_a_corpus(sentences, warehouse, capsys):
    out = corpora_command(capsys, "translate", "pairs", "--run", sentences, "--into", "made", "--part", 2)
    assert out.startswith("made: 5 rows translated; ")
    found = rows(warehouse)
    assert [row["de"] for row in found] == translated(sentences)
    assert [(row["en"], row["doc"], row["corpus"]) for row in found] == [
        (e, d, "talks") for e, d in zip(EN, DOC, strict=True)
    ]
    assert [row["part"] for row in found] == [0, 0, 1, 1, 2] and all(row["score"] < 0 for row in found)
    pairs = list(Corpora(warehouse=warehouse).open("warehouse:made").pairs("train"))
    assert [pair.target for pair in pairs] == translated(sentences)


def test_rows_of_a_document_are_translated_in_its_context(documents, warehouse, capsys):
    corpora_command(capsys, "translate", "pairs", "--run", documents, "--into", "made", "--part", 1)
    found = rows(warehouse)
    translator = Translator.of_run(Run.open(documents))
    expected = [line for part in translator.translate_documents([EN[:2], EN[2:]]) for line in part]
    assert [row["de"] for row in found] == expected != translated(documents)
    assert [row["part"] for row in found] == [0, 0, 1, 1, 1]


def test_a_document_ends_where_its_corpus_ends(documents, warehouse, capsys):
    query = "SELECT CASE WHEN position < 2 THEN 'one' ELSE 'two' END AS corpus, '1' AS doc, en, position FROM pairs"
    corpora_command(capsys, "translate", query, "--run", documents, "--into", "made", "--part", 1)
    found = rows(warehouse)
    translator = Translator.of_run(Run.open(documents))
    apart, together = (
        [line for part in translator.translate_documents(found) for line in part] for found in ([EN[:2], EN[2:]], [EN])
    )
    assert [row["de"] for row in found] == apart != together
    assert [row["part"] for row in found] == [0, 0, 1, 1, 1]


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_changed_is_made_anew(sentences, warehouse, capsys, monkeypatch):
    command = ("translate", "pairs", "--run", sentences, "--into", "made", "--part", 2)
    done, translate_lines = [], Translator.translate_lines

    def stopped(self, lines, **rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return translate_lines(self, lines, **rest)

    monkeypatch.setattr(Translator, "translate_lines", stopped)
    corpora_command(capsys, *command, code=130)
    assert len(rows(warehouse)) == 4
    monkeypatch.undo()
    monkeypatch.setenv("WEITBLICK_WAREHOUSE", warehouse)
    assert "1 rows translated (4 were already there)" in corpora_command(capsys, *command)
    assert "0 rows translated (5 were already there)" in corpora_command(capsys, *command)
    assert "5 rows translated;" in corpora_command(capsys, *command, "--beam", 2)
    query = "SELECT en, doc, position FROM pairs WHERE position < 3 ORDER BY position"
    with open_warehouse(warehouse) as opened:
        opened.run("DROP TABLE made")
    assert "3 rows translated" in corpora_command(capsys, "translate", query, *command[2:])
    assert "3 rows translated" in corpora_command(capsys, "translate", query, *command[2:], "--part", 1)
    assert [row["part"] for row in rows(warehouse)] == [0, 1, 2]
    assert "2 rows translated" in corpora_command(
        capsys, "translate", query.replace("< 3", "IN (0, 2)"), *command[2:], "--part", 2
    )
    assert [row["en"] for row in rows(warehouse)] == [EN[0], EN[2]]


class Shouting:
    """Stands for a `Translator`; `first_memory` is None for a model that reads segments alone."""

    independent = True

    def __init__(self, first_memory=None):
        self.decoder = SimpleNamespace(first_memory=first_memory)

    def translate_lines(self, lines):
        return (SimpleNamespace(text=line.text.upper(), score=0.0) for line in lines)


def test_only_parts_that_are_there_are_replaced(warehouse, monkeypatch):
    """To look for others reads the whole table each time, on BigQuery for money."""
    replaced, append = [], DuckWarehouse.append
    monkeypatch.setattr(DuckWarehouse, "append", lambda self, *what: replaced.append(what[2]) or append(self, *what))
    with open_warehouse(warehouse) as opened:
        translator = tables.TableTranslator(opened, Shouting(), "en", "de", "shouting", 2)
        assert translator.translate("pairs", "made").rows == 5
        assert replaced == [None, None, None]
        opened.run("DELETE FROM made WHERE part = 2")
        opened.run("UPDATE made SET digest = 'x' WHERE position = 0")
        assert translator.translate("pairs", "made") == tables.Translated(rows=3, kept=2)
        assert replaced[3:] == [{"part": 0}, None]
    assert [row["de"] for row in rows(warehouse)] == [text.upper() for text in EN]


def test_windows_of_several_segments_are_not_cut_where_a_part_ends(warehouse):
    with open_warehouse(warehouse) as opened:
        tables.TableTranslator(opened, Shouting({}), "en", "de", "shouting", 1).translate("pairs", "made")
    assert [row["part"] for row in rows(warehouse)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("nowhere", "--into", "made"), "has no table or view 'nowhere'"),
        (("SELECT de FROM pairs", "--into", "made"), "column 'en' must be text, but is missing"),
        (("pairs", "--into", "pairs"), "the new table cannot be 'pairs', from which its rows come"),
        (("SELECT en, de FROM pairs", "--into", "Pairs"), "the new table cannot be 'Pairs', from which its rows come"),
        (("pairs", "--into", "loads"), "the new table cannot be 'loads'"),
        (("pairs", "--into", "other"), "was not made by this command from rows like these"),
        (("pairs", "--into", "made", "--part", "0"), "--part 0: expected at least 1"),
    ],
)
def test_what_cannot_be_translated_is_refused(sentences, warehouse, capsys, arguments, message):
    what, *options = arguments
    with open_warehouse(warehouse) as opened:
        opened.run("CREATE TABLE other AS SELECT 1 AS n")
    assert message in corpora_command(capsys, "translate", what, "--run", sentences, *options, code=2)


def test_sql_has_a_function_that_translates(sentences, warehouse, capsys):
    query = "SELECT en, translate(en) AS de, translate(NULL) AS nothing FROM pairs ORDER BY position"
    found = corpora_command(capsys, "sql", query, "--run", sentences).splitlines()[1:]
    assert [line.split("\t")[1] for line in found] == translated(sentences)
    assert all(line.endswith("\t") for line in found)
    assert "--view stores" in corpora_command(capsys, "sql", query, "--run", sentences, "--view", "v", code=2)


def test_an_error_of_the_function_comes_out_as_it_is(warehouse):
    def broken(texts):
        raise tables.UserError("no more today")

    with open_warehouse(warehouse, read_only=True) as opened:
        opened.add_function("broken", broken)
        with pytest.raises(tables.UserError, match="^no more today$"):
            opened.records("SELECT broken(en) AS x FROM pairs")
        assert len(opened.records("SELECT en FROM pairs")) == 5
