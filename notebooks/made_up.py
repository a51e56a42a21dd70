"""Made-up corpora of household orders, for the notebooks' quick mode: no network, learnt in seconds."""

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
# What is said next; German has another word for "it" after a "die", "das" or "der".
_AFTERWARDS = [
    ("It is too old.", "{He} ist zu alt."),
    ("Please repair it.", "Bitte reparieren Sie {him}."),
    ("Nobody has seen it.", "Niemand hat {him} gesehen."),
    ("Is it new?", "Ist {he} neu?"),
]
_PRONOUNS = {"die": ("sie", "sie"), "das": ("es", "es"), "der": ("er", "ihn")}


def sentences(seed: int = 0) -> list[tuple[str, str]]:
    """All sentence pairs that the templates allow, in an order drawn by `seed`."""
    pairs = [_fill(*parts) for parts in itertools.product(_SENTENCES, _THINGS, _PLACES)]
    random.Random(seed).shuffle(pairs)
    return pairs


def documents(seed: int = 0) -> list[list[tuple[str, str]]]:
    """Documents of a thing: a sentence that names it, two in which it is "it", and one that names it again."""
    found, drawn = [], random.Random(seed)
    for thing, place in itertools.product(_THINGS, _PLACES):
        he, him = _PRONOUNS[thing[1].split()[0]]
        words = {"he": he, "He": he.capitalize(), "him": him}
        first, last = (_fill(sentence, thing, place) for sentence in drawn.sample(_SENTENCES, 2))
        found.append([first, *((en, de.format(**words)) for en, de in drawn.sample(_AFTERWARDS, 2)), last])
    drawn.shuffle(found)
    return found


def write_corpus(folder, validation: int = 24, test: int = 24) -> str:
    """Writes the pairs as a folder corpus that `data.corpora.corpora.Corpora` reads.

    Args:
        folder: where to; made if it is not there.
        validation, test: pairs for these splits; all others are for training.

    Returns:
        The folder's path.
    """
    for split, pairs in _split(sentences(), validation, test).items():
        _write(folder, split, en=[pair[0] for pair in pairs], de=[pair[1] for pair in pairs])
    return str(folder)


def write_documents(folder, validation: int = 8, test: int = 8) -> str:
    """The same for the documents; `validation` and `test` are numbers of documents."""
    for split, found in _split(documents(), validation, test).items():
        lines = [(*pair, f"{split} {number}") for number, document in enumerate(found) for pair in document]
        _write(folder, split, **dict(zip(("en", "de", "doc"), zip(*lines, strict=True), strict=True)))
    return str(folder)


def _split(items: list, validation: int, test: int) -> dict[str, list]:
    rest = test + validation
    return {"test": items[:test], "validation": items[test:rest], "train": items[rest:]}


def _write(folder, split: str, **columns) -> None:
    """Writes the lines of each column, such as "en", into a file."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, lines in columns.items():
        text = "".join(f"{line}\n" for line in lines)
        (Path(folder) / f"{name}.{split}.txt").write_text(text, encoding="utf-8")


def _fill(sentence, thing, place) -> tuple[str, str]:
    words = dict(zip(("en", "nominative", "accusative"), thing, strict=True))
    words |= dict(zip(("place_en", "place_de"), place, strict=True))
    english, german = (" ".join(template.format(**words).split()) for template in sentence)
    for mark in ".?":
        english, german = english.replace(f" {mark}", mark), german.replace(f" {mark}", mark)
    return english, german
