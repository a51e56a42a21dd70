"""Sessions: a correction is read at once by every memory, and what a session holds depends on its text alone."""

import copy
import functools
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import tree

from app.presets.schema import SearchPreset
from app.translation.lines import DocumentLine
from app.translation.saved import write_saved
from app.translation.session import Session
from app.translation.translator import Translator
from data.errors import UserError
from data.files import checksum_of
from data.packing import PackedWindow
from data.windows import ALONE, WindowOptions
from models.document import DocumentTransformer
from models.memories import settings_of
from models.transformer import Transformer
from tests.app.copy_model import TEXT, CopyModel, small_tokenizer
from tests.app.word_tokenizer import WordTokenizer, words

VOCABULARY = 40
GRU = {"kind": "gru", "slots": 3, "sides": "both", "read_bias": 1.0}
COMPRESSIVE = {"kind": "compressive", "cache": 4, "compressed": 3, "rate": 2}
# The memory of each kind of model, its windows, and whether corrections are retrieved.
KINDS = {
    "retrieval": (None, ALONE, 0.95),
    "own output": (None, ALONE, 0.95),
    "gru": (GRU, WindowOptions("segments", size=1), 0.0),
    "gru in windows": (GRU, WindowOptions("tokens", tokens=12), 0.0),
    "gru and retrieval": (GRU, WindowOptions("segments", size=1), 0.95),
    "concat": ({"kind": "concat"}, WindowOptions("segments", size=3, sliding=True), 0.0),
    "gru in layers": ({**GRU, "layers": ("all",), "read": "attention"}, WindowOptions("segments", size=1), 0.0),
    "recurrence": ({"kind": "recurrence", "cache": 9}, WindowOptions("segments", size=1), 0.0),
    "compressive": (COMPRESSIVE, WindowOptions("tokens", tokens=12), 0.0),
    "gru+recurrence": ({**GRU, "kind": "gru+recurrence", "cache": 9}, WindowOptions("segments", size=1), 0.0),
    "prism": ({"kind": "prism", "places": 4, "couplings": 1, "sides": "both"}, WindowOptions("segments", size=1), 0.0),
}
draw = np.random.default_rng(6)
SEGMENTS = [words(draw.integers(4, VOCABULARY, draw.integers(1, 6))) for _ in range(7)]
RIGHT = [words(draw.integers(4, VOCABULARY, draw.integers(1, 6))) for _ in range(7)]


@functools.cache  # each new one compiles its search
def translator(kind) -> Translator:
    keras.utils.set_random_seed(3)
    memory, windows, weight = KINDS[kind]
    shape = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "hidden": 16, "heads": 2}
    shape |= {"positions": "rotary"} if kind in ("recurrence", "compressive", "gru+recurrence") else {}
    model = DocumentTransformer(VOCABULARY, memory=memory, **shape) if memory else Transformer(VOCABULARY, **shape)
    model.build()
    # With these weights every kind's translations depend on what it remembers.
    values = np.random.default_rng(9 if kind == "compressive" else 8)
    for variable in model.trainable_variables:
        variable.assign_add(0.5 * values.standard_normal(variable.shape).astype("float32"))
    search = SearchPreset(beam=1, max_ratio=1.0, max_extra=3, length_penalty=0.0, refuse_loops=False)
    own = 0.5 if kind == "own output" else 0.0
    reading = settings_of("retrieval")(neighbours=2, weight=weight, threshold=2.0, temperature=0.05, own=own)
    return Translator.of_model(model, WordTokenizer(), search, windows, retrieval=(reading, None))


