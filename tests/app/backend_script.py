"""Runs a script of a test with a backend of Keras, in a process of its own, since a process has one backend."""

import json
import os
import subprocess
import sys


def run_on(backend: str, script: str) -> dict:
    """What the script prints last, which is JSON."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
