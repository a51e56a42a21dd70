"""`probe --run`, on runs whose weights were drawn and not trained."""

import json

import numpy as np
import pytest

from app.cli.main import main
from app.probe.context import pieces
from app.probe.length import compare, long_document
from app.probe.stores import CompetingSlots, Everything, Mean
from app.runs.run import Run
from app.training.preparation import prepare
from tests.app.toy_training import toy_preset, write_corpus

DOCUMENTS = ["windows=segments", "memory.kind=gru", "slots=2", "lanes=3", "training.batch_tokens=96"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of documents, toy, and two runs that were not trained: documents and sentences."""
    folder = tmp_path_factory.mktemp("probe-run")
    corpus = write_corpus(folder / "toy", train=60, validation=8, document=4)
    for language in ("en", "de", "doc"):
        (corpus / f"{language}.test.txt").write_text((corpus / f"{language}.validation.txt").read_text())
    for name, changes in {"documents": DOCUMENTS, "sentences": []}.items():
        run = Run.create(folder / name, toy_preset(folder, "vocabulary=340", "max_extra=2", *changes, corpus=corpus))
        prepare(run, report=lambda _: None)
        model = run.new_model(run.tokenizer().vocabulary_size)
        from app.runs.weights import read_variables, split_variables

        run.checkpoints.save(1, read_variables(split_variables(model)[0]), {}, {"best": None})
    return folder


def probe(folder, run, measure, *options):
    return main(["probe", "--run", str(folder / run), "--measure", measure, "--corpus", str(folder / "toy"), *options])


def test_context(folder, capsys):
    assert probe(folder, "documents", "context", "--segments", "1", "0") == 0
    printed = capsys.readouterr().out
    assert "8 segments in 2 documents, the longest has 4" in printed
    assert "1 segments  BLEU" in printed and "no limit  BLEU" in printed


def test_length(folder, tmp_path, capsys):
    assert probe(folder, "documents", "length", "--tokens", "200", "--output", str(tmp_path)) == 0
    found = json.loads((tmp_path / "length.json").read_text())
    assert len(found["rows"]) >= 10 and found["memory"] == "gru"
    assert (tmp_path / "length.svg").stat().st_size > 1000
    assert "the last quarter ran at" in capsys.readouterr().out


def test_stores(folder, capsys):
    assert probe(folder, "sentences", "stores", "--lines", "8") == 0
    printed = capsys.readouterr().out
    assert "thousandths of a nat" in printed and "64 competing slots" in printed


@pytest.mark.parametrize(
    ("run", "measure", "options", "expected"),
    [
        ("documents", "stores", [], "needs a sentence-level run"),
        ("sentences", "context", [], "needs a run trained on documents"),
        ("documents", "context", ["--facts", "3"], "--facts: belongs to the recall probe"),
        ("documents", "context", ["--segments", "-1"], "--segments -1: must be at least 0"),
        ("documents", "length", ["--tokens", "0"], "--tokens 0: must be at least 1"),
    ],
)
def test_errors(folder, capsys, run, measure, options, expected):
    assert probe(folder, run, measure, *options) == 2
    assert expected in capsys.readouterr().err


def test_a_measure_and_a_corpus_are_needed(folder, capsys):
    assert main(["probe", "--run", str(folder / "documents")]) == 2
    assert "add --measure context|stores|length and --corpus NAME" in capsys.readouterr().err


def test_documents_are_cut_and_repeated():
    assert pieces([[1, 2, 3], [4]], 2) == [[1, 2], [3], [4]]
    assert pieces([[1, 2, 3]], 0) == [[1, 2, 3]]

    class Words:
        def encode(self, lines):
            return [line.split() for line in lines]

    document = list(long_document(["a b", "c"], Words(), 12))
    assert sum(size for _, size in document) >= 12 and {text for text, _ in document} == {"a b", "c"}
    rows = [{"output": float(n), "megabytes": 100.0 + n} for n in range(8)]
    assert compare(rows) == {"speed_late_to_early": 6.5 / 2.5, "megabytes_grown": 4.0}


def test_stores_give_back_what_was_written():
    states, vectors = 4 * np.eye(3, 8, dtype="float32"), np.eye(3, 8, 4, dtype="float32")
    everything = Everything(8)
    everything.write(states, vectors)
    assert np.argmax(everything.read(8 * states), axis=1).tolist() == [4, 5, 6]
    mean = Mean(8, 0.5)
    mean.write(states, vectors)
    np.testing.assert_allclose(mean.read(states), 0.5 * 0.2 * states.mean(0))
    slots = CompetingSlots(8, 64)
    slots.write(states, vectors)
    assert {tuple(value) for value in slots.values if value.any()} <= {tuple(vector) for vector in vectors}
