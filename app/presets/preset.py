"""Presets: commented TOML files that name every choice of one experiment."""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from app.presets.schema import (
    SECTIONS,
    DataPreset,
    DocumentsPreset,
    EmbeddingsPreset,
    MemoryPreset,
    ModelPreset,
    SearchPreset,
    TokenizerPreset,
    TrainingPreset,
    check_together,
    keys,
)
from data.corpora.corpora import Corpora
from data.errors import UserError

FOLDER = Path(__file__).parent
COLUMNS = 120


@dataclass(frozen=True)
class Preset:
    """Every choice of one experiment; `app.presets.schema` explains each key."""

    name: str
    description: str = ""
    data: DataPreset = field(default_factory=DataPreset)
    tokenizer: TokenizerPreset = field(default_factory=TokenizerPreset)
    documents: DocumentsPreset = field(default_factory=DocumentsPreset)
    model: ModelPreset = field(default_factory=ModelPreset)
    memory: MemoryPreset = field(default_factory=MemoryPreset)
    embeddings: EmbeddingsPreset = field(default_factory=EmbeddingsPreset)
    training: TrainingPreset = field(default_factory=TrainingPreset)
    search: SearchPreset = field(default_factory=SearchPreset)

    def corpora(self, folders: Iterable = ()) -> Corpora:
        """Where this preset's corpora are found: in these folders, its warehouse, in its languages."""
        return Corpora(folders, self.data.warehouse, self.data.source, self.data.target)

    def with_overrides(self, overrides) -> "Preset":
        """A copy with some keys changed.

        Args:
            overrides: texts such as "training.updates=500" or, where only one section has the key, "updates=500".
                Values are read as TOML; bare words are strings, and "a,b" is a list where a list is expected.

        Raises:
            UserError: an unknown or ambiguous key, a bad value, or values that do not go together.
        """
        values = {section: {} for section in SECTIONS}
        for text in overrides:
            section, key, value = _read_override(text)
            values[section][key] = value
        changed = {section: replace(getattr(self, section), **found) for section, found in values.items()}
        return _checked(replace(self, **changed), "--set" if overrides else self.name)

    def differences(self, other: "Preset") -> list[str]:
        """What `other` says otherwise, one "section.key: mine -> theirs" for each key."""
        lines = []
        for section in SECTIONS:
            mine, theirs = getattr(self, section), getattr(other, section)
            for key in keys(section):
                before, after = getattr(mine, key), getattr(theirs, key)
                if before != after:
                    lines.append(f"{section}.{key}: {_toml(before)} -> {_toml(after)}")
        return lines

    def to_toml(self) -> str:
        """The preset as a commented TOML file; `load_preset` reads an equal preset from it."""
        lines = [f"name = {_toml(self.name)}", f"description = {_toml(self.description)}"]
        for section, kind in SECTIONS.items():
            lines += ["", f"# {kind.__doc__}", f"[{section}]", *_section_lines(section, getattr(self, section))]
        return "\n".join(lines) + "\n"


