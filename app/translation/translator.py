"""Translates text: streamed, one line out for each line in."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from app.presets.schema import SearchPreset
from app.translation.ctranslate2 import CTranslate2Decoding
from app.translation.decoded import KERAS, Decoded, Engine, Sampling, TokenScore
from app.translation.line_encoder import LineEncoder
from data.errors import UserError
from data.tokenizer import Tokenizer

_FIRST_CHUNK, _LAST_CHUNK = 8, 4096
_CHUNK_CHARACTERS = 1 << 20


class Hypothesis(NamedTuple):
    """One translation and the search's score of it: log-probability, for a beam over its length penalty.

    Of a line that was translated in parts, the score is the sum of the parts' scores.
    """

    text: str
    score: float


class Translator:
    """Turns lines into their translations.

    One line in is one line out, in the same order. Empty lines, and those of white space, stay empty. Lines of more
    than `max_length` tokens are split at sentence marks, clauses, spaces or, failing all, anywhere; their parts are
    translated one by one and joined with spaces, and one warning says so.

    Args:
        model: see `app.translation.decoding.Decoding`; or a `CTranslate2Decoding`, which has its search and its
            sampling already.
        tokenizer: of the model.
        search: how translations are looked for.
        lowercase: whether the model knows lower-case text only.
        max_length: tokens of the longest source that the model can take in one go.
        sampling: draws translations at random instead of looking for the likeliest.
        warn: is told, once, about lines that are too long; by default standard error is.

    Example:
        >>> run = Run.open("runs/starter")
        >>> translator = Translator.of_run(run)
        >>> for line in translator.translate(open_lines("manual.txt")):
        ...     print(line, flush=True)
    """

    def __init__(
        self,
        model,
        tokenizer: Tokenizer,
        search: SearchPreset | None = None,
        lowercase: bool = False,
        max_length: int = 256,
        sampling: Sampling | None = None,
        warn: Callable[[str], None] | None = None,
    ):
        self.tokenizer = tokenizer
        self.lowercase = lowercase
        self.decoding = _decoding(model, search, sampling)
        self.max_length = min(max_length, (self.decoding.max_positions or max_length + 1) - 1)
        self._encoder = LineEncoder(tokenizer, lowercase, self.max_length, warn)

    @classmethod
    def of_run(
        cls,
        run,
        checkpoint: str = "auto",
        search: SearchPreset | None = None,
        engine: Engine = KERAS,
        sampling: Sampling | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> "Translator":
        """The translator of a run.

        Args:
            run: an `app.runs.run.Run`.
            checkpoint: which weights, see `Run.weights_file`.
            search: instead of that of the run's preset.
            engine: the program that computes the model.
            sampling, warn: see the class.
        """
        data, search = run.preset.data, search or run.preset.search
        if engine.name == KERAS.name:
            model = run.load_model(checkpoint, decoding=True)
        else:
            model = CTranslate2Decoding.of_run(run, checkpoint, search, sampling, engine.quantization)
        return cls(model, run.tokenizer(), search, data.lowercase, data.max_length, sampling, warn)

    def translate(self, lines: Iterable[str]) -> Iterator[str]:
        """Translates lines as they come.

        Lines are taken in portions, small ones at first, so that the first output comes soon; what a `LineReader` has
        ready is translated before more is waited for. An error in the input is raised after the translations of all
        lines before it.

        Args:
            lines: source segments, without line ends.

        Yields:
            One translation for each line.
        """
        return (found[0].text for found in self.nbest(lines, 1))

    def nbest(self, lines: Iterable[str], count: int) -> Iterator[list[Hypothesis]]:
        """Like `translate`, with several translations of each line.

        Args:
            lines: source segments.
            count: translations wanted of each line; with a beam at most as many as it is wide.

        Yields:
            For each line up to `count` translations, best first (drawn ones in the order drawn), one at least. Of an
            empty line that is the empty one, alone. The k-th of a line in parts is made of the k-th of each part.
        """
        number = 1
        for chunk in _portions(lines):
            yield from self._translate_chunk(chunk, count, number)
            number += len(chunk)

    def translate_all(self, lines: Sequence[str], progress: Callable[[float], None] | None = None) -> list[str]:
        """Translates all lines of a list together, which is the fastest.

        Args:
            lines: source segments.
            progress: called after each batch with the share of the work that is done, 0 to 1.

        Returns:
            One translation for each line.
        """
        return [found[0].text for found in self._translate_chunk(lines, 1, 1, progress)]

    def score_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[TokenScore]:
        """How likely the model finds given translations.

        Args:
            sources, targets: as many of one as of the other.

        Returns:
            For each pair the sum of the natural log-probabilities of the target's tokens, and their number with the
            end token.

        Raises:
            UserError: for different numbers of lines, or a line of more tokens than the model has positions for.
        """
        if len(sources) != len(targets):
            raise UserError(
                f"there are {len(sources):,} source lines and {len(targets):,} target lines; "
                "line n of one must belong to line n of the other"
            )
        sides = [self._encoder.whole(side) for side in (sources, targets)]
        most = self.decoding.max_positions
        for number, pair in enumerate(zip(*sides, strict=True), start=1):
            if most and max(map(len, pair)) >= most:
                raise UserError(f"line {number} has more tokens than the {most - 1} that the model has positions for")
        return self.decoding.score(*sides)

    @property
    def output_tokens(self) -> int:
        """How many tokens have been decoded so far, end tokens included."""
        return self.decoding.output_tokens

    def _translate_chunk(
        self, lines: Sequence[str], count: int, number: int, progress: Callable[[float], None] | None = None
    ) -> list[list[Hypothesis]]:
        """Translates the lines that begin with line `number` of the input."""
        parts_of = self._encoder.parts(lines, number)
        parts = [part for line in parts_of for part in line]
        report = progress and _Share([len(part) for part in parts], progress)
        decoded = iter(self._texts(self.decoding.decode(parts, count, report)))
        return [_join([next(decoded) for _ in line]) for line in parts_of]

    def _texts(self, decoded: list[list[Decoded]]) -> list[list[Hypothesis]]:
        texts = iter(self._encoder.texts(found.ids for group in decoded for found in group))
        return [[Hypothesis(next(texts), found.score) for found in group] for group in decoded]


def _decoding(model, search: SearchPreset | None, sampling: Sampling | None):
    if isinstance(model, CTranslate2Decoding):
        return model
    # Here, as the other engine does without Keras, which takes seconds to load.
    from app.translation.decoding import Decoding

    return Decoding(model, search or SearchPreset(), sampling)


def _portions(lines: Iterable[str]) -> Iterator[list[str]]:
    """Takes lines in growing portions, and never waits for another line while it has some.

    An error of the input, such as bytes that are not UTF-8, comes after the portion before it.
    """
    waiting = getattr(lines, "waiting", lambda: False)
    lines = iter(lines)
    most, failure, ended = _FIRST_CHUNK, None, False
    while not ended:
        portion, characters = [], 0
        while len(portion) < most and characters < _CHUNK_CHARACTERS and not (portion and waiting()):
            try:
                portion.append(next(lines))
            except StopIteration:
                ended = True
                break
            except UserError as error:
                failure, ended = error, True
                break
            characters += len(portion[-1])
        if portion:
            yield portion
        most = min(2 * most, _LAST_CHUNK)
    if failure:
        raise failure


def _join(parts: list[list[Hypothesis]]) -> list[Hypothesis]:
    """Makes the translations of a line out of those of its parts."""
    if not parts:
        return [Hypothesis("", 0.0)]
    count = min(map(len, parts))
    ranks = [[part[rank] for part in parts] for rank in range(count)] or [[Hypothesis("", 0.0)]]
    return [Hypothesis(" ".join(h.text for h in rank if h.text), sum(h.score for h in rank)) for rank in ranks]


class _Share:
    """Tells how much of the work is done, by source tokens; lines would count long ones for too little."""

    def __init__(self, sizes: list[int], progress: Callable[[float], None]):
        self._sizes = sizes
        self._all = sum(sizes) or 1
        self._done = 0
        self._progress = progress

    def __call__(self, rows: list[int]) -> None:
        self._done += sum(self._sizes[row] for row in rows)
        self._progress(self._done / self._all)
