"""`probe --run`, on runs whose weights were drawn and not trained."""

import json

import numpy as np
import pytest

from app.cli.main import main
from app.probe.context import pieces
from app.probe.lane import one_document, one_lane
from app.probe.length import compare, long_document
from app.probe.sizes import Meter
from app.probe.stores import CompetingSlots, Everything, Mean
from app.runs.run import Run
from app.runs.weights import read_variables, split_variables
from app.training.preparation import prepare
from data.pairs import Pair
from data.shards import encode_pairs
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
        run.checkpoints.save(1, read_variables(split_variables(model)[0]), {}, {"best": None})
    return folder


def probe(folder, run, measure, *options):
    return main(["probe", "--run", str(folder / run), "--measure", measure, "--corpus", str(folder / "toy"), *options])


def test_context(folder, capsys):
    assert probe(folder, "documents", "context", "--segments", "1", "0") == 0
    printed = capsys.readouterr().out
    assert "8 segments in 2 documents, the longest has 4" in printed
    assert "1 segments  BLEU" in printed and "no limit  BLEU" in printed


@pytest.mark.parametrize("windows", ["segments", "tokens", "dynamic"])
def test_concat_sees_as_many_segments_as_it_may(folder, tmp_path, windows):
    from app.probe.context import translations

    preset = toy_preset(
        folder, "vocabulary=340", f"windows={windows}", "documents.size=2", "memory.kind=concat", corpus=folder / "toy"
    )
    run = Run.create(tmp_path / "run", preset)
    prepare(run, report=lambda _: None)
    model = run.new_model(run.tokenizer().vocabulary_size)
    run.checkpoints.save(1, read_variables(split_variables(model)[0]), {}, {"best": None})
    limits = []

    def translate(translator, documents):
        limits.append(translator.windows)
        return documents

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("app.translation.translator.Translator.translate_documents", translate)
        assert [limit for limit, _ in translations(run, [["a", "b"]], [1, 2, 0])] == [1, 2]
    assert [(one.windows, one.size) for one in limits] == [("segments", 1), ("segments", 2)]


def test_length(folder, tmp_path, capsys):
    assert probe(folder, "documents", "length", "--tokens", "200", "50", "--output", str(tmp_path)) == 0
    (run,) = json.loads((tmp_path / "length.json").read_text())["runs"].values()
    found = run["translation"]
    assert len(found["rows"]) >= 10 and run["memory"] == "gru slots=2"
    assert [row["tokens"] for row in found["lengths"]] == [50, 200]
    assert (tmp_path / "length.svg").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "the last quarter ran at" in printed and "gru slots=2" in printed


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_training_beside_translation(folder, tmp_path, capsys):
    before = contents(folder / "documents")
    assert probe(folder, "documents", "training", "--tokens", "60", "240", "--output", str(tmp_path)) == 0
    assert probe(folder, "documents", "length", "--tokens", "60", "--output", str(tmp_path)) == 0
    (run,) = json.loads((tmp_path / "length.json").read_text())["runs"].values()
    for what, lengths in (("training", [60, 240]), ("translation", [60])):
        assert [row["tokens"] for row in run[what]["lengths"]] == lengths
        assert all(row["position"] >= row["tokens"] and row["seconds_per_1000"] > 0 for row in run[what]["lengths"])
        assert run[what]["state_bytes"] == 2 * 2 * 16 * 4  # sides, slots, width, float32
    printed = capsys.readouterr().out
    assert "240 tokens" in printed and "training" in printed and "translation" in printed
    assert len(before) > 3 and contents(folder / "documents") == before


def test_stores(folder, capsys):
    assert probe(folder, "sentences", "stores", "--lines", "8") == 0
    printed = capsys.readouterr().out
    assert "thousandths of a nat" in printed and "64 competing slots" in printed


def test_forgotten(folder, capsys):
    assert probe(folder, "documents", "forgotten") == 0
    printed = capsys.readouterr().out
    assert "of 32 bits of a number are forgotten" in printed and "6 windows" in printed


