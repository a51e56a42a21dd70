"""Rows of the scoreboard say how they were made, and can be made again."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from app.comparison.repetition import agrees, find_row, repeat
from app.comparison.rows import Row, rows_of
from app.comparison.scoreboard import BEGIN, END, read_rows, write_board
from app.presets.preset import load_preset
from app.scoring.results import Results
from app.scoring.testsets import load_documents
from data.corpora.corpora import Corpora
from data.errors import UserError
from tests.app.comparison.made_up import made_up_plan, score, train
from tests.app.toy_training import REPOSITORY, weitblick, write_corpus

PAGE = f"# Results\n\n{BEGIN}\nold\n{END}\n\nMore.\n"
CHANGES = (
    *("data.language_filter=false", "deduplicate=false", "vocabulary=340", "encoder_layers=1", "decoder_layers=1"),
    *(
        "width=16",
        "hidden=32",
        "heads=2",
        "dropout=0.1",
        "training.batch_tokens=256",
        "updates=40",
        "learning_rate=0.01",
    ),
    *("warmup=20", "precision=float32", "validate_every=40", "checkpoint_every=20", "training.seed=3"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of the preset `starter`, made very small, that was scored on its validation split."""
    folder = tmp_path_factory.mktemp("scoreboard")
    corpus = write_corpus(folder / "toy")
    corpora = ['data.corpora=["toy"]', 'data.validation=["toy"]', "data.test=[]"]
    places = ("--corpora", corpus.parent)
    weitblick("train", "starter", "--run", folder / "small", "--set", *corpora, *CHANGES, *places)
    weitblick("evaluate", folder / "small", "--corpus", "toy", "--split", "validation", *places)
    return folder


def test_a_command_that_only_translates_gives_an_operation_one_thread(made):
    (record,) = json.loads((made / "small" / "results.json").read_text()).values()
    assert record["decided"]["threads"]["intra_op"] == 1


def row(**values):
    score = {
        "name": "BLEU",
        "value": 30.0,
        "low": 28.0,
        "high": 32.0,
        "units": "segments",
        "count": 9,
        "signature": "s",
    }
    told = {"run": "a", "preset": "starter", "changes": (), "seed": 1, "start": "", "test": "toy, test"}
    told |= {"fingerprint": "f", "scores": (score,), "updates": 9, "minutes": 1.0, "weights": 8, "machine": "m"}
    return Row(**{**told, "commit": "c", "date": "2026-01-02T00:00:00", **values})


def scored(value, **values):
    return row(scores=({**row().scores[0], "value": value},), **values)


def test_a_row_has_what_made_the_run(made):
    (found,) = rows_of(made / "small")
    assert (found.run, found.preset, found.seed, found.test) == ("small", "starter", 3, "toy, validation")
    assert found.updates == 40 and found.weights > 1000 and re.fullmatch(r"[0-9a-f.]+\+?", found.commit)
    assert {"model.width=16", "training.updates=40", 'data.corpora=["toy"]'} <= set(found.changes)
    assert found.command.startswith("weitblick train starter --run runs/small --set ")
    assert found.command.endswith(" training.seed=3 --corpora ../corpora") and found.corpora == ("toy",)
    assert 40 * 100 < found.tokens < 40 * 256
    assert [score["name"] for score in found.scores][0] == "BLEU" and "tok:13a" in found.scores[0]["signature"]


def test_a_page_keeps_the_rows_of_other_runs_and_the_best_are_first(tmp_path):
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    write_board(page, [scored(20.0, run="low"), scored(30.0, run="high")])
    write_board(page, [scored(25.0, run="low"), scored(28.0, run="other")])
    text = page.read_text()
    assert text.startswith("# Results\n") and text.endswith("\n\nMore.\n") and "old" not in text
    assert re.findall(r"BLEU ([\d.]+) \(28.0 - 32.0\) \| - \| (\w+)", text) == [
        ("30.0", "high"),
        ("28.0", "other"),
        ("25.0", "low"),
    ]
    assert [one.run for one in read_rows(tmp_path / "results.json")] == ["high", "other", "low"]


