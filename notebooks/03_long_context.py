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
# # Long contexts, from a cache to a fair comparison
#
# Attention over n positions costs n times n. This notebook shows six ways around that: positions that are cached,
# compressed, hashed into buckets or recomputed, windows that pass through an invertible network, and text that is
# looked up. At the end it reads measurements of memories: what was promised, what was reached, and what makes a
# comparison fair.
#
# Each section makes **claims** with **one short cell and one figure** each, and runs alone once the cell below has run.
# At the end there are exercises with answers. `docs/memory.md` says how to choose a memory in a preset,
# `docs/stacks.md` explains stacks and hashing, `docs/probe.md` the recall probe, and `docs/compare.md` comparisons.
#
# The whole notebook takes less than two minutes on two processor cores and needs no network. `make notebooks` opens
# JupyterLab, where you can move the sliders. With `WEITBLICK_QUICK=1` in the environment the short trainings are
# shorter still.

# %%
import difflib
import json
import os
import re
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log lines of TensorFlow between the cells

from app.cli.startup import load_keras

load_keras()

import keras
import numpy as np
from ipywidgets import IntSlider, SelectionSlider
from keras import ops

import figures
import made_up
from app.retrieval.matches import best_matches, tokens_of
from app.retrieval.words import WordIndex
from data.packing import PackedWindow, pack
from models.document import DocumentTransformer
from models.lsh import LSHAttention
from models.memories.base import Row
from models.memories.compressive import CompressiveMemory
from models.memories.prism import PrismMemory
from models.memories.recurrence import RecurrenceMemory

QUICK = os.environ.get("WEITBLICK_QUICK") == "1"
DOCS = Path("../docs")
random = np.random.default_rng(1)
print("quick mode" if QUICK else "full mode", "on", keras.backend.backend())


class Rebuilding(keras.Model):
    """Trains what a memory keeps of sequences (B, S, D) with the memory's own loss for rebuilding them."""

    def __init__(self, memory):
        super().__init__()
        self.memory = memory
        # What carries a state from window to window has no part in this loss.
        for part in (getattr(memory, "cell", None), getattr(memory, "output_dense", None)):
            if part is not None:
                part.trainable = False

    def call(self, x):
        batch, length = ops.shape(x)[0], x.shape[1]
        row = Row(ops.ones((batch, length), "int32"), ops.ones((batch, 1), "int32"), ops.ones((batch, length), "bool"))
        self.add_loss(self.memory(x, row, self.memory.initial_state(batch))[2]["rebuild"])
        return x


def learn_to_rebuild(memory, sequences):
    """The memory after a few hundred updates on sequences."""
    keras.utils.set_random_seed(1)
    model = Rebuilding(memory)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(sequences, epochs=1 if QUICK else 8, batch_size=16, verbose=0)
    return memory


def sequences_of(likeness, count=512, length=32, width=32):
    """Sequences (B, S, D) of unit variance, in which neighbours have this correlation."""
    found = [random.normal(size=(count, width))]
    for _ in range(length - 1):
        found.append(likeness * found[-1] + (1 - likeness**2) ** 0.5 * random.normal(size=(count, width)))
    return np.stack(found, axis=1).astype("float32")


# %% [markdown]
# # 1. A cache
#
# ## A window reads itself and the last positions before it
#
# With `recurrence` each layer keeps what its self-attention was given at the last positions, and later windows attend
# to it. Here are eight windows of four positions; the window itself is dark, and what comes out of the cache is
# lighter. The band moves along with the window, and its width is the cache. Move the slider: the cost grows with the
# width of the band, not with the length of the document.


# %%
def cache_of(size):
    """Draws what the positions of a row may attend to."""
    row = Row(np.repeat([np.arange(1, 9)], 4, axis=1), np.eye(1, 8, dtype=int), np.ones((1, 32), bool))
    memory = RecurrenceMemory(8, cache=size)
    past, _, _ = memory(random.normal(size=(1, 32, 8)).astype("float32"), row, memory.initial_state(1))
    own, kept = np.equal(row.windows.T, row.windows), np.asarray(past.row)[0]
    begins = np.arange(32)[:, None] // 4 * 4
    assert np.array_equal(kept, (np.arange(32) < begins) & (np.arange(32) >= begins - size))
    panels = {f"cache of {size}": np.where(own, 1.0, 0.5 * kept)}
    figures.heatmaps(panels, [""] * 32, [""] * 32, "position", "position that reads", cell=0.11)


