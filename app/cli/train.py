"""Trains a preset into a run folder, reports the best validation, and suggests next steps.

If training was stopped, for whatever reason, the same command resumes it. Once training has finished, it does nothing.

All GPUs of a machine share the work. So do several machines, if the same command runs on each and TF_CONFIG or Slurm
names them; see docs/cluster.md.
"""

import argparse
import shlex
from pathlib import Path

from app.cli.options import add_corpora, add_set, program
from app.cli.startup import load_keras
from app.presets.schema import GENERATOR, TRANSLATOR

HELP = "train a preset, or resume its training"
EXAMPLES = """
  weitblick train starter                                      into runs/starter
  weitblick train starter --run runs/post --set norm=post minutes=5
  weitblick train news-small --corpora ../corpora
  weitblick train mine.toml                                    your own preset, into runs/mine
"""
AFTER_INTERRUPT = "run the same command again to resume from the last checkpoint"
NEXT_STEPS = """
The run is in {path}. What to do next:
  {weitblick} evaluate {path}{corpora}
  {use}
  {tensorboard} --logdir {path}/tensorboard"""
USES = {
    TRANSLATOR: 'echo "Save the file." | {weitblick} translate {path}',
    GENERATOR: '{weitblick} generate {path} "Speichern"',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("preset", metavar="PRESET", help="a name from `weitblick presets`, or the path of a .toml file")
    parser.add_argument("--run", metavar="DIR", dest="path", help="the run folder; runs/PRESET by default")
    add_set(parser, "keys of the preset to change, such as training.updates=500 or, if unambiguous, updates=500")
    add_corpora(parser)


def run(args: argparse.Namespace) -> None:
    """Trains, then prints the best validation and the next steps."""
    from app.presets.preset import load_preset
    from app.training.workers.addresses import find_addresses

    addresses = find_addresses()
    preset = load_preset(args.preset, args.set)
    # Named after the file, as by `make train`: a copy may still have the name of its original.
    path = args.path or f"runs/{Path(args.preset).stem}"
    load_keras()
    from app.scoring.testsets import load_test_set
    from app.training.train import train
    from app.training.workers.joining import join_cluster

    # Read before training, so that a missing test set is not discovered hours later.
    for name in preset.data.test:
        load_test_set(name, "test", preset.corpora(args.corpora))
    cluster = join_cluster(addresses)
    run = train(preset, path, args.corpora, cluster=cluster, named=preset.keys_in(args.set))
    if not cluster.chief:
        return
    print(_best(run))
    programs = {name: program(name) for name in ("weitblick", "tensorboard")}
    names = {"path": shlex.quote(str(path)), "corpora": _corpora_options(args.corpora), **programs}
    print(NEXT_STEPS.format(use=USES[preset.model.kind].format(**names), **names))


def _best(run) -> str:
    """The best validation; the test split is scored only once, by `evaluate`, with the run that validation chose."""
    best = run.summary().get("finished", {}).get("best")
    if not best:
        return "This training had no validation."
    bleu = run.preset.training.monitor == "bleu"
    figure = f"BLEU {best['score']:.2f}" if bleu else f"{-best['score']:.3f} nats a token"
    return f"Best validation: {figure}, after update {best['update']:,}."


def _corpora_options(folders) -> str:
    return "".join(f" --corpora {shlex.quote(str(folder))}" for folder in folders)
