"""The part of `translate` that talks to a person: segments in, translations out, corrections back."""

import argparse
import contextlib
import itertools
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.training.signals import Terminated, first_interrupt_waits, hangup_raises
from data.errors import UserError

if TYPE_CHECKING:
    from app.translation.session import Session
    from app.translation.translator import Translator

HELP = """Type a segment to translate it. Other lines:
  = TEXT            the right translation of the last segment
  :correct N TEXT   the right translation of segment N; later segments are translated again
  :undo             take back the last correction or segment
  :show             the document so far
  :save FILE        save the session
  :load FILE        continue a saved session
  :new              begin a new document
  :help             show this text
  :quit             end the dialogue (or Ctrl-D)
Ctrl-C clears the line. If a document ends with unsaved corrections, they are kept in a file; its name is shown."""
# The lowest similarity of the matches shown, unless --fuzzy sets it.
LEAST = 0.75


class Loop:
    """A dialogue about one document at a time.

    Args:
        translator: a `Translator`.
        least: the lowest similarity of its translation memory's offers.
    """

    def __init__(self, translator: "Translator", least: float = LEAST):
        self.translator, self.least = translator, least
        self.session: Session = translator.session()
        self._saved = self._content()
        self._commands: dict[str, Callable[[str], Iterable[str]]] = {
            "correct": self._correct_earlier,
            "undo": lambda _: self._changes(self.session.undo()) or ["taken back"],
            "show": lambda _: self._shown(),
            "save": self._save,
            "load": self._load,
            "new": self._new,
            "help": lambda _: [HELP],
        }

    def answer(self, line: str) -> Iterator[str]:
        """Yields the reply to one line of input.

        Raises:
            UserError: an unknown command, or a segment or file that does not exist.
        """
        line = line.strip()
        if line.startswith("="):
            yield from self._correct(len(self.session.sources), line[1:].strip())
        elif line.startswith(":"):
            name, _, rest = line[1:].partition(" ")
            if name not in self._commands:
                raise UserError(f":{name}: there is no such command; :help lists them")
            yield from self._commands[name](rest.strip())
        elif line:
            yield from self._translate(line)

    def keep(self) -> list[str]:
        """Saves corrections that would be lost, under a new name; returns a line that says where, if there are any.

        Raises:
            UserError: they cannot be saved anywhere.
        """
        content = self._content()
        if content == self._saved or all(correction is None for correction in content[1]):
            return []
        for folder in ("", tempfile.gettempdir()):
            with contextlib.suppress(OSError):
                path = _new_file(Path(folder))
                self.session.save(path)
                self._saved = content
                return [f"the unsaved corrections are kept in {path}; :load {path} continues with them"]
        raise UserError("the corrections cannot be saved here or in the temporary folder: use :save FILE")

    def _content(self) -> tuple[list[str], list[str | None]]:
        return self.session.sources, self.session.corrections

    def _begin(self, session: "Session") -> list[str]:
        """Switches to another session; returns a line that says where the previous one's corrections are, if any."""
        said = self.keep()
        self.session = session
        self._saved = self._content()
        return said

    def _translate(self, line: str) -> Iterator[str]:
        for offer in self.translator.offers(line, self.least):
            yield f"   {100 * offer.similarity:.0f}% match: {offer.text}"
        (text,) = self.session.push([line])
        yield f"{len(self.session.sources)}  {text}"

    def _correct_earlier(self, rest: str) -> list[str]:
        number, _, text = rest.partition(" ")
        if not number.isdecimal():
            raise UserError(":correct: expected a segment's number and the right translation, as in `:correct 3 TEXT`")
        return self._correct(int(number), text.strip())

    def _correct(self, number: int, text: str) -> list[str]:
        if not text:
            raise UserError("expected the right translation, as in `= TEXT` or `:correct 3 TEXT`")
        return self._changes(self.session.correct(number, text)) or ["noted"]

    def _changes(self, changed: dict[int, str]) -> list[str]:
        return [f"{number}  {text}" for number, text in changed.items()]

    def _shown(self) -> Iterator[str]:
        lines = zip(self.session.sources, self.session.translations, self.session.corrections, strict=True)
        for number, (source, translation, correction) in enumerate(lines, start=1):
            yield f"{number}{' ' if correction is None else '*'} {source}\n   {translation}"

    def _save(self, rest: str) -> list[str]:
        path = _only_file(rest, "save")
        try:
            self.session.save(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error
        self._saved = self._content()
        return [f"saved in {path}"]

    def _load(self, rest: str) -> list[str]:
        said = self._begin(self.translator.session(_only_file(rest, "load")))
        return [*said, f"{len(self.session.sources)} segments"]

    def _new(self, _: str) -> list[str]:
        return [*self._begin(self.translator.session()), "a new document"]


def _new_file(folder: Path) -> Path:
    """A file name with the current time that is not taken."""
    stem = time.strftime("session-%Y%m%d-%H%M%S")
    names = (f"{stem}{end}.json" for end in itertools.chain([""], (f"-{n}" for n in itertools.count(2))))
    return next(path for path in map(folder.joinpath, names) if not path.exists())


def _only_file(rest: str, command: str) -> str:
    try:
        names = shlex.split(rest)
    except ValueError:
        names = []
    if len(names) != 1:
        raise UserError(f":{command}: expected one file, as in `:{command} manual.json`")
    return names[0]


def check(args: argparse.Namespace) -> None:
    """Refuses options that have no effect in a dialogue, and a closed standard input."""
    if sys.stdin is None:
        raise UserError("standard input is closed: --interactive reads from it what you type")
    others = ("document", "doc_column", "per_file", "show_memory", "corrected", "sample", "score_references", "output")
    others += ("scores", "offers")
    for name in others:
        if getattr(args, name):
            raise UserError(f"--interactive translates what you type: leave out --{name.replace('_', '-')}")
    if args.nbest > 1 or args.files != ["-"]:
        raise UserError("--interactive translates what you type: leave out --nbest and files")
    if args.engine != "keras":
        raise UserError(f"--interactive needs --engine keras: leave out --engine {args.engine}")


def talk(translator: "Translator", least: float | None) -> None:
    """Reads lines until the input ends, and answers each; keeps corrections, however the dialogue ends."""
    loop = Loop(translator, LEAST if least is None else least)
    asking = sys.stdin.isatty()
    if asking:
        import readline  # noqa: F401  # lets the person edit the line

        print(HELP, file=sys.stderr)
    with hangup_raises():
        try:
            for line in _typed(asking):
                with first_interrupt_waits(_say_wait) if asking else contextlib.nullcontext():
                    _answer(loop, line)
        finally:
            # A closed terminal takes no more lines.
            with contextlib.suppress(OSError):
                _keep(loop)


def _typed(asking: bool) -> Iterator[str]:
    """The lines of the dialogue, up to its end."""
    while True:
        try:
            line = input("> " if asking else "")
        except EOFError:
            return
        except UnicodeDecodeError:
            print("error: this line is not UTF-8", file=sys.stderr)
            continue
        except KeyboardInterrupt as interrupt:
            if not asking or isinstance(interrupt, Terminated):
                raise
            print("\n:quit or Ctrl-D ends the dialogue", file=sys.stderr)
            continue
        if line.strip() in (":quit", ":q"):
            return
        yield line


def _answer(loop: Loop, line: str) -> None:
    try:
        for answer in loop.answer(line):
            print(answer, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)


def _say_wait() -> None:
    print("\nfinishing the answer first; press Ctrl-C again to end the dialogue", file=sys.stderr, flush=True)


def _keep(loop: Loop) -> None:
    try:
        for line in loop.keep():
            print(f"\n{line}", file=sys.stderr, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
