import importlib.util
import itertools
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batching import Batches, assemble, ordered, plan_epoch
from data.feeding import as_dataset, in_background
from data.pairs import Pair
from data.shards import SampledShards, encode_pairs
from tests.data.fake_tokenizer import LetterTokenizer

REPOSITORY = Path(__file__).parents[2]
LETTERS = LetterTokenizer()
PAD, BOS, EOS = 0, 2, 3


class MemoryShards:
    """Shards of given lengths in which token `i` of the side of pair `n` is `1000 * n + i + 10`."""

    def __init__(self, lengths, first=0):
        self.source_lengths, self.target_lengths = np.array(lengths, np.int32).reshape(-1, 2).T
        for side in ("source", "target"):
            lengths = getattr(self, f"{side}_lengths")
            setattr(self, f"{side}_offsets", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
            rows = [1000 * (first + n) + 10 + np.arange(length) for n, length in enumerate(lengths)]
            setattr(self, f"{side}_tokens", np.concatenate(rows).astype(np.int32))

    def __len__(self):
        return len(self.source_lengths)


def rows(batch):
    """The pairs of a batch as tuples of ids, and a check that its three arrays agree."""
    inputs, labels = batch
    assert {array.dtype for array in (inputs["source"], inputs["target"], labels)} == {np.dtype(np.int32)}
    assert inputs["target"].shape == labels.shape
    found = []
    for source, target, label in zip(inputs["source"], inputs["target"], labels, strict=True):
        source, target, label = (row[: np.flatnonzero(row)[-1] + 1].tolist() for row in (source, target, label))
        assert source[-1] == EOS and target[0] == BOS and label[-1] == EOS and target[1:] == label[:-1]
        found.append((tuple(source[:-1]), tuple(label[:-1])))
    return found


def same(left, right):
    return all(
        np.array_equal(a, b)
        for (x, y), (u, v) in zip(left, right, strict=True)
        for a, b in ((x["source"], u["source"]), (x["target"], u["target"]), (y, v))
    )


def pairs_of(shards):
    return [
        (
            tuple(shards.source_tokens[shards.source_offsets[i] : shards.source_offsets[i + 1]].tolist()),
            tuple(shards.target_tokens[shards.target_offsets[i] : shards.target_offsets[i + 1]].tolist()),
        )
        for i in range(len(shards))
    ]


corpora = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=60).map(MemoryShards)
budgets = st.integers(1, 300)
multiples = st.sampled_from([1, 4, 8])


def test_a_batch_written_by_hand(tmp_path):
    shards = encode_pairs([Pair("abc", "z"), Pair("", "abcd")], LETTERS, tmp_path, "k")
    inputs, labels = assemble([shards], np.array([1, 0]), multiple=4)
    assert inputs["source"].tolist() == [[EOS, 0, 0, 0], [4, 5, 6, EOS]]
    assert inputs["target"].tolist() == [[BOS, 4, 5, 6, 7, 0, 0, 0], [BOS, 29, 0, 0, 0, 0, 0, 0]]
    assert labels.tolist() == [[4, 5, 6, 7, EOS, 0, 0, 0], [29, EOS, 0, 0, 0, 0, 0, 0]]


def test_pairs_of_one_length_fill_the_budget(tmp_path):
    batches = Batches(MemoryShards([(7, 7)] * 10), batch_tokens=32, seed=0)
    assert sorted(labels.shape for _, labels in batches.epoch(0)) == [(2, 8), (4, 8), (4, 8)]


def test_long_and_short_pairs_do_not_mix():
    shards = MemoryShards([(3, 3)] * 8 + [(30, 30)] * 8)
    shapes = Counter((inputs["source"].shape, labels.shape) for inputs, labels in Batches(shards, 64, seed=5).epoch(0))
    assert shapes == {((8, 8), (8, 8)): 1, ((2, 32), (2, 32)): 4}


