"""Batches: what is decoded together comes out as if it were alone, in turn, and never for a price that others pay."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.export.ctranslate2 import ctranslate2_engine
from app.presets.schema import SearchPreset
from app.serving.batches import BatchedDecoder, Batches, Kind, OverdueError, StoppedError
from app.serving.service import Service, Wishes
from app.translation.decoder import Request
from app.translation.keras_decoder import outputs_of
from app.translation.translator import Translator
from data.packing import PackedWindow
from tests.app.copy_model import TEXT, CopyModel, small_tokenizer
from tests.app.decoding import decode
from tests.app.export.test_export_ctranslate2 import new_run
from tests.app.translation.test_session import RIGHT, SEGMENTS, translator

DECODE = Kind("decode_segments")


class DoublingDecoder:
    """Doubles numbers, notes its batches, and fails for 13; waits before each batch until it may go on."""

    first_memory = None

    def __init__(self, budget=8 * 4):
        self.search = SimpleNamespace(batch_tokens=budget)
        self.entered, self.batches, self.go = [], [], threading.Event()
        self.go.set()

    def decode_segments(self, rows, count):
        self.entered.append(rows)
        self.go.wait(10)
        self.batches.append(list(rows))
        if 13 in rows:
            raise ValueError("13")
        return [2 * row for row in rows]


@pytest.fixture
def batches():
    made = []

    def make(*args, **kwargs):
        made.append(Batches(DoublingDecoder(*args), **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.decoder.go.set()
        one.stop()


def run(one, rows, **kwargs):
    return one.run(DECODE, rows, [8] * len(rows), **kwargs)


def test_rows_that_come_together_share_a_batch(batches):
    one = batches(8 * 100, wait=0.3)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: run(one, [n]), range(20, 28))) == [[2 * n] for n in range(20, 28)]
    assert [sorted(batch) for batch in one.decoder.batches] == [list(range(20, 28))]


def test_a_batch_holds_no_more_than_the_budget(batches):
    one = batches(wait=0.0)
    assert run(one, range(100, 110)) == list(range(200, 220, 2))
    assert sorted(map(len, one.decoder.batches)) == [2, 4, 4]
    assert one.run(DECODE, [1], [10_000]) == [2]  # longer than any batch


def test_a_short_request_does_not_wait_for_a_long_one(batches):
    one = batches(wait=0.0)
    one.decoder.go.clear()
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(run, one, range(100, 300))
        while len(one.decoder.entered) < 2:  # both workers hold a batch of it
            time.sleep(0.001)
        short = pool.submit(run, one, [7])
        while one.waiting < 193:
            time.sleep(0.001)
        one.decoder.go.set()
        assert short.result() == [14] and long.result() == list(range(200, 600, 2))
    assert any(7 in batch for batch in one.decoder.batches[:4])


def test_a_request_of_middle_length_does_not_wait_for_the_short_ones_that_come_after_it(batches):
    one, enough = batches(4096, wait=0.0), threading.Event()
    compute = one.decoder.decode_segments
    one.decoder.decode_segments = lambda rows, count: time.sleep(0.01 + 0.003 * rows[0]) or compute(rows, count)

    def short(number):
        while not enough.is_set():
            run(one, [number])

    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(short, number)
        try:
            time.sleep(0.05)  # both workers are busy
            assert one.run(DECODE, [100], [750], until=time.monotonic() + 3) == [200]
        finally:
            enough.set()


@pytest.fixture
def held(batches):
    """Batches whose two workers are kept busy, so that what comes now is planned together; `go` lets them go on."""
    one = batches(512, wait=0.0)
    one.decoder.go.clear()
    with ThreadPoolExecutor(8) as pool:
        for number in (1, 2):
            pool.submit(run, one, [number])
            while len(one.decoder.entered) < number:
                time.sleep(0.001)

        def submit(rows, length):
            before = one.waiting
            future = pool.submit(one.run, DECODE, rows, [length] * len(rows))
            while one.waiting < before + len(rows):
                time.sleep(0.001)
            return future

        yield one, submit
        one.decoder.go.set()


def test_the_batches_of_several_requests_are_of_like_length(held):
    one, submit = held
    small, large = range(100, 140), range(200, 220)
    futures = [submit(small, 16), submit(large, 64)]
    one.decoder.go.set()
    assert [future.result() for future in futures] == [[2 * row for row in rows] for rows in (small, large)]
    found = [Counter(row // 100 for row in batch) for batch in one.decoder.batches if batch[0] >= 100]
    assert sorted((batch[2], batch[1]) for batch in found) == [(0, 4), (0, 32), (4, 4), (8, 0), (8, 0)]


@pytest.mark.parametrize(("length", "together"), [(16, [16, 36]), (32, [10, 16, 32])])
def test_a_short_request_joins_a_planned_batch_if_there_is_room(held, length, together):
    one, submit = held
    rows = range(200, 204) if length == 16 else range(200, 210)
    futures = [submit(range(100, 148), 16), submit(rows, length)]
    one.decoder.go.set()
    assert [len(future.result()) for future in futures] == [48, len(rows)]
    assert sorted(len(batch) for batch in one.decoder.batches if len(batch) > 1) == together
    assert any(row in batch for row in rows for batch in one.decoder.batches[:4])


def test_the_lines_of_a_request_are_decoded_together():
    tokenizer, seen = small_tokenizer(), []
    sentences = Translator.of_model(CopyModel(tokenizer.vocabulary_size), tokenizer, SearchPreset(beam=1))
    for one, texts in ((sentences, TEXT), (translator("gru and retrieval"), SEGMENTS)):
        seen.clear()
        service = Service(one, observe=lambda *what: seen.append(what[:2]))
        service.translate([texts[n % 4] for n in range(25)], Wishes(sentences=False))
        service.stop()
        assert seen[0] == ("decode_segments", 25)


def test_a_failure_hits_only_the_request_that_causes_it(batches):
    one = batches(8 * 100, wait=0.3)
    with ThreadPoolExecutor(3) as pool:
        good, bad, more = (pool.submit(run, one, rows) for rows in ([1, 2], [12, 13], [3]))
        assert good.result() == [2, 4] and more.result() == [6]
        with pytest.raises(ValueError, match="13"):
            bad.result()
    assert len(one.decoder.batches[0]) == 5
    assert run(one, [5]) == [10]


def test_a_request_whose_time_is_over_leaves_the_queue(batches):
    one = batches(wait=0.0)
    one.decoder.go.clear()
    with ThreadPoolExecutor(2) as pool:
        held = []
        for number in (1, 2):  # one for each worker
            held.append(pool.submit(run, one, [number]))
            while len(one.decoder.entered) < number:
                time.sleep(0.001)
        with pytest.raises(OverdueError):
            run(one, range(50, 60), until=time.monotonic() + 0.05)
        assert one.waiting == 0
        one.decoder.go.set()
        assert [future.result() for future in held] == [[2], [4]]
    assert one.decoder.batches == [[1], [2]] or one.decoder.batches == [[2], [1]]


def test_stop_finishes_what_it_has_and_takes_nothing_new(batches):
    one = batches(wait=0.0)
    one.decoder.go.clear()
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(run, one, range(100, 140))
        while not one.waiting:
            time.sleep(0.001)
        stopped = pool.submit(one.stop)
        time.sleep(0.05)
        with pytest.raises(StoppedError):
            run(one, [1])
        assert not stopped.done()
        one.decoder.go.set()
        assert waiting.result() == list(range(200, 280, 2))
        stopped.result()


class SlowList(list):
    """A list that lets other threads run while it is measured."""

    def __len__(self):
        time.sleep(0.001)
        return super().__len__()


def test_counters_count_what_many_threads_decode(monkeypatch):
    def slowly(found, size):
        return [[one._replace(ids=SlowList(one.ids)) for one in group] for group in outputs_of(found, size)]

    monkeypatch.setattr("app.translation.keras_decoder.outputs_of", slowly)
    tokenizer = small_tokenizer()
    decoder = Translator.of_model(CopyModel(tokenizer.vocabulary_size), tokenizer, SearchPreset(beam=1)).decoder
    sources = tokenizer.source.encode(TEXT)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: decode(decoder, [sources[n % 4]])[0][0].ids, range(64)))
    assert found == sources * 16
    assert decoder.output_tokens == 16 * sum(len(ids) + 1 for ids in sources)


@pytest.mark.parametrize("kind", ["gru and retrieval", "concat"])
def test_documents_of_many_threads_come_out_as_alone(kind):
    alone = translator(kind)
    service = Service(alone)
    random = np.random.default_rng(1)
    documents = [[SEGMENTS[n] for n in random.integers(0, 7, size)] for size in random.integers(1, 8, 24)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda own: next(service.translator().translate_documents([own])), documents))
    service.stop()
    assert found == list(alone.translate_documents(documents))


def test_texts_of_many_threads_come_out_as_alone():
    tokenizer = small_tokenizer()
    one = Translator.of_model(CopyModel(tokenizer.vocabulary_size, 0.6), tokenizer, SearchPreset(beam=3))
    service = Service(one)
    wishes = Wishes(sentences=False, alternatives=2)
    alone = {text: [found.text for found in next(one.nbest([text], 3))] for text in TEXT}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: service.translate([TEXT[n % 4]] * (1 + n % 3), wishes), range(48)))
    service.stop()
    for number, group in enumerate(found):
        best, *others = alone[TEXT[number % 4]]
        assert [(one.text, one.alternatives) for one in group] == [(best, others)] * (1 + number % 3)


def test_a_segment_without_alternatives_keeps_those_of_the_others(monkeypatch):
    whole = Translator.nbest

    def nbest(self, segments, most):
        """Like a line without letters, which is not translated."""
        found = whole(self, segments, most)
        return (
            [group[0]._replace(text=text)] if text == "---" else group
            for text, group in zip(segments, found, strict=True)
        )

    monkeypatch.setattr(Translator, "nbest", nbest)
    tokenizer = small_tokenizer()
    one = Translator.of_model(CopyModel(tokenizer.vocabulary_size, 0.6), tokenizer, SearchPreset(beam=3))
    service = Service(one)
    wishes = Wishes(sentences=False, alternatives=2)
    (plain,) = service.translate([TEXT[0]], wishes)
    (lined,) = service.translate([f"{TEXT[0]}\n---"], wishes)
    service.stop()
    assert len(plain.alternatives) == 2
    assert lined.text == f"{plain.text}\n---"
    assert lined.alternatives == [f"{text}\n---" for text in plain.alternatives]


def test_a_request_that_begins_late_has_no_time_of_its_own():
    tokenizer = small_tokenizer()
    service = Service(Translator.of_model(CopyModel(tokenizer.vocabulary_size), tokenizer, SearchPreset(beam=1)))
    late = time.monotonic() - 1
    for translate in (service.translate, lambda *args: list(service.stream(*args))):
        with pytest.raises(OverdueError):
            translate(TEXT, Wishes(), late)
    service.stop()


def test_the_other_engine_serves_many_threads_too(tmp_path):
    run = new_run(tmp_path / "run")
    alone = Translator.of_run(run, search=SearchPreset(beam=2), engine=ctranslate2_engine("float32"))
    texts = [text.split(" ", 1)[n % 2] for n, text in enumerate(TEXT * 4)]
    expected, before = alone.translate_all(texts), alone.output_tokens
    service = Service(alone)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: service.translate([text], Wishes(sentences=False))[0].text, texts))
    own = service.translator().session()
    assert own.push(texts[:2]) == expected[:2] and own.correct(1, "a") == {} and not service.takes_glossaries
    service.stop()
    assert found == expected and any(expected)
    assert alone.output_tokens > before


ACTIONS = st.lists(st.tuples(st.sampled_from(("push", "correct", "undo")), st.integers(1, 7)), min_size=2, max_size=6)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans=st.lists(ACTIONS, min_size=3, max_size=4))
def test_documents_corrected_side_by_side_are_sessions_of_their_own(plans):
    service = Service(translator("gru and retrieval"))

    def play(own, plan):
        seen = [own.push(SEGMENTS[:2])]
        for action, number in plan:
            if action == "push":
                seen.append(own.push([SEGMENTS[number - 1]]))
            elif action == "correct":
                seen.append(own.correct(1 + number % len(own.sources), RIGHT[number - 1]))
            elif len(own.sources) > 2:
                seen.append(own.undo())
        return seen, own.translations

    with ThreadPoolExecutor(len(plans)) as pool:
        found = list(pool.map(lambda plan: play(service.translator().session(), plan), plans))
    service.stop()
    assert found == [play(translator("gru and retrieval").session(), plan) for plan in plans]


def test_context_is_read_into_the_memory_and_not_translated():
    alone = translator("gru and retrieval")
    service = Service(alone)
    context, text = "\n".join(SEGMENTS[3:]), "\n".join(SEGMENTS[:3])
    without, after = (service.translate([text], Wishes(context=own))[0].text for own in ("", context))
    session = service.translator(context=context).session()
    pushed = session.push(SEGMENTS[:3])
    service.stop()
    # Window by window: first those without translations, then each segment with its own.
    memory, lines, reset = alone.decoder.first_memory, [], True
    for segment in SEGMENTS[3:]:
        window = PackedWindow(alone.tokenizer.source.encode([segment]), [], 0, reset)
        (memory,), reset = alone.decoder.remember([window], [memory]), False
    for segment in SEGMENTS[:3]:
        sources = alone.tokenizer.source.encode([segment])
        ((best, *_),) = alone.decoder.decode_segments([Request(sources, [], 0, memory)])
        (memory,) = alone.decoder.remember([PackedWindow(sources, [best.ids], 0, False)], [memory])
        lines += alone.tokenizer.target.decode([best.ids])
    assert after.split("\n") == pushed == lines != without.split("\n")


def test_a_request_cannot_change_what_all_share(batches):
    service = Service(translator("concat"))
    with pytest.raises(TypeError):
        BatchedDecoder(service.batches).read_by(None)
    service.stop()
