"""Documents: remembered within, apart from each other, and the same however they come and whatever is beside them."""

import copy
import functools
import gc
import itertools
import os
import threading
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.presets.schema import SearchPreset
from app.translation.decoder import Decoded
from app.translation.flow import Line, Segment, Window
from app.translation.keras_decoder import KerasDecoder
from app.translation.lines import DocumentLine, DocumentLines, LineReader
from app.translation.text import LineEncoder
from app.translation.translator import Translator
from data.errors import UserError
from data.forms import PLAIN
from data.packing import PackedWindow, pack
from data.tokenizer import BOS, EOS, PAD, UNK
from data.windows import WindowOptions, cut
from models.document import DocumentTransformer
from models.transformer import Transformer
from tests.app.word_tokenizer import WordTokenizer, words
from tests.slow import slow_but

VOCABULARY = 40
SEARCH = {"max_ratio": 1.0, "max_extra": 3, "length_penalty": 0.0, "refuse_loops": False}
GRU = {"kind": "gru", "slots": 3, "sides": "both", "read_bias": 1.0}
COMPRESSIVE = {"kind": "compressive", "cache": 9, "compressed": 5, "rate": 2}
IN_WINDOWS = WindowOptions("tokens", tokens=18)
KINDS = {
    "gru": (GRU, IN_WINDOWS),
    "concat": ({"kind": "concat"}, WindowOptions("segments", size=3, sliding=True)),
    "cache": ({"kind": "cache", "cache": 16, "sides": "both", "read_bias": 1.0}, IN_WINDOWS),
    "gru in layers": ({**GRU, "layers": ("all",), "read": "attention"}, IN_WINDOWS),
    "recurrence": ({"kind": "recurrence", "cache": 16}, IN_WINDOWS),
    "recurrence through gates": ({"kind": "recurrence", "cache": 16, "read": "gated_attention"}, IN_WINDOWS),
    "compressive": (COMPRESSIVE, IN_WINDOWS),
    "gru+recurrence": ({**GRU, "kind": "gru+recurrence", "cache": 16}, IN_WINDOWS),
    "prism": ({"kind": "prism", "places": 4, "couplings": 1, "sides": "both", "read_bias": 1.0}, IN_WINDOWS),
    "variable": ({"kind": "variable", "summaries": 2, "segments": 3, "sides": "both", "read_bias": 1.0}, IN_WINDOWS),
}
BEAMS = {"concat": 2, "gru in layers": 2, "compressive": 2, "prism": 2}
REFORMER = {"norm": "pre", "stack": "reversible", "attention": "lsh", "lsh_chunk": 4, "lsh_buckets": 4}
SHAPES = {"prism": {**REFORMER, "feed_forward_chunks": 2}}
# Of the weights: with these, every kind's translations depend on what it remembers.
SEEDS = {"recurrence": 9, "recurrence through gates": 9, "compressive": 9, "gru+recurrence": 8}
WITH_STATE = [kind for kind in KINDS if kind != "concat"]
# Kinds that `make test` runs; the others are slow.
QUICK = ("gru", "concat", "recurrence")
random = np.random.default_rng(4)
DOCUMENTS = [[words(random.integers(4, VOCABULARY, random.integers(1, 9))) for _ in range(n)] for n in (5, 1, 7, 2, 4)]
BLANKS = [["", DOCUMENTS[0][0], "  ", *DOCUMENTS[0][1:], ""], [], [""], DOCUMENTS[1]]


@functools.cache
def model(kind):
    keras.utils.set_random_seed(3)
    shape = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "hidden": 16, "heads": 2, **SHAPES.get(kind, {})}
    positions = "rotary" if kind in SEEDS else "sinusoidal"
    model = DocumentTransformer(VOCABULARY, memory=KINDS[kind][0], positions=positions, **shape)
    model.build()
    draw = np.random.default_rng(SEEDS.get(kind, 8))
    for variable in model.trainable_variables:
        variable.assign_add(0.5 * draw.standard_normal(variable.shape).astype("float32"))
    return model


