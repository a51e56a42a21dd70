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
# # Corpora, from a table to the text worth training on
#
# A model learns what its text says, mistakes included. This notebook looks at parallel text before any model does: what
# is in it, queried in SQL; how long its segments are; which pairs cleaning leaves out, and why, with examples; and how
# to find nearly equal pairs among tens of thousands without comparing every pair with every other.
#
# Each section makes **claims** with **one short cell and one figure** each, and runs alone once the two cells below
# have run. At the end there are exercises with answers. The commands that do the same are in `docs/warehouse.md`, those
# for BigQuery in `docs/bigquery.md`; this notebook needs no account and, after the first run, no network.
#
# The whole notebook takes less than three minutes on two processor cores, most of it for the next cell but one.
# `make notebooks` opens JupyterLab, where you can move the sliders. With `WEITBLICK_QUICK=1` in the environment a
# made-up corpus replaces the real one.

# %%
import itertools
import os
import random
import re
import tempfile
import textwrap
from collections import Counter
from dataclasses import asdict

import numpy as np
import pyarrow
from ipywidgets import FloatSlider, SelectionSlider

import figures
import made_up
from data.cleaning import REASONS, CleaningOptions, CleaningReport, clean
from data.corpora.corpora import Corpora
from data.warehouse.loading import load
from data.warehouse.minhash import ROWS, band_hashes
from data.warehouse.opening import open_warehouse
from data.warehouse.profile import profile
from data.warehouse.refining import Recipe, refine
from data.warehouse.schema import BANDS, PAIR_COLUMNS
from data.warehouse.sql import in_dialect, statement, user_query

QUICK = os.environ.get("WEITBLICK_QUICK") == "1"
print("quick mode" if QUICK else "full mode", "with DuckDB")

# %% [markdown]
# A *warehouse* is a database with one table, `pairs`. Here it is a DuckDB file; the columns that filters need are
# computed during loading, on all cores. Two corpora go in:
#
# * the real one: `software`, messages of free programs, which pip can fetch anywhere (in quick mode, household orders);
# * `crawl`, a small corpus made here, like those from the web: good pairs, and separate documents of pairs with one
#   kind of fault each. For these we know what cleaning should find.

# %%
folder = tempfile.mkdtemp()
REAL = "orders" if QUICK else "software"
real = Corpora().open(made_up.write_corpus(f"{folder}/orders") if QUICK else "software")
made_up.write_crawl(f"{folder}/crawl", real.pairs("train"), each=10 if QUICK else 50)
warehouse = open_warehouse(f"{folder}/corpora.duckdb", create=True)
for corpus in (real, Corpora([folder]).open("crawl")):
    loaded = load(warehouse, corpus, workers=1 if QUICK else None)
    print(f"{loaded.corpus}: {loaded.pairs}")


def rows(query, **values):
    """The rows of a query in standard SQL, as dictionaries; the query writes values as @name."""
    return warehouse.records(statement(query), values)


# %% [markdown]
# # 1. What is in there?
#
# ## One table holds all corpora, and each pair knows where it came from
#
# A row is a pair with its corpus, split, document and place, the text of both sides, and what filters look at: words,
# characters, a hash (`digest`), whether a side is in the wrong language, and eight `band`s, which section 4 explains.
# So a question about text becomes a question in SQL.

# %%
print(", ".join(f"{name} {kind}" for name, kind in list(PAIR_COLUMNS.items())[:-BANDS]), "...")
example = rows("SELECT * FROM pairs WHERE corpus = @corpus AND en_words = 6 ORDER BY position LIMIT 1", corpus=REAL)[0]
for name in ("doc", "en", "de", "en_words", "de_length", "digest", "de_foreign", "band_1"):
    print(f"{name:12} {example[name]}")
found = profile(warehouse)
splits = [split for split in ("train", "validation", "test") if any(part.split == split for part in found)]
sizes = {(part.corpus, part.split): part.pairs for part in found}
assert sum(sizes.values()) == rows("SELECT COUNT(*) AS n FROM pairs")[0]["n"]
bars = {corpus: [sizes.get((corpus, split), 0) for split in splits] for corpus in ("crawl", REAL)}
figures.bars(bars, splits, "pairs", "Pairs of each corpus and split", form="{:,}")

