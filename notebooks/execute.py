"""Executes a notebook's text source and writes the notebook with its outputs next to it.

    python notebooks/execute.py                  all notebooks of this folder
    python notebooks/execute.py SOURCE.py        one of them
    python notebooks/execute.py --output FOLDER  written elsewhere

The text source is what people edit and what is reviewed; the .ipynb is made from it. WEITBLICK_QUICK=1 makes the
trainings short and takes a made-up corpus instead of one from the network.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

FOLDER = Path(__file__).resolve().parent
SOURCES = "[0-9]*.py"
COLOURS = re.compile("\x1b\\[[0-9;]*m")  # as IPython writes them into tracebacks


def execute(source: Path, environment: dict | None = None) -> nbformat.NotebookNode:
    """Runs all cells of a text source in a fresh kernel of this Python.

    Args:
        source: a Jupytext source in the percent format.
        environment: the kernel's environment variables; those of this process by default.

    Returns:
        The notebook with its outputs, without anything that would differ at the next run for no reason.

    Raises:
        CellExecutionError: a cell failed; the message has its text and error.
    """
    notebook = as_notebook(source)
    environment = dict(os.environ if environment is None else environment)
    # The packages are found even if they are not installed.
    places = [str(FOLDER.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    environment["WEITBLICK_STILL"] = "1"  # pictures instead of sliders, which show nothing without a kernel
    with tempfile.TemporaryDirectory() as sockets:
        # Over TCP, the default, others on this machine might listen; the kernel would warn about it.
        private = {"transport": "ipc", "ip": f"{sockets}/kernel"} if os.name == "posix" else {}
        config = Config({"KernelManager": private})
        client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, config=config)
        client.execute(cwd=str(source.parent), env=environment)
    notebook.metadata.pop("language_info", None)
    return notebook


def as_notebook(source: Path) -> nbformat.NotebookNode:
    """A text source as a notebook without outputs; cells are numbered so that each run gives them the same ids."""
    notebook = jupytext.read(source)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    paired = {"formats": "ipynb,py:percent"}  # Jupyter with Jupytext then keeps the two files in step
    notebook.metadata = nbformat.from_dict({"jupytext": paired, "kernelspec": kernel})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="text sources; all notebooks of this folder by default")
    parser.add_argument("--output", type=Path, help="folder for the .ipynb; the source's own by default")
    options = parser.parse_args()
    for source in options.sources or sorted(FOLDER.glob(SOURCES)):
        print(f"{source.name} ...", flush=True)
        try:
            notebook = execute(source.resolve())
        except CellExecutionError as error:
            print(f"error: {source.name}: {COLOURS.sub('', str(error))}", file=sys.stderr)
            return 1
        folder = options.output or source.parent
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / f"{source.stem}.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
