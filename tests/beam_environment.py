"""Apache Beam for tests: `weitblick` as a process in .venv-beam, which `make test` makes."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = REPOSITORY / ".venv-beam" / "bin" / "python"
NOT_TESTED = "APACHE BEAM IS NOT TESTED"

# Each start imports Beam anew, so several commands go into one process.
_PROGRAM = """
import contextlib, io, json, sys
from app.cli import main as cli
results = []
for arguments in json.load(sys.stdin):
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(arguments)
        except SystemExit as error:
            code = error.code
    results.append([code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()])
json.dump(results, sys.stdout)
"""


def need() -> None:
    """Skips the test where Beam is missing, and says so."""
    done = subprocess.run([PYTHON, "-c", "import apache_beam"], capture_output=True) if PYTHON.exists() else None
    if done is None or done.returncode:
        message = f"{NOT_TESTED}: it is not installed in {PYTHON.parents[1]}; make test does it"
        pytest.skip(message)


def weitblick(*commands) -> list[tuple[int, str, str]]:
    """Runs commands one after the other in one process; exit code, output and errors of each."""
    given = json.dumps([list(map(str, command)) for command in commands])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [PYTHON, "-c", _PROGRAM], input=given, capture_output=True, text=True, encoding="utf-8", env=environment
    )
    assert done.returncode == 0, done.stderr
    return [tuple(result) for result in json.loads(done.stdout)]


@contextlib.contextmanager
def job_server(folder: Path):
    """A server of Beam's job API, in Python, that does the work with those who submit it; the address."""
    port = folder / "port"
    program = "apache_beam.runners.portability.local_job_service_main"
    command = [PYTHON, "-m", program, "--port=0", f"--port_file={port}", f"--staging_dir={folder / 'staging'}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not (port.exists() and port.read_text()):
            assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"localhost:{port.read_text()}"
    finally:
        server.kill()
        server.wait()
