"""Rows of a warehouse as files: Parquet, TMX, or a folder corpus."""

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pyarrow

from data.bitexts.tmx import DOCUMENT
from data.corpora.folder import SPLITS
from data.errors import UserError
from data.files import atomic_write, check_writable, new_folder

# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TMX = """<?xml version="1.0" encoding="UTF-8"?>
<tmx version="1.4">
<header creationtool="weitblick" creationtoolversion="1" segtype="sentence" o-tmf="weitblick" adminlang="en" \
srclang="en" datatype="plaintext"/>
<body>
"""


def export(
    batches: Iterable[pyarrow.RecordBatch], path: Path | str, progress: Callable[[int], None] | None = None
) -> int:
    """Writes rows into a file or a folder that appears only when it is complete.

    Args:
        batches: the rows, at least one batch. TMX and folders need text in `en` and `de` and take `doc` and `split`.
        path: a file if it ends in .parquet or .tmx; otherwise a folder, which must not exist yet.
        progress: called with the number of rows done.

    Returns:
        The number of rows.

    Raises:
        UserError: a needed column is missing, or the folder exists already.
    """
    path, counted = Path(path), _Counted(batches, progress)
    if path.suffix == ".parquet":
        _parquet(counted, path)
    elif path.suffix == ".tmx":
        _tmx(counted, path)
    else:
        _folder(counted, path)
    return counted.rows


class _Counted:
    """Counts batches as they are drawn."""

    def __init__(self, batches, progress):
        self.rows, self._batches, self._progress = 0, batches, progress

    def __iter__(self):
        for batch in self._batches:
            yield batch
            self.rows += batch.num_rows
            if self._progress:
                self._progress(self.rows)


def _parquet(batches, path: Path) -> None:
    import pyarrow.parquet

    with atomic_write(path) as file, contextlib.ExitStack() as stack:
        writer = None
        for batch in batches:
            if writer is None:
                writer = stack.enter_context(pyarrow.parquet.ParquetWriter(file, batch.schema, compression="zstd"))
            writer.write_batch(batch)


def _tmx(batches, path: Path) -> None:
    with atomic_write(path, "w") as file:
        file.write(_TMX)
        for en, de, doc, _ in _segments(batches):
            prop = f"<prop type={quoteattr(DOCUMENT)}>{_xml(doc)}</prop>" if doc else ""
            sides = (f'<tuv xml:lang="{side}"><seg>{_xml(text)}</seg></tuv>' for side, text in (("en", en), ("de", de)))
            file.write(f"<tu>{prop}{''.join(sides)}</tu>\n")
        file.write("</body>\n</tmx>\n")


def check_place(path: Path | str) -> None:
    """Refuses an existing folder, and a place where nothing can be written, before the rows are read."""
    path = Path(path)
    if path.suffix not in (".parquet", ".tmx") and path.exists():
        raise UserError(f"{path} exists already; choose another name, or one that ends in .parquet or .tmx")
    check_writable(path)


def _folder(batches, path: Path) -> None:
    check_place(path)
    with new_folder(path) as place:
        with contextlib.ExitStack() as stack:
            files: dict[str, list] = {}
            for en, de, doc, split in _segments(batches):
                if split not in files:
                    names = [f"{column}.{split}.txt" for column in ("en", "de", "doc")]
                    files[split] = [
                        stack.enter_context(open(place / name, "w", encoding="utf-8", newline="\n")) for name in names
                    ]
                for file, text in zip(files[split], (en, de, doc), strict=True):
                    file.write(text.replace("\n", " ").replace("\r", " ") + "\n")
        if not files:
            raise UserError("the query returned no row; there is nothing to export")
        for split in files:
            _drop_empty(place / f"doc.{split}.txt")


def _drop_empty(docs: Path) -> None:
    """Removes a file of documents that names none."""
    with docs.open("rb") as file:
        empty = not any(line.strip() for line in file)
    if empty:
        docs.unlink()


def _segments(batches):
    """English, German, document ("" for none) and split of each row; a document that is not of the first row's corpus
    gets the name of its corpus as a prefix."""
    first = None
    for batch in batches:
        names = batch.schema.names
        for side in ("en", "de"):
            if side not in names:
                raise UserError(f"the query has no column {side!r}, only {', '.join(names)}; export it as .parquet")
        columns = [batch.column(side).to_pylist() for side in ("en", "de")]
        docs = batch.column("doc").to_pylist() if "doc" in names else [None] * batch.num_rows
        splits = batch.column("split").to_pylist() if "split" in names else ["train"] * batch.num_rows
        corpora = batch.column("corpus").to_pylist() if "corpus" in names else [first] * batch.num_rows
        for en, de, doc, split, corpus in zip(*columns, docs, splits, corpora, strict=True):
            first = corpus if first is None else first
            if split not in SPLITS:
                raise UserError(f"column 'split' has {split!r}; expected one of {', '.join(SPLITS)}")
            yield _text(en), _text(de), f"{corpus}/{doc}" if doc and corpus != first else _text(doc), split


def _text(value) -> str:
    return "" if value is None else str(value)


def _xml(text: str) -> str:
    return escape(_NO_XML.sub("", text))