@functools.cache  # each new one compiles its search
def compiled(kind) -> Translator:
    search = SearchPreset(beam=BEAMS.get(kind, 1), batch_tokens=400, **SEARCH)
    return Translator.of_model(model(kind), WordTokenizer(), search, KINDS[kind][1])


def translator(kind="gru", batch_tokens=400, max_length=256, warn=None) -> Translator:
    found, decoder = copy.copy(compiled(kind)), copy.copy(compiled(kind).decoder)
    decoder.search = replace(decoder.search, batch_tokens=batch_tokens)
    found.decoder, found.encoder = decoder, LineEncoder(WordTokenizer(), PLAIN, max_length, warn)
    return found


def translated(documents, kind="gru", **options):
    return list(translator(kind, **options).translate_documents(documents))


@pytest.mark.parametrize("kind", slow_but(KINDS, *QUICK))
def test_a_document_is_remembered_but_never_the_one_before(kind):
    together = translated(DOCUMENTS, kind)
    assert [len(document) for document in together] == [5, 1, 7, 2, 4]
    assert together[1:3] == [translated([document], kind)[0] for document in DOCUMENTS[1:3]]
    alone = [document[0] for document in translated([[segment] for segment in DOCUMENTS[2]], kind)]
    assert sum(one != other for one, other in zip(alone[1:], together[2][1:], strict=True)) > 2
    assert alone[0] == together[2][0] or KINDS[kind][1] == IN_WINDOWS


@pytest.mark.parametrize("kind", slow_but(KINDS, *QUICK))
def test_batches_and_neighbours_change_no_token(kind):
    expected = translated(DOCUMENTS, kind)
    backwards = translated(DOCUMENTS[::-1], kind)
    assert backwards[::-1] == expected
    assert translated(DOCUMENTS, kind, batch_tokens=16) == expected


@pytest.mark.parametrize("kind", slow_but([kind for kind in KINDS if BEAMS.get(kind, 1) == 1], *QUICK))
def test_greedy_search_is_what_the_whole_model_says_token_by_token(kind):
    """The same by another way: without caches, without batches, and with all logits made anew for each token."""
    transformer = model(kind)
    windows = [["w5 w6 w7 w8", "w7 w9 w20 w21 w22 w5 w6 w33 w34 w35"], ["w8 w9", "w15"]]
    outputs, memory = [], transformer.initial_memory(1)
    for number, segments in enumerate(windows):
        ids, done = WordTokenizer().encode(segments), []
        for source in ids:
            output = []
            while not output or output[-1] != EOS:
                window = PackedWindow(ids, [*done, output], 0, number == 0)
                states, after = transformer.document_states(pack([[window]], multiple=1)[0], memory)
                logits = np.array(transformer.output_embedding.logits(states)[0, -1])
                logits[[PAD, BOS, UNK, *([] if output else [EOS])]] = -np.inf
                limit = len(source) + SEARCH["max_extra"] + 1
                output.append(EOS if len(output) + 1 == limit else int(logits.argmax()))
            done.append(output[:-1])
        # The last of these looks was at the whole window.
        memory, outputs = after, [*outputs, *done]
    assert translated([list(itertools.chain(*windows))], kind) == [[words(output) for output in outputs]]


