"""Copies weights of `models` into independent implementations. How either side stores them is known here alone."""

import numpy as np
from keras import ops


def randomise(layer, seed=0):
    """Draws all weights, so that no bias is zero and no normalisation is plain. The layer must be built."""
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        start = 1.0 if weight.name == "gamma" else 0.0
        scale = 0.3 if len(weight.shape) < 2 else weight.shape[-1] ** -0.5
        weight.assign((start + scale * random.normal(size=weight.shape)).astype("float32"))
    return layer


def attention_weights(attention):
    """Kernels (D, D), that multiply from the right, and biases (D,) of an attention layer, by use."""
    if hasattr(attention, "query"):
        parts = [dense_weights(attention.query), *_parts(attention.key_value, 2)]
    else:
        parts = _parts(attention.query_key_value, 3)
    return dict(zip(("query", "key", "value", "output"), [*parts, dense_weights(attention.output_dense)], strict=True))


def _parts(dense, count):
    kernel, bias = dense_weights(dense)
    return list(zip(np.split(kernel, count, axis=1), np.split(bias, count), strict=True))


def dense_weights(dense):
    return array(dense.kernel), array(dense.bias)


def norm_weights(residual):
    return array(residual.norm.gamma), array(residual.norm.beta)


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def copy_to_keras_attention(attention, other):
    """Into a built `keras.layers.MultiHeadAttention`, whose kernels have an axis of heads."""
    heads = attention.heads
    values = []
    for use, (kernel, bias) in attention_weights(attention).items():
        if use == "output":
            values += [kernel.reshape(heads, -1, kernel.shape[1]), bias]
        else:
            values += [kernel.reshape(len(kernel), heads, -1), bias.reshape(heads, -1)]
    other.set_weights(values)


def copy_to_hub_encoder(layer, other):
    """Into a built `keras_hub.layers.TransformerEncoder`."""
    copy_to_keras_attention(layer.attention, other._self_attention_layer)
    other._self_attention_layer_norm.set_weights(norm_weights(layer.attention_residual))
    _copy_to_hub_feed_forward(layer, other)


def copy_to_hub_decoder(layer, other):
    """Into a built `keras_hub.layers.TransformerDecoder`."""
    copy_to_keras_attention(layer.attention, other._self_attention_layer)
    other._self_attention_layer_norm.set_weights(norm_weights(layer.attention_residual))
    copy_to_keras_attention(layer.source_attention, other._cross_attention_layer)
    other._cross_attention_layer_norm.set_weights(norm_weights(layer.source_attention_residual))
    _copy_to_hub_feed_forward(layer, other)


def _copy_to_hub_feed_forward(layer, other):
    other._feedforward_intermediate_dense.set_weights(dense_weights(layer.feed_forward.inner))
    other._feedforward_output_dense.set_weights(dense_weights(layer.feed_forward.outer))
    other._feedforward_layer_norm.set_weights(norm_weights(layer.feed_forward_residual))


def torch_weights(model):
    """The encoder and decoder of a `Transformer` as a state dictionary (of numpy) for `torch.nn.Transformer`."""
    state = {}
    for side, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        for i, layer in enumerate(stack.stack):
            state.update({f"{side}.layers.{i}.{name}": value for name, value in _torch_layer(layer).items()})
        if stack.norm:
            state[f"{side}.norm.weight"], state[f"{side}.norm.bias"] = array(stack.norm.gamma), array(stack.norm.beta)
    return state


def _torch_layer(layer):
    state = _torch_attention("self_attn", layer.attention)
    residuals = [layer.attention_residual, layer.feed_forward_residual]
    if hasattr(layer, "source_attention"):
        state.update(_torch_attention("multihead_attn", layer.source_attention))
        residuals.insert(1, layer.source_attention_residual)
    for i, residual in enumerate(residuals, start=1):
        state[f"norm{i}.weight"], state[f"norm{i}.bias"] = norm_weights(residual)
    for name, dense in (("linear1", layer.feed_forward.inner), ("linear2", layer.feed_forward.outer)):
        kernel, state[f"{name}.bias"] = dense_weights(dense)
        state[f"{name}.weight"] = kernel.T
    return state


def _torch_attention(name, attention):
    weights = attention_weights(attention)
    inputs = [weights[use] for use in ("query", "key", "value")]
    kernel, bias = weights["output"]
    return {
        f"{name}.in_proj_weight": np.concatenate([kernel.T for kernel, _ in inputs]),
        f"{name}.in_proj_bias": np.concatenate([bias for _, bias in inputs]),
        f"{name}.out_proj.weight": kernel.T,
        f"{name}.out_proj.bias": bias,
    }


def marian_weights(model):
    """A `Transformer` as a state dictionary (of numpy) for Hugging Face's `MarianMTModel`, without its positions."""
    table = array(model.source_embedding.table)
    state = {"model.shared.weight": table, "final_logits_bias": np.zeros((1, len(table)), "float32")}
    for side, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        state[f"model.{side}.embed_tokens.weight"] = table
        for i, layer in enumerate(stack.stack):
            state.update({f"model.{side}.layers.{i}.{name}": value for name, value in _marian_layer(layer).items()})
    return {**state, "lm_head.weight": table}


def _marian_layer(layer):
    attentions = {"self_attn": layer.attention}
    norms = {"self_attn_layer_norm": layer.attention_residual, "final_layer_norm": layer.feed_forward_residual}
    if hasattr(layer, "source_attention"):
        attentions["encoder_attn"] = layer.source_attention
        norms["encoder_attn_layer_norm"] = layer.source_attention_residual
    denses = {"fc1": dense_weights(layer.feed_forward.inner), "fc2": dense_weights(layer.feed_forward.outer)}
    for name, attention in attentions.items():
        weights = attention_weights(attention)
        denses.update({f"{name}.{use[0]}_proj": weights[use] for use in ("query", "key", "value")})
        denses[f"{name}.out_proj"] = weights["output"]
    state = {}
    for name, (kernel, bias) in denses.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = kernel.T, bias
    for name, residual in norms.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = norm_weights(residual)
    return state
