"""Corpora prepared on many machines with Apache Beam, using the functions that clean text for any training.

This package does not import Beam by itself: `data.beam.prepared` reads the result without it.
"""

import logging
from importlib.util import find_spec

from data.errors import UserError
from data.installing import extra_command

# The values of --runner and Beam's names for them. Beam's own DirectRunner would first try to download a server
# from the web; this one does the work in Python.
RUNNERS = {
    "DirectRunner": "apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "DataflowRunner": "DataflowRunner",
    "FlinkRunner": "FlinkRunner",
}
SHARD_PAIRS = 250_000  # lines in a file of the output, which a worker sorts in memory


def check_installed() -> None:
    """Checks that Beam is installed.

    Raises:
        UserError: it is not; the message says how to install it.
    """
    missing = [package for package in ("apache_beam", "pyarrow") if find_spec(package) is None]
    if missing:
        raise UserError(
            f"corpora prepare needs {' and '.join(missing)}: {extra_command('beam', pinned=False)}, preferably in a "
            "separate virtual environment (docs/beam.md)"
        )
    # Beam warns whenever it is imported without the packages for Google's cloud, needed or not.
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith("apitools not found"))
