"""The prefix of a window: keys and values of its first tokens, from which a search for the rest continues."""

from keras import ops

from models import KeysValues, Nested, Tensor
from models.masks import score_ceilings
from models.past import PastStep, Read


def share_prefix(state: Nested, caches: list[KeysValues], real: Tensor) -> Nested:
    """A decoding state that continues after a prefix, which all hypotheses of an input share.

    Args:
        state: from `models.transformer.Transformer.initial_state`.
        caches: from `models.decoder.Decoder.prefill`.
        real: boolean (B, P), which positions are not padding; these come first.
    """
    keys_values = [tuple(ops.squeeze(part, axis=3) for part in layer) for layer in caches]
    prefix = {"ceilings": score_ceilings(real[:, None, None]), "keys_values": keys_values}
    return {**state, "shared": {**state["shared"], "ahead": _length(real)[:, None], "prefix": prefix}}


def read_prefix(read: Read, prefix: Nested) -> Read:
    """What layers read in a step from such a state: the prefix, and what `read` gives."""

    def look(number, x):
        found, before = read(number)(x), PastStep(prefix["keys_values"][number], prefix["ceilings"])
        return found._replace(past=(*(found.past or ()), before))

    return lambda number: lambda x: look(number, x)


def write_prefix(state: Nested, caches: list[KeysValues], real: Tensor) -> Nested:
    """The same with the prefix in the caches, which hold a copy for each hypothesis; for LSH attention, which counts
    the entries there."""
    longer = zip(caches, state["written"], strict=True)
    written = [tuple(ops.concatenate(parts, axis=2) for parts in zip(*layer, strict=True)) for layer in longer]
    entries = ops.concatenate([ops.where(real, 0, -1), state["entries"]], axis=1)
    return {**state, "written": written, "entries": entries, "position": _length(real)}


def _length(real):
    return ops.sum(ops.cast(real, "int32"), axis=1)
