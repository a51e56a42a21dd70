"""Code shared by the commands that score."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.options import load_engine, with_chosen_precision
from app.presets.schema import SearchPreset
from app.translation.decoder import KERAS, Engine
from data.errors import UserError

if TYPE_CHECKING:
    from app.runs.run import Run
    from app.scoring.system import System


def check_sides(args: argparse.Namespace) -> None:
    """Refuses options that do not apply to a run, or to a file of translations."""
    if bool(args.path) == bool(args.hypotheses):
        raise UserError("name either a RUN to translate with or a file of translations with --hypotheses")
    if args.path and args.pair:
        raise UserError("--pair is for --hypotheses; the run's preset names its languages")
    if args.hypotheses and (args.beam is not None or args.set or args.checkpoint != "auto" or args.again):
        raise UserError("--hypotheses uses no model: leave out --beam, --set, --checkpoint and --again")
    if args.hypotheses and args.precision:
        raise UserError("--hypotheses uses no model: leave out --precision")


def system_of(
    run: "Run", checkpoint: str = "auto", search: SearchPreset | None = None, engine: Engine = KERAS, **reading: Any
) -> "System":
    """The `app.scoring.system.System` of a run; its engine is loaded when it is first needed."""
    from app.scoring.system import System

    return System(run, checkpoint, search, engine, load=lambda: load_engine(engine, run, checkpoint), **reading)


def chosen_baseline(args: argparse.Namespace, engine: Engine = KERAS) -> "System | str | None":
    """What --baseline names: the system of a run, or a file; None without it."""
    from app.runs.run import Run

    if args.baseline and Path(args.baseline).is_dir():
        return system_of(with_chosen_precision(Run.open(args.baseline), args), engine=engine)
    return args.baseline
