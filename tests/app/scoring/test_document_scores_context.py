"""Forced scoring in context: ContraPro and CXMI, with models that are simple enough to know what must come out."""

import json

import numpy as np
import pytest

from app.scoring.contrapro import (
    CONDITIONS,
    RIGHT,
    WITHOUT,
    WRONG,
    choose_pronouns,
    find_items,
    pronoun_measures,
    read_items,
)
from app.scoring.cxmi import context_use
from app.scoring.forced import score_in_blocks
from app.scoring.testsets import TestSet
from app.translation.decoder import TokenScore
from data.errors import UserError

GENDER = {"Hund": "Er", "Katze": "Sie", "Haus": "Es"}


class Scorer:
    """Finds a segment likelier by `judge(source, target, segments before)` nats; each segment has its words + 1 tokens.

    It keeps to the interface of `app.translation.translator.Translator.score`.
    """

    def __init__(self, judge):
        self.judge = judge
        self.calls = []

    def score(self, documents, scored="all"):
        self.calls.append(len(documents))
        found = []
        for pairs in documents:
            scores = [
                TokenScore(self.judge(source, target, pairs[:n]), len(target.split()) + 1)
                for n, (source, target) in enumerate(pairs)
            ]
            found.append(scores[-1:] if scored == "last" else scores)
        return found


def item(noun, number):
    right = GENDER[noun]
    wrong = [f"{pronoun} ist alt, {number}." for pronoun in GENDER.values() if pronoun != right]
    return {
        "src_ctx": f"The {noun} number {number}.",
        "src": f"It is old, {number}.",
        "ref_ctx": f"Da, {noun}.",
        "ref": f"{right} ist alt, {number}.",
        "contrastive": wrong,
    }


