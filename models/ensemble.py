"""Ensembles: several translators of which the search takes the mean."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from models import Tensor
from models.joint import LEADER, JointDocumentModel, JointModel


class _Mean:
    """The probability of a token is the mean of what the models give it."""

    def joined(self, logits: list[Tensor]) -> Tensor:
        found = ops.stack([ops.log_softmax(each) for each in logits])
        return ops.logsumexp(found, axis=0) - float(np.log(len(logits)))


class Ensemble(_Mean, JointModel):
    """The mean of the probabilities of several `models.transformer.Transformer`, in search as in scoring."""


class DocumentEnsemble(_Mean, JointDocumentModel):
    """The same for several `models.document.DocumentTransformer`, whose memories may be of different kinds."""


def ensemble(models: Sequence[Any], documents: bool) -> JointModel:
    """The mean of the probabilities of some translators with the same tokens.

    Args:
        models: at least two; the keys of retrieval are those of the first.
        documents: whether they read documents.

    References:
        Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 3.6, for ensembles in
        translation.
    """
    named = {LEADER if n == 1 else f"{LEADER}_{n:02}": model for n, model in enumerate(models, 1)}
    return (DocumentEnsemble if documents else Ensemble)(named)