def flow(kind, corrections, known=False) -> list[str]:
    """The document as a stream translates it."""
    lines = (DocumentLine(1, *pair, known) for pair in zip(SEGMENTS, corrections, strict=True))
    return [found.text for found in translator(kind).translate_lines(lines)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_correction_changes_what_follows_and_undo_takes_it_back(kind):
    session = translator(kind).session()
    before = session.push(SEGMENTS)
    changed = session.correct(2, RIGHT[1])
    assert changed and min(changed) > 2
    after = [RIGHT[1] if n == 1 else changed.get(n + 1, text) for n, text in enumerate(before)]
    assert session.translations == after and session.corrections[1] == RIGHT[1]
    assert session.undoes_correction
    undone = session.undo()
    assert session.translations == before and set(undone) == {2, *changed} and not session.undoes_correction
    assert session.undo() == {} and session.sources == []
    with pytest.raises(UserError, match="nothing to undo"):
        session.undo()


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_is_the_stream_whose_lines_are_corrected_one_by_one(kind):
    session = translator(kind).session()
    session.push(SEGMENTS)
    found = []
    for number, right in enumerate(RIGHT, start=1):
        found.append(session.translations[number - 1])
        session.correct(number, right)
    assert found == flow(kind, RIGHT)
    assert found != flow(kind, [None] * len(RIGHT))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_gives_each_translation_as_it_comes_and_can_be_left(kind):
    whole, session = translator(kind).session(), translator(kind).session()
    expected = whole.push(SEGMENTS[:2]) + whole.push(SEGMENTS[2:])
    assert [text for _, text in session.stream(SEGMENTS[:2])] == expected[:2]
    assert list(session.stream(SEGMENTS[2:])) == list(enumerate(expected, start=1))[2:]
    assert session.translations == expected
    session.undo()
    stream = session.stream([*SEGMENTS[2:4], "", *SEGMENTS[4:]])
    assert next(stream)[0] == 3 and next(stream)[0] == 4
    stream.close()
    assert session.sources == SEGMENTS[:4]
    whole.undo()
    assert session.translations == [*whole.translations, *whole.push(SEGMENTS[2:4])]
    assert session.undo() == {} and session.sources == SEGMENTS[:2]


def test_empty_lines_of_a_stream_come_through():
    session = translator("gru").session()
    assert [text for _, text in session.stream(["", SEGMENTS[0], "  "])][::2] == ["", ""]
    assert list(session.stream([])) == [] and session.undo() == {} and session.sources == []


@pytest.mark.parametrize("kind", KINDS)
def test_alternatives_begin_with_the_translation_and_its_score(kind):
    session = translator(kind).session()
    session.push(SEGMENTS)
    for number in (1, 4, 7):
        (text, score), *_ = session.alternatives(number)
        assert text == session.translations[number - 1]
        assert score == pytest.approx(session.score(number), abs=1e-3) and score.log_probability < 0 < score.tokens
    with pytest.raises(UserError, match="no segment 8"):
        session.alternatives(8)
    session.correct(2, RIGHT[1])
    assert session.score(2) is None
    # What follows was searched for after the correction.
    text, score = session.alternatives(3)[0]
    assert text == session.translations[2] and score == pytest.approx(session.score(3), abs=1e-3)


def test_a_score_is_the_log_probability_of_the_translation():
    session = translator("retrieval").session()
    session.push(SEGMENTS)
    found = translator("retrieval").score_pairs(SEGMENTS, session.translations)
    assert [session.score(n) for n in range(1, 8)] == [pytest.approx(score, abs=1e-3) for score in found]


@pytest.mark.parametrize(("alpha", "offset"), [(0.6, 5.0), (1.0, 0.0)])
def test_a_score_has_no_length_penalty(alpha, offset):
    tokenizer = small_tokenizer()
    search = SearchPreset(beam=2, length_penalty=alpha, length_offset=offset)
    one = Translator.of_model(CopyModel(tokenizer.vocabulary_size), tokenizer, search)
    session = one.session()
    assert session.push(TEXT[:1]) == TEXT[:1]
    assert [session.score(1)] == [pytest.approx(score, abs=1e-3) for score in one.score_pairs(TEXT[:1], TEXT[:1])]


def test_a_session_tells_how_its_memory_was_used_as_a_stream_does():
    session, records = translator("gru in windows").session(), []
    session.push(SEGMENTS)
    list(translator("gru in windows").translate_lines((DocumentLine(1, text) for text in SEGMENTS), records.append))
    found = list(session.memory_use())
    assert [number for number, _ in found] == list(range(1, 8))
    for (_, mine), theirs in zip(found, records, strict=True):
        tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), mine["writes"], theirs["writes"])
        assert mine["source"] == theirs["source"] and mine["target_gate"] == pytest.approx(
            theirs["target_gate"], abs=1e-3
        )
    session.correct(1, RIGHT[0])
    assert next(session.memory_use())[1]["target"] != found[0][1]["target"]
    for kind in ("retrieval", "concat", "recurrence"):
        session = translator(kind).session()
        session.push(SEGMENTS[:2])
        assert list(session.memory_use()) == []


