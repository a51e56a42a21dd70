"""How exactly stacks are undone, and how close attention by hashing comes to full attention; with random weights."""

import itertools
import os
from collections.abc import Iterable
from typing import Any

from app.bench.contestants.protocol import Channel

# The inputs of attention are drawn around this many centres, with this noise, so that some positions are alike.
CENTRES, NOISE = 64, 0.3


def main() -> None:
    """Answers with two lists of rows, "undone" and "approached"."""
    channel = Channel()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    keras.utils.set_random_seed(1)
    spec = channel.spec
    undone = list(_undone(spec["depths"], spec["rows"], spec["length"], spec["width"]))
    channel.send(undone=undone, approached=list(_approached(spec["rounds"], spec["tokens"], spec["width"])))


def _undone(depths: Iterable[int], rows: int, length: int, width: int) -> Iterable[dict[str, Any]]:
    """The relative error of a stack's input, computed back from its output."""
    import keras
    from keras import ops

    from models.encoder import Encoder
    from models.reversible import BDIA, Coupling, Euler, on_grid

    x = keras.random.normal((rows, length, width), seed=1)
    gammas = ops.where(ops.arange(rows) % 2 == 0, 0.5, -0.5)[:, None, None]
    for layers, precision in itertools.product(depths, ("float32", "bfloat16")):
        policy = precision if precision == "float32" else f"mixed_{precision}"
        encoder = Encoder(layers, width, 4 * width, width // 64, norm="pre", rotary=True, dtype=policy)
        encoder.build((None, None, width))
        about = {"layers": layers, "precision": precision}
        given = {"positions": ops.arange(length)[None]}
        parts = [part for layer in encoder.stack for part in layer.sublayers(**given)]

        def sublayer(x, number, parts=parts):
            return parts[number].residual.change(x, parts[number].function, training=False)

        def layer(x, number, encoder=encoder, given=given):
            return ops.cast(encoder.stack[number](x, **given), "float32") - x

        for streams in dict.fromkeys(("float32", precision)):
            error = _error(ops.cast(x, streams), sublayer, [Coupling()] * len(parts))
            yield {"stack": f"reversible, streams in {streams}", "error": error, **about}
        rules = [Euler(), *(BDIA(gammas) for _ in encoder.stack[1:])]
        yield {"stack": "bdia", "error": _error(on_grid(x), layer, rules), **about}


def _error(x, change, rules) -> float:
    """How far from x these rules end when they are applied forwards and then back."""
    previous, current, kept = x, x, []
    for number, rule in enumerate(rules):
        following, aside = rule.ahead(previous, current, change(current, number))
        previous, current = current, following
        kept.append(aside)
    for number, rule in reversed(list(enumerate(rules))):
        before = rule.back(current, previous, change(previous, number), kept[number])
        previous, current = before, previous
    return _relative(current, x)


def _approached(rounds: Iterable[int], tokens: int, width: int) -> Iterable[dict[str, Any]]:
    """The relative distance of LSH attention's output from its output with a chunk as long as the input."""
    import keras
    from keras import ops

    from models.lsh import LSHAttention

    centres = keras.random.normal((CENTRES, width), seed=1)
    chosen = keras.random.randint((tokens,), 0, CENTRES, seed=2)
    x = (ops.take(centres, chosen, axis=0) + NOISE * keras.random.normal((tokens, width), seed=3))[None]
    heads = width // 64

    def output(weights=None, **settings):
        attention = LSHAttention(width, heads, **settings)
        attention.build((None, None, width))
        if weights is not None:
            attention.set_weights(weights)
        # Keys have length 1: longer queries attend to keys that are like them, as those of a trained model do.
        return attention(4.0 * x)[0], attention.get_weights()

    full, weights = output(chunk=tokens)
    for count in rounds:
        yield {"rounds": count, "error": _relative(output(weights, rounds=count)[0], full)}


def _relative(found, expected) -> float:
    from keras import ops

    found, expected = ops.cast(found, "float32"), ops.cast(expected, "float32")
    return float(ops.sqrt(ops.sum(ops.square(found - expected)) / ops.sum(ops.square(expected))))


if __name__ == "__main__":
    main()
