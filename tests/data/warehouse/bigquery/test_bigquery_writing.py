"""Rows into BigQuery: all of them once, or none."""

import pyarrow
import pytest

from data.errors import UserError
from data.warehouse.bigquery import writing
from data.warehouse.bigquery.warehouse import BigQueryWarehouse
from tests.bigquery_emulator import environment
from tests.data.warehouse.bigquery.cut_proxy import CutProxy

ROWS = 30_000
TABLE = pyarrow.table({"n": list(range(ROWS)), "text": [f"sentence {n} {n * n % 977:x}" for n in range(ROWS)]})


@pytest.fixture
def through(emulator, dataset, monkeypatch):
    """Opens a new data set behind a proxy to the storage service."""
    opened = []

    def open_through(proxy, **options):
        for name, value in environment(emulator.rest, proxy.port).items():
            monkeypatch.setenv(name, value)
        opened.append(BigQueryWarehouse(dataset, create=True, **options))
        return opened[-1]

    yield open_through
    for warehouse in opened:
        warehouse.close()


@pytest.fixture
def warehouse(dataset):
    with BigQueryWarehouse(dataset, create=True) as opened:
        yield opened


def directly(emulator, dataset, monkeypatch) -> BigQueryWarehouse:
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    return BigQueryWarehouse(dataset)


def numbers(warehouse) -> list[int]:
    return [n for batch in warehouse.rows("SELECT n FROM numbers ORDER BY n") for n in batch["n"].to_pylist()]


def requests(warehouse, monkeypatch) -> list:
    """The requests that will be sent, as they are sent."""
    sent, append_rows = [], warehouse._connection.writer.append_rows

    def record(stream, **keywords):
        return append_rows((sent.append(request) or request for request in stream), **keywords)

    monkeypatch.setattr(warehouse._connection.writer, "append_rows", record)
    return sent


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_broken_connection_writes_each_row_once(emulator, through, direction, monkeypatch):
    monkeypatch.setattr(writing, "REQUEST_BYTES", 100_000)
    limits = {"sent": (200_000, 150_000), "received": (400, 300)}[direction]
    with CutProxy(emulator.storage, **{direction: limits}) as proxy:
        warehouse = through(proxy)
        assert warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000)) == ROWS
        assert proxy.cuts == 2
        assert numbers(warehouse) == list(range(ROWS))


def test_rows_that_arrived_although_their_answer_was_lost_are_not_written_again(warehouse, monkeypatch):
    from google.api_core.exceptions import ServiceUnavailable

    append_rows, lost = warehouse._connection.writer.append_rows, []

    class Answers:
        def __init__(self, answers):
            self.answers = answers

        def __next__(self):
            answer = next(self.answers)
            if answer.append_result.offset == 0 and not lost:
                lost.append(answer)
                raise ServiceUnavailable("Socket closed")
            return answer

        def cancel(self):
            self.answers.cancel()

    monkeypatch.setattr(
        warehouse._connection.writer, "append_rows", lambda *what, **how: Answers(append_rows(*what, **how))
    )
    monkeypatch.setattr(writing, "REQUEST_BYTES", 100_000)
    assert warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000)) == ROWS
    assert len(lost) == 1
    assert numbers(warehouse) == list(range(ROWS))


def test_a_server_that_says_nothing_any_more_is_not_waited_for_without_end(emulator, through, monkeypatch):
    monkeypatch.setattr(writing, "REQUEST_BYTES", 100_000)
    with CutProxy(emulator.storage, sent=(400_000,), silent=True) as proxy:
        warehouse = through(proxy, patience=1.0)
        with pytest.raises(UserError, match="adding rows .* did not answer for 1 seconds"):
            warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000))
        assert warehouse.tables() == []


