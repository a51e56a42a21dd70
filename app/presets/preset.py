"""Presets: commented TOML files with the settings of one experiment."""

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from app.presets.checks import check_together
from app.presets.schema import (
    MEMORY,
    SECTIONS,
    DataPreset,
    DocumentsPreset,
    EmbeddingsPreset,
    MemoryPreset,
    ModelPreset,
    SearchPreset,
    TokenizerPreset,
    TrainingPreset,
    keys,
    sections,
)
from app.presets.text import section_toml, to_toml
from data.corpora.corpora import Corpora
from data.errors import UserError
from data.files import read_toml
from data.forms import TextForm
from data.windows import ALONE, WindowOptions
from models.memories import RETRIEVAL, parts_of, settings_in, settings_of
from models.options import choices_of

FOLDER = Path(__file__).parent
# The name of a built-in preset is also that of its run folder.
NAME = re.compile(r"[\w-][\w.-]{0,99}")
# Keys as runs of earlier versions name them, and their current names.
FORMER = {
    "documents.segment_dropout": "context_segment_dropout",
    "documents.word_dropout": "context_word_dropout",
}


class Difference(NamedTuple):
    """A key, such as "training.updates", that has different values in two presets."""

    key: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.key}: {to_toml(self.before)} -> {to_toml(self.after)}"


