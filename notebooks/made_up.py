"""A made-up corpus of household orders, for the notebooks' quick mode: no network, learnt in seconds."""

import itertools
import random
from pathlib import Path

# English, German in the nominative and accusative, and with "in".
_THINGS = [
    ("the lamp", "die Lampe", "die Lampe"),
    ("the heater", "die Heizung", "die Heizung"),
    ("the radio", "das Radio", "das Radio"),
    ("the door", "die Tür", "die Tür"),
    ("the window", "das Fenster", "das Fenster"),
    ("the table", "der Tisch", "den Tisch"),
    ("the oven", "der Ofen", "den Ofen"),
    ("the alarm", "der Alarm", "den Alarm"),
]
_PLACES = [
    ("in the kitchen", "in der Küche"),
    ("in the garden", "im Garten"),
    ("in the bedroom", "im Schlafzimmer"),
    ("in the cellar", "im Keller"),
    ("next to the stairs", "neben der Treppe"),
    ("", ""),
]
_SENTENCES = [
    ("Please check {en} {place_en}.", "Bitte prüfen Sie {accusative} {place_de}."),
    ("I can see {en} {place_en}.", "Ich kann {accusative} {place_de} sehen."),
    ("Today {en} {place_en} is broken.", "Heute ist {nominative} {place_de} kaputt."),
    ("Where is {en} {place_en}?", "Wo ist {nominative} {place_de}?"),
    ("We have not found {en} {place_en}.", "Wir haben {accusative} {place_de} nicht gefunden."),
    ("Who has paid for {en} {place_en}?", "Wer hat {accusative} {place_de} bezahlt?"),
]


def sentences(seed: int = 0) -> list[tuple[str, str]]:
    """All sentence pairs that the templates allow, in an order drawn by `seed`."""
    pairs = [_fill(*parts) for parts in itertools.product(_SENTENCES, _THINGS, _PLACES)]
    random.Random(seed).shuffle(pairs)
    return pairs


def write_corpus(folder, validation: int = 24, test: int = 24) -> str:
    """Writes the pairs as a folder corpus that `data.corpora.open_corpus` reads.

    Args:
        folder: where to; made if it is not there.
        validation, test: pairs for these splits; all others are for training.

    Returns:
        The folder's path.
    """
    pairs, folder = sentences(), Path(folder)
    ends = {"test": test, "validation": test + validation, "train": len(pairs)}
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for split, end in ends.items():
        for side, language in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in pairs[start:end])
            (folder / f"{language}.{split}.txt").write_text(text, encoding="utf-8")
        start = end
    return str(folder)


def _fill(sentence, thing, place) -> tuple[str, str]:
    words = dict(zip(("en", "nominative", "accusative"), thing, strict=True))
    words |= dict(zip(("place_en", "place_de"), place, strict=True))
    english, german = (" ".join(template.format(**words).split()) for template in sentence)
    for mark in ".?":
        english, german = english.replace(f" {mark}", mark), german.replace(f" {mark}", mark)
    return english, german
