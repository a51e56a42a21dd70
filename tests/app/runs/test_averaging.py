import numpy as np
import pytest

from app.runs.averaging import average
from app.runs.run import Run
from data.errors import UserError
from tests.app.toy_training import toy_preset


def make_run(folder, updates, best=None, **training):
    """A run whose only weight is, at each checkpoint, the update's number."""
    changes = [f"training.{key}={value}" for key, value in training.items()]
    run = Run.create(folder / "run", toy_preset(folder, "keep=100", *changes))
    summary = {"best": {"update": best, "score": 1.0} if best else None}
    for update in updates:
        run.checkpoints.save(update, {"weight": np.full(3, update, "float32")}, {}, summary)
    return run


def averaged(run):
    return run.weights("averaged")[1]["weight"].tolist()


def test_averages_as_many_as_the_preset_says(tmp_path):
    run = make_run(tmp_path, [10, 20, 30, 40], average=3)
    assert average(run) == [20, 30, 40]
    assert averaged(run) == [30.0] * 3
    assert run.summary()["averaged"]["updates"] == [20, 30, 40]


def test_averages_what_there_is(tmp_path):
    run = make_run(tmp_path, [10, 20], average=5)
    assert average(run) == [10, 20]
    assert averaged(run) == [15.0] * 3


def test_averages_around_the_best(tmp_path):
    run = make_run(tmp_path, [10, 20, 30, 40, 50], best=20, average=3, average_around="best")
    assert average(run) == [10, 20, 30]
    assert averaged(run) == [20.0] * 3


def test_a_number_means_the_last_ones(tmp_path):
    run = make_run(tmp_path, [10, 20, 30, 40, 50], best=20, average=3, average_around="best")
    assert average(run, 2) == [40, 50]
    assert averaged(run) == [45.0] * 3


def test_leaves_out_damaged_checkpoints_and_names_them(tmp_path):
    run = make_run(tmp_path, [10, 20, 30], average=2)
    (run.checkpoints.at(20).folder / "weights.npz").write_bytes(b"")
    warnings = []
    assert average(run, report=warnings.append) == [10, 30]
    assert averaged(run) == [20.0] * 3
    assert "update-00000020" in warnings[0]
    assert "left out of the average" in warnings[0]


def test_sums_in_double_precision(tmp_path):
    run = make_run(tmp_path, [], average=3)
    for update, value in ((1, 1e8), (2, 1.0), (3, -1e8)):
        run.checkpoints.save(update, {"weight": np.full(3, value, "float32")}, {}, {})
    average(run)
    assert averaged(run) == pytest.approx([1 / 3] * 3)
    assert run.weights("averaged")[1]["weight"].dtype == np.float32


def test_without_a_checkpoint_there_is_nothing_to_average(tmp_path):
    run = make_run(tmp_path, [])
    with pytest.raises(UserError, match="no checkpoint to average yet"):
        average(run)
    with pytest.raises(UserError, match="no average yet"):
        run.weights("averaged")


def test_a_damaged_average_is_an_error_that_says_what_to_do(tmp_path):
    run = make_run(tmp_path, [10])
    average(run)
    path = run.path / "averaged.npz"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"averaged.npz: the file is damaged; `weitblick average {run.path}`"):
        run.weights()
    average(run)
    assert averaged(run) == [10.0] * 3
