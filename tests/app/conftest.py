import warnings

import pytest


@pytest.fixture
def eagerly():
    """Without graphs, which take longer to make than a few updates take without."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*option does not apply to tf.data functions")
        yield
    tf.config.run_functions_eagerly(False)