figures.slider(cache_of, size=IntSlider(8, min=1, max=24))

# %% [markdown]
# ## Through the layers it reaches farther than the cache
#
# What a layer keeps has read the cache of the layer below, and so on: with L layers of P kept positions the reach is L
# times P. We measure it: one source token after another is changed, in fifteen windows of four tokens, and dark means
# that the states of the last window move. This reach is a promise and not yet a memory: each layer must learn to pass
# on what nobody has asked for so far.

# %%
segments = [[[10, 11, 12]], [[20]]]
lane = [PackedWindow(*segments, 0, reset=number == 0) for number in range(15)]
inputs, _ = pack([lane], multiple=1)
length = int((inputs["source_windows"][0] > 0).sum())
copies = {name: np.repeat(value, length + 1, axis=0) for name, value in inputs.items()}
copies["source"][np.arange(length), np.arange(length)] = 13  # the last row stays as it is
felt = []
for layers in (1, 2, 3):
    keras.utils.set_random_seed(1)
    sizes = {"encoder_layers": layers, "decoder_layers": 1, "width": 32, "hidden": 32, "heads": 2, "dropout": 0.0}
    memory = {"kind": "recurrence", "cache": 8, "sides": "encoder"}
    model = DocumentTransformer(40, **sizes, positions="rotary", norm="pre", memory=memory)
    states = np.asarray(model.document_states(copies, model.initial_memory(length + 1))[0])
    last = states[:, inputs["target_windows"][0] == 15]
    felt.append(np.abs(last[:-1] - last[-1]).max(axis=(1, 2)) > 1e-6)
    reach = length - 4 - np.flatnonzero(felt[-1])[0]
    print(f"{layers} layers, cache of 8: the farthest token felt is {reach} positions before the window")
    assert 8 * layers <= reach < 8 * layers + 4 * layers
panel = {"Whose change the last window feels": felt}
figures.heatmaps(panel, ["1", "2", "3"], [""] * length, "source token", "layers")

# %% [markdown]
# # 2. Compression
#
# ## What neighbours have in common survives; the rest does not
#
# `compressive` makes one vector of every `rate` positions that leave its cache, and learns it by rebuilding the
# positions. How well this works depends on the text as much as on the rate. Here are two kinds of sequences, which
# differ only in how similar neighbours are. Where neighbours are similar, one vector can stand for two, and less well
# for eight; where they have nothing in common, half of everything is lost at a rate of 2, and nearly all at 8: `rate`
# positions of 32 independent numbers do not fit into 32. (1 is the error of knowing nothing.)

# %%
rates, errors = (2, 4, 8), {}
for name, likeness in {"alike (correlation 0.95)": 0.95, "not alike (0)": 0.0}.items():
    sequences, errors[name] = sequences_of(likeness), []
    for rate in rates:
        memory = learn_to_rebuild(CompressiveMemory(32, cache=1, compressed=16, rate=rate), sequences)
        raw = sequences_of(likeness, 64).reshape(64, -1, rate, 32)
        rebuilt = np.asarray(memory.rebuilding(memory.compress(raw))).reshape(raw.shape)
        errors[name].append(float(np.mean((rebuilt - raw) ** 2)))
    print(f"{name:26}", "  ".join(f"rate {rate}: {error:.2f}" for rate, error in zip(rates, errors[name], strict=True)))
for found in errors.values():
    assert found == sorted(found)
assert all(alike < apart for alike, apart in zip(*errors.values(), strict=True))
assert QUICK or np.allclose(errors["not alike (0)"], [1 - 1 / rate for rate in rates], atol=0.1)
labels = [f"rate {rate}" for rate in rates]
figures.bars(errors, labels, "mean squared error", "What is lost of unseen sequences", form="{:.2f}", top=1.1)

