"""Label-smoothed cross-entropy with a gradient of its own."""

from keras import ops


def smoothed_cross_entropy(states, table, labels, smoothing: float = 0.0):
    """Cross-entropy against the true token mixed with a uniform distribution over the vocabulary.

    The loss of one row is -(1 - e) log p[label] - e/V sum(log p). Written out by automatic differentiation, the
    softmax is read and written about ten times; here its gradient, p - target, is formed in one pass, in float32.

    Args:
        states: (N, D) in any float type.
        table: output vectors (V, D), of which the logits are the products with the states.
        labels: integer tensor (N,).
        smoothing: the share e of the uniform distribution.

    Returns:
        Loss in nats for each row: the smoothed loss (N,) and the plain negative log-likelihood (N,), both float32.
        Only the first has a gradient.

    References:
        Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; Vaswani et al. 2017, section 5.4.
    """
    logits = ops.cast(ops.matmul(states, ops.transpose(ops.cast(table, states.dtype))), "float32")
    smoothed, likelihood = ops.unstack(_loss(smoothing)(logits, labels), 2)
    return smoothed, likelihood


def _loss(smoothing):
    @ops.custom_gradient
    def loss(logits, labels):
        size = logits.shape[-1]
        total = ops.logsumexp(logits, axis=-1)
        likelihood = total - ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1), -1)
        uniform = total - ops.mean(logits, axis=-1)
        smoothed = (1 - smoothing) * likelihood + smoothing * uniform

        def gradient(*given, upstream=None):
            # PyTorch gives the arguments of `loss` once more and the upstream gradient by name; the others it alone.
            upstream = given[0] if upstream is None else upstream
            probability = ops.exp(logits - ops.expand_dims(total, -1))
            target = (1 - smoothing) * ops.one_hot(labels, size, dtype="float32") + smoothing / size
            return (probability - target) * ops.expand_dims(upstream[0], -1), None

        # One tensor, because PyTorch's version passes on the gradient of only one.
        return ops.stack([smoothed, likelihood]), gradient

    return loss
