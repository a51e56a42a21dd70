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
# # A text generator, from the next token to a page
#
# A language model answers one question: how likely is each token to come next? Ask it again and again, and it writes.
# This notebook trains a small one for two minutes, looks at its answers, draws from them in several ways, and compares
# it with plain counting.
#
# Each section makes **claims** with **one short cell and one figure** each, and runs alone once the cells above the
# first section have run. At the end there are exercises with answers. The model is `models/text_generator.py`, the
# writer `app/translation/generation.py`; `docs/generator.md` has the commands for a model of your own.
#
# The whole notebook takes less than five minutes on two processor cores. With `WEITBLICK_QUICK=1` in the environment
# the training is cut short and a made-up corpus replaces the real one, so that no network is needed.

# %%
import copy
import itertools
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log lines of TensorFlow between the cells

from app.cli.startup import load_keras

load_keras()

import keras
import numpy as np
from ipywidgets import FloatSlider
from keras import ops

import figures
import made_up
from app.scoring.kneser_ney import KneserNey
from app.training.optimizer import FusedAdam
from app.training.schedules import WarmUp
from app.translation.compiling import compiled
from app.translation.generation import Choice, Writer
from data.cleaning import CleaningOptions, clean
from data.corpora.corpora import Corpora
from data.documents import DocumentBatches
from data.feeding import dataset_of
from data.packing import INPUTS, PackedWindow, pack
from data.shards import encode_pairs
from data.tokenizer import BOS, EOS, PAD, Tokenizer
from data.windows import WindowOptions, cut
from models.search.sampling import distribution
from models.teacher_forcing import DocumentTeacherForcing
from models.text_generator import TextGenerator

QUICK = os.environ.get("WEITBLICK_QUICK") == "1"
keras.utils.set_random_seed(1)
print("quick mode" if QUICK else "full mode", "on", keras.backend.backend())

# %% [markdown]
# The text is the German side of `software`, the program's default corpus: messages of free programs, which pip can
# fetch anywhere. A document holds the messages of one component of Home Assistant. The model has two layers of
# self-attention, which see a window of up to 64 tokens, and one recurrent layer, whose state is carried through the
# whole document.

# %%
corpus = Corpora().open(made_up.write_documents(tempfile.mkdtemp()) if QUICK else "software")
corpus.prepare()


def short_pairs(split):
    """The slice of a split: one project, up to sixteen words a side."""
    for pair in corpus.pairs(split):
        if (QUICK or pair.doc.startswith("homeassistant")) and max(len(side.split()) for side in pair[:2]) <= 16:
            yield pair


# A document that lost its repeated lines would have holes.
train = list(clean(short_pairs("train"), CleaningOptions(deduplicate=False)))
validation, test = list(short_pairs("validation")), list(short_pairs("test"))
VOCABULARY, LANES = (320 if QUICK else 2000), 16
tokenizer = Tokenizer.train((pair.target for pair in train), VOCABULARY)
windows = WindowOptions("tokens", tokens=64)
folder = tempfile.mkdtemp()
shards, held_out = (encode_pairs(pairs, tokenizer, folder, key=str(len(pairs))) for pairs in (train, validation))
batches, known = (DocumentBatches(part, LANES, 1024, 4, windows, seed=1) for part in (shards, held_out))
model = TextGenerator(VOCABULARY, layers=2, width=128, hidden=512, heads=4, dropout=0.3)
model.build()
rounds, every = (2, 8) if QUICK else (8, 250)
optimizer = FusedAdam(WarmUp("linear", peak=3e-3, warmup=every, updates=rounds * every), global_clipnorm=1.0)
optimizer.build(model.trainable_variables)
trainer = DocumentTeacherForcing(model, lanes=LANES)
trainer.compile(optimizer, jit_compile=False)
check = list(known.epoch(0))
steps = {"steps_per_epoch": every, "epochs": rounds, "validation_steps": len(check), "shuffle": False, "verbose": 0}
checked = dataset_of(lambda: iter(check), known.inputs)
history = trainer.fit(dataset_of(lambda: batches.stream(0), batches.inputs), validation_data=checked, **steps).history
losses = ", ".join(f"{loss:.2f}" for loss in history["val_nll"])
print(f"{len(train):,} lines to train on; validation after each round {losses} nats a token")
assert history["val_nll"][-1] < history["val_nll"][0]

