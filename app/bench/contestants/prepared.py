"""What Weitblick does with lines before and after its model, for peers that compute only the model."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.forms import TextForm

Pieces = list[str]


class Prepared:
    """Gives a peer the same pieces that Weitblick's model reads, and makes lines of what it answers.

    Args:
        folder: an export for CTranslate2.

    Attributes:
        search: the search settings in it.
        tokenizer: its `sentencepiece.SentencePieceProcessor`.
    """

    def __init__(self, folder: Path):
        import sentencepiece

        about = json.loads((folder / "weitblick.json").read_text(encoding="utf-8"))
        self._form = TextForm(about["lowercase"], tuple(about["copy"]), about["numbers"], about["capitals"])
        self.search: dict[str, Any] = about["search"]
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    def translate(self, lines: Sequence[str], decode: Callable[[list[Pieces]], list[Pieces]]) -> tuple[list[str], int]:
        """The translations, and the number of tokens that the peer wrote for them, with end tokens.

        Args:
            lines: source lines.
            decode: the peer: the pieces of each source, none empty, to those of its translation.
        """
        sources = [self._form.source(line, self._lengths) for line in lines]
        pieces = self.tokenizer.encode([source.text for source in sources], out_type=str)
        found = [source.unchanged for source in sources]
        open_lines = [number for number, own in enumerate(pieces) if own]
        outputs = decode([pieces[number] for number in open_lines])
        for number, text in zip(open_lines, self.tokenizer.decode(outputs), strict=True):
            found[number] = sources[number].translation(text)
        return found, sum(len(output) + 1 for output in outputs)

    def _lengths(self, words: Sequence[str]) -> list[int]:
        return [len(pieces) for pieces in self.tokenizer.encode(list(words))]
