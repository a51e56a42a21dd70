"""Catalogues of messages in JSON (.json, .arb) and YAML (.yaml, .yml): strings are translated in place.

Keys, numbers, comments, order and layout are left alone.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from app.formats.base import Options, Slot, TextDocument, decoded, has_words, plain_slot
from data.errors import UserError

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]')
# An anchor or a tag before a YAML value.
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://|mailto:|[./~#])\S*")


def read_json(content: bytes, options: Options) -> TextDocument:
    """Reads a JSON catalogue; values under keys that begin with "@" describe messages and are left alone.

    Raises:
        UserError: it is not JSON.
    """
    text, encoding = decoded(content, options.name)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{options.name}: not valid JSON ({error}); fix it there") from None
    return TextDocument(list(_json_layout(text)), encoding, lines=True)


def _json_layout(text: str) -> Iterator[str | Slot]:
    ascii_only = text.isascii() and "\\u" in text
    place = 0
    # For each enclosing object or array: whether it is an object, and whether it is left alone.
    around: list[tuple[bool, bool]] = []
    key, left_alone = "", False
    expects_key = False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            around.append((token == "{", left_alone))
            expects_key = token == "{"
        elif token in "}]":
            _, left_alone = around.pop()
            left_alone = around[-1][1] if around else False
            expects_key = False
        elif token == ",":
            expects_key = around[-1][0]
            left_alone = around[-1][1]
        elif token == ":":
            expects_key = False
            left_alone = around[-1][1] or key.startswith("@")
        elif expects_key:
            key = json.loads(token)
        elif not left_alone and is_message(value := json.loads(token)):
            yield text[place : match.start()]
            yield plain_slot(value, lambda new: json.dumps(new, ensure_ascii=ascii_only))
            place = match.end()
    yield text[place:]


def is_message(text: str) -> bool:
    """Whether a value is text for people, not an address or a path."""
    return has_words(text) and not _ADDRESS.fullmatch(text)


def read_yaml(content: bytes, options: Options) -> TextDocument:
    """Reads a YAML catalogue; if the only key at the top is the source language, it becomes the target language.

    Raises:
        UserError: it is not YAML.
    """
    import yaml

    text, encoding = decoded(content, options.name)
    try:
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        leaves = [leaf for root in roots for leaf in _leaves(root, options)]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{options.name}: not valid YAML ({reason}); fix it there") from None
    layout: list[str | Slot] = []
    place = 0
    for node, write in sorted(leaves, key=lambda leaf: leaf[0].start_mark.index):
        start, end = node.start_mark.index, node.end_mark.index
        before = _PROPERTIES.match(text, start, end)
        start = before.end() if before else start
        layout += [text[place:start], write if isinstance(write, str) else _yaml_slot(node, text[start:end])]
        place = end
    return TextDocument([*layout, text[place:]], encoding, lines=True)


def _leaves(root: Any, options: Options) -> Iterator[tuple[Any, str | None]]:
    """The strings to translate, each once, and the key to rename (if any) with its new name."""
    import yaml

    if isinstance(root, yaml.MappingNode) and len(root.value) == 1:
        key, value = root.value[0]
        if key.value == options.source and isinstance(value, yaml.MappingNode):
            yield key, options.target
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str" and is_message(node.value):
            yield node, None


def _yaml_slot(node: Any, raw: str) -> Slot:
    """A string in its original style; one without quotes gets them if it needs them."""
    if node.style in ("|", ">"):
        newline = "\r\n" if "\r\n" in raw else "\n"
        return plain_slot(node.value, lambda text: _block(text, raw.replace("\r\n", "\n")).replace("\n", newline))
    if node.style == "'":
        return plain_slot(
            node.value, lambda text: _quoted(text) if "\n" in text else "'" + text.replace("'", "''") + "'"
        )
    if node.style == '"':
        return plain_slot(node.value, _quoted)
    return plain_slot(node.value, _plain_scalar)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _plain_scalar(text: str) -> str:
    """The text without quotes if YAML reads it as the same text in any place, otherwise in quotes."""
    safe = re.fullmatch(r"[^\W\d_][^:#,\[\]{}&*!|>'\"%@`\\\n\r\t]*", text) and text == text.strip()
    return (
        text
        if safe and text.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
        else _quoted(text)
    )


def _block(text: str, raw: str) -> str:
    """A text of several lines, indented as before; in a folded block (">") empty lines separate them."""
    head, *lines = raw.split("\n")
    indent = next((line[: len(line) - len(line.lstrip(" "))] for line in lines if line.strip()), "  ")
    tail = "\n" * (len(raw) - len(raw.rstrip("\n")))
    folded = head.startswith(">")
    between = "\n\n" if folded else "\n"
    rows = text.strip("\n").split("\n")
    # A folded block has rules of its own for empty and indented lines.
    uneven = folded and any(not row or row[0] in " \t" for row in rows)
    if not text.strip() or rows[0].startswith(" ") or uneven or re.search(r"\d", head.split("#")[0]):
        return _quoted(text) + tail
    return head + "\n" + between.join(indent + row if row else "" for row in rows) + tail
