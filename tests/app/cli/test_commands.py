"""The commands that need a run, on one that is trained for a few updates by the first test that asks for it."""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.cli import main as cli
from app.runs.run import Run
from app.scoring.system import System
from app.translation import translator as translation
from app.translation.translator import Hypothesis

REPOSITORY = Path(__file__).resolve().parents[3]
NOUNS = {"house": "Haus", "book": "Buch", "child": "Kind", "car": "Auto", "picture": "Bild", "horse": "Pferd"}
WORDS = {"small": "kleine", "old": "alte", "new": "neue", "red": "rote", "good": "gute", "long": "lange"}
PRESET = """
[data]
corpora = ["toys"]
validation = ["toys"]
test = ["toys"]
language_filter = false
[tokenizer]
vocabulary = 340
[model]
encoder_layers = 1
decoder_layers = 1
width = 16
hidden = 16
heads = 2
[training]
batch_tokens = 256
updates = 4
warmup = 2
validate_every = 4
checkpoint_every = 2
average = 2
keep = 2
precision = "float32"
[search]
beam = 2
max_ratio = 1.0
max_extra = 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus, a preset, and a run trained by the command line."""
    place = tmp_path_factory.mktemp("cli run")
    draw = random.Random(1)
    for split, lines in {"train": 300, "validation": 8, "test": 8}.items():
        pairs = [
            (f"The {a} {n} is {b}, {i}.", f"Das {WORDS[a]} {NOUNS[n]} ist {WORDS[b]}, {i}.")
            for i in range(lines)
            for a, b, n in [(draw.choice(list(WORDS)), draw.choice(list(WORDS)), draw.choice(list(NOUNS)))]
        ]
        (place / "toys").mkdir(exist_ok=True)
        for language, column in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
            (place / "toys" / f"{language}.{split}.txt").write_text("\n".join(column) + "\n", encoding="utf-8")
    (place / "tiny.toml").write_text(PRESET, encoding="utf-8")
    assert train(place) == 0
    return place


def train(place, *more):
    return cli.main(
        ["train", str(place / "tiny.toml"), "--run", str(place / "run"), "--corpora", str(place), *map(str, more)]
    )


def command(capsys, *arguments, code=0):
    """Runs the command line in this process, which has loaded TensorFlow already; returns what it printed."""
    capsys.readouterr()
    assert cli.main(list(map(str, arguments))) == code
    printed = capsys.readouterr()
    if code == 2:
        assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
        return printed.err
    return printed.out


@pytest.fixture
def decodings(monkeypatch):
    """Counts how often a test set is translated."""
    calls = []
    translate = System._translate

    def counted(*args):
        calls.append(args)
        return translate(*args)

    monkeypatch.setattr(System, "_translate", counted)
    return calls


def test_training_leaves_a_whole_run(place):
    for name in ("preset.toml", "run.json", "tokenizer.model", "averaged.npz", "log.jsonl"):
        assert (place / "run" / name).is_file(), name


