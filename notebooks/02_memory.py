# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Memory, from a gate to the scores of a document
#
# The first notebook translates sentences, each as if there were no others. But "it" is *er*, *sie* or *es* in German,
# depending on a noun that may be several sentences back. This notebook shows how a model carries something from one
# part of a document to the next: what a gate does, how documents become batches, what slots are, a model that must
# remember, a small model that translates a real document, and the scores that tell whether memory helps.
#
# Again each section makes **one claim**, shows it with **one short cell and one figure**, and checks it with an
# `assert` where a claim can be checked. The cells import what the program itself runs on; `docs/memory.md` gives the
# reasons, and `docs/document-scores.md` explains the scores.
#
# The shapes have one letter for each axis, here and in the code: `B` batch (or lanes of documents), `S` source length,
# `T` target length, `D` model width, `W` windows in a row, `M` memory slots.
#
# The whole notebook takes less than four minutes on two processor cores. With `WEITBLICK_QUICK=1` in the environment
# the trainings are cut short and a made-up corpus replaces the real one, so that no network is needed.

# %%
import itertools
import os
import re
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log lines of TensorFlow between the cells

from app.cli.startup import load_keras

load_keras()

import keras
import numpy as np
from keras import ops

import figures
import made_up
from app.presets.schema import SearchPreset
from app.probe.documents import Task, asking_documents, training_document
from app.probe.learning import learn
from app.runs.weights import named, split_variables
from app.scoring.consistency import TermScorer
from app.scoring.cxmi import context_use
from app.scoring.evaluation import DocumentOptions, evaluate_translations
from app.scoring.testsets import TestSet
from app.scoring.words import is_term, source_words
from app.training.optimizer import FusedAdam
from app.training.schedules import WarmUp
from app.translation.lines import DocumentLine
from app.translation.translator import Translator
from data.batching import Batches
from data.cleaning import CleaningOptions, clean
from data.corpora.corpora import Corpora
from data.documents import DocumentBatches
from data.feeding import dataset_of
from data.packing import PackedWindow, pack
from data.shards import encode_pairs
from data.tokenizer import EOS, PAD, Tokenizer
from data.windows import WindowOptions, cut
from models.document import DEFAULTS, DocumentTransformer
from models.masks import look_ahead_mask
from models.memories.base import Row
from models.memories.cells import GRUCell
from models.memories.compressive import CompressiveMemory
from models.memories.gru import GRUMemory, GRUSettings
from models.memories.reading import GatedRead
from models.memories.recurrence import RecurrenceMemory
from models.past import Past
from models.teacher_forcing import DocumentTeacherForcing, TeacherForcing
from models.transformer import Transformer

QUICK = os.environ.get("WEITBLICK_QUICK") == "1"
keras.utils.set_random_seed(1)
random = np.random.default_rng(1)
print("quick mode" if QUICK else "full mode", "on", keras.backend.backend())

# %% [markdown]
# # 1. A gate
#
# ## A gated cell keeps what it holds until it is told otherwise
#
# A plain recurrent network rewrites its state at every step, so what it has read is soon lost. The *gated recurrent
# unit* has two gates, numbers between 0 and 1 that it computes itself from its state `h` and its input `x`:
#
# $$h' = z\,h + (1 - z)\tanh(W\,[r\,h,\ x] + b)$$
#
# `z` says how much of the old state is kept; `r` says how much of it the new content may depend on. Here the weights
# are set by hand, so that one input number is a value, one says "write" and closes `z`, and one says "fresh" and closes
# `r`. The cell then holds the first value (step 3) while other values pass by, replaces it (step 9), and adds another
# one to it (step 15). A trained cell finds its own reasons to open and close.

# %%
cell = GRUCell(width=3)
cell.build()
weights = {name: np.zeros((6, 3), "float32") for name in ("reset", "update", "candidate")}
weights["reset"][5, 0] = weights["update"][4, 0] = -12  # rows: three of h, then value, write, fresh
weights["candidate"][[0, 3], 0] = 1
biases = {"reset": [6, 0, 0], "update": [6, 0, 0], "candidate": [0, 0, 0]}
for name, kernel in weights.items():
    getattr(cell, name).set_weights([kernel, np.array(biases[name], "float32")])

steps, h = np.zeros((20, 3), "float32"), np.zeros((1, 3), "float32")
steps[:, 0], steps[[3, 9, 15], 1], steps[9, 2] = random.uniform(-0.9, 0.9, 20), 1, 1
seen = []
for x in steps[:, None]:
    r = ops.sigmoid(cell.reset(np.concatenate([h, x], axis=-1)))
    h, z = map(np.asarray, cell(h, x))
    seen.append([*x[0], z[0, 0], float(r[0, 0]), h[0, 0]])
seen = np.array(seen)
value, held = seen[:, 0], seen[:, -1]
print("x", x.shape, "-> h", h.shape, "and z", z.shape)
assert abs(held[8] - np.tanh(value[3])) < 0.05 and abs(held[9] - np.tanh(value[9])) < 0.05
assert abs(held[15] - np.tanh(held[14] + value[15])) < 0.05
rows = ["value", "write", "fresh", "z: keep", "r: look back", "state h"]
figures.heatmaps({"A cell with weights set by hand": seen.T}, rows, xlabel="step", signed=True, cell=0.3, bar="value")

