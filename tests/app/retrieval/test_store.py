import contextlib
import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.retrieval import sealed, store
from app.retrieval.entries import NOTHING, Entries
from app.retrieval.store import Store, build_store
from app.runs.lock import locked
from data.errors import UserError
from tests.app.retrieval.toy_memory import WIDTH, toy_entries, toy_pairs
from tests.app.toy_training import environment

PAIRS = toy_pairs(300)
FILES = ("keys", "tokens", "trust", "offsets", "text", "text.offsets", "words.scores.npy", "words.vocabulary.json")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(store, "PART", 40)


@pytest.fixture
def memory(tmp_path):
    return build_store(tmp_path / "memory", PAIRS, toy_entries, {"pairs": 300})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def counting(counts: list[int]):
    """`toy_entries`, which notes for how many pairs it was asked."""

    def make(pairs):
        counts.append(len(pairs))
        return toy_entries(pairs)

    return make


def test_holds_each_pair_once_with_the_entries_that_were_made(memory):
    expected = list(dict.fromkeys(PAIRS))
    assert len(expected) < len(PAIRS)  # so repeats were left out, also those of an earlier part
    assert [pair for _, *pair in memory.pairs(range(len(memory)))] == [list(pair) for pair in expected]
    for number, made in enumerate(toy_entries(expected)):
        found = memory.entries([number], 99)
        assert found.keys.dtype == np.float16
        np.testing.assert_array_equal(found.keys, made.keys.astype("float16"))
        np.testing.assert_array_equal(found.tokens, made.tokens)
        np.testing.assert_array_equal(found.trust, made.trust)
    assert memory.size == sum(len(made.tokens) for made in toy_entries(expected))


def test_pairs_that_join_to_the_same_text_are_different(tmp_path):
    pairs = [("open the", "file"), ("open", "the file"), ("open", "file"), ("openfile", ""), ("", "openfile")]
    assert len(build_store(tmp_path / "memory", pairs, toy_entries, {})) == 5


def test_entries_keep_the_order_asked_for_and_stop_at_the_most(memory):
    one, two, three = (memory.entries([number], 99) for number in (7, 3, 250))
    together = [np.concatenate(values) for values in zip(one, two, three, strict=True)]
    for most in (0, 1, len(one.tokens), len(one.tokens) + 1, 1000):
        for found, expected in zip(memory.entries([7, 3, 250], most), together, strict=True):
            np.testing.assert_array_equal(found, expected[:most] if most else found)
        assert len(memory.entries([7, 3, 250], most).tokens) == min(most, len(together[1]))


def test_is_opened_again_without_drawing_a_pair(memory):
    def nothing():
        raise AssertionError("drawn")
        yield

    again = build_store(memory.path, nothing(), nothing, {"pairs": 300})
    assert contents(again.path) == contents(memory.path)


