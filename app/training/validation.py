"""Validates a model during training: loss on the validation split, and BLEU, or what a generator writes."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.presets.preset import Preset
from app.presets.schema import GENERATOR
from app.training.objective import teacher_forcing
from app.training.preparation import Prepared, document_batches
from app.translation.generation import Choice, Writer
from app.translation.translator import Translator
from data.batching import Batch, ordered
from data.feeding import dataset_of
from data.pairs import by_document
from data.shards import Shards
from data.windows import DROPOUTS

# Words of a text that a generator goes on with.
BEGINNING = 12


class Validation:
    """The validation of one training.

    If the preset has windows, the loss is over documents in order, with the memory state carried.

    Args:
        transformer: the model in training.
        prepared: the text.
        preset: `training.bleu_lines`, `training.monitor` and the search apply.
    """

    def __init__(self, transformer: Any, prepared: Prepared, preset: Preset):
        self.preset = preset
        self.batches, self.inputs = _batches(prepared.validation, preset), prepared.batches.inputs
        self.objective = teacher_forcing(transformer, preset)
        self.objective.build()
        self.objective.compile(jit_compile=False)
        kind = WrittenText if preset.model.kind == GENERATOR else Translations
        self.output = kind(transformer, prepared, preset)

    def __call__(self) -> dict:
        """Returns `nll` in nats per token, `perplexity`, a translator's `bleu`, and a `sample`: texts by name."""
        batches = dataset_of(lambda: iter(self.batches), self.inputs)
        found = self.objective.evaluate(batches, steps=len(self.batches), verbose=0, return_dict=True)
        nll = float(found["nll"])
        return {"nll": nll, "perplexity": math.exp(min(nll, 50.0)), **self.output()}

    def score(self, found: dict) -> float:
        """The number by which checkpoints are compared; higher is better."""
        return found["bleu"] if self.preset.training.monitor == "bleu" else -found["nll"]


class Translations:
    """Translates some of the validation split, whole documents if the preset has windows.

    Decoding is greedy, which is fast and ranks checkpoints like beam search.

    Args:
        transformer, prepared, preset: see `Validation`.
    """

    def __init__(self, transformer: Any, prepared: Prepared, preset: Preset):
        self.preset, self.in_documents = preset, preset.documents.windows != "off"
        lines = preset.training.bleu_lines or len(prepared.validation_pairs)
        documents = list(by_document(prepared.validation_pairs))
        chosen = spread_documents(documents, lines) if self.in_documents else [spread(prepared.validation_pairs, lines)]
        pairs = list(itertools.chain.from_iterable(chosen))
        self.sources, self.references = [pair.source for pair in pairs], [pair.target for pair in pairs]
        self.translator = self._translator(transformer, prepared.tokenizer, [len(document) for document in chosen])

    def __call__(self) -> dict:
        """Returns `bleu` and a `sample` of source, reference and output."""
        from app.scoring.evaluation import decode_bleu

        lowercase = self.preset.data.lowercase
        bleu, examples = decode_bleu(self.translator, self.sources, self.references, lowercase=lowercase)
        source, output, reference = examples[0]
        return {"bleu": bleu, "sample": {"source": source, "reference": reference, "output": output}}

    def _translator(self, transformer, tokenizer, sizes: list[int]):
        data, search = self.preset.data, replace(self.preset.search, beam=1)
        rest = {"form": self.preset.text_form(), "max_length": data.max_length}
        translator = Translator.of_model(transformer, tokenizer, search, self.preset.window_options(), **rest)
        if not self.in_documents:
            return translator
        return LinesOfDocuments(translator, sizes)


class WrittenText:
    """Goes on with the first words of the validation split, the likeliest token at each place.

    Args:
        transformer, prepared, preset: see `Validation`.
    """

    def __init__(self, transformer: Any, prepared: Prepared, preset: Preset):
        windows, choice = preset.window_options(), Choice(temperature=0)
        self.writer = Writer(transformer, prepared.tokenizer, windows, preset.data.max_length, choice)
        words = max(prepared.validation_pairs[:100], key=lambda pair: len(pair.target)).target.split()
        half = min(len(words) // 2, BEGINNING)
        self.beginning, self.reference = " ".join(words[:half]), " ".join(words[half : half + BEGINNING])

    def __call__(self) -> dict:
        """Returns a `sample` of the beginning, how the text goes on, and what the generator wrote."""
        self.writer.begin()
        self.writer.read(self.beginning)
        output = self.writer.write(2 * BEGINNING).strip()
        return {"sample": {"beginning": self.beginning, "reference": self.reference, "output": output}}


class LinesOfDocuments:
    """Translates a fixed set of documents, passed and returned as one list of lines, for callers that only use lines.

    Args:
        translator: a `Translator`.
        sizes: number of lines in each document.
    """

    def __init__(self, translator: Translator, sizes: list[int]):
        self.translator, self.sizes = translator, sizes

    def translate_all(self, lines: list[str], progress: Callable[[float], None] | None = None) -> list[str]:
        """One translation for each line; `progress` is called once, at the end."""
        rest = iter(lines)
        documents = [list(itertools.islice(rest, size)) for size in self.sizes]
        found = list(itertools.chain.from_iterable(self.translator.translate_documents(documents)))
        if progress:
            progress(1.0)
        return found


def _batches(shards: Shards, preset: Preset) -> list[Batch]:
    """Batches of the whole validation split, each segment once."""
    if preset.documents.windows == "off":
        return [batch for _, batch in ordered(shards, preset.training.batch_tokens)]
    # Nothing is left out or hidden here; each lane begins with a new document, and so with an empty memory.
    whole = replace(preset, documents=replace(preset.documents, **dict.fromkeys(DROPOUTS, 0.0)))
    return list(document_batches(whole, shards, multiple=8).epoch(0))


def spread(items: list, count: int) -> list:
    """`count` evenly spaced items, so that the sample represents all documents."""
    if count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def spread_documents(documents: list[list], lines: int) -> list[list]:
    """Whole documents, evenly spread over a list and in order, until they have at least `lines` lines."""
    # Bit-reversed order: any number of first elements is evenly spread.
    order = sorted(range(len(documents)), key=lambda number: int(f"{number:032b}"[::-1], 2))
    chosen, found = [], 0
    for number in order:
        if found >= lines:
            break
        chosen.append(number)
        found += len(documents[number])
    return [documents[number] for number in sorted(chosen)]
