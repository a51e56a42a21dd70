"""Rows of the scoreboard say how they were made, and can be made again."""

import json
import re

import pytest

from app.comparison.repetition import agrees, find_row
from app.comparison.scoreboard import BEGIN, END, Row, read_rows, rows_of, write_board
from data.errors import UserError
from tests.app.toy_training import weitblick, write_corpus

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
    assert "starter --set " in found.command and found.command.endswith(" training.seed=3")
    assert [score["name"] for score in found.scores][0] == "BLEU" and "tok:13a" in found.scores[0]["signature"]


def test_a_page_keeps_the_rows_of_other_runs_and_the_best_are_first(tmp_path):
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    write_board(page, [scored(20.0, run="low"), scored(30.0, run="high")])
    write_board(page, [scored(25.0, run="low"), scored(28.0, run="other")])
    text = page.read_text()
    assert text.startswith("# Results\n") and text.endswith("\n\nMore.\n") and "old" not in text
    assert re.findall(r"BLEU ([\d.]+) \(28.0 - 32.0\) \| (\w+)", text) == [
        ("30.0", "high"),
        ("28.0", "other"),
        ("25.0", "low"),
    ]
    assert [one.run for one in read_rows(tmp_path / "results.json")] == ["high", "other", "low"]


def test_what_is_no_result_is_refused(made, tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        rows_of(tmp_path / "nothing")
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(UserError, match="expected the lines"):
        write_board(page, [row()])
    assert page.read_text() == "no markers" and not page.with_suffix(".json").exists()
    (tmp_path / "page.json").write_text('{"rows": [{"run": "a"}]}')
    with pytest.raises(UserError, match="is no scoreboard"):
        read_rows(tmp_path / "page.json")
    with pytest.raises(UserError, match="no such row; there are a, b"):
        find_row([row(), row(run="b")], "c")
    with pytest.raises(UserError, match="several test sets"):
        find_row([row(), row(test="x, test")], "a")


def test_a_score_within_the_interval_is_the_same():
    assert agrees(row(), scored(28.0)) and agrees(row(), scored(32.0))
    assert not agrees(row(), scored(27.9)) and not agrees(row(), scored(33.0))


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
    assert "4 updates" in short.stdout and "do not compare" in short.stdout
    # A row that claims more than it was.
    content = json.loads(board.read_text())
    content["rows"][0]["scores"][0] |= {"value": 99.0, "low": 98.0, "high": 100.0}
    (made / "claimed.json").write_text(json.dumps(content))
    claimed = weitblick("repeat", made / "claimed.json", "small", "--run", made / "again", *places, code=1)
    assert "Another result" in claimed.stdout


def test_a_step_that_fails_says_where_it_is_told_why(made):
    page = made / "results.md"
    page.write_text(PAGE)
    write_board(page, [row(run="lost", changes=('data.corpora=["nowhere"]',))])
    board = page.with_suffix(".json")
    done = weitblick("repeat", board, "lost", "--run", made / "lost", code=2)
    assert "training: ended with code 2" in done.stderr and "nowhere" in (made / "lost" / "repetition.log").read_text()
    assert "no such file" in weitblick("repeat", made / "none.json", "lost", code=2).stderr