@pytest.mark.parametrize("kind", slow_but(KINDS, *QUICK))
def test_forced_scores_are_those_of_the_search(kind):
    lines = [DocumentLine(n, text) for n, document in enumerate(DOCUMENTS) for text in document]
    found = list(translator(kind).translate_lines(lines))
    texts = iter(found)
    pairs = [[(segment, next(texts).text) for segment in document] for document in DOCUMENTS]
    scores = translator(kind).score(pairs)
    flat = [score for document in scores for score in document]
    assert [score.tokens for score in flat] == [len(h.text.split()) + 1 for h in found]
    # Of windows with several segments the search saw the whole source, and a score only what stands before.
    windows = [cut([len(segment.split()) for segment in own], KINDS[kind][1]) for own in DOCUMENTS]
    starts = np.cumsum([0, *map(len, DOCUMENTS)])[:-1]
    last = [start + end - 1 for start, own in zip(starts, windows, strict=True) for end in own[:, 2]]
    assert len(last) == 19 if kind == "concat" else 5 < len(last) < 19
    expected = pytest.approx([found[place].score for place in last], abs=1e-3)
    assert [flat[place].log_probability for place in last] == expected
    last = translator(kind, batch_tokens=24).score(pairs, "last")
    assert [[s.tokens for s in own] for own in last] == [[own[-1].tokens] for own in scores]
    assert [own[0].log_probability for own in last] == pytest.approx([d[-1].log_probability for d in scores], abs=1e-3)


PAIRS = [tuple(words(random.integers(4, VOCABULARY, size)) for size in (5, 4)) for _ in range(6)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gru", WindowOptions("tokens", tokens=18)),
        ("gru", WindowOptions("dynamic", tokens=18)),
        ("gru", WindowOptions("segments", size=2)),
        ("concat", WindowOptions("segments", size=2)),
        ("concat", KINDS["concat"][1]),
        ("gru in layers", WindowOptions("segments", size=2)),
        ("recurrence", IN_WINDOWS),
        ("compressive", IN_WINDOWS),
        ("gru+recurrence", IN_WINDOWS),
    ],
)
def test_no_score_depends_on_what_comes_later(kind, options):
    scoring = translator(kind)
    scoring.windows = options
    (expected,) = scoring.score([PAIRS])
    assert [score.tokens for score in expected] == [5] * 6
    for changed in range(6):
        other = ("w20 w21 w22 w23 w24", "w25 w26 w27 w28")
        (found,) = scoring.score([[*PAIRS[:changed], other, *PAIRS[changed + 1 :]]])
        assert found[:changed] == expected[:changed] and found[changed] != expected[changed]
        # The later ones have it as their context, in their own window or in the memory.
        assert kind == "concat" or not set(found[changed:]) & set(expected[changed:])
        (shorter,) = scoring.score([PAIRS[: changed + 1]])
        assert [s.log_probability for s in shorter] == pytest.approx(
            [s.log_probability for s in expected[: changed + 1]], abs=1e-4
        )


@pytest.mark.parametrize("kind", slow_but(WITH_STATE, *QUICK))
@pytest.mark.parametrize("size", [1, 2])
def test_forced_scores_are_those_of_windows_that_end_with_their_segment(size, kind):
    """The same by another way: segment by segment, with whole windows alone remembered."""
    transformer, scoring = model(kind), translator(kind)
    scoring.windows = WindowOptions("segments", size=size)
    sources, targets = (WordTokenizer().encode(side) for side in zip(*PAIRS[:5], strict=True))
    memory, expected = transformer.initial_memory(1), []
    for start in range(0, 5, size):
        for end in range(start + 1, min(start + size, 5) + 1):
            window = PackedWindow(sources[start:end], targets[start:end], end - 1 - start, start == 0)
            inputs, labels = pack([[window]], multiple=1)
            states, after = transformer.document_states(inputs, memory)
            logits = keras.ops.convert_to_numpy(transformer.output_embedding.logits(states))[0]
            logits = logits - logits.max(axis=1, keepdims=True)
            shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            expected.append(sum(shares[place, labels[0, place]] for place in np.flatnonzero(labels[0])))
        memory = after
    (found,) = scoring.score([PAIRS[:5]])
    assert [score.log_probability for score in found] == pytest.approx(expected, rel=1e-5, abs=1e-4)
    (last,) = scoring.score([PAIRS[:5]], "last")
    assert [score.log_probability for score in last] == pytest.approx(expected[-1:], rel=1e-5, abs=1e-4)