# %% [markdown]
# ## A question takes a line
#
# How much does each project contribute, and how long are its messages? The documents of `software` are named
# `project:file`. On the command line: `weitblick corpora sql "SELECT ..."`.

# %%
QUESTION = r"""
    SELECT REGEXP_EXTRACT(doc, r'^[^: ]+') AS project, COUNT(*) AS pairs, AVG(en_words) AS words
    FROM pairs WHERE corpus = @corpus GROUP BY project ORDER BY pairs DESC
"""
projects = rows(QUESTION, corpus=REAL)
for row in projects:
    print(f"{row['project'] or 'no document':20} {row['pairs']:7,} pairs, {row['words']:5.1f} words each")
assert sum(row["pairs"] for row in projects) == sum(n for (corpus, _), n in sizes.items() if corpus == REAL)
labels = ["\n" * (n % 2) + (row["project"] or "all") for n, row in enumerate(projects)]
figures.bars({"pairs": [row["pairs"] for row in projects]}, labels, "pairs", "Pairs of each project", form="")

# %% [markdown]
# ## The same query text runs in DuckDB and in BigQuery
#
# All queries are written in GoogleSQL, the SQL of BigQuery, and translated for DuckDB. Corpora that outgrow a file can
# move to BigQuery, and the queries stay the same: with an account, only the address changes,
#
#     weitblick corpora load crawl --warehouse bigquery:my-project.corpora
#     weitblick corpora sql "SELECT ..." --warehouse bigquery:my-project.corpora
#
# Without an account, an emulator serves BigQuery on this machine; `docs/bigquery.md`, section "Without an account",
# says how to start it. If it is running, the cell also loads the small corpus into it and compares the answers.

# %%
query = user_query(
    "SELECT doc, COUNT(*) AS n, COUNTIF(de_length < en_length) AS shorter FROM pairs WHERE corpus = 'crawl' "
    "GROUP BY doc ORDER BY n DESC, doc"
)
for dialect in ("bigquery", "duckdb"):
    print(f"{dialect:9} {in_dialect(query, dialect)}")
answers = {"DuckDB": warehouse.records(query)}
if "BIGQUERY_EMULATOR_HOST" in os.environ:
    with open_warehouse("bigquery:notebook.corpora", create=True) as bigquery:
        load(bigquery, Corpora([folder]).open("crawl"), workers=1)
        answers["BigQuery (emulator)"] = bigquery.records(query)
else:
    print("no emulator is running: only DuckDB answers")
assert all(answer == answers["DuckDB"] for answer in answers.values())
bars = {name: [row["shorter"] for row in answer] for name, answer in answers.items()}
labels = ["\n" * (n % 2) + row["doc"] for n, row in enumerate(answers["DuckDB"])]
figures.bars(bars, labels, "pairs", "Pairs of `crawl` whose German is shorter, by document", form="")

# %% [markdown]
# # 2. Lengths and ratios
#
# ## Most segments are short, and a few are very long
#
# The number of words of the longer side. The median says what a model mostly sees; the longest hundredth determines its
# memory use, because a batch is as long as its longest segment. `max_words` and `max_length` of a preset cut the tail.
# (Both axes are logarithmic.)

# %%
train = next(part for part in profile(warehouse) if (part.corpus, part.split) == (REAL, "train"))
lengths = dict(sorted(train.lengths.items()))
marks = {"median": train.length_at(0.5), "99 %": train.length_at(0.99)}
print(f"{train.pairs:,} pairs; half have at most {marks['median']} words, 99 % at most {marks['99 %']}")
print("  ".join(f"{label}: {pairs:,}" for label, pairs in train.histogram() if pairs))
assert sum(lengths.values()) == train.pairs
curves = {"pairs": (list(lengths), list(lengths.values()))}
title = f"Lengths in {REAL}, train"
figures.lines(
    curves, "words of the longer side", "pairs", title, logx=True, logy=True, marks=marks, styles={"pairs": "o"}
)

# %% [markdown]
# ## The shorter a pair, the wilder its ratio
#
# If one side is much longer than the other, something is missing. How much is much? A button label may well be three
# times as long in German, but no page is. The ratio is counted in characters, since one German word may stand for five
# English ones; the band holds nine tenths of the pairs. The filter `max_ratio = 4` must let short pairs pass, so it is
# generous to long ones.

