"""A Transformer that reads documents window by window and remembers what it has read."""

from typing import Any

import keras
from keras import ops

from models import Nested, Tensor
from models.masks import PAD, group_mask, look_ahead_mask, padding_mask
from models.memories import (
    ALL,
    AUTO,
    BY_ATTENTION,
    TOP,
    WITHOUT_LAYER,
    check_parts,
    new_memory,
    places_of,
    settings_by_part,
)
from models.memories.base import Row, past_of, windows_of, writes_of
from models.memories.inside import StackMemory, summed
from models.memories.reading import GatedRead
from models.memories.tokens import StoredTokens
from models.past import Read, nothing
from models.positions import shift_segments
from models.prefix import read_prefix, share_prefix, write_prefix
from models.stack import LSH, PLAIN
from models.transformer import Transformer

SIDES = ("encoder", "both")
# Defaults of the settings that all memories have.
DEFAULTS = {"kind": "none", "sides": "both", "layers": (AUTO,), "read": AUTO, "read_bias": -2.0, "mixed": False}


@keras.saving.register_keras_serializable(package="weitblick")
class DocumentTransformer(Transformer):
    """A Transformer over windows of documents that carries a memory state from one window to the next.

    The source memory is written from the encodings. The encoder's positions read it above the encoder's stack. The
    decoder's positions read above their own stack: either the source memory too, or, with sides = "both", a target
    memory.

    The target memory is written from each state together with the token that follows it, as kNN-MT stores them
    (Khandelwal et al. 2021, "Nearest Neighbor Machine Translation", section 2): the end token after a segment's last
    state, and none after a window's. In translation it is the token that the search chose after the target memory was
    read. In training it is the reference's token or, with `own_choices`, the likeliest one before the target memory is
    read, because all windows of a batch are decoded before any of them is remembered; a segment still ends where the
    reference does.

    As neither stack depends on the memory, all windows of a batch pass through them together, and only the slots go
    from window to window. Without a memory ("none", "concat") the weights and results are those of a Transformer.

    With memory.layers = "all" or a list of numbers, from 1, each of these layers on both sides (with sides = "encoder",
    only on the source side) has its own memory instead. This is written from the inputs of the layer's self-attention
    in earlier windows, and read there, see `models.memories.inside`. So a stack still processes all windows side by
    side, layer by layer. What a decoder layer remembers of a target are the layer's states for the tokens that it was
    given.

    Args:
        *sizes, **settings: see `Transformer`.
        memory: dictionary of kind, sides, layers, read and read_bias, as in a preset's `[memory]`, together with the
            settings of the kind, as in `[memory.KIND]`, by the names of `settings_in`; those left out have their
            defaults. With mixed = True the target memory holds each token together with its probability; in training,
            where `own_choices` would store the likeliest tokens, it then holds a mixture, see `StoredTokens`.
        segment_shift: positions skipped between the segments of a window, see `models.positions.shift_segments`.
        begin_id, end_id: the tokens that begin a target segment and end a source segment.

    Call arguments:
        inputs: as for `document_states`.
        training: whether dropout is on.

    Returns:
        Logits (B, T, V), float32, with the initial memory before the first window.

    Example:
        model = DocumentTransformer(8000, width=256, hidden=1024, heads=4, memory={"kind": "gru"})
        memory = model.initial_memory(batch=16)
        for inputs, labels in batches:
            states, memory = model.document_states(inputs, memory)
    """

    def __init__(
        self,
        *sizes: Any,
        memory: dict[str, Any] | None = None,
        segment_shift: int = 0,
        begin_id: int = 2,
        end_id: int = 3,
        **settings: Any,
    ) -> None:
        super().__init__(*sizes, **settings)
        memory = {**DEFAULTS, **(memory or {})}
        check_parts(memory["kind"])
        if memory["sides"] not in SIDES:
            raise ValueError(f"memory sides must be one of {', '.join(SIDES)}, got {memory['sides']!r}")
        self.settings |= {"memory": memory, "segment_shift": segment_shift, "begin_id": begin_id, "end_id": end_id}
        self.segment_shift, self.begin_id, self.end_id = segment_shift, begin_id, end_id
        self.source_memory: Any = None
        self.target_memory: Any = None
        self.source_read: Any = None
        self.target_read: Any = None
        self.target_tokens: Any = None
        self._losses_above: dict[str, dict[str, Tensor]] = {}
        self.source_stack: StackMemory | None = None
        self.target_stack: StackMemory | None = None
        if memory["kind"] in WITHOUT_LAYER:
            return
        own = settings_by_part(memory["kind"], memory)
        parts = places_of(memory["kind"], memory["layers"], memory["read"])
        if top := [part for part, (layers, _) in parts.items() if layers == TOP]:
            self._make_memories(top[0], memory, own[top[0]])
        if inside := {part: place for part, place in parts.items() if part not in top}:
            self._make_stacks(inside, memory, own)

    def _make_stacks(self, inside, memory, own):
        for part, (_, read) in inside.items():
            if self.settings["stack"] != PLAIN:
                raise ValueError(
                    f'memory {part!r} inside layers needs stack "plain": a stack of kind "{self.settings["stack"]}" '
                    "keeps no inputs of its layers"
                )
            if read in BY_ATTENTION and self.settings["attention"] == LSH:
                raise ValueError(f'memory {part!r} is read by self-attention, which then has to be "full", not "lsh"')
        width = self.settings["width"]
        shared = {name: self.settings[name] for name in ("dropout", "heads")} | {"bias": memory["read_bias"]}
        settings = {part: {"read": read, **shared, **own[part]} for part, (_, read) in inside.items()}

        def new(name, stack):
            numbers = range(1, len(stack) + 1)
            places = {part: [n for n in numbers if where == ALL or n in where] for part, (where, _) in inside.items()}
            return StackMemory(width, places, settings, dtype=self.dtype_policy, name=name)

        self.source_stack = new("source_stack_memory", self.encoder.stack)
        self.target_stack = new("target_stack_memory", self.decoder.stack) if memory["sides"] == "both" else None

    def _make_memories(self, kind, memory, own):
        width, rate = self.settings["width"], self.settings["dropout"]

        def new(name):
            return new_memory(kind, width, dtype=self.dtype_policy, name=name, **own)

        def reading(name):
            return GatedRead(width, rate, memory["read_bias"], dtype=self.dtype_policy, name=name)

        self.source_memory, self.source_read = new("source_memory"), reading("source_read")
        self.target_memory = new("target_memory") if memory["sides"] == "both" else None
        self.target_read = reading("target_read")
        if self.target_memory is not None and memory["mixed"]:
            self.target_tokens = StoredTokens(width, dtype=self.dtype_policy, name="target_memory_tokens")

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        for layer in self.memory_layers:
            layer.build((None, None, self.settings["width"]))

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        memory = self.initial_memory(ops.shape(inputs["source"])[0])
        return self.output_embedding.logits(self.document_states(inputs, memory, training=training)[0])

    @property
    def memory_weights(self) -> list:
        """The trainable weights that a Transformer does not have."""
        return [weight for layer in self.memory_layers for weight in layer.trainable_weights]

    def freeze(self) -> None:
        """Leaves only the `memory_weights` trainable."""
        own = {id(weight) for weight in self.memory_weights}
        for weight in self.trainable_variables:
            weight.trainable = id(weight) in own

    @property
    def memory_layers(self) -> list:
        """The layers that a Transformer does not have."""
        above = (self.source_memory, self.target_memory, self.source_read, self.target_read, self.target_tokens)
        return [layer for layer in (*above, self.source_stack, self.target_stack) if layer is not None]

    @property
    def loss_names(self) -> list[str]:
        """The names of the memories' extra losses."""
        above = [memory for memory in (self.source_memory, self.target_memory) if memory is not None]
        return sorted({name for each in (*above, *self._stacks.values()) for name in each.loss_names})

    @property
    def extra_losses(self) -> dict[str, Tensor]:
        """The memories' extra losses in the last call by name, summed over sides and layers; training adds them to the
        loss."""
        return summed([*self._losses_above.values(), *(stack.found_losses for stack in self._stacks.values())])

    @property
    def _stacks(self):
        stacks = {"source": self.source_stack, "target": self.target_stack}
        return {side: stack for side, stack in stacks.items() if stack is not None}

    def initial_memory(self, batch: int | Tensor) -> Nested:
        """The memory at a document's start: a nested dictionary of tensors with the batch as axis 0; {} for none."""
        self._make_weights()
        sides = {"source": self.source_memory, "target": self.target_memory}
        found = {side: memory.initial_state(batch) for side, memory in sides.items() if memory is not None}
        found |= {_inside(side): stack.initial_state(batch) for side, stack in self._stacks.items()}
        # By name, because some backends sort the keys when they flatten a dictionary.
        return dict(sorted(found.items()))

    def document_states(
        self, inputs: dict[str, Tensor], memory: Nested, training: bool | None = None, own_choices: bool = False
    ) -> tuple[Tensor, Nested]:
        """The decoder's states of all windows of a batch, and the memory after them.

        Args:
            inputs: a dictionary of integer tensors: "source" (B, S) tokens, "source_windows" (B, S) 1 to W or 0 for
                padding, "source_positions" (B, S) positions in the window, "source_remembered" (B, S) 0 or 1; the
                same four for "target", the decoder's input (B, T); "target_following" (B, T), the token after each
                state, which is the end token at a segment's end and padding at a window's; "resets" (B, W), 1 for a
                document's first window.
            memory: from `initial_memory` or the previous call.
            training: whether dropout is on.
            own_choices: remember the likeliest token of each state instead of the one in "target_following", except at
                a segment's end. In translation, the memory holds the model's own output; a model that was trained with
                the reference's tokens trusts its memory too much.

        Returns:
            States (B, T, D), and the memory.
        """
        encodings, seen, memory = self._read_windows(inputs, memory, training)
        states, memory = self._write_windows(inputs, encodings, memory, training)
        if self.source_memory is None:
            return states, memory
        if self.target_memory is None:
            seen = _seen_by_target(seen, inputs)
        else:
            seen, memory["target"] = self._remember_target(states, inputs, memory, own_choices, training)
        return states + self.target_read(states, seen, training=training), memory

    def remember(self, inputs: dict[str, Tensor], memory: Nested) -> Nested:
        """The memory after the windows in `inputs`; arguments as for `document_states`."""
        if self.target_memory is not None or self.target_stack is not None:
            return self.document_states(inputs, memory)[1]
        return self._read_windows(inputs, memory)[2]

    def initial_state(
        self, source: Tensor, max_length: int, prefix: Tensor | None = None, memory: Nested | None = None
    ) -> Nested:
        """What `step` needs to begin, for one window of each row.

        Args:
            source: source tokens (B, S) of the window, all its segments.
            max_length: how many steps there may be.
            prefix: (B, P) target tokens of the window's earlier segments, the decoder's input for them, padded at the
                end; a row may have none. `step` then continues after them.
            memory: the memory before the window; by default that of a document's start.

        Returns:
            A nested state like that of `Transformer.initial_state`.
        """
        memory = self.initial_memory(ops.shape(source)[0]) if memory is None else memory
        encodings = self._encode_after(source, memory)
        shared: dict[str, Nested] = {}
        if self.source_memory is not None:
            side, layer = ("target", self.target_memory) if self.target_memory else ("source", self.source_memory)
            shared["memory"] = self.target_read.prepared(layer.past(memory[side]))
        if self.target_stack is not None:
            shared["inside"] = self.target_stack.prepared(memory[_inside("target")], self.decoder.stack)
        state = self._state_before(source, encodings, max_length)
        state["shared"] |= shared
        if prefix is None:
            return state
        return self._after_prefix(state, source, prefix, self._read_after("target", memory))

    def _encode_alone(self, source):
        return self._encode_after(source, self.initial_memory(ops.shape(source)[0]))

    def _read_first(self, side, batch):
        return self._read_after(side, self.initial_memory(batch))

    def _encode_after(self, source, memory):
        """The encodings of one window of each row, including what is read from its memory."""
        mask, positions = padding_mask(source), self._shifted("source", source, self._positions(source))
        mask = ops.broadcast_to(mask, (*ops.shape(source), ops.shape(source)[1]))
        mask = self._visible(mask, ops.not_equal(source, PAD))
        encodings = self._read_source(source, mask, positions, read=self._read_after("source", memory))
        if self.source_memory is None:
            return encodings
        return encodings + self.source_read(encodings, self.source_memory.past(memory["source"]))

    def _read_after(self, side: str, memory: Nested) -> Read:
        """What the layers of a side read from a memory in one window of each row."""
        stack = self._stacks.get(side)
        return stack.read_window(memory[_inside(side)]) if stack else nothing

    def _step_read(self, shared, beam):
        read = self.target_stack.step_read(shared["inside"], beam) if "inside" in shared else nothing
        return read_prefix(read, shared["prefix"]) if "prefix" in shared else read

    def _after_stack(self, states, state):
        if "memory" in state["shared"]:
            beam = state["written"][0][0].shape[3]
            states = states + self.target_read.step(states, state["shared"]["memory"], beam)
        return states

    def inspect_memory(self, inputs: dict[str, Tensor], memory: Nested) -> dict[str, Tensor]:
        """How the memory is used; for plots, not for compiled functions.

        Args:
            inputs, memory: as for `document_states`.

        Returns:
            A dictionary of tensors: "source_gates" (B, S) and "target_gates" (B, T), each position's mean reading gate;
            "source_slots" (B, S, N) and "target_slots" (B, T, N), its reading attention on what its window may read;
            "writes" (B, W, M), the share of each source slot that window w newly wrote; "forgotten" (B, W, M), the
            slot's `forgotten_bits`; and "attended" (B, W, M, S), what slots looked at. {} without a memory above the
            stacks.
        """
        if self.source_memory is None:
            return {}
        encodings, _ = self._encode_windows(inputs, memory)
        seen, _ = self._remember_source(encodings, inputs, memory)
        found = writes_of(self.source_memory, encodings, _row(inputs, "source"), memory["source"])
        added, *source = self.source_read(encodings, seen, return_weights=True)
        states, _ = self._write_windows(inputs, encodings + added, memory)
        if self.target_memory is None:
            seen = _seen_by_target(seen, inputs)
        else:
            seen, _ = self._remember_target(states, inputs, memory)
        _, *target = self.target_read(states, seen, return_weights=True)
        for side, (gates, weights) in {"source": source, "target": target}.items():
            found[f"{side}_gates"] = ops.mean(ops.cast(gates, "float32"), axis=-1)
            # A window attends only to its own slots, so the sum over windows leaves one entry for each slot.
            weights = ops.mean(ops.cast(weights, "float32"), axis=1)
            weights = ops.reshape(weights, (*ops.shape(weights)[:2], ops.shape(inputs["resets"])[1], -1))
            found[f"{side}_slots"] = ops.sum(weights, axis=2)
        return found

    def _read_windows(self, inputs, memory, training=None):
        """The encodings with what was read, what the windows saw of the source memory, and a copy of the memory after
        the windows."""
        encodings, memory = self._encode_windows(inputs, memory, training)
        if self.source_memory is None:
            return encodings, None, memory
        seen, state = self._remember_source(encodings, inputs, memory, training)
        encodings = encodings + self.source_read(encodings, seen, training=training)
        return encodings, seen, {**memory, "source": state}

    def _encode_windows(self, inputs, memory, training=None):
        windows, after = inputs["source_windows"], dict(memory)
        mask = self._visible(group_mask(windows, windows), windows)
        read = self._read_row("source", inputs, after, training)
        positions = self._row_positions("source", inputs)
        return self._read_source(inputs["source"], mask, positions, training, read=read), after

    def _write_windows(self, inputs, encodings, memory, training=None):
        target, windows, after = inputs["target"], inputs["target_windows"], dict(memory)
        mask = ops.logical_and(group_mask(windows, windows), look_ahead_mask(ops.shape(target)[1]))
        mask = self._visible(mask, windows)
        source_mask = group_mask(windows, inputs["source_windows"])
        positions, read = self._row_positions("target", inputs), self._read_row("target", inputs, after, training)
        return self._read_target(target, encodings, mask, source_mask, positions, training, read)[0], after

    def _row_positions(self, side, inputs):
        stack = self._stacks.get(side)
        if stack and stack.relative:
            return windows_of(_row(inputs, side)).positions
        return self._shifted(side, inputs[side], inputs[f"{side}_positions"])

    def _shifted(self, side, tokens, positions):
        """Positions (B, T) or (1, T), plus `segment_shift` for each earlier segment in the window."""
        if not self.segment_shift:
            return positions
        if side == "target":
            begins = ops.equal(tokens, self.begin_id)
        else:
            begins = ops.equal(ops.pad(tokens[:, :-1], ((0, 0), (1, 0))), self.end_id)
        return shift_segments(positions, begins, self.segment_shift)

    def _read_row(self, side, inputs, memory, training) -> Read:
        """What the layers of a side read; once they have, `memory` holds what is remembered after the row."""
        stack = self._stacks.get(side)
        if stack is None:
            return nothing
        layers = {"source": self.encoder, "target": self.decoder}[side].stack
        read, memory[_inside(side)] = stack.read_row(_row(inputs, side), memory[_inside(side)], layers, training)
        return read

    def _remember_source(self, encodings, inputs, memory, training=None):
        found, state, losses = self.source_memory(encodings, _row(inputs, "source"), memory["source"])
        self._take_losses("source", losses, training)
        return found, state

    def _take_losses(self, side, losses, training):
        """Adds the extra losses of a memory above the stacks to the model's."""
        self._losses_above[side] = losses
        if training:
            for loss in losses.values():
                self.add_loss(loss)

    def _remember_target(self, states, inputs, memory, own_choices=False, training=None):
        """Remembers each state together with the token that follows it in its window."""
        following = inputs["target_following"]
        inside = ops.not_equal(following, PAD)
        # At a segment's end the next input begins another segment and is not what follows.
        ends = ops.not_equal(following, _moved(inputs["target"]))
        mixing = {}
        if own_choices and training and self.target_tokens is not None:
            mixing = {"windows": inputs["target_windows"], "kept": ends, "count": ops.shape(inputs["resets"])[1]}
        elif own_choices:
            likeliest = ops.cast(self.output_embedding.likeliest(states), following.dtype)
            following = ops.where(ends, following, likeliest)
        if self.target_tokens is None:
            chosen = self.output_embedding(following)
        else:
            chosen = self.target_tokens(states, following, embedding=self.output_embedding, **mixing)
        states = states + ops.where(inside[..., None], chosen, ops.zeros_like(chosen))
        found, state, losses = self.target_memory(states, _row(inputs, "target"), memory["target"])
        self._take_losses("target", losses, training)
        return found, state

    def _after_prefix(self, state, source, prefix, read):
        length = ops.shape(prefix)[1]
        real = ops.not_equal(prefix, PAD)
        mask = self._visible(ops.logical_and(real[:, None], look_ahead_mask(length)), real)
        positions = self._shifted("target", prefix, self._positions(prefix))
        x = self.target_positions(self.target_embedding(prefix), positions)
        sources = state["shared"]["sources"]
        caches = self.decoder.prefill(x, sources, mask, padding_mask(source), positions, read)
        state = (write_prefix if self.settings["attention"] == LSH else share_prefix)(state, caches, real)
        if self.segment_shift:
            before = ops.sum(ops.cast(ops.equal(prefix, self.begin_id), "int32"), axis=1, keepdims=True)
            state["shared"]["ahead"] = self.segment_shift * before + state["shared"].get("ahead", 0)
        return state


def _inside(side):
    """The name of the state of the memories inside a side's layers."""
    return f"{side}_stack"


def _row(inputs, side):
    return Row(inputs[f"{side}_windows"], inputs["resets"], inputs[f"{side}_remembered"])


def _seen_by_target(seen, inputs):
    """What target positions may read of the source memory, from what source positions may read."""
    return past_of(_row(inputs, "target"), seen.own.values, seen.own.filled)


def _moved(tokens):
    """Each row (B, T) one place to the left, with a 0 at its end."""
    return ops.pad(tokens[:, 1:], ((0, 0), (0, 1)))
