"""Documents that are read backward: from their last window to their first, and put out in their own order."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest

from app.presets.preset import Preset
from app.probe.length import translate_long
from app.scoring.system import System
from app.translation.lines import DocumentLine
from data.errors import UserError
from data.windows import BACKWARD, FORWARD, WindowOptions
from tests.app.translation.test_document_translation import BLANKS, DOCUMENTS, WITH_STATE, translator
from tests.slow import slow_but


def reading(kind, order, size=1, **options):
    found = translator(kind, **options)
    found.windows = WindowOptions("segments", size=size, order=order)
    return found


def turned(document, size):
    """A document with its windows in the opposite order."""
    windows = [document[start : start + size] for start in range(0, len(document), size)]
    return list(itertools.chain(*reversed(windows)))


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(("kind", "size"), [*((kind, 2) for kind in WITH_STATE), ("recurrence", 1)])
def test_backward_is_forward_through_the_windows_in_the_opposite_order(kind, size):
    documents = [own[: len(own) // size * size] for own in DOCUMENTS]
    opposite = [turned(own, size) for own in documents]
    found = list(reading(kind, BACKWARD, size).translate_documents(documents))
    forward = list(reading(kind, FORWARD, size).translate_documents(opposite))
    assert found == [turned(own, size) for own in forward]
    assert found != list(reading(kind, FORWARD, size).translate_documents(documents))
    pairs = [list(zip(own, other, strict=True)) for own, other in zip(documents, opposite, strict=True)]
    scores = reading(kind, BACKWARD, size).score(pairs)
    expected = reading(kind, FORWARD, size).score([turned(own, size) for own in pairs])
    for own, other in zip(scores, expected, strict=True):
        numbers = [[score.log_probability for score in side] for side in (own, turned(other, size))]
        assert numbers[0] == pytest.approx(numbers[1], abs=1e-4)
    last = reading(kind, BACKWARD, size).score(pairs, "last")
    assert [[s.tokens for s in own] for own in last] == [[s.tokens for s in own[-1:]] for own in scores]
    for own, other in zip(last, scores, strict=True):
        assert [s.log_probability for s in own] == pytest.approx([s.log_probability for s in other[-1:]], abs=1e-4)


@pytest.mark.parametrize("kind", slow_but(["gru", "recurrence"], "recurrence"))
def test_batches_neighbours_and_blank_lines_change_nothing(kind, monkeypatch):
    expected = list(reading(kind, BACKWARD, 2).translate_documents(DOCUMENTS))
    assert [next(reading(kind, BACKWARD, 2).translate_documents([own])) for own in DOCUMENTS] == expected
    assert list(reading(kind, BACKWARD, 2, batch_tokens=16).translate_documents(DOCUMENTS)) == expected
    found = list(reading(kind, BACKWARD, 2).translate_documents(BLANKS))
    assert [len(own) for own in found] == [8, 0, 1, 1]
    assert [text for text in found[0] if text] == expected[0] and found[3] == expected[1]
    # Whole documents are kept, however few lines are read ahead.
    monkeypatch.setattr("app.translation.flow.MOST_LINES", 2)
    monkeypatch.setattr("app.translation.flow.FIRST_LINES", 1)
    assert list(reading(kind, BACKWARD, 2).translate_documents(DOCUMENTS)) == expected


def test_windows_are_those_of_the_document_read_forward():
    looks = []
    own = translator("gru")
    own.windows = WindowOptions("tokens", tokens=18, order=BACKWARD)
    lines = [DocumentLine(1, text) for text in DOCUMENTS[2]]
    list(own.translate_lines(lines, looks.append))
    assert [look["line"] for look in looks] == [1, 2, 3, 4, 5, 6, 7]
    forward, expected = [], translator("gru")
    list(expected.translate_lines(lines, forward.append))
    count = forward[-1]["window"]
    assert count > 2 and [look["window"] for look in looks] == [count + 1 - look["window"] for look in forward]
    assert [look["source"] for look in looks] == [look["source"] for look in forward]


@pytest.mark.parametrize("kind", slow_but(["gru", "recurrence"], "recurrence"))
def test_a_correction_is_remembered_in_what_stands_before_it(kind):
    document, right = DOCUMENTS[2], "w20 w21 w22 w23 w24 w25"

    def found(corrected=None):
        texts = [right if place == corrected else None for place in range(len(document))]
        lines = (DocumentLine(1, *pair) for pair in zip(document, texts, strict=True))
        own = reading(kind, BACKWARD)
        # All lines that are open retrieve a correction, wherever they stand.
        own.decoder.retrieval = replace(own.decoder.retrieval, weight=0.0)
        return [each.text for each in own.translate_lines(lines, whole=True)]

    before = found()
    assert found(0) == [right, *before[1:]]
    assert found(6)[6] == right and found(6)[:6] != before[:6]


def test_a_session_is_refused():
    with pytest.raises(UserError, match=r"documents\.order: .*translate --document"):
        reading("gru", BACKWARD).session()


def test_what_begins_before_the_end_is_known_is_refused(tmp_path):
    preset = Preset("x").with_overrides(["windows=segments", "memory.kind=gru", "documents.order=backward"])
    assert preset.window_options().order == BACKWARD
    run = SimpleNamespace(preset=preset, path=tmp_path)
    with pytest.raises(UserError, match=r"documents\.order = .*score it without corrections"):
        System(run, corrected=True)
    with pytest.raises(UserError, match=r"documents\.order = .*no time by position"):
        translate_long(run, ["w5"], 9, print)