# %% [markdown]
# ## The bias of the gate says how far back it reaches before it has learnt anything
#
# Before training, `z` hovers around the sigmoid of its bias, whatever comes in. After `n` windows the old content of
# the state then still has the share $z^n$, and about as much of the gradient finds its way back: 0.73 each time with a
# bias of 1, only 0.27 with a bias of -1. A model cannot learn to keep something that it never sees used, so a cell that
# is written by every window needs a bias above 0.
#
# The slots of section 3 are not written by every window: a slot changes by the share of a window that belongs to it,
# and where that is a tenth, a cell that writes boldly still reaches far back. Hence the default of `keep_bias`, below
# 0: what belongs to a slot is taken, and the rest passes by. (Solid: measured on random input; dashed: the power.)

# %%
after, curves, styles = np.arange(17), {}, {}
for number, (bias, belonging) in enumerate([(-1.0, 1.0), (1.0, 1.0), (3.0, 1.0), (-1.0, 0.1)]):
    cell = GRUCell(width=64, keep_bias=bias)
    h, share = np.tanh(random.normal(size=(200, 64))).astype("float32"), [1.0]
    kept = np.ones_like(h)
    for _ in after[1:]:
        new, z = map(np.asarray, cell(h, 0.5 * random.normal(size=h.shape).astype("float32")))
        h, kept = h + belonging * (new - h), kept * (1 - belonging * (1 - z))
        share.append(kept.mean())
    expected = 1 - belonging * (1 - float(ops.sigmoid(bias)))
    name = f"keep_bias {bias:.0f}" + (f", {belonging:.0%} belongs" if belonging < 1 else "")
    curves |= {name: (after, share), f"{expected:.2f}ⁿ": (after, expected**after)}
    styles |= {name: f"C{number}-", f"{expected:.2f}ⁿ": f"C{number}--"}
    print(f"{name:26} {share[1]:.2f} after one window, {share[8]:.2f} after eight")
    assert abs(share[1] - expected) < 0.05
print(f"the default: keep_bias {GRUSettings().keep_bias:.0f}")
title = "What is left of what was held, untrained"
figures.lines(curves, "windows since", "share", title, bottom=0, styles=styles)

# %% [markdown]
# # 2. Windows of documents
#
# ## A document is cut into windows, by segments, by tokens, or growing
#
# A *window* is what the model sees at once: consecutive segments of one document. With a memory, windows follow one
# another, and what came before is left to the memory. `dynamic` starts with small windows and doubles their limit. The
# way without a memory is `concat`: windows *slide*, and each segment (dark) is translated with some earlier segments
# (light) in view. In every case, each segment is translated exactly once.

# %%
lengths = random.integers(4, 20, 16)
ways = {
    "2 segments": WindowOptions("segments", size=2),
    "64 tokens": WindowOptions("tokens", tokens=64),
    "dynamic, up to 128": WindowOptions("dynamic", tokens=128),
    "concat, 4 segments": WindowOptions("segments", size=4, sliding=True),
}
panels = {}
for name, options in ways.items():
    windows, columns = cut(lengths, options), np.arange(16)
    first, current, end = windows.T[:, :, None]
    panels[name] = 0.3 * ((first <= columns) & (columns < current)) + ((current <= columns) & (columns < end))
    print(f"{name:20} windows (W, 3) = {windows.shape}, the first three {windows[:3].tolist()}")
    assert ((panels[name] == 1).sum(axis=0) == 1).all()
figures.heatmaps(panels, columns=[""] * 16, rows=[""] * 16, cell=0.13, xlabel="segment", ylabel="window")

# %% [markdown]
# ## Documents lie side by side, and their windows end to end
#
# To keep a processor busy, a batch reads several documents at once. Each row is a *lane*: in it documents follow one
# another, each as windows in order, and the same row of the next batch continues where this one stops. `pack` lays out
# what comes next in each lane. Colours are windows; in the second lane the first window has two segments, with the end
# token (source) or the begin token (target) as the break between them. The labels are the targets one step ahead.

# %%
lanes = [
    [PackedWindow([[11, 12]], [[21, 22]], 0, True), PackedWindow([[13, 14]], [[23]], 0, False)]
    + [PackedWindow([[15, 16]], [[24, 25]], 0, True)],
    [PackedWindow([[17, 18], [19]], [[26, 27], [28, 29]], 0, True), PackedWindow([[20]], [[30, 31]], 0, False)],
]
inputs, labels = pack(lanes, multiple=1)
for name in ("source", "source_windows", "source_positions", "target", "resets"):
    print(f"{name:16} {str(inputs[name].shape):8} {inputs[name].tolist()}")
panels = {"source": inputs["source"], "target (decoder's input)": inputs["target"], "labels": labels}
groups = [inputs["source_windows"], inputs["target_windows"], inputs["target_windows"]]
figures.tokens(panels, groups=dict(zip(panels, groups, strict=True)))

# %% [markdown]
# ## Attention stays inside a window; the memory goes from window to window; nothing leaves its document
#
# Which input does a position feel? Change one token after another and see which of the decoder's states move. Without a
# memory, each target position feels the whole source of its own window. With a memory it also feels the source of
# earlier windows, until a reset begins the next document. On the target side each position feels the earlier positions
# of its own window, and with the memory (`sides = "both"`) everything that was written in earlier windows.
#
# The first lane of the batch above: windows 1 and 2 are one document, window 3 begins another.

