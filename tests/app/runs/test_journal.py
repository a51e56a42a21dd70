import json
from types import SimpleNamespace

import pytest

from app.runs.journal import Journal, Log, read_log


def training(**values):
    return SimpleNamespace(**{"updates": 100, "minutes": 0.0, "patience": 0, **values})


@pytest.mark.parametrize(
    "journal, values, why",
    [
        (Journal(update=99), {}, ""),
        (Journal(update=100), {}, "all 100 updates are done"),
        (Journal(update=100), {"updates": 200}, ""),
        (Journal(seconds=1e6), {}, ""),
        (Journal(seconds=89.9), {"minutes": 1.5}, ""),
        (Journal(seconds=90.0), {"minutes": 1.5}, "the time limit of 1.5 minutes is reached"),
        (Journal(best={"update": 7, "score": 1}, worse=9), {}, ""),
        (Journal(best={"update": 7, "score": 1}, worse=1), {"patience": 2}, ""),
        (
            Journal(best={"update": 7, "score": 1}, worse=2),
            {"patience": 2},
            "2 validations without improvement since update 7",
        ),
    ],
)
def test_why_a_training_is_finished(journal, values, why):
    assert journal.why_finished(training(**values)) == why


def test_the_best_validation_is_the_first_of_the_highest_score():
    journal = Journal()
    found = []
    for update, score in enumerate([1.0, 3.0, 3.0, 2.0, 4.0, 0.0], start=1):
        journal.update = update
        found.append(journal.note_validation(score))
    assert found == [True, True, False, False, True, False]
    assert journal.best == {"update": 5, "score": 4.0}
    assert journal.worse == 1
    assert journal.validated == 6


def test_survives_a_checkpoint():
    journal = Journal(3, 0.1 + 0.2, 2, {"update": 2, "score": 1 / 3}, 1)
    assert Journal.from_summary(json.loads(json.dumps({"counts": {}, **journal.as_dict()}))) == journal


def test_the_log_drops_what_will_be_written_again(tmp_path):
    log = Log(tmp_path / "log.jsonl", 0)
    for update in (10, 20, 30):
        log.write(update=update, loss=1 / update)
    with log.path.open("a") as file:
        file.write('\0\0\0\n[]\n{"update": 40, "lo')
    again = Log(tmp_path / "log.jsonl", 20)
    assert read_log(log.path) == [{"update": 10, "loss": 0.1}, {"update": 20, "loss": 0.05}]
    again.write(update=30, loss=0.0)
    assert [entry["update"] for entry in read_log(log.path)] == [10, 20, 30]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_sample_translation_may_hold_any_line_end(tmp_path):
    sample = ["a\u2028b\u0085c\r\nd\x0be", "größer"]
    Log(tmp_path / "log.jsonl", 0).write(update=1, sample=sample)
    log = Log(tmp_path / "log.jsonl", 1)
    assert read_log(log.path) == [{"update": 1, "sample": sample}]
