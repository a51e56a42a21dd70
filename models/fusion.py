"""A translator whose search also uses a language model of the target side."""

from typing import Any

from models import Nested, Tensor
from models.joint import LEADER, JointDocumentModel

LANGUAGE_MODEL = "language_model"


class FusedModel(JointDocumentModel):
    """Adds a generator's logits, multiplied by a weight, to those of a translator.

    The probability of a token is therefore `p_translator * p_generator ** weight`, divided by the sum of this over all
    tokens, in search and in scoring alike. Both models carry their state through a document.

    Args:
        translator: a `models.document.DocumentTransformer`.
        generator: a `models.text_generator.TextGenerator` with the same tokens.
        weight: the weight of the generator's logits.

    References:
        Gulcehre et al. 2015, "On Using Monolingual Corpora in Neural Machine Translation", section 4.1 (shallow
        fusion); here the sum is renormalised at each token.
    """

    def __init__(self, translator: Any, generator: Any, weight: float) -> None:
        super().__init__({LEADER: translator, LANGUAGE_MODEL: generator})
        self.generator, self.weight = generator, weight

    def joined(self, logits: list[Tensor]) -> Tensor:
        own, other = logits
        return own + self.weight * other

    def begin(self, name: str, source: Tensor, max_length: int, prefix: Tensor | None, memory: Nested) -> Nested:
        return self.generator.initial_state(source[:, :0] if prefix is None else prefix, max_length, memory)
