"""Pure Keras: masks, attention, encoder, decoder, Transformer and search. No files, no text."""

from typing import Any

# A tensor of whatever backend Keras runs on, or something that Keras turns into one.
Tensor = Any