def test_a_pair_longer_than_the_budget_is_a_batch_of_its_own():
    shards = MemoryShards([(3, 3), (50, 2), (2, 60), (3, 3)])
    shapes = Counter((i["source"].shape, labels.shape) for i, labels in Batches(shards, 16, seed=0).epoch(0))
    assert shapes == {((2, 8), (2, 8)): 1, ((1, 56), (1, 8)): 1, ((1, 8), (1, 64)): 1}


@settings(max_examples=60, deadline=None)
@given(corpora, budgets, st.integers(0, 2**40), multiples)
def test_every_pair_once_an_epoch_within_the_budget(shards, budget, seed, multiple):
    seen = []
    for inputs, labels in Batches(shards, budget, seed, multiple=multiple).epoch(0):
        for array in (inputs["source"], labels):
            assert array.shape[1] % multiple == 0
            assert array.size <= budget or len(labels) == 1
            assert array.shape[1] - multiple < max((array != PAD).sum(axis=1)), "more padding than the multiple needs"
        seen += rows((inputs, labels))
    assert sorted(seen) == sorted(pairs_of(shards))


@settings(max_examples=60, deadline=None)
@given(corpora, budgets, st.integers(0, 99), st.integers(0, 40), st.sampled_from([[1.0], [0.5], [2.5]]))
def test_a_stream_resumed_anywhere_is_the_uninterrupted_one(shards, budget, seed, update, weights):
    def make():
        return Batches([shards], budget, seed, weights)

    whole = list(itertools.islice(make().stream(), update + 5))
    assert same(whole[update:], list(itertools.islice(make().stream(update), 5)))
    epoch, start = make().position(update)
    assert sum(make().batches_per_epoch(e) for e in range(epoch)) + start == update
    assert make().batches_per_epoch(epoch) == len(list(make().epoch(epoch)))


def test_order_depends_on_seed_and_epoch_alone():
    shards = MemoryShards([(n % 13, n % 7) for n in range(200)])
    reference = list(Batches(shards, 64, seed=1).epoch(3))
    again = Batches(shards, 64, seed=1)
    list(again.epoch(0))
    assert same(reference, list(again.epoch(3)))
    assert [rows(b) for b in again.epoch(4)] != [rows(b) for b in reference]
    assert [rows(b) for b in Batches(shards, 64, seed=2).epoch(3)] != [rows(b) for b in reference]


def test_lengths_come_in_mixed_order_and_partners_change():
    shards = MemoryShards([(n % 40, n % 40) for n in range(400)])
    batches = Batches(shards, 128, seed=1)
    widths = [labels.shape[1] for _, labels in batches.epoch(0)]
    assert widths != sorted(widths) and widths != sorted(widths, reverse=True)
    groups = [{frozenset(rows(batch)) for batch in batches.epoch(epoch)} for epoch in (0, 1)]
    assert len(groups[0] & groups[1]) < len(groups[0]) / 2


def test_all_epochs_have_the_same_few_shapes():
    random = np.random.default_rng(0)
    source = random.gamma(3, 5, 5000).astype(int)
    shards = MemoryShards(np.stack([source, source + random.integers(0, 6, 5000)], axis=1))
    batches = Batches(shards, 512, seed=0)
    shapes = [Counter((i["source"].shape, labels.shape) for i, labels in batches.epoch(epoch)) for epoch in (0, 1)]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) < sum(shapes[0].values()) / 5


