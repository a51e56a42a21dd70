"""What every database must do, in the words of `data.warehouse.base.Warehouse`."""

import datetime

import pyarrow
import pytest

from data.errors import UserError
from data.warehouse.sql import statement, user_query


def reader(*batches: dict, schema=None):
    made = [pyarrow.RecordBatch.from_pydict(columns, schema=schema) for columns in batches]
    return pyarrow.RecordBatchReader.from_batches(schema or made[0].schema, made)


def read(warehouse, query, parameters=None):
    return [row for batch in warehouse.rows(query, parameters) for row in batch.to_pylist()]


NUMBERS = pyarrow.schema([("corpus", pyarrow.string()), ("n", pyarrow.int64()), ("text", pyarrow.string())])


@pytest.fixture
def numbers(warehouse):
    rows = [("a", 1, "eins"), ("a", 2, None), ("b", 3, "drei € \u2028 'x' \"y\" \\ 🙂"), ("b", 4, "")]
    first = {name: list(column) for name, column in zip(NUMBERS.names, zip(*rows[:3], strict=True), strict=True)}
    last = {name: [value] for name, value in zip(NUMBERS.names, rows[3], strict=True)}
    assert warehouse.append("numbers", reader(first, last, schema=NUMBERS)) == 4
    return [dict(zip(NUMBERS.names, row, strict=True)) for row in rows]


def test_rows_come_back_as_they_went_in_and_in_the_order_of_the_query(warehouse, numbers):
    assert read(warehouse, "SELECT * FROM numbers ORDER BY n") == numbers
    assert read(warehouse, "SELECT * FROM numbers ORDER BY n DESC") == numbers[::-1]
    assert [row["n"] for row in read(warehouse, "SELECT n FROM numbers ORDER BY text, n")] == [2, 4, 3, 1]
    assert warehouse.columns("numbers") == {"corpus": "STRING", "n": "INT64", "text": "STRING"}
    assert warehouse.tables() == ["numbers"]


def test_values_come_as_parameters_and_are_never_read_as_sql(warehouse, numbers):
    query = "SELECT n FROM numbers WHERE text = @text OR n = @n ORDER BY n"
    assert read(warehouse, query, {"text": numbers[2]["text"], "n": 1}) == [{"n": 1}, {"n": 3}]
    assert read(warehouse, query, {"text": "' OR TRUE --", "n": -1}) == []
    query = "SELECT @s AS s, @i AS i, @f AS f, @b AS b, @t AS t"
    moment = datetime.datetime(2026, 5, 4, 3, 2, 1, 500000, tzinfo=datetime.UTC)
    values = {"s": "ä", "i": -(2**63), "f": 0.5, "b": True, "t": moment}
    assert read(warehouse, query, values) == [values]


def test_a_query_without_rows_still_has_columns(warehouse, numbers):
    (batch,) = warehouse.rows("SELECT * FROM numbers WHERE n > 10")
    assert batch.num_rows == 0
    assert batch.schema.names == NUMBERS.names


def test_types_are_the_same_everywhere(warehouse, numbers):
    query = (
        "SELECT SUM(n) AS s, COUNT(*) AS c, AVG(n) AS a, DIV(SUM(n), 3) AS d, SUM(n) / 4 AS q, 1.5 AS f, "
        "CHAR_LENGTH('äöü') AS l, 'x' AS t, n > 1 AS b FROM numbers WHERE n = 3 GROUP BY n"
    )
    (batch,) = warehouse.rows(query)
    kinds = {field.name: str(field.type) for field in batch.schema}
    assert kinds == {
        "s": "int64",
        "c": "int64",
        "a": "double",
        "d": "int64",
        "q": "double",
        "f": "double",
        "l": "int64",
        "t": "string",
        "b": "bool",
    }
    assert batch.to_pylist() == [{"s": 3, "c": 1, "a": 3.0, "d": 1, "q": 0.75, "f": 1.5, "l": 3, "t": "x", "b": True}]


def test_statements_change_rows_and_say_how_many(warehouse, numbers):
    assert warehouse.run("DELETE FROM numbers WHERE corpus = @corpus", {"corpus": "a"}) == 2
    warehouse.run(
        statement("CREATE OR REPLACE TABLE into_ AS SELECT n FROM source WHERE n > @n", into_="copy", source="numbers"),
        {"n": 3},
    )
    assert read(warehouse, "SELECT * FROM copy") == [{"n": 4}]
    assert (
        warehouse.run(
            statement("INSERT INTO into_ (n) SELECT source.n + 1 FROM source", into_="copy", source="numbers")
        )
        == 2
    )
    assert sorted(row["n"] for row in read(warehouse, "SELECT * FROM copy")) == [4, 4, 5]
    warehouse.run(statement("DROP TABLE IF EXISTS gone", gone="copy"))
    assert warehouse.tables() == ["numbers"]