@pytest.fixture
def made_up(tmp_path):
    """A finished run whose training and scores were written by hand, and how to score it."""
    plan = made_up_plan(tmp_path)
    contestant = plan.contestants[0]
    test = load_documents("toys", "test", Corpora([tmp_path / "corpora"]))

    def scored(changes=(), name="own", **record):
        run = train(tmp_path / name, contestant.preset.with_overrides(changes))
        score(run, test, {"s-BLEU": 20.0}, record={"date": "2026-01-02T00:00:00", **record})
        return run

    return scored


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"search": {"beam": 1}}, "search.beam=1 instead of 4"),
        ({"search": {"language_model": "runs/lm"}}, "search.language_model="),
        ({"ensemble": [{"run": "b", "weights": "averaged", "checksum": "c"}]}, "an ensemble with b"),
        ({"memory": {"name": "memory.tmx", "checksum": "c"}}, "the translation memory memory.tmx"),
        ({"glossary": {"name": "terms.tsv", "checksum": "c"}}, "the glossary terms.tsv"),
        ({"corrected": True}, "corrections"),
        ({"engine": {"name": "ctranslate2", "quantization": "int8"}}, "the engine ctranslate2 with int8"),
        ({"documents": {"size": 9}}, "documents.size=9 instead of 1"),
        ({"shuffled": True}, "segments in shuffled order"),
        ({"name": "toys-test-first100"}, "a part of the text"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_only_what_was_made_as_the_preset_says_counts(made_up, record, said):
    run, told = made_up(), []
    about, results = run.path / "results" / "toys-test.json", Results(run.path)
    # Choices of pronouns are no translation of a test set.
    pronouns = {"test_set": {"name": "contrapro", "items": 9}, "scores": [row().scores[0]]}
    results.write("contrapro", {**results.read("toys-test"), **pronouns})
    assert len(rows_of(run.path, told.append)) == 1 and not told
    before = results.read("toys-test")
    changed = {key: value for key, value in record.items() if key in ("name", "shuffled")}
    results.write("other", {**before, **record, "test_set": {**before["test_set"], **changed}})
    assert len(rows_of(run.path, told.append)) == 1
    assert len(told) == 1 and said in told[0] and "other is left out" in told[0]
    about.unlink()
    with pytest.raises(UserError, match="not scored as its preset says; `weitblick evaluate"):
        rows_of(run.path, told.append)


@pytest.mark.slow
def test_a_score_that_ignores_case_is_not_that_of_a_preset_with_case(made):
    shutil.copytree(made / "small", made / "lowered")
    options = ["--corpus", "toy", "--split", "validation", "--corpora", made]
    weitblick("evaluate", made / "lowered", *options, "--lowercase")
    assert "case:lc instead of case:mixed" in weitblick("scoreboard", made / "lowered", code=2).stderr
    weitblick("evaluate", made / "lowered", *options, "--beam", 1)
    assert "search.beam=1 instead of 4" in weitblick("scoreboard", made / "lowered", code=2).stderr
    weitblick("evaluate", made / "lowered", *options, "--moses")
    (row,) = rows_of(made / "lowered")
    assert "tok:none" in row.moses["signature"] and 0 <= row.moses["value"] <= 100


def test_a_preset_of_ones_own_is_told_as_changes_of_one_that_comes_along(made_up):
    changes = ["training.seed=7", "memory.kind=gru", "memory.gru.slots=3", "memory.retrieval.own=0.25"]
    run = made_up([*changes, "tokenizer.run=runs/other", "training.start=runs/first stage"])
    (row,) = rows_of(run.path)
    assert row.preset != run.preset.name == "toy"
    assert load_preset(row.preset, row.settings).differences(run.preset) == []
    # The shell gives the command line the same words.
    words = shlex.split(row.command)
    settings = words[words.index("--set") + 1 : words.index("--corpora")]
    assert 'tokenizer.run="runs/other"' in settings and settings == row.settings
    assert not row.obstacle and words[:5] == ["weitblick", "train", row.preset, "--run", "runs/own"]


def test_an_imported_model_has_a_row_that_says_that_it_cannot_be_made_again(made_up, tmp_path):
    run = made_up()
    run.write_summary(imported={"format": "marian", "folder": "/somewhere/opus en-de"}, finished={})
    (found,) = rows_of(run.path)
    assert found.command == "weitblick import marian 'opus en-de' --run runs/own"
    assert found.machine == "float32, tensorflow, made up, cores: 2"
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_board(page, [found])
    line = next(line for line in page.read_text().splitlines() if "| own |" in line)
    assert "| own | - | - | - | 17 |" in line
    assert "`own` cannot be repeated by a command: it was imported" in page.read_text()
    done = weitblick("repeat", page.with_suffix(".json"), "own", code=2)
    assert "own: cannot be repeated by a command: it was imported" in done.stderr


def test_a_training_that_has_not_ended_has_no_row(made_up):
    run = made_up()
    run.write_summary(finished={})
    with pytest.raises(UserError, match="the training has not ended"):
        rows_of(run.path)


def test_rows_that_differ_only_in_the_seed_have_a_mean(tmp_path):
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    moses = {**row().scores[0], "signature": "tokenised"}
    tiny = [
        scored(value, run=f"tiny-{seed}", seed=seed, moses={**moses, "value": value - 1}, tokens=1_250_000)
        for seed, value in ((1, 29.0), (2, 31.0), (3, 30.6))
    ]
    # Trained once more with another machine's rounding: the later one counts.
    again = scored(10.0, run="former-1", seed=1, date="2025-01-01T00:00:00")
    write_board(page, [*tiny, again, scored(30.5, run="wide", changes=("model.width=512",), seed=2)])
    lines = [line.split(" | ") for line in page.read_text().splitlines() if "toy, test" in line]
    assert [line[3] for line in lines] == ["wide", "tiny-2", "tiny-3", "tiny-1", "former-1", "mean of 3 seeds"]
    assert lines[-1][1:3] == ["BLEU 30.2 (29.0 - 31.0)", "29.2 (28.0 - 30.0)"] and "seeds 1, 2, 3" in lines[-1][-1]
    assert lines[1][2:6] == ["30.0 (28.0 - 32.0)", "tiny-2", "9", "1.2"] and lines[0][2] == lines[0][5] == "-"
    assert "`s`, `tokenised`" in page.read_text()


def test_the_page_in_docs_is_written_from_its_file(tmp_path):
    for name in ("results.md", "results.json"):
        shutil.copy(REPOSITORY / "docs" / name, tmp_path)
    rows = write_board(tmp_path / "results.md", [])
    for name in ("results.md", "results.json"):
        assert (tmp_path / name).read_text() == (REPOSITORY / "docs" / name).read_text()
    # Each row's preset is one of today's.
    assert rows and all(load_preset(each.preset, each.settings) for each in rows if not each.imported)


def test_the_file_of_an_earlier_version_is_read(tmp_path):
    new = ("tokens", "moses", "corpora", "corpus", "imported", "obstacle")
    content = json.loads((REPOSITORY / "docs" / "results.json").read_text())
    before = [{key: value for key, value in each.items() if key not in new} for each in content["rows"]]
    (tmp_path / "results.json").write_text(json.dumps({"rows": before}))
    (tmp_path / "results.md").write_text(PAGE)
    write_board(tmp_path / "results.md", [])
    assert [one.run for one in read_rows(tmp_path / "results.json")] == [each["run"] for each in before]


@pytest.mark.parametrize(
    ("test", "corpus", "options"),
    [
        ("toy, test", "", ["--corpus", "toy"]),
        ("toy, validation", "./toy", ["--corpus", "./toy", "--split", "validation"]),
        ("sacreBLEU, wmt14/full", "", ["--corpus", "wmt14/full"]),
    ],
)
def test_a_row_says_how_it_was_scored(test, corpus, options):
    assert row(test=test, corpus=corpus).scoring == options


def test_files_cannot_be_scored_again():
    with pytest.raises(UserError, match="scored from files"):
        row(test="in.de").scoring  # noqa: B018


def test_a_corpus_that_is_missing_is_told_before_the_training(tmp_path):
    lost = row(changes=('data.corpora=["nowhere"]',), corpora=("nowhere",))
    with pytest.raises(UserError, match="no corpus 'nowhere'"):
        repeat(lost, tmp_path / "again", [], 0, print)
    assert not Path(tmp_path / "again").exists()


def test_what_is_no_result_is_refused(made, tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        rows_of(tmp_path / "nothing")
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(UserError, match="expected the lines"):
        write_board(page, [row()])
    assert page.read_text() == "no markers" and not page.with_suffix(".json").exists()
    for content in ('{"rows": [{"run": "a"}]}', '{"rows": ["a"]}', '{"other": 1}'):
        (tmp_path / "page.json").write_text(content)
        with pytest.raises(UserError, match="is not a scoreboard"):
            read_rows(tmp_path / "page.json")
    with pytest.raises(UserError, match="no such row; there are a, b"):
        find_row([row(), row(run="b")], "c")
    with pytest.raises(UserError, match="several test sets"):
        find_row([row(), row(test="x, test")], "a")


def test_a_score_within_the_interval_is_the_same():
    assert agrees(row(), scored(28.0)) and agrees(row(), scored(32.0))
    assert not agrees(row(), scored(27.9)) and not agrees(row(), scored(33.0))


@pytest.mark.slow
def test_a_row_is_repeated_by_one_command(made):
    page = made / "results.md"
    page.write_text(PAGE)
    weitblick("scoreboard", made / "small", "--write", page)
    board, places = page.with_suffix(".json"), ("--corpora", made)
    again = weitblick("repeat", board, "small", "--run", made / "again", *places)
    before, now = rows_of(made / "small")[0].main.value, rows_of(made / "again")[0].main.value
    assert abs(before - now) < 0.01  # the same machine, seed and number of updates
    assert f"{before:.1f}" in again.stdout and again.stdout.endswith("The same result.\n")
    short = weitblick("repeat", board, "small", "--run", made / "short", "--updates", 4, *places)
    assert "4 updates" in short.stdout and "cannot be compared" in short.stdout
    # A row that claims more than it was.
    content = json.loads(board.read_text())
    content["rows"][0]["scores"][0] |= {"value": 99.0, "low": 98.0, "high": 100.0}
    (made / "claimed.json").write_text(json.dumps(content))
    claimed = weitblick("repeat", made / "claimed.json", "small", "--run", made / "again", *places, code=1)
    assert "A different result" in claimed.stdout


@pytest.mark.slow
def test_a_step_that_fails_says_where_it_is_told_why(made):
    page = made / "results.md"
    page.write_text(PAGE)
    write_board(page, [row(run="lost", changes=('data.corpora=["nowhere"]',))])
    board = page.with_suffix(".json")
    done = weitblick("repeat", board, "lost", "--run", made / "lost", code=2)
    assert "training: ended with code 2" in done.stderr and "nowhere" in (made / "lost" / "repetition.log").read_text()
    assert "no such file" in weitblick("repeat", made / "none.json", "lost", code=2).stderr
