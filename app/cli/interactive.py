"""The part of `translate` that talks to a person: segments in, translations out, corrections back."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from data.errors import UserError

if TYPE_CHECKING:
    from app.translation.session import Session
    from app.translation.translator import Translator

HELP = """Type a segment to translate it. Other lines:
  = TEXT         the right translation of the last segment; those that follow are translated anew
  = N TEXT       that of segment N
  :undo          take back the last correction or segment
  :show          the document so far
  :save FILE     keep the session
  :load FILE     go on with one that was kept
  :new           begin another document
  :help, :quit   this text; the end (or Ctrl-D)"""
# The lowest similarity of the matches shown, unless --fuzzy sets it.
LEAST = 0.75


class Loop:
    """A dialogue about one document at a time.

    Args:
        translator: a `Translator`.
        least: the lowest similarity of offers of its translation memory.
    """

    def __init__(self, translator: "Translator", least: float = LEAST):
        self.translator, self.least = translator, least
        self.session: Session = translator.session()
        self._commands: dict[str, Callable[[str], Iterable[str]]] = {
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
            yield from self._correct(line[1:].strip())
        elif line.startswith(":"):
            name, _, rest = line[1:].partition(" ")
            if name not in self._commands:
                raise UserError(f":{name}: there is no such command; :help lists them")
            yield from self._commands[name](rest.strip())
        elif line:
            yield from self._translate(line)

    def _translate(self, line: str) -> Iterator[str]:
        for offer in self.translator.offers(line, self.least):
            yield f"   {100 * offer.similarity:.0f}% match: {offer.text}"
        (text,) = self.session.push([line])
        yield f"{len(self.session.sources)}  {text}"

    def _correct(self, rest: str) -> list[str]:
        first, _, text = rest.partition(" ")
        if not (first.isdecimal() and text):
            first, text = str(len(self.session.sources)), rest
        if not text:
            raise UserError("=: expected the right translation, as in `= TEXT` or `= 3 TEXT`")
        return self._changes(self.session.correct(int(first), text)) or ["noted"]

    def _changes(self, changed: dict[int, str]) -> list[str]:
        return [f"{number}  {text}" for number, text in changed.items()]

    def _shown(self) -> Iterator[str]:
        lines = zip(self.session.sources, self.session.translations, self.session.corrections, strict=True)
        for number, (source, translation, correction) in enumerate(lines, start=1):
            yield f"{number}{' ' if correction is None else '*'} {source}\n   {translation}"

    def _save(self, rest: str) -> list[str]:
        path = _only_file(rest, "save")
        self.session.save(path)
        return [f"kept in {path}"]

    def _load(self, rest: str) -> list[str]:
        self.session = self.translator.session(_only_file(rest, "load"))
        return [f"{len(self.session.sources)} segments"]

    def _new(self, _: str) -> list[str]:
        self.session = self.translator.session()
        return ["a new document"]


def _only_file(rest: str, command: str) -> str:
    try:
        names = shlex.split(rest)
    except ValueError:
        names = []
    if len(names) != 1:
        raise UserError(f":{command}: expected one file, as in `:{command} manual.json`")
    return names[0]


def check(args: argparse.Namespace) -> None:
    """Refuses options that have no effect in a dialogue."""
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
    """Reads lines until the input ends, and answers each."""
    loop = Loop(translator, LEAST if least is None else least)
    asking = sys.stdin.isatty()
    if asking:
        import readline  # noqa: F401  # lets the person edit the line

        print(HELP, file=sys.stderr)
    while True:
        try:
            line = input("> " if asking else "")
        except EOFError:
            return
        except UnicodeDecodeError:
            print("error: this line is not UTF-8", file=sys.stderr)
            continue
        if line.strip() in (":quit", ":q"):
            return
        try:
            for answer in loop.answer(line):
                print(answer, flush=True)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
