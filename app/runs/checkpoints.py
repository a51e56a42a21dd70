"""Checkpoints: weights to average and to translate with; some also hold all that training needs to resume exactly."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from app.runs.weights import load_arrays, save_arrays
from data.errors import UserError
from data.files import atomic_write, checksum, checksum_of, new_folder, sweep

WEIGHTS, STATE, SUMMARY = "weights.npz", "state.npz", "checkpoint.json"
CHECKSUM = "checksum"
PATTERN = "update-" + 8 * "[0-9]"
# If the newest state is damaged, training resumes from the one before it.
STATES = 2


def nearest(updates: Iterable[int], to: int, count: int) -> list[int]:
    """The `count` update numbers nearest to `to`, in ascending order."""
    return sorted(sorted(updates, key=lambda update: (abs(update - to), update))[:count])


def to_stderr(line: str) -> None:
    """Prints a warning to standard error, so that it does not mix with translations."""
    print(line, file=sys.stderr)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint folder: weights, in some the optimiser's and random generators' state, and a summary written last.

    The summary holds the update number, the journal, and the checksums of the files; a folder without a complete
    summary is not a checkpoint.
    """

    folder: Path

    @property
    def update(self) -> int:
        """The number of updates before this checkpoint."""
        return int(self.folder.name.removeprefix("update-"))

    @property
    def resumable(self) -> bool:
        """Whether it holds the optimiser's and random generators' state, so that training can resume from it."""
        return (self.folder / STATE).exists()

    def summary(self, resume: bool = False) -> dict:
        """The summary; checks the weights against it and, to resume from the checkpoint, the state.

        Raises:
            UserError: the checkpoint is damaged or incomplete.
        """
        path = self.folder / SUMMARY
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            sums, names = summary["checksums"], (WEIGHTS, STATE) if resume else (WEIGHTS,)
            damaged = [name for name in names if checksum(self.folder / name) != sums[name]]
            # The summaries of early versions have no checksum of their own.
            if summary.pop(CHECKSUM, None) not in (None, checksum_of(summary)):
                damaged.append(SUMMARY)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.folder}: the checkpoint is incomplete ({error})") from error
        if damaged:
            raise UserError(f"{self.folder / damaged[0]}: the checkpoint is damaged (wrong checksum)")
        if summary.get("update") != self.update:
            raise UserError(f"{path}: is for update {summary.get('update')}, not for the one in its folder's name")
        return summary

    def weights(self) -> dict:
        """Name to array of the model's weights."""
        return load_arrays(self.folder / WEIGHTS)

    def state(self) -> dict:
        """Name to array of the optimiser's and the random generators' state."""
        return load_arrays(self.folder / STATE)


class Checkpoints:
    """The checkpoints of one run, oldest first.

    Args:
        folder: the run's `checkpoints` folder; made when the first one is saved.
        keep: how many are kept, besides those protected in `save`.
    """

    def __init__(self, folder: Path | str, keep: int = 10):
        self.folder, self.keep = Path(folder), keep

    def all(self) -> list[Checkpoint]:
        """Every complete checkpoint, oldest first; checksums are not verified here."""
        found = [Checkpoint(path.parent) for path in self.folder.glob(f"{PATTERN}/{SUMMARY}")]
        return sorted(found, key=lambda checkpoint: checkpoint.update)

    def resumable(self) -> list[Checkpoint]:
        """Those of `all` that training can resume from; at most the last two that were saved with a state."""
        return [checkpoint for checkpoint in self.all() if checkpoint.resumable]

    def at(self, update: int) -> Checkpoint:
        """The checkpoint after this many updates."""
        return Checkpoint(self.folder / f"update-{update:08d}")

    def latest(self, report: Callable[[str], None] = to_stderr) -> tuple[Checkpoint, dict] | None:
        """The newest intact checkpoint and its summary; damaged ones are reported and skipped."""
        return _newest(self.all(), report, resume=False)

    def latest_resumable(self, report: Callable[[str], None] = to_stderr) -> tuple[Checkpoint, dict] | None:
        """Like `latest`, for the newest intact checkpoint that training can resume from."""
        return _newest(self.resumable(), report, resume=True)

    def remove_after(self, update: int) -> None:
        """Removes all checkpoints after an update; training that resumes there writes them again."""
        for checkpoint in self.all():
            if checkpoint.update > update:
                _remove(checkpoint)

    def save(
        self,
        update: int,
        weights: dict,
        state: dict | None,
        summary: dict,
        protect: Iterable[int] = (),
        remove: Iterable[int] = (),
    ) -> Checkpoint:
        """Writes a checkpoint, and removes the oldest ones and all states but the last two.

        Args:
            update: number of updates so far.
            weights: name to array.
            state: name to array; None for a checkpoint that training cannot resume from.
            summary: further state of the training; plain JSON values.
            protect: update numbers of checkpoints to keep, however old.
            remove: update numbers of checkpoints to remove.
        """
        checkpoint, files = self.at(update), {WEIGHTS: weights, **({} if state is None else {STATE: state})}
        with new_folder(checkpoint.folder, replace=True) as folder:
            sums = {name: save_arrays(folder / name, arrays) for name, arrays in files.items()}
            with atomic_write(folder / SUMMARY, "w") as file:
                summary = {"update": update, "checksums": sums, **summary}
                json.dump({**summary, CHECKSUM: checksum_of(summary)}, file, indent=1)
        self._tidy({*protect, update}, set(remove) - {update})
        return checkpoint

    def _tidy(self, protect: set[int], remove: set[int]) -> None:
        sweep(self.folder)
        kept = [checkpoint for checkpoint in self.all() if checkpoint.update not in remove]
        for checkpoint in [checkpoint for checkpoint in kept if checkpoint.resumable][:-STATES]:
            (checkpoint.folder / STATE).unlink()
        kept = {*kept[-self.keep :], *(checkpoint for checkpoint in kept if checkpoint.update in protect)}
        for folder in self.folder.glob(PATTERN):
            # Folders without a complete summary are removed as well.
            if Checkpoint(folder) not in kept:
                _remove(Checkpoint(folder))


def _newest(
    checkpoints: list[Checkpoint], report: Callable[[str], None], resume: bool
) -> tuple[Checkpoint, dict] | None:
    for checkpoint in reversed(checkpoints):
        try:
            return checkpoint, checkpoint.summary(resume)
        except UserError as error:
            report(f"warning: {error}; using the one before it")
    return None


def _remove(checkpoint: Checkpoint) -> None:
    # The summary is removed first: what remains if the process is killed in between is not a checkpoint.
    (checkpoint.folder / SUMMARY).unlink(missing_ok=True)
    if checkpoint.folder.exists():
        shutil.rmtree(checkpoint.folder)
