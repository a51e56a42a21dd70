"""Makes commands start fast and quietly.

Importing TensorFlow and Keras takes most of a short command's time. Each trick below saves part of it, and none
changes what a model computes. Commands call `load_keras` before they import anything that uses Keras.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator


def load_keras() -> None:
    """Imports Keras and its backend, without the lines that TensorFlow's libraries print as they load.

    The libraries write them straight to file descriptor 2, past Python, and no setting stops them. An import that fails
    still raises its error; TF_CPP_MIN_LOG_LEVEL=0 shows the lines.
    """
    silence = _silenced(2) if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3" else contextlib.nullcontext()
    with silence, _without_collection(), _hidden("matplotlib"):
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keeps the garbage collector away from the objects that the imports create.

    The imports create a million objects that live until exit. The collector would visit them again and again: during
    the imports, while graphs are traced, and at exit. That is a third of a short command's time.
    """
    if "keras" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 10, 10)
        gc.enable()


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Makes a package look missing: Keras imports Matplotlib, where it is installed, to plot images."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _silenced(descriptor: int) -> Iterator[None]:
    """Discards what is written to a file descriptor."""
    sys.stderr.flush()
    kept, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)