@pytest.mark.parametrize(
    ("run", "measure", "options", "expected"),
    [
        ("documents", "stores", [], "needs a sentence-level run"),
        ("sentences", "forgotten", [], "needs a run trained on documents"),
        ("documents", "forgotten", ["--lines", "1"], "no document has a second window"),
        ("sentences", "context", [], "needs a run trained on documents"),
        ("documents", "context", ["--facts", "3"], "--facts: is for the recall probe"),
        ("documents", "context", ["--memory", "gru"], "--memory: is for the recall probe"),
        ("documents", "context", ["--again"], "--again: is for the recall probe"),
        ("documents", "context", ["--segments", "-1"], "--segments -1: must be at least 0"),
        ("documents", "length", ["--tokens", "9", "0"], "--tokens 0: must be at least 1"),
        ("sentences", "training", [], "needs a run trained on documents"),
        ("documents", "training", ["--corpus", "a", "b"], "--measure training takes one corpus"),
    ],
)
def test_errors(folder, capsys, run, measure, options, expected):
    assert probe(folder, run, measure, *options) == 2
    assert expected in capsys.readouterr().err


def test_a_measure_and_a_corpus_are_needed(folder, capsys):
    assert main(["probe", "--run", str(folder / "documents")]) == 2
    assert "add --measure context|stores|forgotten|length|training and --corpus NAME" in capsys.readouterr().err


def test_a_measure_needs_a_run(capsys):
    assert main(["probe", "--measure", "context", "--corpus", "talks"]) == 2
    assert "error: --measure: is for a finished run; add --run RUN" in capsys.readouterr().err


def test_documents_are_cut_and_repeated():
    assert pieces([[1, 2, 3], [4]], 2) == [[1, 2], [3], [4]]
    assert pieces([[1, 2, 3]], 0) == [[1, 2, 3]]

    class Words:
        @property
        def source(self):
            return self

        def encode(self, lines):
            return [line.split() for line in lines]

    document = list(long_document(["a b", "c"], Words(), 12))
    assert sum(size for _, size in document) >= 12 and {text for text, _ in document} == {"a b", "c"}
    rows = [{"output": float(n), "megabytes": 100.0 + n} for n in range(8)]
    assert compare(rows) == {"speed_late_to_early": 6.5 / 2.5, "megabytes_grown": 4.0}
    # A model that writes nothing is compared by what it reads.
    silent = [{**row, "output": 0.0, "source": 2 * row["output"]} for row in rows]
    assert compare(silent)["speed_late_to_early"] == 6.5 / 2.5


@pytest.mark.parametrize("changes", [["memory.kind=gru"], ["memory.kind=concat", "size=3"], ["windows=tokens"]])
def test_one_lane_counts_each_token_once(folder, tmp_path, changes):
    run = Run.open(folder / "documents")
    preset = one_lane(run.preset.with_overrides(["memory.kind=none", "documents.windows=segments", *changes]))
    pairs = [Pair(f"{'red ' * (number % 5)}dog", "hund", "one") for number in range(30)]
    shards = encode_pairs(pairs, run.tokenizer(), tmp_path, "one")
    batches = list(one_document(preset, shards))
    positions = [position for _, position in batches]
    assert positions == sorted(set(positions)) and len(batches) > 1
    assert positions[-1] == int(shards.source_lengths.sum()) + 30  # with end tokens
    assert all(labels.shape[0] == 1 for (_, labels), _ in batches)
    assert [int(inputs["resets"].sum()) for (inputs, _), _ in batches] == [1] + [0] * (len(batches) - 1)


def test_the_peak_is_of_what_came_in_between():
    before = np.ones(100 * 2**17)  # 100 MB, which are given back before the meter begins
    del before
    meter = Meter([10, 1000, 20])
    meter(15)
    held = np.ones(60 * 2**17)
    del held
    meter(25)
    meter(900)
    assert [(row["tokens"], row["position"]) for row in meter.rows] == [(10, 15), (20, 25)] and not meter.finished
    first, second = (row["peak_megabytes"] for row in meter.rows)
    assert 50 < second - first < 90  # a peak that is over still counts
    assert meter.rows[1]["megabytes_per_1000"] * 25 / 1000 == pytest.approx(second - first, abs=15)
    meter(5000)
    assert meter.finished and meter.rows[-1]["tokens"] == 1000


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
