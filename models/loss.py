"""Label-smoothed cross-entropy straight from the decoder's states, with a hand-written gradient."""

from keras import ops

from models import Tensor
from models.gradients import custom_gradient

# Number of portions in which rows are processed: the float32 numbers of one portion fit the CPU's cache; those of all
# rows together would need rows x vocabulary x 4 bytes several times over.
BLOCKS = 8


def smoothed_cross_entropy(
    states: Tensor,
    table: Tensor,
    labels: Tensor,
    weights: Tensor,
    smoothing: float = 0.0,
    reported: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weighted sum of cross-entropies against the true token mixed with a uniform distribution over the vocabulary.

    The loss of one row is -(1 - e) log p[label] - e/V sum(log p). As the weights are known, the gradient p - target is
    computed together with the loss, one block of rows at a time, with one exponential for each logit; the uniform part
    needs only the mean of the table, and the true token only its row. The logits are never kept.

    Args:
        states: (N, D) in any float type.
        table: output vectors (V, D); the logits are the products of states and vectors.
        labels: integer tensor (N,).
        weights: float tensor (N,), how much each row counts; 0 for padding.
        smoothing: the share e of the uniform distribution.
        reported: (N,), how much each row counts in the second result, if not `weights`.

    Returns:
        Two float32 scalars in nats: the smoothed loss and the plain negative log-likelihood. Only the first has a
        gradient, with respect to the states and the table.

    References:
        Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; Vaswani et al. 2017, section 5.4.
    """
    table = ops.cast(table, table.dtype)  # the value of a variable: TensorFlow's custom gradients need tensors
    # One tensor, because PyTorch's custom gradient passes on the gradient of only one.
    both = _loss(smoothing)(states, table, labels, weights, weights if reported is None else reported)
    return both[0], both[1]


def negative_log_likelihoods(states: Tensor, table: Tensor, labels: Tensor) -> Tensor:
    """The loss of each row in nats, without a gradient.

    Args:
        states, table, labels: see `smoothed_cross_entropy`.

    Returns:
        (N,) float32.
    """
    states, vectors = ops.stop_gradient(states), ops.cast(ops.stop_gradient(ops.cast(table, table.dtype)), states.dtype)

    def total(block):
        return ops.logsumexp(ops.cast(ops.matmul(block, ops.transpose(vectors)), "float32"), axis=-1)

    totals = ops.concatenate([total(block) for block in portions(states, BLOCKS)])[: ops.shape(states)[0]]
    own = ops.cast(states, "float32") * ops.cast(ops.take(vectors, labels, axis=0), "float32")
    return totals - ops.sum(own, axis=-1)


def _loss(smoothing):
    @custom_gradient
    def loss(states, table, labels, weights, reported):
        losses, states_gradient, table_gradient = _with_gradients(states, table, labels, weights, reported, smoothing)

        def gradient(upstream):
            in_states, in_table = states_gradient * upstream[0], table_gradient * upstream[0]
            return ops.cast(in_states, states.dtype), ops.cast(in_table, table.dtype), None, None, None

        return losses, gradient

    return loss


def _with_gradients(states, table, labels, weights, reported, smoothing):
    """The two losses (2,), and the gradients of the first in states (N, D) and table (V, D), all float32."""
    vectors, weighted = ops.cast(table, states.dtype), ops.cast(states, "float32") * ops.expand_dims(weights, -1)
    blocks = [
        _block(*parts, vectors) for parts in zip(*(portions(each, BLOCKS) for each in (states, weighted)), strict=True)
    ]
    total, means, in_table = zip(*blocks, strict=True)
    total, means = (ops.concatenate(each)[: ops.shape(states)[0]] for each in (total, means))
    softmax = total, means * ops.expand_dims(weights, -1), sum(in_table[1:], in_table[0])
    return towards_targets(softmax, states, table, labels, weights, reported, smoothing)


def towards_targets(
    softmax: tuple[Tensor, Tensor, Tensor],
    states: Tensor,
    table: Tensor,
    labels: Tensor,
    weights: Tensor,
    reported: Tensor,
    smoothing: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Completes losses and gradients with the parts that do not go through the softmax.

    Args:
        softmax: the logs of its denominators (N,), and the gradients that go through it, those of the states (N, D)
            and of the table (V, D).
        states, table, labels, weights, reported, smoothing: see `smoothed_cross_entropy`.

    Returns:
        The two losses (2,), and the gradients of the first with respect to the states and the table, all float32.
    """
    total, in_states, in_table = softmax
    mean, own = ops.mean(ops.cast(table, "float32"), axis=0), ops.take(ops.cast(table, states.dtype), labels, axis=0)
    states, own, each = ops.cast(states, "float32"), ops.cast(own, "float32"), ops.expand_dims(weights, -1)
    weighted, chosen = states * each, ops.sum(states * own, axis=-1)
    plain = ops.sum((total - chosen) * reported)
    total = total * weights
    likelihood = ops.sum(total) - ops.sum(chosen * weights)
    uniform = ops.sum(total) - ops.sum(ops.matmul(weighted, ops.expand_dims(mean, -1)))
    in_states = in_states - ((1 - smoothing) * own + smoothing * mean) * each
    in_table = in_table - smoothing / table.shape[0] * ops.sum(weighted, axis=0)
    in_table = in_table - (1 - smoothing) * ops.segment_sum(weighted, labels, table.shape[0])
    return ops.stack([(1 - smoothing) * likelihood + smoothing * uniform, plain]), in_states, in_table


def _block(states, weighted, vectors):
    """The log of the softmax's denominator (n,), the mean vector under it (n, D), and its part of the table's gradient
    (V, D)."""
    softmax = Softmax(states, vectors)
    return ops.squeeze(softmax.log_denominator, -1), softmax.mean, softmax.outer(softmax.powers, weighted)


class Softmax:
    """The softmax of some rows without division by its denominator: products of width D are divided instead, which
    saves a pass over V.

    Args:
        states: (n, D) in any float type.
        vectors: output vectors (V, D) of the same type.

    Attributes:
        shifted: logits minus the highest of each row (n, V), float32.
        powers: their exponentials in the type of the states.
        total: sums of the exponentials (n, 1).
        log_denominator: logs of the softmax's denominators (n, 1).
        mean: the mean vector under the softmax (n, D).
    """

    def __init__(self, states: Tensor, vectors: Tensor) -> None:
        self.vectors = vectors
        logits = ops.cast(ops.matmul(states, ops.transpose(vectors)), "float32")
        highest = ops.max(logits, axis=-1, keepdims=True)
        self.shifted = logits - highest
        powers = ops.exp(self.shifted)
        self.total = ops.sum(powers, axis=-1, keepdims=True)
        self.powers = ops.cast(powers, states.dtype)
        self.log_denominator = highest + ops.log(self.total)
        self.mean = self.average(self.powers)

    def average(self, powers: Tensor) -> Tensor:
        """The sums of the vectors, weighted by powers (n, V) over the total: (n, D) float32."""
        return ops.cast(ops.matmul(powers, self.vectors), "float32") / self.total

    def outer(self, powers: Tensor, rows: Tensor) -> Tensor:
        """The sums of rows (n, D), weighted by powers (n, V) over the total: (V, D) float32."""
        rows = ops.cast(rows / self.total, powers.dtype)
        return ops.cast(ops.matmul(ops.transpose(powers), rows), "float32")


def portions(rows: Tensor, count: int) -> list[Tensor]:
    """(N, D) -> `count` tensors (n, D), filled up with rows of zeros at the end."""
    total, width = ops.shape(rows)
    size = (total + count - 1) // count
    padded = ops.pad(rows, ((0, size * count - total), (0, 0)))
    return ops.unstack(ops.reshape(padded, (count, size, width)), count)
