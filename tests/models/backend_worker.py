"""Computes results with the backend that KERAS_BACKEND names: `python -m tests.models.backend_worker OUT.npz`.

Weights and inputs are drawn by numpy from fixed seeds, so that every backend has the same.
"""

import sys

import keras
import numpy as np
from keras import ops

from data.packing import PackedWindow, pack
from models import reversible, stack
from models.couplings import Couplings
from models.document import DocumentTransformer
from models.dropout import ByteDropout
from models.encoder import Encoder
from models.loss import smoothed_cross_entropy
from models.r_drop import twin_losses
from models.search import beam_search, greedy
from models.stack import Stack
from models.teacher_forcing import DocumentTeacherForcing, TeacherForcing
from models.text_generator import TextGenerator
from models.transformer import Transformer
from tests.models.chains import bdia_rule, chained, coupling_rule
from tests.models.copied_weights import array, randomise

VOCABULARY = 24
SOURCE = np.array([[5, 9, 7, 3], [8, 4, 3, 0], [6, 14, 3, 0]], "int32")
TARGET = np.array([[2, 9, 7, 10, 6], [2, 8, 4, 0, 0], [2, 15, 6, 5, 0]], "int32")
LABELS = np.array([[9, 7, 10, 6, 3], [8, 4, 3, 0, 0], [15, 6, 5, 3, 0]], "int32")
KINDS = {
    "paper": {},
    "other": {"norm": "pre", "positions": "rotary", "tie": "none", "activation": "gelu"},
    "reformer": {
        **{"norm": "pre", "positions": "rotary", "stack": "reversible", "attention": "lsh"},
        **{"lsh_chunk": 2, "lsh_buckets": 2, "feed_forward_chunks": 2},
    },
    "bdia": {"norm": "pre", "stack": "bdia"},
    "learned": {"norm": "pre", "positions": "learned", "max_positions": 16, "source_vectors": 6},
}
MEMORIES = {
    "gru": {"kind": "gru", "slots": 2, "sides": "both", "read_bias": 0.0},
    "source": {"kind": "gru", "slots": 2, "sides": "encoder", "read_bias": 0.0},
    "variable": {"kind": "variable", "summaries": 2, "segments": 2, "read_bias": 0.0},
    "prism": {"kind": "prism", "places": 2, "share": 0.5, "couplings": 2, "sides": "both", "read_bias": 0.0},
    "mixed": {"kind": "gru", "slots": 2, "sides": "both", "read_bias": 0.0, "mixed": True},
    "compressive": {"kind": "compressive", "cache": 2, "compressed": 2, "rate": 2, "rebuild": 0.5},
    "gated": {"kind": "recurrence", "cache": 3, "read": "gated_attention", "read_bias": 0.0},
    "in-layers": {"kind": "gru+recurrence", "slots": 2, "cache": 3, "layers": ["all"], "read_bias": 0.0},
}
LANES = [
    [PackedWindow([[5, 6], [7]], [[8], [9, 10]], 0, True), PackedWindow([[11]], [[12, 13]], 0, False)],
    [PackedWindow([[14]], [[15, 16]], 0, True), PackedWindow([[17, 18]], [[19]], 0, True)],
]


def make(**settings):
    model = Transformer(VOCABULARY, 2, 2, 12, 20, 3, **settings)
    model.build()
    return randomise(model)


def decoding(model):
    """Logits of cached steps, and what the searches find."""
    state, steps = model.initial_state(SOURCE, 8), []
    for t in range(TARGET.shape[1]):
        logits, state = model.step(ops.convert_to_tensor(TARGET[:, t]), state)
        steps.append(array(logits))
    start = model.initial_state(SOURCE, 8)
    likeliest = greedy(model.step, start, len(SOURCE), 8, bos=2, eos=3)
    best = beam_search(model.step, start, len(SOURCE), 3, 8, nbest=2, bos=2, eos=3)
    return {
        "steps": np.stack(steps, 1),
        "greedy": array(likeliest.tokens),
        "greedy_scores": array(likeliest.scores),
        "beam": array(best.tokens),
        "beam_scores": array(best.scores),
    }


