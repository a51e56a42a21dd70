"""Trains on a tenth, three tenths and all of a corpus, from GloVe and from random vectors, for notebook 04.

    python notebooks/learning_curves.py --corpora ../corpora                a few hours on two cores
    python notebooks/learning_curves.py --corpora ../corpora --until 60     one of these hours
    python notebooks/learning_curves.py --corpus software --preset starter  on text that pip can fetch

What is finished is not done again, and a training that was stopped in any way resumes with the same command. When all
trainings are scored, their results are written into learning_curves.json, which the notebook draws.

Both starts have the same layers: a table of width 50 for the source and a projection to the model's width. They differ
only in the numbers of the table. Each seed draws its own part of the corpus, its own tokenizer and its own weights.
"""

import argparse
import itertools
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.comparison.processes import run_process
from app.comparison.queue import PROGRAM
from app.runs.journal import LOG, read_log
from app.runs.lock import locked
from app.runs.run import Run
from app.scoring.results import Results
from data.corpora.corpora import Corpora, Corpus
from data.errors import UserError
from data.files import atomic_write, write_json
from data.vector_files import PACKAGE
from data.vectors import load_vectors

OUTPUT = Path(__file__).with_suffix(".json")
STARTS = ("random", "glove")
WIDTH = 50  # width of the GloVe vectors, and so of the random ones
# The same for all sizes. A small part is soon known by heart, so the weights around the lowest validation loss count.
SETTINGS = (
    "model.tie=target",  # the source has its own table
    "training.minutes=0",
    "training.schedule=linear",
    "training.monitor=loss",
    "training.bleu_lines=50",  # few, because only the loss is looked at
    "training.average_around=best",
    "training.average=5",
)


class Job(NamedTuple):
    """One training: the start of its table, its share of the corpus in percent, its seed."""

    start: str
    percent: int
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.start}-{self.percent}-{self.seed}"


