"""Trains a preset into a run folder, scores its test split, and says what to do next.

The same command goes on where a training was stopped, however it was stopped; once it is finished, it does nothing.
"""

import json
import shlex

from app.commands.options import add_corpora, program

HELP = "train a preset, or go on with a training"
EXAMPLES = """
  weitblick train starter                                      into runs/starter
  weitblick train starter --run runs/post --set norm=post minutes=5
  weitblick train news-small --corpora ../shared/corpora
  weitblick train mine.toml                                    a preset of your own
"""
AFTER_INTERRUPT = "run the same command again to go on from the last checkpoint"
NEXT_STEPS = """
The run is in {path}. What to do next:
  {weitblick} evaluate {path}{corpora}
  echo "Save the file." | {weitblick} translate {path}
  {tensorboard} --logdir {path}/tensorboard"""


def add_arguments(parser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("preset", metavar="PRESET", help="a name of `weitblick presets`, or the path of a .toml file")
    parser.add_argument("--run", metavar="DIR", dest="path", help="the run folder; runs/NAME by default")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="keys of the preset to change, such as training.updates=500 or, where it is clear, updates=500",
    )
    add_corpora(parser)


def run(args) -> None:
    """Trains, scores and tells what comes next."""
    from app.preset import load_preset

    preset = load_preset(args.preset, args.set)
    path = args.path or f"runs/{preset.name}"

    from app.training import train

    finished_before = _is_finished(path)
    folder = train(preset, path, args.corpora)
    if finished_before:
        print(f"{path}: this training is finished; another --run makes another one")
    for corpus in preset.data.test:
        _score(folder, corpus, args.corpora)
    programs = {name: program(name) for name in ("weitblick", "tensorboard")}
    print(NEXT_STEPS.format(path=shlex.quote(str(path)), corpora=_again(args.corpora), **programs))


def _is_finished(path) -> bool:
    from app.run import Run

    return Run.exists(path) and bool(Run.open(path).summary().get("finished"))


def _score(folder, corpus: str, folders) -> None:
    """Prints the scores on a test split; decodes it only if the weights are newer than the scores that are there."""
    from app.evaluation import evaluate
    from app.report import show_evaluation
    from app.run import AVERAGED
    from app.testsets import load_test_set

    data = folder.preset.data
    test = load_test_set(corpus, "test", data.source, data.target, folders)
    scored = folder.results_folder / f"{test.name}.json"
    if scored.exists() and scored.stat().st_mtime >= (folder.path / AVERAGED).stat().st_mtime:
        scores = json.loads(scored.read_text(encoding="utf-8"))["scores"]
        print(f"{test.name}: " + ", ".join(f"{score['name']} {score['value']:.1f}" for score in scores))
    else:
        show_evaluation(evaluate(folder, test))


def _again(folders) -> str:
    return "".join(f" --corpora {shlex.quote(str(folder))}" for folder in folders)
