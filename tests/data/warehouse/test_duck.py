"""What can go wrong with a DuckDB file, from outside this process as well."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow
import pytest

from data.corpora.corpora import Corpora
from data.errors import UserError
from data.installing import extra_command
from data.warehouse.loading import load
from data.warehouse.opening import open_warehouse
from data.warehouse.quality import Inspector
from data.warehouse.sql import user_query
from tests.data.warehouse.sources import ListCorpus, read, texts

REPOSITORY = Path(__file__).resolve().parents[3]
ONE = ListCorpus("a", {"train": [("one", "eins")]})


@pytest.fixture
def file(tmp_path):
    return tmp_path / "test.duckdb"


def python(program, *arguments, **rest):
    """A process of its own that runs a program."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **rest)


HOLD = """
    import sys
    from data.warehouse.opening import open_warehouse
    with open_warehouse(sys.argv[1], create=True, read_only=sys.argv[2] == "read") as warehouse:
        print(warehouse.tables(), flush=True)
        sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_the_file(file):
    with open_warehouse(str(file), create=True) as warehouse:
        load(warehouse, ONE, workers=1)
    holder = python(HOLD, file, "write", stdin=subprocess.PIPE)
    try:
        assert "pairs" in holder.stdout.readline()
        for read_only in (False, True):
            with pytest.raises(UserError) as error:
                open_warehouse(str(file), read_only=read_only)
            message = str(error.value)
            assert str(file) in message and str(holder.pid) in message and "\n" not in message
            assert "wait for it to end" in message
    finally:
        holder.communicate("")
    with open_warehouse(str(file)) as warehouse:
        assert texts(warehouse) == list(ONE.pairs("train")), "nothing is lost"


def test_many_may_read_at_the_same_time(file):
    with open_warehouse(str(file), create=True) as warehouse:
        load(warehouse, ONE, workers=1)
    holder = python(HOLD, file, "read", stdin=subprocess.PIPE)
    try:
        assert "pairs" in holder.stdout.readline()
        corpus = Corpora(warehouse=str(file)).open("warehouse:pairs")
        assert list(corpus.pairs("train")) == list(ONE.pairs("train"))
        with pytest.raises(UserError, match=str(holder.pid)):
            open_warehouse(str(file))
    finally:
        holder.communicate("")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (r"text LIKE '50\\% %'", ["50% off"]),
        (r"text LIKE r'a\_%'", ["a_b"]),
        (r"text NOT LIKE 'a\\_b'", ["50% off", "500 % off", "a\\b", "acb"]),
        (r"text LIKE ANY ('a\\_b', '50%')", ["50% off", "500 % off", "a_b"]),
        (r"text LIKE 'a\\\\b'", ["a\\b"]),
        (r"text IN (SELECT text FROM lines WHERE text LIKE 'a\\_b')", ["a_b"]),
    ],
)
def test_a_backslash_makes_signs_of_a_pattern_plain_as_in_bigquery(file, condition, expected):
    lines = pyarrow.table({"text": ["50% off", "500 % off", "a_b", "a\\b", "acb"]})
    with open_warehouse(str(file), create=True) as warehouse:
        warehouse.append("lines", lines.to_reader())
        query = user_query(f"SELECT text FROM lines WHERE {condition} ORDER BY text")
        assert [row["text"] for row in read(warehouse, query)] == expected
        warehouse.make_view("some", query)
        assert [row["text"] for row in read(warehouse, "SELECT text FROM some ORDER BY text")] == expected


def test_a_killed_load_leaves_what_was_there(file):
    """The process is killed when most of a large corpus has been written, in the step that replaces the old one."""
    with open_warehouse(str(file), create=True) as warehouse:
        load(warehouse, ONE, workers=1)
    killed = python(
        """
        import os, signal, sys
        from data.warehouse.loading import load
        from data.warehouse.opening import open_warehouse
        from data.warehouse.quality import Inspector
        from tests.data.warehouse.sources import ListCorpus

        class Dying(ListCorpus):
            def pairs(self, split):
                yield from self.lists[split] * 40_000
                os.kill(os.getpid(), signal.SIGKILL)

        with open_warehouse(sys.argv[1]) as warehouse:
            load(warehouse, Dying("a", {"train": [("two", "zwei")]}), inspector=Inspector(languages=False), workers=1)
        """,
        file,
    )
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == -9, errors
    with open_warehouse(str(file), read_only=True) as warehouse:
        assert texts(warehouse) == list(ONE.pairs("train"))
    with open_warehouse(str(file)) as warehouse:
        assert load(warehouse, ONE, workers=1).unchanged
        new = ListCorpus("a", {"train": [("two", "zwei")]})
        load(warehouse, new, inspector=Inspector(languages=False), workers=1)
        assert texts(warehouse) == list(new.pairs("train"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{folder}/none.duckdb", "none.duckdb: there is no such warehouse; `weitblick corpora load` makes one"),
        ("duckdb:{folder}/none", "none: there is no such warehouse"),
        ("{folder}/text.duckdb", "text.duckdb.*not a valid DuckDB database file"),
        ("{folder}", "is not the address of a warehouse; expected a file such as corpora.duckdb, or bigquery"),
        ("postgres:here", "'postgres:here' is not the address"),
        ("", "no warehouse is named"),
    ],
)
def test_what_cannot_be_opened_is_explained(tmp_path, monkeypatch, address, message):
    monkeypatch.delenv("WEITBLICK_WAREHOUSE", raising=False)
    (tmp_path / "text.duckdb").write_text("This is no database. " * 1000)
    for read_only in (True, False):
        with pytest.raises(UserError, match=message):
            open_warehouse(address.format(folder=tmp_path), read_only=read_only)


def test_a_folder_that_is_missing_is_not_made(tmp_path):
    with pytest.raises(UserError, match="there is no folder .*nowhere; create it"):
        open_warehouse(str(tmp_path / "nowhere" / "new.duckdb"), create=True)


def test_a_file_that_is_read_only_for_this_user_or_this_command_is_not_written(file):
    open_warehouse(str(file), create=True).close()
    with open_warehouse(str(file), read_only=True) as warehouse, pytest.raises(UserError, match="read-only"):
        load(warehouse, ONE, workers=1)


def test_one_process_may_read_what_it_writes(file):
    with open_warehouse(str(file), create=True) as warehouse:
        load(warehouse, ONE, workers=1)
        with open_warehouse(str(file), read_only=True) as second:
            assert texts(second) == list(ONE.pairs("train"))


def test_queries_reach_no_file_and_settings_stay(file, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with open_warehouse(str(file), create=True) as warehouse:
        for query in (f"SELECT * FROM `{secret}`", f"SELECT * FROM read_csv('{secret}')"):
            with pytest.raises(UserError):
                read(warehouse, query)
        with pytest.raises(UserError, match="disabled"):
            warehouse.run(f"COPY (SELECT 1 AS n) TO '{tmp_path}/out.csv'")
    assert not (tmp_path / "out.csv").exists()


def test_without_the_package_the_user_is_told_what_to_install(file):
    program = """
        import sys
        sys.modules["duckdb"] = None
        from data.errors import UserError
        from data.warehouse.opening import open_warehouse
        try:
            open_warehouse(sys.argv[1], create=True)
        except UserError as error:
            print(error)
    """
    out, _ = python(program, file).communicate(timeout=60)
    assert f"needs DuckDB: {extra_command('warehouse')}" in out