class Curves:
    """The trainings of the figure, in one folder.

    Args:
        options: those of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, Path(options.runs)
        self.corpus: Corpus = Corpora(options.corpora).open(options.corpus)
        # Seed by seed, so that all sizes have a result early.
        order = itertools.product(options.seeds, sorted(options.percent), STARTS)
        self.jobs = [Job(start, percent, seed) for seed, percent, start in order]

    def run(self) -> bool:
        """Does what is missing, until the time is over; returns whether all is done.

        Raises:
            UserError: a training or scoring failed, or another process works in the folder.
        """
        began, limit = time.monotonic(), self.options.until * 60
        with locked(self.folder):
            for what, job in self.missing():
                left = limit - (time.monotonic() - began) if limit else None
                if left is not None and left <= 0:
                    return False
                log = self.folder / f"{job.name}.log"
                print(f"{what} {job.name}; steps left: {len(list(self.missing()))}; log: {log}", flush=True)
                command = self._training(job) if what == "train" else self._scoring(job)
                with log.open("ab") as file:
                    code = run_process([*PROGRAM, *command], file, left if what == "train" else None)
                if (what, job) in self.missing():
                    if left is not None and time.monotonic() - began >= limit:
                        return False
                    raise UserError(f"{what} {job.name} ended with code {code}, see {log}; then run the same command")
        return True

    def missing(self) -> Iterator[tuple[str, Job]]:
        """What is not done yet, in order."""
        for job in self.jobs:
            if not self._is_trained(job):
                yield "train", job
            if not self._record(job):
                yield "score", job

    def results(self) -> dict:
        """All results, for the notebook."""
        records = [self._record(job) for job in self.jobs]
        first = records[0]
        return {
            "corpus": self.options.corpus,
            "preset": self.options.preset,
            "updates": self.options.updates,
            "command": f"python notebooks/{Path(__file__).name}",
            "segments": first["test_set"]["segments"],
            "signature": first["scores"][0]["signature"],
            "decided": first["decided"],
            "versions": first["versions"],
            "runs": [self._result(job, record) for job, record in zip(self.jobs, records, strict=True)],
        }

    def _result(self, job: Job, record: dict) -> dict:
        run, score = Run.open(self._path(job)), record["scores"][0]
        checks = [entry for entry in read_log(run.path / LOG) if "validation" in entry]
        _, coverage = load_vectors(PACKAGE, run.tokenizer().pieces())
        return {
            "start": job.start,
            "percent": job.percent,
            "seed": job.seed,
            "bleu": round(score["value"], 2),
            "low": round(score["low"], 2),
            "high": round(score["high"], 2),
            "coverage": round(coverage.share, 4),
            "validation": [[entry["update"], round(entry["validation"]["nll"], 4)] for entry in checks],
        }

    def _path(self, job: Job) -> Path:
        return self.folder / job.name

    def _is_trained(self, job: Job) -> bool:
        return Run.exists(self._path(job)) and bool(Run.open(self._path(job)).summary().get("finished"))

    def _record(self, job: Job) -> dict:
        """The record of the scores; {} if there is none."""
        return Results(self._path(job)).record(f"{self.options.corpus}-test") if self._is_trained(job) else {}

    def _training(self, job: Job) -> list[str]:
        """What follows the program's name to train a job; writes the text and vectors that it needs."""
        folder, updates = self.folder / "corpora", self.options.updates
        vectors = PACKAGE if job.start == "glove" else str(self._random_vectors(job.seed))
        changes = [
            *SETTINGS,
            f"data.corpora={self._part(folder, job)}",
            f"data.validation={self.options.corpus}",
            f"data.test={self.options.corpus}",
            f"tokenizer.vocabulary={self.options.vocabulary}",
            f"embeddings.vectors={vectors}",
            f"training.seed={job.seed}",
            f"training.updates={updates}",
            f"training.warmup={max(updates // 5, 1)}",
            f"training.validate_every={max(updates // 10, 1)}",
            f"training.checkpoint_every={max(updates // 20, 1)}",
        ]
        corpora = ["--corpora", str(folder), *self.options.corpora]
        return ["train", self.options.preset, "--run", str(self._path(job)), "--set", *changes, *corpora]

    def _scoring(self, job: Job) -> list[str]:
        corpora = ["--corpora", *self.options.corpora] if self.options.corpora else []
        return ["evaluate", str(self._path(job)), *corpora]

    def _part(self, folder: Path, job: Job) -> str:
        """The name of the corpus that a job trains on; its pairs are in the order of the whole corpus.

        With the same seed a small part is inside each larger one.
        """
        name = f"{self.options.corpus}-{job.percent}-{job.seed}"
        if job.percent == 100:
            return self.options.corpus
        pairs = list(self.corpus.pairs("train"))
        drawn = random.Random(job.seed).sample(range(len(pairs)), len(pairs))
        chosen = [pairs[number] for number in sorted(drawn[: round(len(pairs) * job.percent / 100)])]
        for language, side in (("en", 0), ("de", 1)):
            _write(folder / name / f"{language}.train.txt", (f"{pair[side]}\n" for pair in chosen))
        return name

    def _random_vectors(self, seed: int) -> Path:
        """A file in GloVe's format with a random vector for each word of the corpus."""
        path = self.folder / f"random-{WIDTH}d-{seed}.txt"
        texts = (pair.source.lower() for pair in self.corpus.pairs("train"))
        words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)})
        draws = np.random.default_rng(seed).standard_normal((len(words), WIDTH))
        rows = (" ".join(f"{number:.5f}" for number in row) for row in draws)
        _write(path, (f"{word} {row}\n" for word, row in zip(words, rows, strict=True)))
        return path


def _write(path: Path, lines: Iterator[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        file.writelines(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 for a user's error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        curves = Curves(options)
        if not curves.run():
            print("The time is over; the same command goes on.")
            return 0
        write_json(options.output, curves.results())
        print(f"{options.output}: {len(curves.jobs)} trainings")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="multi30k", help="to train on and to score (%(default)s)")
    parser.add_argument("--corpora", nargs="+", default=[], metavar="DIR", help="folders that hold it")
    parser.add_argument("--preset", default="multi30k-tiny", help="shape and recipe (%(default)s)")
    parser.add_argument("--percent", nargs="+", type=int, default=[10, 30, 100], metavar="N", help="parts (10 30 100)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N", help="of each (1 2 3)")
    parser.add_argument("--updates", type=int, default=1000, metavar="N", help="of each training (%(default)s)")
    parser.add_argument(
        "--vocabulary", type=int, default=4000, metavar="N", help="pieces; the smallest part must have as many (4000)"
    )
    parser.add_argument("--until", type=float, default=0, metavar="MINUTES", help="stop after so long; 0 = never")
    parser.add_argument("--runs", default="runs/learning-curves", metavar="DIR", help="for the runs (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help="for the results (beside this file)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
