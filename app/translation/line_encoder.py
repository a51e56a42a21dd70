"""Lines to token ids and back: normalised, and in parts where they are too long for the model."""

import sys
from collections.abc import Callable, Iterable, Sequence

from app.translation.lines import one_line
from app.translation.splitting import split_long
from data.cleaning import normalise
from data.tokenizer import Tokenizer


class LineEncoder:
    """Says of which tokens a line is made, and which text some tokens are.

    Args:
        tokenizer: of the model.
        lowercase: whether the model knows lower-case text only.
        max_length: tokens of the longest source that the model can take in one go.
        warn: is told, once, about lines that are too long; by default standard error is.
    """

    def __init__(
        self, tokenizer: Tokenizer, lowercase: bool, max_length: int, warn: Callable[[str], None] | None = None
    ):
        self.tokenizer, self.lowercase, self.max_length = tokenizer, lowercase, max_length
        self._warn = warn or print_warning
        self._warned = False

    def parts(self, lines: Sequence[str], number: int = 1) -> list[list[list[int]]]:
        """The tokens of each part of each line: no part for an empty line, most often one.

        Args:
            lines: source segments.
            number: that of the first line in its text, for the warning.
        """
        texts = [self._normalise(line) for line in lines]
        found = []
        for text, ids in zip(texts, self.tokenizer.encode(texts), strict=True):
            if len(ids) > self.max_length:
                self._say_once(number + len(found), len(ids))
                found.append(self.tokenizer.encode(split_long(text, self._count, self.max_length)))
            else:
                found.append([ids] if ids else [])
        return found

    def whole(self, lines: Sequence[str]) -> list[list[int]]:
        """The tokens of each line, however many."""
        return self.tokenizer.encode([self._normalise(line) for line in lines])

    def texts(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """The text, always one line, of each sequence of tokens."""
        return [one_line(text) for text in self.tokenizer.decode(list(ids))]

    def _normalise(self, line: str) -> str:
        return normalise(line, self.lowercase)

    def _count(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer.encode(texts)]

    def _say_once(self, number: int, tokens: int) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"line {number} has {tokens:,} tokens, and the model takes {self.max_length:,}: it is split at "
                "sentence marks and translated in parts, and so is every other line of this kind"
            )


def print_warning(message: str) -> None:
    """Tells a person something on standard error."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