# %% [markdown]
# ## What is rebuilt looks like the original without its detail
#
# A sequence whose neighbours are similar, and what is rebuilt from its vectors. Each row is one of the numbers of a
# state. Move the slider: the higher the rate, the smoother.

# %%
memories = {
    rate: learn_to_rebuild(CompressiveMemory(32, cache=1, compressed=16, rate=rate), sequences_of(0.95))
    for rate in (2, 4, 8)
}
original = sequences_of(0.95, 1)[0]


def rebuilt_at(rate):
    """Draws a sequence and what is rebuilt from it."""
    vectors = memories[rate].compress(original.reshape(1, -1, rate, 32))
    again = np.asarray(memories[rate].rebuilding(vectors)).reshape(32, 32)
    print(f"{original.shape[0]} positions, {vectors.shape[1]} vectors, error {np.mean((again - original) ** 2):.2f}")
    panels = {"original": original.T, f"rebuilt from one vector for {rate}": again.T}
    figures.heatmaps(panels, xlabel="position", ylabel="number of the state", signed=True, bar="value")


figures.slider(rebuilt_at, rate=SelectionSlider(options=[2, 4, 8], value=4))

# %% [markdown]
# # 3. Hashing
#
# ## A position sees those in its bucket, and its neighbours
#
# LSH attention does not compare everything with everything. Random rotations give each key a bucket, so that keys of
# similar direction mostly share one, and a position attends within its bucket and to its neighbours. Below are 64
# positions of four topics that take turns. The weights are read off the layer itself: its values are the unit vectors.
# Full attention (right) finds the topics' pattern; hashing (middle) finds it as well, but looks at only part of the
# pairs. Move the slider: with more rounds fewer pairs are missed.

# %%
topics = random.normal(size=(4, 64))[np.arange(64) // 4 % 4]
x = (topics + 0.35 * random.normal(size=(64, 64))).astype("float32")[None]


def weights_of(rounds, chunk=8):
    """Attention weights (64, 64) and buckets (64, rounds) of the positions."""
    layer = LSHAttention(64, 1, chunk=chunk, rounds=rounds, buckets=8)
    layer.build(x.shape)
    layer.output_dense.set_weights([np.eye(64), np.zeros(64)][: len(layer.output_dense.get_weights())])
    queries = x[:, None]
    keys = queries / np.linalg.norm(queries, axis=-1, keepdims=True)
    values = np.eye(64, dtype="float32")[None, None]
    found, _ = layer.attend_after(None, *map(ops.convert_to_tensor, (queries, keys, values)))
    return np.asarray(found)[0], np.asarray(layer.hashes(keys))[0, 0]


def hashed(rounds):
    """Draws who shares a bucket and what is seen."""
    (weights, buckets), (full, _) = weights_of(rounds), weights_of(1, chunk=64)
    shared = (buckets[:, None] == buckets[None]).any(axis=-1)
    seen = weights > 0
    print(f"{seen.mean():.0%} of the pairs are seen; they hold {full[seen].sum() / 64:.0%} of full attention's weight")
    assert full[seen].sum() / 64 > seen.mean()
    panels = {f"share a bucket, {rounds} rounds": 0.3 * shared, "weights, hashed": weights, "weights, full": full}
    figures.heatmaps(panels, xlabel="position", ylabel="position that reads", share=False)


figures.slider(hashed, rounds=IntSlider(2, min=1, max=8))

# %% [markdown]
# ## More rounds come closer to full attention
#
# The distance of the result from that of full attention, relative to its size: on these 64 positions, and as `make
# bench` measured it on 2,048 (`docs/benchmarks.json`). The number of rounds can be raised after training, because the
# rotations of the first rounds stay the same.

# %%
full, rounds = weights_of(1, chunk=64)[0], [1, 2, 4, 8, 16]
here = [np.linalg.norm(weights_of(count)[0] - full) / np.linalg.norm(full) for count in rounds]
measured = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))["stacks"]["approached"]
print("here", "  ".join(f"{count}: {error:.2f}" for count, error in zip(rounds, here, strict=True)))
assert here[-1] < 0.5 * here[0]
curves = {"64 positions, 4 topics": (rounds, here)}
curves["2,048 positions, measured"] = (
    [r["rounds"] for r in measured if r["rounds"]],
    [r["error"] for r in measured if r["rounds"]],
)
figures.lines(curves, "rounds of hashing", "relative distance", "Distance from full attention", logx=True, bottom=0)

