"""Chooses on validation text how retrieval reads trusted translations, and keeps that in the run.

Without --memory it post-edits documents: after each segment its reference is its correction. With --memory it
translates the validation text with that translation memory. Neighbours, temperature and weight are chosen for each of
several thresholds by the likelihood of the references; the thresholds are tried in translation, and the settings with
the highest BLEU become the run's, or those within 0.3 of it that misplace fewer words. --learn also fits the layer that
weighs what is found (adaptive kNN-MT) and tries it as well.
"""

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from app.cli.memory import RETRIEVAL, add_memory, check_files, with_chosen_memory
from app.cli.options import RUN_HELP, add_corpora, add_precision, add_search, chosen_search, with_chosen_precision
from data.errors import UserError

if TYPE_CHECKING:
    from app.presets.schema import SearchPreset
    from app.runs.run import Run
    from app.scoring.testsets import TestSet

HELP = "choose on validation text how trusted translations are read"
EXAMPLES = """
  weitblick tune runs/starter
  weitblick tune runs/starter --learn                      also learn what weighs them
  weitblick tune runs/starter --corpus gnome-help --memory gnome.tmx --corpora ../corpora
"""
NOISE = 0.3  # BLEU
AFTER_INTERRUPT = "nothing was changed; run the same command again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--corpus", metavar="NAME", help="the text (default: the first corpus in data.validation of the run's preset)"
    )
    parser.add_argument(
        "--split", choices=("train", "validation"), default="validation", help="which split of it (validation)"
    )
    add_corpora(parser)
    add_memory(parser)
    parser.add_argument("--learn", action="store_true", help="also learn a layer that weighs what is found")
    parser.add_argument("--tries", type=int, default=5, metavar="N", help="how many thresholds to translate with (5)")
    add_search(parser)
    add_precision(parser)


def run(args: argparse.Namespace) -> None:
    """Compares settings, and writes the best into the run."""
    from app.runs.lock import locked
    from app.runs.run import Run
    from app.scoring.system import refuse_backward
    from app.scoring.testsets import load_documents, load_test_set

    if args.tries < 1:
        raise UserError(f"--tries {args.tries}: must be at least 1")
    check_files(args)
    run = with_chosen_memory(with_chosen_precision(Run.open(args.path), args), args)
    if not (args.corpus or run.preset.data.validation):
        raise UserError(f"{args.path}: data.validation of the preset is empty; name a corpus with --corpus")
    if not args.memory:
        refuse_backward(run)
    load = load_test_set if args.memory else load_documents
    test = load(args.corpus or run.preset.data.validation[0], args.split, run.preset.corpora(args.corpora))
    with locked(run.path):
        _tune(run, test, chosen_search(run.preset, args, RETRIEVAL), args)


def _tune(run: "Run", test: "TestSet", search: "SearchPreset", args: argparse.Namespace) -> None:
    from app.cli.startup import load_keras
    from app.runs.gate import write_gate
    from app.runs.run import Run
    from app.scoring import tuning
    from app.terminal import decoding_progress

    load_keras()
    # A gate that the run has does not count, nor need it fit.
    before = Run(run.path, run.preset.with_overrides(["memory.retrieval.gate=distance"]))
    trial = _Trial(before, test, search, args)
    settings = before.preset.retrieval
    with decoding_progress(test.segments, "reading") as progress:
        readings = tuning.read(trial.translator, test, progress)
    found = tuning.apart(tuning.candidates(readings, settings), args.tries)
    rows = [trial.row(own, None, loss) for own, loss in found]
    if args.learn:
        learnt = replace(found[0].settings, gate="learnt", weight=max(found[0].settings.weight, 0.5))
        rows.append(trial.row(learnt, *tuning.learn_gate(readings.nearest(learnt.neighbours))))
    rows.sort(key=lambda row: -row.bleu)
    off = trial.row(replace(settings, weight=0.0), None, -float(readings.log_probs.mean()))
    _show(test, [off, *rows])
    best = _best(rows)
    stored = Run.open(run.path)
    stored.update_preset(stored.preset.with_overrides(_changes(best.settings)))
    if best.gate:
        write_gate(stored, best.gate, {"test_set": test.summary(), "weights": stored.weights_file(args.checkpoint)[2]})


def _changes(settings: Any) -> list[str]:
    return [f"memory.retrieval.{name}={value}" for name, value in asdict(settings).items()]


class _Row(NamedTuple):
    """Settings, their gate if one was learnt, and what they came to."""

    settings: Any
    gate: Any
    loss: float
    bleu: float
    misplaced: float | None


def _best(rows: list[_Row]) -> _Row:
    """The highest BLEU; of those that differ from it by chance alone, the one that misplaces the fewest words."""
    near = [row for row in rows if row.bleu > max(row.bleu for row in rows) - NOISE]
    return min(near, key=lambda row: (row.misplaced or 0.0, -row.bleu))


class _Trial:
    """Translates the text with some settings."""

    def __init__(self, run: "Run", test: "TestSet", search: "SearchPreset", args: argparse.Namespace):
        from app.translation.translator import Translator

        self.test, self.lowercase = test, run.preset.data.lowercase
        self.translator = Translator.of_run(run, args.checkpoint, search, memory=args.memory)

    def row(self, settings: Any, gate: Any, loss: float) -> _Row:
        """What the settings come to. Documents are post-edited unless a translation memory is read."""
        from app.scoring.metrics import ScoreOptions, bleu
        from app.scoring.misplaced import misplaced
        from app.scoring.system import document_lines
        from app.terminal import decoding_progress

        self.translator.decoder.read_by(settings, gate)
        test, wrong = self.test, None
        with decoding_progress(test.segments) as progress:
            if self.translator.memory:
                found = self.translator.translate_all(test.sources, progress)
            else:
                lines = document_lines(test, test.sources, test.references)
                found = [hypothesis.text for hypothesis in self.translator.translate_lines(lines)]
                wrong = misplaced(test.cut(found), test.cut(test.references), samples=0).value
        figure = bleu(found, test.references, ScoreOptions(self.lowercase, samples=0)).value
        return _Row(settings, gate, loss, figure, wrong)


def _show(test: "TestSet", rows: list[_Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("gate", "neighbours", "temperature", "threshold", "weight")
    table = Table(title=f"{test.origin}: {test.segments:,} segments", title_justify="left")
    for name in (*columns, "nats", "BLEU", "misplaced"):
        table.add_column(name, justify="right")
    for settings, _, loss, bleu, wrong in rows:
        chosen = [str(getattr(settings, name)) if settings.weight else "" for name in columns]
        figures = f"{loss:.3f}", f"{bleu:.1f}", "" if wrong is None else f"{wrong:.1f}"
        table.add_row(*(chosen if settings.weight else ["off", *chosen[1:]]), *figures)
    Console(highlight=False).print(table)
