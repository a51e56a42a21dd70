import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def make(*arguments, folder=REPOSITORY, code=0, **kwargs):
    command = ["make", "--no-print-directory", *arguments]
    # The variables of the `make test` that runs this, such as ARGS, are not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ARGS", "MAKE", "MFLAGS"))}
    kwargs.setdefault("env", environment)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **kwargs)
    assert done.returncode == code, done.stderr
    return done


def commands(*arguments):
    """What `make` would run of the program itself."""
    return [line.rstrip() for line in make("-n", *arguments).stdout.splitlines() if " -m app " in line]


def test_help_is_the_default_and_lists_every_target():
    printed = make().stdout
    targets = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"train", "eval-bleu", "translate", "notebook", "test", "lint"} <= set(targets)
    assert all(f"  make {target} " in printed for target in targets)


def test_variables_become_options():
    assert commands("train", "CORPORA=a b")[0] == (
        '.venv/bin/python -m app train "starter" --run "runs/starter"  --corpora "a b"'
    )
    assert commands("train", "PRESET=my/own.toml", "SET=updates=5 norm=post", "CORPORA=../some corpora") == [
        '.venv/bin/python -m app train "my/own.toml" --run "runs/own" --set "$SET" --corpora "../some corpora"'
    ]
    assert commands("translate", "RUN=a run", "FILE=in.txt")[0].split('"')[1:4:2] == ["a run", "in.txt"]


def test_the_test_split_is_scored_once_and_not_for_every_try():
    assert [line.split()[3] for line in commands("train")] == ["train", "evaluate"]
    assert [line.split()[3] for line in commands("train", "SET=dropout=0.3")] == ["train"]


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ("updates=5 norm=post", ["updates=5", "norm=post"]),
        ('corpora=["warehouse:SELECT * FROM x"]', ['corpora=["warehouse:SELECT * FROM x"]']),
        (
            """corpora=["warehouse:SELECT * FROM x WHERE doc = 'a b'"] updates=5""",
            ["""corpora=["warehouse:SELECT * FROM x WHERE doc = 'a b'"]""", "updates=5"],
        ),
    ],
)
def test_changes_arrive_whole(tmp_path, given, changes):
    """Through make, the shell and the parser; what stands in for Python shows what the command would get."""
    (tmp_path / "installed").touch()
    program = "import sys; from app.cli.main import build_parser as b; print(b().parse_args(sys.argv[3:]).set)"
    (tmp_path / "show").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n', encoding="utf-8")
    (tmp_path / "show").chmod(0o755)
    there = ["-o", f"{tmp_path}/installed", f"VENV={tmp_path}", f"PYTHON_HERE={tmp_path}/show"]
    done = make("train", *there, f"SET={given}")
    assert ast.literal_eval(done.stdout.splitlines()[0]) == changes


def test_every_extra_that_a_target_installs_exists():
    options = configparser.ConfigParser()
    options.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    named = re.findall(r"\$\(VENV\)/installed-([a-z]\w*)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"))
    assert {"test", "ctranslate2"} <= set(named) <= set(options["options.extras_require"])


def test_without_a_fitting_python_it_says_what_to_do(tmp_path):
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("make", "sh"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "bin" / "python3").chmod(0o755)
    done = make("train", folder=tmp_path, code=2, env={"PATH": str(tmp_path / "bin")})
    assert "found no Python from 3.11 to 3.13" in done.stderr and "PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()
