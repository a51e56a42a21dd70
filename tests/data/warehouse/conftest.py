"""The databases that the tests of this folder run on: each test on a DuckDB file and on BigQuery, by an emulator."""

import subprocess
import uuid

import pytest

from data.warehouse.opening import open_warehouse
from tests import bigquery_emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    """A BigQuery emulator on free ports, one for each process that runs tests."""
    try:
        running = bigquery_emulator.start(tmp_path_factory.mktemp("bigquery") / "log.txt")
    except (bigquery_emulator.EmulatorMissing, OSError, subprocess.SubprocessError) as error:
        message = f"{bigquery_emulator.NOT_TESTED}: {error}"
        pytest.skip(message)
    yield running
    running.stop()


@pytest.fixture
def dataset(emulator, monkeypatch):
    """The address of a data set in BigQuery that is not there yet; programs that are started find the emulator."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    address = f"bigquery:{bigquery_emulator.PROJECT}.t{uuid.uuid4().hex}"
    yield address
    monkeypatch.undo()
    _drop(emulator, address)


@pytest.fixture(params=["duckdb", "bigquery"])
def address(request, tmp_path):
    """The address of an empty warehouse."""
    if request.param == "bigquery":
        return request.getfixturevalue("dataset")
    return str(tmp_path / "test.duckdb")


@pytest.fixture
def warehouse(address):
    """An empty warehouse, open for writing."""
    with open_warehouse(address, create=True) as opened:
        yield opened


def _drop(emulator, address):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    options = {"api_endpoint": emulator.environment["BIGQUERY_EMULATOR_HOST"]}
    with bigquery.Client(bigquery_emulator.PROJECT, AnonymousCredentials(), client_options=options) as client:
        client.delete_dataset(address.removeprefix("bigquery:"), delete_contents=True, not_found_ok=True)