def memory_of(session):
    document = session._document
    store = {name: found[0]._asdict() for name, found in session.store._segments.items()}
    return document.memory or {}, store


def assert_same(one: Session, other: Session):
    assert one.translations == other.translations
    for mine, theirs in zip(memory_of(one), memory_of(other), strict=True):
        assert sorted(map(str, mine)) == sorted(map(str, theirs))
        tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), mine, theirs)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 2)),
        st.tuples(st.just("correct"), st.integers(1, 7)),
        st.tuples(st.just("undo"), st.just(0)),
    ),
    max_size=8,
)


# A window that ends with what has been pushed depends on how that was cut, so kinds with windows of one segment.
@pytest.mark.parametrize("kind", ["gru and retrieval", "own output", "concat", "recurrence"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS)
def test_whatever_was_done_the_session_is_that_of_its_text_and_corrections(kind, actions):
    session = translator(kind).session()
    for action, number in actions:
        have = len(session.sources)
        if action == "push":
            session.push(SEGMENTS[have : have + number])
        elif action == "correct" and number <= have:
            session.correct(number, RIGHT[number - 1])
        elif action == "undo" and session._changes:
            session.undo()
    fresh = translator(kind).session()
    for source, correction in zip(session.sources, session.corrections, strict=True):
        fresh.push([source])
        if correction is not None:
            fresh.correct(len(fresh.sources), correction)
    assert_same(session, fresh)


@pytest.mark.parametrize("kind", ["gru", "gru in layers", "recurrence", "compressive"])
def test_a_memory_state_holds_the_correction_and_nothing_of_the_models_own(kind):
    own = translator(kind)
    session = own.session()
    session.push(SEGMENTS[:1])
    session.correct(1, RIGHT[0])
    source, target = (WordTokenizer().encode([text])[0] for text in (SEGMENTS[0], RIGHT[0]))
    window = PackedWindow([source], [target], 0, reset=True)
    (expected,) = own.decoder.remember([window], [own.decoder.first_memory])
    tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), session._document.memory, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_session_goes_on_as_if_nothing_had_happened(kind, tmp_path):
    session = translator(kind).session()
    session.push(SEGMENTS[:3])
    session.correct(1, RIGHT[0])
    session.push(["", *SEGMENTS[3:5]])
    session.save(tmp_path / "session.json")
    loaded = translator(kind).session(tmp_path / "session.json")
    assert_same(loaded, session)
    assert loaded.push(SEGMENTS[5:]) == session.push(SEGMENTS[5:])
    assert loaded.correct(2, RIGHT[1]) == session.correct(2, RIGHT[1])
    for _ in range(5):
        assert loaded.undo() == session.undo()
    assert loaded.translations == session.translations == []


def interrupted(_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["retrieval", "gru"])
def test_what_was_saved_before_its_translation_is_translated_when_it_is_loaded(kind, tmp_path, monkeypatch):
    whole, session = translator(kind).session(), translator(kind).session()
    whole.push(SEGMENTS[:2])
    session.push(SEGMENTS[:1])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session._decoder, "decode", interrupted)
        session.push(SEGMENTS[1:2])
    session.save(tmp_path / "session.json")
    assert translator(kind).session(tmp_path / "session.json").translations == whole.translations


def test_a_file_that_is_no_session_is_refused(tmp_path):
    session = translator("gru").session()
    session.push(SEGMENTS[:2])
    path = tmp_path / "session.json"
    session.save(path)
    content = json.loads(path.read_text())
    content["lines"][0]["source"] = "w5"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"session\.json: the file was edited"):
        translator("gru").session(path)
    path.write_text('{"format": 9}')
    with pytest.raises(UserError, match="not a session of this version"):
        translator("gru").session(path)
    session.save(path)
    other = copy.copy(translator("gru"))
    other.tokenizer = type("Other", (WordTokenizer,), {"piece": lambda self, number: f"v{number}"})()
    with pytest.raises(UserError, match="another vocabulary"):
        other.session(path)


