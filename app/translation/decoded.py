"""What every way of decoding takes and gives, whichever program computes it."""

from dataclasses import dataclass
from typing import NamedTuple

from data.errors import UserError


class Engine(NamedTuple):
    """The program that computes a model.

    Args:
        name: one of `ENGINES`.
        quantization: how CTranslate2 stores weights, one of `QUANTIZATIONS`; "" for Keras.
    """

    name: str = "keras"
    quantization: str = ""


ENGINES = ("keras", "ctranslate2")
QUANTIZATIONS = ("float32", "bfloat16", "float16", "int16", "int8", "int8_float32", "int8_bfloat16")
KERAS = Engine()


@dataclass(frozen=True)
class Sampling:
    """Draws translations instead of looking for the likeliest.

    Args:
        temperature: logits are divided by it; below 1 likely words get likelier.
        top_k: draws from this many of the likeliest tokens; 0 for all.
        top_p: draws from the fewest likeliest tokens with this probability together; 1 for all.
        seed: the same seed gives the same draws for the same input in the same portions.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not self.temperature > 0:
            raise UserError(f"temperature = {self.temperature} is not above 0; a beam of 1 is the limit towards 0")
        if self.top_k < 0:
            raise UserError(f"top-k = {self.top_k} is below 0; 0 means all tokens")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p = {self.top_p} is not above 0 and at most 1; 1 means all tokens")


class Decoded(NamedTuple):
    """One decoded sequence: token ids without the end token, and the search's score of it."""

    ids: list[int]
    score: float


class TokenScore(NamedTuple):
    """The log-probability (natural) of a given sequence, and its number of tokens with the end token."""

    log_probability: float
    tokens: int
