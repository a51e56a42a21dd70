"""Checks for values of a preset that are valid alone but not together."""

from collections.abc import Mapping
from typing import Any

from app.presets.schema import (
    GENERATOR,
    MEMORY,
    DataPreset,
    DocumentsPreset,
    EmbeddingsPreset,
    MemoryPreset,
    ModelPreset,
    SearchPreset,
    TokenizerPreset,
    TrainingPreset,
)
from data.corpora.corpora import parse_mixture
from data.errors import UserError
from data.spans import KINDS
from data.windows import BACKWARD
from models.memories import (
    ALL,
    ATTENTION,
    BY_ATTENTION,
    RETRIEVAL,
    TOP,
    WITHOUT_LAYER,
    check_parts,
    in_layers,
    kinds,
    parts_of,
    places_of,
    setting_names,
    settings_of,
)

# The kind of memory whose invertible network halves the width.
PRISM = "prism"
# A corpus that is drawn a thousand times an epoch is a mistake, and one drawn a million times does not fit into memory.
MOST_WEIGHT = 1000
# 10**10 weights take 40 GB in float32; gradients and Adam's two moments add three times as much.
MOST_WEIGHTS = 10**10


def check_together(sections: Mapping[str, Any]) -> str | None:
    """Looks for values that are valid alone but not together.

    Args:
        sections: a section's name to its dataclass, for all sections.

    Returns:
        None, or what is wrong and what to do, beginning with the key.
    """
    data, tokenizer, embeddings = sections["data"], sections["tokenizer"], sections["embeddings"]
    model = sections["model"]
    documents, memory, training = sections["documents"], sections["memory"], sections["training"]
    return (
        _check_data(data, training)
        or _check_model(model, embeddings)
        or _check_kind(sections)
        or _check_copies(data)
        or _check_size(model, tokenizer)
        or _check_documents(documents, memory)
        or _check_memory(memory, model, training)
        or _check_positions(data, model, documents)
        or _check_training(training)
        or _check_freeze(sections)
        or _check_ranking(training, memory)
        or _check_r_drop(training, model, documents)
        or _check_search(sections["search"], memory)
    )


def _check_data(data: DataPreset, training: TrainingPreset) -> str | None:
    if data.source == data.target:
        return f'data.target: must differ from data.source, both are "{data.source}"'
    try:
        mixture = parse_mixture(data.corpora)
    except UserError as error:
        return f"data.{error}"
    for name, weight in mixture:
        if weight > MOST_WEIGHT:
            return f"data.corpora: expected weights of at most {MOST_WEIGHT}, got {weight:g} for {name!r}"
    if not data.validation and (training.patience or training.average_around == "best"):
        return 'data.validation: needed by training.patience above 0 and by training.average_around = "best"'
    return None


def _check_copies(data: DataPreset) -> str | None:
    unknown = [kind for kind in data.copy if kind not in KINDS]
    if unknown:
        return f"data.copy: expected some of {', '.join(KINDS)}, got {unknown[0]!r}"
    return None


