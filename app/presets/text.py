"""Presets as text: commented TOML, and the reference page docs/presets.md."""

import json
from dataclasses import MISSING, Field, fields
from typing import Any

from app.presets.schema import keys, sections
from models.options import choices_of

COLUMNS = 120
_TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    tuple[str, ...]: "list of strings",
}

_INTRODUCTION = """\
# Presets

A preset is a TOML file with the choices of one experiment. It names only what differs from the defaults below, and
why; `weitblick presets NAME` prints it with every key, as a run keeps it in its `preset.toml`. On the command line,
`--set section.key=value` changes a key. The section may be left out if only one has the key; among the kinds of memory,
the one that `memory.kind` chooses is preferred.

This page is written by `weitblick presets --markdown`.

| key | default | what it is |
| --- | --- | --- |
| `name` | the file's name | what records and reports call it: letters, digits, `.`, `_` and `-` |
| `description` | `""` | one line for the list of presets |"""


def to_toml(value: Any) -> str:
    """One value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    return repr(value)


def section_toml(section: str, values: Any) -> list[str]:
    """The lines of one section, each key with its comment after it, or above it if the line would be too long."""
    rows = [(f"{key.name} = {to_toml(getattr(values, key.name))}", _comment(key)) for key in fields(values)]
    column = max((len(setting) for setting, comment in rows if len(setting) <= 36), default=0)
    lines = [f"# {type(values).__doc__}", f"[{section}]"]
    for setting, comment in rows:
        line = f"{setting:<{column}}  # {comment}"
        lines += [line] if len(line) <= COLUMNS else [f"# {comment}", setting]
    return lines


def reference() -> str:
    """docs/presets.md: every section and key, from the schema."""
    lines = [_INTRODUCTION]
    for section, kind in sections().items():
        lines += ["", f"## `[{section}]`", "", str(kind.__doc__), "", "| key | value | default | what it is |"]
        lines += ["| --- | --- | --- | --- |", *map(_row, keys(section).values())]
    return "\n".join(lines) + "\n"


def _comment(key: Field) -> str:
    choices = " | ".join(choices_of(key))
    return f"{choices}: {key.metadata['why']}" if choices else key.metadata["why"]


def _row(key: Field) -> str:
    default = to_toml(key.default) if key.default is not MISSING else ""
    return f"| `{key.name}` | {_allowed(key)} | `{default}` | {_cell(key.metadata['why'])} |"


def _allowed(key: Field) -> str:
    """Which values a key may have, in words."""
    choices, limits = choices_of(key), key.metadata["limits"]
    if choices:
        return ", ".join(f"`{to_toml(choice)}`" for choice in choices)
    words = {"low": "from {}", "above": "above {}", "high": "to {}", "below": "below {}"}
    ranges = [text.format(f"{limits[name]:,.10g}") for name, text in words.items() if limits[name] is not None]
    return " ".join([_TYPES[key.type], *ranges])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
