"""Translates with only CTranslate2 and SentencePiece, from the folder that `weitblick export` made."""

import functools
import os
from pathlib import Path

from app.bench.contestants.prepared import Prepared
from app.bench.contestants.protocol import Channel, serve_translations

LONGEST_OUTPUT = 256


def main() -> None:
    """Translates whatever the benchmark sends, with the setting that comes with it."""
    channel = Channel()
    import ctranslate2

    spec = channel.spec
    folder = Path(spec["run"])
    prepared = Prepared(folder)

    @functools.cache
    def loaded(compute, workers):
        threads = len(os.sched_getaffinity(0)) // workers
        return ctranslate2.Translator(str(folder), compute_type=compute, inter_threads=workers, intra_threads=threads)

    def translate(lines, setting):
        if setting["compute"] not in ctranslate2.get_supported_compute_types("cpu"):
            raise ValueError(f"this processor has no {setting['compute']}")

        def decode(sources):
            results = loaded(setting["compute"], setting["workers"]).translate_batch(
                sources,
                beam_size=spec["beam"],
                length_penalty=prepared.search["length_penalty"],
                max_decoding_length=LONGEST_OUTPUT,
                max_batch_size=setting["batch_tokens"],
                batch_type="tokens",
            )
            return [result.hypotheses[0] for result in results]

        return prepared.translate(lines, decode)

    serve_translations(channel, translate)


if __name__ == "__main__":
    main()
