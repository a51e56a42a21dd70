"""Whatever goes wrong in a training is one line that says what to do, and leaves nothing half-written."""

import errno
import os
import re
import shutil

import numpy as np
import pytest

from app.cli import main as cli
from app.runs.run import Run
from app.training.diagnosis import first_not_finite
from data import files, shards
from data.packing import PackedWindow, pack
from models.document import DocumentTransformer
from tests.app.toy_training import toy_preset, train_here, weitblick, write_corpus, write_preset


@pytest.fixture
def toy(tmp_path):
    return write_corpus(tmp_path / "toy", train=60, validation=10)


@pytest.fixture
def refused(tmp_path, capfd):
    """A function that runs `train` in this process with some changes, expects exit code 2, and gives the one line."""

    def refuse(*changes, run=None):
        preset = write_preset(tmp_path, tmp_path / "toy")
        arguments = ["train", str(preset), "--run", str(run or tmp_path / "run")]
        code = cli.main([*arguments, "--set", *changes] if changes else arguments)
        printed = capfd.readouterr()
        assert code == 2, printed.err
        assert "Traceback" not in printed.err
        assert printed.err.count("error: ") == 1
        assert printed.err.endswith("\n")
        return printed.err.splitlines()[-1].removeprefix("error: ")

    return refuse


