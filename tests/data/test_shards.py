import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from data import encoding, parallel
from data.errors import UserError
from data.pairs import Pair
from data.shards import DamagedShards, SampledShards, Shards, encode_pairs
from data.tokenizer import Tokenizer
from tests.data.fake_tokenizer import LetterTokenizer

REPOSITORY = Path(__file__).parents[2]
LETTERS = LetterTokenizer()
PAIRS = [Pair("abc", "z"), Pair("", "ab"), Pair("c", "ddd")]


def content(shards):
    """All bytes of the data files, by name."""
    return {name: (shards.folder / name).read_bytes() for name in shards.metadata["files"]}


def random_pairs(count, seed=0):
    random = np.random.default_rng(seed)
    texts = ["".join(random.choice(list("abcdefgh"), random.integers(0, 12))) for _ in range(2 * count)]
    return [Pair(a, b, f"d{i // 7}") for i, (a, b) in enumerate(zip(texts[:count], texts[count:], strict=True))]


def never():
    raise AssertionError("these pairs are encoded already")
    yield


def test_ids_lengths_and_types(tmp_path):
    shards = encode_pairs(PAIRS, LETTERS, tmp_path, "k")
    assert len(shards) == 3
    assert [shards.source(i).tolist() for i in range(3)] == [[4, 5, 6], [], [6]]
    assert [shards.target(i).tolist() for i in range(3)] == [[29], [4, 5], [7, 7, 7]]
    assert shards.source_lengths.tolist() == [3, 0, 1]
    assert shards.target_lengths.tolist() == [1, 2, 3]
    assert shards.source_tokens.dtype == np.uint16
    assert [shards.doc(i) for i in range(3)] == [-1, -1, -1]


def test_a_large_vocabulary_keeps_its_ids(tmp_path):
    shards = encode_pairs(PAIRS, LetterTokenizer(vocabulary_size=70_100, offset=70_000), tmp_path, "k")
    assert shards.source(0).tolist() == [70_004, 70_005, 70_006]


def test_a_document_ends_where_another_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 4)
    pairs = [Pair("a", "a", doc) for doc in ("x", "x", "", "y", "y", "x", "", "x")]
    shards = encode_pairs(pairs, LETTERS, tmp_path, "k")
    assert [shards.doc(i) for i in range(8)] == [0, 0, -1, 1, 1, 2, -1, 3]


def test_too_long_pairs_are_left_out_and_counted(tmp_path):
    pairs = [Pair("aaaa", "b"), Pair("b", "aaaa", "doc"), Pair("aaa", "aaa", "doc"), *PAIRS]
    shards = encode_pairs(pairs, LETTERS, tmp_path, "k", max_length=3)
    assert (len(shards), shards.too_long) == (4, 2)
    assert shards.source(0).tolist() == [4, 4, 4]
    assert [shards.doc(i) for i in range(4)] == [0, -1, -1, -1]


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    with pytest.raises(UserError, match="all 3 have more than max_length = 0 tokens"):
        encode_pairs(PAIRS, LETTERS, tmp_path, "k", max_length=0)
    with pytest.raises(UserError, match="no sentence pair to encode"):
        encode_pairs([], LETTERS, tmp_path, "k")
    assert list(tmp_path.iterdir()) == []


def test_finished_shards_are_reused(tmp_path):
    first = encode_pairs(PAIRS, LETTERS, tmp_path, "k")
    again = encode_pairs(never(), LETTERS, tmp_path, "k")
    assert again.folder == first.folder
    assert content(again) == content(first)


def test_whatever_changes_the_ids_makes_other_shards(tmp_path):
    variants = [
        {},
        {"key": "other"},
        {"tokenizer": LetterTokenizer(fingerprint="x")},
        {"max_length": 2},
        {"sampling": 0.5},
        {"sampling": 0.5, "seed": 1},
    ]
    usual = {"tokenizer": LETTERS, "folder": tmp_path, "key": "k"}
    folders = {encode_pairs(PAIRS, **(usual | variant)).folder for variant in variants}
    assert len(folders) == len(variants)