@pytest.fixture
def place(tmp_path):
    (tmp_path / "contrapro").mkdir()
    lines = [json.dumps(item(noun, n)) for noun in GENDER for n in range(10)]
    (tmp_path / "contrapro" / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def items(place):
    return read_items(find_items([str(place)]))


def knows_gender(source, target, before):
    """The noun in the target context decides on the pronoun; without one, it is "Es"."""
    noun = before[-1][1].split()[-1].strip(".") if before else "Haus"
    return float(target.startswith(GENDER[noun] + " "))


def accuracies(items, scorer, **options):
    found = pronoun_measures(items, choose_pronouns(scorer, items), **options)
    return {measure.name: measure for measure in found}


def test_a_model_that_uses_context_is_right_with_the_right_one_only(items):
    found = accuracies(items, Scorer(knows_gender))
    assert found["pronouns, right context"].value == 100
    assert found["pronouns, no context"].value == pytest.approx(100 / 3)
    assert 10 < found["pronouns, wrong context"].value < 60
    assert found["gain by context"].value == pytest.approx(200 / 3)
    assert found["gain by context"].low > 30
    assert [found[f"{pronoun}, right context"].count for pronoun in ("er", "sie", "es")] == [10, 10, 10]
    assert found["pronouns, no context"].units == "items"


def test_a_tie_is_not_right(items):
    found = accuracies(items, Scorer(lambda *_: -1.0))
    assert found["pronouns, right context"].value == 0


def test_one_likelier_wrong_translation_is_enough_to_be_wrong(items):
    # Likes "Sie" best, then "Er", then "Es": items of the others are wrong although one wrong translation is beaten.
    order = {"Sie": 3.0, "Er": 2.0, "Es": 1.0}
    found = accuracies(items, Scorer(lambda source, target, before: order.get(target.split()[0], 0.0)))
    assert found["pronouns, right context"].value == pytest.approx(100 / 3)
    assert found["sie, right context"].value == 100
    assert found["er, right context"].value == 0
    assert found["gain by context"].value == 0


def test_pronouns_are_compared_item_by_item(items):
    blind = choose_pronouns(Scorer(lambda s, t, b: knows_gender(s, t, [])), items)
    found = accuracies(items, Scorer(knows_gender), baseline=blind)["pronouns, right context"].comparison
    assert found.baseline == pytest.approx(100 / 3)
    assert found.p_value < 0.01
    again = pronoun_measures(items, blind, blind)
    assert again[0].comparison.p_value == 1


def test_an_item_that_begins_its_document_has_no_context(place):
    file = place / "contrapro" / "items.jsonl"
    file.write_text(json.dumps({**item("Hund", 1), "src_ctx": "", "ref_ctx": ""}) + "\n", encoding="utf-8")
    seen = []
    choose_pronouns(Scorer(lambda source, target, before: seen.append(len(before)) or 0.0), read_items(file))
    assert set(seen) == {0}


def test_items_are_spread_evenly(place, items):
    chosen = read_items(find_items([str(place)]), 6)
    assert [one.pronoun for one in chosen] == ["er", "er", "sie", "sie", "es", "es"]
    assert chosen[0] == items[0] and chosen[-1] == items[25]
    with pytest.raises(UserError, match="has 30 items, not 31"):
        read_items(find_items([str(place)]), 31)


def test_a_pronoun_is_told_by_what_is_changed(place):
    file = place / "contrapro" / "items.jsonl"
    reference = "Sie sagt, dass er ihn mag."
    wrong = ["Sie sagt, dass sie sie mag.", "Sie sagt, dass es es mag."]
    odd = {**item("Hund", 1), "ref": "Er geht.", "contrastive": ["Er geht jetzt."]}
    lines = [{**item("Hund", 1), "ref": reference, "contrastive": wrong}, odd]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert [found.pronoun for found in read_items(file)] == ["er", ""]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "line 2: expected a JSON object with src_ctx"),
        ("[1]", "line 2: expected a JSON object"),
        (json.dumps({"src": "a"}), "line 2: 'src_ctx' is missing"),
        (
            json.dumps({**item("Hund", 1), "contrastive": []}),
            'line 2: "contrastive" must be a non-empty list of strings',
        ),
        (json.dumps({**item("Hund", 1), "src": 3}), "line 2: .* the others one string each"),
    ],
)
def test_damaged_items_are_told_by_their_line(place, line, message):
    file = place / "contrapro" / "items.jsonl"
    file.write_text(json.dumps(item("Hund", 1)) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_items(file)


def test_without_items_it_says_where_it_looked(tmp_path):
    with pytest.raises(UserError, match="no contrapro/items.jsonl; looked in .*--corpora"):
        find_items([str(tmp_path)])
    (tmp_path / "empty").write_text("")
    with pytest.raises(UserError, match="empty"):
        read_items(tmp_path / "empty")


def text(documents=8, segments=4):
    sources = tuple(tuple(f"d{d} s{s}" for s in range(segments)) for d in range(documents))
    references = tuple(tuple(f"D{d} S{s} x" for s in range(segments)) for d in range(documents))
    return TestSet.of_documents("t", sources, references, "t")


def cxmi(judge, documents=None):
    return [found.value for found in context_use(Scorer(judge), documents or text())]


def test_a_model_that_sees_no_context_has_no_cxmi():
    assert cxmi(lambda source, target, before: -len(target)) == [0, 0, 0]


def test_cxmi_by_hand():
    # Any context gives 2 nats: 3 of 4 segments have one, and each segment has 4 tokens. A wrong one gives as much.
    right, wrong, content = cxmi(lambda source, target, before: -5.0 + 2.0 * bool(before))
    assert right == pytest.approx(3 * 2 / 16)
    assert wrong == pytest.approx(right)
    assert content == pytest.approx(0)


def test_a_context_that_must_be_the_right_one():
    # 2 nats where the segment before is of the same document, and a nat less where it is of another one.
    def judge(source, target, before):
        return 0.0 if not before else 2.0 if before[-1][0].split()[0] == source.split()[0] else -1.0

    right, wrong, content = context_use(Scorer(judge), text())
    assert right.value == pytest.approx(3 * 2 / 16)
    assert wrong.value < 0
    assert content.value == pytest.approx(right.value - wrong.value)
    assert content.low > 0
    assert right.low == right.high == right.value


def test_longer_segments_count_more_in_cxmi():
    documents = TestSet.of_documents("t", (("x", "y"),), (("a b c", "d"),), "t")
    assert cxmi(lambda source, target, before: 3.0 * bool(before), documents)[0] == pytest.approx(3 / (4 + 2))


def test_scores_come_back_in_order_and_progress_ends_at_one():
    documents = [[(f"{n}.{s}", "t")] * (1 + n % 3 * 400) for n in range(12) for s in range(1)]
    scorer, shares = Scorer(lambda source, target, before: float(source)), []
    found = score_in_blocks(scorer, documents, "last", shares.append)
    assert [scores[0].log_probability for scores in found] == [float(f"{n}.0") for n in range(12)]
    assert len(scorer.calls) > 1 and shares == sorted(shares) and shares[-1] == 1


def test_all_conditions_are_decided(items):
    found = choose_pronouns(Scorer(knows_gender), items)
    assert tuple(found) == CONDITIONS == (RIGHT, WITHOUT, WRONG)
    assert all(right.dtype == bool and np.shape(right) == (30,) for right in found.values())
