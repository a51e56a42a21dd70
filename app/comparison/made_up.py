"""A corpus of made-up documents, in which some words can only be translated after reading the segments before."""

from pathlib import Path

import numpy as np

from app.probe.documents import FIRST_WORD, Segment, Task, training_document
from data.files import atomic_write

FOLDER, NAME = "corpora", "made-up"
# Enough words for a tokenizer to learn its pieces from.
TASK = Task(keys=24, values=24, facts=2, fillers=160)
LONGEST, SEED = 12, 1
# Validation and test have this share of the training's documents.
SHARE = 10
_SOUNDS = {"en": ("bdfglmprst", "aeiou"), "de": ("bdfghkmnrz", "aeiouäöü")}


def write_documents(folder: Path | str, documents: int) -> Path:
    """Writes the corpus "made-up" into a folder of corpora, unless it is there; equal arguments give equal files.

    Args:
        folder: the folder of corpora.
        documents: how many its training split has.

    Returns:
        The folder of the corpus. Its documents are those of the recall probe, written in words.
    """
    place, rng = Path(folder) / NAME, np.random.default_rng(SEED)
    place.mkdir(parents=True, exist_ok=True)
    words = {side: _words(*sounds) for side, sounds in _SOUNDS.items()}
    few = max(documents // SHARE, 2)
    for split, count in (("train", documents), ("validation", few), ("test", few)):
        found = [training_document(TASK, LONGEST, rng) for _ in range(count)]
        segments = [segment for document in found for segment in document]
        lines = {side: [_text(segment, side, words[side]) for segment in segments] for side in words}
        lines["doc"] = [f"{split}-{number}" for number, document in enumerate(found) for _ in document]
        for part, texts in lines.items():
            _write(place / f"{part}.{split}.txt", "".join(f"{text}\n" for text in texts))
    return place


def _words(consonants: str, vowels: str) -> list[str]:
    """Different pronounceable words, one for each word of the task, in a random order."""
    syllables = [consonant + vowel for consonant in consonants for vowel in vowels]
    words = [first + second for first in syllables for second in syllables]
    return list(np.random.default_rng(SEED).permutation(words)[: TASK.words])


def _text(segment: Segment, side: str, words: list[str]) -> str:
    tokens, first = (segment.source, FIRST_WORD) if side == "en" else (segment.target, FIRST_WORD + TASK.words)
    return " ".join(words[token - first] for token in tokens.tolist())


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path, "w") as file:
            file.write(text)