@pytest.mark.parametrize("name", ["source.tokens", "target.offsets", "documents", "metadata.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_shards_are_made_again(tmp_path, name, damage):
    before = encode_pairs(PAIRS, LETTERS, tmp_path, "k")
    whole, path = content(before), before.folder / name
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with pytest.raises(DamagedShards):
        Shards(before.folder)
    assert content(encode_pairs(PAIRS, LETTERS, tmp_path, "k")) == whole
    assert [path.name for path in tmp_path.iterdir()] == [before.folder.name]


def test_an_error_in_the_corpus_leaves_nothing(tmp_path):
    def broken():
        yield from PAIRS
        raise UserError("line 4 is not UTF-8")

    with pytest.raises(UserError, match="line 4"):
        encode_pairs(broken(), LETTERS, tmp_path, "k")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        encode_pairs(PAIRS, LETTERS, tmp_path, "k")
    assert list(tmp_path.iterdir()) == []


def test_the_slower_of_two_processes_takes_the_shards_of_the_faster(tmp_path):
    def overtaken():
        yield from PAIRS
        encode_pairs(PAIRS, LETTERS, tmp_path, "k")

    shards = encode_pairs(overtaken(), LETTERS, tmp_path, "k")
    assert [shards.source(i).tolist() for i in range(3)] == [[4, 5, 6], [], [6]]
    assert list(tmp_path.iterdir()) == [shards.folder]


def test_progress_counts_all_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 10)
    counts = []
    encode_pairs(random_pairs(25), LETTERS, tmp_path, "k", max_length=5, progress=counts.append)
    assert counts == [10, 20, 25]


@pytest.mark.parametrize("sampling", [0.0, 0.3])
def test_the_number_of_workers_does_not_change_a_byte(tmp_path, monkeypatch, sampling):
    monkeypatch.setattr(encoding, "CHUNK", 40)
    pairs = random_pairs(333)
    tokenizer = Tokenizer.train([p.source for p in pairs] + [p.target for p in pairs], 290, kind="bpe", seed=0)
    alone, together = (
        encode_pairs(pairs, tokenizer, tmp_path / str(workers), "k", sampling, workers=workers, max_length=9)
        for workers in (1, 2)
    )
    assert content(alone) == content(together)
    assert alone.metadata == together.metadata
    kept = [i for i in range(len(alone)) if tokenizer.source.decode([alone.source(i).tolist()])[0]]
    assert kept and all(alone.source_lengths <= 9)


def test_large_corpora_are_encoded_by_other_processes_and_small_ones_here(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "SMALL", 100)
    monkeypatch.setattr(encoding, "CHUNK", 30)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    pools = []
    real = parallel.ProcessPoolExecutor
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", lambda *a, **k: pools.append(a[0]) or real(*a, **k))
    encode_pairs(random_pairs(99), LETTERS, tmp_path, "small")
    assert pools == []
    shards = encode_pairs(random_pairs(200), LETTERS, tmp_path, "large")
    assert pools == [2]
    texts = ["".join(chr(93 + i) for i in shards.source(i)) for i in range(200)]
    assert texts == [pair.source for pair in random_pairs(200)]


def test_text_is_not_drawn_far_ahead_of_the_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 10)
    monkeypatch.setattr(parallel, "SMALL", 10)
    drawn, ahead = 0, []

    def counted():
        nonlocal drawn
        for pair in random_pairs(400):
            drawn += 1
            yield pair

    encode_pairs(counted(), LETTERS, tmp_path, "k", workers=1, progress=lambda done: ahead.append(drawn - done))
    assert max(ahead) <= 20
    ahead.clear()
    drawn = 0
    encode_pairs(counted(), LETTERS, tmp_path, "k2", workers=2, progress=lambda done: ahead.append(drawn - done))
    assert max(ahead) <= 50


def heed_ctrl_c():
    """A test run in the background ignores SIGINT, and its child processes would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def encode_slowly(tmp_path):
    """A process that encodes 10,000 pairs into `cache` in about ten seconds; it prints its progress."""
    script = textwrap.dedent("""
        import sys
        from data import encoding
        from data.shards import encode_pairs
        from tests.data.fake_tokenizer import LetterTokenizer
        from tests.data.test_shards import random_pairs
        if __name__ == "__main__":
            encoding.CHUNK = 10
            pairs, slow = random_pairs(10_000), LetterTokenizer(pause=0.001)
            try:
                encode_pairs(pairs, slow, sys.argv[1], "k", workers=2, progress=lambda done: print(done, flush=True))
            except KeyboardInterrupt:
                print("interrupted")
    """)
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "cache")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=heed_ctrl_c, **pipes)
    assert int(process.stdout.readline()) == 10
    return process


def test_killed_in_the_middle_nothing_is_taken_as_whole(tmp_path):
    process = encode_slowly(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()  # its workers hold the other ends of the pipes: this waits for ever unless they end too

    cache = tmp_path / "cache"
    left = list(cache.iterdir())
    assert [path.suffix for path in left] == [".partial"]
    pairs = random_pairs(10_000)
    shards = encode_pairs(pairs, LETTERS, cache, "k", workers=1)
    assert content(shards) == content(encode_pairs(pairs, LETTERS, tmp_path / "fresh", "k", workers=1))

    # Another process might still be writing, so the remains go only when they are old.
    assert left[0].exists()
    old = time.time() - 2 * 24 * 3600
    for path in [*left[0].iterdir(), left[0]]:
        os.utime(path, (old, old))
    encode_pairs(PAIRS, LETTERS, cache, "other")
    assert not left[0].exists()


def test_ctrl_c_ends_workers_without_a_word(tmp_path):
    process = encode_slowly(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, errors = process.communicate()
    # The interrupt may come between a number and the end of its line.
    assert output.endswith("interrupted\n")
    assert errors == ""
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_killed_worker_is_an_error_and_not_a_hang(tmp_path):
    with pytest.raises(UserError, match="was killed, probably for lack of memory"):
        encode_pairs(PAIRS, _Deadly(), tmp_path, "k", workers=2)
    assert list(tmp_path.iterdir()) == []


class _Deadly(LetterTokenizer):
    def encode(self, texts):
        os._exit(9)


def test_an_error_in_a_worker_arrives_here(tmp_path):
    with pytest.raises(UserError, match="line 3"):
        encode_pairs(PAIRS, _Refusing(), tmp_path, "k", workers=2)


class _Refusing(LetterTokenizer):
    def encode(self, texts):
        raise UserError("line 3 is not text")


def test_sampled_shards_differ_by_epoch_and_leave_the_disk(tmp_path):
    pairs = random_pairs(200)
    sampled = SampledShards(lambda: pairs, LETTERS, tmp_path, "k", sampling=0.5, seed=3)
    first, second = content(sampled(0)), content(sampled(1))
    assert first != second
    assert len(list(tmp_path.iterdir())) == 1
    assert content(sampled(0)) == first
    other = SampledShards(lambda: pairs, LETTERS, tmp_path / "other", "k", sampling=0.5, seed=4)
    assert content(other(0)) != first


def test_metadata_is_readable(tmp_path):
    shards = encode_pairs(PAIRS, LETTERS, tmp_path, "news")
    metadata = json.loads((shards.folder / "metadata.json").read_text())
    assert metadata["key"] == "news" and metadata["pairs"] == 3
    assert metadata["files"]["source.tokens"]["bytes"] == 8
