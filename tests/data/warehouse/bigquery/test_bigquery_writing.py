"""Rows into BigQuery: all of them once, or none."""

import datetime

import pyarrow
import pytest

from data.errors import UserError
from data.warehouse.bigquery.warehouse import BigQueryWarehouse
from tests.bigquery_emulator import environment
from tests.data.warehouse.bigquery.cut_proxy import CutProxy

ROWS = 30_000
TABLE = pyarrow.table({"n": list(range(ROWS)), "text": [f"sentence {n} {n * n % 977:x}" for n in range(ROWS)]})


@pytest.fixture
def through(emulator, dataset, monkeypatch):
    """Opens a new data set behind a proxy to the REST service."""
    opened = []

    def open_through(proxy, **options):
        for name, value in environment(proxy.port, emulator.storage).items():
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


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_broken_connection_writes_each_row_once(emulator, through, direction, monkeypatch):
    limits = {"sent": (200_000, 150_000), "received": (400, 300)}[direction]
    with CutProxy(emulator.rest, **{direction: limits}) as proxy:
        warehouse = through(proxy)
        assert warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000)) == ROWS
        assert proxy.cuts == 2
        assert numbers(warehouse) == list(range(ROWS))


def test_rows_that_arrived_although_their_answer_was_lost_are_not_written_again(warehouse, monkeypatch):
    load, calls = warehouse._connection.rest.load_table_from_file, []

    def lose_the_answer(*what, **how):
        calls.append(load(*what, **how).job_id)
        raise ConnectionError("Connection reset by peer")

    monkeypatch.setattr(warehouse._connection.rest, "load_table_from_file", lose_the_answer)
    assert warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000)) == ROWS
    assert len(calls) == 1, "the second attempt finds the job"
    assert numbers(warehouse) == list(range(ROWS))


def test_a_server_that_says_nothing_any_more_is_not_waited_for_without_end(emulator, through, dataset, monkeypatch):
    with CutProxy(emulator.rest, sent=(400_000,), silent=True) as proxy:
        warehouse = through(proxy, patience=1.0)
        with pytest.raises(UserError, match="adding rows .* did not answer for 1 seconds"):
            warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000))
    with directly(emulator, dataset, monkeypatch) as warehouse:
        assert warehouse.tables() == []


@pytest.mark.parametrize("replacing", [None, {"n": 1}])
def test_a_server_that_is_gone_leaves_all_as_it_was(emulator, through, dataset, replacing, monkeypatch):
    with CutProxy(emulator.rest, sent=(400_000,), for_good=True) as proxy:
        warehouse = through(proxy, patience=1.0)
        with pytest.raises(UserError, match="adding rows .* did not answer for 1 seconds .* nothing was left half"):
            warehouse.append("numbers", TABLE.to_reader(max_chunksize=1000))
    with directly(emulator, dataset, monkeypatch) as warehouse:
        assert warehouse.tables() == [], "the table comes with its rows or not at all"
        warehouse.append("numbers", TABLE.slice(0, 3).to_reader())
    with (
        CutProxy(emulator.rest, sent=(400_000,), for_good=True) as proxy,
        pytest.raises(UserError, match="did not answer"),
    ):
        through(proxy, patience=1.0).append("numbers", TABLE.to_reader(max_chunksize=1000), replacing)
    with directly(emulator, dataset, monkeypatch) as warehouse:
        assert numbers(warehouse) == [0, 1, 2]
        assert warehouse.tables() == ["numbers"]


def test_a_job_that_arrives_late_is_waited_for(warehouse, monkeypatch):
    """The service has the job although it said that it had none."""
    from google.api_core.exceptions import NotFound

    rest, looked = warehouse._connection.rest, []
    load, get_job = rest.load_table_from_file, rest.get_job

    def lose_the_answer(*what, **how):
        load(*what, **how)
        raise ConnectionError("Connection reset by peer")

    def too_early(*what, **how):
        looked.append(what)
        if len(looked) < 3:
            raise NotFound("Not found: Job")
        return get_job(*what, **how)

    monkeypatch.setattr(rest, "load_table_from_file", lose_the_answer)
    monkeypatch.setattr(rest, "get_job", too_early)
    assert warehouse.append("numbers", TABLE.slice(0, 10).to_reader()) == 10
    assert len(looked) == 3
    assert numbers(warehouse) == list(range(10))


