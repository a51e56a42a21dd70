"""R-Drop: two passes of a model with different dropout should agree on each token."""

from keras import ops

from models import Tensor
from models.gradients import custom_gradient
from models.loss import BLOCKS, Softmax, portions, towards_targets


def twin_losses(
    states: Tensor, table: Tensor, labels: Tensor, weights: Tensor, smoothing: float, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean cross-entropy of two passes, and the divergence between their distributions.

    The divergence of a token is the mean of KL(p|q) and KL(q|p). As in `models.loss.smoothed_cross_entropy`, the
    gradient is computed together with the loss, one block of rows at a time, and the logits are never kept.

    Args:
        states: (2N, D) in any float type, first those of the first pass, then those of the second.
        table: output vectors (V, D); the logits are the products of states and vectors.
        labels: integer tensor (N,).
        weights: float tensor (N,), how much each token counts; 0 for padding.
        smoothing: see `smoothed_cross_entropy`.
        alpha: half of it is the weight of the divergence in the loss.

    Returns:
        Three float32 scalars in nats, weighted sums over tokens: the smoothed cross-entropy with the weighted
        divergence added, the plain negative log-likelihood, and the divergence. Only the first has a gradient, with
        respect to the states and the table.

    References:
        Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", section 2.1, equations 2 to 4; the loss is
        half of theirs.
    """
    table = ops.cast(table, table.dtype)  # the value of a variable: TensorFlow's custom gradients need tensors
    found = _loss(smoothing, alpha)(states, table, ops.concatenate([labels, labels]), weights)
    return found[0], found[1], found[2]


def _loss(smoothing, alpha):
    @custom_gradient
    def loss(states, table, labels, weights):
        *softmax, apart = _through_softmax(states, table, weights, alpha)
        halves = ops.concatenate([weights, weights]) / 2
        losses, in_states, in_table = towards_targets(softmax, states, table, labels, halves, halves, smoothing)

        def gradient(upstream):
            found = in_states * upstream[0], in_table * upstream[0]
            return ops.cast(found[0], states.dtype), ops.cast(found[1], table.dtype), None, None

        return ops.stack([losses[0] + alpha / 2 * apart, losses[1], apart]), gradient

    return loss


def _through_softmax(states, table, weights, alpha):
    """What `towards_targets` needs, and the divergence."""
    count, vectors = ops.shape(weights)[0], ops.cast(table, states.dtype)
    parts = (portions(each, BLOCKS) for each in (states[:count], states[count:], ops.expand_dims(weights, -1)))
    blocks = [_block(*part, vectors, alpha) for part in zip(*parts, strict=True)]
    *rows, in_table, apart = zip(*blocks, strict=True)
    total_p, total_q, in_first, in_second = (ops.concatenate(each)[:count] for each in rows)
    total, in_states = ops.concatenate([total_p, total_q]), ops.concatenate([in_first, in_second])
    return total, in_states, sum(in_table[1:], in_table[0]), sum(apart[1:], apart[0])


def _block(first, second, weights, vectors, alpha):
    """For some tokens: the logs of both denominators, the gradients of both states and the table, and the divergence.

    With d = log p - log q, the gradient of KL(p|q) + KL(q|p) in the first pass's logits is p (d - KL(p|q) + 1) - q.
    Only p, q and their products with the logits' difference are as wide as the vocabulary; factors that are the same
    for a whole row are applied to products of width D.
    """
    dtype, of_p, of_q = first.dtype, Softmax(first, vectors), Softmax(second, vectors)
    difference = ops.cast(of_p.shifted - of_q.shifted, dtype)
    constant = ops.log(of_p.total) - ops.log(of_q.total)
    first, second = ops.cast(first, "float32"), ops.cast(second, "float32")
    shift = of_p.log_denominator - of_q.log_denominator
    kl_p = ops.sum((first - second) * of_p.mean, axis=-1, keepdims=True) - shift
    kl_q = shift - ops.sum((first - second) * of_q.mean, axis=-1, keepdims=True)
    # The weight of each pass's cross-entropy, and that of each divergence.
    half, share = weights / 2, alpha / 4 * weights
    on_p, on_q = half + share * (1 - constant - kl_p), half + share * (1 + constant - kl_q)
    by_p, by_q = of_p.powers * difference, of_q.powers * difference
    in_first = on_p * of_p.mean - share * of_q.mean + share * of_p.average(by_p)
    in_second = on_q * of_q.mean - share * of_p.mean - share * of_q.average(by_q)
    in_table = of_p.outer(of_p.powers, on_p * first - share * second) + of_p.outer(by_p, share * first)
    in_table = in_table + of_q.outer(of_q.powers, on_q * second - share * first) - of_q.outer(by_q, share * second)
    logs = (ops.squeeze(each.log_denominator, -1) for each in (of_p, of_q))
    return *logs, in_first, in_second, in_table, ops.sum(weights * (kl_p + kl_q)) / 2
