"""Looks at a model in training: loss and BLEU on the validation split."""

import math
from dataclasses import replace

from app.preparation import Prepared
from app.preset import Preset
from data.batching import ordered
from data.feeding import dataset_of


class Validation:
    """The validation of one training.

    Args:
        transformer: the model that is being trained.
        prepared: the text.
        preset: `training.bleu_lines`, `training.monitor` and the search apply; decoding is greedy, which is quick and
            ranks checkpoints as beam search does.
    """

    def __init__(self, transformer, prepared: Prepared, preset: Preset):
        from app.translation import Translator
        from models.teacher_forcing import TeacherForcing

        self.preset = preset
        self.batches = [batch for _, batch in ordered(prepared.validation, preset.training.batch_tokens)]
        lines = preset.training.bleu_lines or len(prepared.validation_pairs)
        pairs = spread(prepared.validation_pairs, lines)
        self.sources, self.references = [pair.source for pair in pairs], [pair.target for pair in pairs]
        self.objective = TeacherForcing(transformer, preset.training.label_smoothing)
        self.objective.compile(jit_compile=False)
        search = replace(preset.search, beam=1)
        self.translator = Translator(
            transformer, prepared.tokenizer, search, preset.data.lowercase, preset.data.max_length
        )

    def __call__(self) -> dict:
        """Returns `nll` in nats a token, `perplexity`, `bleu` and a `sample` (source, output, reference)."""
        from app.evaluation import decode_bleu

        batches = dataset_of(lambda: iter(self.batches))
        found = self.objective.evaluate(batches, steps=len(self.batches), verbose=0, return_dict=True)
        nll = float(found["nll"])
        bleu, examples = decode_bleu(
            self.translator, self.sources, self.references, lowercase=self.preset.data.lowercase
        )
        return {"nll": nll, "perplexity": math.exp(min(nll, 50.0)), "bleu": bleu, "sample": examples[0]}

    def score(self, found: dict) -> float:
        """The number that the best checkpoint has the most of."""
        return found["bleu"] if self.preset.training.monitor == "bleu" else -found["nll"]


def spread(items: list, count: int) -> list:
    """`count` items at even distances, so that a part stands for all documents."""
    if count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]
