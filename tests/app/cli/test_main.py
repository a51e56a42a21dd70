import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main as cli
from app.cli.options import split_changes
from app.presets.preset import load_preset
from app.training.signals import Terminated
from data.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
COMMANDS = [
    "train",
    "compare",
    "evaluate",
    "translate",
    "average",
    "presets",
    "corpora",
    "export",
    "probe",
    "evaluate-documents",
]


def weitblick(*arguments, code=0, **kwargs):
    """Runs the command line as a process of its own."""
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, **kwargs)
    assert done.returncode == code, done.stderr
    return done


def refusal(*arguments, **kwargs):
    """The one line of an error."""
    done = weitblick(*arguments, code=2, **kwargs)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)])
def test_help_has_examples_and_loads_nothing_heavy(arguments):
    program = (
        "import sys\nfrom app.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print(sorted({'tensorflow', 'keras', 'numpy', 'sacrebleu'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--help"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")
    assert f"weitblick {' '.join(arguments)}".strip() in done.stdout.partition("examples:")[2]


def test_every_command_is_in_the_help():
    text = weitblick("--help").stdout
    assert all(f"  {command} " in text for command in COMMANDS)


def test_presets_lists_and_prints_and_changes(tmp_path):
    listed = weitblick("presets").stdout
    assert "wmt14-big" in listed and len(listed.splitlines()) == 10
    text = weitblick("presets", "starter").stdout
    assert text == load_preset("starter").to_toml()
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    changed = weitblick("presets", tmp_path / "mine.toml", "--set", "norm=post", "updates=700").stdout
    assert 'norm = "post"' in changed and "updates = 700" in changed


def test_corpora_lists_and_shows_folders(tmp_path):
    for name, text in {"en.train": "Good evening.\n", "de.train": "Guten Abend.\n"}.items():
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / f"{name}.txt").write_text(text, encoding="utf-8")
    listed = weitblick("corpora", "list", "--corpora", tmp_path).stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["software", "wmt14", "mine"]
    shown = weitblick("corpora", "show", "mine", "--corpora", tmp_path).stdout
    assert "train        1 pairs" in shown and "en: Good evening.\nde: Guten Abend." in shown


def test_errors_are_one_line_with_exit_code_2(tmp_path):
    assert "did you mean" in refusal("presets", "startr")
    assert "training.updates" in refusal("train", "starter", "--set", "updates=many", "--run", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "no corpus 'mine'" in refusal("corpora", "show", "mine", "--corpora", tmp_path)
    assert "no such run folder" in refusal("average", tmp_path / "none")
    assert "--last 0: must be at least 1" in refusal("average", tmp_path / "none", "--last", 0)
    assert "not a run folder" in refusal("average", tmp_path)


def test_bad_usage_exits_with_2():
    assert "COMMAND" in weitblick(code=2).stderr
    assert "invalid choice: 'software'" in weitblick("corpora", "software", code=2).stderr


def test_a_closed_pipe_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "presets", "starter"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    process.stdout.close()
    assert process.wait(timeout=60) in (0, cli.PIPE_CLOSED)
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (UserError("line 3 of x.txt is not UTF-8"), 2, "error: line 3 of x.txt is not UTF-8\n"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 2, "error: runs/a: the disk is full; free"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 2, "error: runs: Permission denied; choose"),
        (ConnectionError("the peer has gone"), 2, "error: the peer has gone\n"),
        (
            MemoryError("Unable to allocate 9 TiB"),
            2,
            "error: not enough memory (Unable to allocate 9 TiB); use",
        ),
        (Terminated(), 143, "\ninterrupted; nothing was changed\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; nothing was changed\n"),
    ],
)
def test_errors_of_a_command_become_one_line(monkeypatch, capsys, error, code, expected):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.presets, "run", fail)
    assert cli.main(["presets"]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(expected)
    assert printed.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("OOM when allocating tensor with shape[2000000000,8]\nHint: ...", "not enough memory (OOM when allocating"),
        ("runs/x.data; No space left on device", "the disk is full; free some space"),
    ],
)
def test_what_tensorflow_runs_out_of_becomes_one_line(monkeypatch, capsys, message, expected):
    import tensorflow as tf

    def fail(args):
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(cli.presets, "run", fail)
    assert cli.main(["presets"]) == 2
    printed = capsys.readouterr().err
    assert expected in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("a=1", ["a=1"]),
        (" a=1  model.b=x y=2 ", ["a=1", "model.b=x", "y=2"]),
        (
            'corpora=["warehouse:SELECT * FROM x WHERE n=1"] a=1',
            ['corpora=["warehouse:SELECT * FROM x WHERE n=1"]', "a=1"],
        ),
        ("corpora=[a, b] a='x y=2'", ["corpora=[a, b]", "a='x y=2'"]),
        ("warehouse=some folder/w.duckdb", ["warehouse=some folder/w.duckdb"]),
        ("name=it's a=1", ["name=it's a=1"]),
    ],
)
def test_changes_are_cut_before_keys_alone(text, changes):
    assert split_changes(text) == changes


def test_a_closed_stream_is_never_taken_by_a_file():
    program = "import os, sys\nfrom app.cli.main import main\nmain(['presets'])\nprint(os.open('/', os.O_RDONLY))"
    command = [f'exec {sys.executable} -c "$0" <&- 2>&-', program]
    done = subprocess.run(["sh", "-c", *command], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert int(done.stdout.splitlines()[-1]) > 2


def test_bugs_keep_their_traceback(monkeypatch):
    def fail(args):
        raise ZeroDivisionError

    monkeypatch.setattr(cli.presets, "run", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["presets"])
