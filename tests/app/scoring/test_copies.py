"""The counts of copied spans, in the evaluation, its tables and its record."""

import io

from app.scoring.copies import Copied, Lost, count_copies
from app.scoring.evaluation import evaluate_lines
from app.scoring.report import show_evaluation
from app.scoring.testsets import TestSet

SOURCES = ("%s has 5 files", "See https://a.org/x", "plain", "<b>5</b> tags")
REFERENCES = ("%s hat fünf Dateien", "Siehe https://a.org/x", "schlicht", "<b>5</b> Marken")
LOST = ["%s hat 5 Dateien 5", "Siehe a.org", "schlicht", "5 Marken"]


def test_lines_are_counted_by_kind_beside_the_references():
    counts, lost = count_copies(SOURCES, LOST, REFERENCES)
    assert set(counts) == {
        Copied("numbers", 2, 1, 1),
        Copied("placeholders", 1, 1, 1),
        Copied("tags", 1, 0, 1),
        Copied("urls", 1, 0, 1),
    }
    assert lost[0] == Lost(1, ("numbers",), SOURCES[0], LOST[0]) and [line.line for line in lost] == [1, 2, 4]
    assert count_copies(None, LOST, REFERENCES) == ([], [])


def test_numbers_count_in_the_format_that_was_asked_for():
    source, german = ["1,234.5 km"], ["1.234,5 km"]
    assert count_copies(source, german, german, "german")[0] == [Copied("numbers", 1, 1, 1)]
    assert count_copies(source, german, german)[0] == [Copied("numbers", 1, 0, 0)]


def test_no_more_than_ten_lines_are_shown():
    assert len(count_copies(["5"] * 30, ["x"] * 30, ["5"] * 30)[1]) == 10


def test_the_evaluation_shows_and_records_them():
    evaluation = evaluate_lines(LOST, TestSet("odd", SOURCES, REFERENCES, "odd"))
    record = evaluation.as_dict()
    assert {"kind": "urls", "lines": 1, "kept": 0, "reference": 1} in record["copied"]
    assert record["lost"][1]["translation"] == "Siehe a.org"
    file = io.StringIO()
    show_evaluation(evaluation, file)
    assert "placeholders" in file.getvalue() and "line 4 (tags): <b>5</b> tags => 5 Marken" in file.getvalue()
