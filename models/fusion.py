"""A translator whose search also listens to a language model of the target side."""

from typing import Any

from models import Nested, Tensor
from models.joint import LEADER, JointDocumentModel

LANGUAGE_MODEL = "language_model"


class FusedModel(JointDocumentModel):
    """Adds a generator's logits, times a weight, to those of a translator.

    So the probability of a token is `p_translator * p_generator ** weight` over the sum of this for all tokens, in
    search as in scoring. Both carry their state through a document.

    Args:
        translator: a `models.document.DocumentTransformer`.
        generator: a `models.text_generator.TextGenerator` with the same tokens.
        weight: of its logits.

    References:
        Gulcehre et al. 2015, "On Using Monolingual Corpora in Neural Machine Translation", section 4.1 (shallow
        fusion); here the sum is normalised again at each token.
    """

    def __init__(self, translator: Any, generator: Any, weight: float) -> None:
        super().__init__({LEADER: translator, LANGUAGE_MODEL: generator})
        self.generator, self.weight = generator, weight

    def joined(self, logits: list[Tensor]) -> Tensor:
        own, other = logits
        return own + self.weight * other

    def begin(self, name: str, source: Tensor, max_length: int, prefix: Tensor | None, memory: Nested) -> Nested:
        return self.generator.initial_state(source[:, :0] if prefix is None else prefix, max_length, memory)
