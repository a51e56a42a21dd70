"""Chooses settings of the search on validation text, and stores them in the run.

The settings say how retrieval reads trusted translations or, with --language-model, how much that model counts.

Without --memory the command post-edits documents: after each segment, its reference becomes its correction. With
--memory it translates the validation text with that translation memory. For each of several thresholds, the likelihood
of the references decides on neighbours, temperature and weight. Then the thresholds are tried in translation. The
settings with the highest BLEU become the run's, or settings within 0.3 of it that misplace fewer words; if all score
lower than reading nothing, reading is switched off. --learn also fits the layer that weighs the entries found (adaptive
kNN-MT) and tries it as well.

With --language-model the text is translated without that model and with several weights for it. The model and the
weight with the highest BLEU become the run's; if none scores higher than the translator alone, nothing is kept.

Further training keeps the chosen values, unless its preset changes such a key or --set names it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.cli.memory import RETRIEVAL, add_memory, check_files, with_chosen_memory
from app.cli.options import (
    RUN_HELP,
    add_corpora,
    add_precision,
    add_search,
    chosen_search,
    key_of,
    load_engine,
    with_chosen_precision,
)
from app.translation.decoder import KERAS
from data.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from app.presets.schema import SearchPreset
    from app.runs.run import Run
    from app.scoring.fusion import Weighed
    from app.scoring.testsets import TestSet

HELP = "use validation text to choose how much to trust memories, or a language model"
EXAMPLES = """
  weitblick tune runs/starter
  weitblick tune runs/starter --learn                      also learn how to weigh entries
  weitblick tune runs/starter --corpus gnome-help --memory gnome.tmx --corpora ../corpora
  weitblick tune runs/starter --language-model runs/fused  choose the weight of a generator in the search
