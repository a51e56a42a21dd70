"""From a preset's corpora to what training reads: cleaned text, a tokenizer and batches."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import data.cleaning as cleaning
from app.preset import Preset
from app.run import TOKENIZER, Run
from data.batching import Batches
from data.corpora import open_corpus, parse_mixture
from data.errors import UserError
from data.files import atomic_write, cache_folder
from data.folder import FolderCorpus
from data.pairs import Pair
from data.shards import SampledShards, Shards, encode_pairs
from data.tokenizer import Tokenizer

# Counts up whenever the same text and options would be cleaned to something else.
CLEANING_VERSION = 1
REPORT = "report.json"


@dataclass(frozen=True)
class Prepared:
    """All text of one training.

    `batches` are those of the training split, and `fingerprint` stands for its cleaned text; `validation` are the
    shards of the validation splits (None without any), and `validation_pairs` the same segments as normalised text.
    """

    tokenizer: Tokenizer
    batches: Batches
    fingerprint: str
    validation: Shards | None
    validation_pairs: list[Pair]


def prepare(run: Run, folders=(), report=print, counts=None) -> Prepared:
    """Cleans, trains the tokenizer and encodes; whatever was done before is reused.

    Args:
        run: the run; its tokenizer is trained if it has none yet.
        folders: where folder corpora are looked for.
        report: called with lines for the user.
        counts: `Batches.counts` from a checkpoint.

    Returns:
        What training needs.

    Raises:
        UserError: an unknown corpus, a missing split, no text left, or a vocabulary that the text does not allow.
    """
    preset, training = run.preset, run.preset.training
    mixture = parse_mixture(preset.data.corpora)
    cleaned = [_cleaned(name, preset, folders, report) for name, _ in mixture]
    tokenizer = _tokenizer(run, [corpus for corpus, _ in cleaned], report)
    shards = [_shards(corpus, key, tokenizer, preset) for corpus, key in cleaned]
    sampled = preset.tokenizer.sampling > 0
    batches = Batches(
        (lambda epoch: [draw(epoch) for draw in shards]) if sampled else shards,
        training.batch_tokens,
        training.seed,
        multiple=_padding_multiple(),
        weights=[weight for _, weight in mixture],
        counts=counts,
    )
    pairs = split_pairs(preset, preset.data.validation, "validation", folders)
    validation = None
    if pairs:
        validation = encode_pairs(pairs, tokenizer, _cache("shards"), _digest(pairs), max_length=preset.data.max_length)
    return Prepared(tokenizer, batches, _digest([key for _, key in cleaned]), validation, pairs)


def split_pairs(preset: Preset, names, split: str, folders=()) -> list[Pair]:
    """The pairs of one split of some corpora, joined and normalised, none left out."""
    options = cleaning_options(preset)
    pairs = []
    for name in names:
        corpus = open_corpus(name, preset.data.source, preset.data.target, folders)
        if split not in corpus.splits():
            raise UserError(f"{name}: has no {split} split; it has {', '.join(corpus.splits())}")
        pairs.extend(cleaning.normalise_pairs(corpus.pairs(split), options))
    return pairs


def cleaning_options(preset: Preset) -> cleaning.CleaningOptions:
    """The preset's cleaning options."""
    names = cleaning.CleaningOptions.__dataclass_fields__
    return cleaning.CleaningOptions(
        **{key: getattr(preset.data, key) for key in preset.data.__dataclass_fields__ if key in names}
    )


def _padding_multiple() -> int:
    """Lengths are padded up to a multiple of this: little waste, or few shapes where each is compiled for itself."""
    import keras

    return 8 if keras.backend.backend() == "jax" else 2


def _digest(content) -> str:
    return hashlib.blake2b(repr(content).encode(), digest_size=16).hexdigest()


def _cache(kind: str) -> Path:
    return cache_folder() / kind


def _cleaned(name: str, preset: Preset, folders, report) -> tuple[FolderCorpus, str]:
    """The cleaned training split of a corpus as a folder corpus, and its key."""
    source, target = preset.data.source, preset.data.target
    corpus, options = open_corpus(name, source, target, folders), cleaning_options(preset)
    corpus.prepare(report)
    if "train" not in corpus.splits():
        raise UserError(f"{name}: has no train split; it has {', '.join(corpus.splits())}")
    key = _digest([CLEANING_VERSION, corpus.fingerprint("train"), options, source, target])
    folder = _cache("cleaned") / key
    if not folder.exists():
        _clean(corpus, options, folder)
    report(f"{name}, cleaning:\n" + json.loads((folder / REPORT).read_text(encoding="utf-8"))["table"])
    return FolderCorpus(folder, source, target), key


def _clean(corpus, options: cleaning.CleaningOptions, folder: Path) -> None:
    """Writes the cleaned training split into a folder, which appears when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    counted = cleaning.CleaningReport()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as partial:
        place = Path(partial) / "text"
        pairs = cleaning.clean(corpus.pairs("train"), options, corpus.source, corpus.target, counted)
        _write(place, pairs, corpus.source, corpus.target)
        if not counted.kept:
            reasons = ", ".join(f"{cleaning.REASONS[key]}: {n:,}" for key, n in counted.removed.items() if n)
            raise UserError(f"{corpus.name}: cleaning leaves no pair of {counted.seen:,}: {reasons}; change [data]")
        with atomic_write(place / REPORT, "w") as file:
            json.dump({"corpus": corpus.name, "table": counted.table(), **counted.as_dict()}, file, indent=1)
        try:
            place.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise


def _write(folder: Path, pairs, source: str, target: str) -> None:
    with (
        atomic_write(folder / f"{source}.train.txt", "w") as sources,
        atomic_write(folder / f"{target}.train.txt", "w") as targets,
        atomic_write(folder / "doc.train.txt", "w") as docs,
    ):
        for pair in pairs:
            sources.write(pair.source + "\n")
            targets.write(pair.target + "\n")
            docs.write(pair.doc + "\n")


def _tokenizer(run: Run, corpora, report) -> Tokenizer:
    path = run.path / TOKENIZER
    if path.exists():
        return Tokenizer.load(path)
    options = run.preset.tokenizer
    report(f"Training a {options.kind} tokenizer with {options.vocabulary:,} pieces ...")
    lines = (text for corpus in corpora for pair in corpus.pairs("train") for text in pair[:2])
    tokenizer = Tokenizer.train(lines, options.vocabulary, options.kind, run.preset.training.seed)
    tokenizer.save(path)
    return tokenizer


def _shards(corpus, key, tokenizer, preset):
    """Shards of one cleaned corpus, or with subword sampling a function from epoch to shards."""
    sampling, length, seed = preset.tokenizer.sampling, preset.data.max_length, preset.training.seed

    def pairs():
        return corpus.pairs("train")

    if not sampling:
        return encode_pairs(pairs, tokenizer, _cache("shards"), key, max_length=length)
    return SampledShards(pairs, tokenizer, _cache("shards"), key, sampling, seed, max_length=length)
