"""What `weitblick tune` chose for a run: noted in its `run.json`, so that training it again does not take it back."""

from collections.abc import Collection, Iterable
from pathlib import Path

from app.presets.preset import Preset
from app.presets.text import to_toml
from app.runs.run import Run

# Key to what the preset said before, and what was chosen.
TUNED = "tuned"


def tune(run: Run, changes: Iterable[str]) -> None:
    """Changes keys of a run's preset, and notes that they were chosen.

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
    """A preset with what was chosen for the run in a folder.

    What the user says later counts: keys in `named`, and those of which the preset now says something else than before
    they were tuned, keep its values.
    """
    noted = Run(path, preset).summary().get(TUNED, {})
    kept = {key: after for key, (before, after) in noted.items() if key not in named and preset.value(key) == before}
    return preset.with_overrides(f"{key}={to_toml(after)}" for key, after in kept.items())


def forget_replaced(run: Run) -> None:
    """Forgets what was chosen where the run's preset says something else by now."""
    noted = run.summary().get(TUNED, {})
    kept = {key: both for key, both in noted.items() if run.preset.value(key) == both[1]}
    if kept != noted:
        run.write_summary(**{TUNED: kept})
