"""Makes what the search is measured on: a run of the base shape, and exports for CTranslate2."""

from pathlib import Path

from app.bench.contestants.protocol import Channel


def main() -> None:
    """Grows the run where the specification says so, and exports it."""
    channel = Channel()
    from app.bench.grow import grow
    from app.export.ctranslate2 import export
    from app.runs.run import Run

    spec = channel.spec
    run = Run.open(spec["run"])
    if spec["grow"]:
        run = grow(run, Path(spec["folder"]) / "run", **spec["grow"])
    export(run, Path(spec["folder"]) / "ctranslate2")
    model = run.preset.model
    layers = f"{model.encoder_layers}+{model.decoder_layers} layers of {model.width}/{model.hidden}"
    channel.send(run=str(run.path), shape=layers, vocabulary=run.tokenizer().vocabulary_size)


if __name__ == "__main__":
    main()
