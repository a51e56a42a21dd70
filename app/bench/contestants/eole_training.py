"""Trains with EOLE's own `train_single` on a configuration, from the same text and the same tokenizer."""

import functools
import json
from pathlib import Path

from app.bench.contestants.eole_model import PRECISIONS, special_pieces, transformer
from app.bench.contestants.protocol import Channel, serve_training

SEED = 1  # the same batches in the same order in every trial of a sweep
BUCKET = 262_144  # pairs that EOLE sorts by length at once, unless the text has fewer
NEVER = 10**9


def main() -> None:
    """Trains one model in turns, or one for each setting of a sweep."""
    channel = Channel()
    import torch

    serve_training(channel, functools.partial(_train, channel.spec), threads=torch.get_num_threads())


def _train(spec, setting, clock) -> None:
    from eole import train_single, trainer
    from eole.config.run import TrainConfig

    def timed_step(self, batches, *arguments, **_):
        self._process_accumulated_batches(batches, *arguments)
        clock.updated(sum(int(batch["tgt"][:, 1:].ne(self.train_loss.padding_idx).sum()) for batch in batches))

    # The method that EOLE means to be overridden for another kind of training.
    trainer.Trainer._train_step = timed_step
    train_single.main(TrainConfig(**_configuration(spec, setting)), device_id=-1)


def _configuration(spec, setting) -> dict:
    import sentencepiece

    text, size = Path(spec["folder"]), spec["shape"]["vocabulary"]
    tokenizer = str(text / "run" / "tokenizer.model")
    model = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
    pieces = [model.id_to_piece(number) for number in range(size)]
    folder = text / "eole"
    folder.mkdir(exist_ok=True)
    (folder / "vocabulary.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    pairs = {"path_src": str(text / "train.en"), "path_tgt": str(text / "train.de"), "transforms": ["sentencepiece"]}
    return {
        "seed": SEED,
        "report_every": NEVER,
        "data": {"text": pairs},
        "transforms_configs": {"sentencepiece": {"src_subword_model": tokenizer, "tgt_subword_model": tokenizer}},
        "src_vocab": str(folder / "vocabulary.txt"),
        "src_vocab_size": size,
        "tgt_vocab_size": size,
        "vocab_size_multiple": 1,
        "share_vocab": True,
        **special_pieces(pieces),
        "model": transformer(spec["shape"]),
        "training": _training(spec, setting, folder),
    }


def _training(spec, setting, folder: Path) -> dict:
    pairs = json.loads((Path(spec["folder"]) / "text.json").read_text(encoding="utf-8"))["pairs"]
    return {
        "model_path": str(folder),
        "keep_checkpoint": 0,
        "save_checkpoint_steps": NEVER,
        "valid_steps": NEVER,
        "train_steps": NEVER,
        "compute_dtype": PRECISIONS[setting["precision"]],
        "batch_type": "tokens",
        "batch_size": spec["batch_tokens"],
        "bucket_size": min(pairs, BUCKET),
        # A bucket is made before the first update, and a batch from it in milliseconds; workers would take the cores.
        "num_workers": 0,
        "normalization": "tokens",
        "optim": "adam",
        "adam_beta2": 0.98,
        "adam_eps": 1e-9,
        "learning_rate": 7e-4,
        "max_grad_norm": 1.0,
        "label_smoothing": 0.1,
        "dropout": [spec["shape"]["dropout"]],
        "attention_dropout": [0.0],
        "param_init_method": "xavier_uniform",
        "log_attention_entropy": False,
    }


if __name__ == "__main__":
    main()
