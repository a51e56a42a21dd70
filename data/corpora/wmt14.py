"""The corpus `wmt14`: English-German of the WMT'14 news task, through TensorFlow Datasets."""

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.corpora.folder import SPLITS, read_lines
from data.errors import UserError
from data.files import atomic_write, cache_folder, checksum, read_json, scratch_folder
from data.pairs import Pair

CONFIG = "wmt14_translate/de-en"
# Official test sets of sacreBLEU: their number of segments, and the folder corpus that has the same text.
OFFICIAL = {"wmt14": (2737, "newstest"), "wmt14/full": (3003, "newstest-docs")}
_BATCH = 1024  # records a step, which makes reading about ten times as fast as one at a time
_CHUNK = 1 << 20


class Wmt14Corpus:
    """Europarl v7, News Commentary v9 and Common Crawl; validation newstest2013, test newstest2014 (3,003 lines).

    The archives are fetched into the folder `archives`, unless they are there already. TensorFlow Datasets checks their
    hashes, parses them and writes the pairs in its own order (shuffled by a fixed hash) as TFRecords. All of this goes
    into $TFDS_DATA_DIR, or into `tfds/` in the cache folder.

    Args:
        source: "en" or "de".
        target: the other one.

    Raises:
        UserError: the languages are others.

    References:
        Bojar et al. 2014, Findings of the 2014 Workshop on Statistical Machine Translation.
    """

    name = "wmt14"
    description = "news translation task of WMT 2014: about 4.5 million pairs, newstest2013 and newstest2014"
    licence = "research use, see statmt.org/wmt14"
    obtain = "fetched from statmt.org when first used (about 1.7 GB)"
    has_documents = False

    def __init__(self, source: str = "en", target: str = "de"):
        if {source, target} != {"en", "de"}:
            raise UserError(f"corpus wmt14 is English and German here; it has no {source}-{target}")
        self.source = source
        self.target = target

    @property
    def data_folder(self) -> Path:
        """Where TensorFlow Datasets keeps its data sets."""
        return Path(os.environ.get("TFDS_DATA_DIR") or cache_folder() / "tfds")

    @property
    def archives(self) -> Path:
        """Where you may put archives by hand, under the names that they have at statmt.org."""
        return self.data_folder / "archives"

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Fetches the archives and converts them, unless that has been done.

        Args:
            report: called with lines about the progress; they go to standard error by default.

        Raises:
            UserError: an archive cannot be fetched or is not the expected one.
        """
        if self._info() is None:
            self._build(report or (lambda line: print(line, file=sys.stderr, flush=True)))

    def splits(self) -> tuple[str, ...]:
        """All three."""
        return SPLITS

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs of a split, always in the same order; few are in memory at a time.

        Args:
            split: "train", "validation" or "test".

        Yields:
            `Pair`s of raw text without document ids.

        Raises:
            UserError: there is no such split; also as in `prepare`.
        """
        self._check(split)
        self.prepare()
        return self._stream(split)

    def size(self, split: str) -> int | None:
        """The number of pairs, or None before the first use."""
        info = self._info()
        lengths = {part["name"]: part["shardLengths"] for part in info["splits"]} if info else {}
        return sum(map(int, lengths[split])) if split in lengths else None

    def fingerprint(self, split: str) -> str:
        """A hash of the split's records and the direction; see `FolderCorpus.fingerprint`."""
        self._check(split)
        self.prepare()
        digest = hashlib.blake2b(f"{self.source}-{self.target}".encode(), digest_size=16)
        for path in sorted(self._prepared().glob(f"wmt14_translate-{split}.tfrecord-*")):
            digest.update(bytes.fromhex(checksum(path, 32)))
        return digest.hexdigest()

    def _prepared(self) -> Path:
        return self.data_folder / CONFIG / "1.0.0"

    def _info(self) -> dict | None:
        """The description of the finished data set, read directly, as importing TensorFlow Datasets takes seconds."""
        path = self._prepared() / "dataset_info.json"
        return read_json(path) if path.is_file() else None

    def _check(self, split: str) -> None:
        if split not in SPLITS:
            raise UserError(f"corpus 'wmt14' has no split {split!r}; it has: {', '.join(SPLITS)}")

    def _builder(self):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from tensorflow_datasets.translate import wmt14

        return wmt14.Wmt14Translate(config="de-en", data_dir=self.data_folder)

    def _build(self, report: Callable[[str], None]) -> None:
        builder = self._builder()
        self._fetch(builder.url_infos, archive_urls(builder), report)
        report("wmt14: converting, once; this takes a while")

        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download import download_manager, extractor

        # Not Google's copy of the finished data set: everyone's text should come from the same archives.
        config = tfds.download.DownloadConfig(manual_dir=self.archives, try_download_gcs=False)
        with scratch_folder(self.data_folder / "wmt14") as temporary:
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    builder.download_and_prepare(download_dir=str(temporary), download_config=config)
            except (download_manager.NonMatchingChecksumError, extractor.ExtractError) as error:
                raise UserError(
                    f"wmt14: an archive in {self.archives} is not the expected one ({_first_line(error)}); "
                    "delete it and run again"
                ) from error

    def _fetch(self, infos: dict, urls: list[str], report: Callable[[str], None]) -> None:
        """Downloads the missing archives, each complete or not at all; `infos` has their sizes and hashes."""
        missing = {url: self.archives / url.rpartition("/")[2] for url in urls}
        missing = {url: path for url, path in missing.items() if not path.is_file()}
        for url, path in missing.items():
            report(f"wmt14: fetching {path.name} ({infos[url].size / 1e6:,.0f} MB)")
            digest = hashlib.sha256()
            with atomic_write(path) as file:
                try:
                    for chunk in _download(url):
                        digest.update(chunk)
                        file.write(chunk)
                except _Unreachable as error:
                    raise UserError(
                        f"wmt14: cannot fetch {url} ({error}). Check the network and run again, or put "
                        f"{', '.join(path.name for path in missing.values())} into {self.archives}, "
                        "or choose another corpus, such as software"
                    ) from error
                if digest.hexdigest() != infos[url].checksum:
                    raise UserError(f"wmt14: {url} was cut short, or is not the expected file; run again")

    def _stream(self, split: str) -> Iterator[Pair]:
        builder = self._builder()

        import tensorflow as tf
        import tensorflow_datasets as tfds

        # One file after the other: interleaving would make the order depend on the machine.
        read = tfds.ReadConfig(interleave_cycle_length=1)
        records = builder.as_dataset(split=split, shuffle_files=False, read_config=read, batch_size=_BATCH)
        try:
            for batch in records.as_numpy_iterator():
                for source, target in zip(batch[self.source], batch[self.target], strict=True):
                    yield Pair(source.decode("utf-8"), target.decode("utf-8"))
        except tf.errors.DataLossError as error:  # each record has a checksum
            raise UserError(
                f"{self._prepared()}: the text is damaged ({_first_line(error)}); delete the folder and run again"
            ) from error


