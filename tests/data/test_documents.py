import dataclasses
import importlib.util
import itertools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.documents import DocumentBatches
from data.feeding import as_dataset
from data.packing import INPUTS, PackedWindow, pack
from data.pairs import Pair
from data.shards import SampledShards, encode_pairs
from data.windows import BACKWARD, DROPOUTS, WINDOWS, WindowOptions, cut
from tests.data.fake_tokenizer import LetterTokenizer

REPOSITORY = Path(__file__).parents[2]
LETTERS = LetterTokenizer()
UNK, BOS, EOS = 1, 2, 3


class Corpus:
    """Shards whose segment `n` has `100 * n + 10 ...` as source tokens and one more than these as target tokens."""

    def __init__(self, segments, first=0):
        """`segments` are (document or -1, source tokens, target tokens); no segment has more than 80 tokens."""
        self.first = first
        self.documents, self.source_lengths, self.target_lengths = np.array(segments, np.int32).reshape(-1, 3).T
        for side, shift in (("source", 10), ("target", 11)):
            lengths = getattr(self, f"{side}_lengths")
            setattr(self, f"{side}_offsets", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
            rows = [100 * (first + n) + shift + np.arange(length) for n, length in enumerate(lengths)]
            setattr(self, f"{side}_tokens", np.concatenate(rows).astype(np.int32))

    def __len__(self):
        return len(self.documents)

    def texts(self):
        """Its documents: each a list of segments, each a pair of lists of ids."""
        documents = []
        for n, document in enumerate(self.documents.tolist()):
            if document < 0 or not n or document != self.documents[n - 1]:
                documents.append([])
            start = 100 * (self.first + n)
            source = list(range(start + 10, start + 10 + self.source_lengths[n]))
            documents[-1].append((source, list(range(start + 11, start + 11 + self.target_lengths[n]))))
        return documents


def split(tokens, after=None, before=None):
    """Ids joined with breaks, as lists of ids."""
    if before is not None:
        assert not tokens or tokens[0] == before
        return [row[::-1] for row in split(tokens[::-1], after=before)][::-1]
    assert not tokens or tokens[-1] == after
    parts, own = [], []
    for token in tokens:
        parts, own = ([*parts, own], []) if token == after else (parts, [*own, token])
    return parts


def unpack(batch):
    """The windows of each row as (sources, targets, scored, reset), and a check that all matrices agree."""
    inputs, labels = batch
    assert set(inputs) == set(INPUTS)
    assert {array.dtype for array in (*inputs.values(), labels)} == {np.dtype(np.int32)}
    assert inputs["source"].shape[0] == inputs["target"].shape[0] == inputs["resets"].shape[0]
    assert labels.shape == inputs["target"].shape
    for side in ("source", "target"):
        for kind in ("windows", "positions", "remembered"):
            matrix = inputs[f"{side}_{kind}"]
            assert matrix.shape == inputs[side].shape
            assert not matrix[inputs[side] == 0].any()
    rows = []
    for row in range(len(labels)):
        windows = {side: inputs[f"{side}_windows"][row] for side in ("source", "target")}
        count = max(int(own.max()) for own in windows.values())
        assert not inputs["resets"][row, count:].any()
        rows.append([])
        for number in range(1, count + 1):
            found = {}
            for side, own in windows.items():
                places = np.flatnonzero(own == number)
                assert (np.diff(places) == 1).all(), "a window's tokens stand together"
                assert inputs[f"{side}_positions"][row, places].tolist() == list(range(len(places)))
                found[side] = inputs[side][row, places].tolist()
            targets, expected = split(found["target"], before=BOS), labels[row, windows["target"] == number].tolist()
            scored = next((n for n, label in enumerate(expected) if label), len(expected))
            context = len(split(found["target"][:scored], before=BOS))
            joined = [token for segment in targets[context:] for token in [*segment, EOS]]
            assert expected == [0] * scored + joined
            rows[-1].append((split(found["source"], EOS), targets, context, inputs["resets"][row, number - 1]))
    return rows


def expected_windows(documents, options):
    """For each document its windows as `unpack` gives them, by the plain definition."""
    for document in documents:
        windows = []
        found = cut([len(source) for source, _ in document], options).tolist()
        for number, (first, current, end) in enumerate(found):
            shown = first if options.context_target else current
            sources, targets = [source for source, _ in document[first:end]], [target for _, target in document[shown:]]
            windows.append((sources, targets[: end - shown], current - shown, int(number == 0)))
        yield windows


def same(left, right):
    return all(
        np.array_equal(y, v) and x.keys() == u.keys() and all(np.array_equal(x[key], u[key]) for key in x)
        for (x, y), (u, v) in zip(left, right, strict=True)
    )


segments = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=30)
corpora = segments.map(Corpus)
READING = st.sampled_from([{"sliding": True}, {}, {"order": BACKWARD}])
options = st.builds(
    lambda reading, **limits: WindowOptions(**reading, **limits),
    READING,
    windows=st.sampled_from(WINDOWS),
    size=st.integers(1, 4),
    tokens=st.integers(1, 60),
    context_target=st.booleans(),
)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 300), st.integers(1, 5))  # lanes, tokens, back-propagation


