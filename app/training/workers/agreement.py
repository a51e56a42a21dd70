"""Checks that all workers of a cluster have the same settings, text and checkpoint."""

import time
from collections.abc import Callable
from pathlib import Path

from app.presets.preset import Preset
from app.runs.checkpoints import Checkpoint
from app.runs.run import Run
from app.runs.tuned import with_tuned
from app.training.workers.cluster import Cluster
from data.errors import UserError

# Seconds that a network file system may take to show what another machine wrote.
PATIENCE = 60


def open_shared(path: Path | str, preset: Preset, patience: float = PATIENCE) -> Run:
    """Opens the run that the chief opened or created, on another worker.

    Args:
        path: the run folder.
        preset: the preset of this worker.
        patience: seconds to wait for the folder.

    Raises:
        UserError: this worker does not see it, or was started with different settings.
    """
    until = time.monotonic() + patience
    while not Run.exists(path) and time.monotonic() < until:
        time.sleep(0.2)
    try:
        run = Run.open(path, kind=None)
    except UserError as error:
        raise UserError(f"{error}. Worker 0 has it: the folder must be on storage that all workers share") from error
    # By now, worker 0 has forgotten the tuned values that the user replaced.
    others = with_tuned(path, preset).differences(run.preset)
    if others:
        raise UserError(
            f"{path}: worker 0 was started with different settings: {'; '.join(map(str, others))}; use the same command"
        )
    return run


def shared_checkpoint(
    run: Run, cluster: Cluster, report: Callable[[str], None], patience: float = PATIENCE
) -> tuple[Checkpoint, dict] | None:
    """The checkpoint that all workers resume from: see `Checkpoints.latest_resumable`.

    Args:
        run: the run.
        cluster: the workers.
        report: called with lines about damaged checkpoints.
        patience: seconds that a worker waits for the checkpoint that the chief found.

    Raises:
        UserError: this worker does not see it, there are only weights, or the chief finds no intact checkpoint.
    """
    found = run.checkpoints.latest_resumable(report)
    only_weights = None if found else run.checkpoints.latest(report)
    if only_weights:
        raise UserError(
            f"{only_weights[0].folder}: has weights, but no intact checkpoint has the state that training resumes "
            f"from; start another run from its weights with --set training.start={run.path}, or remove {run.path}"
        )
    # Other workers may only not see it yet.
    if cluster.chief and not found and run.has_results:
        raise UserError(
            f"{run.checkpoints.folder}: no intact checkpoint is left to resume from; restore one, or remove {run.path} "
            "to start anew"
        )
    update = int(cluster.broadcast(found[0].update if found else 0)[0])
    until = time.monotonic() + patience
    while (found[0].update if found else 0) != update:
        if time.monotonic() > until:
            raise UserError(
                f"{run.path}: worker 0 resumes after update {update:,}, for which worker {cluster.index} has no "
                "complete checkpoint; the folder must be on storage that all workers share"
            )
        time.sleep(0.2)
        found = run.checkpoints.latest_resumable(report)
    return found


def check_text(cluster: Cluster, fingerprint: str) -> None:
    """Compares the hash of this worker's training text with the chief's.

    Raises:
        UserError: they differ.
    """
    own = int(fingerprint[:12], 16)
    if cluster.broadcast(own)[0] != own:
        raise UserError(
            f"worker {cluster.index}: its training text differs from that of worker 0; give all workers the "
            "same corpora"
        )
