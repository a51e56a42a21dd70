"""The training's curves for TensorBoard."""


class Board:
    """Writes scalars that `tensorboard --logdir runs` shows.

    Args:
        folder: the run's `tensorboard` folder.
    """

    def __init__(self, folder):
        import tensorflow as tf

        self._scalar, self._writer = tf.summary.scalar, tf.summary.create_file_writer(str(folder))

    def write(self, update: int, **scalars: float) -> None:
        """Adds one value to each curve."""
        with self._writer.as_default():
            for name, value in scalars.items():
                self._scalar(name, value, step=update)
        self._writer.flush()
