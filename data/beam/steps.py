"""The steps of the pipeline: what a worker does with a pair, and how pairs are put back into reading order."""

import contextlib
import dataclasses
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import pyarrow
import pyarrow.parquet
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows

from data.beam.prepared import FORMAT, REPORT
from data.beam.sources import Part
from data.cleaning import REASONS, CleaningOptions, CleaningReport, clean, digest, normalise_pairs
from data.errors import UserError
from data.pairs import Pair

# Names of a step's side outputs.
COUNTS, WHOLE, DOCUMENTS = "counts", "whole", "documents"
PASSED, DISTINCT = "passed", "distinct"  # pairs left after the cheap filters, and after the search for equal pairs


class Record(NamedTuple):
    """A pair and its position: `place` is the number of its part and the line in that part."""

    place: tuple[int, int]
    pair: tuple[str, str, str]


class Stretch(NamedTuple):
    """The part of a document in one shard: the shard's file and part, and whether the document begins and ends it."""

    file: str
    part: int
    begins: bool
    ends: bool


class _Counting(beam.DoFn):
    """Counts by key; a bundle emits its counts when it ends, so that a repeated bundle counts once."""

    def start_bundle(self):
        self.counts = Counter()

    def finish_bundle(self):
        for key, count in self.counts.items():
            yield beam.pvalue.TaggedOutput(COUNTS, GlobalWindows.windowed_value((key, count)))

    def count(self, corpus: str, split: str, report: CleaningReport) -> None:
        """Adds the counts of a report."""
        self.counts.update({(corpus, split, key): count for key, count in report.removed.items() if count})


class Inspect(_Counting):
    """Reads a part and applies the filters that need no other pair and little time.

    Args:
        options: the filters.

    Call arguments:
        numbered: the number of a part, and the part.

    Returns:
        `((corpus, split, digest), Record)` of normalised training pairs; under `WHOLE` `(corpus, split, Record)` of
        other splits, which stay whole. If duplicates are kept, the pair's place replaces the digest.
    """

    def __init__(self, options: CleaningOptions):
        self.options = options
        self.cheap = dataclasses.replace(options, deduplicate=False, language_filter=False)

    def process(self, numbered: tuple[int, Part]) -> Iterator:
        number, part = numbered
        line = -1
        for line, pair in enumerate(part.reader()):
            yield from self._inspected(part, (number, line), pair)
        self.counts[part.corpus, part.split, number] = line + 1

    def _inspected(self, part: Part, place: tuple[int, int], pair: Pair):
        if part.split != "train":
            [pair] = normalise_pairs([pair], self.options)
            yield beam.pvalue.TaggedOutput(WHOLE, (part.corpus, part.split, Record(place, tuple(pair))))
            return
        report = CleaningReport()
        for good in clean([pair], self.cheap, report=report):
            key = digest(good) if self.options.deduplicate else place
            self.counts[part.corpus, part.split, PASSED] += 1
            yield (part.corpus, part.split, key), Record(place, tuple(good))
        self.count(part.corpus, part.split, report)


def first(records: Iterable[Record]) -> Record:
    """The record that is read first."""
    return min(records, key=lambda record: record[0])


class Languages(_Counting):
    """Leaves out pairs with a side in another language; of equal pairs only the first is judged, as in `clean`.

    Args:
        options: the filters.
        source: language of the source side.
        target: language of the target side.

    Call arguments:
        keyed: what `Inspect` returns.

    Returns:
        `(corpus, split, Record)`.
    """

    def __init__(self, options: CleaningOptions, source: str, target: str):
        self.options = dataclasses.replace(options, deduplicate=False)
        self.source, self.target = source, target

    def process(self, keyed: tuple) -> Iterator:
        (corpus, split, _), record = keyed
        place, pair = record
        report = CleaningReport()
        for good in clean([Pair(*pair)], self.options, self.source, self.target, report):
            yield corpus, split, Record(place, tuple(good))
        self.counts[corpus, split, DISTINCT] += 1
        self.count(corpus, split, report)


def shard_key(row: tuple[str, str, Record], shard_pairs: int) -> tuple[tuple[str, str, int, int], Record]:
    """The shard that a pair goes into: some consecutive lines of a part."""
    corpus, split, record = row
    number, line = record[0]
    return (corpus, split, number, line // shard_pairs), record


def schema(source: str, target: str) -> pyarrow.Schema:
    """The columns of a shard."""
    text = ("corpus", "split", "doc")
    fields = [*((name, pyarrow.string()) for name in text), ("position", pyarrow.int64())]
    return pyarrow.schema([*fields, (source, pyarrow.string()), (target, pyarrow.string())])


def write_shard(shard: tuple, sizes: dict, output: str, source: str, target: str) -> Iterator:
    """Writes the pairs of a shard in reading order; the file appears under its name when it is complete.

    Args:
        shard: its key, as `shard_key` gives it, and its records in any order.
        sizes: the number of pairs read from each part, by corpus, split and number of the part.
        output: the folder for all corpora.
        source: name of the column of the source side.
        target: name of the column of the target side.

    Yields:
        The corpus, and what its report says about the file; under `DOCUMENTS` each document with its `Stretch`.
    """
    (corpus, split, number, block), records = shard
    records = sorted(records, key=lambda record: record[0])
    before = sum(sizes[key] for key in sizes if key[:2] == (corpus, split) and key[2] < number)
    places, pairs = zip(*records, strict=True)
    sources, targets, docs = zip(*pairs, strict=True)
    columns = [
        pyarrow.repeat(corpus, len(pairs)),
        pyarrow.repeat(split, len(pairs)),
        [doc or None for doc in docs],
        [before + line for _, line in places],
        sources,
        targets,
    ]
    kinds = schema(source, target)
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, kinds.types, strict=True)]
    name = f"{split}-{number:06}-{block:06}.parquet"
    with _written(output, corpus, name) as file:
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=kinds), file, compression="zstd")
    yield corpus, {"file": name, "split": split, "rows": len(pairs)}
    for doc in dict.fromkeys(filter(None, docs)):
        stretch = Stretch(name, number, doc == docs[0], doc == docs[-1])
        yield beam.pvalue.TaggedOutput(DOCUMENTS, ((corpus, split, doc), stretch))


