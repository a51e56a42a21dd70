"""A toy language, its corpus, and a training small enough for a test."""

import io
import os
import random
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from app.presets.preset import load_preset

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = {
    "the": "der",
    "red": "rote",
    "old": "alte",
    "dog": "hund",
    "cat": "kater",
    "sees": "sieht",
    "and": "und",
    "finds": "findet",
    "a": "ein",
    "big": "große",
    "tree": "baum",
    "house": "haus",
    "near": "neben",
    "never": "nie",
    "always": "immer",
    "tall": "hohe",
}
PRESET = """
name = "toy"
[data]
corpora = ["{corpus}"]
validation = ["{corpus}"]
test = []
language_filter = false
deduplicate = false
[tokenizer]
kind = "bpe"
vocabulary = 400
[model]
encoder_layers = 1
decoder_layers = 1
width = 16
hidden = 32
heads = 2
dropout = 0.1
[training]
batch_tokens = 256
updates = 40
learning_rate = 0.01
warmup = 20
precision = "float32"
validate_every = 20
checkpoint_every = 10
bleu_lines = 20
average = 2
keep = 3
"""


def write_corpus(folder, train: int = 300, validation: int = 40, document: int = 0) -> Path:
    """A folder corpus of sentences in which each English word has one German word, in the same order.

    With `document`, so many sentences make a document.
    """
    draw = random.Random(1)
    folder = Path(folder)
    folder.mkdir(parents=True)
    for split, count in (("train", train), ("validation", validation)):
        sentences = [draw.choices(list(WORDS), k=draw.randint(2, 7)) for _ in range(count)]
        lines = {"en": sentences, "de": [[WORDS[word] for word in sentence] for sentence in sentences]}
        for language, rows in lines.items():
            text = "".join(" ".join(row) + "\n" for row in rows)
            (folder / f"{language}.{split}.txt").write_text(text, encoding="utf-8")
        if document:
            ids = "".join(f"{split}-{number // document}\n" for number in range(count))
            (folder / f"doc.{split}.txt").write_text(ids, encoding="utf-8")
    return folder


def write_preset(folder, corpus=None) -> Path:
    """Writes the toy preset and, unless one is named, its corpus."""
    corpus = corpus or write_corpus(Path(folder) / "toy")
    path = Path(folder) / "toy.toml"
    path.write_text(PRESET.format(corpus=corpus), encoding="utf-8")
    return path


def toy_preset(folder, *changes, corpus="./toy"):
    """The toy preset with changes such as "updates=5"; the corpus need not be there."""
    return load_preset(write_preset(folder, corpus), changes)


def train_here(folder, *changes):
    """A training in this process, in FOLDER/run with the corpus FOLDER/toy: the run and what it printed."""
    from app.training.train import train

    console = Console(file=io.StringIO(), soft_wrap=True)
    run = train(toy_preset(folder, *changes, corpus=folder / "toy"), folder / "run", console=console)
    return run, console.file.getvalue()


def command(*arguments) -> list[str]:
    """The command line as it is started."""
    return [sys.executable, "-m", "app", *map(str, arguments)]


def environment(**variables) -> dict:
    """The environment of such a process."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}


def weitblick(*arguments, code: int = 0, **variables) -> subprocess.CompletedProcess:
    """Runs the command line as a process and checks its exit code."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, encoding="utf-8", env=environment(**variables)
    )
    assert done.returncode == code, done.stderr
    return done