@pytest.mark.parametrize("replacing", [None, {"n": 1}])
def test_a_server_that_is_gone_leaves_all_as_it_was(emulator, through, dataset, replacing, monkeypatch):
    monkeypatch.setattr(writing, "REQUEST_BYTES", 100_000)
    with CutProxy(emulator.storage, sent=(400_000,), for_good=True) as proxy:
        warehouse = through(proxy, patience=1.0)
        with pytest.raises(UserError, match="adding rows .* did not answer for 1 seconds .* nothing was left half"):
            warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000))
        assert warehouse.tables() == [], "a table made for these rows is gone again"
    with directly(emulator, dataset, monkeypatch) as warehouse:
        warehouse.append("numbers", TABLE.slice(0, 3).to_reader())
    with (
        CutProxy(emulator.storage, sent=(400_000,), for_good=True) as proxy,
        pytest.raises(UserError, match="did not answer"),
    ):
        through(proxy, patience=1.0).append("numbers", TABLE.to_reader(max_chunksize=1000), replacing)
    with directly(emulator, dataset, monkeypatch) as warehouse:
        assert numbers(warehouse) == [0, 1, 2]
        there = warehouse._connection.rest.list_tables(dataset.removeprefix("bigquery:"))
        assert [table.table_id for table in there] == ["numbers"]


def test_a_commit_whose_answer_was_lost_is_a_commit(warehouse, monkeypatch):
    from google.api_core.exceptions import ServiceUnavailable
    from google.cloud.bigquery_storage_v1.types import StorageError

    commit, answers = warehouse._connection.writer.batch_commit_write_streams, []
    committed = StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED

    def lose_the_first_answer(request, *, retry, timeout):
        def call():
            answers.append(commit(request, retry=None))
            if len(answers) == 1:
                raise ServiceUnavailable("Socket closed")
            for error in answers[-1].stream_errors:
                error.code = committed  # which is what the service calls this state, and the emulator does not
            return answers[-1]

        return retry(call)()

    monkeypatch.setattr(warehouse._connection.writer, "batch_commit_write_streams", lose_the_first_answer)
    assert warehouse.append("numbers", TABLE.slice(0, 10).to_reader()) == 10
    assert [error.code for error in answers[1].stream_errors] == [committed]
    assert numbers(warehouse) == list(range(10))


def test_nobody_sees_rows_before_the_last_one_is_there(warehouse, monkeypatch):
    monkeypatch.setattr(writing, "REQUEST_BYTES", 100_000)
    warehouse.append("numbers", TABLE.slice(0, 1).to_reader())
    seen = []

    def batches():
        for number, batch in enumerate(TABLE.to_batches(max_chunksize=3000)):
            if number in (5, 9):
                seen.append(numbers(warehouse))
            yield batch

    warehouse.append("numbers", pyarrow.RecordBatchReader.from_batches(TABLE.schema, batches()))
    assert seen == [[0], [0]]
    assert len(numbers(warehouse)) == ROWS + 1


def test_many_small_batches_become_few_requests(warehouse, monkeypatch):
    sent = requests(warehouse, monkeypatch)
    assert warehouse.append("numbers", TABLE.to_reader(max_chunksize=10)) == ROWS
    assert len(sent) == 1
    assert len(numbers(warehouse)) == ROWS


def test_a_large_batch_becomes_requests_that_the_service_takes(warehouse, monkeypatch):
    sent = requests(warehouse, monkeypatch)
    long = pyarrow.table({"n": list(range(30)), "text": ["x" * (n % 7 * 500_000) for n in range(30)]})
    assert warehouse.append("numbers", long.to_reader()) == 30
    sizes = [len(request.arrow_rows.rows.serialized_record_batch) for request in sent]
    assert len(sizes) > 4
    assert max(sizes) < 10_000_000
    lengths = warehouse.rows("SELECT n, LENGTH(text) AS length FROM numbers ORDER BY n")
    assert [n for batch in lengths for n in batch["length"].to_pylist()] == [n % 7 * 500_000 for n in range(30)]


def test_a_row_that_is_too_large_is_refused_by_its_size(warehouse):
    long = pyarrow.table({"n": [1, 2], "text": ["short", "x" * 10_000_000]})
    with pytest.raises(UserError, match="table numbers: one row has 100000.. bytes, .* split its text"):
        warehouse.append("numbers", long.to_reader())
    assert warehouse.tables() == []


def test_a_reader_without_rows_makes_an_empty_table(warehouse):
    assert warehouse.append("numbers", TABLE.slice(0, 0).to_reader()) == 0
    assert warehouse.columns("numbers") == {"n": "INT64", "text": "STRING"}
    assert numbers(warehouse) == []
