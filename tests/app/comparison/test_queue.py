"""What the queue does, in which order, and how it stops; a stand-in for the command line trains and scores."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.comparison.plan import Contestant
from app.comparison.processes import run_process, shares
from app.comparison.queue import Queue, training_left
from app.comparison.records import read_records
from app.presets.preset import load_preset
from app.runs.lock import locked
from app.training.signals import sigterm_raises
from data.errors import UserError
from tests.app.comparison.made_up import PLAN, PROGRAM, made_up_plan, train

ALONE = PLAN.replace("control = true", "").replace("seeds = [1, 2]", "")


def queue(plan, *systems, **options):
    """A queue, and the lines that it says."""
    said = []
    return Queue(plan, systems, report=said.append, program=PROGRAM, **options), said


def quiet(line):
    """Takes what a queue says."""


def calls(plan):
    path = plan.folder / "calls"
    found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.mark.usefixtures("in_process")
def test_all_is_done_once_and_the_baseline_first(tmp_path):
    plan = made_up_plan(tmp_path)
    done, said = queue(plan)
    assert done.run() == []
    everything = [
        "train none-1",
        "evaluate-documents none-1",  # and no control, as it reads no context
        "train gru-1",
        "evaluate-documents gru-1 --baseline",
        "evaluate-documents gru-1 --shuffle-documents --baseline",
        "train gru-2",
        "evaluate-documents gru-2",
        "evaluate-documents gru-2 --shuffle-documents --baseline",
    ]
    assert calls(plan) == everything
    assert "[1/8] training none-1" in said[0] and "used" in said[0] and "scoring gru-2 on shuffled" in said[-1]
    assert "3 of 3 runs are trained and scored." in (plan.folder / "REPORT.md").read_text()
    assert queue(plan)[0].run() == [] and calls(plan) == []
    # What is gone is done again, and what was compared with it.
    (plan.contestants[0].path / "results/toys-test.json").unlink()
    assert list(map(str, queue(plan)[0].missing()))[:2] == ["scoring none-1", "scoring gru-1"]
    queue(plan)[0].run()
    assert "train" not in " ".join(calls(plan))


@pytest.mark.usefixtures("in_process")
def test_what_was_scored_without_its_baseline_is_scored_again_with_it(tmp_path):
    plan = made_up_plan(tmp_path, ALONE)
    queue(plan, "gru")[0].run()
    assert calls(plan) == ["train gru-1", "evaluate-documents gru-1"]
    assert read_records(plan)["gru-1"].state == "scored"
    queue(plan)[0].run()
    assert calls(plan) == ["train none-1", "evaluate-documents none-1", "evaluate-documents gru-1 --baseline"]
    assert read_records(plan)["gru-1"].scores("toys-test")["s-BLEU"].p_value == 0.25


@pytest.mark.usefixtures("in_process")
def test_a_failure_does_not_stop_the_others_and_is_tried_again(tmp_path):
    plan = made_up_plan(tmp_path, ALONE)
    plan.folder.mkdir()
    (plan.folder / "fail").write_text("none-1")
    with pytest.raises(UserError, match="training none-1: error: the loss is not a number"):
        queue(plan)[0].run()
    assert calls(plan) == ["train none-1", "train gru-1", "evaluate-documents gru-1"]
    assert "- failed: training none-1: error: the loss" in (plan.folder / "REPORT.md").read_text()
    # It is remembered until it is done.
    queue(plan, "gru")[0].run()
    assert "failed: training none-1" in (plan.folder / "REPORT.md").read_text()
    (plan.folder / "fail").unlink()
    queue(plan)[0].run()
    assert json.loads((plan.folder / "results.json").read_text())["failed"] == {}


def test_a_step_that_leaves_nothing_has_failed(tmp_path):
    plan = made_up_plan(tmp_path, ALONE)
    with pytest.raises(UserError, match="training none-1: it has not written what it should have"):
        Queue(plan, ["none"], report=quiet, program=[sys.executable, "-c", ""]).run()
    with pytest.raises(UserError, match="training none-1: ended by signal 9"):
        Queue(plan, ["none"], report=quiet, program=[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).run()


def test_when_the_time_is_over_a_training_is_stopped_and_the_rest_is_left(tmp_path):
    plan = made_up_plan(tmp_path, ALONE)
    waits = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('written'))\ntime.sleep(60)"
    said = []
    left = Queue(plan, minutes=0.05, report=said.append, program=[sys.executable, "-c", waits]).run()
    assert (plan.folder / "logs" / "none-1.log").read_text() == "written\n"
    assert left == queue(plan)[0].missing() and len(left) == 4
    assert said[-1] == "training none-1: stopped after update 0, because the time is up"
    assert "failed" not in (plan.folder / "REPORT.md").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_queue_waits_for_the_checkpoint(tmp_path, number):
    plan = made_up_plan(tmp_path, ALONE)
    plan.folder.mkdir()
    (plan.folder / "hold").touch()
    held = plan.folder / "holding"
    threading.Thread(target=lambda: _when(held.exists, lambda: os.kill(os.getpid(), number))).start()
    with sigterm_raises(), pytest.raises(KeyboardInterrupt):
        queue(plan)[0].run()
    assert (plan.folder / "stopped").exists()


def test_several_trainings_are_all_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = made_up_plan(tmp_path, ALONE)
    ends = "import os; open(f'ended-{os.getpid()}', 'w')"
    waits = (
        f"import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(exec({ends!r})))\ntime.sleep(60)"
    )
    queue = Queue(plan, minutes=0.05, report=quiet, program=[sys.executable, "-c", waits], jobs=2)
    assert len(queue.run()) == 4
    assert len(list(tmp_path.glob("ended-*"))) == len(shares(2))


def _when(reached, do):
    until = time.monotonic() + 60
    while not reached() and time.monotonic() < until:
        time.sleep(0.02)
    do()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_what_runs_is_told_when_the_queue_is_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from app.comparison.processes import run_process, shares\n"
        "child = 'from pathlib import Path; import os, time;'\n"
        "child += 'Path(\"pid\").write_text(str(os.getpid())); time.sleep(60)'\n"
        "run_process([sys.executable, '-c', child], open('log', 'wb'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment)
    _when(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), parent.kill)
    parent.wait()
    child = Path("/proc") / (tmp_path / "pid").read_text()
    _when(lambda: not _alive(child), lambda: None)
    assert not _alive(child)


def _alive(process: Path) -> bool:
    try:
        return process.joinpath("stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_two_queues_do_not_share_a_folder(tmp_path):
    plan = made_up_plan(tmp_path, ALONE)
    with locked(plan.folder), pytest.raises(UserError, match="another process"):
        queue(plan)[0].run()


def test_a_run_that_a_killed_queue_has_left_is_waited_for(tmp_path):
    plan = made_up_plan(tmp_path, ALONE)
    path, said = plan.contestants[0].path, []
    with locked(path):
        other = threading.Thread(target=lambda: said.append(queue(plan, "none")[0].run()))
        other.start()
        _when((plan.folder / "logs" / "none-1.log").exists, lambda: time.sleep(0.5))
        assert calls(plan) == []
    other.join()
    assert said == [[]] and calls(plan)[0] == "train none-1"


def test_the_time_left_is_the_budget_or_follows_from_other_trainings(tmp_path):
    plan = made_up_plan(tmp_path, ALONE)
    none, gru = plan.contestants
    assert training_left(plan, none) is None
    train(none.path, none.preset, seconds=40.0)  # of 20 updates
    assert training_left(plan, none) == 0
    assert training_left(plan, gru) == pytest.approx(40)
    limited = gru.preset.with_overrides(["minutes=0.5"])
    assert training_left(plan, Contestant("gru", 1, gru.path, limited)) == 30
    endless = load_preset("starter", ["training.minutes=45", "training.updates=1000000"])
    assert training_left(plan, Contestant("gru", 1, gru.path, endless)) == 45 * 60


def test_the_program_is_this_one_wherever_it_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with Path("log").open("wb") as log:
        assert run_process([sys.executable, "-m", "app", "--version"], log) == 0
        assert run_process([sys.executable, "-m", "app", "presets", "nothing"], log) == 2
    assert Path("log").read_text().startswith("weitblick ")
