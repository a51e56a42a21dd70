"""What `weitblick tune` chose for a run, recorded in its `run.json` so that further training does not undo it."""

from collections.abc import Collection, Iterable
from pathlib import Path

from app.presets.preset import Preset
from app.presets.text import to_toml
from app.runs.run import Run

# In `run.json`: each key with the preset's value before, and the value chosen.
TUNED = "tuned"


def tune(run: Run, changes: Iterable[str]) -> None:
    """Changes keys of a run's preset, and records that they were tuned.

    Args:
        run: the run.
        changes: as for `Preset.with_overrides`.
    """
    preset = run.preset.with_overrides(changes)
    noted = run.summary().get(TUNED, {})
    for key, before, after in run.preset.differences(preset):
        noted[key] = [noted[key][0] if key in noted else before, after]
    run.update_preset(preset)
    run.write_summary(**{TUNED: {key: both for key, both in noted.items() if both[0] != both[1]}})


def with_tuned(path: Path | str, preset: Preset, named: Collection[str] = ()) -> Preset:
    """A preset with the tuned values of the run in a folder.

    Later choices of the user win: keys in `named`, and keys whose value in the preset is no longer the one before
    tuning, keep the preset's values.
    """
    noted = Run(path, preset).summary().get(TUNED, {})
    kept = {key: after for key, (before, after) in noted.items() if key not in named and preset.value(key) == before}
    return preset.with_overrides(f"{key}={to_toml(after)}" for key, after in kept.items())


def forget_replaced(run: Run) -> None:
    """Forgets tuned values that the run's preset no longer has."""
    noted = run.summary().get(TUNED, {})
    kept = {key: both for key, both in noted.items() if run.preset.value(key) == both[1]}
    if kept != noted:
        run.write_summary(**{TUNED: kept})
