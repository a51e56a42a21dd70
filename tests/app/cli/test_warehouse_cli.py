"""The warehouse from the command line, from loading to training."""

import pyarrow
import pyarrow.parquet
import pytest

from app.cli import main as cli
from app.presets.preset import load_preset
from app.runs.run import Run
from app.scoring.bootstrap import Measure
from app.scoring.results import Results
from app.training.preparation import prepare
from data.warehouse.opening import open_warehouse
from tests.app.cli.test_main import refusal, weitblick
from tests.app.toy_training import toy_preset, write_corpus


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """A folder with two corpora, and the address of a warehouse that is not there yet in the environment."""
    monkeypatch.setenv("WEITBLICK_WAREHOUSE", str(tmp_path / "w.duckdb"))
    for name, lines in (("talks", ["one", "two", "two", "one two three four", ""]), ("news", ["two", "five six"])):
        folder = tmp_path / "corpora" / name
        folder.mkdir(parents=True)
        (folder / "en.train.txt").write_text("".join(f"{line}\n" for line in lines))
        (folder / "de.train.txt").write_text("".join(f"{line} de\n" for line in lines))
    (tmp_path / "corpora" / "news" / "en.test.txt").write_text("two three four\n")
    (tmp_path / "corpora" / "news" / "de.test.txt").write_text("zwei drei vier\n")
    return tmp_path / "corpora"


