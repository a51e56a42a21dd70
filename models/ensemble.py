"""Ensembles: several translators whose probabilities the search averages."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from models import Tensor
from models.joint import LEADER, JointDocumentModel, JointModel


class _Mean:
    """The probability of a token is the mean of the probabilities that the models give it."""

    def joined(self, logits: list[Tensor]) -> Tensor:
        found = ops.stack([ops.log_softmax(each) for each in logits])
        return ops.logsumexp(found, axis=0) - float(np.log(len(logits)))


class Ensemble(_Mean, JointModel):
    """The mean of the probabilities of several `models.transformer.Transformer`, in search and in scoring alike."""


class DocumentEnsemble(_Mean, JointDocumentModel):
    """The same for several `models.document.DocumentTransformer`, which may have different kinds of memory."""


def ensemble(models: Sequence[Any], documents: bool) -> JointModel:
    """Combines translators with the same tokens by the mean of their probabilities.

    Args:
        models: at least two; the first provides the keys for retrieval.
        documents: whether the models read documents.

    References:
        Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 3.6, for ensembles in
        translation.
    """
    named = {LEADER if n == 1 else f"{LEADER}_{n:02}": model for n, model in enumerate(models, 1)}
    return (DocumentEnsemble if documents else Ensemble)(named)
