"""Trainings of a toy language, from the command line to the files that they leave."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from app.presets.preset import load_preset
from app.runs.run import Run
from app.training.train import train
from app.training.validation import Validation, spread
from tests.app.toy_training import WORDS, toy_preset, train_here, weitblick, write_corpus, write_preset

UPDATES = 250
TAGS = {"loss", "nll", "learning_rate", "tokens_per_second"}
VALIDATION_TAGS = {"validation_nll", "validation_perplexity", "validation_bleu"}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A training by the command line: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("learnt")
    changes = ["width=32", "dropout=0", f"updates={UPDATES}", "validate_every=100", "beam=2"]
    done = weitblick(
        "train", write_preset(folder), "--run", folder / "run", "--set", *changes, WEITBLICK_CACHE=str(folder / "cache")
    )
    return folder, done


def log_of(folder):
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def test_a_language_is_learnt(learnt):
    folder, _ = learnt
    entries = log_of(folder)
    losses = [entry["nll"] for entry in entries if "nll" in entry]
    bleu = [entry["validation"]["bleu"] for entry in entries if "validation" in entry]
    assert len(bleu) == 3
    assert losses[0] > 5
    assert losses[-1] < 0.5
    assert bleu[-1] > max(60, bleu[0])


def test_the_averaged_model_translates(learnt):
    from app.translation.translator import Translator

    folder, _ = learnt
    run = Run.open(folder / "run")
    lines = ["the old dog sees a cat", "", "a tall tree"]
    found = list(Translator.of_run(run, "auto", run.preset.search).translate(lines))
    expected = [" ".join(WORDS[word] for word in line.split()) for line in lines]
    assert found[1] == ""
    assert sum(one == other for one, other in zip(found, expected, strict=True)) >= 2


def test_the_log_tells_each_tenth_update(learnt):
    entries = [entry for entry in log_of(learnt[0]) if "loss" in entry]
    assert [entry["update"] for entry in entries] == list(range(10, UPDATES + 1, 10))
    for entry in entries:
        assert set(entry) == {"update", "seconds", "loss", "nll", "learning_rate", "tokens_per_second"}
        assert entry["learning_rate"] == pytest.approx(0.01 * min(entry["update"] / 20, (20 / entry["update"]) ** 0.5))
        assert entry["tokens_per_second"] > 0
        # Smoothed labels cost a good model more than its likelihood does.
        assert entry["update"] < 100 or entry["loss"] > entry["nll"]


def test_progress_and_sample_translations_are_shown(learnt):
    folder, done = learnt
    assert re.search(
        rf"update {UPDATES}/{UPDATES}  loss \d\.\d{{3}}  lr \d\.\d\de-03  [\d,]+ tok/s  0:00 left", done.stderr
    )
    reports = re.findall(
        r"update (\d+): validation nll \d\.\d{3}, perplexity [\d.]+, BLEU [\d.]+( \(best so far\))?, \d+ s\n"
        r"  source    (.+)\n  reference (.+)\n  output    (.*)\n",
        done.stderr,
    )
    assert [report[0] for report in reports] == ["100", "200", str(UPDATES)]
    assert reports[0][1]
    assert reports[-1][3] == " ".join(WORDS[word] for word in reports[-1][2].split())
    assert "pairs kept" in done.stderr
    assert f"Training ended at update {UPDATES}: all {UPDATES} updates are done." in done.stderr
    assert "What to do next" in done.stdout


def test_curves_stand_in_tensorboard(learnt):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(learnt[0] / "run" / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    assert set(events.Tags()["tensors"]) == TAGS | VALIDATION_TAGS
    assert [event.step for event in events.Tensors("loss")] == list(range(10, UPDATES + 1, 10))
    assert [event.step for event in events.Tensors("validation_bleu")] == [100, 200, UPDATES]


def test_the_run_holds_what_it_needs_and_no_more(learnt):
    folder = learnt[0] / "run"
    names = {"averaged.npz", "checkpoints", "log.jsonl", "preset.toml", "report.json", "run.json", "tensorboard"}
    names.add("tokenizer.model")
    assert {path.name for path in folder.iterdir()} == names
    run = Run.open(folder)
    assert run.preset == load_preset(folder / "preset.toml")
    best = run.checkpoints.latest()[1]["best"]["update"]
    assert [found.update for found in run.checkpoints.all()] == sorted({best, UPDATES - 20, UPDATES - 10, UPDATES})
    for which in ("averaged", "best", "last"):
        assert run.load_model(which).count_params() > 0


def test_a_finished_training_is_left_alone(learnt, monkeypatch):
    folder, _ = learnt
    before = {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*") if path.is_file()}
    monkeypatch.setattr("app.training.train.prepare", None)
    console = Console(file=io.StringIO(), soft_wrap=True)
    train(Run.open(folder / "run").preset, folder / "run", console=console)
    assert "this training is finished: all 250 updates are done" in console.file.getvalue()
    assert {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*") if path.is_file()} == before


def test_another_average_of_a_finished_training_needs_no_training(learnt, monkeypatch):
    folder, _ = learnt
    monkeypatch.setattr("app.training.train.prepare", None)
    preset = Run.open(folder / "run").preset
    console = Console(file=io.StringIO(), soft_wrap=True)
    run = train(preset.with_overrides(["training.average=1"]), folder / "run", console=console)
    assert run.summary()["averaged"]["updates"] == [UPDATES]
    np.testing.assert_array_equal(
        run.weights("averaged")[1]["encoder/norm/gamma"], run.weights("last")[1]["encoder/norm/gamma"]
    )
    train(preset, folder / "run", console=console)
    assert run.summary()["averaged"]["updates"] == [UPDATES - 10, UPDATES]


def test_the_best_validation_is_that_of_the_preset(tmp_path):
    found = {"bleu": 12.0, "nll": 3.0}
    for monitor, score in (("bleu", 12.0), ("loss", -3.0)):
        assert Validation.score(SimpleNamespace(preset=toy_preset(tmp_path, f"monitor={monitor}")), found) == score


def test_decoded_validation_lines_are_spread_over_all_documents():
    assert spread(list("abcdefghij"), 3) == ["a", "d", "g"]
    assert spread(list("abc"), 3) == spread(list("abc"), 9) == ["a", "b", "c"]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("trainable", [True, False])
def test_word_vectors_of_another_width(tmp_path, trainable):
    write_corpus(tmp_path / "toy", train=60)
    rows = np.random.default_rng(0).normal(size=(len(WORDS), 5))
    lines = [" ".join([word, *(f"{x:.4f}" for x in row)]) for word, row in zip(WORDS, rows, strict=True)]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    run, text = train_here(
        tmp_path,
        "updates=4",
        "validation=[]",
        "checkpoint_every=1",
        f"vectors={tmp_path}/vectors.txt",
        "tie=target",
        f"trainable={str(trainable).lower()}",
    )
    assert "have a word vector of width 5" in text
    tables = [run.checkpoints.at(update).weights()["source_embedding/table"] for update in (2, 4)]
    assert tables[0].shape == (400, 5)
    assert (tables[0] == tables[1]).all() != trainable
    row = run.tokenizer().source.encode(["dog"])[0][0]
    cosine = tables[0][row] @ rows[list(WORDS).index("dog")] / np.linalg.norm(tables[0][row])
    assert cosine / np.linalg.norm(rows[list(WORDS).index("dog")]) > 0.9
    assert run.load_model().source_embedding.table.shape == (400, 5)


@pytest.mark.usefixtures("eagerly")
def test_the_time_limit_ends_a_training(tmp_path):
    write_corpus(tmp_path / "toy", train=60)
    run, text = train_here(tmp_path, "updates=100000", "minutes=0.01", "validation=[]")
    assert "the time limit of 0.01 minutes is reached" in text
    finished = run.summary()["finished"]
    assert finished["seconds"] >= 0.6
    assert run.checkpoints.latest()[0].update == finished["update"] < 1000
    assert run.weights("averaged")