def run(capsys, *arguments, code=0):
    """Runs a command in this process; its output, and its errors."""
    done = cli.main(["corpora", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert done == code, err
    return out if code == 0 else err


def loaded(capsys, corpora):
    return run(capsys, "load", "talks", "news", "--corpora", corpora, "--no-languages")


def test_from_loading_to_a_clean_table(capsys, corpora, tmp_path):
    assert loaded(capsys, corpora).splitlines() == ["talks: 5 train", "news: 2 train, 1 test"]
    assert loaded(capsys, corpora).splitlines() == ["talks: 5 train (unchanged)", "news: 2 train, 1 test (unchanged)"]
    shown = run(capsys, "profile")
    assert "talks" in shown and "duplicates" in shown
    command = ("clean", "news", "talks", "--into", "cleaned", "--set", "language_filter=false")
    shown = run(capsys, *command, "--without", "news", "--overlap", "3")
    parts = dict(zip(("news", "talks"), shown.split("\n\n"), strict=False))
    assert parts["news"].split() == ["news", "pairs", "read", "2", "100.00%", "pairs", "kept", "2", "100.00%"]
    for line in (
        "pairs read 5",
        "a side is empty -1",
        "duplicate -1",
        "in a corpus named before -1",
        "overlap with test sets -1",
        "pairs kept 1",
    ):
        assert line in " ".join(parts["talks"].split()), parts["talks"]
    assert 'cleaned: 3 train, 1 test; to train on it, set corpora = ["warehouse:cleaned"] in a preset' in shown
    rows = run(capsys, "sql", "SELECT corpus, en FROM cleaned WHERE split = 'train' ORDER BY corpus, position")
    assert rows == "corpus\ten\nnews\ttwo\nnews\tfive six\ntalks\tone\n"
    assert run(capsys, "export", "cleaned", tmp_path / "out.parquet") == f"{tmp_path / 'out.parquet'}: 4 rows\n"
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").num_rows == 4


def test_rows_without_a_position_are_exported_as_they_were_inserted(capsys, corpora, tmp_path):
    """So many that the database sorts them in parts, which puts equal ones into another order."""
    numbers = [str(number) for number in range(150_000)]
    columns = {"corpus": ["c"] * len(numbers), "split": ["train"] * len(numbers), "en": numbers, "de": numbers}
    with open_warehouse(str(tmp_path / "w.duckdb"), create=True) as warehouse:
        warehouse.append("placeless", pyarrow.table(columns).to_reader())
    run(capsys, "export", "placeless", tmp_path / "out")
    assert (tmp_path / "out" / "en.train.txt").read_text().split() == numbers


def test_two_files_of_one_name_do_not_replace_each_other(capsys, corpora, tmp_path):
    for year in ("2023", "2024"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "memory.tsv").write_text("one\teins\n")
    refused = run(capsys, "load", tmp_path / "2023/memory.tsv", tmp_path / "2024/memory.tsv", code=2)
    assert "two sources are called memory, and one would replace the other" in refused


def test_the_filters_of_a_preset(capsys, corpora):
    loaded(capsys, corpora)
    shown = run(capsys, "clean", "--into", "x", "--preset", "starter", "--set", "language_filter=false", "max_words=3")
    assert "too long" in shown


def test_a_query_becomes_a_view(capsys, corpora):
    loaded(capsys, corpora)
    assert "created view long" in run(capsys, "sql", "SELECT * FROM pairs WHERE en_words > 2", "--view", "long")
    assert run(capsys, "sql", "SELECT en FROM long ORDER BY en") == "en\none two three four\ntwo three four\n"
    assert "pairs" in run(capsys, "sql", "SELECT 1 AS n", "--view", "pairs", code=2)


def test_rows_are_shown_up_to_a_limit(capsys, corpora):
    loaded(capsys, corpora)
    assert cli.main(["corpora", "sql", "SELECT en FROM pairs ORDER BY corpus, split, position", "--rows", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == "en\ntwo three four\ntwo\n"
    assert err == "more than 2 rows; --rows 0 shows all\n"
    assert run(capsys, "sql", "SELECT en FROM pairs", "--rows", "0").count("\n") == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sql", "DROP TABLE pairs"), "must be a single SELECT"),
        (("sql", "SELECT 1; DROP TABLE pairs"), "must be a single SELECT, but this is 2 statements"),
        (("sql", "SELECT * FROM nothing"), "no table or view 'nothing'; there is loads, pairs"),
        (("profile", "nothing"), "no table or view 'nothing'"),
        (("clean", "--into", "x"), "was loaded with --no-languages"),
        (("clean", "--into", "x", "--near", "2"), "--near 2: expected a fraction between 0 and 1"),
        (("clean", "--into", "x", "--overlap", "0"), "--overlap 0: expected at least 1 word"),
        (("clean", "--into", "x", "--test", "0.6", "--validation", "0.4"), "must add up to less than 1"),
        (("clean", "--into", "x", "--set", "max_word=3"), 'did you mean "max_words"?'),
        (("clean", "europarl", "--into", "x"), "has no corpus 'europarl'; it has news, talks"),
        (("export", "pairs"), "say what to export and where: "),
        (("export", "pairs", "."), "exists already"),
        (("export", "--run", "nowhere"), "there is no such run folder"),
        (("sql", "SELECT 1", "--byte-limit", "much"), "expected a number of bytes, such as 500M or 20G"),
        (("load", "nothing"), "no corpus 'nothing'"),
        (("load", "a", "b", "--name", "c"), "--name names one corpus"),
        (("sql", "SELECT 1", "--warehouse", "here"), "'here' is not the address of a warehouse"),
    ],
)
def test_mistakes_are_explained_in_one_line(capsys, corpora, arguments, message):
    loaded(capsys, corpora)
    error = run(capsys, *arguments, code=2)
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert run(capsys, "sql", "SELECT COUNT(*) AS n FROM pairs") == "n\n8\n"


def test_as_processes(corpora, tmp_path):
    weitblick("corpora", "load", "talks", "--corpora", corpora, "--no-languages")
    assert weitblick("corpora", "sql", "SELECT COUNT(*) AS n FROM pairs").stdout == "n\n5\n"
    with open_warehouse(str(tmp_path / "w.duckdb")):
        error = refusal("corpora", "load", "talks", "--corpora", corpora)
    assert "w.duckdb: process" in error and "wait for it to end" in error


@pytest.mark.parametrize("action", ["load", "profile", "clean", "sql", "export"])
def test_every_action_has_help(capsys, action):
    with pytest.raises(SystemExit):
        cli.main(["corpora", action, "--help"])
    assert "--warehouse ADDRESS" in capsys.readouterr().out


def test_a_preset_trains_on_a_query(capsys, tmp_path):
    toy = write_corpus(tmp_path / "toy", train=60, validation=10)
    address = tmp_path / "w.duckdb"
    run(capsys, "load", f"{toy}/", "--name", "toy", "--warehouse", address)
    preset = toy_preset(tmp_path, corpus=toy)
    from_folder = prepare(Run.create(tmp_path / "one", preset), report=lambda line: None)
    query = "warehouse:SELECT * FROM pairs WHERE corpus = 'toy'"
    changes = [f'corpora=["{query}"]', f'validation=["{query}"]', f"data.warehouse={address}"]
    preset = preset.with_overrides(changes)
    assert load_preset(_written(tmp_path, preset)).data == preset.data
    from_warehouse = prepare(Run.create(tmp_path / "two", preset), report=lambda line: None)
    assert from_warehouse.validation_pairs == from_folder.validation_pairs
    for one, other in zip(from_folder.batches.epoch(0), from_warehouse.batches.epoch(0), strict=True):
        assert one[0]["source"].tolist() == other[0]["source"].tolist()
        assert one[1].tolist() == other[1].tolist()
    with open_warehouse(str(address)) as warehouse:
        warehouse.run("DELETE FROM pairs WHERE split = 'train' AND position < 5")
    changed = prepare(Run.create(tmp_path / "three", preset), report=lambda line: None)
    assert changed.fingerprint != from_warehouse.fingerprint


def _written(folder, preset):
    (folder / "mine.toml").write_text(preset.to_toml())
    return folder / "mine.toml"


def test_the_results_of_a_run_become_tables(capsys, tmp_path):
    folder = Run.create(tmp_path / "toy-run", toy_preset(tmp_path, corpus=tmp_path / "toy"))
    folder.write_summary(finished={"update": 30, "seconds": 2.5, "best": {"update": 20, "score": 7.5}, "why": "done"})
    score = Measure("BLEU", 26.5, 25.0, 28.0, "segments", 2, signature="nrefs:1")
    found = {
        "test_set": {"name": "toy-test", "segments": 2, "fingerprint": "f"},
        "scores": [score.as_dict()],
        "weights": {"used": "averaged"},
        "search": {"beam": 4},
        "date": "2026-11-22",
    }
    Results(folder.path).write("toy-test", found, {"toy-test.de": ["eins", "zwei"]})
    address = ("--warehouse", tmp_path / "w.duckdb")
    for _ in range(2):
        shown = run(capsys, "export", "--run", tmp_path / "toy-run", *address)
        assert shown.splitlines() == ["runs: 1 rows", "scores: 1 rows", "translations: 2 rows"]
    run(capsys, "export", "--run", tmp_path / "toy-run", "--name", "other", *address)
    query = (
        "SELECT run, r.updates AS updates, r.best_score AS best, s.value AS bleu, t.translation AS text FROM runs AS r "
        "JOIN scores AS s USING (run) JOIN translations AS t USING (run, test_set) ORDER BY run, t.position"
    )
    rows = run(capsys, "sql", query, *address).splitlines()[1:]
    assert rows[:2] == ["other\t30\t7.5\t26.5\teins", "other\t30\t7.5\t26.5\tzwei"]
    assert [row.split("\t")[0] for row in rows] == ["other", "other", "toy-run", "toy-run"]
    (folder.path / "results" / "toy-test.de").write_text("eins\ndrei\n")
    error = run(capsys, "export", "--run", tmp_path / "toy-run", *address, code=2)
    assert "toy-test.de: the file was edited or damaged" in error
    (folder.path / "results" / "toy-test.json").write_text("{")
    error = run(capsys, "export", "--run", tmp_path / "toy-run", *address, code=2)
    assert "toy-test.json: the file is damaged" in error


def test_a_query_without_rows_has_nothing_to_show(capsys, corpora):
    loaded(capsys, corpora)
    query = "warehouse:SELECT * FROM pairs WHERE corpus = 'nowhere'"
    assert run(capsys, "show", query, code=2) == f"error: {query}: has no pair\n"
