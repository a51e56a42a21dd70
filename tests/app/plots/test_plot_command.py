"""`weitblick plot`, on runs whose weights were drawn and not trained."""

import json

import pytest

from app.cli import main as cli
from app.comparison.report import write_report
from app.runs.run import Run
from app.scoring.results import Results
from app.scoring.testsets import load_documents
from data.corpora.corpora import Corpora
from tests.app.cli.test_document_translate_command import DOCUMENTS, TEXT, make_run
from tests.app.comparison.made_up import made_up_plan, score, train
from tests.app.toy_training import toy_preset

pytest.importorskip("matplotlib")

SAMPLE = ["the red dog", "der rote hund", "der hund"]
BUCKETS = [{"low": 0, "high": 10, "lines": 90, "bleu": 20.0}, {"low": 11, "high": None, "lines": 60, "bleu": 10.0}]


def with_log(path, **times):
    validation = {"nll": 2.5, "bleu": 9.0, "sample": SAMPLE}
    entries = [{"update": 10, "nll": 3.0, **times}, {"update": 10, **times, "validation": validation}]
    (path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = with_log(make_run(tmp_path_factory.mktemp("plain")))
    Results(path).write("toy-test", {"bleu_by_source_words": BUCKETS})
    return path


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return with_log(make_run(tmp_path_factory.mktemp("documents"), *DOCUMENTS))


def plot(capsys, *arguments, code=0):
    capsys.readouterr()
    assert cli.main(["plot", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    if code:
        (line,) = printed.err.splitlines()
        return line
    return printed.out.splitlines()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_that_there_is_data_for_is_drawn_and_the_rest_explained(plain, capsys):
    written, left_out = plot(capsys, plain)
    names = ["learning", "attention", "alignment", "length-toy-test"]
    assert written == f"{plain / 'plots'}: {', '.join(names)}, each as .svg and .png"
    assert files(plain / "plots") == sorted(f"{name}.{kind}" for name in names for kind in ("svg", "png"))
    assert "gates, slots (" in left_out and "was not trained on documents)" in left_out
    assert f'position (no such results: "weitblick evaluate-documents {plain}" writes them)' in left_out
    # The sentence of the log, and what the model makes of it.
    alignment = (plain / "plots" / "alignment.svg").read_text(encoding="utf-8")
    assert all(f">{word}<" in alignment for word in SAMPLE[0].split())


def test_a_log_of_an_earlier_version_has_no_curve_against_hours(plain, tmp_path, capsys):
    assert "learning-hours (no times in log.jsonl" in plot(capsys, plain, "-o", tmp_path)[1]
    assert "no times in log.jsonl" in plot(capsys, plain, "--only", "learning-hours", "-o", tmp_path, code=2)
    timed = with_log(make_run(tmp_path), seconds=3600.0)
    # The other run is left out of this figure alone.
    plot(capsys, timed, plain, "--only", "learning", "learning-hours", "-o", tmp_path)
    assert str(plain) in (tmp_path / "learning.svg").read_text(encoding="utf-8")
    hours = (tmp_path / "learning-hours.svg").read_text(encoding="utf-8")
    assert "hours of training" in hours and str(plain) not in hours


def test_the_same_run_gives_the_same_files(plain, tmp_path, capsys):
    for folder in ("one", "two"):
        plot(capsys, plain, "--only", "learning", "attention", "-o", tmp_path / folder)
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_sentence_and_its_translation_can_be_given(documents, tmp_path, capsys):
    given = ["--sentence", "a big cat", "--translation", "ein kater <b>"]
    plot(capsys, documents, "--only", "alignment", *given, "-o", tmp_path)
    found = (tmp_path / "alignment.svg").read_text(encoding="utf-8")
    assert ">big<" in found and ">kater<" in found and "&lt;b&gt;" in found
    assert files(tmp_path) == ["alignment.png", "alignment.svg"]


def test_a_memory_is_drawn_over_a_document(documents, tmp_path, capsys):
    (tmp_path / "in.txt").write_text(TEXT, encoding="utf-8")
    options = ["--only", "gates", "slots", "--document", tmp_path / "in.txt", "-o", tmp_path / "out"]
    assert plot(capsys, documents, *options) == [f"{tmp_path / 'out'}: gates, slots, each as .svg and .png"]
    assert files(tmp_path / "out") == ["gates.png", "gates.svg", "slots.png", "slots.svg"]
    assert "segment of the document" in (tmp_path / "out" / "gates.svg").read_text(encoding="utf-8")


def test_runs_are_drawn_together(plain, documents, tmp_path, capsys):
    written, left_out = plot(capsys, plain, documents, "-o", tmp_path)
    assert "learning, length-toy-test," in written
    assert "attention, alignment, gates, slots (drawn for one run at a time)" in left_out
    # Both folders are called "run", so the figure has their paths.
    assert f"{plain}: validation" in (tmp_path / "learning.svg").read_text(encoding="utf-8")


def test_a_comparison_is_drawn_from_its_report(tmp_path, capsys):
    plan = made_up_plan(tmp_path)
    test = load_documents("toys", "test", Corpora([tmp_path / "corpora"]))
    for number, one in enumerate(plan.contestants):
        baseline = {"s-BLEU": 20.0} if number else None
        score(
            train(one.path, one.preset),
            test,
            {"s-BLEU": 20.0 + number},
            "none-1" * bool(number),
            others=baseline,
            p=0.01,
        )
    write_report(plan, {})
    assert plot(capsys, plan.folder) == [
        f"{plan.folder / 'plots'}: scores-toys-test, costs, each as .svg and .png",
    ]
    found = (plan.folder / "plots" / "scores-toys-test.svg").read_text(encoding="utf-8")
    assert "toys-test: s-BLEU is highest with gru, 21.50, then none, 20.00" in found
    assert "leave out the other folders" in plot(capsys, plan.folder, plan.contestants[0].path, code=2)
    assert "the figures of a comparison are scores, costs" in plot(capsys, plan.folder, "--only", "gates", code=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "gates"], "gates: RUN was not trained on documents"),
        (["--only", "position"], 'position: no such results: "weitblick evaluate-documents RUN" writes them'),
        (["--only", "costs"], "--only costs: the figures of a run are learning, learning-hours"),
        (["--only", "learning", "--sentence", "x"], "--sentence is for attention and alignment: add one of them"),
        (["--translation", "x"], "add --sentence TEXT"),
        (["--document", "nowhere.txt"], "nowhere.txt: there is no such file"),
        (["--only", "attention", "--sentence", " "], "nothing to translate"),
        (["--only", "attention", "--sentence", "the dog " * 300], "tokens, and the model takes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, said, plain, capsys):
    assert said.replace("RUN", str(plain)) in plot(capsys, plain, *options, code=2)


def test_a_memory_needs_a_document_with_text(documents, tmp_path, capsys):
    assert "name a text with --document FILE" in plot(capsys, documents, "--only", "gates", code=2)
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf-8")
    said = plot(capsys, documents, "--only", "gates", "--document", tmp_path / "empty.txt", code=2)
    assert "there is no text to translate in this file" in said


def test_folders_that_are_no_runs_are_refused(tmp_path, capsys):
    assert "there is no such run folder" in plot(capsys, tmp_path / "nowhere", code=2)
    (tmp_path / "results.json").write_text('{"other": 1}')
    assert "not the results of a comparison" in plot(capsys, tmp_path, code=2)


def test_a_damaged_result_is_an_error_and_not_left_out(plain, tmp_path, capsys):
    path = plain / "results" / "toy-test.json"
    before = path.read_text()
    path.write_text(before.replace("20.0", "40.0"))
    assert "the file was edited or damaged" in plot(capsys, plain, "-o", tmp_path, code=2)
    path.write_text(before)


def test_a_generator_has_learning_curves_alone(tmp_path, capsys):
    changes = ("model.kind=generator", "encoder_layers=0", "training.monitor=loss", "windows=segments")
    path = with_log(Run.create(tmp_path / "run", toy_preset(tmp_path, *changes)).path)
    written, left_out = plot(capsys, path)
    assert written.startswith(f"{path / 'plots'}: learning, each")
    assert left_out.endswith("; attention, alignment, gates, slots, length, position (a generator does not translate)")
