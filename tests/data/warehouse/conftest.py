"""The databases that the tests of this folder run on."""

import pytest

from data.warehouse.opening import open_warehouse


@pytest.fixture(params=["duckdb"])
def address(request, tmp_path):
    """The address of an empty warehouse."""
    return str(tmp_path / "test.duckdb")


@pytest.fixture
def warehouse(address):
    """An empty warehouse, open for writing."""
    with open_warehouse(address, create=True) as opened:
        yield opened