def test_what_is_no_segment_has_no_score_and_is_no_context():
    pairs = [("w5 w6", "w7"), ("w8", "w9 w10")]
    first, second = translator().score([pairs])[0]
    found = translator().score([[("", ""), pairs[0], ("", " "), pairs[1], ("", "")], [], [("", "")]])
    assert found[1:] == [[], [(0.0, 0)]]
    assert [score.tokens for score in found[0]] == [0, 2, 0, 3, 0]
    assert found[0][1] == pytest.approx(first, abs=1e-4) and found[0][3] == pytest.approx(second, abs=1e-4)
    assert translator().score([[*pairs, ("", "")], []], "last") == [[(0.0, 0)], []]


def test_empty_segments_stay_empty_and_are_none_to_the_model():
    found = translated(BLANKS)
    assert [len(document) for document in found] == [8, 0, 1, 1]
    assert [place for place, text in enumerate(found[0]) if not text] == [0, 2, 7]
    assert [text for text in found[0] if text] == translated(DOCUMENTS[:1])[0]


def test_a_line_alone_is_a_document_of_its_own():
    sources, targets = WordTokenizer().encode(DOCUMENTS[0]), WordTokenizer().encode(DOCUMENTS[2][:5])
    pairs = zip(DOCUMENTS[0], DOCUMENTS[2][:5], strict=True)
    documents = translator().score([[pair] for pair in pairs])
    alone = KerasDecoder(model("gru"), SearchPreset()).score(sources, targets)
    for score, (other,) in zip(alone, documents, strict=True):
        assert score == pytest.approx(other, abs=1e-3)


TEXT = st.text(st.sampled_from("w4 w5 w17   \t\u2028xß"), max_size=60)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(TEXT, max_size=4), max_size=5))
def test_one_segment_in_is_one_segment_out(documents):
    found = list(translator("gru", max_length=9, warn=print).translate_documents(documents))
    assert [len(document) for document in found] == [len(document) for document in documents]
    for segment, text in zip(itertools.chain(*documents), itertools.chain(*found), strict=True):
        assert bool(text) == bool(segment.strip()) and "\n" not in text


def test_parts_of_a_long_segment_are_segments_of_its_document():
    warnings, line = [], " ".join(DOCUMENTS[2])
    short = translator(max_length=8, warn=warnings.append)
    found = list(short.translate_documents([[line, "w5"], ["w6", line]]))
    parts = [words(part.ids) for part in short.encoder.lines([line])[0].parts]
    assert " ".join(parts) == line and len(parts) > 2
    (apart,) = translated([[*parts, "w5"]])
    assert found[0] == [" ".join(apart[:-1]), apart[-1]]
    assert len(warnings) == 1 and "line 1 has" in warnings[0]


def test_a_finished_segment_comes_out_before_more_is_written():
    read, write = os.pipe()
    lines = DocumentLines([])
    lines._reader = LineReader(read, "pipe")
    lines._document = 1
    output = translator("concat").translate_lines(lines)
    first, second = translated([DOCUMENTS[2][:3], ["w5"]], "concat")
    for segment, expected in zip([*DOCUMENTS[2][:3], "", "w5"], [*first, "", *second], strict=True):
        os.write(write, f"{segment}\n".encode())
        assert next(output).text == expected
    os.close(write)
    assert list(output) == []


@pytest.mark.parametrize(("kind", "waits"), [("gru", 1), ("concat", 0), ("recurrence", 1)])
def test_only_a_window_is_waited_for(kind, waits):
    document, read = ["w5 w6 w7 w8 w9 w10"] * 30, []

    class Slow:
        """Never has anything ready."""

        def __iter__(self):
            for line in document:
                read.append(line)
                yield DocumentLine(1, line)

        def waiting(self):
            return True

    # Two segments of seven tokens fill a window of 18: a third would not fit, but that is known only from its break on.
    ahead = [len(read) - number for number, _ in enumerate(translator(kind).translate_lines(Slow()), start=1)]
    assert len(ahead) == 30 and max(ahead) <= 1 + waits