def list_presets() -> list[str]:
    """The names of the presets that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_preset(name_or_path, overrides=()) -> Preset:
    """Reads a preset and checks every key of it.

    Args:
        name_or_path: one of `list_presets()`, or the path of a TOML file (with a "/" or ending in ".toml").
        overrides: see `Preset.with_overrides`.

    Returns:
        The preset; keys that the file leaves out have their defaults.

    Raises:
        UserError: no such preset, not TOML, an unknown key or section, a bad value, or values that do not go together.

    Example:
        >>> load_preset("starter", ["training.updates=500", "dropout=0.2"]).training.updates
        500
    """
    path = _find(name_or_path)
    preset = _parse(_read(path), path)
    return preset.with_overrides(overrides) if overrides else _checked(preset, path)


def preset_text(name_or_path) -> str:
    """The file of a preset as it was written, comments and all; raises what `load_preset` raises."""
    load_preset(name_or_path)
    return _find(name_or_path).read_text(encoding="utf-8")


def _find(name_or_path) -> Path:
    text = str(name_or_path)
    if text in list_presets():
        return FOLDER / f"{text}.toml"
    path = Path(text)
    if isinstance(name_or_path, Path) or len(path.parts) > 1 or path.suffix == ".toml":
        return path
    raise UserError(f'no preset is called "{text}"{_choose(text, list_presets())}, or give the path of a .toml file')


def _read(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: the preset cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the preset is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: the preset is not TOML: {error}") from error


def _parse(content: dict, path: Path) -> Preset:
    """Makes a preset of what a TOML file says; checks each key by itself."""
    values = {"name": path.stem}
    for name, value in content.items():
        if name in ("name", "description"):
            values[name] = _check_type(value, str, f"{path}: {name}")
        elif name not in SECTIONS:
            known = ["name", "description", *SECTIONS]
            raise UserError(f'{path}: unknown section or key "{name}"{_choose(name, known)}')
        elif not isinstance(value, dict):
            raise UserError(f"{path}: {name}: expected a section, written [{name}]")
        else:
            values[name] = _parse_section(name, value, path)
    return Preset(**values)


def _parse_section(section: str, content: dict, path: Path):
    known = keys(section)
    for key in content:
        if key not in known:
            raise UserError(f'{path}: unknown key "{section}.{key}"{_choose(key, known)}')
    checked = {key: _check_value(value, known[key], f"{path}: {section}.{key}") for key, value in content.items()}
    return SECTIONS[section](**checked)


def _read_override(text: str):
    """Splits "section.key=value" and reads the value for its key."""
    name, equals, written = text.partition("=")
    name, written = name.strip(), written.strip()
    if not equals:
        raise UserError(f'--set {text}: expected KEY=VALUE, such as "training.updates=500"')
    section, dot, key = name.rpartition(".")
    if not dot:
        section = _only_section_with(key, text)
    if section not in SECTIONS:
        raise UserError(f'--set {text}: unknown section "{section}"{_choose(section, SECTIONS)}')
    if key not in keys(section):
        raise UserError(f'--set {text}: unknown key "{section}.{key}"{_choose(key, keys(section))}')
    known = keys(section)[key]
    return section, key, _check_value(_read_written(written, known.type), known, f"--set {section}.{key}")


def _only_section_with(key: str, text: str) -> str:
    found = [section for section in SECTIONS if key in keys(section)]
    if len(found) > 1:
        ways = " or ".join(f"{section}.{key}" for section in found)
        raise UserError(f'--set {text}: "{key}" stands in several sections: say {ways}')
    if not found:
        every = [known for section in SECTIONS for known in keys(section)]
        near = difflib.get_close_matches(key, every, n=1)
        hint = f': did you mean "{near[0]}"?' if near else ""
        raise UserError(f'--set {text}: unknown key "{key}"{hint} (`weitblick presets starter` shows every key)')
    return found[0]


def _read_written(written: str, kind):
    """Reads a value from the command line: TOML where it is some, else the bare words themselves."""
    try:
        content = tomllib.loads(f"value = {written}")
        value = content["value"] if len(content) == 1 else written
    except tomllib.TOMLDecodeError:
        value = written
    if kind is str and not isinstance(value, str):
        return written
    if kind == tuple[str, ...] and not isinstance(value, list):
        text = value if isinstance(value, str) else written
        return [part.strip() for part in text.split(",") if part.strip()]
    return value


def _check_value(value, known, where: str):
    """Returns the value of a key as its type, or says what was expected."""
    value = _check_type(value, known.type, where)
    choices = known.metadata["choices"]
    if choices and value not in choices:
        raise UserError(f'{where}: got "{value}"{_choose(value, choices)}')
    wrong = _outside(value, known.metadata["limits"]) if known.type in (int, float) else ""
    if wrong:
        raise UserError(f"{where}: expected a number {wrong}, got {value}")
    return value


def _check_type(value, kind, where: str):
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if kind is float and type(value) is float and math.isfinite(value):
        return value
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a string in quotes"}
    raise UserError(f"{where}: expected {expected.get(kind, 'a list of strings')}, got {_shown(value)}")


def _shown(value) -> str:
    """A value of a wrong type as the user wrote it, as far as it can be told."""
    return _toml(value) if isinstance(value, bool | str) else repr(value)


def _outside(value, limits: dict) -> str:
    """Which limit a number breaks, in words; "" when it breaks none."""
    if limits["low"] is not None and value < limits["low"]:
        return f"of at least {limits['low']}"
    if limits["high"] is not None and value > limits["high"]:
        return f"of at most {limits['high']}"
    if limits["above"] is not None and value <= limits["above"]:
        return f"above {limits['above']:g}"
    if limits["below"] is not None and value >= limits["below"]:
        return f"below {limits['below']:g}"
    return ""


def _checked(preset: Preset, where) -> Preset:
    wrong = check_together({section: getattr(preset, section) for section in SECTIONS})
    if wrong:
        raise UserError(f"{where}: {wrong}")
    return preset


def _choose(word: str, choices) -> str:
    """The end of an error: the nearest choice where there is one, and all of them."""
    choices = list(choices)
    near = difflib.get_close_matches(word, choices, n=1)
    hint = f', did you mean "{near[0]}"?' if near else ","
    return f"{hint} choose from {', '.join(choices)}"


def _section_lines(section: str, values) -> list[str]:
    """The lines of one section, each key with its comment beside it, or above it where the value is long."""
    rows = []
    for key in fields(values):
        choices = " | ".join(key.metadata["choices"])
        comment = f"{choices}: {key.metadata['why']}" if choices else key.metadata["why"]
        rows.append((f"{key.name} = {_toml(getattr(values, key.name))}", comment))
    column = max((len(setting) for setting, comment in rows if len(setting) <= 36), default=0)
    lines = []
    for setting, comment in rows:
        line = f"{setting:<{column}}  # {comment}"
        lines += [line] if len(line) <= COLUMNS else [f"# {comment}", setting]
    return lines


def _toml(value) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
