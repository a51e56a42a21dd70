"""`weitblick compare` as a real process that trains and scores two tiny systems, and is killed in the middle."""

import json
import shutil
import signal
import subprocess
import time

import pytest

from app.cli import main as cli
from tests.app.comparison.made_up import write_plan
from tests.app.toy_training import REPOSITORY, command, environment, weitblick

pytestmark = pytest.mark.slow

PLAN = """
preset = "toy.toml"
set = [
    "updates=20", "checkpoint_every=5", "validate_every=10", "bleu_lines=4", "deterministic=true",
    "windows=segments", "lanes=2", "search.beam=1",
]
corpora = ["{place}/corpora"]
[score]
corpora = ["toys"]
baseline = "none"
samples = 50
[systems.none]
set = ["memory.kind=none"]
[systems.gru]
set = ["memory.kind=gru", "memory.gru.slots=4"]
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return write_plan(tmp_path_factory.mktemp("compare"), PLAN)


def start(plan, runs):
    arguments = command("compare", plan, "--runs", runs)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(arguments, env=environment(WEITBLICK_CACHE=str(runs) + ".cache"), text=True, **pipes)


def times(folder):
    """When each file of a run was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def table(runs):
    """The report without times."""
    return (runs / "REPORT.md").read_text(encoding="utf-8").partition("## Costs")[0]


@pytest.fixture(scope="module")
def killed(plan):
    """The folder of a queue that was killed while it trained its second system, and then ran again."""
    runs = plan.parent / "killed"
    undisturbed, queue = start(plan, plan.parent / "undisturbed"), start(plan, runs)
    until = time.monotonic() + 300
    while not list(runs.glob("gru-1/checkpoints/*/checkpoint.json")):
        assert queue.poll() is None and time.monotonic() < until, queue.communicate()[1]
        time.sleep(0.01)
    queue.send_signal(signal.SIGKILL)
    queue.communicate()
    before = times(runs / "none-1")
    again = start(plan, runs)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert "[1/2] training gru-1" in said
    assert times(runs / "none-1") == before
    output, said = undisturbed.communicate()
    assert undisturbed.returncode == 0, said
    assert "[1/4] training none-1" in said and "scored" in output and "REPORT.md" in output
    return runs


def test_a_killed_queue_goes_on_and_ends_with_the_same_table(plan, killed):
    assert "Resuming after update" in (killed / "logs" / "gru-1.log").read_text(encoding="utf-8")
    assert table(killed) == table(plan.parent / "undisturbed")
    assert "| gru-1 | " in table(killed) and ", p = " in table(killed)
    record = json.loads((killed / "gru-1" / "results" / "toys-test.json").read_text(encoding="utf-8"))
    bleu = record["document_scores"]["scores"][1]
    found = json.loads((killed / "results.json").read_text(encoding="utf-8"))["runs"]["gru-1"]
    assert found["scores"]["toys-test"]["d-BLEU"]["value"] == bleu["value"]
    assert found["scores"]["toys-test"]["d-BLEU"]["p_value"] == bleu["comparison"]["p_value"]
    assert (found["state"], found["updates"]) == ("scored", 20)


def test_status_shows_what_is_done_and_starts_nothing(plan, killed, tmp_path, capsys):
    before = times(killed)
    assert cli.main(["compare", str(plan), "--runs", str(killed), "--status", "--only", "gru"]) == 0
    shown = capsys.readouterr().out
    assert "gru-1" in shown and "scored" in shown and "none-1" not in shown
    assert times(killed) == before
    assert cli.main(["compare", str(plan), "--runs", str(tmp_path / "other"), "--status"]) == 0
    assert capsys.readouterr().out.count("not started") == 2
    assert not (tmp_path / "other").exists()


def test_what_is_done_is_not_done_again(plan, killed, capsys):
    before = times(killed / "none-1") | times(killed / "gru-1")
    assert cli.main(["compare", str(plan), "--runs", str(killed)]) == 0
    assert times(killed / "none-1") | times(killed / "gru-1") == before
    assert capsys.readouterr().err == ""