def test_a_job_that_failed_at_the_server_is_followed_by_another(warehouse, monkeypatch):
    from google.api_core.exceptions import InternalServerError

    rest, ids = warehouse._connection.rest, []
    load = rest.load_table_from_file

    class Failed:
        error_result = {"reason": "backendError"}

        def done(self, **_):
            return True

        def result(self, **_):
            raise InternalServerError("try again")

    def fail_once(*what, job_id, **how):
        ids.append(job_id)
        return Failed() if len(ids) == 1 else load(*what, job_id=job_id, **how)

    monkeypatch.setattr(rest, "load_table_from_file", fail_once)
    assert warehouse.append("numbers", TABLE.slice(0, 5).to_reader()) == 5
    assert len(set(ids)) == 2 and numbers(warehouse) == list(range(5))


def test_tables_that_hold_a_replacement_expire(warehouse, monkeypatch):
    rest, made = warehouse._connection.rest, []
    create = rest.create_table
    monkeypatch.setattr(rest, "create_table", lambda table, **how: made.append(table) or create(table, **how))
    for _ in range(2):
        warehouse.append("numbers", TABLE.slice(0, 1).to_reader(), {"n": 0})
    left = made[0].expires - datetime.datetime.now(datetime.UTC)
    assert len(made) == 1 and datetime.timedelta(hours=23) < left < datetime.timedelta(hours=25)
    assert numbers(warehouse) == [0]


def test_the_whole_table_is_read_only_where_there_is_something_to_replace(warehouse, monkeypatch):
    rest, asked = warehouse._connection.rest, []
    query = rest.query
    monkeypatch.setattr(rest, "query", lambda text, **how: asked.append(text.split()[0]) or query(text, **how))
    for corpus in "aba":
        rows = pyarrow.table({"corpus": [corpus] * 3, "n": [1, 2, 3]})
        warehouse.append("numbers", rows.to_reader(), {"corpus": corpus})
    assert asked == ["SELECT", "SELECT", "MERGE"]
    assert [n for batch in warehouse.rows("SELECT n FROM numbers ORDER BY n") for n in batch["n"].to_pylist()] == [
        *(1, 1, 2, 2, 3, 3)
    ]


def test_a_replacement_over_the_limit_is_refused_before_its_rows_are_made(warehouse, dataset, monkeypatch):
    warehouse.append("numbers", TABLE.slice(0, 100).to_reader())
    told = []
    warehouse.on_cost = told.append
    assert warehouse.append("numbers", TABLE.slice(0, 1).to_reader(), {"n": 0}) == 1
    assert told == [warehouse.cost("SELECT n FROM numbers"), warehouse.cost("SELECT * FROM numbers")]

    def never():
        pytest.fail("a row is read")
        yield

    with BigQueryWarehouse(dataset, byte_limit=10) as limited:
        # The emulator charges as much for one column as for all.
        monkeypatch.setattr(limited, "_holds", lambda *_: True)
        with pytest.raises(UserError, match="would read .* more than the limit of 10 bytes"):
            limited.append("numbers", pyarrow.RecordBatchReader.from_batches(TABLE.schema, never()), {"n": 0})
    assert numbers(warehouse) == list(range(100)) and warehouse.tables() == ["numbers"]


def test_nobody_sees_rows_before_the_last_one_is_there(warehouse, monkeypatch):
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


def test_many_small_batches_are_one_job_and_long_rows_arrive(warehouse):
    assert warehouse.append("numbers", TABLE.to_reader(max_chunksize=10)) == ROWS
    jobs = [job for job in warehouse._connection.rest.list_jobs() if job.job_type == "load"]
    assert len([job for job in jobs if job.destination.dataset_id == warehouse.dataset]) == 1
    long = pyarrow.table({"n": [ROWS, ROWS + 1], "text": ["short", "x" * 10_000_000]})
    assert warehouse.append("numbers", long.to_reader()) == 2
    (batch,) = warehouse.rows(f"SELECT LENGTH(text) AS length FROM numbers WHERE n > {ROWS}")
    assert batch["length"].to_pylist() == [10_000_000]


def test_a_reader_without_rows_makes_an_empty_table(warehouse):
    assert warehouse.append("numbers", TABLE.slice(0, 0).to_reader()) == 0
    assert warehouse.columns("numbers") == {"n": "INT64", "text": "STRING"}
    assert numbers(warehouse) == []
