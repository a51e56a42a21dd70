"""Message catalogues to pairs: .po, .mo and JSON locale files, and which source file a message comes from."""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polib

_DEFAULT = re.compile(r'Default:\s*"(.*)"\s*$', re.DOTALL)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?:][\"'”“)\]>]*$|>$")
_LIST_MARK = re.compile(r"[-*•]\s|\d+[.)]\s")
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'')


class Message(NamedTuple):
    """A message in both languages, and where the program uses it ("" and 0 if unknown)."""

    english: str
    german: str
    file: str = ""
    line: int = 0


def read_po(text: str) -> list[Message]:
    """The translated messages of a .po catalogue, in its order.

    Messages that are fuzzy, obsolete or untranslated are left out. The English is the `Default:` comment if there is
    one (in catalogues whose ids are not text), else the id. Singular and plural make a message each.

    Args:
        text: the catalogue's content.

    Returns:
        The messages.

    Raises:
        ValueError: the text is not a catalogue.
    """
    return list(po_messages(parse_po(text)))


def parse_po(text: str) -> "polib.POFile":
    """A .po catalogue with its header (`metadata`).

    Raises:
        ValueError: the text is not a catalogue.
    """
    import polib

    try:
        return polib.pofile(text + "\n")  # so that it is not the name of a file, which polib would read instead
    except OSError as error:  # what polib raises for a syntax error
        raise ValueError(f"not a .po catalogue: {error}") from error


def po_messages(catalogue: "polib.POFile") -> Iterator[Message]:
    """The messages of a catalogue, as `read_po` gives them."""
    return (message for entry in catalogue if not entry.obsolete and not entry.fuzzy for message in _messages(entry))


def english_of(entry: "polib.POEntry") -> str:
    """The English of a message: its id or, in catalogues whose ids are not text, its `Default:` comment."""
    default = _DEFAULT.search(entry.comment or "")
    return default[1].replace('\\"', '"') if default else entry.msgid


def read_mo(content: bytes) -> list[Message]:
    """The messages of a compiled .mo catalogue, in its order (by id; it holds no places)."""
    import polib

    try:
        entries = polib.mofile(content)
    except (OSError, ValueError) as error:
        raise ValueError(f"not a .mo catalogue: {error}") from error
    return [message for entry in entries for message in _messages(entry)]


def read_json(english: bytes, german: bytes) -> list[Message]:
    """The messages that have the same keys in two JSON locale files, in the order of the English one.

    Args:
        english: the English file's content: nested objects with strings in them.
        german: the German file's content.

    Returns:
        The messages.

    Raises:
        ValueError: either is not a JSON object.
    """
    sides = json.loads(english), json.loads(german)
    if not all(isinstance(side, dict) for side in sides):
        raise ValueError("not a JSON object")
    translations = dict(_leaves(sides[1]))
    return [Message(text, translations[key]) for key, text in _leaves(sides[0]) if key in translations]


def segments(message: Message, max_words: int = 120) -> Iterator[tuple[str, str]]:
    """Cuts a message into segments without line breaks, and leaves out those that are useless as translations.

    Paragraphs, and lines that are surely not just wrapped (they end a sentence or begin a list item on both sides),
    become segments if both languages have equally many; otherwise line breaks become spaces. Placeholders and markup
    stay as they are. Segments with fewer than two English words, with over `max_words` words, empty on a side, or equal
    on both are left out.

    Args:
        message: the message.
        max_words: the most words on either side.

    Yields:
        `(english, german)`.
    """
    for english, german in _cut_alike(message.english, message.german):
        words = len(english.split()), len(german.split())
        if words[0] >= 2 and words[1] and max(words) <= max_words and english != german:
            yield english, german


def python_strings(source: str) -> Iterator[tuple[str, int]]:
    """The string constants of a Python file with their line numbers; nothing for a file that does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning about escapes in other people's code
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def quoted_strings(source: str) -> Iterator[tuple[str, int]]:
    """The quoted strings of each line of a template or script, with the line number."""
    for number, line in enumerate(source.split("\n"), start=1):
        for match in _QUOTED.finditer(line):
            text = match[1] if match[1] is not None else match[2]
            yield re.sub(r"\\(.)", r"\1", text), number


def locate(messages: Iterable[Message], places: dict[str, tuple[str, int]]) -> list[Message]:
    """Gives messages without a place the one where their English occurs in the program's sources.

    Args:
        messages: the messages.
        places: `(file, line)` by English text.

    Returns:
        The messages, in the same order.
    """
    return [
        message if message.file or message.english not in places else Message(*message[:2], *places[message.english])
        for message in messages
    ]


def documents(messages: list[Message], catalogue: str, whole: int = 100, chunk: int = 40) -> dict[str, list[Message]]:
    """Splits a catalogue into documents.

    A catalogue of up to `whole` messages is one document. Of a larger one, each source file's messages are a document
    in the order of their lines, and messages without a place go into documents of `chunk` consecutive ones.

    Args:
        messages: all messages of the catalogue, in its order.
        catalogue: the catalogue's path, which gives the ids of documents that are not one source file's.
        whole: the most messages of an undivided catalogue.
        chunk: the messages in a document if there is no source file to go by.

    Returns:
        Messages by document id.
    """
    if len(messages) <= whole:
        order = {file: i for i, file in enumerate(dict.fromkeys(message.file for message in messages))}
        return {catalogue: sorted(messages, key=lambda message: (order[message.file], message.line))}
    found: dict[str, list[Message]] = {}
    loose = [message for message in messages if not message.file]
    for message in messages:
        if message.file:
            found.setdefault(message.file, []).append(message)
    for group in found.values():
        group.sort(key=lambda message: message.line)
    for start in range(0, len(loose), chunk):
        found[f"{catalogue}[{start // chunk:03d}]"] = loose[start : start + chunk]
    return found


def _messages(entry) -> Iterator[Message]:
    file, line = entry.occurrences[0] if entry.occurrences else ("", "")
    place = file, int(line) if str(line).isdigit() else 0
    if entry.msgid_plural:
        forms = [entry.msgstr_plural[key] for key in sorted(entry.msgstr_plural)]
        # German has two forms; a catalogue with only one has the plural.
        ids = (entry.msgid, entry.msgid_plural) if len(forms) > 1 else (entry.msgid_plural,)
        pairs = list(zip(ids, forms, strict=False))
    else:
        pairs = [(english_of(entry), entry.msgstr)]
    for english, german in pairs:
        if english.strip() and german.strip():
            yield Message(english, german, *place)


def _leaves(tree: dict, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        elif isinstance(value, str):
            yield (*path, key), value


def _cut_alike(english: str, german: str) -> list[tuple[str, str]]:
    sides = [_PARAGRAPH.split(side.strip()) for side in (english, german)]
    if len(sides[0]) != len(sides[1]):
        return [(" ".join(english.split()), " ".join(german.split()))]
    pairs = []
    for paragraphs in zip(*sides, strict=True):
        lines = [[" ".join(line.split()) for line in paragraph.strip().split("\n")] for paragraph in paragraphs]
        if len(lines[0]) == len(lines[1]) and _is_cut(lines[0]) and _is_cut(lines[1]):
            pairs += zip(*lines, strict=True)
        else:
            pairs.append((" ".join(lines[0]), " ".join(lines[1])))
    return pairs


def _is_cut(lines: list[str]) -> bool:
    """Whether every line but the last ends a sentence or is followed by a list item, so none is merely wrapped."""
    return all(
        _SENTENCE_END.search(line) or _LIST_MARK.match(following)
        for line, following in zip(lines, lines[1:], strict=False)
    )