@dataclass(frozen=True)
class Preset:
    """Every setting of one experiment; `app.presets.schema` explains each key.

    `memories` holds the settings of those kinds of memory whose settings differ from the defaults; see `section`.
    """

    name: str
    description: str = ""
    data: DataPreset = field(default_factory=DataPreset)
    tokenizer: TokenizerPreset = field(default_factory=TokenizerPreset)
    documents: DocumentsPreset = field(default_factory=DocumentsPreset)
    model: ModelPreset = field(default_factory=ModelPreset)
    memory: MemoryPreset = field(default_factory=MemoryPreset)
    memories: Mapping[str, Any] = field(default_factory=dict)
    embeddings: EmbeddingsPreset = field(default_factory=EmbeddingsPreset)
    training: TrainingPreset = field(default_factory=TrainingPreset)
    search: SearchPreset = field(default_factory=SearchPreset)

    def corpora(self, folders: Iterable[str | Path] = ()) -> Corpora:
        """Finds this preset's corpora, in its languages: in these folders and its warehouse."""
        return Corpora(folders, self.data.warehouse, self.data.source, self.data.target)

    def section(self, name: str) -> Any:
        """The values of one of `app.presets.schema.sections()`, such as "model" or "memory.gru"."""
        if name.startswith(MEMORY):
            kind = name.removeprefix(MEMORY)
            return self.memories.get(kind) or settings_of(kind)()
        return getattr(self, name)

    def memory_settings(self, search: SearchPreset | None = None) -> dict[str, Any]:
        """The memory settings for `models.document.DocumentTransformer`: `[memory]` and those of its kinds.

        Args:
            search: sets the sizes for translation, of each joined memory that has them; None for those of training.
        """
        general = {**asdict(self.memory), "mixed": self.training.memory_tokens == "mixed"}
        sizes = search.memory_sizes if search else {}
        own = {
            key: sizes.get(name, getattr(self.section(MEMORY + part), name))
            for key, (part, name) in settings_in(self.memory.kind).items()
        }
        return {**general, **own}

    def reads_documents(self, search: SearchPreset | None = None) -> bool:
        """Whether the model reads documents: it was trained to, or a language model in its search does."""
        return self.documents.windows != "off" or bool(search and search.language_model)

    @property
    def retrieval(self) -> Any:
        """How trusted translations are read; see `models.memories.retrieval.RetrievalSettings`."""
        return self.section(MEMORY + RETRIEVAL)

    def with_overrides(self, overrides: Iterable[str]) -> "Preset":
        """A copy with some keys changed.

        Args:
            overrides: texts such as "training.updates=500" or, where only one section has the key, "updates=500".
                Among memory settings, those of the chosen kind are preferred. Values are read as TOML; bare words are
                strings, and "a,b" is a list where a list is expected.

        Raises:
            UserError: an unknown or ambiguous key, a bad value, or values that do not go together.
        """
        values: dict[str, dict[str, Any]] = {}
        for section, key, value in self._read(overrides):
            values.setdefault(section, {})[key] = value
        changed = {section: replace(self.section(section), **found) for section, found in values.items()}
        return _checked(self._with(changed), "--set" if values else self.name)

    def keys_in(self, overrides: Iterable[str]) -> set[str]:
        """The keys that overrides change, such as "training.updates"; see `with_overrides`."""
        return {f"{section}.{key}" for section, key, _ in self._read(overrides)}

    def value(self, key: str) -> Any:
        """The value of a key such as "training.updates"."""
        section, _, name = key.rpartition(".")
        return getattr(self.section(section), name)

    def _read(self, overrides: Iterable[str]) -> list[tuple[str, str, Any]]:
        overrides, kind = list(overrides), self.memory.kind
        for text in overrides:
            name, _, written = text.partition("=")
            kind = written.strip(" \"'") if name.strip() == "memory.kind" else kind
        return [_read_override(text, kind) for text in overrides]

    def _with(self, changed: Mapping[str, Any]) -> "Preset":
        """A copy with some sections replaced."""
        general = {section: values for section, values in changed.items() if section in SECTIONS}
        own = {section.removeprefix(MEMORY): values for section, values in changed.items() if section not in SECTIONS}
        memories = {kind: values for kind, values in {**self.memories, **own}.items() if values != type(values)()}
        return replace(self, **general, memories=memories)

    def differences(self, other: "Preset") -> list[Difference]:
        """The keys whose values differ in `other`; settings of kinds of memory that neither preset uses are ignored.

        Every preset uses retrieval, which is not trained.
        """
        used = {*parts_of(self.memory.kind), *parts_of(other.memory.kind), RETRIEVAL}
        found = []
        for section in sections():
            if section.startswith(MEMORY) and section.removeprefix(MEMORY) not in used:
                continue
            mine, theirs = self.section(section), other.section(section)
            for key in keys(section):
                before, after = getattr(mine, key), getattr(theirs, key)
                if before != after:
                    found.append(Difference(f"{section}.{key}", before, after))
        return found

    def text_form(self) -> TextForm:
        """How text is written for the model."""
        data = self.data
        return TextForm(data.lowercase, data.copy, data.numbers, data.capitals)

    def window_options(self) -> WindowOptions:
        """How documents are cut, including context dropout; single segments for a model that reads no documents."""
        documents = self.documents
        if documents.windows == "off":
            return ALONE
        return WindowOptions(
            windows=documents.windows,
            size=documents.size,
            tokens=documents.tokens,
            sliding=self.memory.kind == "concat",
            order=documents.order,
            context_target=documents.context_target,
            context_segment_dropout=documents.context_segment_dropout,
            context_word_dropout=documents.context_word_dropout,
            source_dropout=documents.source_dropout,
        )

    def to_toml(self) -> str:
        """The preset with every key as a commented TOML file; `load_preset` reads an equal preset from it.

        It has the sections of the chosen kind of memory, and of kinds whose settings differ from the defaults.
        """
        lines = [f"name = {to_toml(self.name)}", f"description = {to_toml(self.description)}"]
        for section in sections():
            kind = section.removeprefix(MEMORY)
            if section in SECTIONS or kind in parts_of(self.memory.kind) or kind in self.memories:
                lines += ["", *section_toml(section, self.section(section))]
        return "\n".join(lines) + "\n"