def test_what_is_not_there_cannot_be_corrected():
    session = translator("retrieval").session()
    session.push(SEGMENTS[:1])
    with pytest.raises(UserError, match="no segment 2; the document has 1"):
        session.correct(2, "w5")
    with pytest.raises(UserError, match="2 segments and 1 corrections"):
        session.push(SEGMENTS[:2], [None])


def test_known_translations_come_out_as_they_are_and_all_open_lines_read_them():
    known = [None, RIGHT[1], None, None, None, RIGHT[5], None]
    session = translator("retrieval").session()
    found = session.push(SEGMENTS, known)
    assert found[1] == RIGHT[1] and found[5] == RIGHT[5]
    lines = [DocumentLine(1, *pair) for pair in zip(SEGMENTS, known, strict=True)]
    whole = [each.text for each in translator("retrieval").translate_lines(iter(lines), whole=True)]
    assert whole == found
    # The first line reads the correction of a later one with the same source.
    again = [SEGMENTS[0], SEGMENTS[1], SEGMENTS[0]]
    assert translator("retrieval").session().push(again, [None, None, RIGHT[0]])[0] == RIGHT[0]


def test_documents_side_by_side_read_their_own_corrections_alone():
    documents = {0: (SEGMENTS[:4], RIGHT[:4]), 1: (SEGMENTS[3:], RIGHT[3:])}

    def lines(chosen):
        for number in chosen:
            yield from (DocumentLine(number, *pair, False) for pair in zip(*documents[number], strict=True))

    own = translator("gru and retrieval")
    together = [found.text for found in own.translate_lines(lines((0, 1)))]
    alone = [found.text for number in (0, 1) for found in own.translate_lines(lines((number,)))]
    assert together == alone


def test_a_correction_of_a_line_in_parts_is_shared_out():
    own = copy.copy(translator("gru and retrieval"))
    own.encoder = copy.copy(own.encoder)
    own.encoder.max_length, own.encoder._warned = 3, True
    session = own.session()
    session.push(["w5 w6 w7 w8 w9", "w5 w6"])
    session.correct(1, "w10 w11 w12 w13 w14")
    targets = [segment.target for segment in session._entries[0].segments]
    assert len(targets) > 1 and sum(targets, []) == [10, 11, 12, 13, 14] and all(targets)
    assert session.translations[0] == "w10 w11 w12 w13 w14"


def test_retrieval_off_stores_nothing():
    own = copy.copy(translator("retrieval"))
    own.decoder = copy.copy(own.decoder)
    own.decoder.retrieval = replace(own.decoder.retrieval, weight=0.0)
    session = own.session()
    before = session.push(SEGMENTS)
    assert session.correct(1, RIGHT[0]) == {} and len(session.store) == 0
    assert session.translations[1:] == before[1:]


def test_a_correction_is_read_up_to_the_length_of_a_segment_and_shown_whole():
    one = translator("retrieval")
    session, long = one.session(), " ".join(["w5"] * 5 * one.encoder.max_length)
    session.push(SEGMENTS[:2])
    session.correct(1, long)
    assert session.translations[0] == long
    parts = one.encoder.lines([SEGMENTS[0]])[0].parts
    for line, own in ((SEGMENTS[0], parts), (long, [*parts, *parts])):
        for pair in one.encoder.corrections(line, own, long):
            assert max(len(pair.source), len(pair.target)) <= one.encoder.max_length


def test_a_file_of_another_kind_is_no_session(tmp_path):
    one, path = translator("gru"), tmp_path / "story.json"
    write_saved(path, one.tokenizer, 1, "document", {"written": 3, "lines": [[5, 6]]})
    with pytest.raises(UserError, match=r"story\.json: not a session of this version"):
        one.session(path)


def test_a_line_that_is_cut_elsewhere_is_translated_again(tmp_path):
    session, path = translator("gru").session(), tmp_path / "session.json"
    session.push(SEGMENTS[:3])
    session.save(path)
    content = json.loads(path.read_text())
    content.pop("checksum")
    content["lines"][2]["parts"] *= 2
    path.write_text(json.dumps({**content, "checksum": checksum_of(content)}))
    again = translator("gru").session(path)
    assert again.translations == session.translations
