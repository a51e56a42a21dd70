"""Settings that people choose: what they are, their limits, and why you would change them."""

from collections.abc import Callable
from dataclasses import Field, field
from typing import Any

Choices = tuple[str, ...] | Callable[[], tuple[str, ...]]


def option(
    default: Any,
    why: str,
    *,
    choices: Choices = (),
    joined: bool = False,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """One setting, as a field of a frozen dataclass.

    Args:
        default: its value if none is given; tuples stand for lists of strings.
        why: one line that explains it.
        choices: the allowed strings, or a function that returns them; empty for any.
        joined: whether several of the choices may be joined by "+".
        low, high: the smallest and the largest allowed number.
        above, below: like `low` and `high`, excluding the limit itself.

    Example:
        @dataclass(frozen=True)
        class GRUSettings:
            slots: int = option(64, "how many vectors are kept", low=1)
    """
    limits = {"low": low, "high": high, "above": above, "below": below}
    return field(default=default, metadata={"why": why, "choices": choices, "joined": joined, "limits": limits})


def choices_of(key: Field) -> tuple[str, ...]:
    """The strings that a setting allows; empty for any."""
    choices = key.metadata["choices"]
    return tuple(choices() if callable(choices) else choices)