def test_little_is_padding():
    random = np.random.default_rng(0)
    source = random.gamma(3, 9, 20_000).astype(int) + 1
    target = np.maximum(source * random.normal(1.05, 0.2, 20_000), 1).astype(int)
    real = padded = batches = 0
    for inputs, labels in Batches(MemoryShards(np.stack([source, target], axis=1)), 4096, seed=0).epoch(0):
        real += (inputs["source"] > 0).sum() + (labels > 0).sum()
        padded += inputs["source"].size + labels.size
        batches += 1
    assert 1 - real / padded < 0.14  # of which rounding up to 8 alone is 0.11
    assert padded / 2 / batches > 0.85 * 4096


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([0.25, 0.5, 1, 1.5, 2, 3]), st.integers(0, 9))
def test_weights_draw_each_corpus_in_its_share(first, second, weight, seed):
    shards = [MemoryShards([(3, 4)] * first), MemoryShards([(5, 2)] * second, first=first)]
    batches = Batches(shards, 64, seed, weights=[1, weight])
    counts = Counter(itertools.chain.from_iterable(rows(batch) for batch in batches.epoch(0)))
    assert [counts[pair] for pair in pairs_of(shards[0])] == [1] * first
    drawn = [counts[pair] for pair in pairs_of(shards[1])]
    assert sum(drawn) == max(1, int(weight) * second + round(weight % 1 * second))
    assert set(drawn) <= {int(weight), int(weight) + 1}


def test_the_drawn_half_changes_with_the_epoch():
    batches = Batches([MemoryShards([(3, 3)] * 100)], 64, seed=0, weights=[0.5])
    halves = [set(itertools.chain.from_iterable(rows(batch) for batch in batches.epoch(e))) for e in range(20)]
    assert all(len(half) == 50 for half in halves)
    assert len(set.union(*halves)) == 100
    assert 10 < len(halves[0] & halves[1]) < 40


@pytest.mark.parametrize("weights", [[0.0], [-1.0], [float("nan")]])
def test_a_weight_must_be_positive(weights):
    with pytest.raises(ValueError, match="weight"):
        Batches([MemoryShards([(3, 3)])], 64, seed=0, weights=weights)


def test_there_must_be_a_weight_for_each_corpus():
    with pytest.raises(ValueError):
        Batches([MemoryShards([(3, 3)])] * 2, 64, seed=0, weights=[1.0]).batches_per_epoch(0)


def test_shards_encoded_anew_for_each_epoch_resume_exactly(tmp_path):
    pairs = [Pair("abcdefg"[: n % 8], "gfedcba"[: n % 7 + 1]) for n in range(60)]

    def make(counts=None):
        shards, encoded = SampledShards(lambda: pairs, LETTERS, tmp_path, "k", sampling=0.5), []

        def anew(epoch):
            encoded.append(epoch)
            return [shards(epoch)]

        return Batches(anew, batch_tokens=20, seed=0, multiple=1, counts=counts), encoded

    uninterrupted, _ = make()
    whole = list(itertools.islice(uninterrupted.stream(), 90))
    assert len({uninterrupted.batches_per_epoch(epoch) for epoch in range(4)}) > 1
    for update in (0, 1, 33, 80):
        assert same(whole[update : update + 10], list(itertools.islice(make()[0].stream(update), 10)))
    resumed, encoded = make(uninterrupted.counts)
    assert same(whole[80:], list(itertools.islice(resumed.stream(80), 10)))
    assert min(encoded) == uninterrupted.position(80)[0] > 0


@settings(max_examples=40, deadline=None)
@given(corpora, budgets, multiples)
def test_ordered_gives_every_pair_once_with_its_index(shards, budget, multiple):
    expected, seen = pairs_of(shards), []
    for indices, batch in ordered(shards, budget, multiple):
        assert rows(batch) == [expected[i] for i in indices]
        assert batch[1].size <= budget or len(indices) == 1
        seen += indices.tolist()
    assert sorted(seen) == list(range(len(shards)))


def test_ordered_goes_over_several_shards_from_short_to_long():
    shards = [MemoryShards([(30, 30), (1, 1)]), MemoryShards([(9, 9), (1, 2)], first=2)]
    found = [(indices.tolist(), labels.shape) for indices, (_, labels) in ordered(shards, 32)]
    assert found == [([1, 3], (2, 8)), ([2], (1, 16)), ([0], (1, 32))]