def list_presets() -> list[str]:
    """The names of the built-in presets."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_preset(name_or_path: str | Path, overrides: Iterable[str] = (), former: bool = False) -> Preset:
    """Reads a preset and checks every key.

    Args:
        name_or_path: one of `list_presets()`, or the path of a TOML file (with a "/" or ending in ".toml").
        overrides: see `Preset.with_overrides`.
        former: whether keys may have the names of earlier versions, as in the preset of an old run.

    Returns:
        The preset; keys that the file leaves out have their defaults.

    Raises:
        UserError: no such preset, not TOML, an unknown key or section, a bad value, or values that do not go together.

    Example:
        >>> load_preset("starter", ["training.updates=500", "dropout=0.2"]).training.updates
        500
    """
    path, overrides = _find(name_or_path), list(overrides)
    content = read_toml(path, "preset")
    preset = _parse(_renamed(content) if former else content, path)
    return preset.with_overrides(overrides) if overrides else _checked(preset, path)


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text in list_presets():
        return FOLDER / f"{text}.toml"
    path = Path(text)
    if isinstance(name_or_path, Path) or len(path.parts) > 1 or path.suffix == ".toml":
        return path
    raise UserError(f'no preset is called "{text}"{_choose(text, list_presets())}, or give the path of a .toml file')


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file, with the keys of `FORMER` under their current names."""

    def current(section, values):
        return {FORMER.get(f"{section}.{key}", key): value for key, value in values.items()}

    return {name: current(name, value) if isinstance(value, dict) else value for name, value in content.items()}


def _parse(content: dict[str, Any], path: Path) -> Preset:
    """Makes a preset from the content of a TOML file; checks each key by itself."""
    values: dict[str, Any] = {"name": path.stem}
    found: dict[str, Any] = {}
    for name, value in content.items():
        if name in ("name", "description"):
            values[name] = _check_type(value, str, f"{path}: {name}")
        elif name not in SECTIONS:
            known = ["name", "description", *SECTIONS]
            raise UserError(f'{path}: unknown section or key "{name}"{_choose(name, known)}')
        elif not isinstance(value, dict):
            raise UserError(f"{path}: {name}: expected a section, written [{name}]")
        else:
            found |= _parse_section(name, value, path)
    return Preset(**values)._with(found)