def _check_model(model: ModelPreset, embeddings: EmbeddingsPreset) -> str | None:
    if model.width % model.heads:
        return f"model.width: must be a multiple of model.heads = {model.heads}, got {model.width}"
    if model.positions == "rotary" and (model.width // model.heads) % 2:
        odd = f"{model.width} / {model.heads}"
        return f'model.heads: positions = "rotary" needs an even width / heads, and {odd} is odd'
    if model.positions == "sinusoidal" and model.width % 2:
        return f'model.width: positions = "sinusoidal" needs an even width, got {model.width}'
    if model.stack != "plain" and model.norm != "pre":
        return f'model.norm: stack = "{model.stack}" needs "pre", got "{model.norm}"'
    if model.attention == "lsh" and model.attention_dropout:
        return f'model.attention_dropout: attention = "lsh" has none: set 0.0, got {model.attention_dropout}'
    if model.lsh_buckets % 2:
        return f"model.lsh_buckets: expected an even number, got {model.lsh_buckets}"
    if embeddings.vectors and embeddings.side == "source" and model.tie == "all" and model.kind != GENERATOR:
        return 'embeddings.side: tie = "all" has one table for both sides: set side = "both", or model.tie = "target"'
    return None


def _check_kind(sections: Mapping[str, Any]) -> str | None:
    model, documents = sections["model"], sections["documents"]
    if model.kind != GENERATOR:
        for key in ("encoder_layers", "decoder_layers"):
            if not getattr(model, key):
                return f"model.{key}: a translator needs at least 1, got 0"
        return None
    if model.encoder_layers:
        return f"model.encoder_layers: a generator has no encoder: set 0, got {model.encoder_layers}"
    if documents.windows == "off":
        return (
            'documents.windows: a generator reads documents: set "tokens", "segments" or "dynamic", or model.kind to '
            '"translator"'
        )
    # Settings that a generator would silently ignore.
    needed = {
        "model.stack": "plain",
        "model.attention": "full",
        "model.output_bias": False,
        "memory.kind": "none",
        "documents.order": "forward",
        "documents.source_dropout": 0.0,
        "documents.context_word_dropout": 0.0,
        "documents.context_segment_dropout": 0.0,
        "training.monitor": "loss",
        **({"embeddings.side": "both"} if sections["embeddings"].vectors else {}),
    }
    for key, value in needed.items():
        section, name = key.split(".")
        if (found := getattr(sections[section], name)) != value:
            return f"{key}: a generator needs {_shown(value)}, got {_shown(found)}"
    return None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _check_size(model: ModelPreset, tokenizer: TokenizerPreset) -> str | None:
    layer = 4 * model.width**2 + 2 * model.width * model.hidden
    layers = model.encoder_layers * layer + model.decoder_layers * (layer + 4 * model.width**2)
    positions = 2 * model.max_positions if model.positions == "learned" else 0
    weights = layers + (tokenizer.vocabulary + positions) * model.width
    if weights > MOST_WEIGHTS:
        return (
            f"model.width: a model of this shape has {weights / 1e9:,.0f} billion weights, too many for memory; "
            f"the limit is {MOST_WEIGHTS / 1e9:.0f} billion: choose a smaller width, hidden or number of layers"
        )
    return None


def _check_documents(documents: DocumentsPreset, memory: MemoryPreset) -> str | None:
    if documents.windows == "off" and memory.kind not in ("none", RETRIEVAL):
        return (
            f'memory.kind: "{memory.kind}" needs documents in windows: set documents.windows to "segments", "tokens" '
            'or "dynamic", or memory.kind to "none"'
        )
    if documents.windows == "off" and documents.source_dropout:
        return (
            "documents.source_dropout: hides words that context may reveal, and single segments have none: set "
            'documents.windows to "segments", "tokens" or "dynamic", or documents.source_dropout to 0'
        )
    if memory.kind == "concat" and documents.windows == "segments" and documents.size < 2:
        return (
            'documents.size: memory.kind = "concat" counts the current segment as well, so at least 2 are needed '
            f"for any context, got {documents.size}"
        )
    if documents.context_discount and (memory.kind != "concat" or not documents.context_target):
        return (
            "documents.context_discount: weights the translations of the context, which exist only with "
            'memory.kind = "concat" and documents.context_target = true: set these, or documents.context_discount to 0'
        )
    if documents.context_discount and documents.context_word_dropout:
        return (
            "documents.context_discount: trains on the translations of the context, of which "
            f"documents.context_word_dropout = {documents.context_word_dropout:g} hides words: set one of them to 0"
        )
    if documents.segment_shift and memory.kind != "concat":
        return (
            "documents.segment_shift: separates the context from the current segment, and only windows of "
            f'memory.kind = "concat" have both, not "{memory.kind}": choose it, or set documents.segment_shift to 0'
        )
    if documents.order == BACKWARD and not memory.has_state:
        return (
            'documents.order: "backward" carries a memory from later windows to earlier ones, and memory.kind = '
            f'"{memory.kind}" carries none: choose one of {_with_state()}, or set documents.order to "forward"'
        )
    # With a single window, the gradient ends before anything written to the memory is read.
    if memory.has_state and documents.back_propagation < 2:
        return (
            f'documents.back_propagation: memory.kind = "{memory.kind}" learns what to remember from the windows that '
            "follow, so at least 2 are needed, got 1"
        )
    return None


def _check_memory(memory: MemoryPreset, model: ModelPreset, training: TrainingPreset) -> str | None:
    try:
        check_parts(memory.kind)
    except ValueError as error:
        return f"memory.kind: {error}"
    if training.memory_tokens == "mixed" and (not memory.has_state or memory.sides == "encoder"):
        return (
            'training.memory_tokens: "mixed" is for a memory of the target: choose a memory.kind that has one and '
            'memory.sides = "both", or "own"'
        )
    if not memory.has_state:
        return None
    if PRISM in parts_of(memory.kind) and model.width % 2:
        return f'model.width: memory.kind = "{memory.kind}" needs an even width, got {model.width}'
    stacks = {"encoder": model.encoder_layers, "decoder": model.decoder_layers}
    try:
        places = places_of(memory.kind, memory.layers, memory.read)
    except ValueError as error:
        return str(error)
    inside = [layers for layers, _ in places.values() if layers != TOP]
    if not inside:
        return None
    if model.stack != "plain":
        return (
            f'model.stack: "{model.stack}" keeps no inputs of layers for a memory inside them: choose "plain", or a '
            'memory.kind that can be above the stacks and memory.layers = "top"'
        )
    if model.attention != "full" and any(read in BY_ATTENTION for _, read in places.values()):
        return f'model.attention: memory.kind = "{memory.kind}" is read by self-attention, which then has to be "full"'
    layers = inside[0]
    if memory.sides == "encoder":
        del stacks["decoder"]
    for stack, count in stacks.items():
        if layers != ALL and not any(number <= count for number in layers):
            return f"memory.layers: none of {', '.join(map(str, layers))} is a layer of the {stack}, which has {count}"
    if layers != ALL and max(layers) > max(stacks.values()):
        return f"memory.layers: there is no layer {max(layers)}"
    if any(map(in_layers, places)) and model.positions != "rotary":
        return f'model.positions: memory.kind = "{memory.kind}" needs "rotary", as its entries are placed by distance'
    if memory.sides == "both" and training.memory_tokens != "reference":
        elsewhere = "" if any(map(in_layers, places)) else ', or memory.layers to "top"'
        return (
            "training.memory_tokens: a decoder's layers remember their input, which is the reference in training: set "
            f'"reference"{elsewhere}'
        )
    return None


def _check_positions(data: DataPreset, model: ModelPreset, documents: DocumentsPreset) -> str | None:
    if model.positions != "learned":
        return None
    if documents.segment_shift:
        return (
            'documents.segment_shift: model.positions = "learned" has a vector for each position, and gaps would never '
            'be trained: choose "sinusoidal" or "rotary", or set documents.segment_shift to 0'
        )
    if documents.windows in ("tokens", "dynamic"):
        return (
            f'model.positions: "learned" has a limit, but documents.windows = "{documents.windows}" has none on the '
            'target side: choose "sinusoidal" or "rotary", or windows = "segments"'
        )
    segments = documents.size if documents.windows == "segments" else 1
    longest = segments * (data.max_length + 1)
    # Batches are padded to a multiple of 8, and padding takes up positions too.
    if model.max_positions < (needed := -(-longest // 8) * 8):
        window = f"documents.size = {segments} times " if segments > 1 else ""
        return (
            f"model.max_positions: learned positions need {window}data.max_length + 1 = {longest} rounded up to "
            f"{needed}, got {model.max_positions}"
        )
    return None


def _check_training(training: TrainingPreset) -> str | None:
    if training.schedule in ("linear", "cosine") and training.warmup >= training.updates:
        return (
            f'training.warmup: schedule = "{training.schedule}" needs fewer warm-up updates than training.updates = '
            f"{training.updates}, got {training.warmup}"
        )
    if training.keep < training.average:
        return f"training.keep: must be at least training.average = {training.average}, got {training.keep}"
    return None


def _check_freeze(sections: Mapping[str, Any]) -> str | None:
    training, memory = sections["training"], sections["memory"]
    if not training.freeze:
        return None
    if not training.start:
        return "training.freeze: there are no trained weights to freeze: set training.start to a run"
    if not memory.has_state or not _has_weights(sections):
        read = f' and memory.read = "{memory.read}"' if memory.has_state else ""
        return (
            f'training.freeze: with memory.kind = "{memory.kind}"{read} there are no weights to train: choose another '
            'memory.kind, such as "gru", or set training.freeze to false'
        )
    return None


def _has_weights(sections: Mapping[str, Any]) -> bool:
    """Whether a memory, or how it is read, has weights."""
    memory = sections["memory"]
    for part, (_, read) in places_of(memory.kind, memory.layers, memory.read).items():
        settings = sections.get(MEMORY + part) or settings_of(part)()
        if read != ATTENTION or not getattr(settings, "weightless", False):
            return True
    return False


def _check_r_drop(training: TrainingPreset, model: ModelPreset, documents: DocumentsPreset) -> str | None:
    if training.r_drop and documents.windows != "off":
        return (
            "training.r_drop: reads each batch twice, which a training that carries a state through documents cannot: "
            'set documents.windows to "off", or training.r_drop to 0'
        )
    if training.r_drop and not (model.dropout or model.attention_dropout or model.activation_dropout):
        return "training.r_drop: compares passes with different dropout, and the model has none: set model.dropout"
    return None


def _check_ranking(training: TrainingPreset, memory: MemoryPreset) -> str | None:
    if training.ranking and not memory.has_state:
        return (
            "training.ranking: exchanges the memories of documents, and memory.kind = "
            f'"{memory.kind}" carries none: choose one of {_with_state()}, or set training.ranking to 0'
        )
    return None


def _with_state() -> str:
    """The kinds of memory that carry something from window to window."""
    return ", ".join(kind for kind in kinds() if kind not in WITHOUT_LAYER)


def _check_search(search: SearchPreset, memory: MemoryPreset) -> str | None:
    for name in search.memory_sizes:
        able = [kind for kind in kinds() if name in setting_names(kind)]
        if not set(able) & set(parts_of(memory.kind)):
            return (
                f'search.memory_{name}: memory.kind = "{memory.kind}" has no {name}: set it to 0; it is for '
                f"{' and '.join(able)}"
            )
    return None
