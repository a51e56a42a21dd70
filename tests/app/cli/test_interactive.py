"""Dialogues: what Ctrl-C does, and that corrections survive every end. A stand-in translates."""

import builtins
import json
import os
import signal
import sys

import pytest

from app.cli.interactive import Loop, talk
from app.training.signals import Terminated, sigterm_raises
from data.errors import UserError


class Session:
    """Segments in capitals, and their corrections."""

    def __init__(self, corrections=()):
        self.sources = ["a"] * len(corrections)
        self.corrections = list(corrections)

    @property
    def translations(self):
        return [source.upper() for source in self.sources]

    def push(self, segments):
        self.sources = [*self.sources, *segments]
        self.corrections = [*self.corrections, None]
        return [segment.upper() for segment in segments]

    def correct(self, number, text):
        self.corrections = [*self.corrections[: number - 1], text, *self.corrections[number:]]
        return {}

    def save(self, path):
        path = str(path)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.corrections, file)


class Translator:
    def offers(self, line, least):
        return []

    def session(self, path=None):
        if path is None:
            return Session()
        with open(path, encoding="utf-8") as file:
            return Session(json.load(file))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "work"


def kept(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("session-*.json"))]


def typed(monkeypatch, *lines, terminal=True):
    """Has a person type lines; an exception or a signal takes the place of one."""
    waiting = iter(lines)

    def answer(prompt=""):
        line = next(waiting, EOFError)
        if isinstance(line, signal.Signals):
            os.kill(os.getpid(), line)
            line = ""
        if not isinstance(line, str):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal, raising=False)


@pytest.mark.parametrize("end", [EOFError, ":quit", ":new", ":load other.json"])
def test_corrections_that_were_not_saved_are_kept_at_every_end(end, here, monkeypatch, capsys):
    (here / "other.json").write_text("[null]")
    typed(monkeypatch, "one", "= eins", end)
    talk(Translator(), None)
    assert kept(here) == [["eins"]]
    printed = capsys.readouterr()
    assert f"kept in {next(here.glob('session-*')).name}; :load" in printed.out + printed.err


@pytest.mark.parametrize("lines", [["one"], ["one", "= eins", ":save mine.json"], [":load mine.json"]])
def test_what_was_saved_or_never_corrected_needs_no_file(lines, here, monkeypatch):
    (here / "mine.json").write_text('["eins"]')
    typed(monkeypatch, *lines, ":new")
    talk(Translator(), None)
    assert kept(here) == []


def test_a_correction_may_begin_with_a_number(here):
    loop = Loop(Translator())
    typed = ["one", "two", "= 1 Datei", ":correct 1 eins"]
    assert [list(loop.answer(line)) for line in typed] == [["1  ONE"], ["2  TWO"], ["noted"], ["noted"]]
    assert loop.session.corrections == ["eins", "1 Datei"]
    for wrong in (":correct", ":correct 1", ":correct eins", "="):
        with pytest.raises(UserError, match="as in .*`:correct 3 TEXT`"):
            list(loop.answer(wrong))


def test_two_documents_of_a_second_are_two_files(here, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "session-x")
    typed(monkeypatch, "one", "= eins", ":new", "two", "= zwei", ":new", "three", "= drei")
    talk(Translator(), None)
    assert sorted(kept(here)) == [["drei"], ["eins"], ["zwei"]]


def test_a_folder_that_cannot_be_written_leaves_the_temporary_one(here, monkeypatch):
    loop = Loop(Translator())
    assert [*loop.answer("one"), *loop.answer("= eins")] == ["1  ONE", "noted"]
    here.rmdir()
    (line,) = loop.keep()
    assert kept(here.parent) == [["eins"]] and str(here.parent) in line
    assert loop.keep() == []
    list(loop.answer("= zwei"))
    monkeypatch.setattr("tempfile.tempdir", str(here / "gone"))
    with pytest.raises(UserError, match="cannot be saved"):
        list(loop.answer(":new"))
    assert loop.session.corrections == ["zwei"]


def test_ctrl_c_clears_the_line_and_the_dialogue_goes_on(here, monkeypatch, capsys):
    typed(monkeypatch, "one", signal.SIGINT, "two", KeyboardInterrupt, "three")
    talk(Translator(), None)
    assert capsys.readouterr().out.split() == ["1", "ONE", "2", "TWO", "3", "THREE"]


def test_ctrl_c_while_an_answer_is_made_waits_for_it_once(here, monkeypatch, capsys):
    push, times = Session.push, iter([1, 2])

    def interrupted(self, segments):
        for _ in range(next(times)):
            os.kill(os.getpid(), signal.SIGINT)
        return push(self, segments)

    monkeypatch.setattr(Session, "push", interrupted)
    typed(monkeypatch, "one", "= eins", "two", "never read")
    with pytest.raises(KeyboardInterrupt):
        talk(Translator(), None)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["1  ONE", "noted"] and "finishing the answer first" in printed.err
    assert kept(here) == [["eins"]]


def test_without_a_terminal_ctrl_c_ends_it(here, monkeypatch):
    typed(monkeypatch, "one", "= eins", signal.SIGINT, "never read", terminal=False)
    with pytest.raises(KeyboardInterrupt):
        talk(Translator(), None)
    assert kept(here) == [["eins"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_corrections_survive_the_end_of_the_process(number, here, monkeypatch):
    typed(monkeypatch, "one", "= eins", number, "never read")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(Terminated), sigterm_raises():
            talk(Translator(), None)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert kept(here) == [["eins"]]


def test_a_session_that_cannot_be_saved_is_not_lost(here, monkeypatch, capsys):
    (here / "folder").mkdir()
    typed(monkeypatch, "one", "= eins", ":save folder", ":save mine.json", "two")
    talk(Translator(), None)
    printed = capsys.readouterr()
    assert "error: folder: cannot be written (Is a directory)\n" in printed.err
    assert printed.out.splitlines() == ["1  ONE", "noted", "saved in mine.json", "2  TWO"]
    assert json.loads((here / "mine.json").read_text()) == ["eins"]