# %%
found = rows("SELECT en_words, en_length, de_length FROM pairs WHERE corpus = @corpus AND split = 'train'", corpus=REAL)
words, english, german = (np.array([row[name] for row in found]) for name in ("en_words", "en_length", "de_length"))
edges = [4, 6, 8, 10] if QUICK else [2, 3, 4, 6, 8, 11, 15, 20, 30, 50, 100]
low, middle, high = np.transpose(
    [
        np.quantile((german / english)[(words >= a) & (words < b)], (0.05, 0.5, 0.95))
        for a, b in itertools.pairwise(edges)
    ]
)
print("words       ", *edges[:-1])
print("95% are below", *high.round(2))
assert QUICK or high[0] / low[0] > 1.5 * high[-1] / low[-1]
curves = {"German / English": (edges[:-1], middle), "equally long": (edges[:-1], np.ones(len(low)))}
title, styles = "Ratio of characters: median, and nine tenths of the pairs", {"equally long": "--"}
bands = {"German / English": (low, high)}
figures.lines(curves, "English words", "ratio", title, bottom=0, bands=bands, styles=styles)

# %% [markdown]
# ## To see what a limit costs, look just above it
#
# Which value is right? Look at the pairs just above it. At 4 you find translations of something else, and explanations
# that the translator has added. Move the slider: at 2, hundreds of pairs would have to go, most of them good.

# %%
RATIO = "GREATEST(en_length, de_length) / LEAST(en_length, de_length)"
JUST_ABOVE = f"""
    SELECT en, de, {RATIO} AS ratio FROM pairs WHERE corpus = @corpus AND split = 'train'
    AND LEAST(en_length, de_length) > 0 AND {RATIO} > @limit ORDER BY ratio, position LIMIT 4
"""
ratios = np.maximum(english / german, german / english)


def at(limit):
    """Prints the pairs just above a limit, and draws how many are above."""
    for row in rows(JUST_ABOVE, corpus=REAL, limit=limit):
        print(f"{row['ratio']:.2f}  {row['en'][:110]}\n      {row['de'][:110]}")
    limits = np.linspace(1.2, 6, 49)
    curves = {"pairs above": (limits, [(ratios > one).sum() for one in limits])}
    title = f"{(ratios > limit).sum():,} of {len(ratios):,} pairs are above {limit:g}"
    figures.lines(curves, "limit", "pairs", title, logy=not QUICK, marks={"here": limit})


figures.slider(at, limit=FloatSlider(1.5 if QUICK else 4.0, min=1.5, max=6, step=0.25))

# %% [markdown]
# # 3. Cleaning
#
# ## Little of an edited text has to go, but much of a crawl
#
# `refine` makes a new table of the training pairs that are worth keeping, and counts each of the others under the first
# reason that applies. Nothing is lost: `pairs` stays as it is. On the command line:
# `weitblick corpora clean --into cleaned`.

# %%
reports = {
    name: refine(warehouse, Recipe(corpora={name: 1.0}), f"{name}_cleaned").corpora[name] for name in (REAL, "crawl")
}
for name, report in reports.items():
    print(f"{name}\n{report.without_zeros().table()}\n")
shares = {name: [100 * report.removed[reason] / report.seen for reason in REASONS] for name, report in reports.items()}
assert sum(shares["crawl"]) > 5 * sum(shares[REAL])
labels = [textwrap.fill(text, 10) for text in REASONS.values()]
figures.bars(shares, labels, "% of the pairs", "What cleaning leaves out", form="{:.1f}")

# %% [markdown]
# ## What is left out, and why
#
# Numbers do not say whether a filter is right; examples do. Here is each filter alone, on the real corpus: `left_out`
# switches all others off, and asks for the pairs that are in `pairs` but not in the new table. (In the quick mode the
# corpus has no such pairs, and the examples are those of `crawl`.)