def test_other_settings_than_a_finished_runs_are_refused(plan, killed, tmp_path, capsys):
    changed = plan.parent / "changed.toml"
    changed.write_text(plan.read_text(encoding="utf-8").replace("slots=4", "slots=5"), encoding="utf-8")
    assert cli.main(["compare", str(changed), "--runs", str(killed)]) == cli.ERROR
    said = capsys.readouterr().err
    assert "gru-1: was trained with settings other than" in said and "memory.gru.slots: 4 -> 5" in said
    assert said.count("\n") == 1


def test_bad_plans_and_options_are_one_line(plan, tmp_path, capsys):
    for options, said in {
        ("--only", "grue"): 'there is no system "grue"; choose from none, gru',
        ("--until", "-1"): "--until -1: must be above 0",
        ("--items", "5"): "--items 5: must be above 0 and needs --contrapro",
        ("--contrapro", "--corpora", str(tmp_path)): "there is no contrapro/items.jsonl; looked in",
        ("--write", "page.html"): "--write page.html: expected a Markdown page, whose name ends in .md",
    }.items():
        assert cli.main(["compare", str(plan), *options]) == cli.ERROR
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    shutil.copy(plan, tmp_path / "plan.toml")
    assert "toy.toml: the preset cannot be read" in weitblick("compare", tmp_path / "plan.toml", code=2).stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "plan.toml"]


OWN = """
preset = "toy.toml"
set = [
    "data.corpora=['made-up']", "data.validation=['made-up']", "data.holdout=warn",
    "updates=20", "checkpoint_every=10", "validate_every=20", "bleu_lines=4", "windows=segments", "lanes=2",
    "model.positions=rotary", "search.beam=1",
]
made_up = 20
kinds = true
[score]
corpora = ["made-up"]
samples = 50
[recall]
minutes = 0.01
distances = [1, 3]
documents = 20
[costs]
corpus = "made-up"
tokens = [64, 128]
[systems.none]
set = ["memory.kind=none"]
[systems.concat]
set = ["memory.kind=concat", "documents.size=2"]
"""


def copy_with(folder, kind):
    """A copy of the program in a folder to which a reader has added the memory of docs/memory.md as one file."""
    memories = folder / "models" / "memories"
    memories.mkdir(parents=True)
    for place, inside in ((folder, REPOSITORY), (memories.parent, REPOSITORY / "models")):
        for path in inside.iterdir():
            if path.name in ("app", "data") or (place != folder and path.name not in ("memories", "__pycache__")):
                (place / path.name).symlink_to(path)
    for path in (REPOSITORY / "models" / "memories").glob("*.py"):
        shutil.copy(path, memories)
    page = (REPOSITORY / "docs" / "memory.md").read_text(encoding="utf-8")
    block = next(text.partition("```")[0] for text in page.split("```python\n")[1:] if f'@memory("{kind}"' in text)
    (memories / f"{kind}.py").write_text(f'"""A memory."""\n\n{block}', encoding="utf-8")


def test_a_memory_that_a_reader_has_written_as_one_file_is_compared_with_the_others(tmp_path, monkeypatch):
    copy_with(tmp_path / "copy", "last")
    monkeypatch.chdir(tmp_path / "copy")
    path, page = write_plan(tmp_path, OWN), tmp_path / "page.md"
    done = weitblick(
        *("compare", path, "--runs", tmp_path / "runs", "--only", "last", "--write", page),
        **{"PYTHONPATH": str(tmp_path / "copy"), "WEITBLICK_CACHE": str(tmp_path / "cache")},
    )
    assert "last-1" in done.stdout and f"All figures are in {page}" in done.stdout
    lines = page.read_text(encoding="utf-8").splitlines()
    assert "gru, " in " ".join(lines) and sum(line.startswith("| last |") for line in lines) == 5
    content = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    measured = content["measured"]["last"]
    # The mean of a window of 16 numbers, on both sides, is all that this memory carries.
    assert measured["state_bytes"] == 2 * 16 * 4
    assert [row["tokens"] for row in measured["translation"]] == [64, 128]
    assert content["memories"][measured["memory"]]["kind"] == "last"
    assert all(row["peak_megabytes"] > 100 for row in measured["training"])
