import errno
import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runs.checkpoints import Checkpoints, nearest
from data import files
from data.errors import UserError

FILES = ("weights.npz", "state.npz", "checkpoint.json")


def save(checkpoints, update, whole=True, **options):
    """A checkpoint in which everything tells its update."""
    weights = {"table": np.full((3, 2), update, "float32"), "bias": np.arange(2.0)}
    state = {"optimizer/0": np.array(update)} if whole else None
    return checkpoints.save(update, weights, state, {"worse": update}, **options)


def updates(checkpoints):
    return [checkpoint.update for checkpoint in checkpoints.all()]


def test_gives_back_what_was_saved(tmp_path):
    checkpoint = save(Checkpoints(tmp_path), 7)
    assert checkpoint.summary()["update"] == 7
    assert checkpoint.summary()["worse"] == 7
    np.testing.assert_array_equal(checkpoint.weights()["table"], np.full((3, 2), 7, "float32"))
    assert checkpoint.weights()["table"].dtype == np.float32
    assert checkpoint.state()["optimizer/0"] == 7


def test_keeps_the_last_ones_and_what_is_protected(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for update in (10, 20, 30, 40, 50, 60):
        save(checkpoints, update, protect={20})
    assert updates(checkpoints) == [20, 40, 50, 60]
    save(checkpoints, 70, protect={50})
    assert updates(checkpoints) == [50, 60, 70]


def test_removes_what_is_named_but_never_the_new_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for update in (10, 20, 25):
        save(checkpoints, update)
    save(checkpoints, 30, remove={25, 30})
    assert updates(checkpoints) == [10, 20, 30]


def test_order_is_of_numbers(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=10)
    for update in (100, 9, 1000):
        save(checkpoints, update)
    assert updates(checkpoints) == [9, 100, 1000]
    assert checkpoints.latest()[0].update == 1000


def test_saving_again_replaces(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 5)
    checkpoints.save(5, {"table": np.zeros(1)}, {}, {"worse": 0})
    assert set(checkpoints.latest()[0].weights()) == {"table"}
    assert checkpoints.latest()[1]["worse"] == 0


def test_leaves_foreign_folders_alone(tmp_path):
    (tmp_path / "update-00000010.copy").mkdir()
    (tmp_path / "notes").mkdir()
    save(Checkpoints(tmp_path, keep=1), 20)
    save(Checkpoints(tmp_path, keep=1), 30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "update-00000010.copy", "update-00000030"]


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    save(Checkpoints(folder), 10)
    return folder, save(Checkpoints(folder), 20)


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_flipped_byte_is_noticed_wherever_it_is(two_checkpoints, name, place, change):
    folder, last = two_checkpoints
    path = last.folder / name
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= change
    path.write_bytes(damaged)
    warnings = []
    try:
        found, summary = Checkpoints(folder).latest_resumable(warnings.append)
        # White space between the values of the summary carries nothing.
        if found.update == 20:
            assert name == "checkpoint.json"
            assert not warnings
            assert summary["worse"] == 20
        else:
            assert summary["worse"] == 10
            (warning,) = warnings
            assert str(last.folder) in warning
            assert "using the one before it" in warning
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_noticed(tmp_path, name):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10)
    path = save(checkpoints, 20).folder / name
    path.write_bytes(path.read_bytes()[:-9])
    assert checkpoints.latest_resumable(lambda _: None)[0].update == 10
    assert checkpoints.latest(lambda _: None)[0].update == (20 if name == "state.npz" else 10)


def test_missing_weights_are_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10)
    (save(checkpoints, 20).folder / "weights.npz").unlink()
    for latest in (checkpoints.latest, checkpoints.latest_resumable):
        warnings = []
        assert latest(warnings.append)[0].update == 10
        assert "weights.npz" in warnings[0]
        assert "incomplete" in warnings[0]


def test_the_newest_has_the_weights_and_the_newest_with_a_state_is_resumed_from(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=9)
    for update in (10, 20, 30, 40, 50, 60):
        save(checkpoints, update, whole=update in (10, 20, 40))
    assert updates(checkpoints) == [10, 20, 30, 40, 50, 60]
    assert [checkpoint.update for checkpoint in checkpoints.resumable()] == [20, 40]
    assert checkpoints.latest()[0].update == 60
    found, summary = checkpoints.latest_resumable()
    assert (found.update, summary["worse"], found.state()["optimizer/0"]) == (40, 40, 40)
    checkpoints.remove_after(40)
    assert updates(checkpoints) == [10, 20, 30, 40]


def test_a_checkpoint_is_intact_without_the_state_that_it_had(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for update in (10, 20, 30):
        save(checkpoints, update)
    assert not checkpoints.at(10).resumable
    assert checkpoints.at(10).summary()["worse"] == 10


def test_a_checkpoint_under_another_number_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    shutil.copytree(save(checkpoints, 10).folder, tmp_path / "update-00000020")
    assert checkpoints.latest(lambda _: None)[0].update == 10


def test_a_warning_goes_to_standard_error(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    (save(checkpoints, 10).folder / "weights.npz").write_bytes(b"")
    assert checkpoints.latest() is None
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "update-00000010/weights.npz" in printed.err


def test_what_a_kill_left_half_written_is_no_checkpoint_and_goes(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10)
    (save(checkpoints, 20).folder / "checkpoint.json").unlink()
    assert updates(checkpoints) == [10]
    save(checkpoints, 30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["update-00000010", "update-00000030"]


@pytest.mark.parametrize("update", [20, 10], ids=["new", "again"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, update):
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 10)
    calls = []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == 3:  # of a file, of its folder, of the next file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        save(checkpoints, update)
    assert [path.name for path in tmp_path.iterdir()] == ["update-00000010"]
    assert checkpoints.latest_resumable()[0].update == 10


def test_reading_what_is_no_file_of_arrays_is_an_error_for_the_user(tmp_path):
    checkpoint = save(Checkpoints(tmp_path), 10)
    path = checkpoint.folder / "weights.npz"
    for content in (b"", b"PK\3\4", path.read_bytes()[:-40], b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="weights.npz: the weights cannot be read"):
            checkpoint.weights()
    path.unlink()
    with pytest.raises(UserError, match="weights.npz: the weights are missing"):
        checkpoint.weights()


def test_nearest():
    assert nearest([10, 20, 30, 40, 50], 30, 3) == [20, 30, 40]
    assert nearest([10, 20, 30, 40, 50], 50, 2) == [40, 50]
    assert nearest([10, 20, 30, 40, 50], 30, 2) == [20, 30]
    assert nearest([10], 30, 5) == [10]