# %%
real = {side: int((inputs[f"{side}_windows"][0] > 0).sum()) for side in ("source", "target")}
lane = {name: value[:1, : real.get(name[:6])] for name, value in inputs.items()}
windows = {side: lane[f"{side}_windows"][0] for side in ("source", "target")}


def felt(model, side):
    """Boolean (T, tokens): which of the decoder's states move when a token of one side is changed."""
    count = len(windows[side])
    rows = {name: np.repeat(value, count + 1, axis=0) for name, value in lane.items()}
    rows[side][np.arange(count), np.arange(count)] = 39  # the last row stays as it is
    states = np.asarray(model.document_states(rows, model.initial_memory(count + 1))[0])
    return (np.abs(states[:-1] - states[-1]).max(axis=-1) > 1e-6).T


sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "hidden": 32, "heads": 2, "dropout": 0, "norm": "pre"}
plain = DocumentTransformer(40, **sizes)
remembering = DocumentTransformer(40, **sizes, memory={"kind": "gru", "slots": 4, "sides": "both", "read_bias": 0.0})
panels = {"source, no memory": felt(plain, "source"), "source, gru": felt(remembering, "source")}
panels["target, gru"] = felt(remembering, "target")
print("states (T) by changed tokens (S):", panels["source, gru"].shape)
document = np.cumsum(lane["resets"][0])
at = windows["target"][:, None]
own, before = (
    {side: document[at - 1] == document[of - 1] for side, of in windows.items()},
    {side: of < at for side, of in windows.items()},
)
assert np.array_equal(panels["source, no memory"], windows["source"] == at)
assert np.array_equal(panels["source, gru"], own["source"] & (windows["source"] <= at))
past = (windows["target"] == at) & look_ahead_mask(real["target"])
assert np.array_equal(panels["target, gru"], past | (own["target"] & before["target"]))
figures.masks(panels, xlabel="changed token", ylabel="decoder's position", rows=[str(w) for w in windows["target"]])

# %% [markdown]
# # 3. Slots
#
# ## The positions of a window are shared out among the slots
#
# The `gru` memory is `M` vectors of width `D` for each document, its *slots*. They compete for the positions of a
# window: each position belongs mostly to the slot that is most like it, and its shares sum to one over the *slots*, not
# over the positions as is usual in attention. A slot gets the mean of what belongs to it as the input of its gated
# cell, and changes by no more than the amount that belongs to it. So a slot keeps what it holds until something of the
# same kind comes along, and many slots hold many things. Even untrained slots do not all do the same.

# %%
model = DocumentTransformer(40, **sizes, memory={"kind": "gru", "slots": 6})
look = model.inspect_memory(lane, model.initial_memory(1))
attended, writes = np.asarray(look["attended"][0]), np.asarray(look["writes"][0])
print("belonging (W, M, S)", attended.shape, "share written anew (W, M)", writes.shape)
for number in (1, 2, 3):
    assert np.allclose(attended[number - 1].sum(axis=0), windows["source"] == number, atol=1e-5)
assert (writes <= np.minimum(attended.sum(axis=-1), 1) + 1e-5).all()
panels = {f"window {n + 1} writes {writes[n].min():.2f} to {writes[n].max():.2f}": attended[n] for n in range(3)}
figures.heatmaps(panels, cell=0.26, xlabel="source position", ylabel="slot", bar="share")

# %% [markdown]
# ## A new document begins with the slots that every document begins with
#
# All documents start from the same slots. A memory is a *pure function*: the state goes in and comes out, and nothing
# is hidden in the layer. So a reset is just a choice between two tensors, and no trace of the previous document can
# remain.

# %%
memory = GRUMemory(width=32, slots=6)
memory.build()
x, resets = random.normal(size=(1, 48, 32)).astype("float32"), np.isin(np.arange(12), [0, 7])[None]
row = Row(windows=np.repeat(np.arange(1, 13), 4)[None], resets=resets, remembered=np.ones((1, 48), bool))
states, _ = memory.states_before(x, row, memory.initial_state(1))
start, before = np.asarray(memory.initial_state(1)["slots"]), np.asarray(states["slots"])[:, 0]
distance = np.sqrt(np.mean((before - start) ** 2, axis=(1, 2)))
print("slots (W, M, D) that the windows may read:", before.shape)
assert distance[0] == distance[7] == 0 and (np.delete(distance, [0, 7]) > 0).all()
curves = {"distance": (np.arange(1, 13), distance)}
marks = {"a document begins": 8}
title = "How far the slots are from where they began"
figures.lines(curves, "window", "distance", title, bottom=0, marks=marks, styles={"distance": "o-"})

# %% [markdown]
# ## Reading starts nearly closed, so that a trained model stays what it was
#
# Encoder and decoder attend to the slots and add what they find through a separate gate, `x + g · found`. A memory is
# added to a model that already translates sentences; an open gate would feed it what it has not learnt to use. With the
# default of `read_bias` the gate starts near a tenth. It must not start at zero either: the gradient that could open
# the gate is proportional to `g (1 - g)`, the second curve, and at -6 hardly any of it is left.