def test_nothing_of_the_past_is_kept_and_little_is_read_ahead():
    from app.translation.flow import Flow
    from app.translation.lines import MOST_LINES

    kept = []

    def lines():
        for _ in range(MOST_LINES + 900):
            yield DocumentLine(1, "w5 w6")

    class Fast:
        """Copies: the search does not matter here."""

        stored = match = staticmethod(lambda *_: None)
        terms, reads = staticmethod(lambda *_: ()), False
        windows, independent, span_ids = WindowOptions("tokens", tokens=12, sliding=True), False, range(0)
        encoder = translator().encoder
        decoder = type("Decoder", (), {"first_memory": {}, "remembers": False})()

    def search(requests):
        kept.append([len(request.sources) for request in requests])
        return [[Decoded(request.sources[-1], 0.0)] for request in requests]

    Fast.search = staticmethod(search)
    flow = Flow(Fast, lines(), None)
    most = 0
    for count, _ in enumerate(flow, start=1):
        most = max(most, flow._read - count)
    assert count == MOST_LINES + 900 and most <= MOST_LINES
    assert kept[:3] == [[1], [2], [3]] and kept[-1] == [4]
    assert len(flow._queue) == 0 and len(flow._documents) == 0


def test_a_long_document_takes_no_more_room_than_a_short_one(monkeypatch):
    monkeypatch.setattr("app.translation.flow.MOST_LINES", 16)
    draw = np.random.default_rng(5)
    lines = (DocumentLine(1, words(draw.integers(4, VOCABULARY, draw.integers(1, 9)))) for _ in range(150))
    found = translator().translate_lines(lines)
    started, kept, start = [], [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread.name), start(thread)))
    for count, _ in enumerate(found, start=1):
        if count == 30:  # by now all is compiled
            started.clear()
        if count in (40, 140):
            gc.collect()
            kept.append(sum(isinstance(thing, Line | Segment | Window) for thing in gc.get_objects()))
    # TensorFlow keeps something for each thread that ever called it.
    assert not started
    # The lines read ahead and the last window; 100 lines more would be 200 things more.
    assert max(kept) < 100


def test_an_error_of_the_input_comes_after_what_was_before_it():
    def lines():
        yield DocumentLine(1, "w5")
        yield DocumentLine(1, "w6 w7")
        raise UserError("line 3 is bad")

    output = translator("gru").translate_lines(lines())
    assert [next(output).text, next(output).text] == translated([["w5", "w6 w7"]], "gru")[0]
    with pytest.raises(UserError, match="line 3 is bad"):
        next(output)


def test_a_model_without_documents_takes_each_segment_alone():
    keras.utils.set_random_seed(3)
    plain = Transformer(VOCABULARY, 1, 1, width=16, hidden=16, heads=2)
    plain.build()
    alone = Translator.of_model(plain, WordTokenizer(), SearchPreset(beam=1, **SEARCH))
    found = list(alone.translate_documents(DOCUMENTS))
    assert list(itertools.chain(*found)) == [next(alone.translate_documents([[s]]))[0] for d in DOCUMENTS for s in d]
    pairs = [[(segment, segment) for segment in document] for document in DOCUMENTS]
    scores = alone.score(pairs)
    assert [own[-1:] for own in scores] == alone.score(pairs, "last")
    assert scores[0][1] == pytest.approx(alone.score([pairs[0][1:2]])[0][0], abs=1e-4)


