"""Trains with JoeyNMT's own `train` on a configuration file, from the same text and the same tokenizer."""

import functools
import shutil
import tempfile
from pathlib import Path

from app.bench.contestants.protocol import Channel, serve_training

SPECIALS = 4


def main() -> None:
    """Trains one model in turns, or one for each setting of a sweep."""
    channel = Channel()
    import torch

    serve_training(channel, functools.partial(_train, channel.spec), threads=torch.get_num_threads())


def _train(spec, setting, clock) -> None:
    from joeynmt import training

    adapt(setting["precision"])

    class Manager(_original_manager(training)):
        """JoeyNMT's training, timed; it saves nothing when the benchmark ends it."""

        counted = None

        def _train_step(self, batch):
            # The update of a batch comes after this method, so the batch counted here is the one before.
            if self.counted is not None:
                clock.updated(self.counted)
            self.counted = int(batch.ntokens)
            return super()._train_step(batch)

        def _save_checkpoint(self, new_best, score):
            pass

    training.TrainManager = Manager
    folder = Path(tempfile.mkdtemp())
    try:
        training.train(0, None, configuration(spec, folder), skip_test=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def adapt(precision: str) -> None:
    """Makes JoeyNMT read large vocabularies fast, and compute in bfloat16 on a processor."""
    from joeynmt import training, vocabulary

    vocabulary.Vocabulary.add_tokens = _add_tokens
    training.parse_global_args = _with_precision(precision)


def _original_manager(training):
    manager = training.TrainManager
    return manager.__base__ if manager.__name__ == "Manager" else manager


def _add_tokens(self, tokens) -> None:
    """Does what JoeyNMT's method does, but by dictionary; its list search takes a minute for 32,000 pieces."""
    for token in tokens:
        if token not in self._stoi:
            self._stoi[token] = len(self._itos)
            self._itos.append(token)


def _with_precision(precision):
    """JoeyNMT only knows float16, and not on a processor; its autocast accepts bfloat16 nevertheless."""
    import torch
    from joeynmt.config import parse_global_args

    def parse(cfg=None, rank=0, mode="train"):
        args = parse_global_args(cfg, rank, mode)
        if precision != "bfloat16":
            return args
        return args._replace(autocast={"device_type": "cpu", "enabled": True, "dtype": torch.bfloat16})

    return parse


def configuration(spec: dict, folder: Path) -> dict:
    """JoeyNMT's configuration of a training; `folder` gets its files."""
    import sentencepiece

    text, shape = Path(spec["folder"]), spec["shape"]
    model = sentencepiece.SentencePieceProcessor(model_file=str(text / "run" / "tokenizer.model"))
    pieces = [model.id_to_piece(number) for number in range(SPECIALS, model.get_piece_size())]
    (folder / "vocabulary.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    side = {
        "level": "bpe",
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": str(text / "run" / "tokenizer.model")},
        "voc_file": str(folder / "vocabulary.txt"),
        "max_length": spec["max_length"],
    }
    data = {"train": str(text / "train"), "dev": str(text / "few"), "dataset_type": "plain"}
    data |= {"src": {"lang": "en", **side}, "trg": {"lang": "de", **side}}
    return {
        "name": "bench",
        "model_dir": str(folder),
        "use_cuda": False,
        "data": data,
        "testing": {"beam_size": 1},
        "training": _training(spec),
        "model": _model(shape),
    }


def _training(spec) -> dict:
    return {
        "optimizer": "adam",
        "adam_betas": [0.9, 0.98],
        "learning_rate": 7e-4,
        "learning_rate_min": 1e-9,
        "scheduling": "warmupinversesquareroot",
        "learning_rate_warmup": 4000,
        "clip_grad_norm": 1.0,
        "label_smoothing": 0.1,
        "loss": "crossentropy",
        "normalization": "tokens",
        "batch_size": spec["batch_tokens"],
        "batch_type": "token",
        "epochs": 1000,
        "validation_freq": 10**9,
        "logging_freq": 10**9,
        "early_stopping_metric": "loss",
        "shuffle": True,
    }


def _model(shape) -> dict:
    def side(layers):
        return {
            "type": "transformer",
            "num_layers": layers,
            "num_heads": shape["heads"],
            "embeddings": {"embedding_dim": shape["width"], "scale": True, "dropout": shape["dropout"]},
            "hidden_size": shape["width"],
            "ff_size": shape["hidden"],
            "dropout": shape["dropout"],
            "layer_norm": "pre",
            "activation": "relu",
        }

    return {
        "initializer": "xavier_uniform",
        "embed_initializer": "xavier_uniform",
        "tied_embeddings": True,
        "tied_softmax": True,
        "encoder": side(shape["encoder_layers"]),
        "decoder": side(shape["decoder_layers"]),
    }


if __name__ == "__main__":
    main()