# %% [markdown]
# # 4. Stacks that forget their activations
#
# ## A plain stack pays for each layer, a reversible one hardly
#
# Training keeps the input of each layer until the gradient comes back. A reversible stack and BDIA recompute it from
# the end of the stack. The figures are those of `make bench`: memory of one training step, float32, width 256, 16 rows
# of 256 tokens.

# %%
stacks = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))["stacks"]
rows = [row for row in stacks["depth"] if row["precision"] == "float32"]
curves, seconds = {}, {}
for stack in ("plain", "reversible", "bdia"):
    own = [row for row in rows if row["stack"] == stack]
    curves[stack] = ([row["layers"] for row in own], [row["megabytes"] for row in own])
    seconds[stack] = own[-1]["seconds"]
    a_layer = (own[-1]["megabytes"] - own[0]["megabytes"]) / (own[-1]["layers"] - own[0]["layers"])
    print(
        f"{stack:11} {a_layer:5.1f} MB a layer; "
        f"24 layers take {seconds[stack] / seconds['plain']:.1f} times as long as plain"
    )
assert curves["reversible"][1][-1] < 0.3 * curves["plain"][1][-1]
assert 1 < seconds["reversible"] / seconds["plain"] < 2
figures.lines(curves, "layers", "MB", "Memory of a training step", bottom=0)

# %% [markdown]
# ## Going back costs exactness in bfloat16, unless halving keeps its lost bits
#
# What was added must be subtracted again. In float32 this is right to the last digits. In bfloat16 each layer rounds,
# and the error grows with the depth, less so if the streams stay in float32, which is what Weitblick does. BDIA
# computes in fixed steps and keeps the bit that halving would lose: it comes back exactly (drawn at 1e-9).

# %%
undone = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))["stacks"]["undone"]
curves, last = {}, {}
for row in undone:
    name = f"{row['stack'].replace('reversible, ', '')}, layers in {row['precision']}"
    curves.setdefault(name, ([], []))
    curves[name][0].append(row["layers"])
    curves[name][1].append(max(row["error"], 1e-9))
    assert row["stack"] != "bdia" or row["error"] == 0
    last[name] = row["error"]
print("error after 24 layers:", ", ".join(f"{name}: {error:.1e}" for name, error in last.items()))
figures.lines(curves, "layers", "relative error", "Input of the stack, computed from its output", logy=True)

# %% [markdown]
# # 5. Prism
#
# ## The network is undone exactly
#
# `prism` sends each position through an invertible network. The result has a low part, which a recurrent network
# carries on from window to window, and a rest. Nothing is lost on the way: from the two together the inverse restores
# the input, up to rounding, whatever the weights are (here they are random). The last panel shows the error, magnified
# a million times.

# %%
memory = PrismMemory(32, share=0.5)
memory.build()
for weight in memory.network.trainable_weights:
    weight.assign(0.3 * random.normal(size=weight.shape))
x = sequences_of(0.9, 1)[0, :24]
y = np.asarray(memory.network(x))
back = np.asarray(memory.network.inverse(y))
print(
    f"input (S, D) {x.shape} -> low part {y[:, : memory.low].shape} and rest; "
    f"largest error {np.abs(back - x).max():.1e}"
)
assert np.abs(y - x).max() > 0.5 and np.abs(back - x).max() < 1e-4
panels = {
    "input": x,
    "low part": y[:, : memory.low],
    "rest": y[:, memory.low :],
    "back again": back,
    "error x 1e6": 1e6 * (back - x),
}
figures.heatmaps(panels, columns=[""] * 32, xlabel="number", ylabel="position", signed=True, share=False)