# %% [markdown]
# Two functions for the cells below: `writer` begins a document, and `nats` says how unlikely each token of a text is.

# %%
BEGINNINGS = ("Das", "Bitte", "Wo ist") if QUICK else ("Das Gerät", "Möchten Sie", "Geben Sie den")


known_writer = Writer(model, tokenizer, windows)
known_writer.log_probabilities()  # compiled once, for all copies


def writer(text="", **choice):
    """A writer that has read the beginning of a document."""
    found = copy.copy(known_writer)
    found.choice = Choice(**choice)
    found.begin()
    found.read(text)
    return found


def documents_of(pairs):
    """The token ids of each line of each document."""
    return [
        tokenizer.target.encode([pair.target for pair in own])
        for _, own in itertools.groupby(pairs, lambda pair: pair.doc)
    ]


def nats_of(inputs, memory, labels):
    """The negative log-likelihood of each label (B, T), and the state after them."""
    states, memory = model.document_states(inputs, memory)
    log = ops.log_softmax(model.output_embedding.logits(states))
    return -ops.take_along_axis(log, labels[..., None], axis=-1)[..., 0], memory


shape = {name: ("int32", 2) for name in INPUTS}
nats_of = compiled(nats_of, model, shape, model.initial_memory(1), ("int32", 2))


def nats(lines, carried=True):
    """The nats of each token of a document (N,), line ends included; without `carried` each window starts afresh."""
    found, memory = [], model.initial_memory(1)
    for begin, _, end in cut([len(own) for own in lines], windows).tolist():
        part = lines[begin:end]
        inputs, labels = pack([[PackedWindow([[]] * len(part), part, 0, reset=not carried or begin == 0)]], 16)
        values, memory = nats_of(inputs, memory, labels)
        found.append(np.asarray(values)[0][labels[0] != PAD])
    return np.concatenate(found)


texts = documents_of(test)
print(f"{len(texts)} documents to look at, {sum(len(own) for own in texts):,} lines")

# %% [markdown]
# # 1. What comes next
#
# ## The answer is a probability for every token, and depends on what comes before
#
# The figure shows the six likeliest tokens after three beginnings. All 2,000 have a probability; together they make 1.
# An underscore is the space before a word.

# %%
panels = {}
for beginning in BEGINNINGS:
    probabilities = np.exp(writer(beginning).log_probabilities())
    assert abs(probabilities.sum() - 1) < 1e-4
    best = np.argsort(-probabilities)[:6]
    panels[f"{beginning} ..."] = [(tokenizer.piece(int(id)), float(probabilities[id])) for id in best]
assert len({found[0][0] for found in panels.values()}) > 1
most = max(found[0][1] for found in panels.values())
figures.neighbours(panels, "probability", limit=1.3 * most)

# %% [markdown]
# ## The model knows nothing of what comes later
#
# In training all positions of a line are asked at once, each for the token after it. A model that could see that token
# would have nothing to learn, so the look-ahead mask hides it. Replace one token in the middle of a document: from
# there on the answers change, through the attention's window and the recurrent state. Before it, none changes.

