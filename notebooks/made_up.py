"""Made-up text that is learnt in seconds, without a network: household orders, their word vectors, and manuals."""

import itertools
import random
import re
from pathlib import Path

import numpy as np

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
# Two German names of a thing, the usual one first, each in the nominative and accusative.
TERMS = {
    "display": (("die Anzeige", "die Anzeige"), ("der Bildschirm", "den Bildschirm")),
    "button": (("die Taste", "die Taste"), ("der Knopf", "den Knopf")),
    "cover": (("die Abdeckung", "die Abdeckung"), ("der Deckel", "den Deckel")),
    "battery": (("die Batterie", "die Batterie"), ("der Akku", "den Akku")),
    "manual": (("das Handbuch", "das Handbuch"), ("die Anleitung", "die Anleitung")),
    "case": (("das Gehäuse", "das Gehäuse"), ("die Hülle", "die Hülle")),
    "cable": (("das Kabel", "das Kabel"), ("die Leitung", "die Leitung")),
    "device": (("das Gerät", "das Gerät"), ("der Apparat", "den Apparat")),
}
_NOTES = [
    ("Please check {en}.", "Bitte prüfen Sie {accusative}."),
    ("Do not touch {en}.", "Berühren Sie {accusative} nicht."),
    ("Clean {en} with a cloth.", "Reinigen Sie {accusative} mit einem Tuch."),
    ("Where is {en}?", "Wo ist {nominative}?"),
    ("Today {en} is missing.", "Heute fehlt {nominative}."),
    ("Can {en} be replaced?", "Kann {nominative} ersetzt werden?"),
    ("We have tested {en}.", "Wir haben {accusative} getestet."),
    ("Is {en} at the back?", "Ist {nominative} hinten?"),
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


def manuals(count: int, seed: int = 0, rarer: float = 0.2, length: int = 8) -> list[list[tuple[str, str]]]:
    """Manuals of two things of `TERMS`, each of which is called by the same German name throughout.

    The English text does not say which one; the first use decides. A segment may say "it" for what was named last.

    Args:
        count: how many manuals.
        seed: the seed of the draw.
        rarer: the share of things that are called by the rarer of their names.
        length: segments of a manual.
    """
    drawn = random.Random(seed)
    return [_manual(drawn, rarer, length) for _ in range(count)]


def write_corpus(folder, validation: int = 24, test: int = 24) -> str:
    """Writes the pairs as a folder corpus that `data.corpora.corpora.Corpora` reads.

    Args:
        folder: where to write; made if it is not there.
        validation, test: pairs for these splits; all others are for training.

    Returns:
        The folder's path.
    """
    for split, pairs in _split(sentences(), validation, test).items():
        _write(folder, split, en=[pair[0] for pair in pairs], de=[pair[1] for pair in pairs])
    return str(folder)


def write_documents(folder, validation: int = 8, test: int = 8) -> str:
    """Like `write_corpus`, for the documents; `validation` and `test` are numbers of documents."""
    for split, found in _split(documents(), validation, test).items():
        lines = [(*pair, f"{split} {number}") for number, document in enumerate(found) for pair in document]
        _write(folder, split, **dict(zip(("en", "de", "doc"), zip(*lines, strict=True), strict=True)))
    return str(folder)


def write_crawl(folder, pairs, each: int = 50, seed: int = 1) -> str:
    """Writes a folder corpus of the kind found on the web: good pairs, and pairs with one kind of fault each.

    Args:
        folder: where to write; made if it is not there.
        pairs: pairs to draw from, all different; the longer ones are taken.
        each: pairs for each fault; there are eight times as many good ones.
        seed: the seed of the draw.

    Returns:
        The folder's path. The documents are named after what was done to their pairs: "good", "empty", "long",
        "ratio", "untranslated", "duplicate", "language" and "near".
    """
    longest = sorted(dict.fromkeys(tuple(pair[:2]) for pair in pairs), key=lambda pair: len(pair[0].split()))
    longest = [pair for pair in longest if len(pair[0].split()) <= 30][-15 * each :]
    random.Random(seed).shuffle(longest)
    good, rest = longest[: 8 * each], iter(longest[8 * each :])
    faults = {
        "empty": lambda en, de: (en, ""),
        "long": lambda en, de: (" ".join([en] * 60), " ".join([de] * 60)),
        "ratio": lambda en, de: (en, " ".join([de] * 6)),
        "untranslated": lambda en, de: (en, en),
        "language": lambda en, de: (de, en),
    }
    found = [(*pair, "good") for pair in good]
    for name, spoil in faults.items():
        found += [(*spoil(*next(rest)), name) for _ in range(each)]
    found += [(*pair, "duplicate") for pair in good[:each]]
    found += [(f"{en} {n}", f"{de} {n}", "near") for n, (en, de) in enumerate(good[each : 2 * each])]
    _write(folder, "train", **dict(zip(("en", "de", "doc"), zip(*found, strict=True), strict=True)))
    return str(folder)


def write_vectors(path, lines, width: int = 24, window: int = 3) -> str:
    """Writes word vectors, counted from some text, as a file in GloVe's format: a stand-in for the real ones.

    They are the first singular vectors of the positive mutual information of words that stand near each other.

    Args:
        path: the path of the file.
        lines: the text.
        width: the width of the vectors.
        window: how many words apart two words may be.

    Returns:
        The path.
    """
    texts = [re.findall(r"\w+|[^\w\s]", line.lower()) for line in lines]
    words = sorted({word for text in texts for word in text})
    number, counts = {word: row for row, word in enumerate(words)}, np.ones((len(words), len(words)))
    for text in texts:
        for place, word in enumerate(text):
            for other in text[max(place - window, 0) : place]:
                counts[number[word], number[other]] += 1
                counts[number[other], number[word]] += 1
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    left, strengths, _ = np.linalg.svd(np.maximum(np.log(counts / expected), 0))
    vectors = left[:, :width] * strengths[:width] ** 0.5
    rows = (" ".join(f"{value:.5f}" for value in vector) for vector in vectors)
    text = "".join(f"{word} {row}\n" for word, row in zip(words, rows, strict=True))
    Path(path).write_text(text, encoding="utf-8")
    return str(path)


def _manual(drawn: random.Random, rarer: float, length: int) -> list[tuple[str, str]]:
    things = [(f"the {term}", *TERMS[term][drawn.random() < rarer]) for term in drawn.sample(list(TERMS), 2)]
    thing, found = things[0], []
    for place in range(length):
        if place and drawn.random() < 0.25:
            he, him = _PRONOUNS[thing[1].split()[0]]
            english, german = drawn.choice(_AFTERWARDS)
            found.append((english, german.format(he=he, He=he.capitalize(), him=him)))
        else:
            thing = things[place] if place < 2 else drawn.choice(things)
            found.append(_fill(drawn.choice(_NOTES), thing, ("", "")))
    return found


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
