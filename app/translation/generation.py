"""Writes text with a generator: reads a beginning, and continues it token by token, line by line."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops, tree

from app.runs.run import Run
from app.translation.compiling import compiled
from app.translation.padding import MULTIPLE
from app.translation.saved import read_saved, write_saved
from data.cleaning import normalise
from data.errors import UserError
from data.packing import INPUTS, PackedWindow, pack
from data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from data.windows import WindowOptions, next_window
from models.search import beam_search
from models.search.sampling import distribution, invert

FORMAT = 1
# Room for new tokens in a window, so that one compiled function serves many of them.
ROOM = 64


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen.

    Args:
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: draws from this many of the likeliest tokens; 0 for all.
        top_p: draws from the smallest set of likeliest tokens with at least this total probability; 1 for all.
        min_p: draws from tokens with at least this share of the likeliest one's probability; 0 for all.
        repetition_penalty: the last `penalty_tokens` tokens get less likely by this factor on their logits (Keskar
            et al. 2019, "CTRL", section 4.1); 1 for none.
        penalty_tokens: see `repetition_penalty`.
        no_repeat: no sequence of this many tokens comes twice in a document; 0 allows it.
        beam: searches for the likeliest end of each line with this many hypotheses instead of drawing; 0 draws.
        seed: of the draws. The draw of a document's n-th new token depends only on the seed and on n.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    penalty_tokens: int = 64
    no_repeat: int = 0
    beam: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        limits = {
            "temperature": self.temperature >= 0,
            "top_k": self.top_k >= 0,
            "top_p": 0 < self.top_p <= 1,
            "min_p": 0 <= self.min_p < 1,
            "repetition_penalty": self.repetition_penalty >= 1,
            "no_repeat": self.no_repeat >= 0,
            "beam": self.beam >= 0,
            "seed": self.seed >= 0,
        }
        for name, right in limits.items():
            if not right:
                raise UserError(f"{name.replace('_', '-')}: {getattr(self, name)} is out of range")
        drawing = {field.name: field.default for field in fields(self) if field.name not in ("beam", "seed")}
        if self.beam and any(getattr(self, name) != usual for name, usual in drawing.items()):
            raise UserError("beam: searches for the most likely text and samples nothing: leave out the other options")


class Writer:
    """A document being written: the text given, the text written, and the generator's state after it.

    Windows are cut as in training, and the state is carried from window to window, so a document may have any length.
    Without a beam, calls for one token each write the same as a single call.

    Args:
        model: a `models.text_generator.TextGenerator`.
        tokenizer: its tokenizer.
        windows: how a document is cut.
        longest: the maximum tokens of a line, which ends there.
        choice: how tokens are chosen.
        lowercase: whether given text becomes lower case, as in training.

    Attributes:
        lines: the token ids of the document's lines, of which the last is unfinished; never empty.

    Example:
        >>> writer = Writer.of_run(Run.open("runs/generator", "generator"), Choice(temperature=0.8))
        >>> writer.read("Click the button")
        >>> writer.write(100)
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        windows: WindowOptions,
        longest: int = 256,
        choice: Choice | None = None,
        lowercase: bool = False,
    ):
        self.model, self.tokenizer, self.windows = model, tokenizer, windows
        self.longest, self.choice, self.lowercase = longest, choice or Choice(), lowercase
        self._never = [PAD, BOS, UNK, *tokenizer.span_ids]
        self.begin()
        # The compiled step for each size of a window's cache.
        self._steps: dict[int, Any] = {}

    @classmethod
    def of_run(cls, run: Run, choice: Choice | None = None, which: str = "auto") -> "Writer":
        """A writer with a run's model."""
        data = run.preset.data
        model = run.load_model(which)
        return cls(model, run.tokenizer(), run.preset.window_options(), data.max_length, choice, data.lowercase)

    def begin(self, lines: list[list[int]] | None = None, written: int = 0) -> None:
        """Begins another document.

        Args:
            lines: token ids of the lines that it has already, the last one unfinished.
            written: how many of these tokens were drawn.
        """
        self.lines, self._written = lines or [[]], written
        self._first, self._number = 0, 0  # the window's first line, and how many windows came before
        self._memory = tree.map_structure(ops.convert_to_numpy, self.model.initial_memory(1))
        # Logits of the next token, the state after the tokens before it, and the room in it; None until these are read.
        self._ahead: tuple[np.ndarray, Any, int] | None = None

    def read(self, text: str) -> None:
        """Adds text to the document; a line break ends a line. The text is kept as it is, and never written again.

        Raises:
            UserError: a line is too long.
        """
        for number, line in enumerate(text.split("\n")):
            ids = self.encode(line)
            if number:
                self.lines.append([])
            length = len(self.lines[-1]) + len(ids)
            if length >= self.longest:
                raise UserError(f"a line of {length} tokens was given; the model reads lines of up to {self.longest}")
            self.lines[-1] += ids
        self._ahead = None

    def encode(self, line: str) -> list[int]:
        """The token ids of a line as `read` adds them."""
        (ids,) = self.tokenizer.target.encode([normalise(line, self.lowercase)])
        return ids

    def write(self, tokens: int) -> str:
        """Writes this many tokens, line ends included, and returns their text.

        A character that takes several tokens comes with the last of them, maybe in the next call.
        """
        return "".join(self.stream(tokens))

    def stream(self, tokens: int) -> Iterator[str]:
        """Like `write`, but yields the text piece by piece as it comes."""
        left = tokens
        while left > 0:
            before = self._text()
            chosen = self._search(left) if self.choice.beam else [self._draw()]
            for token in chosen:
                self._add(token)
            left -= len(chosen)
            yield self._text_after(before, chosen)

    def log_probabilities(self) -> np.ndarray:
        """(V,) float32: the log-probabilities of the next token, before `choice` applies."""
        logits = self._logits()
        return logits - np.logaddexp.reduce(logits)

    def save(self, path: Path | str) -> None:
        """Saves the document, so that `load` can continue it."""
        write_saved(path, self.tokenizer, FORMAT, "document", {"written": self._written, "lines": self.lines})

    def load(self, path: Path | str) -> None:
        """Continues a document that `save` wrote.

        Raises:
            UserError: the file is damaged, is not such a file, or belongs to another vocabulary.
        """
        content = read_saved(path, self.tokenizer, FORMAT, "document", "`weitblick generate --state`")
        self.begin(content["lines"], content["written"])

    def _text(self) -> str:
        return self.tokenizer.target.decode_beginning(self.lines[-1])

    def _text_after(self, before: str, chosen: Sequence[int]) -> str:
        """The text that the chosen tokens added to a last line that was `before`."""
        ended = chosen[-1] == EOS
        now = self.tokenizer.target.decode([self.lines[-2]])[0] if ended else self._text()
        return now[len(before) :] + ("\n" if ended else "")

    def _add(self, token: int) -> None:
        self._written += 1
        self.lines[-1:] = [self.lines[-1], []] if token == EOS else [[*self.lines[-1], token]]
        if self._moved_on() or self._ahead is None:
            self._ahead = None
            return
        logits, state, room = self._ahead
        self._ahead = (*self._step(BOS if token == EOS else token, state), room - 1) if room else None

    def _draw(self) -> int:
        """The next token, not added yet."""
        if len(self.lines[-1]) >= self.longest:
            return EOS
        logits, choice = self._restricted(), self.choice
        if not choice.temperature:
            return int(np.argmax(logits))
        weights, ids = distribution(
            ops.convert_to_tensor(logits[None]),
            choice.temperature,
            choice.top_k or None,
            choice.top_p,
            choice.min_p,
        )
        random = np.random.Generator(np.random.PCG64([choice.seed, self._written])).random()
        column = int(invert(weights, ops.convert_to_tensor(np.array([random], "float32")))[0][0])
        return column if ids is None else int(ops.convert_to_numpy(ids)[0, column])

    def _restricted(self) -> np.ndarray:
        """Logits (V,), with -inf for tokens that may not come, and repetitions less likely."""
        logits, choice = self._logits().copy(), self.choice
        logits[self._never] = -np.inf
        if choice.repetition_penalty > 1:
            seen = np.unique(self._history()[-choice.penalty_tokens :])
            seen = seen[seen != EOS]
            found = logits[seen]
            logits[seen] = np.where(found > 0, found / choice.repetition_penalty, found * choice.repetition_penalty)
        if choice.no_repeat:
            logits[self._repeating(choice.no_repeat)] = -np.inf
        return logits

    def _history(self) -> np.ndarray:
        """All tokens of the document (N,), line ends included."""
        flat = [token for line in self.lines[:-1] for token in (*line, EOS)]
        return np.array([*flat, *self.lines[-1]], "int64")

    def _repeating(self, size: int) -> np.ndarray:
        """The tokens, other than a line's end, that would complete a repeated sequence of `size` tokens."""
        history = self._history()
        if len(history) < size:
            return np.zeros(0, "int64")
        last = history[len(history) - size + 1 :]
        before = np.lib.stride_tricks.sliding_window_view(history, size)
        following = before[(before[:, :-1] == last).all(axis=1), -1]
        return following[following != EOS]

    def _search(self, most: int) -> list[int]:
        """The likeliest rest of the line, at most `most` tokens; without the line's end if there was no room for it."""
        # The search ends each line at its limit, so it gets one token more than is wanted.
        room = min(most, self.longest - len(self.lines[-1])) + 1
        prefix, last = self._window_tokens()
        (tokens,) = self._beam(prefix, np.array([last], "int32"), self._memory, room)
        return tokens[0][tokens[0] != PAD][:most].tolist()

    def _logits(self) -> np.ndarray:
        """Logits (V,) of the next token."""
        if self._ahead is None:
            prefix, last = self._window_tokens()
            (state,) = self._begin(prefix, self._memory)
            free = int(np.sum(prefix == PAD)) - 1
            self._ahead = (*self._step(last, state), free)
        return self._ahead[0]

    def _step(self, token: int, state: Any) -> tuple[np.ndarray, Any]:
        """Logits (V,) after one more token, and the state."""
        room = state["entries"].shape[1]
        if room not in self._steps:
            self._steps[room] = compiled(self.model.step, self.model, ("int32", 1), state)
        logits, state = self._steps[room](np.array([token], "int32"), state)
        return logits[0], state

    def _window_tokens(self) -> tuple[np.ndarray, int]:
        """The inputs of the current window (1, P) without the last one, padded by at least `ROOM`, and the last one."""
        self._moved_on()
        tokens = [token for line in self.lines[self._first :] for token in (BOS, *line)]
        prefix = np.full((1, (len(tokens) // ROOM + 2) * ROOM), PAD, "int32")
        prefix[0, : len(tokens) - 1] = tokens[:-1]
        return prefix, tokens[-1]

    def _moved_on(self) -> bool:
        """Reads whole windows into the memory until the last line is in the current one; returns whether any was."""
        before = self._first
        while True:
            lengths = [len(line) for line in self.lines[self._first :]]
            size = next_window(lengths, 0, self._number, self.windows)[2]
            if size == len(lengths):
                return self._first > before
            targets = self.lines[self._first : self._first + size]
            inputs, _ = pack([[PackedWindow([[]] * size, targets, 0, not self._number)]], MULTIPLE)
            (self._memory,) = self._remember(inputs, self._memory)
            self._first, self._number = self._first + size, self._number + 1

    @functools.cached_property
    def _begin(self):
        def run(prefix, memory):
            return (self.model.initial_state(prefix, 0, memory),)

        return compiled(run, self.model, ("int32", 2), self._memory)

    @functools.cached_property
    def _remember(self):
        def run(inputs, memory):
            return (self.model.remember(inputs, memory),)

        return compiled(run, self.model, {name: ("int32", 2) for name in INPUTS}, self._memory)

    @functools.cached_property
    def _beam(self):
        def run(prefix, last, memory, most):
            inner = self.model.initial_state(prefix, most, memory)
            state = {"inner": inner, "begins": ops.ones_like(last), "last": last}

            def step(tokens, state):
                # A search begins with its own token, but this text continues from another one.
                tokens = ops.where(state["begins"] > 0, state["last"], tokens)
                logits, inner = self.model.step(tokens, state["inner"])
                return logits, {**state, "inner": inner, "begins": ops.zeros_like(state["begins"])}

            special = {"bos": BOS, "eos": EOS, "pad": PAD, "forbidden": [i for i in self._never if i not in (PAD, BOS)]}
            return (beam_search(step, state, 1, self.choice.beam, most, **special).tokens[:, 0],)

        return compiled(run, self.model, ("int32", 2), ("int32", 1), self._memory, ("int32", 0))
