"""A tokenizer that a reader can run in the head: one id a letter, so expectations can be written by hand."""

import random
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class LetterTokenizer:
    """a=4, b=5, ...; sampling doubles letters at random. `pause` (seconds a text) makes it slow enough to be killed."""

    vocabulary_size: int = 30
    pause: float = 0.0
    offset: int = 0
    fingerprint: str = "letters"

    @property
    def source(self):
        return self

    target = source

    def encode(self, texts):
        time.sleep(self.pause * len(texts))
        return [[4 + self.offset + ord(letter) - ord("a") for letter in text] for text in texts]

    def encode_sampled(self, texts, alpha, seed):
        dice = random.Random(seed)
        texts = ["".join(letter * (1 + (dice.random() < alpha)) for letter in text) for text in texts]
        return self.encode(texts)