class _Unreachable(Exception):
    """The network failed, as opposed to the disk."""


def _download(url: str) -> Iterator[bytes]:
    try:
        # A new opener, as the shared one keeps the proxy settings of its first use.
        with urllib.request.build_opener().open(url, timeout=30) as response:
            while chunk := response.read(_CHUNK):
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Unreachable(_first_line(error)) from error


def archive_urls(builder: Any) -> list[str]:
    """The archives behind a WMT builder of TensorFlow Datasets, each once.

    Args:
        builder: a `tfds.translate.wmt.WmtTranslate`.

    Returns:
        URLs, in the order in which they are fetched.
    """
    from tensorflow_datasets.translate import wmt

    language, _ = builder.builder_config.language_pair
    subsets = [wmt.DATASET_MAP[name] for names in builder.subsets.values() for name in names]
    return list(dict.fromkeys(url for subset in subsets for url in subset.get_url(language)))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:160]


def cached_test_set(name: str, source: str, target: str) -> list[Pair]:
    """The segments of an official test set if sacreBLEU has fetched it before, else none.

    Args:
        name: one of `OFFICIAL`.
        source, target: languages.
    """
    from sacrebleu.utils import SACREBLEU_DIR

    base = Path(SACREBLEU_DIR, name, f"{name.replace('/', '_')}.{source}-{target}")
    paths = [Path(f"{base}.{side}") for side in ("src", "ref")]
    if not all(path.is_file() for path in paths):
        return []
    return [Pair(*sides) for sides in zip(*map(read_lines, paths), strict=False)]
