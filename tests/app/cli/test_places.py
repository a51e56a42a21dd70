"""Commands that write at their end say at their beginning that they cannot."""

import sys

import pytest

from app.cli import main as cli
from tests.app.cli.test_document_translate_command import make_run


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate-documents", "nowhere", "--corrected", "--plot", "FILE/plot.svg"],
        ["compare", "mechanisms-quick", "--write", "FILE/page.md"],
        ["plot", "nowhere", "--output", "FILE/figures"],
        ["corpora", "passages", "nowhere", "nothing", "FILE/chosen"],
        ["corpora", "aligned", "nothing", "FILE/chosen"],
        ["import", "marian", "nowhere", "--run", "FILE/run"],
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main([part.replace("FILE", str(tmp_path / "file")) for part in command]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "file") in error and error.count("\n") == 1 and "nowhere" not in error


@pytest.mark.parametrize(
    "command",
    [
        ["probe", "--measure", "length", "--corpus", "nothing", "--output", "FILE/out", "--run", "RUN"],
        ["export", "RUN", "FILE/export", "--to", "savedmodel"],
    ],
)
def test_so_do_those_that_open_a_run_first(command, tmp_path, capsys):
    run, file = make_run(tmp_path), tmp_path / "file"
    file.touch()
    assert cli.main([part.replace("FILE", str(file)).replace("RUN", str(run)) for part in command]) == 2
    error = capsys.readouterr().err
    assert str(file) in error and error.count("\n") == 1 and "nothing" not in error


def test_a_figure_that_cannot_be_drawn_is_refused_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    figure = str(tmp_path / "plot.svg")
    assert cli.main(["evaluate-documents", "nowhere", "--corrected", "--plot", figure]) == 2
    assert "--plot needs matplotlib: " in capsys.readouterr().err