"""
TRIES = 5
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
    parser.add_argument("--learn", action="store_true", help="also learn a layer that weighs the entries found")
    parser.add_argument("--tries", type=int, metavar="N", help=f"how many thresholds to translate with ({TRIES})")
    parser.add_argument(
        "--language-model", metavar="RUN", help="a generator's run: choose its weight in the search instead"
    )
    add_search(parser)
    add_precision(parser)


def run(args: argparse.Namespace) -> None:
    """Compares settings, and writes the best into the run."""
    from app.runs.lock import locked
    from app.runs.run import Run
    from app.scoring.system import refuse_backward
    from app.scoring.testsets import load_documents, load_test_set

    _check(args)
    run = with_chosen_memory(with_chosen_precision(Run.open(args.path), args), args)
    if not (args.corpus or run.preset.data.validation):
        raise UserError(f"{args.path}: data.validation of the preset is empty; name a corpus with --corpus")
    if args.language_model:
        run.open_language_model(args.language_model)
    elif not args.memory:
        refuse_backward(run)
    load = load_test_set if args.memory or args.language_model else load_documents
    test = load(args.corpus or run.preset.data.validation[0], args.split, run.preset.corpora(args.corpora))
    tune = _tune_language_model if args.language_model else _tune
    with locked(run.path):
        tune(run, test, chosen_search(run.preset, args, RETRIEVAL), args)


def _check(args: argparse.Namespace) -> None:
    """Refuses options that do not go together."""
    if args.tries is not None and args.tries < 1:
        raise UserError(f"--tries {args.tries}: must be at least 1")
    check_files(args)
    if not args.language_model:
        return
    for option in ("memory", "learn", "tries"):
        if getattr(args, option):
            raise UserError(f"--{option} is for retrieval: leave it out, or leave out --language-model")
    for change in args.set:
        if key_of(change).removeprefix("search.") in ("language_model", "language_model_weight"):
            raise UserError(f"--set {change}: --language-model names the model, and this command chooses its weight")


def _tune(run: "Run", test: "TestSet", search: "SearchPreset", args: argparse.Namespace) -> None:
    from app.runs.gate import write_gate
    from app.runs.run import Run
    from app.runs.tuned import tune as keep
    from app.scoring import tuning
    from app.terminal import decoding_progress

    load_engine(KERAS, run, args.checkpoint)
    # The run's own gate is not used, and need not fit the settings.
    before = Run(run.path, run.preset.with_overrides(["memory.retrieval.gate=distance"]))
    trial = _Trial(before, test, search, args)
    settings = before.preset.retrieval
    with decoding_progress(test.segments, "reading") as progress:
        readings = tuning.read(trial.translator, test, progress)
    found = tuning.apart(tuning.candidates(readings, settings), args.tries or TRIES)
    rows = [trial.row(own, None, loss) for own, loss in found]
    if args.learn:
        learnt = replace(found[0].settings, gate="learnt", weight=max(found[0].settings.weight, 0.5))
        rows.append(trial.row(learnt, *tuning.learn_gate(readings.nearest(learnt.neighbours))))
    rows.sort(key=lambda row: -row.bleu)
    off = trial.row(replace(settings, weight=0.0), None, -float(readings.log_probs.mean()))
    _show(test, [off, *rows])
    best = _best(rows, off)
    if best is off:
        print("No setting scores higher than off: nothing is read from now on (memory.retrieval.weight = 0).")
    stored = Run.open(run.path)
    keep(stored, _changes(best.settings))
    if best.gate:
        write_gate(stored, best.gate, {"test_set": test.summary(), "weights": stored.weights_file(args.checkpoint)[2]})


def _tune_language_model(run: "Run", test: "TestSet", search: "SearchPreset", args: argparse.Namespace) -> None:
    from rich.console import Console

    from app.runs.run import Run
    from app.runs.tuned import tune as keep
    from app.scoring import fusion

    load_engine(KERAS, run, args.checkpoint)
    model = str(Path(args.language_model).resolve())
    rows = list(fusion.weigh(run, test, search, model, args.checkpoint))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(_table(test, ("weight", "BLEU", "p"), [_cells(row) for row in rows]))
    best, stored = fusion.best(rows), Run.open(run.path)
    changes = []
    if best.weight:
        changes = [f"search.language_model={model}", f"search.language_model_weight={best.weight}"]
        gain = f"{best.bleu.comparison.difference:.2f} BLEU"
        result = f"gains {gain} with a weight of {best.weight}: {run.path} searches with it from now on."
    else:
        result = "does not help: it is not kept."
        if stored.preset.search.language_model == model:
            changes = ["search.language_model="]
    keep(stored, changes)
    console.print(f"{args.language_model} {result}")


def _cells(row: "Weighed") -> tuple[str, ...]:
    compared = row.bleu.comparison
    p_value = "" if compared is None or compared.p_value is None else f"{compared.p_value:.3f}"
    return str(row.weight) if row.weight else "off", f"{row.bleu.value:.1f}", p_value


def _changes(settings: Any) -> list[str]:
    return [f"memory.retrieval.{name}={value}" for name, value in asdict(settings).items()]


class _Row(NamedTuple):
    """Settings, their gate if one was learnt, and their results."""

    settings: Any
    gate: Any
    loss: float
    bleu: float
    misplaced: float | None


def _best(rows: list[_Row], off: _Row) -> _Row:
    """The highest BLEU; of those that differ from it by chance alone, the one that misplaces the fewest words. `off` if
    all score lower.
    """
    if all(row.bleu < off.bleu for row in rows):
        return off
    near = [row for row in rows if row.bleu > max(row.bleu for row in rows) - NOISE]
    return min(near, key=lambda row: (row.misplaced or 0.0, -row.bleu))


class _Trial:
    """Translates the text with some settings."""

    def __init__(self, run: "Run", test: "TestSet", search: "SearchPreset", args: argparse.Namespace):
        from app.translation.translator import Translator

        self.test, self.lowercase = test, run.preset.data.lowercase
        self.translator = Translator.of_run(run, args.checkpoint, search, memory=args.memory)

    def row(self, settings: Any, gate: Any, loss: float) -> _Row:
        """The results of the settings. Documents are post-edited unless a translation memory is read."""
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

    columns = ("gate", "neighbours", "temperature", "threshold", "weight")
    shown = []
    for settings, _, loss, bleu, wrong in rows:
        chosen = [str(getattr(settings, name)) if settings.weight else "" for name in columns]
        figures = f"{loss:.3f}", f"{bleu:.1f}", "" if wrong is None else f"{wrong:.1f}"
        shown.append((*(chosen if settings.weight else ["off", *chosen[1:]]), *figures))
    Console(highlight=False).print(_table(test, (*columns, "nats", "BLEU", "misplaced"), shown))


def _table(test: "TestSet", columns: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(title=f"{test.origin}: {test.segments:,} segments", title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
