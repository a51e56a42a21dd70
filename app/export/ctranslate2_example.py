"""Translates standard input line by line with CTranslate2 alone: pip install ctranslate2 sentencepiece

It stands in the folder of the model, and its functions are a pattern for programs of your own. Lines of many more
tokens than `max_length` of weitblick.json want to be split before, at sentence marks.
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

PATIENCE = 1.5
LINE_ENDS = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]+")


def load(folder):
    """Settings, tokenizer and translator of a folder."""
    settings = json.loads((Path(folder) / "weitblick.json").read_text(encoding="utf-8"))
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(Path(folder) / "tokenizer.model"))
    translator = ctranslate2.Translator(str(folder), inter_threads=os.cpu_count() or 1, intra_threads=1)
    return settings, tokenizer, translator


def translate(lines, settings, tokenizer, translator):
    """One translation for each line."""
    texts = [" ".join(unicodedata.normalize("NFC", line).split()) for line in lines]
    tokens = tokenizer.encode([text.lower() if settings["lowercase"] else text for text in texts], out_type=str)
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
        return_end_token=True,
        return_scores=True,
    )
    pairs = zip(tokens, found, strict=True)
    return [best(result, search["length_penalty"], tokenizer) if line else "" for line, result in pairs]


def best(result, alpha, tokenizer):
    """The best output by the length penalty of Wu et al. 2016; CTranslate2's own divides by length ** alpha."""

    def score(found):
        length = len(found[0])
        return found[1] * length**alpha / ((length + 5) / 6) ** alpha

    pieces, _ = max(zip(result.hypotheses, result.scores, strict=True), key=score)
    return LINE_ENDS.sub(" ", tokenizer.decode(pieces)).strip()


if __name__ == "__main__":
    model = load(Path(__file__).resolve().parent)
    while lines := list(itertools.islice(sys.stdin, 1000)):
        for text in translate(lines, *model):
            print(text, flush=True)
