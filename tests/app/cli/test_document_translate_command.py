"""`translate` with documents, on runs whose weights were drawn and not trained."""

import json
import os
import subprocess

import keras
import numpy as np
import pytest

from app.cli import main as cli
from app.runs.run import AVERAGED, TOKENIZER, Run
from app.runs.weights import read_variables, save_arrays, split_variables
from data.tokenizer import Tokenizer
from tests.app.toy_training import REPOSITORY, WORDS, command, environment, toy_preset

DOCUMENTS = ("documents.windows=segments", "memory.kind=gru", "memory.gru.slots=4", "memory.read_bias=2.0")
TEXT = "the red dog sees\na cat\n\nthe old house\n"
COLUMN = "a\tthe red dog sees\na\ta cat\n\nb\tthe old house\n"


def make_run(folder, *changes, seed=2, name="run", size=300):
    run = Run.create(folder / name, toy_preset(folder, "search.beam=1", "search.max_extra=3", *changes))
    tokenizer = Tokenizer.train([" ".join([*WORDS, *WORDS.values()])], size, seed=0)
    tokenizer.save(run.path / TOKENIZER)
    keras.utils.set_random_seed(seed)
    model, draw = run.new_model(tokenizer.vocabulary_size), np.random.default_rng(seed)
    weights = read_variables(split_variables(model)[0])
    weights = {name: value + draw.normal(0, 0.4, value.shape).astype("float32") for name, value in weights.items()}
    run.write_summary(averaged={"checksum": save_arrays(run.path / AVERAGED, weights)})
    return run.path


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("documents"), *DOCUMENTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def file(tmp_path):
    (tmp_path / "in.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "in.txt"


def translate(capsys, *arguments, code=0):
    capsys.readouterr()
    assert cli.main(["translate", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    if code == 2:
        *_, last = printed.err.splitlines()
        assert last.startswith("error: ") and printed.out == ""
        return last
    return printed.out.splitlines(), printed.err


def test_however_documents_are_marked_they_are_translated_alike(documents, file, capsys, tmp_path):
    found, errors = translate(capsys, documents, file, "--document", "--show-memory", tmp_path / "memory.jsonl")
    assert len(found) == 4 and found[2] == "" and all(found[:2]) and errors == ""
    (tmp_path / "column").write_text(COLUMN, encoding="utf-8")
    (tmp_path / "second").write_text("c\tthe red dog sees\n", encoding="utf-8")
    files = tmp_path / "column", tmp_path / "second"
    scored = [line.split("\t") for line in translate(capsys, documents, *files, "--doc-column", "--scores")[0]]
    assert [text for _, text in scored] == [*found, found[0]] and float(scored[0][0]) < 0
    lines = [line.split("\t") for line in translate(capsys, documents, file, "--scores")[0]]
    assert lines[0][1] == found[0] and lines[3][1] == found[3]
    assert abs(float(lines[1][0]) - float(scored[1][0])) > 1e-3, "the memory is not used"

    looks = [json.loads(line) for line in (tmp_path / "memory.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(look["document"], look["window"], look["line"]) for look in looks] == [(1, 1, 1), (1, 2, 2), (2, 1, 4)]
    assert len(looks[0]["source_slots"]) == 4 and 0 < looks[0]["source_gate"] < 1

    (tmp_path / "out").write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    scores, _ = translate(capsys, documents, file, "--document", "--score-references", tmp_path / "out")
    assert [line.split("\t")[1] == "0" for line in scores] == [False, False, True, False]


def test_each_segment_is_answered_in_a_pipe_and_a_file_is_written(documents, file, capsys, tmp_path):
    assert translate(capsys, documents, file, "--per-file", "--output", tmp_path / "out.txt") == ([], "")
    expected = (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()
    process = subprocess.Popen(
        command("translate", documents, "--per-file"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
        env=environment(),
    )
    for line, translation in zip(TEXT.splitlines(), expected, strict=True):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == translation + "\n"
    rest, errors = process.communicate()
    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_run_that_knows_no_documents_says_so_and_takes_each_segment_alone(plain, file, capsys):
    found, errors = translate(capsys, plain, file, "--document")
    assert errors.startswith("warning: ") and "not trained on documents" in errors
    assert found == translate(capsys, plain, file)[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--document", "--engine", "ctranslate2"], "--engine ctranslate2 does not support documents"),
        (["--doc-column", "--nbest", "2"], "--nbest"),
        (["--per-file", "--sample"], "--sample"),
        (["--doc-column", "--per-file"], "leave one out"),
        (["--show-memory", "x"], "add --document"),
        (["--document", "--show-memory", "x", "--score-references", "x"], "--score-references"),
        (["--document", "--show-memory", "x"], "has no memory"),
        (["in.txt", "--beam", "2"], "2 files: add --per-file"),
        (["missing.txt", "--per-file"], "missing.txt: cannot be read"),
        (["--doc-column"], "in.txt, line 1: has no tab"),
        (["--document", "--score-references", "short.txt"], "the source has 4 lines"),
        (["--document", "--score-references", "full.txt"], "full.txt, line 3: not blank"),
    ],
)
def test_what_makes_no_sense_is_refused(plain, file, capsys, monkeypatch, arguments, expected):
    monkeypatch.chdir(file.parent)
    (file.parent / "short.txt").write_text("x\n", encoding="utf-8")
    (file.parent / "full.txt").write_text("x\n" * 4, encoding="utf-8")
    assert expected in translate(capsys, plain, "in.txt", *arguments, code=2)
    assert not (file.parent / "x").exists()


@pytest.mark.slow
def test_windows_can_be_others_than_in_the_training(documents, plain, file, capsys):
    alone, _ = translate(capsys, documents, file, "--document")
    same, _ = translate(capsys, documents, file, "--document", "--set", "documents.size=1")
    joined, _ = translate(capsys, documents, file, "--document", "--set", "documents.size=2", "max_extra=2")
    assert same == alone
    assert len(joined) == 4 and joined != alone
    backward = ["--document", "--set", "documents.order=backward"]
    turned, _ = translate(capsys, documents, file, *backward)
    # A document of one segment is read the same way.
    assert len(turned) == 4 and turned[2:] == alone[2:]
    assert "documents.order" in translate(capsys, documents, "--interactive", *backward[1:], code=2)
    search_only = translate(capsys, documents, file, "--set", "documents.size=2", code=2)
    assert "only keys of the section [search] and memory.retrieval.* can be changed" in search_only
    memory = translate(capsys, documents, file, "--document", "--set", "memory.gru.slots=2", code=2)
    assert "[search] and documents.windows, documents.size" in memory
    unknowing = translate(capsys, plain, file, "--document", "--set", "documents.size=2", code=2)
    assert "not trained on documents" in unknowing


LAYERS = ("documents.windows=segments", "training.memory_tokens=reference", "model.positions=rotary")
COMPRESSIVE = (*LAYERS, "memory.kind=compressive", "memory.compressive.rate=2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memory", "short", "long"),
    [
        ((*LAYERS, "memory.kind=recurrence"), ["cache=2"], ["cache=9"]),
        (COMPRESSIVE, ["cache=3", "compressed=1"], ["cache=4", "compressed=4"]),
    ],
)
def test_a_memory_may_be_longer_than_in_the_training(tmp_path, capsys, memory, short, long):
    """The same translations and scores as by a model that was made with the longer one."""
    file = tmp_path / "in.txt"
    file.write_text("the red dog sees\na cat\nthe old house\na tree near a big house\nthe cat\n", encoding="utf-8")
    runs = [tmp_path / name for name in ("short", "long", "preset")]
    in_search = [f"memory_{size}" for size in long]
    for folder, sizes in zip(runs, (short, long, [*short, *in_search]), strict=True):
        folder.mkdir()
        make_run(folder, *memory, *sizes)

    def scores(folder, *changes):
        changes = ["--set", *changes] if changes else []
        return translate(capsys, folder / "run", file, "--document", "--score-references", file, *changes)[0]

    in_training, expected = scores(runs[0]), scores(runs[1])
    assert expected[1:] != in_training[1:] and expected[0] == in_training[0]
    assert scores(runs[0], *in_search) == scores(runs[2]) == expected
    assert scores(runs[2], "memory_cache=0", "memory_compressed=0") == in_training
    text, _ = translate(capsys, runs[0] / "run", file, "--document", "--set", *in_search)
    assert text == translate(capsys, runs[1] / "run", file, "--document")[0]
    # What is trained is as long as in the section [memory].
    shapes = [
        [leaf.shape for leaf in keras.tree.flatten(Run.open(folder / "run").new_model(300).initial_memory(1))]
        for folder in runs
    ]
    assert shapes[2] == shapes[0] != shapes[1]


def test_a_memory_inside_layers_cannot_be_shown(tmp_path, file, capsys):
    run = make_run(tmp_path, *LAYERS, "memory.kind=recurrence")
    refused = translate(capsys, run, file, "--document", "--show-memory", tmp_path / "x", code=2)
    assert 'memory.kind = "recurrence" is inside layers' in refused and not (tmp_path / "x").exists()


def test_a_size_that_the_memory_does_not_have_is_refused(documents, file, capsys):
    refused = translate(capsys, documents, file, "--document", "--set", "memory_cache=9", code=2)
    assert 'search.memory_cache: memory.kind = "gru" has no cache' in refused


def test_a_document_run_without_boundaries_says_that_each_line_stands_alone(documents, file, capsys):
    found, errors = translate(capsys, documents, file)
    assert "reads documents" in errors and "add --document" in errors and len(errors.splitlines()) == 1
    singles = "\n\n".join(TEXT.splitlines())
    (file.parent / "singles.txt").write_text(singles, encoding="utf-8")
    alone, errors = translate(capsys, documents, file.parent / "singles.txt", "--document")
    assert errors == "" and [line for line in alone if line] == [line for line in found if line]


def test_a_document_that_comes_back_is_refused(documents, tmp_path, capsys):
    (tmp_path / "in.tsv").write_text("a\tw5\nb\tw6\na\tw7\n", encoding="utf-8")
    assert cli.main(["translate", str(documents), str(tmp_path / "in.tsv"), "--doc-column"]) == 2
    assert 'in.tsv, line 3: the document "a" has already ended' in capsys.readouterr().err


def test_a_link_stays_a_link_and_a_device_is_written_in_place(documents, file, capsys):
    target, link = file.parent / "target.txt", file.parent / "link.txt"
    target.write_text("before")
    link.symlink_to("target.txt")
    found, _ = translate(capsys, documents, file, "--document")
    assert translate(capsys, documents, file, "--document", "--output", link)[0] == []
    assert link.is_symlink() and target.read_text(encoding="utf-8").splitlines() == found
    for option in ("--output", "--show-memory"):
        assert cli.main(["translate", str(documents), str(file), "--document", option, "/dev/full"]) == 2
        assert "error: /dev/full: the disk is full" in capsys.readouterr().err
        assert os.path.exists("/dev/full") and not os.path.isfile("/dev/full")


def test_evaluate_scores_the_translations_of_documents(documents, file, capsys, tmp_path):
    corpus = tmp_path / "little"
    corpus.mkdir()
    lines = {"en": TEXT.split("\n"), "de": TEXT.split("\n"), "doc": ["a", "a", "", "b", ""]}
    for column, text in lines.items():
        kept = [line for line, source in zip(text, lines["en"], strict=True) if source]
        (corpus / f"{column}.test.txt").write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    evaluate = ["evaluate", str(documents), "--corpora", str(tmp_path), "--corpus", "little"]
    assert cli.main(evaluate) == 0
    kept = (documents / "results" / "little-test.de").read_text(encoding="utf-8").splitlines()
    in_documents, _ = translate(capsys, documents, file, "--document")
    alone, _ = translate(capsys, documents, file)
    assert kept == [line for line in in_documents if line]
    assert kept != [line for line in alone if line]
    # Where no document is named, a line says what that means.
    (corpus / "doc.test.txt").unlink()
    capsys.readouterr()
    assert cli.main(evaluate) == 0
    assert "does not say where documents begin" in capsys.readouterr().err
    kept = (documents / "results" / "little-test.de").read_text(encoding="utf-8").splitlines()
    assert kept == [line for line in alone if line]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [(), DOCUMENTS], ids=["sentences", "documents"])
def test_an_ensemble_is_the_mean_of_its_runs_and_is_told_apart(tmp_path, capsys, file, kind):
    first, second = (make_run(tmp_path, *kind, seed=seed, name=f"run-{seed}") for seed in (2, 3))
    own = ("--document",) if kind else ()

    def translated(*changes):
        return translate(capsys, first, file, *own, *(("--set", *changes) if changes else ()))[0]

    alone = translated()
    assert translated(f"ensemble={first}") == alone
    assert translated(f"ensemble={second}") != alone
    assert translated(f"ensemble={first},{second},{second}") != alone

    (tmp_path / "reference.txt").write_text(TEXT, encoding="utf-8")
    given = ["evaluate", str(first), "--source", str(file), "--reference", str(tmp_path / "reference.txt")]
    if kind:
        return

    def evaluated(*changes):
        assert cli.main([*given, *changes]) == 0
        (record,) = [json.loads(path.read_text()) for path in (first / "results").glob("*.json")]
        (output,) = (first / "results").glob("*.de")
        return record["ensemble"], output.read_text(encoding="utf-8").splitlines()

    plain = evaluated()
    (member,), joined = evaluated("--set", f"ensemble={second}")
    assert member["run"] == second.name and len(member["checksum"]) > 10 and joined != plain[1]
    assert evaluated() == plain == ([], plain[1])  # what the ensemble wrote is not taken for the run's own


def test_runs_that_make_no_ensemble_are_refused_by_name(documents, plain, tmp_path, capsys, file):
    other = make_run(tmp_path, size=290)
    assert "was trained on sentences" in translate(capsys, plain, file, "--set", f"ensemble={documents}", code=2)
    refused = translate(capsys, plain, file, "--set", f"ensemble={other}", code=2)
    assert f"search.ensemble: {other} has another tokenizer than {plain}" in refused
    assert "no such run" in translate(capsys, plain, file, "--set", "ensemble=nowhere", code=2)
    longer = make_run(tmp_path, *DOCUMENTS, "documents.size=2", name="longer")
    refused = translate(capsys, documents, file, "--document", "--set", f"ensemble={longer}", code=2)
    assert f"{documents} and {longer} cut documents into different windows, size = 1 and 2" in refused
    refused = translate(capsys, plain, file, "--set", f"ensemble={plain}", "--engine", "ctranslate2", code=2)
    assert "search.ensemble: CTranslate2 computes one model" in refused