def training(model):
    """Losses of three updates by `fit`, and the logits after them."""
    trainer = TeacherForcing(model, smoothing=0.1)
    trainer.compile(optimizer=keras.optimizers.SGD(0.05))
    inputs = {"source": SOURCE, "target": TARGET}
    history = trainer.fit(inputs, LABELS, batch_size=len(SOURCE), epochs=3, shuffle=False, verbose=0).history
    return {"history": np.array(history["loss"]), "nll": np.array(history["nll"]), "trained": array(model(inputs))}


def documents(memory):
    """A document Transformer: states, steps after a prefix, losses of three updates, and the memory then carried."""
    positions = "rotary" if "cache" in memory else "sinusoidal"
    options = {"norm": "pre", "dropout": 0.0, "positions": positions}
    model = DocumentTransformer(VOCABULARY, 1, 1, 12, 20, 3, **options, memory=memory)
    model.build()
    randomise(model)
    inputs, labels = pack(LANES, multiple=1)
    states, carried = model.document_states(inputs, model.initial_memory(2))
    prefix = np.array([[2, 4, 5], [2, 6, 0]], "int32")
    state = model.lengthen_state(model.initial_state(SOURCE[:2], 0, prefix, carried), 2)
    steps = []
    for t in range(2):
        logits, state = model.step(ops.convert_to_tensor(TARGET[:2, t]), state)
        steps.append(array(logits))
    trainer = DocumentTeacherForcing(model, smoothing=0.1, lanes=2, ranking=0.5, margin=1.0)
    trainer.build()
    trainer.compile(optimizer=keras.optimizers.SGD(0.1))
    history = {}
    # The second batch is not marked, and not compared.
    for name, mark in {"first": 1, "second": 0, "third": 1}.items():
        marked = {**inputs, "ranked": np.full((2, 1), mark, "int32")}
        history[name] = trainer.fit(marked, labels, batch_size=2, shuffle=False, verbose=0).history
    after = np.concatenate([array(variable).astype("float32").ravel() for variable in trainer.carried])
    real = array(states) * (inputs["target_windows"] > 0)[..., None]
    return {"states": real, "steps": np.stack(steps), "carried": after} | {
        name: np.array([found[name][0] for found in history.values()])
        for name in ("loss", "nll", "ranking", *model.loss_names)
    }


def generator():
    """A text generator: states, steps after a prefix, losses of three updates, and the state then carried."""
    model = TextGenerator(VOCABULARY, 1, 12, 20, 3, dropout=0.0, tied=False)
    model.build()
    randomise(model)
    inputs, labels = pack(LANES, multiple=1)
    states, carried = model.document_states(inputs, model.initial_memory(2))
    state = model.lengthen_state(model.initial_state(np.array([[2, 4, 5], [2, 6, 0]], "int32"), 0, carried), 2)
    steps = []
    for t in range(2):
        logits, state = model.step(ops.convert_to_tensor(TARGET[:2, t]), state)
        steps.append(array(logits))
    trainer = DocumentTeacherForcing(model, smoothing=0.0, lanes=2)
    trainer.build()
    trainer.compile(optimizer=keras.optimizers.SGD(0.1))
    losses = [trainer.fit(inputs, labels, batch_size=2, shuffle=False, verbose=0).history["loss"][0] for _ in range(3)]
    real = array(states) * (inputs["target_windows"] > 0)[..., None]
    after = np.concatenate([array(variable).ravel() for variable in trainer.carried])
    return {"states": real, "steps": np.stack(steps), "loss": np.array(losses), "carried": after}