# %% [markdown]
# ## The low part alone is an approximation that has to be learnt
#
# Over many windows only the low part is carried on. What is it worth without the rest? The loss `rebuild` asks exactly
# that, with zeros for the rest, and trains the network to put what best identifies a sequence into the low part. The
# states here have 32 numbers, but vary in only 8 directions; the states of a model have such preferred directions, too,
# if less strictly. Untrained, the low part is simply some of the numbers, and the others are lost; trained, a quarter
# of the numbers holds nearly everything.

# %%
directions = random.normal(size=(8, 32)) / 8**0.5
varying = (random.normal(size=(512, 32, 8)) @ directions).astype("float32")
unseen = (random.normal(size=(64, 32, 8)) @ directions).astype("float32")
parts, lost = (0.25, 0.5, 0.75), {"untrained": [], "trained": []}


def loss_without_rest(memory):
    """The share of the variance of unseen states that the low part alone does not hold."""
    low = np.asarray(memory.network(unseen))[..., : memory.low]
    rest = np.zeros((*low.shape[:2], 32 - memory.low), "float32")
    again = np.asarray(memory.network.inverse(np.concatenate([low, rest], axis=-1)))
    return float(np.mean((again - unseen) ** 2) / np.var(unseen))


for part in parts:
    memory = PrismMemory(32, share=part, rebuild=1.0)
    memory.build()
    lost["untrained"].append(loss_without_rest(memory))
    lost["trained"].append(loss_without_rest(learn_to_rebuild(memory, varying)))
for name, values in lost.items():
    print(
        f"{name:10}", "  ".join(f"{part:.0%} low: {value:.2f} lost" for part, value in zip(parts, values, strict=True))
    )
assert all(after < before for before, after in zip(*lost.values(), strict=True))
labels = [f"{part:.0%} low part" for part in parts]
figures.bars(lost, labels, "share of the variance", "What is lost without the rest", form="{:.2f}", top=1.1)

# %% [markdown]
# # 6. Retrieval
#
# ## What is far away can be looked up
#
# The farthest context of all is another document. A translation memory finds it without any state: `WordIndex` ranks
# stored sources by the rare words that they share with the new one (BM25), and `best_matches` compares the candidates
# word by word. Dark words are where a stored source differs from the new sentence: what a person would have to change.
# Move the slider.

# %%
pairs, line = made_up.sentences(), "Please check the new lamp in the garden."
index = WordIndex.build([source for source, _ in pairs])
candidates = [(number, *pairs[number]) for number in index.similar(line, 32)]


def matches(least):
    """Draws the stored sources that are similar enough."""
    found, cut, shades = best_matches(line, candidates, least)[:6], {"new": tokens_of(line)}, {}
    shades["new"] = [0.0] * len(cut["new"])
    for letter, match in zip("abcdef", found, strict=False):
        label, words = f"{match.similarity:.2f} {letter}", tokens_of(match.source)
        blocks = difflib.SequenceMatcher(a=cut["new"], b=words, autojunk=False).get_matching_blocks()
        agrees = {block.b + step for block in blocks for step in range(block.size)}
        cut[label], shades[label] = words, [float(place not in agrees) for place in range(len(words))]
    for match in found[:2]:
        print(f"{match.similarity:.2f}  {match.source}  ->  {match.target}")
    assert all(match.similarity >= least for match in found)
    figures.pieces(cut, f"Stored sources of at least {least:.0%} similarity; dark: differs", shades=shades)


figures.slider(lambda percent: matches(percent / 100), percent=IntSlider(60, min=30, max=100, step=5))

# %% [markdown]
# # 7. How to read a comparison
#
# ## First: what was promised, and what was reached?
#
# The recall probe (`docs/probe.md`) tells a model a fact and asks for it d windows later. A design promises a reach:
# `concat` 4 windows, `fixed` and `variable` 8, `gru` and `prism` no limit, `none` nothing; `recurrence` and
# `compressive` promise a certain reach directly, and more where layers pass it on. If a memory answers beyond its
# promise, the answer leaks; if it fails within it, it has not learnt its task, or it fades. Check both before ranking
# anything. (Bands are 95% intervals. The measurements are those of `docs/probe.json`.)

