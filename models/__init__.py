"""Pure Keras: masks, attention, encoder, decoder, Transformer and search. No files, no text."""

from collections.abc import Callable
from typing import Any

# A tensor of the current Keras backend, or something that Keras can convert to one.
Tensor = Any
# Keys and values of one layer.
KeysValues = tuple[Tensor, Tensor]
# Nested dictionaries, tuples and lists of tensors, such as a decoding state.
Nested = Any
# One step of decoding: tokens (N,) and a state -> logits (N, V) and the state after it.
Step = Callable[[Tensor, Nested], tuple[Tensor, Nested]]