def loss_gradients():
    """The loss of random rows, and the gradients of a weighted sum of it in states and table."""
    random = np.random.default_rng(0)
    states, table, weights = (random.normal(size=shape).astype("float32") for shape in ((7, 6), (11, 6), (7,)))
    labels = ops.convert_to_tensor(random.integers(0, 11, 7).astype("int32"))

    weights = ops.convert_to_tensor(weights)

    def loss(states, table):
        return smoothed_cross_entropy(states, table, labels, weights, 0.1)[0]

    smoothed, likelihood = smoothed_cross_entropy(*map(ops.convert_to_tensor, (states, table)), labels, weights, 0.1)
    in_states, in_table = gradients(loss, states, table)
    return {
        "loss": array(smoothed),
        "likelihood": array(likelihood),
        "states_gradient": array(in_states),
        "table_gradient": array(in_table),
        **_twin_gradients(np.concatenate([states, states[::-1]]), table, labels, weights),
    }


def _twin_gradients(states, table, labels, weights):
    def loss(*given):
        return twin_losses(*given, labels, weights, 0.1, 5.0)

    found = gradients(lambda *given: loss(*given)[0], states, table)
    losses = map(array, loss(*map(ops.convert_to_tensor, (states, table))))
    names = (f"twins_{name}" for name in ("loss", "likelihood", "divergence", "states_gradient", "table_gradient"))
    return dict(zip(names, [*losses, *map(array, found)], strict=True))


def reversing():
    """What is found again on the way back, and gradients of stacks that forget beside those that keep, with dropout."""
    found = {}
    for name, rule in {"bdia": bdia_rule, "coupling": coupling_rule}.items():
        for way, states in zip(("states", "undone"), chained(rule), strict=True):
            found[f"{name}/{way}"] = np.stack([array(state) for state in states])
    network, x = Couplings(12, 4), np.random.default_rng(3).normal(size=(2, 5, 12)).astype("float32")
    network.build()
    randomise(network)
    found |= {"couplings/states": x, "couplings/undone": array(network.inverse(network(x)))}
    for name in ("reversible", "bdia"):
        encoder = Encoder(3, 12, 20, 3, norm="pre", stack=name, dropout=0.3)
        encoder.build((None, None, 12))
        randomise(encoder)
        for way, chain in {"forgetting": reversible.chain, "keeping": reversible.plain_chain}.items():
            found[f"{name}/{way}"] = array(_input_gradient(encoder, chain, x))
    return found


def _input_gradient(encoder, chain, x):
    """The gradient in the input, with dropout that always draws the same."""
    stack.chain = chain

    def mixed(x):
        for variable in encoder.variables:
            if "seed_generator" in variable.path:
                variable.assign([5, 0])
        return ops.sum(ops.sin(3.0 * encoder(x, training=True)))

    return gradients(mixed, x)[0]


def gradients(function, *arrays):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        arrays = [tf.constant(values) for values in arrays]
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            result = function(*arrays)
        return tape.gradient(result, arrays)
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function, argnums=tuple(range(len(arrays))))(*arrays)
    import torch

    arrays = [torch.tensor(values, requires_grad=True) for values in arrays]
    return torch.autograd.grad(function(*arrays), arrays)


def main(path):
    # Backends draw different numbers.
    Stack._gammas = lambda self, batch: ops.where(ops.arange(batch) % 2 == 0, 0.5, -0.5)[:, None, None]
    results = {f"loss/{name}": values for name, values in loss_gradients().items()}
    for kind, settings in KINDS.items():
        model = make(dropout=0.0, **settings)
        logits = array(model({"source": SOURCE, "target": TARGET}))
        parts = {"logits": logits, "encodings": array(model.encode(SOURCE)), **decoding(model), **training(model)}
        results.update({f"{kind}/{name}": values for name, values in parts.items()})
    for kind, memory in MEMORIES.items():
        results.update({f"document-{kind}/{name}": values for name, values in documents(memory).items()})
    results.update({f"generator/{name}": values for name, values in generator().items()})
    results.update({f"reversing/{name}": values for name, values in reversing().items()})
    results["dropout"] = array(ByteDropout(0.3, seed=1)(np.ones((300, 301), "float32"), training=True))
    noisy = make(dropout=0.3, attention_dropout=0.3, activation_dropout=0.3)
    results["noisy"] = array(noisy({"source": SOURCE, "target": TARGET}, training=True))
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
