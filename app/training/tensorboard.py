"""Training curves for TensorBoard."""

import errno
import os
from pathlib import Path


class ScalarWriter:
    """Writes scalars that `tensorboard --logdir runs` shows.

    Args:
        folder: the run's `tensorboard` folder.

    Raises:
        OSError: a file cannot be written, for example because the disk is full.
    """

    def __init__(self, folder: Path | str):
        import tensorflow as tf

        self.folder, self._tf = str(folder), tf
        self._writer = self._checked(lambda: tf.summary.create_file_writer(self.folder))

    def write(self, update: int, **scalars: float) -> None:
        """Adds one value to each curve."""
        self._checked(lambda: self._write(update, scalars))

    def _write(self, update: int, scalars: dict) -> None:
        with self._writer.as_default():
            for name, value in scalars.items():
                self._tf.summary.scalar(name, value, step=update)
        self._writer.flush()

    def _checked(self, action):
        try:
            return action()
        except self._tf.errors.ResourceExhaustedError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.folder) from error
        except self._tf.errors.OpError as error:
            raise OSError(errno.EIO, "TensorFlow could not write the curves", self.folder) from error
