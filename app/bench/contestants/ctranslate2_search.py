"""Translates with only CTranslate2 and SentencePiece, from the folder that `weitblick export` made."""

import functools
import json
import os
from pathlib import Path

from app.bench.contestants.protocol import Channel, serve_translations

LONGEST_OUTPUT = 256


def main() -> None:
    """Translates whatever the benchmark sends, with the setting that comes with it."""
    channel = Channel()
    import ctranslate2
    import sentencepiece

    spec = channel.spec
    folder = Path(spec["run"])
    penalty = json.loads((folder / "weitblick.json").read_text())["search"]["length_penalty"]
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    @functools.cache
    def loaded(compute, workers):
        threads = len(os.sched_getaffinity(0)) // workers
        return ctranslate2.Translator(str(folder), compute_type=compute, inter_threads=workers, intra_threads=threads)

    def translate(lines, setting):
        if setting["compute"] not in ctranslate2.get_supported_compute_types("cpu"):
            raise ValueError(f"this processor has no {setting['compute']}")
        results = loaded(setting["compute"], setting["workers"]).translate_batch(
            tokenizer.encode(lines, out_type=str),
            beam_size=spec["beam"],
            length_penalty=penalty,
            max_decoding_length=LONGEST_OUTPUT,
            max_batch_size=setting["batch_tokens"],
            batch_type="tokens",
        )
        outputs = [result.hypotheses[0] for result in results]
        return tokenizer.decode(outputs), sum(len(output) + 1 for output in outputs)

    serve_translations(channel, translate)


if __name__ == "__main__":
    main()
