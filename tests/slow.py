"""Marks what takes long: `make test` leaves it out, `make test-slow` runs it."""

from collections.abc import Iterable

import pytest


def slow_but(values: Iterable, *quick) -> list:
    """Values of a parameter, all of them slow but the quick ones."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