# %%
probe = json.loads((DOCS / "probe.json").read_text(encoding="utf-8"))
curves, bands = {}, {}
for kind, memory in sorted(probe["memories"].items()):
    found, promise = memory["recall"], memory["promised"] or {"direct": np.inf, "most": np.inf}
    curves[kind] = ([r["distance"] for r in found], [r["recall"] for r in found])
    bands[kind] = [r["low"] for r in found], [r["high"] for r in found]
    kept = [r["recall"] for r in found if r["distance"] <= promise["direct"]]
    beyond = [r["recall"] for r in found if r["distance"] > promise["most"]]
    within = f"at least {min(kept):.1%} up to there" if kept else "nothing"
    outside = f"at most {max(beyond):.1%} beyond {promise['most']:g}" if beyond else "no limit"
    print(f"{kind:11} promised {promise['direct']:3g} windows: {within}, {outside}")
    assert kind in ("prism", "recurrence") or min(kept, default=1) > 0.9  # these two fade towards their ends
    assert max(beyond, default=0) < probe["chance"] + 0.03, "the answer leaks"
title = f"Recall by distance; chance is {probe['chance']:.1%}"
figures.lines(curves, "windows between fact and question", "share right", title, logx=True, bottom=0, bands=bands)

# %% [markdown]
# ## Second: was the work the same?
#
# A memory makes updates slower. With equal *updates* it has more time, with equal *time* fewer updates: say which. Here
# the limit was time, 10 minutes, in which `none` did ten times as many updates as the model with slots. That is fair to
# the control, `none`: no amount of training helps a model that cannot see the fact. A comparison on text gives all
# systems the same first stage, and the same batches or minutes (`docs/compare.md`).

# %%
minutes = {kind: [memory["seconds"] / 60] for kind, memory in probe["memories"].items()}
updates = {kind: memory["update"] for kind, memory in probe["memories"].items()}
print("  ".join(f"{kind}: {count:,} updates in {minutes[kind][0]:.1f} minutes" for kind, count in updates.items()))
assert updates["none"] > 9 * updates["gru"]
figures.bars(
    {"updates": list(updates.values())}, list(updates), "updates", "Updates that fitted into the time", form="{:,}"
)

# %% [markdown]
# ## Third: more than one seed, and a wrong document as control
#
# One training is one draw. And a model may gain from *any* context, since that tells it what kind of text this is. So
# measure it with corrections of the same document, and with those of **other** documents, for several seeds. What the
# right document gives beyond the wrong one is due to the memory. Below is s-BLEU of post-edited documents from
# `docs/corrections.md`: with the wrong documents nearly all of the gain is gone, for each of the three seeds.

# %%
text = (DOCS / "corrections.md").read_text(encoding="utf-8")
found = re.findall(
    r"^\| seed (\d): `starter` \| ([\d.]+) .*\n\| with corrections \| \*\*([\d.]+)\*\*.*\n\| with the corrections "
    r"of other documents \| ([\d.]+)",
    text,
    re.MULTILINE,
)
names = ["alone", "own document corrected", "other documents"]
scores = {name: [float(row[place]) for row in found] for place, name in enumerate(names, start=1)}
alone, own, other = (np.array(scores[name]) for name in names)
print(f"gain of the right document {np.mean(own - alone):.1f} BLEU, of a wrong one {np.mean(other - alone):.1f}")
print(f"between seeds the model alone differs by {np.ptp(alone):.1f}")
assert len(found) == 3 and ((own - other) > 10 * np.ptp(alone)).all()
labels = [f"seed {row[0]}" for row in found]
figures.bars(scores, labels, "s-BLEU", "Post-edited documents, three seeds", top=46)

