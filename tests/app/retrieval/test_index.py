import errno
import re
import resource
import shutil
import sys

import numpy as np
import pytest

from app.retrieval import index
from app.retrieval.entries import Entries
from app.retrieval.index import ExactIndex, IvfPqIndex, build_index, open_index, shape_of
from app.retrieval.store import Store, build_store
from data.errors import UserError
from data.installing import extra_command

WIDTH, SIZE = 4, 10_500


def clustered(pairs: list[tuple[str, str]]) -> list[Entries]:
    """Seven entries for each pair, in heaps, as states are; the entries of some pairs are equal."""
    made = []
    for source, _ in pairs:
        rng = np.random.default_rng(int(source) % 1400)
        keys = rng.integers(-2, 3, (7, WIDTH)) * 4 + rng.standard_normal((7, WIDTH))
        made.append(Entries(keys.astype("float32"), rng.integers(1, 5000, 7).astype("int32"), np.ones(7, "float32")))
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A store with an index, not to be changed."""
    path = tmp_path_factory.mktemp("built") / "memory"
    store = build_store(path, [(str(i), "") for i in range(SIZE // 7)], clustered, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_BLOCK", 4000)
        build_index(store, "ivfpq")
    return store


@pytest.fixture
def memory(built, tmp_path):
    """A copy of it."""
    shutil.copytree(built.path, tmp_path / "memory")
    return Store(tmp_path / "memory")


@pytest.fixture
def small(tmp_path):
    return build_store(tmp_path / "small", [("1", ""), ("2", "")], clustered, {})


def queries(count: int = 20) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (rng.integers(-2, 3, (count, WIDTH)) * 4 + rng.standard_normal((count, WIDTH))).astype("float32")


def brute_force(store: Store, asked: np.ndarray, k: int) -> tuple[np.ndarray, list[list[set[int]]]]:
    """The k smallest squared distances of each query, and the tokens that stand at each of these distances."""
    every = ((asked[:, None].astype("float64") - store.keys[None].astype("float64")) ** 2).sum(-1)
    best = np.sort(every, 1)[:, :k]
    tokens = [
        [set(store.tokens[np.isclose(row, distance)].tolist()) for distance in of]
        for row, of in zip(every, best, strict=True)
    ]
    return best, tokens


def assert_nearest(found, store: Store, asked: np.ndarray, k: int) -> None:
    distances, tokens = found
    best, allowed = brute_force(store, asked, k)
    assert (distances.dtype, tokens.dtype) == (np.float32, np.int32)
    np.testing.assert_allclose(distances, best, rtol=1e-4, atol=1e-5)
    for row, of in zip(tokens.tolist(), allowed, strict=True):
        assert all(token in among for token, among in zip(row, of, strict=True))


@pytest.mark.parametrize("piece", [1 << 16, 1000, 10_499])
def test_exact_is_brute_force(built, monkeypatch, piece):
    monkeypatch.setattr(index, "_PIECE", piece)
    assert_nearest(ExactIndex(built).nearest(queries(), 8), built, queries(), 8)


def test_all_lists_and_many_candidates_are_brute_force(built):
    lists, _ = shape_of(built.size, WIDTH)
    found = IvfPqIndex(built, verify=True, probes=lists, candidates=500)
    assert_nearest(found.nearest(queries(), 8), built, queries(), 8)


def test_by_default_nearly_all_nearest_are_found(built):
    distances, _ = open_index(built, "ivfpq").nearest(queries(200), 8)
    best, _ = brute_force(built, queries(200), 8)
    assert np.isclose(distances, best, rtol=1e-4, atol=1e-5).mean() > 0.95


def test_without_candidates_distances_are_those_of_the_codes(built):
    distances, numbers = IvfPqIndex(built, candidates=0).search(queries(), 8)
    true = ((built.keys[numbers].astype("float32") - queries()[:, None]) ** 2).sum(-1)
    assert not np.allclose(distances, true, rtol=1e-4)
    assert np.abs(distances - true).mean() < 0.5


@pytest.mark.parametrize("kind", index.KINDS)
def test_batches_equal_single_queries(built, kind):
    found, asked = open_index(built, kind), queries(40)
    together = found.nearest(asked, 8)
    for row, query in enumerate(asked):
        distances, tokens = found.nearest(query[None], 8)
        np.testing.assert_allclose(distances[0], together[0][row], rtol=1e-6)
        np.testing.assert_array_equal(tokens[0], together[1][row])


def test_fewer_entries_than_asked_for(small, built):
    distances, tokens = ExactIndex(small).nearest(queries(3), 20)
    assert_nearest((distances[:, :14], tokens[:, :14]), small, queries(3), 14)
    assert np.isinf(distances[:, 14:]).all() and not tokens[:, 14:].any()
    for candidates in (0, 64):
        distances, tokens = IvfPqIndex(built, probes=1, candidates=candidates).nearest(queries(3), 2000)
        assert np.isfinite(distances[:, 0]).all() and tokens[:, 0].all()
        assert np.isinf(distances[:, -1]).all() and not tokens[:, -1].any()


def test_goes_on_after_the_last_whole_block(built, memory, monkeypatch):
    """Stopped in the second block, once more in the third, and then when all but the joining was done."""
    expected = (memory.path / "ivfpq" / "index.faiss").read_bytes()
    shutil.rmtree(memory.path / "ivfpq")
    monkeypatch.setattr(index, "_BLOCK", 4000)

    def stop_at(wanted):
        def progress(done):
            steps.append(done)
            if done > wanted:
                raise KeyboardInterrupt

        return progress

    steps: list[int] = []
    for wanted in (4000, 8000):
        with pytest.raises(KeyboardInterrupt):
            build_index(memory, "ivfpq", stop_at(wanted))
        with pytest.raises(UserError, match="has no index; build one with --index ivfpq"):
            open_index(memory, "ivfpq")
    assert steps == [4000, 8000, 8000, 10_500]
    with monkeypatch.context() as patch:
        patch.setattr(index, "_trained", lambda *_: pytest.fail("trained again"))
        build_index(memory, "ivfpq", steps.append)
    assert steps == [4000, 8000, 8000, 10_500, 10_500]
    assert (memory.path / "ivfpq" / "index.faiss").read_bytes() == expected
    assert sorted(path.name for path in memory.path.iterdir()) == sorted(path.name for path in built.path.iterdir())


def test_full_disk(memory, monkeypatch):
    expected = (memory.path / "ivfpq" / "index.faiss").read_bytes()
    shutil.rmtree(memory.path / "ivfpq")
    monkeypatch.setattr(index, "_BLOCK", 4000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(expected) - 9, limits[1]))
    try:
        with pytest.raises(OSError) as full:
            build_index(memory, "ivfpq")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.errno == errno.EFBIG and full.value.filename.endswith("index.faiss")
    monkeypatch.setattr(index, "_block", lambda *_: pytest.fail("made again"))
    build_index(memory, "ivfpq")
    assert (memory.path / "ivfpq" / "index.faiss").read_bytes() == expected


def test_damage_is_found_and_mended(memory, monkeypatch):
    file = memory.path / "ivfpq" / "index.faiss"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"index.faiss: the file is damaged; build it again"):
        open_index(memory, "ivfpq")
    build_index(memory, "ivfpq")
    IvfPqIndex(memory, verify=True)


def test_index_of_other_entries(memory, built):
    other = build_store(memory.path.parent / "other", [("1", "")], clustered, {})
    shutil.copytree(built.path / "ivfpq", other.path / "ivfpq")
    with pytest.raises(UserError, match="belongs to other entries"):
        open_index(other, "ivfpq")


def test_too_few_entries_and_unknown_kinds(small):
    with pytest.raises(UserError, match="14 entries are too few .* needs 10,000 .* use --index exact"):
        build_index(small, "ivfpq")
    with pytest.raises(UserError, match="no index is called 'hnsw'; choose exact or ivfpq"):
        build_index(small, "hnsw")


@pytest.mark.parametrize("kind", index.KINDS)
def test_faiss_is_missing(small, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=re.escape(f"faiss is not installed: {extra_command('retrieval')}")):
        build_index(small, kind)


def test_shape_follows_the_guidelines():
    """Lists with 39 entries or more, about 4 sqrt(N) of them; codes whose parts divide the width."""
    assert [shape_of(size, 256)[0] for size in (10_000, 1_000_000, 100_000_000)] == [256, 4096, 32_768]
    assert [shape_of(10_000, width)[1] for width in (4, 256, 384, 500, 1024)] == [4, 64, 64, 50, 64]
