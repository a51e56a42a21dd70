"""Glossaries: terms and their translations, from .tsv, .csv and .tbx files."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from data.bitexts.languages import none_in_both, primary
from data.bitexts.tsv import find_columns
from data.cleaning import normalise
from data.corpora.folder import read_lines
from data.errors import UserError
from data.xml_files import XML_LANG, read_units, segment_text

MOST_WORDS = 20  # of a term
_MOST_TERMS = 100  # of one language in an entry of TBX
_CASE = "case"
_PART = ("part", "pos", "part of speech", "partofspeech")
_YES, _NO = (_CASE, "yes", "true", "1", "x"), ("", "no", "false", "0")
# How values of `administrativeStatus` and `normativeAuthorization` begin.
_PREFERRED = ("preferred", "standardized")
_REFUSED = ("deprecated", "superseded", "obsolete", "notrecommended", "not recommended", "rejected", "forbidden")


class Term(NamedTuple):
    """A term and an acceptable translation of it; terms with the same source are alternatives, the best one first.

    Args:
        source: the term, as `data.cleaning.normalise` writes text.
        target: its translation, likewise.
        part: its part of speech as the file names it, in lower case; "" if it does not.
        match_case: whether text must have exactly this case to be the term.
    """

    source: str
    target: str
    part: str = ""
    match_case: bool = False


def read_glossary(path: Path | str, source: str = "en", target: str = "de") -> list[Term]:
    """Reads a glossary.

    - .tsv, .csv (with commas or semicolons): each line has a source term, its translation and, optionally, the part of
      speech and the word `case`. The first line may name the columns: `source` and `target` or codes of the languages,
      `part`, `case`; other columns are then skipped. Empty lines and those that begin with `#` are skipped.
    - .tbx: TBX of 2008 (`martif`) and 2019 (`tbx`). Each term of a concept in one language is paired with each in the
      other, preferred ones first; deprecated, superseded and not recommended ones are left out.

    Args:
        path: the file.
        source: the language that is translated from.
        target: the language that is translated to.

    Returns:
        Its terms in the order of the file, each once.

    Raises:
        UserError: the file is missing, of another kind, damaged, or has no term in both languages; or a term is empty
            or has more than `MOST_WORDS` words. The message names file and line.

    References:
        ISO 30042:2019, https://www.tbxinfo.net

    Example:
        >>> read_glossary("terms.tsv")
        [Term(source='power supply', target='Netzteil', part='noun', match_case=False)]
    """
    path, source, target = Path(path).expanduser(), primary(source), primary(target)
    readers = {".tsv": _table, ".csv": _table, ".tbx": _tbx}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: a glossary ends in .tsv, .csv or .tbx; rename or convert it")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    terms: dict[Term, None] = {}
    for line, term in readers[path.suffix.lower()](path, source, target):
        term = term._replace(
            source=normalise(term.source), target=normalise(term.target), part=normalise(term.part, True)
        )
        _check(term, f"{path}, line {line:,}")
        terms[term] = None
    return list(terms)


def _check(term: Term, place: str) -> None:
    for side in ("source", "target"):
        words = len(getattr(term, side).split())
        if not words:
            raise UserError(f"{place}: the {side} term is empty; fill it in, or delete the line")
        if words > MOST_WORDS:
            raise UserError(
                f"{place}: the {side} term has {words} words, but a term has at most {MOST_WORDS}; put sentences into "
                "a translation memory"
            )


def _table(path: Path, source: str, target: str) -> Iterator[tuple[int, Term]]:
    """The terms of a .tsv or .csv file with their lines."""
    found, columns = False, None
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _tsv_rows(path)
    rows = ((line, row) for line, row in rows if any(map(str.strip, row)) and not row[0].lstrip().startswith("#"))
    for number, (line, row) in enumerate(rows):
        if number == 0 and (sides := find_columns(row, source, target)):
            columns = _Columns(row, *sides)
            continue
        found = True
        place = f"{path}, line {line:,}"
        yield line, columns.term(row, place) if columns else _unnamed(row, place)
    if not found:
        raise UserError(f"{path}: no term; expected lines such as 'power supply', {_separator(path)}, 'Netzteil'")


def _tsv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    return ((number, line.split("\t")) for number, line in enumerate(read_lines(path), start=1))


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = read_lines(path)
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = ";" if first.count(";") > first.count(",") else ","
    rows = csv.reader((f"{line}\n" for line in read_lines(path)), delimiter=delimiter, strict=True)
    before = 0
    try:
        for row in rows:
            yield before + 1, row or [""]
            before = rows.line_num
    except csv.Error as error:
        raise UserError(
            f"{path}, line {before + 1:,}: {error}; close the quotes, and double those within a term"
        ) from None


class _Columns:
    """The columns that the first line names."""

    def __init__(self, names: list[str], source: int, target: int):
        names = [name.strip().lower() for name in names]
        self.source, self.target = source, target
        self._part = next((names.index(name) for name in _PART if name in names), len(names))
        self._case = names.index(_CASE) if _CASE in names else len(names)

    def term(self, row: list[str], place: str) -> Term:
        """The term in a row."""
        needed = max(self.source, self.target) + 1
        if len(row) < needed:
            raise _wrong_count(row, place, f"at least {needed}, as the first line names them")
        part, case = (row[column].strip() if column < len(row) else "" for column in (self._part, self._case))
        if case.lower() not in _YES + _NO:
            raise UserError(f"{place}: {case!r} in the column 'case'; expected 'case', 'yes', 'no' or nothing")
        return Term(row[self.source], row[self.target], part, case.lower() in _YES)


def _unnamed(row: list[str], place: str) -> Term:
    """The term in a row of a file whose columns have no names."""
    while len(row) > 2 and not row[-1].strip():
        row = row[:-1]
    marks = [mark.strip() for mark in row[2:] if mark.strip()]
    parts = [mark for mark in marks if mark.lower() != _CASE]
    if len(row) < 2 or len(parts) > 1:
        wanted = "source and target, then at most a part of speech and the word 'case'"
        raise _wrong_count(row, place, f"{wanted}; or name the columns in the first line")
    return Term(row[0], row[1], parts[0] if parts else "", len(parts) < len(marks))


def _wrong_count(row: list[str], place: str, expected: str) -> UserError:
    return UserError(f"{place}: {len(row)} column{'s' if len(row) > 1 else ''}; expected {expected}")


def _separator(path: Path) -> str:
    return "a comma" if path.suffix.lower() == ".csv" else "a tab"


def _tbx(path: Path, source: str, target: str) -> Iterator[tuple[int, Term]]:
    """The terms of a .tbx file with the lines of their entries."""
    found, languages = False, set()
    for line, entry, _ in read_units(path, "TBX", ("martif", "tbx"), ("termEntry", "conceptEntry")):
        terms: dict[str, list[tuple[bool, str, str]]] = {}
        for section in itertools.chain(entry.iterfind("langSet"), entry.iterfind("langSec")):
            language = primary(section.get(XML_LANG) or section.get("lang") or "")
            terms.setdefault(language, []).extend(_usable(section))
        languages |= terms.keys()
        sides = [sorted(terms.get(side, []), key=lambda term: not term[0]) for side in (source, target)]
        if len(max(sides, key=len)) > _MOST_TERMS:
            raise UserError(f"{path}, line {line:,}: more than {_MOST_TERMS} terms of one language in one entry")
        for (_, text, part), (_, translation, other_part) in itertools.product(*sides):
            found = True
            yield line, Term(text, translation, part or other_part)
    if not found:
        raise none_in_both(path, "entry", source, target, languages)


def _usable(section: Element) -> Iterator[tuple[bool, str, str]]:
    """For each term in one language that may be used: whether it is preferred, its text and its part of speech."""
    for group in section:
        if group.tag not in ("tig", "ntig", "termSec"):
            continue
        text = segment_text(group.find("term") if group.tag != "ntig" else group.find("termGrp/term"))
        status = [_note(group, kind).lower() for kind in ("administrativeStatus", "normativeAuthorization")]
        if text.strip() and not any(one.startswith(_REFUSED) for one in status):
            yield any(one.startswith(_PREFERRED) for one in status), text, _note(group, "partOfSpeech")


def _note(group: Element, kind: str) -> str:
    """What is noted about a term: `<termNote type="kind">`, or `<kind>` as TBX of 2019 may have it."""
    notes = (note for note in group.iter() if note.tag == kind or (note.tag == "termNote" and note.get("type") == kind))
    return next(((note.text or "").strip() for note in notes), "")