# %% [markdown]
# ## Fourth: is context used, and does it help?
#
# These are two questions. CXMI asks whether a system finds the reference more likely after its own document than after
# a wrong one; BLEU asks whether its output is better than that of `none`. In `docs/comparison.md`, on the software
# messages of the default corpus, using more of the context does not make the score higher: `variable` and `prism` use
# most and score the same as `none`, as does `fixed`, which uses next to nothing, while `concat` uses much and scores
# lowest. Context helps with only a few words. (Means over three seeds.)

# %%
comparison = json.loads((DOCS / "comparison.json").read_text(encoding="utf-8"))
found = {}
for run in comparison["runs"].values():
    if scores := run["scores"].get("software-test"):
        found.setdefault(run["system"], []).append([scores[name] for name in ("right less wrong", "s-BLEU")])
use = {name: np.mean([cxmi["value"] for cxmi, _ in runs]) for name, runs in found.items()}
gain = {name: np.mean([bleu["difference"] for _, bleu in runs]) for name, runs in found.items() if name != "none"}
points = {name: ([1000 * use[name]], [gain[name]]) for name in gain if use[name] > 0}
for name, ((x,), (y,)) in points.items():
    print(f"{name:12} {x:5.1f} thousandths of a nat a token, {y:+.2f} s-BLEU, {len(found[name])} seeds")
best, user = max(gain, key=gain.get), max(use, key=use.get)
print(f"uses most: {user}; highest score: {best}, {gain[best]:+.2f}")
assert use[user] > 0.02 and gain[best] < 0.3
title = "Use of the right document, and what it gains"
figures.lines(points, "CXMI, thousandths of a nat a token", "s-BLEU less none", title)

# %% [markdown]
# # Exercises
#
# 1. A `recurrence` of 6 layers keeps 128 positions, and a segment has 20 tokens. How many segments back can it reach at
#    most, and how many is it sure to see in its first layer? How much would `compressive` with 128 vectors of rate 4
#    add?
# 2. What happens to LSH attention if all keys are the same? Try it: set the noise to 0 and make all topics equal.
# 3. A memory reaches 99% recall at 64 windows, and BLEU stays as it was. Name two reasons other than a mistake.
#
# # Answers
#
# **1.** The first layer sees the last 128 positions, about 6 segments. Through 6 layers the reach is 768 positions, 38
# segments, if the layers have learnt to pass things on. The vectors add 128 x 4 = 512 positions to each layer: 32
# segments in the first one, 192 through all.

# %%
cache, compressed, rate, layers, tokens = 128, 128, 4, 6, 20
for name, positions in {"recurrence": cache, "compressive": cache + compressed * rate}.items():
    print(f"{name:12} first layer {positions // tokens} segments, all layers {layers * positions // tokens}")

# %% [markdown]
# **2.** All fall into one bucket. A position then sees those less than `chunk` places away in it, which are its
# neighbours: hashing has found nothing to distinguish them by, and long-range attention is lost. It is fast all the
# same, because the reach within a bucket is limited.

# %%
equal = np.ones((1, 1, 64, 64), "float32")
layer = LSHAttention(64, 1, chunk=8, rounds=2, buckets=8)
layer.build((1, 64, 64))
layer.output_dense.set_weights([np.eye(64), np.zeros(64)][: len(layer.output_dense.get_weights())])
unit = np.eye(64, dtype="float32")[None, None]
weights, _ = layer.attend_after(None, *map(ops.convert_to_tensor, (equal, equal / 8, unit)))
weights = np.asarray(weights)[0]
rows, columns = np.nonzero(weights > 0)
print(
    f"{len(np.unique(layer.hashes(equal / 8)[..., 0]))} bucket; "
    f"nobody sees farther than {abs(rows - columns).max()} places"
)
assert abs(rows - columns).max() == 7
figures.heatmaps({"All keys alike: weights": weights}, xlabel="position", ylabel="position that reads", cell=0.06)

# %% [markdown]
# **3.** Most sentences need nothing from so far back, so the score has little to gain: look at scores that ask for
# context (`docs/document-scores.md`). And what the memory holds in translation is the model's own output, not the
# truth: it can make a text agree with itself, but not correct it. The notebook `07_corrections` shows what happens when
# a person does.