def left(folder):
    """What stands in a folder, half-written files included; None if there is no such folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else None


def test_bad_text_is_named_and_leaves_no_run(tmp_path, toy, refused):
    whole = (toy / "de.train.txt").read_bytes()

    (toy / "de.train.txt").write_bytes(whole + b"noch eine\n")
    message = refused()
    assert message.startswith(f"{toy}/en.train.txt has 60 lines and de.train.txt has 61")
    assert left(tmp_path / "run") is None

    lines = whole.split(b"\n")
    (toy / "de.train.txt").write_bytes(b"\n".join([*lines[:6], b"gr\xf6sse", *lines[7:]]))
    message = refused()
    assert f"{toy}/de.train.txt" in message
    assert re.search(r"\bline 7\b", message)
    assert "UTF-8" in message

    for language in ("en", "de"):
        (toy / f"{language}.train.txt").write_bytes(b"")
    assert "empty" in refused()

    (toy / "de.train.txt").unlink()
    assert refused() == f"{toy}: has no train split; it has validation"
    assert "no corpus 'nothing'" in refused("corpora=nothing")
    assert left(tmp_path / "run") is None


def test_what_the_text_does_not_allow_leaves_no_run(tmp_path, toy, refused):
    message = refused("tokenizer.kind=unigram", "vocabulary=9000")
    assert "tokenizer.vocabulary = 9000 is more than the training text allows; set tokenizer.vocabulary to" in message
    assert "cleaning leaves none of" in refused("max_words=1")
    (toy / "en.validation.txt").unlink()
    assert refused() == f"{toy}: has no validation split; it has train"
    assert left(tmp_path / "run") is None


def test_places_that_cannot_be_written(tmp_path, toy, refused):
    (tmp_path / "file").write_text("x")
    assert refused(run=tmp_path / "file").startswith(str(tmp_path / "file"))
    assert refused(run="/sys/weitblick").startswith("/sys")


def test_an_unreachable_network_is_told_through_the_command_line(tmp_path):
    path = tmp_path / "preset.toml"
    path.write_text('[data]\ncorpora = ["software"]\n')
    network = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_RETRIES": "0", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    cache = {"WEITBLICK_CACHE": str(tmp_path / "cache")}
    done = weitblick("train", path, "--run", tmp_path / "run", code=2, **network, **cache)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert re.search("network|reach|download|fetch", done.stderr.splitlines()[-1])
    assert left(tmp_path / "run") is None


@pytest.mark.usefixtures("eagerly")
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, toy, refused, monkeypatch):
    changes = ["validation=[]", "updates=6", "checkpoint_every=2"]

    def fsync(handle):
        if "update-00000004" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        assert "the disk is full; free some space and run the same command again" in refused(*changes)
    assert left(tmp_path / "run" / "checkpoints") == ["update-00000002"]
    assert not list((tmp_path / "run").rglob("*.partial"))
    run, text = train_here(tmp_path, *changes)
    assert "Resuming after update 2." in text
    assert run.weights("averaged")


@pytest.mark.usefixtures("eagerly")
def test_an_error_while_batches_are_made_is_told_as_it_is(tmp_path, toy, refused, monkeypatch):
    write, calls = shards._write, []

    def full(*places):
        calls.append(places)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*places)

    monkeypatch.setattr(shards, "_write", full)
    message = refused("validation=[]", "sampling=0.2", "updates=30", "training.batch_tokens=512")
    assert "the disk is full" in message
    assert len(calls) == 2


@pytest.mark.usefixtures("eagerly")
def test_updates_that_go_too_far_are_told_from_a_bad_batch(tmp_path, toy, refused):
    changes = ["validation=[]", "updates=6", "warmup=1", "clip_norm=0", "learning_rate=1e30"]
    message = refused(*changes)
    assert message.startswith("training stopped in update 2: the loss is nan (after it 37 of 37 weights are not ")
    assert "finite, the first is source_embedding/table)" in message
    assert "With other weights (from the start of training), this batch gives finite numbers" in message
    assert "lower training.learning_rate" in message
    assert left(tmp_path / "run" / "checkpoints") is None

    shutil.rmtree(tmp_path / "run")
    message = refused(*changes, "checkpoint_every=1")
    assert "with other weights (from the last good checkpoint, after update 1)" in message
    assert "the first non-finite output is that of encoder/layer_0" in message
    assert "the largest weight is 1e+30" in message
    run = Run.open(tmp_path / "run")
    assert all(np.isfinite(array).all() for array in run.weights("last")[1].values())


@pytest.mark.usefixtures("eagerly")
def test_a_bad_batch_is_told_from_updates_that_go_too_far(tmp_path, toy, refused):
    changes = ["validation=[]", "checkpoint_every=2", "training.batch_tokens=2000", "tie=target"]
    run, _ = train_here(tmp_path, *changes, "updates=2")
    checkpoint = run.checkpoints.latest()[0]
    weights, summary = checkpoint.weights(), checkpoint.summary()
    # One word whose vector is finite, but not after it was scaled.
    weights["source_embedding/table"][run.tokenizer().source.encode(["dog"])[0][0]] = 3e38
    rest = {key: value for key, value in summary.items() if key not in ("update", "checksums")}
    run.checkpoints.save(2, weights, checkpoint.state(), rest)
    message = refused(*changes, "updates=6")
    assert message.startswith("training stopped in update 3: the loss is nan")
    assert "with other weights (from the last good checkpoint, after update 2)" in message
    found = re.search(
        r"that of source_embedding, for (\d+) of (\d+) pairs of the batch, the first being '(.*)' = '(.*)'\. ", message
    )
    assert 0 < int(found[1]) < int(found[2])
    assert "dog" in found[3].split()
    assert "hund" in found[4].split()
    assert run.checkpoints.latest()[0].update == 2


@pytest.mark.parametrize("broken", ["source_embedding/table", "decoder/layer_0/feed_forward/inner/kernel", None])
def test_the_first_layer_that_is_not_finite(tmp_path, broken):
    run = Run(tmp_path, toy_preset(tmp_path))
    model = run.new_model(30)
    for variable in model.variables:
        if broken and variable.path.endswith(broken):
            variable.assign(np.where(np.arange(variable.shape[0])[:, None] == 7, np.nan, variable.numpy()))
    inputs = {"source": np.array([[5, 7, 3], [5, 6, 3]]), "target": np.array([[2, 8, 9], [2, 9, 8]])}
    place, rows = first_not_finite(model, inputs)
    if broken is None:
        assert (place, rows) == (None, [])
    else:
        assert place == broken.rpartition("/")[0].removesuffix("/feed_forward/inner")
        assert rows == ([0] if broken.startswith("source") else [0, 1])


@pytest.mark.parametrize("broken", ["source_memory", "target_read"])
def test_a_memory_that_is_not_finite(broken):
    model = DocumentTransformer(30, 1, 1, 8, 16, 2, memory={"kind": "gru", "slots": 3})
    windows = [PackedWindow([[5, 6]], [[8, 9]], 0, reset) for reset in (True, False)]
    inputs, _ = pack([windows], 1)
    model.build()
    layer = next(layer for layer in model.memory_layers if layer.name == broken)
    layer.weights[0].assign(np.full(layer.weights[0].shape, np.nan))
    assert first_not_finite(model, inputs) == (broken, [0])
