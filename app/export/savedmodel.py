"""A run as a TensorFlow SavedModel: text in, text out, without any of this code.

Tokenizer, normalisation, splitting of long lines, batching by length and search are all in the graph. Loading it needs
TensorFlow and, for the tokenizer's operations, tensorflow-text:

    import tensorflow as tf
    import tensorflow_text

    model = tf.saved_model.load("translator")
    result = model.translate(tf.constant(["Save the file.", "", "Close the window."]))
    for line in result["translation"].numpy():
        print(line.decode())
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import cast

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from app.export import graph_text
from app.presets.schema import SearchPreset
from app.runs.run import Run
from app.translation.chunks import LIVING, STEPS, beam_search_of
from app.translation.decoder import refuse_other_models
from app.translation.keras_decoder import KerasDecoder
from app.translation.translator import Translator
from data import spans
from data.errors import UserError
from data.files import new_folder
from data.tokenizer import EOS, PAD
from models.search.beam import live_inputs, select_inputs

# Sources are padded to a multiple of this.
_MULTIPLE = 8
# Batches processed at once: while one waits for a small operation, the matrix product of another uses the processor.
_AT_ONCE = 2
ABOUT = "assets.extra/weitblick.json"


def export(
    run: Run,
    directory: Path | str,
    checkpoint: str = "auto",
    search: SearchPreset | None = None,
    precision: str | None = None,
) -> None:
    """Writes a SavedModel that translates as `Translator` does, except that it does not refuse loops.

    Its signature `serving_default`, also its method `translate`, takes `text` (N,), UTF-8 strings, for any N, and
    returns for each line

    - `translation`: string (N,), one line of UTF-8; empty for an empty line.
    - `score`: float32 (N,), the search score; for a line in parts, the sum over its parts.
    - `parts`: int32 (N,), the number of parts it was translated in: 0 for an empty line, 1 for most lines, more for
      those that are too long for the model.

    Where the run copies spans (`data.copy`), the search copies numbered pieces, and finding spans in text is left to
    the caller: `assets.extra/spans.py` does it with `read` before the model and `Source.translation` after it.

    Args:
        run: a trained run.
        directory: a folder that is missing or empty. Its file `assets.extra/weitblick.json` describes the export.
        checkpoint: which weights, see `Run.weights_file`.
        search: replaces the search settings of the run's preset. Beam and tokens per batch set speed and memory.
        precision: "float32", "bfloat16" or "auto", instead of that of the run's preset. A format is slow if the
            processor that serves the model has no matrix units for it.

    Raises:
        UserError: for weights that are missing or not finite, a folder that is not empty, a backend other than
            TensorFlow, a run that was trained on documents, or a search in which other models join.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError("a SavedModel is made of TensorFlow operations: export it with KERAS_BACKEND=tensorflow")
    if run.preset.documents.windows != "off":
        raise UserError(
            f"{run.path}: the run was trained on documents, and a SavedModel translates each line "
            "independently; translate with `weitblick translate --document`, or export the run that it started from"
        )
    refuse_other_models(search or run.preset.search, "a SavedModel holds one model; use `weitblick translate`")
    run = run if precision is None else run.with_precision(precision)
    with new_folder(directory) as folder:
        translator = Translator.of_run(run, checkpoint, search)
        _refuse_damaged(_keras_decoder(translator).model, run.path)
        module = TranslationModule(translator)
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, folder, {"serving_default": module.translate}, options)
        _forget_gradients(folder / "saved_model.pb")
        _describe(folder / ABOUT, run, checkpoint, translator)


class TranslationModule(tf.Module):
    """A translator in one TensorFlow function, `translate`; see `export` for its input and output.

    Args:
        translator: an `app.translation.translator.Translator` that does not draw at random.
    """

    def __init__(self, translator: Translator):
        super().__init__(name="translation")
        self.source = translator.tokenizer.source.graph_tokenizer()
        self.target = translator.tokenizer.target.graph_tokenizer()
        # Keras objects are kept out of the module's attributes: they would be saved, too, and could not be loaded.
        graph = _Graph(self.source, self.target, translator)
        self.translate = tf.function(graph.translate, [tf.TensorSpec([None], tf.string, "text")], autograph=False)
        self.weights = self.translate.get_concrete_function().graph.variables


