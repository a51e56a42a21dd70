"""R-Drop: two passes of a model with different dropout shall agree on each token."""

from keras import ops

from models import Tensor
from models.gradients import custom_gradient
from models.loss import BLOCKS, portions


def divergence(first: Tensor, second: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the divergences between two distributions, the mean of KL(p|q) and KL(q|p).

    As in `models.loss.smoothed_cross_entropy` the gradient is formed together with the loss, one block of rows after
    the other, and the logits are never kept.

    Args:
        first, second: states (N, D) in any float type.
        table: output vectors (V, D), of which the logits are the products with the states.
        weights: float tensor (N,), of what the rows count for; 0 for padding.

    Returns:
        A float32 scalar in nats. It has a gradient in the states and the table.

    References:
        Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", section 2.1, equation 2.
    """
    table = ops.cast(table, table.dtype)  # a variable's value: TensorFlow's custom gradients are those of tensors alone
    return _divergence(first, second, table, weights)


@custom_gradient
def _divergence(first, second, table, weights):
    count, vectors = ops.shape(first)[0], ops.cast(table, first.dtype)
    parts = (portions(each, BLOCKS) for each in (first, second, ops.expand_dims(weights, -1)))
    total, in_first, in_second, in_table = zip(
        *(_block(*part, vectors) for part in zip(*parts, strict=True)), strict=True
    )

    def gradient(upstream):
        in_states = [ops.concatenate(each)[:count] * upstream for each in (in_first, in_second)]
        found = sum(in_table[1:], in_table[0]) * upstream
        return *(ops.cast(each, first.dtype) for each in in_states), ops.cast(found, table.dtype), None

    return sum(total[1:], total[0]), gradient


def _block(first, second, weights, vectors):
    """The loss of some rows, and its gradients in their states and in the table."""
    transposed = ops.transpose(vectors)
    p, q = (ops.log_softmax(ops.cast(ops.matmul(states, transposed), "float32")) for states in (first, second))
    difference, p, q = p - q, ops.exp(p), ops.exp(q)
    of_p = ops.sum(p * difference, axis=-1, keepdims=True)
    of_q = -ops.sum(q * difference, axis=-1, keepdims=True)
    half = 0.5 * weights
    in_p = ops.cast(half * (p * (difference - of_p) + p - q), first.dtype)
    in_q = ops.cast(half * (q * (-difference - of_q) + q - p), first.dtype)
    in_first, in_second = (ops.cast(ops.matmul(each, vectors), "float32") for each in (in_p, in_q))
    in_table = ops.matmul(ops.transpose(in_p), first) + ops.matmul(ops.transpose(in_q), second)
    return ops.sum(half * (of_p + of_q)), in_first, in_second, ops.cast(in_table, "float32")