def _parse_section(section: str, content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The values of a section, and of those inside it: `[memory.gru]` is one inside `[memory]`."""
    known = keys(section)
    found: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and f"{section}.{key}" in sections():
            inner |= _parse_section(f"{section}.{key}", value, path)
        elif key not in known:
            _refuse_key(section, key, f"{path}: ")
        else:
            found[key] = _check_value(value, known[key], f"{path}: {section}.{key}")
    return {section: sections()[section](**found), **inner}


def _refuse_key(section: str, key: str, where: str) -> NoReturn:
    """Raises an error about an unknown key that names the keys to use instead."""
    if today := FORMER.get(f"{section}.{key}"):
        raise UserError(f'{where}unknown key "{section}.{key}": it is called {section}.{today} now')
    inside = [name for name in sections() if name.startswith(f"{section}.") and key in keys(name)]
    if inside:
        ways = " or ".join(f"{name}.{key}" for name in inside)
        raise UserError(f'{where}unknown key "{section}.{key}": it belongs to one kind of memory; use {ways}')
    more = [name.removeprefix(f"{section}.") for name in sections() if name.startswith(f"{section}.")]
    raise UserError(f'{where}unknown key "{section}.{key}"{_choose(key, [*keys(section), *more])}')


def _read_override(text: str, kind: str) -> tuple[str, str, Any]:
    """Splits "section.key=value" and reads the value for its key; `kind` is the chosen kind of memory."""
    name, equals, written = text.partition("=")
    name, written = name.strip(), written.strip()
    if not equals:
        raise UserError(f'--set {text}: expected KEY=VALUE, such as "training.updates=500"')
    section, dot, key = name.rpartition(".")
    if not dot:
        section = _only_section_with(key, text, kind)
    if section not in sections():
        raise UserError(f'--set {text}: unknown section "{section}"{_choose(section, sections())}')
    if key not in keys(section):
        _refuse_key(section, key, f"--set {text}: ")
    known = keys(section)[key]
    return section, key, _check_value(_read_written(written, known.type), known, f"--set {section}.{key}")


def _only_section_with(key: str, text: str, kind: str) -> str:
    found = [section for section in sections() if key in keys(section)]
    chosen = {MEMORY + part for part in parts_of(kind)}
    near = [section for section in found if section in SECTIONS or section in chosen]
    if not near and chosen & set(sections()) and found:
        ways = " or ".join(f"{section}.{key}" for section in found)
        raise UserError(f'--set {text}: memory.kind = "{kind}" has no "{key}", only {ways} has')
    found = near or found
    if len(found) > 1:
        ways = " or ".join(f"{section}.{key}" for section in found)
        raise UserError(f'--set {text}: "{key}" is in several sections: use {ways}')
    if not found:
        every = [known for section in sections() for known in keys(section)]
        close = difflib.get_close_matches(key, every, n=1)
        hint = f': did you mean "{close[0]}"?' if close else ""
        raise UserError(f'--set {text}: unknown key "{key}"{hint} (`weitblick presets starter` shows every key)')
    return found[0]


def _read_written(written: str, kind: Any) -> Any:
    """Reads a value from the command line: as TOML if it is valid, otherwise as bare words."""
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


def _check_value(value: Any, known: Field, where: str) -> Any:
    """Returns the value of a key as its type, or raises an error that says what was expected."""
    value = _check_type(value, known.type, where)
    choices = choices_of(known)
    for part in parts_of(value) if known.metadata["joined"] else [value]:
        if choices and part not in choices:
            raise UserError(f'{where}: got "{part}"{_choose(part, choices)}')
    wrong = _outside(value, known.metadata["limits"]) if known.type in (int, float) else ""
    if wrong:
        raise UserError(f"{where}: expected a number {wrong}, got {value}")
    return value


def _check_type(value: Any, kind: Any, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if kind is float and type(value) is float and math.isfinite(value):
        return value
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if kind == tuple[str, ...]:
        # A single value needs no brackets, and whole numbers need no quotes: layers = "all", layers = [2, 4].
        items = value if isinstance(value, list) else [value]
        if all(type(item) in (str, int) for item in items):
            return tuple(map(str, items))
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a string in quotes"}
    raise UserError(f"{where}: expected {expected.get(kind, 'a list of strings')}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value of the wrong type, if possible as the user wrote it."""
    return to_toml(value) if isinstance(value, bool | str) else repr(value)


def _outside(value: float, limits: Mapping[str, Any]) -> str:
    """The limit that a number breaks, in words; "" if it breaks none."""
    if limits["low"] is not None and value < limits["low"]:
        return f"of at least {limits['low']}"
    if limits["high"] is not None and value > limits["high"]:
        return f"of at most {limits['high']}"
    if limits["above"] is not None and value <= limits["above"]:
        return f"above {limits['above']:g}"
    if limits["below"] is not None and value >= limits["below"]:
        return f"below {limits['below']:g}"
    return ""


def _checked(preset: Preset, where: Any) -> Preset:
    if not NAME.fullmatch(preset.name):
        raise UserError(
            f"{where}: name: expected at most 100 letters, digits, . _ and -, and no dot at the beginning; "
            f"got {to_toml(preset.name)}"
        )
    wrong = check_together({section: preset.section(section) for section in sections()})
    if wrong:
        raise UserError(f"{where}: {wrong}")
    return preset


def _choose(word: str, choices: Iterable[str]) -> str:
    """The end of an error message: the nearest choice, if there is one, and all choices."""
    choices = list(choices)
    near = difflib.get_close_matches(word, choices, n=1)
    hint = f', did you mean "{near[0]}"?' if near else ","
    return f"{hint} choose from {', '.join(choices)}"
