"""The application: command line, presets, training, evaluation and translation."""

__version__ = "0.2.0"
