"""One translation from a cold start, by steps: for Weitblick, CTranslate2 alone, or Marian in transformers."""

import os
import sys
import time

BEGIN = time.perf_counter()


def main() -> None:
    """Does what its argument names, with a line of standard input, and prints `step seconds` lines."""
    line = sys.stdin.readline().strip()
    steps = {"ours": _ours, "ctranslate2": _ctranslate2, "marian": _marian, "marian-folder": _make_marian}
    last = BEGIN
    for step in steps[sys.argv[1]](line, *sys.argv[2:]):
        now = time.perf_counter()
        print(f"{step} {now - last:.4f}")
        last = now


def _ours(line, folder):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from app.runs.precision import settle_for_search
    from app.runs.run import Run
    from app.translation.translator import Translator

    run = Run.open(folder)
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    settle_for_search(run.preset.model.width)
    yield "imports"
    translator = Translator.of_run(run)
    yield "model"
    translator.translate_all([line])
    yield "first"
    translator.translate_all([line])
    yield "second"


def _ctranslate2(line, folder):
    import ctranslate2
    import sentencepiece

    yield "imports"
    translator = ctranslate2.Translator(folder, compute_type="int8")
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/tokenizer.model")
    yield "model"
    for step in ("first", "second"):
        tokens = tokenizer.encode([line], out_type=str)
        tokenizer.decode(translator.translate_batch(tokens, beam_size=4)[0].hypotheses[0])
        yield step


def _marian(line, folder, length):
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    import sentencepiece
    import torch
    from transformers import MarianMTModel

    yield "imports"
    model = MarianMTModel.from_pretrained(folder).eval()
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/tokenizer.model")
    yield "model"
    for step in ("first", "second"):
        tokens = torch.tensor([[*tokenizer.encode(line), 3]])
        # Its weights are random, so the length is given.
        with torch.no_grad():
            ids = model.generate(tokens, num_beams=4, max_new_tokens=int(length), min_new_tokens=int(length))
        tokenizer.decode(ids[0].tolist())
        yield step


def _make_marian(line, folder, export):
    """A model of the export's shape with random weights."""
    import json
    import shutil

    from app.bench.contestants.marian_training import _model

    with open(f"{export}/weitblick.json") as file:
        shape = json.load(file)["model"]
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_file=f"{export}/tokenizer.model")
    _model({**shape, "vocabulary": tokenizer.get_piece_size()}).save_pretrained(folder)
    shutil.copy(f"{export}/tokenizer.model", folder)
    yield "made"


if __name__ == "__main__":
    main()
