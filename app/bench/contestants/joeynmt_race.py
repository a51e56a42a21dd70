"""Trains with JoeyNMT and reports each validation: BLEU by greedy search on the validation text."""

import tempfile
import time
from pathlib import Path

from app.bench.contestants.joeynmt_training import adapt, configuration
from app.bench.contestants.protocol import Channel


def main() -> None:
    """Trains until the benchmark ends the process."""
    channel = Channel()
    spec = channel.spec
    from joeynmt import training

    adapt(spec["precision"])

    class Manager(training.TrainManager):
        """JoeyNMT's training, which keeps no files of its validations."""

        begin = 0.0

        def train_and_validate(self, train_data, valid_data) -> None:
            self.begin = time.perf_counter()
            super().train_and_validate(train_data, valid_data)

        def _add_report(self, valid_scores, new_best=False) -> None:
            seconds = time.perf_counter() - self.begin
            channel.send(update=self.stats.steps, seconds=seconds, bleu=float(valid_scores["bleu"]))

        def _log_examples(self, *_, **__) -> None:
            pass

        def _save_checkpoint(self, new_best, score) -> None:
            pass

    training.TrainManager = Manager
    with tempfile.TemporaryDirectory() as folder:
        training.train(0, None, _configuration(spec, Path(folder)), skip_test=True)


def _configuration(spec, folder: Path) -> dict:
    found = configuration(spec, folder)
    found["data"]["dev"] = str(Path(spec["folder"]) / "dev")
    found["testing"] |= {"eval_metrics": ["bleu"], "sacrebleu_cfg": {"tokenize": "13a", "lowercase": True}}
    found["training"] |= {"learning_rate": spec["learning_rate"], "learning_rate_warmup": spec["warmup"]}
    found["training"] |= dict.fromkeys(("validation_freq", "logging_freq"), spec["validate_every"])
    return found


if __name__ == "__main__":
    main()
