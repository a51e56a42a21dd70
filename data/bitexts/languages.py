"""Language codes as files write them: `en-US`, `de_DE`, `EN`."""

import re
from collections.abc import Iterable

from data.errors import UserError

_SHOWN = 20


def primary(code: str) -> str:
    """The language of a code, without country, script or variant: "de" of "de_DE"."""
    return re.split("[-_@]", code.strip().lower(), maxsplit=1)[0]


def none_in_both(path: object, unit: str, source: str, target: str, found: Iterable[str]) -> UserError:
    """The error for a file without a usable pair.

    Args:
        path: the file.
        unit: what the file consists of, such as "unit".
        source: code of one language that was looked for.
        target: code of the other.
        found: the codes that were found; "" for text that names none.
    """
    found, sides = set(found), f"both {_named(source)} and {_named(target)}"
    if {source, target} <= found:
        return UserError(
            f"{path}: no {unit} has finished text in {sides}; empty or unapproved translations do not count"
        )
    there = sorted(language or "none" for language in found)
    listed = ", ".join(there[:_SHOWN]) + (" ..." if len(there) > _SHOWN else "") or f"no {unit} at all"
    return UserError(f"{path}: no {unit} has {sides}; it has {listed}; choose a file in these two languages")


def _named(code: str) -> str:
    """A language with its code: "German (de)"."""
    from babel import Locale, UnknownLocaleError

    try:
        return f"{Locale.parse(code).english_name} ({code})"
    except (UnknownLocaleError, ValueError):
        return code
