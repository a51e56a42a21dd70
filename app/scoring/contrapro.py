"""ContraPro: does a model find the right pronoun more likely than wrong ones?"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.scoring.bootstrap import SAMPLES, Measure, measure, ratio
from app.scoring.forced import part_of, score_in_blocks
from app.scoring.testsets import shuffled
from app.translation.translator import Translator
from data.corpora.corpora import corpus_folders
from data.errors import UserError

FOLDER, FILE = "contrapro", "items.jsonl"
PRONOUNS = ("er", "sie", "es")
RIGHT, WITHOUT, WRONG = "right context", "no context", "wrong context"
CONDITIONS = (RIGHT, WITHOUT, WRONG)
_FIELDS = {"src_ctx": str, "src": str, "ref_ctx": str, "ref": str, "contrastive": list}


class Item(NamedTuple):
    """A segment, its reference with the right pronoun, variants with wrong ones, and the preceding segment."""

    source: str
    reference: str
    contrastive: tuple[str, ...]
    source_context: str
    reference_context: str

    @property
    def pronoun(self) -> str:
        """Which of er, sie and es the reference has; "" if none of them was replaced."""
        right = _words(self.reference)
        wrongs = [words for words in map(_words, self.contrastive) if len(words) == len(right)]
        changed = {a for wrong in wrongs for a, b in zip(right, wrong, strict=True) if a != b}
        return next((pronoun for pronoun in PRONOUNS if pronoun in changed), "")


def find_items(folders: Iterable[str] = ()) -> Path:
    """Finds the file of items in the corpus folders.

    Raises:
        UserError: no folder has it.
    """
    places = corpus_folders(folders)
    for place in places:
        if (place / FOLDER / FILE).is_file():
            return place / FOLDER / FILE
    looked = ", ".join(map(str, places)) or "no folder"
    raise UserError(
        f"there is no {FOLDER}/{FILE}; looked in {looked}; name the folder that holds {FOLDER} with --corpora or "
        "WEITBLICK_CORPORA"
    )


def read_items(path: Path | str, count: int = 0) -> list[Item]:
    """Reads items, one JSON object per line: `src_ctx`, `src`, `ref_ctx`, `ref` and the list `contrastive`.

    Args:
        path: the file.
        count: how many to take, evenly spaced since the file is sorted by pronoun; 0 for all.

    Raises:
        UserError: a line is not such an object, the file is empty, or has fewer items than asked for.
    """
    from app.translation.lines import read_text

    items = [_item(path, number, line) for number, line in enumerate(read_text(path), start=1)]
    if not items:
        raise UserError(f"{path} is empty; there is nothing to score")
    if count > len(items):
        raise UserError(f"{path} has {len(items):,} items, not {count:,}")
    return [items[place * len(items) // count] for place in range(count)] if count else items


def choose_pronouns(
    translator: Translator, items: Sequence[Item], progress: Callable[[float], None] | None = None
) -> dict[str, np.ndarray]:
    """Finds which items a model gets right, by forced scoring.

    An item is right if its reference is strictly more likely than each of its contrastive translations, by the summed
    log-probability of all tokens. The context is the preceding segment with its reference translation. The wrong
    context is that of another item.

    Args:
        translator: the model's translator.
        items: from `read_items`.
        progress: called with the share done.

    Returns:
        For each of right context, no context and wrong context, a boolean for each item.

    References:
        Müller et al. 2018, A Large-Scale Test Set for the Evaluation of Context-Aware Pronoun Translation in Neural
        Machine Translation, https://aclanthology.org/W18-6307
    """
    order = shuffled(len(items))
    contexts = {
        RIGHT: [_context(item) for item in items],
        WITHOUT: [[] for _ in items],
        WRONG: [_context(items[number]) for number in order],
    }
    decisions = {}
    for part, (condition, before) in enumerate(contexts.items()):
        decisions[condition] = _decide(translator, items, before, part_of(progress, part, len(contexts)))
    return decisions


def decision_lines(items: Sequence[Item], decisions: dict[str, np.ndarray]) -> list[str]:
    """A table with the pronoun of each item and, for each condition, 1 if the model was right and 0 if not."""
    columns = [item.pronoun for item in items], *(decisions[name].astype(int).astype(str) for name in CONDITIONS)
    return ["\t".join(["pronoun", *CONDITIONS]), *("\t".join(row) for row in zip(*columns, strict=True))]


def read_decisions(lines: Sequence[str]) -> dict[str, np.ndarray]:
    """The decisions that `decision_lines` wrote."""
    table = np.array([line.split("\t")[1:] for line in lines[1:]], int).astype(bool)
    return {name: table[:, column] for column, name in enumerate(CONDITIONS)}


def fingerprint(items: Sequence[Item]) -> str:
    """A hash of the items, in their order."""
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]


def _decide(translator: Translator, items: Sequence[Item], contexts: Sequence[list], progress) -> np.ndarray:
    """For each item, whether the reference is more likely than every wrong translation."""
    documents = [
        [*context, (item.source, text)]
        for item, context in zip(items, contexts, strict=True)
        for text in (item.reference, *item.contrastive)
    ]
    scores = iter(score_in_blocks(translator, documents, "last", progress))
    right = []
    for item in items:
        reference, *others = (next(scores)[-1].log_probability for _ in range(1 + len(item.contrastive)))
        right.append(all(reference > other for other in others))
    return np.array(right, bool)


def pronoun_measures(
    items: Sequence[Item],
    decisions: dict[str, np.ndarray],
    baseline: dict[str, np.ndarray] | None = None,
    samples: int = SAMPLES,
) -> list[Measure]:
    """Accuracy in percent.

    Args:
        items: all items.
        decisions: from `choose_pronouns`.
        baseline: the decisions of another system.
        samples: bootstrap samples of items; 0 for none.

    Returns:
        Accuracy with the right, no and the wrong context; the gain of the right context over none; and, with the right
        context, the accuracy for each pronoun.
    """
    options = {"samples": samples, "units": "items"}
    accuracies = {f"pronouns, {condition}": (lambda d, c=condition: d[c]) for condition in CONDITIONS}
    accuracies["gain by context"] = lambda d: d[RIGHT].astype(int) - d[WITHOUT]
    pronouns = np.array([item.pronoun for item in items])
    for pronoun in PRONOUNS:
        if pronoun in pronouns:
            accuracies[f"{pronoun}, {RIGHT}"] = lambda d, p=pronoun: d[RIGHT][pronouns == p]
    return [
        measure(name, _counted(chosen(decisions)), ratio(), baseline and _counted(chosen(baseline)), **options)
        for name, chosen in accuracies.items()
    ]


def _counted(values) -> np.ndarray:
    """(items, 2): the value of each item, and a count of 1."""
    values = np.asarray(values, "float64")
    return np.stack([values, np.ones_like(values)], axis=1)


def _context(item: Item) -> list[tuple[str, str]]:
    """The preceding segment, if any: an item may begin its document."""
    return [(item.source_context, item.reference_context)] if item.source_context.strip() else []


def _item(path, number: int, line: str) -> Item:
    try:
        found = json.loads(line)
        wrong = next((name for name, kind in _FIELDS.items() if not isinstance(found[name], kind)), None)
    except (ValueError, TypeError):
        raise UserError(f"{path}, line {number}: expected a JSON object with {', '.join(_FIELDS)}") from None
    except KeyError as error:
        raise UserError(f"{path}, line {number}: {error} is missing; expected {', '.join(_FIELDS)}") from None
    contrastive = found["contrastive"]
    if wrong or not contrastive or not all(isinstance(text, str) for text in contrastive):
        raise UserError(
            f'{path}, line {number}: "contrastive" must be a non-empty list of strings, and the others one string each'
        )
    return Item(found["src"], found["ref"], tuple(contrastive), found["src_ctx"], found["ref_ctx"])


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
