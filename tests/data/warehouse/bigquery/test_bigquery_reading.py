"""Rows out of BigQuery: in order, and whole although the connection breaks."""

import time

import pyarrow
import pytest

from data.errors import UserError
from data.warehouse.bigquery.warehouse import BigQueryWarehouse
from data.warehouse.opening import open_warehouse
from tests.bigquery_emulator import environment
from tests.data.warehouse.bigquery.cut_proxy import CutProxy

ROWS = 40_000
TABLE = pyarrow.table(
    {
        "corpus": ["ab"[i * 7919 % 10 // 5] for i in range(ROWS)],
        "position": [i * 7919 % ROWS for i in range(ROWS)],
        "en": [f"sentence number {i} of a text that is somewhat long" if i % 11 else None for i in range(ROWS)],
    }
)


@pytest.fixture(scope="module")
def filled(emulator):
    """The address of a data set with a table of 40,000 rows."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        address = "bigquery:weitblick-test.reading"
        with BigQueryWarehouse(address, create=True) as warehouse:
            warehouse.append("numbers", TABLE.to_reader(max_chunksize=7000))
        yield address


@pytest.fixture
def through(emulator, filled, monkeypatch):
    """Opens the data set behind a proxy."""
    opened = []

    def open_through(proxy, **options):
        for name, value in environment(emulator.rest, proxy.port).items():
            monkeypatch.setenv(name, value)
        opened.append(BigQueryWarehouse(filled, **options))
        return opened[-1]

    yield open_through
    for warehouse in opened:
        warehouse.close()


@pytest.fixture
def warehouse(emulator, filled, monkeypatch):
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    with BigQueryWarehouse(filled) as opened:
        yield opened


def table(batches) -> pyarrow.Table:
    return pyarrow.Table.from_batches(list(batches))


def in_order(found: pyarrow.Table) -> bool:
    return found.sort_by([("corpus", "descending"), ("position", "ascending")]) == found


IN_ORDER = "SELECT * FROM numbers ORDER BY corpus DESC, position"
AS_THEY_COME = "SELECT * FROM numbers"


@pytest.mark.parametrize("query", [IN_ORDER, AS_THEY_COME])
def test_a_broken_connection_loses_no_row_and_repeats_none(emulator, through, query):
    with CutProxy(emulator.storage, received=(300_000, 200_000, 900_000)) as proxy:
        found = table(through(proxy).rows(query))
        assert proxy.cuts == 3
    assert found.num_rows == ROWS
    assert found.sort_by("position") == TABLE.sort_by("position")
    assert in_order(found) or query == AS_THEY_COME


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("query", [IN_ORDER, AS_THEY_COME])
def test_a_wrong_number_of_rows_is_found_out(warehouse, query, change, monkeypatch):
    from google.cloud.bigquery.table import RowIterator

    download = RowIterator.to_arrow_iterable

    def lose_or_repeat_one(self, *positional, **keywords):
        first, *others = download(self, *positional, **keywords)
        yield from (first.slice(max(-change, 0)), *others)
        if change > 0:
            yield first.slice(0, change)

    monkeypatch.setattr(RowIterator, "to_arrow_iterable", lose_or_repeat_one)
    with pytest.raises(UserError, match=f"sent {ROWS + change} rows instead of {ROWS}; .* run the command again"):
        list(warehouse.rows(query))


def test_a_result_without_rows_has_its_columns(warehouse):
    (batch,) = warehouse.rows("SELECT position, en FROM numbers WHERE position < 0 ORDER BY position")
    assert batch.num_rows == 0
    assert batch.schema == pyarrow.schema([("position", pyarrow.int64()), ("en", pyarrow.string())])


@pytest.mark.parametrize("fault", ["for_good", "silent"])
@pytest.mark.parametrize("query", [IN_ORDER, AS_THEY_COME])
def test_a_server_that_is_gone_in_mid_stream_is_an_error_that_says_so(emulator, through, query, fault):
    with CutProxy(emulator.storage, received=(250_000,), **{fault: True}) as proxy:
        warehouse = through(proxy, patience=1.0)
        with pytest.raises(UserError, match="did not answer for 1 seconds .*check the network and run .* again"):
            list(warehouse.rows(query))


@pytest.mark.parametrize("query", [IN_ORDER, AS_THEY_COME])
def test_rows_may_be_used_as_slowly_as_one_likes(emulator, through, query):
    """Calls end before the next row is wanted, and no one has been kept waiting by the service."""
    with CutProxy(emulator.storage, received=(900_000,)) as proxy:
        found = []
        for batch in through(proxy, patience=1.0).rows(query):
            found.append(batch)
            time.sleep(1.2 if len(found) < 3 else 0)
        assert proxy.cuts == 1
    assert table(found).sort_by("position") == TABLE.sort_by("position")


QUERIES = [
    "SELECT position FROM numbers WHERE position < 9 ORDER BY corpus, position DESC",
    "SELECT en AS position FROM numbers WHERE position < 30 ORDER BY position NULLS LAST",
    "SELECT en FROM numbers WHERE position < 30 ORDER BY en DESC, position",
    "SELECT position % 3 AS p, COUNT(*) AS n FROM numbers GROUP BY 1 ORDER BY COUNT(*) DESC, 1 DESC",
    "SELECT position, corpus FROM numbers WHERE position < 30 ORDER BY 2 DESC, 1 LIMIT 7 OFFSET 3",
    "SELECT DISTINCT corpus FROM numbers ORDER BY corpus DESC",
    "SELECT DISTINCT t.corpus FROM numbers AS t ORDER BY t.corpus DESC",
    "SELECT * FROM numbers AS t WHERE position < 30 ORDER BY LENGTH(t.en) DESC, t.position LIMIT 12",
    "WITH few AS (SELECT * FROM numbers WHERE position < 5) SELECT corpus, position FROM few "
    "UNION ALL SELECT 'c', 9 ORDER BY position DESC",
    "SELECT a.position, b.corpus FROM numbers AS a JOIN numbers AS b ON a.position = b.position + 1 "
    "WHERE a.position < 9 ORDER BY b.position DESC",
    "SELECT position, ROW_NUMBER() OVER (PARTITION BY corpus ORDER BY position) AS n FROM numbers "
    "QUALIFY n <= 3 ORDER BY n, corpus DESC",
]


@pytest.mark.parametrize("query", QUERIES)
def test_an_order_is_kept_however_it_is_said(warehouse, duckdb, query):
    expected = table(duckdb.rows(query))
    assert table(warehouse.rows(query)).to_pylist() == expected.to_pylist()
    assert expected.num_rows


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory):
    with open_warehouse(str(tmp_path_factory.mktemp("reading") / "numbers.duckdb"), create=True) as opened:
        opened.append("numbers", TABLE.to_reader())
        yield opened


def test_columns_without_a_name_are_named_as_bigquery_does(warehouse):
    (batch,) = warehouse.rows("SELECT COUNT(*), corpus, MAX(position) FROM numbers WHERE corpus = 'a' GROUP BY corpus")
    assert batch.schema.names == ["f0_", "corpus", "f2_"]
