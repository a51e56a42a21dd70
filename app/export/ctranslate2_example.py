"""Translates standard input line by line with CTranslate2 alone: pip install ctranslate2 sentencepiece

It belongs in the model's folder, next to spans.py; use its functions as a pattern for your own programs. Text is
normalised as the model's training text was; whatever must be copied is set aside and put back afterwards. If a line has
many more tokens than `max_length` in weitblick.json, split it at sentence marks first.
"""

import itertools
import json
import os
import re
import sys
import unicodedata
from pathlib import Path

import ctranslate2
import sentencepiece
import spans

PATIENCE = 1.5
PAD, BOS = 0, 2
# Characters that are not text: controls, invisible marks, noncharacters. Joiners are kept only between emoji and in
# scripts that shape their letters with them.
INVISIBLE = [0xAD, 0x34F, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
INVISIBLE += [*range(0xFFF9, 0xFFFC), *range(0xFDD0, 0xFDF0)]
INVISIBLE += [plane + end for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)]
JUNK = {code: None for code in [*range(0x20), 0x7F, *INVISIBLE] if not chr(code).isspace()}
JUNK |= {code: bytes([code]).decode("cp1252", "ignore") or None for code in range(0x80, 0xA0)}
JOINED = "[^\0-\u036f\u1e00-\u1eff\\s]"
JOINERS = re.compile(f"(?<!{JOINED})[\u200c\u200d]+|[\u200c\u200d]+(?!{JOINED})")
SURROGATES = re.compile("[\ud800-\udfff]")
LINE_ENDS = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]+")


def load(folder: str) -> tuple:
    """The settings of a folder, its tokenizers of source and target, and its translator."""
    settings = json.loads((Path(folder) / "weitblick.json").read_text(encoding="utf-8"))
    files = [Path(folder) / name for name in ("tokenizer.model", "tokenizer.target.model")]
    tokenizers = [sentencepiece.SentencePieceProcessor(model_file=str(file)) for file in files if file.exists()]
    translator = ctranslate2.Translator(str(folder), inter_threads=os.cpu_count() or 1, intra_threads=1)
    return settings, tokenizers, translator


def normalise(text: str, lowercase: bool = False) -> str:
    """A line as the model expects it: composed letters, single spaces, nothing invisible."""
    text = unicodedata.normalize("NFC", SURROGATES.sub("\ufffd", text.translate(JUNK)))
    text = " ".join(unicodedata.normalize("NFC", JOINERS.sub("", text)).split())
    return unicodedata.normalize("NFC", text.lower()) if lowercase else text


def translate(
    lines: list[str],
    settings: dict,
    tokenizers: list[sentencepiece.SentencePieceProcessor],
    translator: ctranslate2.Translator,
) -> list[str]:
    """One translation for each line."""

    def count(words):
        return [len(pieces) for pieces in tokenizers[0].encode(words)]

    finder = spans.SpanFinder(settings["copy"], settings["numbers"])
    sources = [spans.read(normalise(line), finder, settings["capitals"], count) for line in lines]
    texts = [source.text for source in sources]
    if settings["lowercase"]:
        texts = [normalise(text, True) for text in texts]
    tokens = tokenizers[0].encode(texts, out_type=str)
    search = settings["search"]
    limit = int(search["max_ratio"] * max(map(len, tokens), default=0)) + search["max_extra"] + 1
    found = translator.translate_batch(
        tokens,
        max_batch_size=1024,
        batch_type="tokens",
        beam_size=search["beam"],
        patience=PATIENCE,
        num_hypotheses=round(search["beam"] * PATIENCE) if search["beam"] > 1 else 1,
        length_penalty=search["length_penalty"],
        max_input_length=0,
        max_decoding_length=min(limit, settings["max_positions"]),
        disable_unk=True,
        suppress_sequences=[[tokenizers[-1].id_to_piece(id)] for id in (PAD, BOS)],
        return_end_token=True,
        return_scores=True,
    )
    triples = zip(sources, tokens, found, strict=True)
    return [
        best(result, search, tokenizers[-1], source) if line else source.unchanged for source, line, result in triples
    ]


def best(
    result: ctranslate2.TranslationResult,
    search: dict,
    tokenizer: sentencepiece.SentencePieceProcessor,
    source: spans.Source,
) -> str:
    """The best output, by the length penalty of Wu et al. 2016, among those that copy what they must, if any do.

    CTranslate2's own penalty divides by length ** alpha.
    """
    alpha, offset = search["length_penalty"], search["length_offset"]

    def rank(found):
        length = len(found[0])
        text = tokenizer.decode(found[0])
        ratio = length * (1 + offset) / (length + offset)
        return spans.is_whole(text, len(source.spans)), found[1] * ratio**alpha

    pieces, _ = max(zip(result.hypotheses, result.scores, strict=True), key=rank)
    return LINE_ENDS.sub(" ", source.translation(tokenizer.decode(pieces))).strip()


if __name__ == "__main__":
    model = load(Path(__file__).resolve().parent)
    # Only a line feed ends a line, whatever else Python or the locale would treat as a line end.
    sys.stdin.reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    while lines := list(itertools.islice(sys.stdin, 1000)):
        for text in translate(lines, *model):
            print(text, flush=True)
