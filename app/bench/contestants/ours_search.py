"""Translates with `app.translation.translator.Translator`, as `weitblick translate` does."""

import os

from app.bench.contestants.protocol import Channel, serve_translations


def main() -> None:
    """Loads the run and translates whatever the benchmark sends."""
    channel = Channel()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from dataclasses import replace

    from app.runs.precision import settle_for_search
    from app.runs.run import Run
    from app.translation.translator import Translator

    spec = channel.spec
    run = Run.open(spec["run"])
    settle_for_search(run.preset.model.width)
    search = replace(run.preset.search, beam=spec["beam"])
    translator = Translator.of_run(run, search=search)

    def translate(lines, setting):
        before = translator.output_tokens
        found = translator.translate_all(lines)
        return found, translator.output_tokens - before

    serve_translations(channel, translate)


if __name__ == "__main__":
    main()