def in_several(document: tuple) -> Iterator[tuple[str, tuple]]:
    """Yields `(corpus, (split, doc, stretches))`, the stretches in order, for a document that has several.

    Args:
        document: the document and its stretches, as `write_shard` gives them.
    """
    (corpus, split, doc), stretches = document
    stretches = sorted(stretches)
    if len(stretches) > 1:
        yield corpus, (split, doc, stretches)


def check_together(documents: Iterable[tuple], shards: list[dict], names: list[str]) -> None:
    """Checks that documents in several shards continue from the end of one shard at the beginning of the next.

    Each file was checked by itself when it was read, but two files may give the same id to different documents.

    Args:
        documents: what `in_several` yields for a corpus.
        shards: the shards of the corpus, in order.
        names: of the parts, by number.

    Raises:
        UserError: other documents come in between, so that the result could not be read.
    """
    following = {one["file"]: other["file"] for one, other in itertools.pairwise(shards)}
    for split, doc, stretches in documents:
        for one, other in itertools.pairwise(stretches):
            if not (one.ends and other.begins and following[one.file] == other.file):
                raise UserError(
                    f"{names[other.part]}: document {doc!r} of {split} is in {names[one.part]}, too, with others in "
                    "between; the files of a corpus are read as one text, in which a document must be in one piece: "
                    "give each its own id, such as its file's name and a number, or prepare the files one by one "
                    "with --name"
                )


def write_report(
    found: tuple[str, dict], output: str, options: CleaningOptions, source: str, target: str, names: list[str]
) -> Iterator[str]:
    """Writes the report of a corpus, the last of its files: a folder without one is incomplete.

    Args:
        found: the corpus, and its `counts` (from `_Counting`), `shards` (from `write_shard`) and `documents` (from
            `in_several`).
        output: the folder for all corpora.
        options: the filters.
        source: language of the source side.
        target: language of the target side.
        names: of the parts, by number.

    Yields:
        The corpus.

    Raises:
        UserError: the pairs of a document are not consecutive; see `check_together`.
    """
    corpus, parts = found
    shards = sorted(parts["shards"], key=lambda shard: shard["file"])
    check_together(parts["documents"], shards, names)
    counts: dict[str, Counter] = {}
    for (_, split, key), count in parts["counts"]:
        counts.setdefault(split, Counter())["seen" if isinstance(key, int) else key] += count
    splits = {split: _split_report(counts[split]) for split in sorted(counts)}
    for split, report in splits.items():
        written = sum(shard["rows"] for shard in shards if shard["split"] == split)
        if written != report.kept:
            raise RuntimeError(f"{corpus}, {split}: {report.kept:,} pairs were kept and {written:,} written")
    content = {
        "format": FORMAT,
        "corpus": corpus,
        "source": source,
        "target": target,
        "options": dataclasses.asdict(options),
        "splits": {split: report.as_dict() for split, report in splits.items()},
        "shards": shards,
    }
    with _written(output, corpus, REPORT) as file:
        file.write(json.dumps(content, indent=1).encode())
    yield corpus


def _split_report(counts: Counter) -> CleaningReport:
    report = CleaningReport(seen=counts["seen"])
    report.removed |= {reason: counts[reason] for reason in REASONS}
    report.removed["duplicate"] = counts[PASSED] - counts[DISTINCT]
    report.kept = report.seen - sum(report.removed.values())
    return report


class _written:  # noqa: N801 (used as a function)
    """Opens a file in any file system that Beam supports; it gets its name at the end of the block."""

    def __init__(self, output: str, corpus: str, name: str):
        folder = FileSystems.join(output, corpus)
        self.path = FileSystems.join(folder, name)
        self.partial = FileSystems.join(folder, f".{name}.{uuid.uuid4().hex}.partial")
        with contextlib.suppress(BeamIOError, OSError):  # another worker has made it
            FileSystems.mkdirs(folder)

    def __enter__(self):
        self.file = FileSystems.create(self.partial, "application/octet-stream", "uncompressed")
        return self.file

    def __exit__(self, kind, *_):
        self.file.close()
        if kind is None:
            FileSystems.rename([self.partial], [self.path])
        else:
            FileSystems.delete([self.partial])
