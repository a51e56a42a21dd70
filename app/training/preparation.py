"""Prepares a preset's corpora for training: cleaned text, a tokenizer and batches."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data.cleaning as cleaning
from app.presets.preset import Preset
from app.presets.schema import DataPreset
from app.runs.run import REPORT, TOKENIZER, Run
from app.terminal import PairsBar, progress_console
from app.training.first_stage import borrow_tokenizer, take_tokenizer, unchecked_text
from app.training.text import CleanCorpus, cleaning_options, digest, training_text
from data.batching import Batches
from data.corpora.corpora import parse_mixture
from data.documents import DocumentBatches
from data.errors import UserError
from data.files import cache_folder, write_json
from data.pairs import Pair
from data.parallel import Workers
from data.shards import SampledShards, Shards, encode_pairs
from data.spans import PIECES, piece
from data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prepared:
    """All text of one training.

    `batches` are those of the training split, `DocumentBatches` if the preset has windows; `fingerprint` is a hash of
    the cleaned training text. `validation` holds the shards of the validation splits (None if there are none),
    `validation_pairs` the same segments as normalised text.
    """

    tokenizer: Tokenizer
    batches: Batches
    fingerprint: str
    validation: Shards | None
    validation_pairs: list[Pair]


def prepare(
    run: Run,
    folders: Iterable[Path | str] = (),
    report: Callable[[str], None] = print,
    counts: Any = None,
    worker: int = 0,
) -> Prepared:
    """Cleans the text, trains the tokenizer and encodes, on all cores; reuses earlier work.

    Args:
        run: the run; if it has no tokenizer yet, it gets that of `training.start` or `tokenizer.run`, or a newly
            trained one.
        folders: where to look for folder corpora.
        report: called with lines for the user; long steps show their progress on standard error.
        counts: `Batches.counts` from a checkpoint.
        worker: the index of this process among those that train together.

    Returns:
        All that training needs.

    Raises:
        UserError: an unknown corpus, a missing split, no text left, a vocabulary too large for the text, or a run in
            `training.start` or `tokenizer.run` that does not fit.
    """
    preset, form = run.preset, run.preset.text_form()
    if not (run.path / TOKENIZER).exists():
        if preset.training.start:
            take_tokenizer(run)
            _warn_of_unchecked_text(run, report)
        elif preset.tokenizer.run:
            borrow_tokenizer(run)
    # First of all, as the training text is compared with it, and that compares only what is on this machine.
    pairs = split_pairs(preset, preset.data.validation, "validation", folders)
    console = progress_console()
    with Workers() as workers:
        corpora = training_text(preset, folders, report, console, workers)
        if worker == 0:
            counts_of = {corpus.name: corpus.report() for corpus in corpora}
            write_json(run.path / REPORT, {"holdout": preset.data.holdout, "corpora": counts_of})
        if preset.documents.windows != "off":
            _warn_of_no_documents(corpora, report)
        tokenizer = _tokenizer(run, corpora, report)
        shards = [_shards(corpus, tokenizer, preset, console, workers, worker, report) for corpus in corpora]
    validation = None
    if pairs:
        length = preset.data.max_length
        validation = encode_pairs(pairs, tokenizer, _shards_cache(), digest(pairs), max_length=length, form=form)
    batches = _batches(preset, shards, [corpus.weight for corpus in corpora], counts, tokenizer)
    return Prepared(tokenizer, batches, digest([corpus.key for corpus in corpora]), validation, pairs)


def text_lines(data: DataPreset) -> Iterator[str]:
    """Lines that name the training, validation and test text; notes defaults that are other text than is trained on."""
    corpora = [name for name, _ in parse_mixture(data.corpora)]
    yield "; ".join(
        f"{what}: {', '.join(names) or 'none'}"
        for what, names in (("training text", corpora), ("validation", data.validation), ("test", data.test))
    )
    default = DataPreset()
    elsewhere = [
        f"data.{key}"
        for key in ("validation", "test")
        if (names := getattr(data, key)) == getattr(default, key) and not set(names) & set(corpora)
    ]
    if elsewhere:
        yield (
            f"note: {' and '.join(elsewhere)}: {', '.join(default.validation)} by default, which is other text than is "
            "trained on; name corpora with text of its kind"
        )


def document_batches(preset: Preset, shards: Any, **rest: Any) -> DocumentBatches:
    """The batches of a preset with windows; `rest` holds further arguments of `DocumentBatches`."""
    training, documents = preset.training, preset.documents
    return DocumentBatches(
        shards,
        documents.lanes,
        training.batch_tokens,
        documents.back_propagation,
        preset.window_options(),
        training.seed,
        **rest,
    )


def split_pairs(preset: Preset, names: Iterable[str], split: str, folders: Iterable[Path | str] = ()) -> list[Pair]:
    """All pairs of one split of some corpora, joined and normalised.

    If there are several corpora, the name of each document begins with that of its corpus.
    """
    options = cleaning_options(preset)
    corpora, pairs, names = preset.corpora(folders), [], list(names)
    for name in names:
        corpus = corpora.open(name)
        if split not in corpus.splits():
            raise UserError(f"{name}: has no {split} split; it has {', '.join(corpus.splits())}")
        own = cleaning.normalise_pairs(corpus.pairs(split), options)
        pairs += [pair._replace(doc=f"{name}/{pair.doc}") if pair.doc and len(names) > 1 else pair for pair in own]
    return pairs


def _batches(preset: Preset, shards: list, weights, counts, tokenizer: Tokenizer) -> Batches:
    training = preset.training
    drawn = (lambda epoch: [draw(epoch) for draw in shards]) if preset.tokenizer.sampling else shards
    rest = {"multiple": _padding_multiple(), "weights": weights, "counts": counts}
    if preset.documents.windows == "off":
        return Batches(drawn, training.batch_tokens, training.seed, **rest)
    return document_batches(preset, drawn, **rest, copied=tokenizer.span_ids)


def _warn_of_unchecked_text(run: Run, report: Callable[[str], None]) -> None:
    for stage, unchecked in unchecked_text(run):
        names = ", ".join(unchecked)
        if stage.summary().get("imported"):
            report(
                f"warning: training.start: {stage.path} was imported, and may have been trained on text of {names}: "
                "their scores may be too high"
            )
        else:
            report(
                f"warning: training.start: {stage.path} was trained without leaving out text that {names} repeats, so "
                "their scores may be too high; to rule it out, name these corpora in data.validation or data.test of "
                "that run's preset"
            )


def _warn_of_no_documents(corpora: list[CleanCorpus], report) -> None:
    for corpus in corpora:
        if not any(pair.doc for pair in corpus.pairs()):
            report(f"warning: {corpus.name} has no documents: each segment is read on its own, without memory")


def _padding_multiple() -> int:
    """Lengths are padded to a multiple of this: small to waste little, larger if each shape is compiled separately."""
    import keras

    return 8 if keras.backend.backend() == "jax" else 2


def _shards_cache() -> Path:
    return cache_folder() / "shards"


def _tokenizer(run: Run, corpora: list[CleanCorpus], report) -> Tokenizer:
    if (run.path / TOKENIZER).exists():
        return run.tokenizer()
    options, form = run.preset.tokenizer, run.preset.text_form()
    symbols = [piece(number) for number in range(1, PIECES + 1)] if form.copy else []
    report(f"Training a {options.kind} tokenizer with {options.vocabulary:,} pieces ...")
    lines = (text for corpus in corpora for pair in corpus.pairs() for text in form.pair(*pair[:2]))
    seed = run.preset.training.seed
    tokenizer = Tokenizer.train(lines, options.vocabulary, options.kind, seed, symbols=symbols)
    run.save_tokenizer(tokenizer)
    return tokenizer


def _shards(corpus: CleanCorpus, tokenizer, preset, console, workers, worker: int, report):
    """Shards of one cleaned corpus, or with sub-word sampling a function from epoch to shards."""
    sampling, seed, cache = preset.tokenizer.sampling, preset.training.seed, _shards_cache()
    rest = {"max_length": preset.data.max_length, "form": preset.text_form()}
    if sampling:
        # Each worker has its own, because it removes an epoch's shards when another worker may still need them.
        own = cache / f"worker-{worker}" if worker else cache
        return SampledShards(corpus.pairs, tokenizer, own, corpus.key, sampling, seed, **rest)
    with PairsBar(console, f"encoding {corpus.name}", len(corpus)) as bar:
        common = (corpus.pairs, tokenizer, cache, corpus.key)
        shards = encode_pairs(*common, **rest, workers=workers, progress=bar)
    if shards.too_long:
        most = preset.data.max_length
        report(f"{corpus.name}: {shards.too_long:,} pairs have more than {most} tokens on a side and are left out")
    return shards