def test_appended_rows_replace_those_with_the_same_values(warehouse, numbers):
    new = reader({"corpus": ["b"], "n": [7], "text": ["sieben"]}, schema=NUMBERS)
    assert warehouse.append("numbers", new, {"corpus": "b"}) == 1
    assert [row["n"] for row in read(warehouse, "SELECT n FROM numbers ORDER BY n")] == [1, 2, 7]
    assert warehouse.append("numbers", reader({"n": [8]})) == 1, "a missing column is NULL"
    assert read(warehouse, "SELECT corpus FROM numbers WHERE n = 8") == [{"corpus": None}]


def test_a_failing_reader_leaves_all_as_it_was(warehouse, numbers):
    def batches():
        yield pyarrow.RecordBatch.from_pydict({"corpus": ["b"], "n": [7], "text": ["sieben"]}, schema=NUMBERS)
        raise UserError("line 2 is damaged")

    with pytest.raises(UserError, match="line 2 is damaged"):
        warehouse.append("numbers", pyarrow.RecordBatchReader.from_batches(NUMBERS, batches()), {"corpus": "b"})
    assert read(warehouse, "SELECT * FROM numbers ORDER BY n") == numbers
    with pytest.raises(UserError, match="line 2 is damaged"):
        warehouse.append("new", pyarrow.RecordBatchReader.from_batches(NUMBERS, batches()))
    assert warehouse.tables() == ["numbers"]


def test_streams_go_on_while_others_write(warehouse, numbers):
    stream = warehouse.rows("SELECT n FROM numbers ORDER BY n")
    first = next(stream)
    warehouse.run("DELETE FROM numbers WHERE n = 4")
    found = [row["n"] for batch in [first, *stream] for row in batch.to_pylist()]
    assert found == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM nothing", ["nothing", "numbers"]),
        ("SELECT corpsu FROM numbers", ["corpsu"]),
        ("SELECT n + text FROM numbers", ["INT64|BIGINT", "STRING|VARCHAR"]),
    ],
)
def test_a_wrong_query_is_explained(warehouse, numbers, query, words):
    with pytest.raises(UserError) as error:
        read(warehouse, query)
    message = str(error.value)
    assert warehouse.address in message
    for word in words:
        assert any(part in message for part in word.split("|")), message
    assert "\n" not in message


def test_a_missing_table_is_named_with_those_there(warehouse, numbers):
    with pytest.raises(UserError, match="no table or view 'nothing'.*numbers"):
        warehouse.columns("nothing")


def test_rows_that_do_not_fit_are_refused(warehouse, numbers):
    with pytest.raises(UserError, match="'n' is INT64 but should be STRING"):
        warehouse.append("numbers", reader({"n": ["eins"]}))
    with pytest.raises(UserError, match="no column 'm'; it has corpus, n, text"):
        warehouse.append("numbers", reader({"m": [1]}))
    with pytest.raises(UserError, match="no column 'split'"):
        warehouse.append("numbers", reader({"n": [1]}), {"split": "train"})
    assert read(warehouse, "SELECT * FROM numbers ORDER BY n") == numbers


@pytest.mark.parametrize("name", ["", "a b", "1a", "a;b", 'a"b', "a.b", "tabelle-1", "ä"])
def test_a_name_that_no_table_can_have(name):
    with pytest.raises(UserError, match="cannot be the name of a table"):
        statement("SELECT * FROM source", source=name)


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM numbers",
        "SELECT 1; SELECT 2",
        "",
        "DROP TABLE numbers",
        "SELEC 1",
        "CREATE TABLE x AS SELECT 1 AS n",
        "INSERT INTO numbers SELECT * FROM numbers",
        "COPY numbers TO 'x.csv'",
        "ATTACH 'other.duckdb'",
        "PRAGMA version",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT @n",
        "SELECT * FROM EXTERNAL_QUERY('connection', 'DROP TABLE x')",
        "UPDATE numbers SET n = 1",
        "WITH gone AS (DELETE FROM numbers) SELECT 1",
        "SELECT 1 INTO x",
        "EXPLAIN DELETE FROM numbers",
    ],
)
def test_a_user_may_only_select(text):
    with pytest.raises(UserError, match="the query ['\"].*['\"] (must be|is not|may only)"):
        user_query(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT n FROM numbers ORDER BY n",
        "(SELECT 1 AS n)",
        "WITH a AS (SELECT n FROM numbers) SELECT * FROM a;",
        "SELECT n FROM numbers UNION ALL SELECT 9",
        "SELECT part FROM numbers, UNNEST(SPLIT(text, ' ')) AS part",
        "SELECT 'DROP TABLE numbers' AS n -- only a comment; nothing more",
    ],
)
def test_queries_that_a_user_may_ask(warehouse, numbers, text):
    assert read(warehouse, user_query(text))