def test_another_about_replaces_it_only_when_the_new_one_is_whole(memory):
    def interrupted(pairs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(memory.path, PAIRS[:9], interrupted, {"pairs": 9})
    assert Store(memory.path, verify=True).about == {"pairs": 300}
    assert len(build_store(memory.path, PAIRS[:9], toy_entries, {"pairs": 9})) == 9
    assert Store(memory.path, verify=True).about == {"pairs": 9}


def test_ctrl_c_loses_only_the_part_at_hand(memory, tmp_path):
    def interrupted(pairs):
        if len(counts) == 3:
            raise KeyboardInterrupt
        return counting(counts)(pairs)

    counts: list[int] = []
    other = tmp_path / "other"
    with pytest.raises(KeyboardInterrupt):
        build_store(other, PAIRS, interrupted, {"pairs": 300})
    with pytest.raises(UserError, match="is not finished: repeat the command"):
        Store(other)
    before, steps = sum(counts), []
    build_store(other, iter(PAIRS), counting(counts), {"pairs": 300}, steps.append)
    assert steps == [120, 160, 200, 240, 280, 300]
    assert before > 0 and sum(counts) == len(memory)
    assert contents(other) == contents(memory.path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memory", "other"]


def test_what_was_begun_for_something_else_is_not_used(memory, tmp_path):
    def fails(pairs):
        if pairs[0] != other[0]:
            raise RuntimeError
        return toy_entries(pairs)

    other = toy_pairs(300, seed=1)
    with pytest.raises(RuntimeError):
        build_store(tmp_path / "other", other, fails, {"pairs": "others"})
    build_store(tmp_path / "other", PAIRS, toy_entries, {"pairs": 300})
    assert contents(tmp_path / "other") == contents(memory.path)


def test_a_killed_build_goes_on_and_gives_the_same_folder(memory, tmp_path):
    """Killed again and again, at once after a part or somewhere in the next one."""
    other, draw = tmp_path / "other", random.Random(0)
    command = [sys.executable, "-m", "tests.app.retrieval.toy_memory", str(other), "300", "0.02"]
    reached = []
    for parts in (2, 3, 1):
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
            for _ in range(parts):
                reached.append(int(process.stdout.readline()))
            time.sleep(draw.uniform(0, 0.02))
            process.kill()
    assert not other.exists() and reached == sorted(reached) and reached[-1] < 300
    # A write that was torn off leaves some of its bytes.
    for name in ("keys", "text", "offsets"):
        with open(tmp_path / "other.unfinished" / name, "ab") as file:
            file.write(b"torn")
    counts: list[int] = []
    build_store(other, PAIRS, counting(counts), {"pairs": 300})
    assert sum(counts) <= 300 - reached[-1]
    assert contents(other) == contents(memory.path)


@pytest.mark.parametrize("name", ["keys", "text.offsets", "progress.json"])
def test_what_was_damaged_before_the_end_is_made_again(memory, tmp_path, name):
    def fails(pairs):
        if len(counts) == 5:
            raise RuntimeError
        return counting(counts)(pairs)

    counts: list[int] = []
    with pytest.raises(RuntimeError):
        build_store(tmp_path / "other", PAIRS, fails, {"pairs": 300})
    flip(tmp_path / "other.unfinished" / name)
    build_store(tmp_path / "other", PAIRS, toy_entries, {"pairs": 300})
    assert contents(tmp_path / "other") == contents(memory.path)


def test_full_disk_loses_nothing_finished(memory, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    counts: list[int] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory.keys.nbytes // 2, limits[1]))
    try:
        with pytest.raises(OSError) as full:
            build_store(tmp_path / "other", PAIRS, counting(counts), {"pairs": 300})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.errno == errno.EFBIG
    assert full.value.filename == str(tmp_path / "other.unfinished" / "keys")
    written = sum(counts[:-1])
    assert written > 0
    rest: list[int] = []
    build_store(tmp_path / "other", PAIRS, counting(rest), {"pairs": 300})
    assert written + sum(rest) == len(memory)
    assert contents(tmp_path / "other") == contents(memory.path)


def test_full_disk_at_the_end_loses_nothing_finished(memory, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(store.WordIndex, "save", full)
        with pytest.raises(OSError, match="No space left") as error:
            build_store(tmp_path / "other", PAIRS, toy_entries, {"pairs": 300})
    assert error.value.filename
    build_store(tmp_path / "other", PAIRS, lambda pairs: pytest.fail("computed again"), {"pairs": 300})
    assert contents(tmp_path / "other") == contents(memory.path)


def flip(path: Path) -> None:
    """Flips one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found(memory, monkeypatch, name):
    flip(memory.path / name)
    with pytest.raises(UserError, match=rf"/{name}: the file is damaged; build the memory again"):
        Store(memory.path)
    # Large files are read only on demand.
    monkeypatch.setattr(sealed, "SMALL", 0)
    with pytest.raises(UserError, match=rf"/{name}: the file is damaged"):
        Store(memory.path, verify=True)


def test_a_flipped_bit_of_the_manifest_is_found(memory):
    flip(memory.path / "manifest.json")
    with pytest.raises(UserError, match=r"manifest.json: the file is damaged"):
        Store(memory.path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_too_short_is_found_whatever_its_size(memory, monkeypatch, name):
    monkeypatch.setattr(sealed, "SMALL", 0)
    os.truncate(memory.path / name, (memory.path / name).stat().st_size - 1)
    with pytest.raises(UserError, match=rf"/{name}: the file is damaged"):
        Store(memory.path)
    (memory.path / name).unlink()
    with pytest.raises(UserError, match=rf"/{name}: cannot be read \(No such file"):
        Store(memory.path)


def test_a_damaged_store_is_built_again(memory):
    before = contents(memory.path)
    flip(memory.path / "keys")
    build_store(memory.path, PAIRS, toy_entries, {"pairs": 300})
    assert contents(memory.path) == before


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="exists already"):
        build_store(tmp_path, PAIRS, toy_entries, {})
    assert (tmp_path / "manifest.json").read_text() == "{}"


def test_two_builds_of_one_store_do_not_mix(tmp_path):
    with locked(tmp_path / "memory.unfinished"), pytest.raises(UserError, match="another process"):
        build_store(tmp_path / "memory", PAIRS, toy_entries, {})


def test_a_build_that_waited_for_another_takes_what_that_has_made(memory, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def locked_late(folder):
        """The other one ends after this one has looked for the store."""
        shutil.copytree(memory.path, tmp_path / "late")
        with locked(folder):
            yield

    monkeypatch.setattr(store, "locked", locked_late)
    found = build_store(tmp_path / "late", iter(()), pytest.fail, memory.about)
    assert len(found) == len(memory)
    assert {path.name for path in tmp_path.iterdir()} == {"late", "memory"}
    assert not list((tmp_path / "late").glob(".lock*"))


def test_nothing_to_remember(tmp_path):
    for pairs, make in (([], toy_entries), (PAIRS, lambda pairs: [NOTHING] * len(pairs))):
        with pytest.raises(UserError, match="there is no pair of segments to remember"):
            build_store(tmp_path / "memory", pairs, make, {})
    with pytest.raises(UserError, match="there is no such memory"):
        Store(tmp_path / "memory")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [1e6, np.nan])
def test_states_that_do_not_fit_into_float16(tmp_path, value):
    def make(pairs):
        return [Entries(np.full((1, WIDTH), value, "float32"), np.ones(1, "int32"), np.ones(1, "float32"))] * len(pairs)

    with pytest.raises(UserError, match="too large for the 16 bits"):
        build_store(tmp_path / "memory", PAIRS, make, {})


def test_another_format(memory, monkeypatch):
    monkeypatch.setattr(store, "FORMAT", 2)
    with pytest.raises(UserError, match="has format 1, this version reads 2: build it again"):
        Store(memory.path)