def test_training_reports_validation_and_leaves_the_test_split_alone(place, capsys, decodings):
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*.npz")}
    results = (place / "run" / "results").exists()
    capsys.readouterr()
    assert train(place) == 0
    printed = capsys.readouterr()
    assert "finished" in printed.err
    assert "Best validation: BLEU " in printed.out and ", after update 4." in printed.out
    assert f"evaluate '{place / 'run'}'" in printed.out and "chrF2++" not in printed.out
    assert before == {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*.npz")}
    assert decodings == [] and (place / "run" / "results").exists() == results


def test_another_training_in_the_same_folder_is_refused(place, capsys):
    capsys.readouterr()
    assert train(place, "--set", "dropout=0.5") == 2
    assert "model.dropout: 0.1 -> 0.5" in capsys.readouterr().err


def test_a_copy_of_a_preset_trains_into_a_folder_of_its_own(place, tmp_path, monkeypatch, capsys):
    """`weitblick presets starter > mine.toml` leaves the name of the original in the copy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('name = "starter"\n' + PRESET, encoding="utf-8")
    command(capsys, "train", "mine.toml", "--corpora", place)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_a_missing_test_set_is_found_before_the_training(place, capsys, tmp_path):
    arguments = ["train", place / "tiny.toml", "--run", tmp_path / "run", "--corpora", place, "--set", "test=none"]
    assert "no corpus 'none'" in command(capsys, *arguments, code=2)
    assert not (tmp_path / "run").exists()


def test_evaluate_translates_only_what_it_must(place, capsys, decodings):
    evaluate = ["evaluate", place / "run", "--corpora", place]
    first = command(capsys, *evaluate)
    assert "BLEU" in first and "nrefs:1" in first
    assert len((place / "run" / "results" / "toys-test.de").read_text(encoding="utf-8").splitlines()) == 8
    scores = json.loads((place / "run" / "results.json").read_text(encoding="utf-8"))["toys-test"]["scores"]
    assert [score["name"] for score in scores] == ["BLEU", "chrF2++", "TER"]
    made = len(decodings)
    (place / "run" / "averaged.npz").touch()
    assert command(capsys, *evaluate) == first
    assert len(decodings) == made
    command(capsys, *evaluate, "--beam", 1)
    assert len(decodings) == made + 1
    command(capsys, *evaluate, "--beam", 1, "--again")
    assert len(decodings) == made + 2


def test_another_precision_is_translated_again(place, capsys, decodings):
    evaluate = ["evaluate", place / "run", "--corpora", place]

    def translated(*more):
        before = len(decodings)
        command(capsys, *evaluate, *more)
        return len(decodings) - before

    translated()
    assert translated("--precision", "bfloat16") == 1
    record = json.loads((place / "run" / "results" / "toys-test.json").read_text(encoding="utf-8"))
    assert record["decided"]["precision"] == "bfloat16"
    assert translated("--precision", "bfloat16") == 0
    assert translated("--precision", "float32") == 1
    assert translated() == 0
    assert "--quantization" in command(capsys, *evaluate, "--precision", "float32", "--engine", "ctranslate2", code=2)


def test_given_translations_are_scored_in_float32(place, capsys, text, tmp_path):
    (tmp_path / "de.txt").write_text("Das Haus ist alt.\n\nDas rote Auto ist neu.\n", encoding="utf-8")
    other = tmp_path / "other"
    shutil.copytree(place / "run", other)
    Run.open(other).update_preset(Run.open(other).with_precision("bfloat16").preset)
    score = ["--score-references", tmp_path / "de.txt"]
    printed = command(capsys, "translate", other, text, *score)
    assert printed == command(capsys, "translate", place / "run", text, *score)
    system = System(Run.open(other))
    assert (system.decided["precision"], system.scorer.decoder.model.dtype_policy.name) == ("bfloat16", "float32")
    refused = command(capsys, "translate", other, text, *score, "--precision", "bfloat16", code=2)
    assert "computes in float32" in refused


def test_a_baseline_that_was_not_evaluated_is_evaluated_then(place, capsys, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(place / "run", other, ignore=shutil.ignore_patterns("results*"))
    printed = command(capsys, "evaluate", place / "run", "--corpora", place, "--baseline", other)
    assert "Compared with" in printed and "1.000" in printed
    assert (other / "results" / "toys-test.json").is_file()


def test_scores_that_cannot_be_kept_are_printed(place, capsys, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(place / "run", other, ignore=shutil.ignore_patterns("results*"))
    (other / "results").write_text("a file, where no folder can be made, not even by root")
    capsys.readouterr()
    assert cli.main(["evaluate", str(other), "--corpora", str(place)]) == 0
    printed = capsys.readouterr()
    assert "chrF2++" in printed.out and printed.err.count("warning: ") == 1 and "cannot be kept here" in printed.err


def test_a_preset_without_a_test_set_has_nothing_to_score(place, capsys, tmp_path):
    other = tmp_path / "other"
    assert (
        cli.main(["train", str(place / "tiny.toml"), "--run", str(other), "--corpora", str(place), "--set", "test=[]"])
        == 0
    )
    assert command(capsys, "evaluate", other) == ""


def test_evaluate_on_files_and_against_a_baseline(place, capsys):
    toys = place / "toys"
    printed = command(
        capsys,
        "evaluate",
        place / "run",
        "--source",
        toys / "en.test.txt",
        "--reference",
        toys / "de.test.txt",
        "--baseline",
        toys / "de.test.txt",
    )
    assert "difference" in printed and re.search(r"-(100|9\d)\.\d", printed)


def test_evaluate_scores_a_file_without_a_model(place, capsys, tmp_path):
    reference = (place / "toys" / "de.test.txt").read_text(encoding="utf-8")
    (tmp_path / "out.de").write_text(reference, encoding="utf-8")
    evaluate = ["evaluate", "--hypotheses", tmp_path / "out.de"]
    assert "100.0" in command(capsys, *evaluate, "--corpus", "toys", "--corpora", place)
    assert "100.0" in command(capsys, *evaluate, "--reference", place / "toys" / "de.test.txt", "--lines", 3)
    (tmp_path / "out.de").write_text("Eins.\n" + reference, encoding="utf-8")
    assert "9 lines" in command(capsys, *evaluate, "--corpus", "toys", "--corpora", place, code=2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "RUN"),
        (["RUN", "--hypotheses", "x"], "either"),
        (["RUN", "--reference", "x"], "--source"),
        (["RUN", "--source", "x"], "--reference"),
        (["--hypotheses", "x"], "--corpus"),
        (["--hypotheses", "x", "--reference", "y", "--beam", "3"], "--beam"),
        (["--hypotheses", "x", "--reference", "y", "--pair", "german"], "en-de"),
        (["RUN", "--lines", "-1"], "--lines"),
        (["RUN", "--set", "training.updates=3"], "[search]"),
        (["RUN", "--set", "beam=0"], "search.beam"),
        (["RUN", "--corpus", "none"], "no corpus 'none'"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(place, capsys, arguments, expected):
    arguments = [place / "run" if argument == "RUN" else argument for argument in arguments]
    assert expected in command(capsys, "evaluate", *arguments, code=2)


def test_average_again(place, capsys):
    assert "updates 4 into" in command(capsys, "average", place / "run", "--last", 1)
    assert "only 2 checkpoints" in command(capsys, "average", place / "run", "--last", 9)


def test_translate_answers_each_line_as_it_comes(place):
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "translate", str(place / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
    )
    for line in ("The house is old.\n", "\n", "Größe 😀\n"):
        process.stdin.write(line)
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer.endswith("\n")
        assert (answer == "\n") == (line == "\n")
    rest, errors = process.communicate()
    assert (process.returncode, rest, errors) == (0, "", "")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("The house is old.\n\nThe red car is new.\n", encoding="utf-8")
    return path


def test_translate_writes_a_file(place, capsys, text, tmp_path):
    assert command(capsys, "translate", place / "run", text, "--output", tmp_path / "out.txt") == ""
    written = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert written.count("\n") == 3 and written.splitlines()[1] == ""
    scored = command(capsys, "translate", place / "run", text, "--scores")
    assert [line.split("\t")[1] for line in scored.splitlines()] == written.splitlines()


def test_translate_gives_several_and_draws_by_seed(place, capsys, text):
    rows = [line.split("\t") for line in command(capsys, "translate", place / "run", text, "--nbest", 2).splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "3", "3"]
    assert float(rows[0][1]) >= float(rows[1][1])
    draw = ["translate", place / "run", text, "--sample", "--top-k", 50, "--seed"]
    assert command(capsys, *draw, 1) != command(capsys, *draw, 2)


def test_translate_scores_references(place, capsys, text, tmp_path):
    (tmp_path / "de.txt").write_text("Das Haus ist alt.\n\nDas rote Auto ist neu.\n", encoding="utf-8")
    printed = command(capsys, "translate", place / "run", text, "--score-references", tmp_path / "de.txt")
    rows = [(float(score), int(tokens)) for score, tokens in (line.split("\t") for line in printed.splitlines())]
    assert len(rows) == 3 and rows[1][1] == 1
    # An almost untrained model finds every one of the 300 pieces about as likely as the next.
    assert all(0.5 < -score / tokens / math.log(300) < 1.5 for score, tokens in rows)
    (tmp_path / "de.txt").write_text("Eins.\n", encoding="utf-8")
    arguments = ["translate", place / "run", text, "--score-references", tmp_path / "de.txt"]
    assert "3 lines" in command(capsys, *arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--temperature", "0.5"], "--sample"),
        (["--sample", "--temperature", "0"], "temperature"),
        (["--nbest", "0"], "--nbest"),
        (["--nbest", "5"], "--beam 5"),
        (["--score-references", "x", "--scores"], "--score-references"),
        (["--set", "bem=3"], 'did you mean "beam"'),
    ],
)
def test_translate_refuses_what_makes_no_sense(place, capsys, text, arguments, expected):
    assert expected in command(capsys, "translate", place / "run", text, *arguments, code=2)


def test_a_translation_never_replaces_its_source(place, capsys, text, tmp_path):
    before, link = text.read_text(), tmp_path / "link.txt"
    link.symlink_to(text)
    for output in (text, link):
        refused = command(capsys, "translate", place / "run", text, "--output", output, code=2)
        assert f"--output {output}: is the input itself" in refused
    assert text.read_text() == before


class Echo:
    """A translator that gives back what it is given; for what does not depend on a model."""

    @classmethod
    def of_run(cls, *args, **kwargs):
        return cls()

    def nbest(self, lines, count):
        return ([Hypothesis(line, 0.0)] for line in lines)


def test_a_bad_line_leaves_no_output(place, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(translation, "Translator", Echo)
    (tmp_path / "bad.txt").write_bytes(b"Good.\nB\xe4d.\n")
    message = command(capsys, "translate", place / "run", tmp_path / "bad.txt", "--output", tmp_path / "out", code=2)
    assert "bad.txt, line 2" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_said(place, capsys, text, monkeypatch):
    monkeypatch.setattr(translation, "Translator", Echo)
    assert "disk is full" in command(capsys, "translate", place / "run", text, "--output", "/dev/full", code=2)


def test_a_closed_standard_input_is_said(place):
    command = [f"{sys.executable} -m app translate '{place / 'run'}' <&-"]
    done = subprocess.run(["sh", "-c", *command], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: standard input is closed: name a FILE, or pipe text in\n"


def test_weights_with_a_false_size_are_one_line(place, capsys, text, tmp_path):
    """An array that claims a trillion rows must not be made room for."""
    run = shutil.copytree(place / "run", tmp_path / "run")
    with zipfile.ZipFile(run / "averaged.npz", "w") as file, file.open("embedding/table.npy", "w") as array:
        header = {"shape": (10**12, 16), "fortran_order": False, "descr": "<f4"}
        np.lib.format.write_array_header_1_0(array, header)
    assert "averaged.npz" in command(capsys, "translate", run, text, code=2)


def test_sigterm_leaves_nothing_half_written(place, tmp_path):
    command = [sys.executable, "-m", "app", "translate", str(place / "run"), "--output", str(tmp_path / "out.txt")]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, **streams, text=True, cwd=REPOSITORY)
    limit = time.monotonic() + 120
    while not list(tmp_path.glob(".out.txt.*")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    process.terminate()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (143, ""), errors
    assert errors.startswith("\ninterrupted; an output file") and errors.count("\n") == 2
    assert list(tmp_path.iterdir()) == []