@pytest.mark.parametrize("kind", ["gru", "gru+recurrence"])
def test_how_the_memory_was_used_is_told_segment_by_segment(kind):
    looks = []
    lines = [DocumentLine(n, text) for n, document in enumerate(DOCUMENTS) for text in document]
    found = [h.text for h in translator(kind).translate_lines(lines, looks.append)]
    assert found == list(itertools.chain(*translated(DOCUMENTS, kind)))
    assert [look["line"] for look in looks] == list(range(1, 20))
    assert [look["document"] for look in looks] == [n + 1 for n, document in enumerate(DOCUMENTS) for _ in document]
    for look, segment in zip(looks, itertools.chain(*DOCUMENTS), strict=True):
        source = [*segment.split(), "w3"]
        assert look["source"] == source and look["target"][0] == "w2"
        assert len(look["source_gates"]) == len(source) and len(look["target_gates"]) == len(look["target"])
        assert look["source_gate"] == pytest.approx(np.mean(look["source_gates"]), abs=1e-3)
        assert sum(look["source_slots"]) == pytest.approx(1, abs=1e-2) and len(look["writes"]) == 3
        assert np.shape(look["attended"]) == (3, len(source))
        assert all(0 <= share <= 1 for share in look["writes"])
    assert looks[0]["window"] == 1 and {look["window"] for look in looks} > {1, 2}


def test_files_columns_and_blank_lines_part_documents(tmp_path):
    (tmp_path / "a").write_text("one\n\n\ntwo\nthree", encoding="utf-8")
    (tmp_path / "b").write_text("x\tfour\n\nx\t\ny\tfive\tsix\nz\tseven\n", encoding="utf-8")
    (tmp_path / "c").write_text("bad\n", encoding="utf-8")
    files = [str(tmp_path / name) for name in "aab"]
    found = list(DocumentLines(files[:2]))
    numbers = [line.document for line in found]
    assert [line.text for line in found] == ["one", "", "", "two", "three"] * 2
    assert numbers[1:3] == numbers[6:8] == [None, None]
    assert numbers[3] == numbers[4] and len({numbers[0], numbers[3], numbers[5], numbers[8]}) == 4
    found = list(DocumentLines(files[:2], "file"))
    assert [line.document for line in found] == [1] * 5 + [2] * 5
    found = list(DocumentLines(files[2:], "column"))
    assert [line.text for line in found] == ["four", "", "", "five\tsix", "seven"]
    numbers = [line.document for line in found]
    assert numbers[0] == numbers[1] == numbers[2] and len(set(numbers)) == 3
    (tmp_path / "d").write_text("x\tfour\ny\tfive\nx\tsix\n", encoding="utf-8")
    with pytest.raises(UserError, match='d, line 3: the document "x" has already ended'):
        list(DocumentLines([tmp_path / "d"], "column"))
    assert len(list(DocumentLines([files[2], files[2]], "column"))) == 10
    with pytest.raises(UserError, match="c, line 1: has no tab"):
        list(DocumentLines([tmp_path / "c"], "column"))
    with pytest.raises(UserError, match="none: cannot be read"):
        DocumentLines([files[0], tmp_path / "none"])


def test_a_start_that_is_learnt_is_read_at_each_document(monkeypatch):
    """A validation keeps one translator while the weights change."""
    transformer, start = copy.copy(model("gru")), keras.Variable(1.0)
    first = transformer.initial_memory

    def learnt(batch):
        return keras.tree.map_structure(lambda leaf: leaf + start, first(batch))

    monkeypatch.setattr(transformer, "initial_memory", learnt)
    search = SearchPreset(beam=1, batch_tokens=400, **SEARCH)
    kept = Translator.of_model(transformer, WordTokenizer(), search, KINDS["gru"][1])
    before = list(kept.translate_documents(DOCUMENTS))
    start.assign(-2.0)
    fresh = Translator.of_model(transformer, WordTokenizer(), search, KINDS["gru"][1])
    after = list(kept.translate_documents(DOCUMENTS))
    assert after == list(fresh.translate_documents(DOCUMENTS)) != before
