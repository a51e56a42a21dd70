"""The command line on BigQuery: what a query costs is said first, and a limit is kept."""

from app.cli import main as cli
from data.warehouse.opening import open_warehouse
from tests.data.warehouse.sources import texts


def run(capsys, *arguments):
    code = cli.main(["corpora", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_costs_are_shown_and_limited(dataset, capsys, tmp_path):
    folder = tmp_path / "talks"
    folder.mkdir()
    for language in ("en", "de"):
        (folder / f"{language}.train.txt").write_text("".join(f"{language} line {n} of many\n" for n in range(200)))
    address = ("--warehouse", dataset)
    code, out, err = run(capsys, "load", f"{folder}/", "--no-languages", *address)
    assert (code, out) == (0, "talks: 200 train\n"), err
    code, out, err = run(capsys, "sql", "SELECT en FROM pairs ORDER BY position LIMIT 2", *address)
    assert (code, out) == (0, "en\nen line 0 of many\nen line 1 of many\n")
    assert err.startswith("this query reads ")
    code, out, err = run(capsys, "sql", "SELECT en FROM pairs", "--byte-limit", "1K", *address)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    code, out, err = run(capsys, "clean", "--into", "cleaned", "--set", "language_filter=false", *address)
    assert code == 0 and "cleaned: 200 train" in out
    assert "this query reads" in err
    code, _, err = run(capsys, "export", "cleaned", tmp_path / "out.parquet", *address)
    assert code == 0, err
    with open_warehouse(dataset) as warehouse:
        assert len(texts(warehouse, "cleaned")) == 200
