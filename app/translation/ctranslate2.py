"""A decoder on CTranslate2, a runtime in C++ that starts at once and needs no Keras."""

import json
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from app.presets.schema import SearchPreset
from app.translation.batch_plan import plan_batches
from app.translation.decoder import Decoded, Request, Sampling, TokenScore
from data.errors import UserError
from data.files import read_manifest
from data.parallel import cores
from data.tokenizer import BOS, EOS, PAD

SETTINGS = "weitblick.json"
# CTranslate2 stops after beam * patience finished outputs, which is early beside an exact search; the larger this is,
# the slower. Translations equal to those of the exact search in Keras with 1, 1.5 and 2: 99.8, 99.9 and 99.9% of
# newstest2013; with a length penalty of 1.4 on Multi30k 96.3, 99.5 and 99.8%.
PATIENCE = 1.5
# Source tokens in a batch with which CTranslate2 was fastest on a core: whole numbers of 8 bits fit into its cache.
_FASTEST_BATCH = {True: 384, False: 2048}
# The score of tokens that may not come is the lowest number there is.
_IMPOSSIBLE = -1e30


class _Found(NamedTuple):
    """An output without its end token, and its log-probability; None of one that the limit cut off."""

    ids: tuple[int, ...]
    log_probability: float | None


class CTranslate2Decoder:
    """A model in CTranslate2 with a search around it; implements `app.translation.decoder.Decoder`.

    It reads no documents: each segment is decoded alone.

    The search is that of `models.search`, with these differences. It ends after `beam * PATIENCE` finished outputs.
    Tokens that may not come are taken out before the softmax, so scores are those of a distribution without them. What
    is drawn with the same seed is something else.

    Args:
        folder: what `app.export.ctranslate2.export` wrote.
        search: beam, length penalty, limits of the output and tokens in a batch.
        sampling: draws at random instead, where given.
    """

    def __init__(self, folder: Path, search: SearchPreset, sampling: Sampling | None = None):
        ctranslate2 = import_ctranslate2()
        self.search, self.sampling = search, sampling
        self.output_tokens = 0
        settings = _read_settings(Path(folder))
        self.max_positions: int | None = settings["max_positions"]
        self._most_tokens = min(search.batch_tokens, _FASTEST_BATCH[settings["quantization"].startswith("int")])
        self._pieces = json.loads((Path(folder) / "shared_vocabulary.json").read_text(encoding="utf-8"))
        self._ids = {piece: id for id, piece in enumerate(self._pieces)}
        self._never = [[self._pieces[id]] for id in (PAD, BOS)]
        count = cores()
        # A batch on each core is faster than one on all; drawing heeds the seed only with one thing after the other.
        self._workers = 1 if sampling else count
        # What it would say is that it computes 16-bit weights in float32 where the processor knows no better.
        ctranslate2.set_log_level(logging.ERROR)
        if sampling:
            # Threads take it over as they start, so it comes before them.
            ctranslate2.set_random_seed(sampling.seed % (1 << 32))
        try:
            self._translator = ctranslate2.Translator(
                str(folder), inter_threads=self._workers, intra_threads=count // self._workers, max_queued_batches=-1
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{folder}: CTranslate2 cannot load it ({error}); remove it and try again") from error

    first_memory = None
    remembers = False

    def decode_segments(self, requests: Sequence[Request]) -> list[Decoded]:
        """The best output of each segment, each decoded alone."""
        found = self.decode([request.sources[request.current] for request in requests])
        return [outputs[0] if outputs else Decoded([], 0.0) for outputs in found]

    def decode(
        self, sources: Sequence[Sequence[int]], count: int = 1, progress: Callable[[list[int]], None] | None = None
    ) -> list[list[Decoded]]:
        """Looks for the best outputs of each source; see `app.translation.keras_decoder.KerasDecoder.decode`."""
        if self.sampling is None and count > self.search.beam:
            raise UserError(f"{count} translations of each line need search.beam = {count} or more")
        limits = [self._limit(len(source)) for source in sources]
        batches = [(rows, limits[rows[0]]) for rows in self._plan([len(source) + 1 for source in sources])]
        found = dict(self._search(sources, batches, count, progress))
        # A batch has one limit, that of its longest source; where another's was passed, that source is searched again.
        passed = [row for row, ones in found.items() if any(len(one.ids) >= limits[row] for one in ones)]
        equal = {limit: [row for row in passed if limits[row] == limit] for limit in {limits[row] for row in passed}}
        found |= dict(self._search(sources, [(rows, limit) for limit, rows in equal.items()], count))
        self._score_cut(sources, found)
        results = [self._best(found[row], count) for row in range(len(sources))]
        self.output_tokens += sum(len(ones[0].ids) + 1 for ones in results if ones)
        return results

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[TokenScore]:
        """What the model thinks of given outputs; see `app.translation.keras_decoder.KerasDecoder.score`."""

        def submit(rows):
            sides = ([self._tokens(side[row]) for row in rows] for side in (sources, targets))
            return self._translator.score_batch(*sides, max_input_length=0, asynchronous=True)

        results = [TokenScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(sources, targets, strict=True)]
        for rows, scored in self._ahead(self._plan(lengths), submit):
            for row, one in zip(rows, scored, strict=True):
                results[row] = TokenScore(math.fsum(one.log_probs), len(one.log_probs))
        return results

    def _search(self, sources, batches, count: int, progress=None) -> Iterator[tuple[int, list[_Found]]]:
        """Searches batches of (rows, limit); yields each row with all that was found."""
        copies = count if self.sampling else 1
        options = self._options(count)

        def submit(batch):
            rows, limit = batch
            tokens = [self._tokens(sources[row]) for row in rows for _ in range(copies)]
            return self._translator.translate_batch(tokens, max_decoding_length=limit, **options)

        for (rows, _), results in self._ahead(batches, submit):
            for number, row in enumerate(rows):
                copied = results[number * copies : (number + 1) * copies]
                yield row, [one for result in copied for one in self._read(result, options["length_penalty"])]
            if progress:
                progress(rows)

    def _options(self, count: int) -> dict:
        """Arguments of `ctranslate2.Translator.translate_batch`."""
        options = {"asynchronous": True, "max_input_length": 0, "return_scores": True, "return_end_token": True}
        options |= {"disable_unk": True, "suppress_sequences": self._never, "beam_size": 1, "length_penalty": 0.0}
        if self.sampling:
            drawn = {"topk": self.sampling.top_k, "topp": self.sampling.top_p, "temperature": self.sampling.temperature}
            return options | {f"sampling_{name}": value for name, value in drawn.items()}
        if self.search.beam == 1:
            return options
        options |= {"beam_size": self.search.beam, "length_penalty": self.search.length_penalty, "patience": PATIENCE}
        # Without a penalty CTranslate2 itself ends when no better output can come.
        exact = count == 1 and self.search.length_penalty == 0
        return options | {"num_hypotheses": 1 if exact else round(self.search.beam * PATIENCE)}

    def _read(self, result, alpha: float) -> Iterator[_Found]:
        """What CTranslate2 found; its scores are divided by length ** alpha."""
        for pieces, score in zip(result.hypotheses, result.scores, strict=True):
            *ids, last = (self._ids[piece] for piece in pieces)
            if score > _IMPOSSIBLE:
                yield _Found(tuple(ids), score * len(pieces) ** alpha if last == EOS else None)

    def _score_cut(self, sources, found: dict[int, list[_Found]]) -> None:
        """Gives outputs that the limit cut off the log-probability that they have with an end token there."""
        cut = [(row, one.ids) for row, ones in found.items() for one in ones if one.log_probability is None]
        scores = self.score([sources[row] for row, _ in cut], [ids for _, ids in cut])
        known = {key: score.log_probability for key, score in zip(cut, scores, strict=True)}
        for row in {row for row, _ in cut}:
            found[row] = [_Found(ids, known.get((row, ids), log_prob)) for ids, log_prob in found[row]]

    def _best(self, found: list[_Found], count: int) -> list[Decoded]:
        """The best with the length penalty of `models.search`; drawn ones as they are."""
        if self.sampling:
            return [Decoded(list(ids), log_probability) for ids, log_probability in found]
        alpha = self.search.length_penalty if self.search.beam > 1 else 0.0
        # Two that were cut off may be the same now.
        scores = {ids: log_probability / ((len(ids) + 6) / 6) ** alpha for ids, log_probability in found}
        best = sorted(scores, key=scores.get, reverse=True)[:count]
        return [Decoded(list(ids), scores[ids]) for ids in best]

    def _limit(self, length: int) -> int:
        """As in `app.translation.keras_decoder`: the most tokens, with the end token, for a source of so many."""
        return min(self.search.most_tokens(length), self.max_positions)

    def _plan(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Batches of like length, and work for every core."""
        return plan_batches(lengths, min(self._most_tokens, math.ceil(sum(lengths) / self._workers)))

    def _ahead(self, jobs: Iterable, submit: Callable) -> Iterator[tuple]:
        """Each job with its results, in order; a few more are under way, not all, so that Ctrl-C need not wait long."""
        waiting: deque[tuple] = deque()
        for job in jobs:
            waiting.append((job, submit(job)))
            if len(waiting) > 2 * self._workers:
                yield self._finished(*waiting.popleft())
        while waiting:
            yield self._finished(*waiting.popleft())

    @staticmethod
    def _finished(job, futures) -> tuple:
        return job, [future.result() for future in futures]

    def _tokens(self, ids: Sequence[int]) -> list[str]:
        return [self._pieces[id] for id in ids]


def _read_settings(folder: Path) -> dict:
    """The settings of an export, all of whose files are as they were written."""
    try:
        return read_manifest(folder / SETTINGS)
    except UserError as error:
        raise UserError(f"{error}; remove the folder {folder} and try again") from error


def import_ctranslate2() -> ModuleType:
    """The package `ctranslate2`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise UserError(
            'CTranslate2 is not installed: pip install -e ".[ctranslate2]" in the checkout, or make export, does so'
        ) from error
    return ctranslate2
