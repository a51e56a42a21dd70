import errno
import fcntl
import json
import multiprocessing
import os
import random
import signal
import socket

import numpy as np
import pytest

from app.presets.preset import load_preset
from app.runs.averaging import average
from app.runs.lock import locked
from app.runs.run import FORMAT, Run
from app.training.train import open_or_create
from data.errors import UserError
from data.files import atomic_write
from tests.app.copy_model import small_tokenizer
from tests.app.toy_training import toy_preset


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", toy_preset(tmp_path))


def add_checkpoint(run, update=10, best=None):
    summary = {"best": {"update": best, "score": 1.0} if best else None}
    return run.checkpoints.save(update, {"weight": np.full(1, update, "float32")}, {}, summary)


def test_a_run_is_opened_as_it_was_created(run):
    again = Run.open(run.path)
    assert again.preset == run.preset
    assert again.summary()["format"] == FORMAT
    assert again.summary()["versions"]["keras"].startswith("3.")
    again.write_summary(note="x")
    assert Run.open(run.path).summary()["note"] == "x"
    assert Run.open(run.path).summary()["format"] == FORMAT


def test_an_old_runs_preset_is_read_by_the_keys_former_names(run, tmp_path):
    file = run.path / "preset.toml"
    text = file.read_text().replace("context_word_dropout = 0.0", "word_dropout = 0.25")
    file.write_text(text.replace("context_segment_dropout", "segment_dropout"))
    run.write_summary(checksums={})
    again = Run.open(run.path)
    assert (again.preset.documents.context_word_dropout, again.preset.documents.context_segment_dropout) == (0.25, 0)
    mine = tmp_path / "mine.toml"
    mine.write_text(file.read_text())
    with pytest.raises(UserError, match=r"documents.segment_dropout.*called documents.context_segment_dropout now"):
        load_preset(mine)


def test_which_weights(run):
    add_checkpoint(run, 10)
    add_checkpoint(run, 20, best=10)
    assert run.weights("last")[0] == "update 20"
    assert run.weights("auto")[1]["weight"] == 20
    assert run.weights("best")[0] == "update 10"
    assert run.weights("best")[1]["weight"] == 10
    with pytest.raises(UserError, match="choose auto, averaged, best, last"):
        run.weights("first")


def test_the_last_weights_are_those_that_are_whole(run, capsys):
    add_checkpoint(run, 10)
    (add_checkpoint(run, 20).folder / "weights.npz").write_bytes(b"")
    assert run.weights("last")[0] == "update 10"
    assert "update-00000020/weights.npz: the checkpoint is damaged" in capsys.readouterr().err


def test_an_average_counts_only_until_there_is_a_later_checkpoint(run):
    add_checkpoint(run, 10, best=10)
    add_checkpoint(run, 20, best=10)
    run.save_average({"weight": np.full(1, 10, "float32")}, [10])
    assert run.weights()[0] == "averaged"
    later = add_checkpoint(run, 30, best=10)
    assert run.weights()[0] == "update 30"
    assert run.weights("averaged")[0] == "averaged"
    # One that cannot be read is none.
    (later.folder / "weights.npz").write_bytes(b"")
    assert run.weights()[0] == "averaged"


def test_an_average_that_is_gone_is_missed(run):
    add_checkpoint(run, 10)
    average(run)
    (run.path / "averaged.npz").unlink()
    with pytest.raises(UserError, match=f"averaged.npz: the file is missing, .+ `weitblick average {run.path}`"):
        run.weights()
    assert run.weights("last")[0] == "update 10"


def test_the_average_of_version_0_1_is_as_new_as_the_end_of_its_training(run):
    add_checkpoint(run, 10)
    add_checkpoint(run, 20)
    average(run)
    noted = run.summary()["averaged"]
    run.write_summary(averaged={"updates": [10], "checksum": noted["checksum"]}, finished={"update": 20})
    assert run.weights()[0] == "averaged"
    add_checkpoint(run, 30)
    assert run.weights()[0] == "update 30"


def test_a_damaged_best_checkpoint_is_an_error(run):
    (add_checkpoint(run, 10).folder / "weights.npz").write_bytes(b"")
    add_checkpoint(run, 20, best=10)
    with pytest.raises(UserError, match="update-00000010/weights.npz: the checkpoint is damaged"):
        run.weights("best")


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda run: (run.path / "run.json").unlink(), "this is not a run folder"),
        (lambda run: (run.path / "preset.toml").unlink(), r"incomplete \(preset.toml is missing\)"),
        (lambda run: (run.path / "run.json").write_text("{"), "run.json: the file is damaged"),
        (lambda run: (run.path / "run.json").write_text("[]"), "run.json: the file is damaged"),
        (lambda run: (run.path / "run.json").write_bytes(b"\xff{}"), "run.json: the file is damaged"),
        (lambda run: run.write_summary(format=1), f"the run has format 1, this version reads {FORMAT}"),
        (lambda run: (run.path / "run.json").write_text("{}"), f"the run has format None, this version reads {FORMAT}"),
    ],
)
def test_a_broken_folder_is_refused(run, break_it, message):
    break_it(run)
    with pytest.raises(UserError, match=message) as error:
        Run.open(run.path)
    assert str(run.path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_edited_preset_is_refused_and_the_start_of_its_training_restores_it(run):
    add_checkpoint(run)
    path = run.path / "preset.toml"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2].rpartition("\n")[0])
    with pytest.raises(UserError, match=rf"preset.toml: the file was edited .+ train PRESET --run {run.path}"):
        Run.open(run.path)
    with pytest.raises(UserError, match="edited or damaged"):
        open_or_create(run.path, run.preset.with_overrides(["width=32"]))
    open_or_create(run.path, run.preset)
    assert path.read_text() == whole