def test_packed_matrices_written_by_hand():
    first = PackedWindow([[7, 8], [9]], [[4], [5, 6]], scored=1, reset=True)
    second = PackedWindow([[]], [[11]], scored=0, reset=False, remembered=False)
    inputs, labels = pack([[first, second], [], [second]], multiple=4, windows=3)
    expected = {
        "source": [[7, 8, 3, 9, 3, 3, 0, 0], [0] * 8, [3, 0, 0, 0, 0, 0, 0, 0]],
        "source_windows": [[1, 1, 1, 1, 1, 2, 0, 0], [0] * 8, [1, 0, 0, 0, 0, 0, 0, 0]],
        "source_positions": [[0, 1, 2, 3, 4, 0, 0, 0], [0] * 8, [0] * 8],
        "source_remembered": [[1, 1, 1, 1, 1, 0, 0, 0], [0] * 8, [0] * 8],
        "target": [[2, 4, 2, 5, 6, 2, 11, 0], [0] * 8, [2, 11, 0, 0, 0, 0, 0, 0]],
        "target_following": [[4, 3, 5, 6, 0, 11, 0, 0], [0] * 8, [11, 0, 0, 0, 0, 0, 0, 0]],
        "target_windows": [[1, 1, 1, 1, 1, 2, 2, 0], [0] * 8, [1, 1, 0, 0, 0, 0, 0, 0]],
        "target_positions": [[0, 1, 2, 3, 4, 0, 1, 0], [0] * 8, [0, 1, 0, 0, 0, 0, 0, 0]],
        "target_remembered": [[1, 1, 1, 1, 1, 0, 0, 0], [0] * 8, [0] * 8],
        "resets": [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
    }
    assert {name: matrix.tolist() for name, matrix in inputs.items()} == expected
    assert labels.tolist() == [[0, 0, 5, 6, 3, 11, 3, 0], [0] * 8, [11, 3, 0, 0, 0, 0, 0, 0]]


def test_a_window_without_targets_and_a_batch_without_windows():
    inputs, labels = pack([[PackedWindow([[5]], [], 0, True)]], multiple=2)
    assert inputs["source"].tolist() == [[5, EOS]] and inputs["resets"].tolist() == [[1]]
    assert labels.tolist() == inputs["target"].tolist() == inputs["target_windows"].tolist() == [[0, 0]]
    inputs, labels = pack([[], []], multiple=2)
    assert inputs["source"].tolist() == labels.tolist() == [[0, 0], [0, 0]] and inputs["resets"].shape == (2, 1)


def test_more_windows_than_asked_for_are_refused():
    window = PackedWindow([[5]], [[5]], 0, True)
    with pytest.raises(ValueError, match="2 windows"):
        pack([[window, window]], windows=1)


def test_batches_written_by_hand(tmp_path):
    pairs = [Pair("a", "bb", "x"), Pair("c", "d", "x"), Pair("e", "f", "x")]
    shards = encode_pairs(pairs, LETTERS, tmp_path, "k")
    batches = DocumentBatches(shards, 1, 6, 8, WindowOptions("segments", size=2), seed=0)
    (first, labels), (second, rest) = batches.epoch(0)
    assert first["source"].tolist() == [[4, 3, 6, 3]] and first["resets"].tolist() == [[1]]
    assert first["target"].tolist() == [[2, 5, 5, 2, 7, 0]] and labels.tolist() == [[5, 5, 3, 7, 3, 0]]
    assert second["source"].tolist() == [[8, 3]] and second["resets"].tolist() == [[0]]
    assert second["target"].tolist() == [[2, 9]] and rest.tolist() == [[9, 3]]
    backward = WindowOptions("segments", size=2, order="backward")
    (first, labels), (second, rest) = DocumentBatches(shards, 1, 6, 8, backward, seed=0).epoch(0)
    assert first["source"].tolist() == [[8, 3]] and first["resets"].tolist() == [[1]] and labels.tolist() == [[9, 3]]
    assert second["source"].tolist() == [[4, 3, 6, 3]] and second["resets"].tolist() == [[0]]
    assert rest.tolist() == [[5, 5, 3, 7, 3, 0]]
    batches = DocumentBatches(shards, 1, 10, 8, WindowOptions("segments", size=2, sliding=True), seed=0)
    (first, labels), (second, rest) = batches.epoch(0)
    assert first["source"].tolist() == [[4, 3, 4, 3, 6, 3]] and first["resets"].tolist() == [[1, 0]]
    assert first["target"].tolist() == [[2, 5, 5, 2, 5, 5, 2, 7]] and labels.tolist() == [[5, 5, 3, 0, 0, 0, 7, 3]]
    assert second["source"].tolist() == [[6, 3, 8, 3]] and rest.tolist() == [[0, 0, 9, 3]]


@given(corpora, options, sizes, st.integers(0, 2**40))
def test_every_document_once_in_one_lane_and_in_order(corpus, options, sizes, seed):
    lanes, batch_tokens, back_propagation = sizes
    batches = list(DocumentBatches(corpus, lanes, batch_tokens, back_propagation, options, seed).epoch(0))
    rows = [unpack(batch) for batch in batches]
    assert {len(batch) for batch in rows} == {lanes}
    documents = []
    for lane in range(lanes):
        read = [row[lane] for row in rows]
        empty = [not row for row in read]
        assert empty == sorted(empty), "a lane that has run out stays empty"
        for window in itertools.chain.from_iterable(read):
            if window[3]:
                documents.append([])
            documents[-1].append(window)
    # Empty segments look alike, so that the documents are compared as multisets.
    assert sorted(documents) == sorted(expected_windows(corpus.texts(), options))


@given(corpora, options, sizes, st.sampled_from([1, 2, 8]))
def test_rows_keep_to_their_limits_and_are_as_full_as_they_allow(corpus, options, sizes, multiple):
    lanes, batch_tokens, back_propagation = sizes
    room = batch_tokens // lanes // multiple * multiple
    made = DocumentBatches(corpus, lanes, batch_tokens, back_propagation, options, seed=3, multiple=multiple)
    batches = list(made.epoch(0))
    rows = [unpack(batch) for batch in batches]
    for (inputs, _), unpacked in zip(batches, rows, strict=True):
        assert inputs["resets"].shape[1] == max(map(len, unpacked)) <= back_propagation
        for side in ("source", "target"):
            width = inputs[side].shape[1]
            assert width % multiple == 0
            assert width - multiple < (inputs[f"{side}_windows"] > 0).sum(axis=1).max(), "more padding than needed"
        for row, windows in enumerate(unpacked):
            filled = max((inputs[f"{side}_windows"][row] > 0).sum() for side in ("source", "target"))
            assert filled <= room or len(windows) == 1
    for before, after in itertools.pairwise(zip(batches, rows, strict=True)):
        for lane in range(lanes):
            if after[1][lane] and len(before[1][lane]) < back_propagation:
                first = [(after[0][0][f"{side}_windows"][lane] == 1).sum() for side in ("source", "target")]
                filled = [(before[0][0][f"{side}_windows"][lane] > 0).sum() for side in ("source", "target")]
                assert max(np.add(first, filled)) > room, "the next window would have fitted"


@given(corpora, sizes, st.integers(0, 99), st.integers(0, 30), st.sampled_from([[1.0], [0.5], [2.5]]), READING)
def test_a_stream_resumed_anywhere_is_the_uninterrupted_one(corpus, sizes, seed, update, weights, reading):
    rates = dict.fromkeys(DROPOUTS, 0.3)
    thinned = WindowOptions("tokens", tokens=20, **reading, **rates)

    def make(counts=None):
        return DocumentBatches([corpus], *sizes, thinned, seed, weights, counts=counts)

    uninterrupted = make()
    whole = list(itertools.islice(uninterrupted.stream(), update + 5))
    assert same(whole[update:], list(itertools.islice(make().stream(update), 5)))
    assert same(whole[update:], list(itertools.islice(make(uninterrupted.counts).stream(update), 5)))
    epoch, start = make().position(update)
    assert sum(make().batches_per_epoch(e) for e in range(epoch)) + start == update
    assert make().batches_per_epoch(epoch) == len(list(make().epoch(epoch)))


def test_documents_meet_in_other_lanes_in_every_epoch_and_with_every_seed():
    corpus = Corpus([(n // 3, n % 5, n % 7) for n in range(120)])

    def windows(seed, epoch):
        return [unpack(batch) for batch in DocumentBatches(corpus, 4, 100, 3, WindowOptions(), seed).epoch(epoch)]

    assert windows(1, 2) == windows(1, 2)
    assert windows(1, 2) != windows(1, 3) != windows(2, 3)


def test_lanes_end_together_whatever_the_documents():
    random = np.random.default_rng(0)
    lengths = np.minimum(random.pareto(1.1, 150) * 4 + 1, 200).astype(int)
    documents = np.repeat(np.arange(len(lengths)), lengths)
    corpus = Corpus([(d, *random.integers(1, 30, 2)) for d in documents])
    for options in (WindowOptions(), WindowOptions("dynamic", tokens=100)):
        batches = list(DocumentBatches(corpus, 4, 800, 4, options, seed=0).epoch(0))
        empty = sum((inputs["source"].sum(axis=1) == 0).sum() for inputs, _ in batches)
        assert empty <= 0.05 * 4 * len(batches)


def test_documents_end_with_their_corpus_and_pairs_without_one_stand_alone():
    first, second = Corpus([(0, 2, 2), (0, 1, 1), (-1, 1, 1), (-1, 2, 2)]), Corpus([(0, 3, 3), (1, 1, 1)], first=4)
    batches = DocumentBatches([first, second], 2, 100, 9, WindowOptions("segments", size=5), seed=0)
    windows = [window for batch in batches.epoch(0) for row in unpack(batch) for window in row]
    assert sorted(len(sources) for sources, *_ in windows) == [1, 1, 1, 1, 2]
    assert all(reset for *_, reset in windows)


@given(st.sampled_from([0.25, 0.5, 1, 1.5, 2]), st.integers(0, 9))
def test_weights_draw_whole_documents_in_their_share(weight, seed):
    corpora = [Corpus([(n // 2, 2, 2) for n in range(8)]), Corpus([(n // 3, 1, 1) for n in range(30)], first=8)]
    batches = DocumentBatches(corpora, 3, 60, 4, WindowOptions("segments", size=9), seed, weights=[1, weight])
    found = [sources for batch in batches.epoch(0) for row in unpack(batch) for sources, *_ in row]
    whole = [[source for source, _ in document] for document in corpora[0].texts()]
    assert sorted(sources for sources in found if len(sources) == 2) == whole
    drawn = [sources for sources in found if len(sources) == 3]
    documents = [[source for source, _ in document] for document in corpora[1].texts()]
    assert len(drawn) == round(10 * weight)
    assert {drawn.count(document) for document in documents} <= {int(weight), int(weight) + 1}


def test_left_out_context_of_concatenation():
    corpus = Corpus([(0, 20, 20)] * 60)
    make = WindowOptions("segments", size=4, sliding=True, context_segment_dropout=0.25, context_word_dropout=0.1)
    batches = list(DocumentBatches(corpus, 2, 400, 2, make, seed=0).epoch(0))
    assert same(batches, DocumentBatches(corpus, 2, 400, 2, make, seed=0).epoch(0))
    (document,) = corpus.texts()
    segments, words, unknown = 0, 0, 0
    windows = [window for batch in batches for window in unpack(batch)[0] + unpack(batch)[1]]
    for number, (sources, targets, scored, _) in enumerate(windows):
        assert len(sources) == len(targets) == scored + 1 <= 4
        assert (sources[-1], targets[-1]) == document[number], "what is scored stays whole"
        for source, target in zip(sources[:-1], targets[:-1], strict=True):
            places = [next(token for token in side if token != UNK) // 100 for side in (source, target)]
            assert places[0] == places[1], "both sides of a segment go or stay together"
            expected = document[places[0]]
            for side, own in zip((source, target), expected, strict=True):
                assert all(token in (UNK, word) for token, word in zip(side, own, strict=True))
                words, unknown = words + len(side), unknown + side.count(UNK)
            segments += 1
    assert 0.65 < segments / (3 * 60 - 6) < 0.85
    assert 0.07 < unknown / words < 0.13


def test_the_context_of_the_target_can_be_left_away():
    options = WindowOptions("segments", size=3, sliding=True, context_target=False, context_segment_dropout=0.5)
    batches = DocumentBatches(Corpus([(0, 3, 2)] * 9), 1, 100, 3, options, seed=0)
    windows = [window for batch in batches.epoch(0) for window in unpack(batch)[0]]
    assert {len(targets) for _, targets, *_ in windows} == {1} and {scored for *_, scored, _ in windows} == {0}
    assert {len(sources) for sources, *_ in windows} == {1, 2, 3}


def test_left_out_writes_to_a_memory():
    corpus = Corpus([(0, 20, 20)] * 200)
    plain = list(DocumentBatches(corpus, 2, 400, 4, WindowOptions(), seed=0).epoch(0))
    assert all((inputs["source_remembered"] == (inputs["source"] > 0)).all() for inputs, _ in plain)
    options = WindowOptions(context_segment_dropout=0.25)
    windows = list(DocumentBatches(corpus, 2, 400, 4, options, seed=0).epoch(0))
    shares = [
        [inputs[f"{side}_remembered"][inputs[f"{side}_windows"] == n].tolist() for side in ("source", "target")]
        for inputs, _ in windows
        for n in range(1, inputs["resets"].shape[1] + 1)
    ]
    assert {tuple(sorted(set(source))) for source, _ in shares} <= {(0,), (1,), (0, 1)}
    assert all(source == target for source, target in shares), "a window is forgotten on both sides"
    flat = np.concatenate([source for source, _ in shares])
    assert 0.65 < flat.mean() < 0.85
    words = list(DocumentBatches(corpus, 2, 400, 4, WindowOptions(context_word_dropout=0.2), seed=0).epoch(0))
    for side in ("source", "target"):
        kept = np.concatenate([inputs[f"{side}_remembered"][inputs[side] > 0] for inputs, _ in words])
        assert 0.77 < kept.mean() < 0.83
    for (before, labels), (after, same_labels) in zip(plain, words, strict=True):
        assert np.array_equal(labels, same_labels)
        assert all(np.array_equal(before[name], after[name]) for name in INPUTS if "remembered" not in name)


def test_context_left_out_differs_between_batches_and_epochs():
    corpus = Corpus([(0, 40, 40)] * 8)
    batches = DocumentBatches(corpus, 1, 90, 1, WindowOptions(context_word_dropout=0.5), seed=0)
    masks = [inputs["source_remembered"].tobytes() for epoch in (0, 1) for inputs, _ in batches.epoch(epoch)]
    assert len(set(masks)) == 16


@given(corpora, options, sizes, st.integers(0, 99), st.integers(0, 2500))
def test_only_words_of_the_current_source_are_hidden(corpus, options, sizes, seed, first):
    copied = range(first, first + 500)
    hiding = dataclasses.replace(options, source_dropout=0.6)
    plain, hidden = (
        list(DocumentBatches(corpus, *sizes, made, seed, copied=copied).epoch(0)) for made in (options, hiding)
    )
    for (whole, labels), (inputs, same_labels) in zip(plain, hidden, strict=True):
        assert np.array_equal(labels, same_labels)
        assert all(np.array_equal(whole[name], inputs[name]) for name in INPUTS if name != "source")
        for before, after in zip(unpack((whole, labels)), unpack((inputs, labels)), strict=True):
            for (expected, *_), (sources, *_) in zip(before, after, strict=True):
                context = len(expected) - 1 if options.sliding else 0
                assert sources[:context] == expected[:context]
                for word, seen in zip(itertools.chain(*expected), itertools.chain(*sources), strict=True):
                    assert seen in (word, UNK)
                    assert seen == word or word not in copied


def test_words_are_hidden_at_the_rate_asked_for_and_anew_in_each_epoch():
    corpus = Corpus([(n // 5, 40, 3) for n in range(100)])
    batches = DocumentBatches(corpus, 2, 900, 4, WindowOptions(source_dropout=0.3), seed=0)
    epochs = [list(batches.epoch(epoch)) for epoch in (0, 1)]
    assert same(epochs[0], list(DocumentBatches(corpus, 2, 900, 4, batches.options, seed=0).epoch(0)))
    found = []
    for epoch in epochs:
        segments = [sources[0] for batch in epoch for row in unpack(batch) for sources, *_ in row]
        hidden = {next(word for word in own if word != UNK) // 100: np.array(own) == UNK for own in segments}
        found.append(np.stack([hidden[n] for n in range(100)]))
    assert all(0.27 < hidden.mean() < 0.33 for hidden in found)
    # Independent draws agree in 0.3 ** 2 + 0.7 ** 2 = 0.58 of all places.
    assert 0.54 < (found[0] == found[1]).mean() < 0.62
    assert 0.54 < (found[0][::2] == found[0][1::2]).mean() < 0.62


def test_shards_encoded_anew_for_each_epoch(tmp_path):
    pairs = [Pair("abcdefg"[: n % 8], "gfedcba"[: n % 7 + 1], str(n // 5)) for n in range(60)]

    def make():
        shards = SampledShards(lambda: pairs, LETTERS, tmp_path, "k", sampling=0.5)
        return DocumentBatches(shards, 3, 60, 4, WindowOptions("tokens", tokens=20), seed=0)

    whole = list(itertools.islice(make().stream(), 60))
    assert same(whole[50:], list(itertools.islice(make().stream(50), 10)))


@pytest.mark.parametrize("wrong", [{"lanes": 0}, {"back_propagation": 0}, {"weights": [0.0]}])
def test_values_out_of_range_are_named(wrong):
    arguments = {"lanes": 2, "back_propagation": 2} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong)).rstrip("s")):
        DocumentBatches([Corpus([(0, 1, 1)])], batch_tokens=9, options=WindowOptions(), seed=0, **arguments)


def test_an_epoch_of_many_segments_is_planned_in_little_memory():
    script = textwrap.dedent("""
        import resource
        import numpy as np
        from data.documents import DocumentBatches
        from data.windows import WindowOptions
        class Lengths:
            def __init__(self, n):
                random = np.random.default_rng(0)
                self.source_lengths = random.integers(1, 60, n, dtype=np.int32)
                self.target_lengths = random.integers(1, 60, n, dtype=np.int32)
                self.documents = (np.arange(n) // 13).astype(np.int32)
                self.documents[: n // 4] = -1
            def __len__(self):
                return len(self.source_lengths)
        def plan(n):
            return DocumentBatches([Lengths(n)], 16, 4096, 8, WindowOptions(), seed=0).batches_per_epoch(0)
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plan(1000)
        before = peak()
        plan(500_000)
        print((peak() - before) * 1024 // 500_000)
    """)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200, "bytes a segment; 4.5 million pairs must fit in 2 GB"


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="tensorflow is not installed")
def test_the_dataset_has_all_matrices():
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the dataset is a tf.data pipeline on TensorFlow only")
    batches = DocumentBatches(Corpus([(n // 7, n % 9, n % 30) for n in range(50)]), 3, 99, 4, WindowOptions(), seed=0)
    dataset = as_dataset(batches, update=2)
    assert set(dataset.element_spec[0]) == set(INPUTS)
    assert same(list(dataset.take(20).as_numpy_iterator()), list(itertools.islice(batches.stream(2), 20)))
