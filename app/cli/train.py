"""Trains a preset into a run folder, reports its best validation, and names the next steps.

The same command goes on where a training was stopped, however it was stopped; once it is finished, it does nothing.

All GPUs of a machine share the work. So do several machines, when the same command runs on each and TF_CONFIG, or
Slurm, names them: see docs/cluster.md.
"""

import argparse
import shlex

from app.cli.options import add_corpora, add_set, program
from app.cli.startup import load_keras

HELP = "train a preset, or go on with a training"
EXAMPLES = """
  weitblick train starter                                      into runs/starter
  weitblick train starter --run runs/post --set norm=post minutes=5
  weitblick train news-small --corpora ../corpora
  weitblick train mine.toml                                    a preset of your own
"""
AFTER_INTERRUPT = "run the same command again to go on from the last checkpoint"
NEXT_STEPS = """
The run is in {path}. What to do next:
  {weitblick} evaluate {path}{corpora}
  echo "Save the file." | {weitblick} translate {path}
  {tensorboard} --logdir {path}/tensorboard"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("preset", metavar="PRESET", help="a name of `weitblick presets`, or the path of a .toml file")
    parser.add_argument("--run", metavar="DIR", dest="path", help="the run folder; runs/NAME by default")
    add_set(parser, "keys of the preset to change, such as training.updates=500 or, where it is clear, updates=500")
    add_corpora(parser)


def run(args: argparse.Namespace) -> None:
    """Trains, reports the best validation and what comes next."""
    from app.presets.preset import load_preset
    from app.training.workers.addresses import find_addresses

    addresses = find_addresses()
    preset = load_preset(args.preset, args.set)
    path = args.path or f"runs/{preset.name}"
    load_keras()
    from app.scoring.testsets import load_test_set
    from app.training.train import train
    from app.training.workers.joining import join_cluster

    # Read before the training, so that a missing test set is not found out hours later.
    for name in preset.data.test:
        load_test_set(name, "test", preset.corpora(args.corpora))
    cluster = join_cluster(addresses)
    folder = train(preset, path, args.corpora, cluster=cluster)
    if not cluster.chief:
        return
    print(_best(folder))
    programs = {name: program(name) for name in ("weitblick", "tensorboard")}
    print(NEXT_STEPS.format(path=shlex.quote(str(path)), corpora=_again(args.corpora), **programs))


def _best(run) -> str:
    """The best validation; the test split is scored once, by `evaluate`, of the run that was chosen by validation."""
    best = run.summary().get("finished", {}).get("best")
    if not best:
        return "No validation was due in this training."
    bleu = run.preset.training.monitor == "bleu"
    figure = f"BLEU {best['score']:.2f}" if bleu else f"{-best['score']:.3f} nats a token"
    return f"Best validation: {figure}, after update {best['update']:,}."


def _again(folders) -> str:
    return "".join(f" --corpora {shlex.quote(str(folder))}" for folder in folders)