# %%
OFF = {"max_words": 10**6, "max_ratio": 1e6, "max_copied_words": 10**6, "deduplicate": False, "language_filter": False}
FILTERS = {name: {name: value} for name, value in asdict(CleaningOptions()).items() if name in OFF}
DIFFERENCE = """
    SELECT pairs.doc AS doc, pairs.position AS position, pairs.en AS en, pairs.de AS de FROM pairs
    LEFT JOIN kept ON kept.corpus = pairs.corpus AND kept.split = pairs.split AND kept.position = pairs.position
    WHERE pairs.corpus = @corpus AND pairs.split = 'train' AND kept.position IS NULL
    AND pairs.en_words > 0 AND pairs.de_words > 0 ORDER BY pairs.position
"""


def left_out(corpus, near=0.0, **options):
    """The pairs that one filter leaves out."""
    refine(warehouse, Recipe(corpora={corpus: 1.0}, options=CleaningOptions(**OFF | options), near=near), "kept")
    return rows(DIFFERENCE, corpus=corpus)


counts = []
for name, options in FILTERS.items():
    found = left_out("crawl" if QUICK else REAL, **options)
    counts.append(len(found))
    print(f"\n{name}: {len(found):,} pairs")
    for row in found[:: max(len(found) // 3, 1)][:3]:
        print(f"    {row['en'][:100]}\n      {row['de'][:100]}")
figures.bars(
    {"pairs": counts}, [name.replace("_", "\n") for name in FILTERS], "pairs", "Each filter alone", form="{:,}"
)

# %% [markdown]
# ## Each filter finds its own fault, and some faults are found by two
#
# For `crawl` we know the truth. Rows are what was done to the pairs of a document; columns are the filters, each alone.
# An untranslated pair is also in the wrong language, and a pair that equals another also nearly equals it. Empty sides
# are not in the picture: they are always left out. A few good pairs go as well, mostly because the corpus that they are
# drawn from has nearly equal ones.

# %%
kinds = ["good", "long", "ratio", "untranslated", "duplicate", "language", "near"]
total = {
    row["doc"]: row["n"] for row in rows("SELECT doc, COUNT(*) AS n FROM pairs WHERE corpus = 'crawl' GROUP BY doc")
}
alone = {name: ({name: value}, 0.0) for name, value in asdict(CleaningOptions()).items() if name in OFF}
alone["near = 0.8"] = {}, 0.8
shares = np.zeros((len(kinds), len(alone)))
for column, (options, near) in enumerate(alone.values()):
    gone = Counter(row["doc"] for row in left_out("crawl", near, **options))
    shares[:, column] = [gone[kind] / total[kind] for kind in kinds]
for kind, row in zip(kinds, shares, strict=True):
    print(f"{kind:13}", "  ".join(f"{share:4.0%}" for share in row))
assert min(shares[1:4].max(axis=1)) == 1 and shares[4, 3] == 1 and shares[0, :4].max() == 0
figures.heatmaps({"Share of the pairs that are left out": shares}, kinds, list(alone), cell=0.42, bar="share")

# %% [markdown]
# ## A training would leave out the same pairs
#
# The warehouse has the filters in SQL, and a training has them in Python, pair by pair. The two must not differ, or a
# score would depend on where the text was cleaned. Here are both, for the same corpus.

# %%
report = CleaningReport()
passed = [pair[:2] for pair in clean(Corpora([folder]).open("crawl").pairs("train"), report=report)]
refined = refine(warehouse, Recipe(corpora={"crawl": 1.0}), "kept")
kept = [(row["en"], row["de"]) for row in rows("SELECT en, de FROM kept ORDER BY position")]
print(f"{len(passed):,} pairs passed in Python, {len(kept):,} in SQL")
assert kept == passed
removed = refined.corpora["crawl"].removed
bars = {"in Python": [report.removed[reason] for reason in REASONS], "in SQL": [removed[reason] for reason in REASONS]}
figures.bars(
    bars, [textwrap.fill(text, 10) for text in REASONS.values()], "pairs", "Left out of `crawl`", form="{:.0f}"
)

# %% [markdown]
# # 4. Nearly equal pairs
#
# ## MinHash proposes pairs by their similarity
#
# Two versions of a page differ in a number or a name. The *Jaccard similarity* says how much: take the words two by
# two, and divide the number that both texts have by the number that either has. For a million pairs, comparing every
# pair with every other would take five hundred billion comparisons.
#
# *MinHash* gives each pair eight numbers, its bands. Two pairs with a similarity of $s$ have a band in common with a
# probability of $1 - (1 - s^4)^8$: likely above 0.7, unlikely below 0.4. So only pairs with a common band are compared.
# The dots are random texts, some of whose words were replaced; the line is the formula.

# %%
drawn, vocabulary = random.Random(1), [f"w{number}" for number in range(20_000)]


def shingles(en, de):
    """All runs of two words of both sides, each marked with its side; the last word of a side is a run by itself."""
    sides = [re.sub(r"[\W_]+", " ", side.lower()).split() for side in (en, de)]
    return {(n, *own[i : i + 2]) for n, own in enumerate(sides) for i in range(len(own))}


def jaccard(one, other):
    """The similarity of two pairs of texts."""
    return len(shingles(*one) & shingles(*other)) / len(shingles(*one) | shingles(*other))


texts, changed = [], []
for number in range(800 if QUICK else 4000):
    sides = [drawn.sample(vocabulary, 40) for _ in range(2)]
    texts.append([" ".join(side) for side in sides])
    kept = 1 - (number % 20) / 30
    changed.append([" ".join(w if drawn.random() < kept else drawn.choice(vocabulary) for w in side) for side in sides])
similarity = np.array([jaccard(*both) for both in zip(texts, changed, strict=True)])
bands = [
    np.array([band.to_numpy() for band in band_hashes(*map(pyarrow.array, zip(*some, strict=True)))])
    for some in (texts, changed)
]
common = (bands[0] == bands[1]).any(axis=0)
middles = np.arange(0.05, 1, 0.1)
measured = [common[abs(similarity - middle) <= 0.05].mean() for middle in middles]
line = np.linspace(0, 1, 60)
expected = 1 - (1 - line**ROWS) ** BANDS
print("similarity", *middles.round(2), "\nproposed  ", *np.round(measured, 2))
assert np.abs(1 - (1 - middles**ROWS) ** BANDS - measured).max() < (0.2 if QUICK else 0.1)
curves = {"measured": (middles, measured), "formula": (line, expected)}
title = "Chance that two pairs have a band in common"
figures.lines(curves, "Jaccard similarity", "share", title, styles={"measured": "o", "formula": "--"})

# %% [markdown]
# ## Edited text has them too
#
# Messages come in families: one for each device, each permission, each error. How many pairs go depends on the
# threshold, and the right threshold on what the corpus is for. A model does not need "Could not open the file" for
# forty kinds of file; but in a family the names *are* what differs, and removing pairs removes words.

# %%
thresholds = (1.0, 0.8, 0.6) if QUICK else (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
gone = []
for near in thresholds:
    report = refine(warehouse, Recipe(corpora={REAL: 1.0}, near=near), "kept").corpora[REAL]
    gone.append(report.removed["near"])
    print(f"near = {near:.1f}: {report.removed['near']:6,} of {report.seen:,} pairs are left out as nearly equal")
assert gone == sorted(gone) and gone[-1] > gone[0]
curves = {"pairs": (thresholds, gone)}
figures.lines(curves, "threshold", "pairs", "Left out as nearly equal", bottom=0, styles={"pairs": "o-"})

# %% [markdown]
# ## To see what a threshold means, look just above it
#
# MinHash proposes pairs with a common band, each with the first pair that has that band. They are shown with their
# similarity. In full mode that is ten thousand comparisons instead of 680 million. Most of these pairs are only
# somewhat similar: for any one of them a common band is unlikely, but there are very many. The comparison rejects them.
# Move the slider and read what lies just above the threshold.

# %%
ONE_BAND = """
    SELECT later.en AS en, later.de AS de, first.en AS first_en, first.de AS first_de FROM pairs AS later
    JOIN (SELECT {band} AS band, MIN(position) AS earliest FROM pairs WHERE corpus = @corpus AND split = 'train'
        GROUP BY band HAVING COUNT(*) > 1) AS firsts ON later.{band} = firsts.band
    JOIN pairs AS first ON first.position = firsts.earliest AND first.corpus = @corpus AND first.split = 'train'
    WHERE later.corpus = @corpus AND later.split = 'train' AND later.position > firsts.earliest
"""


proposed = {
    tuple(row.values()) for n in range(1, BANDS + 1) for row in rows(ONE_BAND.format(band=f"band_{n}"), corpus=REAL)
}
compared = sorted((jaccard(pair[:2], pair[2:]), pair) for pair in proposed)
values = np.array([value for value, _ in compared])


def just_above(near):
    """Prints the first pairs above a threshold, and draws all."""
    for value, (en, _, first_en, _) in [found for found in compared if found[0] >= near][:4]:
        print(f"{value:.2f}  {first_en[:110]}\n      {en[:110]}")
    numbers, edges = np.histogram(values, np.linspace(0, 1.0001, 26))
    curves = {"proposed": (edges[:-1] + 0.02, numbers)}
    title = f"{(values >= near).sum():,} of {len(values):,} proposed pairs are at least {near:g} alike"
    figures.lines(curves, "Jaccard similarity", "pairs", title, marks={"near": near}, bottom=0)


figures.slider(
    just_above, near=SelectionSlider(options=[0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], value=0.6 if QUICK else 0.8)
)

# %% [markdown]
# # 5. From the table to a training
#
# ## A preset reads a table, and text never leaves the warehouse as a file
#
# `corpora = ["warehouse:cleaned"]` in a preset trains on the new table; a query instead of the table mixes, samples and
# filters. Documents are drawn by a hash, the same ones everywhere. Here we take half of the real corpus' documents, and
# a tenth of these for validation, in addition to the validation documents already there. The good pairs of `crawl` also
# occur in the real corpus, which is named first and so keeps them.

# %%
recipe = Recipe(corpora={REAL: 0.5, "crawl": 1.0}, near=0.8, validation=0.1, seed=1)
refined = refine(warehouse, recipe, "mixture")
corpus = Corpora(warehouse=warehouse.address).open("warehouse:mixture")
sizes = {split: sum(1 for _ in corpus.pairs(split)) for split in corpus.splits()}
print(refined.total.without_zeros().table(), "\n\nread by a training:", sizes)
assert sizes == refined.splits
figures.bars({"pairs": list(sizes.values())}, list(sizes), "pairs", "The table `mixture`, by split", form="{:,}")

# %% [markdown]
# # Exercises
#
# 1. Which English messages have several German translations in the corpus? Ask in SQL. Should cleaning remove them?
# 2. `max_ratio` counts characters. How many pairs of the real corpus would go if it counted words?
# 3. The near-duplicate filter compares each pair only with the *first* pair of a band. What does that save, and what
#    can it miss?
#
# # Answers
#
# **1.** Those with one English text and different hashes of the pair. They are not mistakes: a button and a title, or
# *du* and *Sie*, differ by where the message appears. Only a model that sees the context can tell which one is right.

# %%
SEVERAL = """
    SELECT en, COUNT(DISTINCT de) AS n, MIN(de) AS one, MAX(de) AS other FROM pairs
    WHERE corpus = @corpus AND split = 'train' GROUP BY en HAVING COUNT(DISTINCT de) > 1 ORDER BY n DESC, en LIMIT 6
"""
for row in rows(SEVERAL, corpus=REAL):
    print(f"{row['n']} translations of {row['en'][:60]!r}: {row['one'][:40]!r}, {row['other'][:40]!r} ...")

# %% [markdown]
# **2.** Ask for both, at several limits. At 2 and 3, counting words would remove half as many pairs again, good ones
# among them: German joins words, and "time zone" and *Zeitzone* already have a ratio of 2.

# %%
BOTH = """
    SELECT COUNTIF(GREATEST(en_length, de_length) > @limit * LEAST(en_length, de_length)) AS characters,
        COUNTIF(GREATEST(en_words, de_words) > @limit * LEAST(en_words, de_words)) AS words
    FROM pairs WHERE corpus = @corpus AND split = 'train'
"""
for limit in (1.5, 2.0, 3.0, 4.0):
    (answer,) = rows(BOTH, corpus=REAL, limit=limit)
    print(f"above {limit:g}: {answer['characters']:6,} pairs by characters, {answer['words']:6,} by words")

# %% [markdown]
# **3.** A family of a thousand pairs with a common band needs 999 comparisons instead of half a million. What it can
# miss: the first pair of the band may be less similar to a later one than some pair between them is. Eight bands give
# eight first pairs, so this is rare.