def test_a_kill_between_a_preset_and_its_checksum_leaves_a_run_that_opens(run, monkeypatch):
    changed = run.preset.with_overrides(["beam=2"])
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr("app.runs.run._write_text", lambda path, text: os.stat(path / "none"))
        run.update_preset(changed)
    assert Run.open(run.path).preset.search.beam == 4
    run.update_preset(changed)
    assert Run.open(run.path).preset == changed


def test_every_flipped_bit_of_a_tokenizer_is_found(run):
    run.save_tokenizer(small_tokenizer())
    path = run.path / "tokenizer.model"
    whole = path.read_bytes()
    assert run.tokenizer().source.proto == whole
    draw = random.Random(1)
    for _ in range(30):
        place = draw.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
        with pytest.raises(UserError, match="tokenizer.model: the file was edited or damaged"):
            run.tokenizer()


def test_an_edited_summary_is_refused(run):
    path = run.path / "run.json"
    path.write_text(path.read_text().replace("created", "Created"))
    with pytest.raises(UserError, match="run.json: the file was edited or damaged"):
        Run.open(run.path)


def test_a_run_of_another_format_is_told_by_its_format_not_by_its_preset(run):
    (run.path / "preset.toml").write_text("[memory]\nslots = 3\n")
    run.write_summary(format=1)
    with pytest.raises(UserError, match="format 1"):
        Run.open(run.path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such run folder"):
        Run.open(tmp_path / "nowhere")


def test_a_run_without_a_tokenizer_or_weights_is_incomplete(run):
    with pytest.raises(UserError, match="tokenizer.model: the run is incomplete"):
        run.tokenizer()
    with pytest.raises(UserError, match="no checkpoint yet"):
        run.weights()
    add_checkpoint(run)
    with pytest.raises(UserError, match="no validation has been done yet"):
        run.weights("best")


def test_free_keys_may_change_and_are_kept(run):
    add_checkpoint(run)
    changed = run.preset.with_overrides(["updates=99999", "keep=6", "beam=2", "minutes=7"])
    again, changes = open_or_create(run.path, changed)
    assert len(changes) == 4
    assert Run.open(run.path).preset == changed
    assert again.checkpoints.keep == 6


def test_a_fixed_key_is_refused_and_named(run):
    add_checkpoint(run)
    changed = run.preset.with_overrides(["learning_rate=0.002", "updates=99", "width=32"])
    with pytest.raises(UserError) as error:
        open_or_create(run.path, changed)
    assert "model.width: 16 -> 32" in str(error.value)
    assert "training.learning_rate: 0.01 -> 0.002" in str(error.value)
    assert "training.updates" not in str(error.value)
    assert Run.open(run.path).preset == run.preset


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_end_is_fixed_where_the_learning_rate_depends_on_it(tmp_path, schedule):
    preset = toy_preset(tmp_path, f"schedule={schedule}")
    add_checkpoint(Run.create(tmp_path / "run", preset))
    for change, named in (("updates=50", "training.updates: 40 -> 50"), ("minutes=5", "training.minutes: 0.0 -> 5.0")):
        with pytest.raises(UserError, match=named):
            open_or_create(tmp_path / "run", preset.with_overrides([change]))


def test_a_run_without_a_checkpoint_may_become_another(run):
    (run.path / "tokenizer.model").write_bytes(b"of the other preset")
    changed = run.preset.with_overrides(["model.width=32"])
    open_or_create(run.path, changed)
    assert Run.open(run.path).preset == changed
    assert not (run.path / "tokenizer.model").exists()


def test_what_a_kill_left_half_written_is_cleared_away(run):
    left = run.path / ".run.json.abcdef12.partial"
    left.write_text("{")
    folder = run.path / ".model.abcdef12.partial"
    folder.mkdir()
    (folder / "weights.npz").write_bytes(b"")
    for old in (left, folder / "weights.npz", folder):
        os.utime(old, (0, 0))
    with atomic_write(run.path / "results.json", "w") as file:
        open_or_create(run.path, run.preset)
        file.write("{}")
    assert not left.exists() and not folder.exists()
    assert (run.path / "results.json").read_text() == "{}"


def test_settings_of_retrieval_may_change_after_the_training(run):
    changed = run.preset.with_overrides(["memory.retrieval.own=0.5"])
    run.checkpoints.save(1, {"a": np.ones(2)}, None, {})
    open_or_create(run.path, changed)
    assert Run.open(run.path).preset == changed


def hold(folder, ready):
    with locked(folder):
        ready.set()
        signal.pause()


def test_one_training_a_folder_until_its_process_ends(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=hold, args=(tmp_path / "run", ready))
    process.start()
    try:
        assert ready.wait(60)
        held = rf"another process \(PID {process.pid} on .+\) is writing to this folder"
        with pytest.raises(UserError, match=held), locked(tmp_path / "run"):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_file_that_names_the_holder(tmp_path, monkeypatch, number):
    def refuse(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "run"):
        held = rf"another process \(PID {os.getpid()} on .+\) is writing .+ remove .+lock.owner"
        with pytest.raises(UserError, match=held), locked(tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()
    # What a process of this machine left when it was killed does not count.
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=int)
    process.start()
    process.join()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock.owner").write_text(f"{process.pid}\n{socket.gethostname()}\n")
    with locked(tmp_path / "run"):
        pass


def test_a_run_says_when_it_was_made(run):
    assert json.loads((run.path / "run.json").read_text())["created"].endswith("+00:00")