def test_an_epoch_of_many_pairs_is_planned_in_little_memory(tmp_path):
    script = textwrap.dedent("""
        import resource
        import numpy as np
        from data.batching import plan_epoch
        class Lengths:
            def __init__(self, n):
                random = np.random.default_rng(0)
                self.source_lengths = random.integers(1, 200, n, dtype=np.int32)
                self.target_lengths = random.integers(1, 200, n, dtype=np.int32)
            def __len__(self):
                return len(self.source_lengths)
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plan_epoch([Lengths(10)], 100, 0, 0, [1.0], 8)
        before = peak()
        plan = plan_epoch([Lengths(1_000_000)], 4096, 0, 0, [1.0], 8)
        assert plan.starts[-1] == 1_000_000
        print((peak() - before) * 1024 // 1_000_000)
    """)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200, "bytes a pair; 4.5 million pairs must fit in 2 GB"


def test_a_plan_holds_four_bytes_a_pair():
    plan = plan_epoch([MemoryShards([(3, 3)] * 1000)], 800, 0, 0, [1.0], 8)
    assert plan.order.nbytes == 4000 and len(plan) == 10


def test_keras_fit_takes_the_dataset(tmp_path):
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the dataset is a tf.data pipeline on TensorFlow only")
    batches = Batches(MemoryShards([(n % 9, n % 30) for n in range(50)]), 64, seed=0)
    dataset = as_dataset(batches, update=4)
    assert dataset.element_spec[1].shape.as_list() == [None, None]
    expected = list(itertools.islice(batches.stream(4), 20))
    assert same(list(dataset.take(20).as_numpy_iterator()), expected)
    history = tiny_model(keras).fit(dataset, steps_per_epoch=5, epochs=2, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()


def test_other_backends_get_a_generator(monkeypatch):
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    batches = Batches(MemoryShards([(n % 9, n % 30) for n in range(50)]), 64, seed=0)
    generator = as_dataset(batches, update=4)
    assert same(list(itertools.islice(generator, 30)), list(itertools.islice(batches.stream(4), 30)))
    generator.close()


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_fit_takes_the_generator(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    script = textwrap.dedent("""
        import keras
        import numpy as np
        from tests.data import test_batching as t
        batches = t.Batches(t.MemoryShards([(n % 9, n % 30) for n in range(50)]), 64, seed=0)
        dataset = t.as_dataset(batches, 4)
        history = t.tiny_model(keras).fit(dataset, steps_per_epoch=5, epochs=2, verbose=0, shuffle=False)
        assert np.isfinite(history.history["loss"]).all()
    """)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def tiny_model(keras):
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    embed = keras.layers.Embedding(60_000, 4)
    context = keras.layers.GlobalAveragePooling1D(keepdims=True)(embed(source))
    logits = keras.layers.Dense(10)(embed(target) + context)
    model = keras.Model({"source": source, "target": target}, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=lambda y, logits: loss(y % 10, logits))
    return model


def test_the_background_keeps_order_and_passes_errors_on():
    def items():
        yield from range(50)
        raise RuntimeError("shard gone")

    drawn = in_background(items(), ahead=3)
    assert list(itertools.islice(drawn, 50)) == list(range(50))
    with pytest.raises(RuntimeError, match="shard gone"):
        next(drawn)
    assert list(in_background(range(7), ahead=3)) == list(range(7))


def test_the_background_waits_for_the_next_item_as_long_as_it_may_however_slowly_items_are_used():
    ended, go_on = threading.Event(), threading.Event()

    def items():
        try:
            yield from range(3)
            go_on.wait(60)
            yield 3
        finally:
            ended.set()

    drawn = in_background(items(), ahead=1, patience=0.2)
    for number in range(3):
        assert next(drawn) == number
        time.sleep(0.4)
    with pytest.raises(TimeoutError, match="nothing came for 0.2 seconds"):
        next(drawn)
    go_on.set()
    assert ended.wait(60), "the thread closes the generator that it draws from"


def test_the_background_draws_no_more_than_it_may_and_stops_when_closed():
    drawn, before = [], threading.active_count()
    items = in_background((drawn.append(n) or n for n in itertools.count()), ahead=3)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(drawn) <= 5
    items.close()
    assert threading.active_count() == before
    assert len(drawn) <= 5
