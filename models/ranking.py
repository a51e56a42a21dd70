"""A ranking loss: the reference should be likelier after its own document than after a wrong one."""

from keras import ops

from models import Tensor
from models.loss import negative_log_likelihoods, smoothed_cross_entropy


def ranking_loss(
    right: Tensor, wrong: Tensor, table: Tensor, labels: Tensor, counted: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """How far the right document's advantage falls short of the margin, summed over windows.

    The loss of a window of n target tokens is max(0, n * margin - (log p(right) - log p(wrong))). Whole windows are
    compared, because most of a segment's words do not depend on the document.

    Args:
        right, wrong: the decoder's states (B, T, D) after either document, ready for the output table.
        table: output vectors (V, D).
        labels: integer tensor (B, T), 0 for padding.
        counted: boolean tensor (B, W, T): the tokens of each window to be compared.
        margin: in nats per token.

    Returns:
        Two float32 scalars: the loss in nats, and the number of target tokens in the windows that were compared.

    References:
        Jean and Cho 2019, "Context-Aware Learning for Neural Machine Translation", section 3, the sentence-level term.
    """
    counted = ops.cast(ops.logical_and(counted, ops.not_equal(labels, 0)[:, None]), "float32")
    both = [ops.reshape(states, (-1, states.shape[-1])) for states in (right, wrong)]
    flat = ops.reshape(labels, (-1,))
    losses = [ops.reshape(negative_log_likelihoods(rows, table, flat), ops.shape(labels)) for rows in both]
    sizes = ops.sum(counted, axis=-1)
    missing = margin * sizes - ops.sum(counted * (losses[1] - losses[0])[:, None], axis=-1)
    # Where the margin is missed, the loss is linear: a sum of likelihoods with known weights, which needs no logits.
    missed = ops.cast(missing > 0, "float32")
    weights = ops.reshape(ops.sum(counted * missed[..., None], axis=1), (-1,))
    weights = ops.concatenate([weights, -weights])
    difference, _ = smoothed_cross_entropy(ops.concatenate(both), table, ops.concatenate([flat, flat]), weights)
    return margin * ops.sum(sizes * missed) + difference, ops.sum(sizes)