def _keras_decoder(translator: Translator) -> KerasDecoder:
    return cast(KerasDecoder, translator.decoder)  # the only decoder whose model is a TensorFlow graph


class _Graph:
    """The steps of `TranslationModule.translate`, from lines to parts, to batches, to tokens, and back."""

    def __init__(self, source, target, translator: Translator):
        decoder = _keras_decoder(translator)
        self.source, self.target = source, target
        self.model, self.search = decoder.model, decoder.search
        self.lowercase, self.max_length = translator.lowercase, translator.max_length
        self.max_positions = decoder.max_positions
        self.copied = decoder.copied
        self.beam_search = beam_search_of(self.model, self.search, copied=self.copied)

    def translate(self, text):
        """Lines (N,) to a dictionary of tensors (N,)."""
        ids, owners = self._parts(graph_text.normalise(text, self.lowercase))
        texts, scores = self._search_all(ids)
        number = tf.size(text)
        filled = texts != ""
        return {
            "translation": tf.strings.unsorted_segment_join(texts[filled], owners[filled], number, separator=" "),
            "score": tf.math.unsorted_segment_sum(scores, owners, number),
            "parts": tf.math.unsorted_segment_sum(tf.ones_like(owners), owners, number),
        }

    def _parts(self, lines):
        """Normalised lines (N,) to the tokens of their parts, ragged (P, S), and the line of each part (P,) int32."""
        ids = self.source.tokenize(lines)
        sizes = self._sizes(ids)
        is_long = sizes > self.max_length

        def split():
            short, long = tf.where(~is_long)[:, 0], tf.where(is_long)[:, 0]
            parts, owners = graph_text.split_long(
                tf.gather(lines, long), lambda texts: self._sizes(self.source.tokenize(texts)), self.max_length
            )
            owners = tf.concat([short, tf.gather(long, owners)], axis=0)
            order = tf.argsort(owners, stable=True)
            texts = tf.gather(tf.concat([tf.gather(lines, short), parts], axis=0), order)
            ids = self.source.tokenize(texts)
            return ids.values, self._sizes(ids), tf.cast(tf.gather(owners, order), tf.int32)

        def keep():
            return ids.values, sizes, tf.range(tf.size(lines))

        values, sizes, owners = tf.cond(tf.reduce_any(is_long), split, keep)
        values = tf.ensure_shape(values, [None])
        filled = sizes > 0
        return tf.RaggedTensor.from_row_lengths(values, sizes[filled], validate=False), owners[filled]

    @staticmethod
    def _sizes(ids):
        return tf.cast(ids.row_lengths(), tf.int32)

    def _search_all(self, ids):
        """Tokens, ragged (P, S), to the texts (P,) and scores (P,) of the outputs.

        Sequences of similar length are searched together, longest first, in batches as large as the token budget
        allows, as in `app.translation.batch_plan.plan_batches`.
        """
        sizes = self._sizes(ids)
        number = tf.size(sizes)
        order = tf.argsort(sizes, direction="DESCENDING", stable=True)
        ids, sizes = tf.gather(ids, order), tf.gather(sizes, order)
        padded = -(-(sizes + 1) // _MULTIPLE) * _MULTIPLE
        padded = tf.minimum(padded, self.max_positions) if self.max_positions else padded

        def batch(start, count, texts, scores):
            end = tf.minimum(start + tf.maximum(self.search.batch_tokens // padded[start], 1), number)
            found, found_scores = self._search_batch(ids[start:end], sizes[start:end], padded[start])
            return end, count + 1, texts.write(count, found), scores.write(count, found_scores)

        arrays = [
            tf.TensorArray(dtype, 0, dynamic_size=True, infer_shape=False, element_shape=[None])
            for dtype in (tf.string, tf.float32)
        ]
        *_, texts, scores = tf.while_loop(
            lambda start, *_: start < number, batch, (0, 0, *arrays), parallel_iterations=_AT_ONCE
        )
        places = tf.math.invert_permutation(order)
        return tf.gather(texts.concat(), places), tf.gather(scores.concat(), places)

    def _search_batch(self, ids, sizes, length):
        """Tokens, ragged (B, S), to texts (B,) and scores (B,); S is padded to `length`.

        Every few steps the finished sources leave the batch, and the caches of the others grow for the next tokens, as
        in `app.translation.chunks.ChunkedSearch`.
        """
        number = tf.size(sizes)
        ends = tf.RaggedTensor.from_tensor(tf.fill([number, 1], EOS), row_splits_dtype=tf.int32)
        source = tf.concat([ids, ends], axis=1).to_tensor(PAD, shape=tf.stack([number, length]))
        limits = self._limits(sizes)
        # The room grows, so shapes must not treat it as a constant.
        room = tf.compat.v1.placeholder_with_default(STEPS, [])
        state = self.model.initial_state(source, room)
        beams = self.beam_search.start(state, number, tf.reduce_max(limits), limits, room, self._owed(source))
        shapes = tf.nest.map_structure(lambda leaf: leaf.shape, beams)

        def advance(beams, *others):
            beams = self.beam_search.advance(beams, STEPS)
            live = live_inputs(beams)
            few = tf.reduce_mean(tf.cast(live, tf.float64)) <= LIVING
            beams, *others = tf.cond(few, lambda: self._part(live, beams, *others), lambda: (beams, *others))
            beams = self.beam_search.lengthen(beams, STEPS, self.model.lengthen_state(beams.state, STEPS))
            return tf.nest.map_structure(tf.ensure_shape, beams, shapes), *others

        start = (beams, tf.range(number), tf.fill([number], ""), tf.zeros([number]))
        loose = (shapes, *[tf.TensorShape([None])] * 3)
        *_, texts, scores = tf.while_loop(
            lambda beams, places, *_: tf.size(places) > 0, advance, start, shape_invariants=loose
        )
        sound = tf.debugging.Assert(~tf.reduce_any(tf.math.is_nan(scores)), ["the model's output is not finite"])
        with tf.control_dependencies([sound]):
            return texts, tf.identity(scores)

    def _part(self, live, beams, places, texts, scores):
        """Stores the results of the finished sources, and keeps the others."""
        found, found_scores, _ = self.beam_search.hypotheses(beams)
        done = tf.gather(places, tf.where(~live))
        texts = tf.tensor_scatter_nd_update(texts, done, self._texts(found[:, 0][~live]))
        scores = tf.tensor_scatter_nd_update(scores, done, found_scores[:, 0][~live])
        beams = select_inputs(beams, tf.cast(tf.where(live)[:, 0], tf.int32))
        return beams, places[live], texts, scores

    def _owed(self, source):
        """Which numbered pieces (B, P) occur in sources (B, S)."""
        return tf.reduce_any(source[:, :, None] == tf.constant(list(self.copied), tf.int32), axis=1)

    def _texts(self, tokens):
        """Tokens (B, T) up to the end token to texts (B,)."""
        over = tf.cumsum(tf.cast((tokens == EOS) | (tokens == PAD), tf.int32), axis=1)
        return graph_text.one_line(self.target.detokenize(tf.ragged.boolean_mask(tokens, over == 0)))

    def _limits(self, sizes):
        """The maximum output tokens (B,), end token included, for sources of these many tokens (B,)."""
        limits = tf.cast(self.search.max_ratio * tf.cast(sizes, tf.float64), tf.int32) + self.search.max_extra + 1
        return tf.minimum(limits, self.max_positions) if self.max_positions else limits


def _refuse_damaged(model, path) -> None:
    for variable in model.variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise UserError(f"{path}: {variable.path} has numbers that are not finite; take another checkpoint")


def _forget_gradients(path: Path) -> None:
    """Removes the names of gradient functions, which are not saved: loading the model would warn of them."""
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in (meta_graph.graph_def for meta_graph in saved.meta_graphs):
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                node.attr.pop("_gradient_op_type", None)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _describe(path: Path, run: Run, checkpoint: str, translator: Translator) -> None:
    """Describes the folder, for people; TensorFlow ignores `assets.extra`."""
    data = run.preset.data
    weights, _, checksum = run.weights_file(checkpoint)
    about = {
        "preset": run.preset.name,
        "weights": weights,
        "weights_checksum": checksum,
        "source": data.source,
        "target": data.target,
        "lowercase": translator.lowercase,
        "copy": data.copy,
        "numbers": data.numbers,
        "capitals": data.capitals,
        "max_length": translator.max_length,
        "precision": _keras_decoder(translator).model.compute_dtype,
        "search": dataclasses.asdict(_keras_decoder(translator).search),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    path.parent.mkdir()
    shutil.copyfile(spans.__file__, path.with_name("spans.py"))
    path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
