"""The interface between a `Translator` and the engine, the program that computes a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from app.presets.schema import SearchPreset
from data.errors import UserError

if TYPE_CHECKING:
    from app.retrieval.entries import Entries
    from models.memories.retrieval import RetrievalSettings
    from models.search import Words


@dataclass(frozen=True)
class Engine:
    """The program that computes a model.

    Args:
        name: one of `ENGINES`.
        quantization: how CTranslate2 stores weights, one of `QUANTIZATIONS`; "" for Keras.
        open: for engines other than Keras, `open(run, checkpoint, search, sampling)` makes the `Decoder` of a run.
    """

    name: str = "keras"
    quantization: str = ""
    open: Callable[..., "Decoder"] | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict:
        """Name and quantization, for JSON."""
        return {"name": self.name, "quantization": self.quantization}


ENGINES = ("keras", "ctranslate2")
QUANTIZATIONS = ("float32", "bfloat16", "float16", "int16", "int8", "int8_float32", "int8_bfloat16")
KERAS = Engine()


def refuse_other_models(search: SearchPreset, reason: str) -> None:
    """Refuses a search that other models join.

    Args:
        search: settings of the search.
        reason: why, and what to do.

    Raises:
        UserError: it names an ensemble or a language model.
    """
    for key, nothing in (("ensemble", "[]"), ("language_model", '""')):
        if getattr(search, key):
            raise UserError(f"search.{key}: {reason}, or leave it out with 'search.{key} = {nothing}'")


def refuse_more(count: int, most: int) -> None:
    """Refuses to give more outputs of a line than a search has.

    Raises:
        UserError: it names the key that sets how many there are.
    """
    if count > most:
        raise UserError(f"{count} translations of each line need search.beam = {count} or more")


@dataclass(frozen=True)
class Sampling:
    """Settings for random sampling, instead of a search for the likeliest translation.

    Args:
        temperature: logits are divided by it; below 1 likely tokens become likelier.
        top_k: samples from this many of the likeliest tokens; 0 for all.
        top_p: samples from the smallest set of likeliest tokens with at least this total probability; 1 for all.
        seed: the same seed gives the same samples for the same input in the same chunks.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not self.temperature > 0:
            raise UserError(f"temperature = {self.temperature} is not above 0; for greedy search use a beam of 1")
        if self.top_k < 0:
            raise UserError(f"top-k = {self.top_k} is below 0; 0 means all tokens")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p = {self.top_p} is not above 0 and at most 1; 1 means all tokens")


class Decoded(NamedTuple):
    """One decoded sequence: token ids without the end token, and its search score."""

    ids: list[int]
    score: float


class TokenScore(NamedTuple):
    """The log-probability (natural) of a given sequence, and its number of tokens with the end token."""

    log_probability: float
    tokens: int


def token_score(decoded: Decoded, search: SearchPreset) -> TokenScore:
    """The log-probability that an output had in its search, without the length penalty."""
    tokens = len(decoded.ids) + 1
    return TokenScore(decoded.score * search.penalty(tokens), tokens)


Forms = Sequence[Sequence[int]]


class Request(NamedTuple):
    """A segment to decode.

    Fields:
        sources: the token ids of each source segment in its window, without end tokens.
        before: the token ids of each output before its own in the window.
        current: the index in `sources` of the segment to decode.
        memory: the memory state before the window; None for a model that does not read documents.
        stored: gives what retrieval may read; None for nothing.
        terms: the accepted forms, in tokens, of each term that the output must contain.
    """

    sources: Sequence[Sequence[int]]
    before: Sequence[Sequence[int]]
    current: int
    memory: dict | None
    stored: "Callable[[], Entries] | None" = None
    terms: Sequence[Forms] = ()


def length_of(segments: Sequence[Any]) -> int:
    """The tokens of segments, segment breaks included."""
    return sum(len(ids) + 1 for ids in segments)


def window_length(window: Any) -> int:
    """The tokens of a window (`data.packing.PackedWindow`), on the side that has more."""
    return max(length_of(window.sources), length_of(window.targets))


class Decoder(Protocol):
    """A model with a search around it.

    Attributes:
        max_positions: the maximum tokens on either side, end token included; None for no limit.
        output_tokens: tokens decoded so far, end tokens included.
        first_memory: the memory at a document's start, a nested dictionary of arrays; None for a model that does not
            read documents. Then each segment is decoded alone, and `remember`, `inspect` and `score_windows` are not
            called.
        remembers: whether anything is carried from one window to the next.
        most: the maximum number of outputs of a source.
        retrieval: how stored entries are read; None for an engine that cannot read any.
        words: where words begin among the tokens; None for an engine that cannot enforce terms.
        attends: whether `attend` can be called.
        search: beam, length penalty and limits.
    """

    max_positions: int | None
    first_memory: dict | None
    search: SearchPreset
    retrieval: "RetrievalSettings | None"
    words: "Words | None"
    attends: bool

    @property
    def output_tokens(self) -> int: ...

    @property
    def most(self) -> int: ...

    @property
    def remembers(self) -> bool: ...

    def decode_segments(
        self, requests: Sequence[Request], count: int = 1, progress: Callable[[list[int]], None] | None = None
    ) -> list[list[Decoded]]:
        """The best outputs of each segment, after the outputs before it in its window and with its memory.

        Args:
            requests: the segments; no source is empty.
            count: outputs of each; in beam search at most the beam size.
            progress: called after each batch with the indices of the segments in it.

        Returns:
            Up to `count` outputs of each, best first; fewer where no more exist.

        Raises:
            UserError: for more outputs than the beam size, or a model that gives NaN.
        """

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[TokenScore]:
        """The log-probability of given outputs."""

    def score_windows(self, documents: Sequence[Sequence[Any]]) -> list[list[TokenScore]]:
        """The log-probability of the scored segments in each document's windows (`data.packing.PackedWindow`)."""

    def remember(self, windows: Sequence[Any], memories: Sequence[dict]) -> list[dict]:
        """The memory of each document after one more window."""

    def entries(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> "list[Entries]":
        """What retrieval may read of each pair: a state for each target token, end token included."""

    def read_by(self, settings: Any, gate: Any = None) -> None:
        """Reads stored entries with other settings of `[memory.retrieval]` from now on."""

    def read_index(self, search: Callable[..., Any] | None) -> None:
        """Also reads the nearest entries of an index at each step; see `models.memories.lookup.Search`."""

    def attend(self, source: Sequence[int], target: Sequence[int]) -> Any:
        """How a given output attends to its source."""

    def inspect(self, window: Any, memory: dict) -> dict[str, Any]:
        """How the memory was used in a window."""
