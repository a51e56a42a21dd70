"""The commands that messages name to install what is missing."""

import re
import shlex
import sys

import pytest

from data import installing
from data.errors import UserError
from data.installing import CHECKOUT, extra_command, need, package_command


def test_in_the_checkout_the_command_is_that_of_these_pages_for_this_python(monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setattr(installing.sys, "executable", str(CHECKOUT / ".venv" / "bin" / "python"))
    assert extra_command("files") == ".venv/bin/python -m pip install -c constraints.txt -e '.[files]'"
    assert extra_command("beam", pinned=False) == ".venv/bin/python -m pip install -e '.[beam]'"
    assert package_command("torch") == ".venv/bin/python -m pip install -c constraints.txt torch"


def test_elsewhere_the_paths_are_whole(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pins = ["-c", f"{CHECKOUT}/constraints.txt"]
    words = [sys.executable, "-m", "pip", "install", *pins, "-e", f"{CHECKOUT}[files]"]
    assert shlex.split(extra_command("files")) == words


def test_without_a_checkout_the_installed_program_names_its_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(installing, "CHECKOUT", tmp_path)
    assert shlex.split(extra_command("files"))[1:] == ["-m", "pip", "install", "weitblick[files]"]


def test_what_is_missing_is_named_with_the_command(monkeypatch):
    need("json", "plots", "a figure")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=re.escape(f"a figure needs matplotlib: {extra_command('plots')}")):
        need("matplotlib", "plots", "a figure")


def test_no_message_names_a_pip_that_may_be_missing_or_of_another_python():
    found = []
    for package in ("app", "data"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            # An export is taken to another machine.
            if not path.name.startswith("ctranslate2"):
                lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
                found += [f"{path}:{number}" for number, line in lines if "pip install" in line]
    assert found == []