# %%
biases = np.arange(-8, 3)
x = random.normal(size=(1, 10, 32)).astype("float32")
past = Past(random.normal(size=(1, 6, 32)).astype("float32"), np.ones((1, 1, 6), bool))
gates = []
for bias in biases:
    read = GatedRead(32, bias=float(bias))
    _, opened, read_weights = read(x, past, return_weights=True)
    gates.append(np.asarray(opened))
print(
    "x",
    x.shape,
    "slots",
    past.values.shape[1:],
    "-> gates",
    opened.shape,
    "and weights (B, 1, S, M)",
    read_weights.shape,
)
curves = {"gate g": (biases, [np.mean(g) for g in gates]), "g (1 - g)": (biases, [np.mean(g * (1 - g)) for g in gates])}
assert curves["gate g"][1][5] < 0.1 and curves["g (1 - g)"][1][2] < 0.01
marks = {"the default": DEFAULTS["read_bias"]}
figures.lines(curves, "read_bias", "mean over positions", "Reading, untrained", bottom=0, marks=marks)

# %% [markdown]
# ## Inside the layers, positions can be kept as they are, or squeezed
#
# Slots sit above the stacks and hold what belongs together, without saying where it was. A memory *inside* a layer
# (`memory.layers = "all"`) can be simpler: the layer keeps what its self-attention was given in earlier windows, as
# further keys and values at their distance. `recurrence` keeps the last positions. `compressive` makes one vector
# (light) of every two positions that leave that cache, and keeps these vectors for longer.
#
# The figure has six windows of four positions, read in two rows, and shows what the second row may attend to; its own
# windows are darkest.