# %%
line = next(own for own in tokenizer.target.encode([pair.target for pair in test]) if len(own) >= (6 if QUICK else 14))
other = list(line)
other[len(line) // 2] = line[0] if line[0] != line[len(line) // 2] else line[1]
answers = []
for ids in (line, other):
    inputs, _ = pack([[PackedWindow([[]], [ids], 0, reset=True)]])
    answers.append(np.asarray(model({name: inputs[name] for name in INPUTS}))[0, : len(line) + 1])
change = np.abs(answers[0] - answers[1]).max(axis=1)
place = len(line) // 2 + 1  # the first position that has read it
print(f"logits (T, V) {answers[0].shape}; largest change before position {place}: {change[:place].max():.1e}")
assert change[:place].max() < 1e-4 < change[place:].min()
marks = {"exchanged": place}
figures.lines({"change": (np.arange(len(change)), change)}, "position", "logits", "What changes", marks=marks, bottom=0)

# %% [markdown]
# # 2. Choosing
#
# ## Draws are as frequent as they are likely
#
# `weitblick generate` draws the next token. The n-th draw of a document depends on the seed and on n alone, so that a
# text can be reproduced. Here is the first draw of many seeds, next to the probabilities.

# %%
DRAWS = 300 if QUICK else 1500
asked = writer(BEGINNINGS[0])
probabilities = np.exp(asked.log_probabilities())
best = np.argsort(-probabilities)[:6]
drawn = np.zeros(len(best))
for seed in range(DRAWS):
    asked.choice = Choice(seed=seed)
    drawn += best == asked._draw()
labels = [tokenizer.piece(int(id)) for id in best]
print(f"largest difference of {DRAWS:,} draws: {np.abs(drawn / DRAWS - probabilities[best]).max():.3f}")
assert np.abs(drawn / DRAWS - probabilities[best]).max() < 4 * 0.5 / DRAWS**0.5
groups = {"probability": probabilities[best], "share of the draws": drawn / DRAWS}
figures.bars(groups, labels, "", f"After {BEGINNINGS[0]!r}", form="{:.2f}")

# %% [markdown]
# ## Temperature makes sure things surer, or chances more even
#
# All logits are divided by the temperature before the softmax. Below 1 the likeliest tokens take over, and at 0 only
# the first is left; above 1 the text gets adventurous, and soon is no text at all. Move the slider in JupyterLab.

# %%
logits = writer(BEGINNINGS[0]).log_probabilities()


def warm(temperature):
    """Draws a distribution, and writes a line with it."""
    weights = np.exp(logits / temperature)
    weights /= weights.sum()
    entropy = -np.sum(weights * np.log2(np.maximum(weights, 1e-12)))
    best = np.argsort(-logits)[:10]
    figures.bars({"": weights[best]}, [tokenizer.piece(int(id)) for id in best], "probability", form="{:.2f}", top=1)
    found = writer(BEGINNINGS[0], temperature=temperature).write(16)
    print(f"{entropy:.1f} bits; {BEGINNINGS[0]}{found.replace(chr(10), ' / ')}")


figures.slider(warm, temperature=FloatSlider(0.7, min=0.1, max=2, step=0.1))

# %% [markdown]
# ## Three ways to cut the tail
#
# The thousands of unlikely tokens have some probability together, and one of them is enough to derail a line. *Top-k*
# always keeps the same number of tokens; *top-p* and *min-p* keep few where the model is sure and many where it is not.
# Each point is a place in the test text: how unsure the model is there, and how many tokens are left.

# %%
places = []
for pair in test[: 6 if QUICK else 25]:
    ids = tokenizer.target.encode([pair.target])[0]
    inputs, _ = pack([[PackedWindow([[]], [ids], 0, reset=True)]])
    places.append(np.asarray(model({name: inputs[name] for name in INPUTS}))[0, : len(ids) + 1])
places = np.concatenate(places)
weights = np.exp(places - np.logaddexp.reduce(places, axis=1, keepdims=True))
unsure = -np.sum(weights * np.log2(np.maximum(weights, 1e-12)), axis=1)
CUTS = {"top-k 20": (20, None, 0.0), "top-p 0.9": (None, 0.9, 0.0), "min-p 0.1": (None, None, 0.1)}
left = {}
for name, (top_k, top_p, min_p) in CUTS.items():
    kept, _ = distribution(ops.convert_to_tensor(places), 1.0, top_k, top_p, min_p)
    left[name] = np.sum(np.asarray(kept) > 0, axis=1)
    correlation = 0.0 if np.ptp(left[name]) == 0 else np.corrcoef(unsure, left[name])[0, 1]
    print(f"{name}: {left[name].min()} to {left[name].max()} tokens left, correlation {correlation:.2f}")
assert np.ptp(left["top-k 20"]) == 0 and np.corrcoef(unsure, left["top-p 0.9"])[0, 1] > 0.3
curves = {name: (unsure, count) for name, count in left.items()}
figures.lines(curves, "entropy in bits", "tokens left", "Places", logy=True, styles=dict.fromkeys(curves, "."))

# %% [markdown]
# # 3. Writing
#
# ## The beginning is kept, and many calls write what one call does
#
# A generator that is often copied asks for one answer *at each position of its input* and appends them all: it repeats
# what it was given, shifted by one place. This one asks once for each new token. A call for thirty tokens is the same
# as thirty calls for one; what was given stays as it is.

# %%
GIVEN = f"{BEGINNINGS[1]}"
at_once = writer(GIVEN, seed=3)
text = at_once.write(30)
step_by_step = writer(GIVEN, seed=3)
assert "".join(step_by_step.write(1) for _ in range(30)) == text and step_by_step.lines == at_once.lines
first = tokenizer.target.encode([GIVEN])[0]
assert at_once.lines[0][: len(first)] == first
shown = {f"line {n}": own[:18] for n, own in enumerate(at_once.lines[:4], start=1) if own}
tiles = {label: [tokenizer.piece(id) for id in own] for label, own in shown.items()}
shades = {label: [0.0] * len(own) for label, own in tiles.items()}
shades["line 1"] = [float(n < len(first)) for n in range(len(tiles["line 1"]))]
figures.pieces(tiles, "Dark: given; light: written", shades=shades)

# %% [markdown]
# ## The likeliest text goes round in circles
#
# Always taking the likeliest token (temperature 0) leads into a circle: what has just been said makes itself likelier.
# The share of four-token sequences that occurred before in the same text says how much. Drawing gets out of it; so do a
# penalty on recent tokens (`--repetition-penalty`) and a ban on sequences that are there already (`--no-repeat`).

# %%
TOKENS = 60 if QUICK else 250
WAYS = {
    "likeliest": {"temperature": 0.0},
    "likeliest, penalty 1.3": {"temperature": 0.0, "repetition_penalty": 1.3},
    "likeliest, no repeat 4": {"temperature": 0.0, "no_repeat": 4},
    "drawn, top-p 0.9": {"top_p": 0.9},
    "drawn": {},
}


def repeated(lines):
    """The share of sequences of four tokens, line ends included, that came before."""
    flat = [id for own in lines for id in (*own, EOS)]
    found = [tuple(flat[n : n + 4]) for n in range(len(flat) - 3)]
    return 1 - len(set(found)) / len(found)


share = {}
for name, way in WAYS.items():
    found = writer(BEGINNINGS[0], **way)
    found.write(TOKENS)
    share[name] = repeated(found.lines)
    print(f"{name:24} {share[name]:4.0%}  {' / '.join(tokenizer.target.decode(found.lines[1:4]))[:80]}")
assert share["likeliest"] > max(share["drawn"], share["likeliest, no repeat 4"])
figures.bars(
    {"": list(share.values())}, [name.replace(", ", "\n") for name in share], "share", "Repeated", form="{:.2f}"
)

# %% [markdown]
# # 4. The document so far
#
# ## With its state the model is surprised a little less
#
# The attention sees a window. What came before it reaches the model only through the recurrent state. Remove the state
# at the beginning of each window, and the test text gets a little less likely, most of all late in a document. The
# lines on the bars are 95% intervals.

# %%
with_state, without = ([nats(lines, carried) for lines in texts] for carried in (True, False))
gains = np.concatenate([a - b for a, b in zip(without, with_state, strict=True)])
spots = np.concatenate([np.arange(len(a)) for a in with_state])
edges = [0, 16, 48] if QUICK else [0, 64, 128, 256, 512]
names = [f"{low} to {high}" for low, high in itertools.pairwise(edges)] + [f"from {edges[-1]}"]
means = [gains[(spots >= low) & (spots < high)] for low, high in itertools.pairwise([*edges, 10**9])]
errors = [1.96 * part.std() / max(len(part), 1) ** 0.5 if len(part) else 0 for part in means]
means = [part.mean() if len(part) else 0 for part in means]
print(
    f"{np.concatenate(with_state).mean():.3f} nats a token with the state, {np.concatenate(without).mean():.3f} without"
)
assert QUICK or gains.mean() > 0 and means[0] < max(means[1:])
style = {"form": "{:.3f}", "xlabel": "tokens before"}
figures.bars({"": means}, names, "nats a token", "What the state spares", errors={"": errors}, **style)

# %% [markdown]
# # 5. Compared with counting
#
# ## Two minutes of training do not beat counting, but both together beat each
#
# A model of *n-grams* counts which token followed which n - 1 others, and falls back on shorter ones where there is
# nothing to count (Kneser-Ney smoothing). Counting takes seconds and knows every phrase of the training text by heart;
# on messages that say the same thing again and again that is hard to beat in two minutes. The network knows what is
# similar, and the document so far. Each knows something that the other does not, so a mixture of both is better than
# either.

# %%
lines = tokenizer.target.encode([pair.target for pair in train])
orders, counted = (1, 2, 3) if QUICK else (1, 2, 3, 4, 5), {}
for order in orders:
    ngrams = KneserNey(lines, order, VOCABULARY, BOS, EOS, [PAD])
    counted[order] = np.concatenate([-ngrams.log_probabilities(own) for own in texts])
network = np.concatenate([nats(own) for own in texts])
grams = min(counted.values(), key=np.mean)
weights = np.linspace(0, 1, 21)
mixed = [np.exp(-np.log((1 - w) * np.exp(-grams) + w * np.exp(-network)).mean()) for w in weights]
best = weights[int(np.argmin(mixed))]
for order, found in counted.items():
    print(f"{order}-grams: perplexity {np.exp(found.mean()):7.1f}")
print(f"network: perplexity {mixed[-1]:7.1f}; both, {best:.2f} of it the network: {min(mixed):.1f}")
assert QUICK or min(mixed) < 0.95 * min(mixed[0], mixed[-1])
curves = {"counting and network": (weights, mixed)}
figures.lines(curves, "share of the network", "perplexity of a token", "A mixture", bottom=0, marks={"best": best})

# %% [markdown]
# # Exercises
#
# 1. `beam` searches for the likeliest rest of a line. Is its result likelier than that of taking the likeliest token
#    each time? Is it better text?
# 2. The weight of the mixture was chosen on the test text. What is wrong with that, and does it matter here?
# 3. Which tokens does the recurrent state help with most?
#
# # Answers
#
# **1.** It is often likelier, as taking the best token now can spoil what comes after it; where the best tokens lead to
# a likely end, both find the same line. It is hardly better: likely messages are short and common.

# %%
for beginning in BEGINNINGS:
    for name, way in (("likeliest token", {"temperature": 0.0}), ("beam of 5", {"beam": 5})):
        found = writer(beginning, **way)
        found.write(24)
        own = found.lines[0]
        print(f"{name:16} {-nats([own]).sum():6.2f} nats in all: {tokenizer.target.decode([own])[0][:70]}")

# %% [markdown]
# **2.** The weight is chosen on the same text that judges it, so the figure is too good. But one number chosen from
# thousands of tokens cannot fit much by chance: on the validation text the best weight is nearly the same.

# %%
own, order = documents_of(validation), (3 if QUICK else 5)
ngrams = KneserNey(tokenizer.target.encode([pair.target for pair in train]), order, VOCABULARY, BOS, EOS, [PAD])
counting = np.concatenate([np.exp(ngrams.log_probabilities(lines)) for lines in own])
network = np.concatenate([np.exp(-nats(lines)) for lines in own])
weights = np.linspace(0, 1, 21)
mixed = [-np.log((1 - w) * counting + w * network).mean() for w in weights]
print(f"best share of the network on the validation text: {weights[int(np.argmin(mixed))]:.2f}")

# %% [markdown]
# **3.** First the end of a line and the space before an unusual word: the state knows how the lines of this document
# are built. Then come words that are the topic of single documents.

# %%
spared = {}
for own in texts:
    flat = [id for line in own for id in (*line, EOS)]
    for id, gain in zip(flat, nats(own, carried=False) - nats(own), strict=True):
        spared[id] = spared.get(id, 0.0) + float(gain)
best = sorted(spared, key=spared.get, reverse=True)[:12]
print(", ".join(f"{tokenizer.piece(id)} {spared[id]:.0f}" for id in best))
