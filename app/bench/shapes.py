"""The model shapes that are measured, and for how long."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Shape:
    """One Transformer and its token batch.

    `warmup` updates come before the first turn, and a turn has `updates`. In the sweep, each setting gets
    `trial_warmup` and then `trial_updates` updates.
    """

    name: str
    description: str
    vocabulary: int
    encoder_layers: int
    decoder_layers: int
    width: int
    hidden: int
    heads: int
    batch_tokens: int
    warmup: int
    updates: int
    trial_warmup: int = 2
    trial_updates: int = 3
    dropout: float = 0.1
    max_length: int = 128

    def as_dict(self) -> dict:
        """For JSON."""
        return asdict(self)

    def changes(self, corpus: str) -> list[str]:
        """The preset keys that make Weitblick train this shape on a corpus."""
        model = {name: getattr(self, name) for name in MODEL_KEYS}
        return [
            f'data.corpora=["{corpus}"]',
            "data.validation=[]",
            "data.test=[]",
            f"data.max_length={self.max_length}",
            'tokenizer.kind="bpe"',
            "tokenizer.sampling=0.0",
            f"tokenizer.vocabulary={self.vocabulary}",
            *(f"model.{name}={value}" for name, value in model.items()),
            f"training.batch_tokens={self.batch_tokens}",
            "training.label_smoothing=0.1",
            "training.clip_norm=1.0",
            "training.accumulate=1",
            "training.updates=100000000",
            "training.minutes=0",
            "training.validate_every=100000000",
            "training.checkpoint_every=100000000",
            "training.patience=0",
        ]


MODEL_KEYS = ("encoder_layers", "decoder_layers", "width", "hidden", "heads", "dropout")
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", "multi30k-tiny: 4+4 layers of 128/256", 10_000, 4, 4, 128, 256, 4, 4096, 6, 8),
        Shape("256", "4+4 layers of 256/1024", 8_000, 4, 4, 256, 1024, 4, 4096, 3, 5),
        Shape("base", "the paper's base: 6+6 layers of 512/2048", 32_000, 6, 6, 512, 2048, 8, 2048, 2, 3, 1, 1),
        # For the benchmark's own test.
        Shape("toy", "1+1 layers of 16/32", 400, 1, 1, 16, 32, 2, 256, 2, 2, 1, 1),
    )
}


def quick(shape: Shape) -> Shape:
    """The same shape with the fewest updates that still say anything."""
    values = {**shape.as_dict(), "warmup": 1, "updates": 2, "trial_warmup": 1, "trial_updates": 1}
    return Shape(**values)


def matrix_flops(shape: dict, sums: dict) -> float:
    """Floating-point operations of all matrix products of a training on given tokens, forward and backward.

    A product of (m, k) and (k, n) has 2mkn, and the backward pass twice as many. Only real tokens count, not padding;
    attention counts each pair of positions, even those that the look-ahead mask hides.

    Args:
        shape: see `Shape`.
        sums: over the sentence pairs: `source` and `target` tokens, and `source_source`, `target_target` and
            `source_target`, the products of the sentences' lengths.

    Returns:
        3 * 2 * (L_e * (source * (4DD + 2DF) + 2D * source_source) + L_d * (target * (6DD + 2DF) + source * 2DD +
        2D * (target_target + source_target)) + target * DV).
    """
    width, hidden = shape["width"], shape["hidden"]
    square, inner = width * width, 2 * width * hidden
    encoder = sums["source"] * (4 * square + inner) + 2 * width * sums["source_source"]
    decoder = sums["target"] * (6 * square + inner) + sums["source"] * 2 * square
    decoder += 2 * width * (sums["target_target"] + sums["source_target"])
    output = sums["target"] * width * shape["vocabulary"]
    return 6.0 * (shape["encoder_layers"] * encoder + shape["decoder_layers"] * decoder + output)
