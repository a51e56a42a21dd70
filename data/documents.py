"""Documents to batches: lanes of documents read side by side, window after window."""

from data.packing import INPUTS, PackedWindow, pack

__all__ = ["INPUTS", "PackedWindow", "pack"]