# %%
row = Row(np.repeat([[1, 2, 3]], 4, axis=1), np.zeros((1, 3), int), np.ones((1, 12), bool))
halves, panels = random.normal(size=(2, 1, 12, 8)).astype("float32"), {}
kept = {"recurrence, cache of 6": RecurrenceMemory(8, cache=6)}
kept["compressive, cache of 4, 3 vectors of 2"] = CompressiveMemory(8, cache=4, compressed=3, rate=2)
for name, memory in kept.items():
    _, state, _ = memory(halves[0], row, memory.initial_state(1))
    past, _, _ = memory(halves[1], row, state)
    vectors = past.values.shape[1] - state["values"].shape[1]  # vectors come first, then positions
    panels[name] = np.zeros((12, 24))
    panels[name][:, 12:] = np.where(np.asarray(past.row)[0], 0.7, np.equal(row.windows, row.windows.T))
    for column, place in enumerate(12 + np.asarray(past.positions)[0]):  # the row begins at position 12
        size = 2 if column < vectors else 1
        covered = slice(place // size * size, place // size * size + size)
        panels[name][np.asarray(past.mask)[0, :, column], covered] = 0.7 if size == 1 else 0.35
    print(f"{name}: keys and values of {past.values.shape[1]} entries (B, P, D) = {past.values.shape} before the row")
reader, place = 12 + np.arange(12)[:, None], np.arange(24)
begin = reader // 4 * 4
assert np.array_equal(panels["recurrence, cache of 6"] > 0, (place >= begin - 6) & (place < begin + 4))
assert np.array_equal(
    panels["compressive, cache of 4, 3 vectors of 2"] > 0, (place >= begin - 10) & (place < begin + 4)
)
figures.heatmaps(
    panels,
    [*map(str, range(12, 24))],
    [*map(str, range(24))],
    "position in the document",
    "position that reads",
    cell=0.22,
)

# %% [markdown]
# # 4. The recall probe
#
# ## A document in which an answer comes some windows before its question
#
# Does a memory remember? Real text does not show it: most sentences need no context. So the *recall probe* makes
# documents up. A fact gives a key its value; some windows of filler later, a question asks for it, and the target of
# the question is the value. Nothing in the question's own window says what the value is.

# %%
task = Task(keys=4, values=8, facts=1)
name_of = {}
for n in range(task.values):
    state, ask = task.fact(n % task.keys, n), task.question(n % task.keys, n)
    names = ["fact", f"key{n % task.keys}", f"value{n}"]
    name_of |= dict(zip([*state.source.tolist(), *state.target.tolist()], 2 * names, strict=True))
    name_of[int(ask.source[0])] = "ask"


def shown(ids):
    return [name_of.get(int(id), "...") for id in ids]


example = asking_documents(task, 4, 1, np.random.default_rng(5))[0]
print(len(example), "segments; the last asks", shown(example[-1].source), "and wants", shown(example[-1].target))
figures.pieces({f"window {n + 1}": shown(segment.source) for n, segment in enumerate(example)}, "Source of a document")

# %% [markdown]
# ## Without a memory a model guesses; with slots it soon knows
#
# One encoder and one decoder layer of width 64, trained as `weitblick probe` does it, in lessons: short documents
# first, longer ones once those are learnt. There are eight values, so guessing gets one question in eight right. The
# model without a memory trains on such documents for half as long, which is still more updates because it is faster,
# and can do no better than guess. *That* is what makes the probe honest: if this model were clearly above the dotted
# line, the answer would have leaked.

# %%
minutes = 0.01 if QUICK else 5  # at most; a model that knows all lessons ends sooner
learnt, curves = {}, {}
for kind in ("gru", "none"):
    progress = []
    settings = {"kind": kind, "slots": 16}
    learnt[kind] = learn(task, settings, context=0, longest=16, minutes=minutes, seed=1, report=progress.append)
    curves[kind] = ([0, *(p.update for p in progress)], [1 / task.values, *(p.recall for p in progress)])
    last, minutes = progress[-1], progress[-1].seconds / 120
    print(f"{kind}: {learnt[kind].weights:,} weights, {last.update} updates, documents of up to {last.length} segments")
chance = np.arange(0, max(x[-1] for x, _ in curves.values()) + 1)
curves["chance"] = (chance, np.full(len(chance), 1 / task.values))
styles = {"none": "o-", "gru": "o-", "chance": ":"}
title = "Right answers at the farthest distance of the lesson"
figures.lines(curves, "updates", "share", title, bottom=0, styles=styles)

# %% [markdown]
# ## It remembers across all distances that it was trained on, and farther
#
# Training documents had at most 16 segments, so no question was farther from its fact than 15 windows. Up to that
# distance the model nearly always knows the answer. At 32 windows, more than twice as far as anything it has seen, it
# still knows it far more often than by chance. (The band is the 95% interval.) This is the easiest task; with several
# facts in a document, keys and values must be kept together, which takes longer to learn. `docs/probe.md` shows those
# curves, for all memories.

# %%
distances, asked = (1, 4) if QUICK else (1, 2, 4, 8, 16, 32), 64 if QUICK else 512
curves, bands = {}, {}
for kind in ("gru", "none"):
    found = [learnt[kind].examiner.recall(task, distance, asked, seed=99) for distance in distances]
    curves[kind] = (distances, [recall.share for recall in found])
    bands[kind] = np.transpose([recall.interval for recall in found])
    print(f"{kind:5}", "  ".join(f"{recall.distance}: {recall.share:.0%}" for recall in found))
assert QUICK or min(curves["gru"][1][:5]) > 0.95
assert max(low for low, _ in bands["none"].T) < 0.25
curves["chance"] = (distances, np.full(len(distances), 1 / task.values))
styles = {"none": "o-", "gru": "o-", "chance": ":"}
marks = {} if QUICK else {"none farther in training": 15}
style = {"styles": styles, "bands": bands, "marks": marks}
figures.lines(curves, "windows between fact and question", "share", "Recall against distance", bottom=0, **style)

# %% [markdown]
# ## It has sorted its slots by what comes in
#
# Now the slots can be read. Which words belong to which slot? Nobody told the model that there are facts, questions and
# filler; it learnt this from the loss of the answers. Everything that is "ask" goes to one slot. Values and filler are
# spread over several slots, and differently: about half of the values would have to move to match the filler. So what
# should be kept is partly kept out of harm's way.

# %%
documents = [training_document(task, 12, np.random.default_rng(seed)) for seed in range(64)]
rows = [[PackedWindow([s.source], [s.target], 0, reset=n == 0) for n, s in enumerate(own)] for own in documents]
inputs, _ = pack(rows)
transformer = learnt["gru"].examiner.transformer
look = transformer.inspect_memory(inputs, transformer.initial_memory(64))
belongs = np.swapaxes(np.asarray(look["attended"]).sum(axis=1), 1, 2)  # each position belongs to one window alone
words = [[word.rstrip("0123456789").replace("...", "filler") for word in shown(row)] for row in inputs["source"]]
kinds = np.array(words)
kinds[inputs["source"] == EOS], kinds[inputs["source"] == PAD] = "end", "padding"
shares = {kind: belongs[kinds == kind].mean(axis=0) for kind in ("fact", "key", "value", "ask", "filler", "end")}
print("belonging (B, S, M)", belongs.shape, {kind: f"at most {share.max():.2f}" for kind, share in shares.items()})
assert all(abs(share.sum() - 1) < 1e-3 for share in shares.values())
apart = np.abs(shares["value"] - shares["filler"]).sum() / 2
print(f"share of the values' positions that would have to move to be where filler goes: {apart:.2f}")
assert QUICK or (max(shares["ask"]) > 0.5 and apart > 0.25)
figures.heatmaps({"where words belong": list(shares.values())}, list(shares), xlabel="slot", cell=0.34, bar="share")

# %% [markdown]
# # 5. A real document
#
# ## In a document, words recur
#
# Now to text. The corpus `software` has documents: the source files that messages come from. This notebook takes those
# of Home Assistant, one document for each of its components, and lines of up to twelve words.
#
# Is there anything to remember? For each segment, count how many of its content words occurred earlier in its own
# document, and compare with as many segments from elsewhere. That difference is what a memory has to work with: it can
# tell which of a word's translations this document has chosen.

# %%
corpus = Corpora().open(made_up.write_documents(tempfile.mkdtemp()) if QUICK else "software")
corpus.prepare()


def short_pairs(split):
    """The slice of a split: one project, up to twelve words a side."""
    for pair in corpus.pairs(split):
        if (QUICK or pair.doc.startswith("homeassistant")) and max(len(side.split()) for side in pair[:2]) <= 12:
            yield pair


# A document that lost its repeated lines would have holes.
train = list(clean(short_pairs("train"), CleaningOptions(deduplicate=False)))
validation, test = list(short_pairs("validation")), list(short_pairs("test"))
documents = [list(own) for _, own in itertools.groupby(train, lambda pair: pair.doc)]
print(f"{len(train):,} pairs in {len(documents)} documents to train on, {len(validation)} and {len(test)} to check")


def seen_before(documents, longest=16):
    """For each place in a document, the share of content words that occurred before it."""
    found, total = np.zeros(longest), np.zeros(longest)
    for document in documents:
        known = set()
        for place, pair in enumerate(document[:longest]):
            words = {word for word in source_words(pair.source, "en") if is_term(word, "en")}
            found[place], total[place] = found[place] + len(words & known), total[place] + len(words)
            known |= words
    return found / np.maximum(total, 1)


shuffled = iter([train[n] for n in random.permutation(len(train))])
elsewhere = [[next(shuffled) for _ in document] for document in documents]
longest = 4 if QUICK else 16
texts = {"its own document": documents, "segments from elsewhere": elsewhere}
curves = {name: seen_before(text, longest) for name, text in texts.items()}
assert QUICK or curves["its own document"][-1] > 1.5 * curves["segments from elsewhere"][-1]
figures.lines(curves, "segment of the document", "share of words", "Content words that stood before", bottom=0)

# %% [markdown]
# ## Two stages: first sentences, then documents
#
# Long contexts from fresh weights are known to collapse, so a memory is learnt in a second stage. The first trains an
# ordinary `Transformer` on shuffled sentences. The second takes its weights by name, adds a memory, whose weights are
# fresh and learn faster than the old ones, and reads documents in order. The fair comparison is a second stage
# *without* a memory, with just as many updates on the same batches: whatever that stage gains is not due to the memory.

# %%
VOCABULARY = 320 if QUICK else 1500
tokenizer, folder = Tokenizer.train((side for pair in train for side in pair[:2]), VOCABULARY), tempfile.mkdtemp()
shards, held_out = (encode_pairs(pairs, tokenizer, folder, key=str(len(pairs))) for pairs in (train, validation))
layers = 1 if QUICK else 2
sizes = {"encoder_layers": layers, "decoder_layers": layers, "width": 128, "hidden": 512, "heads": 4, "norm": "pre"}
LANES, windows = 16, WindowOptions("segments", size=1)
rounds, every = ((2, 2), 10) if QUICK else ((8, 5), 100)


def train_model(trainer, batches, validation, rounds, peak, warmup):
    """Trains, and returns the loss on the validation split, in nats a token, before it and after each round."""
    schedule = WarmUp("inverse_sqrt", peak=peak, warmup=warmup, updates=rounds * every)
    optimizer = FusedAdam(schedule, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0)
    optimizer.build(trainer.transformer.trainable_variables)
    optimizer.set_rate_factor(getattr(trainer.transformer, "memory_weights", []), 2.0)
    trainer.compile(optimizer, jit_compile=False)
    batches_of = dataset_of(lambda: batches.stream(0), batches.inputs)
    known = list(validation.epoch(0))
    steps = {"steps_per_epoch": every, "epochs": rounds, "shuffle": False, "verbose": 0}
    check = dataset_of(lambda: iter(known), batches.inputs)
    before = trainer.evaluate(check, steps=len(known), verbose=0, return_dict=True)["nll"]
    history = trainer.fit(batches_of, validation_data=check, validation_steps=len(known), **steps).history
    return [before, *history["val_nll"]]


keras.utils.set_random_seed(1)
first = Transformer(VOCABULARY, **sizes, dropout=0.2)
first.build()
sentences = [Batches(part, batch_tokens=1024, seed=1, multiple=2) for part in (shards, held_out)]
losses = {"sentences": train_model(TeacherForcing(first), *sentences, rounds[0], 2e-3, 20 if QUICK else 150)}
in_order = [DocumentBatches(part, LANES, 1024, 8, windows, seed=1) for part in (shards, held_out)]
taken, models = named(split_variables(first)[0]), {}
for kind in ("none", "gru"):
    models[kind] = DocumentTransformer(VOCABULARY, **sizes, dropout=0.2, memory={"kind": kind, "slots": 24})
    models[kind].build()
    mine = named(split_variables(models[kind])[0])
    for name, variable in taken.items():
        mine[name].assign(variable)
    losses[kind] = train_model(DocumentTeacherForcing(models[kind], lanes=LANES), *in_order, rounds[1], 7e-4, 50)
    fresh = sorted({name.split("/")[0] for name in mine if name not in taken})
    print(f"{kind:5} fresh weights: {', '.join(fresh) or 'none'}; {losses[kind][0]:.3f} -> {losses[kind][-1]:.3f} nats")
assert abs(losses["none"][0] - losses["sentences"][-1]) < 0.01
assert abs(losses["gru"][0] - losses["none"][0]) < 0.5
ends = every * rounds[0]
curves = {name: (every * np.arange(len(loss)) + ends * (name != "sentences"), loss) for name, loss in losses.items()}
figures.lines(curves, "updates", "nats a token", "Validation loss in two stages", marks={"documents": ends})

# %% [markdown]
# ## The decoder's gate opens as the document proceeds
#
# `Translator` is what the program itself uses to translate documents. It can tell, window by window, how the memory was
# used; `weitblick translate --document --show-memory` writes the same numbers for a model of your own.
#
# The figure shows the reading gates of the encoder (source) and of the decoder (target), averaged over each segment of
# a document of the test split. The dotted line is where they began. The decoder has learnt to listen to its memory, and
# the more of the document the memory holds, the more it listens; the encoder's gate has hardly moved.

# %%
search = SearchPreset(beam=1)
translators = {kind: Translator.of_model(model, tokenizer, search, windows) for kind, model in models.items()}
named_documents = [(name, list(own)) for name, own in itertools.groupby(test, lambda pair: pair.doc)]
title, chosen = next((name, own) for name, own in named_documents if len(own) >= (4 if QUICK else 13))
chosen, looks = chosen[:14], []
lines = [DocumentLine(0, pair.source) for pair in chosen]
translated = [found.text for found in translators["gru"].translate_lines(lines, watch=looks.append)]
print(f"{title}: {len(looks)} segments, each with {', '.join(sorted(looks[0]))}")
number = np.arange(1, len(looks) + 1)
curves = {f"{side}": (number, [look[f"{side}_gate"] for look in looks]) for side in ("source", "target")}
curves["at the start"] = (number, np.full(len(looks), float(ops.sigmoid(DEFAULTS["read_bias"]))))
styles = {"source": "o-", "target": "o-", "at the start": ":"}
figures.lines(curves, "segment", "mean gate", "How far the reading gates are open", bottom=0, styles=styles)

# %% [markdown]
# ## The gate is open at some pieces more than at others
#
# The same gates, piece by piece: the darker a tile, the more of the memory is added there. The *pattern* of a gate only
# says where the model listens, not that what it hears is useful. For that there are scores.

# %%
shades, cut_into = {}, {}
for n, look in list(enumerate(looks, start=1))[:8]:
    label = f"segment {n}"
    cut_into[label], shades[label] = look["source"][:14], look["source_gates"][:14]
low, high = (edge(min(row) if edge is min else max(row) for row in shades.values()) for edge in (min, max))
print(f"gates (S,) of a piece: from {low:.3f} to {high:.3f}")
assert 0 < low <= high < 1
shades = {label: [gate - low for gate in row] for label, row in shades.items()}
figures.pieces(cut_into, f"Source pieces; white is a gate of {low:.3f}, the darkest {high:.3f}", shades=shades)

# %% [markdown]
# ## Each window writes some slots and leaves others alone
#
# How much of each slot did each window rewrite? Slots that are left alone hold what came long before. The probe's slots
# were sorted within two hundred updates, because each answer's loss told them to. Text tells much less: most words can
# be translated without context. That is why a memory for translation needs long training, on a lot of text, and scores
# that detect small effects.

# %%
writes = np.array([look["writes"] for look in looks])
print("writes (W, M)", writes.shape, "from", writes.min().round(2), "to", writes.max().round(2))
assert ((writes >= 0) & (writes < 1)).all()
figures.heatmaps({"share of a slot written anew": writes.T}, xlabel="window", ylabel="slot", cell=0.2, bar="share")

# %% [markdown]
# # 6. The scores of a document, read together
#
# ## Each score is blind to something
#
# Before trusting scores, see what they do when the truth is known. Take the references, which are perfect, and damage
# them on purpose:
#
# * **ends moved**: the last word of each segment goes to the start of the next. s-BLEU compares segment by segment and
#   falls; d-BLEU compares whole documents and does not see it.
# * **every other noun renamed** by adding "zeug" to it: the document calls one thing by two names. Consistency falls.
# * **every noun renamed**: worse for BLEU, yet *consistent*. Only "terms as in the reference" notices that it is wrong.
#
# (Consistency looks at how a repeated word was translated. The aligner that finds this out is shown both names, as it
# would have to be for real synonyms.)

# %%
kept = [(name, own) for name, own in named_documents if len(own) >= 3]
names = [name for name, _ in kept]
sides = ([[pair[side] for pair in own] for _, own in kept] for side in (0, 1))
documents = TestSet.of_documents("notebook-test", *sides, "software, test")


def flat(documents):
    return list(itertools.chain.from_iterable(documents))


def ends_moved(lines):
    words = [line.split() for line in lines]
    last = [own.pop() if len(own) > 1 else "" for own in words]
    moved = [" ".join([before, *own]).strip() for before, own in zip(["", *last[:-1]], words, strict=True)]
    return [*moved[:-1], f"{moved[-1]} {last[-1]}".strip()]


def renamed(lines, each=1):
    count = itertools.count()
    return [re.sub(r"\b[A-ZÄÖÜ]\w{3,}", lambda m: m[0] + "zeug" * (next(count) % each == 0), line) for line in lines]


references = documents.cut(documents.references)
damaged = {
    "the reference": references,
    "ends moved": [ends_moved(lines) for lines in references],
    "every other noun renamed": [renamed(lines, each=2) for lines in references],
    "every noun renamed": [renamed(lines) for lines in references],
}
both_names = [pair[:2] for pair in train] + [(pair.source, renamed([pair.target])[0]) for pair in train]
terms, options, found = TermScorer(documents, training=both_names), DocumentOptions(samples=0), {}
for name, lines in damaged.items():
    scored = evaluate_translations(flat(lines), documents, options, terms)
    scores = {score.name: score.value for score in [*scored.scores, *scored.terms]}
    found[name] = [scores[n] for n in ("s-BLEU", "d-BLEU", "consistency, repeated words", "terms as in the reference")]
    print(f"{name:26}", "  ".join(f"{value:5.1f}" for value in found[name]))
assert found["ends moved"][0] < 80 and found["ends moved"][1] > 99.9
assert QUICK or found["every other noun renamed"][2] < found["every noun renamed"][2] - 10
assert found["every noun renamed"][0] < found["every other noun renamed"][0]
labels = ["s-BLEU", "d-BLEU", "consistency", "terms as in\nthe reference"]
figures.bars(found, labels, "score", "References, damaged on purpose", form="", top=105)

# %% [markdown]
# ## Did the memory help? Ask whole documents, not sentences
#
# Now the two models of the second stage. Intervals and p-values come from drawing whole *documents*: segments of a
# document depend on each other, and drawing them one by one would make any difference look more certain than it is.
# With as few documents as here the intervals are wide, and after a minute of training honest numbers mostly say *no
# clear difference*. That is what a test is for. (Of many scores, one may fall below p = 0.05 by chance alone.) And
# consistency proves nothing by itself: a model that knows few words repeats them, and so surpasses even the reference.

# %%
sources = documents.cut(documents.sources)
outputs = {kind: list(translator.translate_documents(sources)) for kind, translator in translators.items()}
terms = TermScorer(documents, training=[pair[:2] for pair in train])
options = DocumentOptions(samples=200 if QUICK else 1000)
none = flat(outputs["none"])
scored = evaluate_translations(flat(outputs["gru"]), documents, options, terms, baseline=("none", none))
alone = evaluate_translations(none, documents, options, terms)
print(f"{len(documents.documents)} documents, {documents.segments} segments\n\n{'':30} none   gru  difference")
for score in [*scored.scores, *scored.terms]:
    other = score.comparison
    low, high = other.low or 0.0, other.high or 0.0
    print(
        f"{score.name:28} {other.baseline:6.1f}{score.value:6.1f}  {other.difference:+5.1f} [{low:+.1f}, {high:+.1f}]"
        f"  p = {other.p_value or 1:.3f}"
        f"{'' if score.reference is None else f'   (the reference has {score.reference:.1f})'}"
    )
values, errors = {}, {}
for kind, evaluation in (("none", alone), ("gru", scored)):
    measures = [*evaluation.scores[:2], evaluation.terms[0], evaluation.terms[2]]
    values[kind] = np.nan_to_num([m.value for m in measures])  # untrained, no word is aligned and there is no share
    errors[kind] = [(m.high - m.low) / 2 if m.low is not None else 0.0 for m in measures]
assert QUICK or min(values["none"][0], values["gru"][0]) > 5
figures.bars(values, labels, "score", "Two models, with 95% intervals of documents", errors=errors, form="")

# %% [markdown]
# ## CXMI says whether context is used, before it shows in the output
#
# BLEU sees only the best translation. *CXMI* asks the model itself: by how much, in nats a token, does the document
# before a segment raise the probability of its reference? The model without a memory has exactly zero.
#
# The control is the **wrong context**: the same, but preceded by segments from other documents. A model may gain from
# any context at all, because context tells it what kind of text this is. *Right less wrong* is what the content of this
# document gives.
#
# Together with the scores above: the slots are used, and used for what they hold, and yet the output is hardly better.
# The two results do not contradict each other. CXMI puts the *reference* of earlier segments into the memory; when the
# model translates, it remembers its own words, and so far these are poor. Conversely, if BLEU rose while CXMI stayed at
# zero, the gain would not be due to the memory.

# %%
use = {kind: context_use(translator, documents, options.samples) for kind, translator in translators.items()}
for kind, measures in use.items():
    for m in measures:
        low, high = (m.low, m.high) if m.low is not None else (m.value, m.value)
        print(f"{kind:5} {m.name:22} {m.value:+.4f} [{low:+.4f}, {high:+.4f}] nats a token")
assert max(abs(m.value) for m in use["none"]) < 1e-3
values = {kind: [m.value for m in measures] for kind, measures in use.items()}
spread = {k: [(m.high - m.low) / 2 if m.low is not None else 0.0 for m in ms] for k, ms in use.items()}
labels = ["right context", "wrong context", "right less wrong"]
figures.bars(values, labels, "nats a token", "What context gives", errors=spread, form="")

# %% [markdown]
# ## Read them side by side
#
# No score replaces reading. What do the two models make of the same document, and where do they differ at all?

# %%
place = names.index(title)
columns = sources[place], references[place], outputs["none"][place], outputs["gru"][place]
for source, reference, without, with_memory in list(zip(*columns, strict=True))[:8]:
    print(f"source     {source}\nreference  {reference}\nnone       {without}\ngru        {with_memory}\n")
equal = np.mean([a == b for one, two in zip(*outputs.values(), strict=True) for a, b in zip(one, two, strict=True)])
print(f"{equal:.0%} of all segments are translated alike")

# %% [markdown]
# # Where to go from here
#
# * `weitblick train starter-documents` gives the model of `make train` a memory, on the same text; `documents-small`
#   does so on larger corpora. `memory.kind` swaps one memory for another.
# * `weitblick probe` draws recall against distance for all memories, in minutes.
# * `make eval-doc` scores a run on documents, next to a baseline, and adds ContraPro: whether the model knows *er*,
#   *sie* or *es* from the sentence before.
# * `weitblick translate RUN --document --show-memory FILE` writes the gates and slots of your own model and text.
