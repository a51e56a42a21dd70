"""Number format, threads and parts of a training: chosen at its start, noted in `run.json`, kept when it resumes."""

from collections.abc import Callable

from app.runs.precision import decided, idle_gpu, keras_policy, set_threads, settle_for_parts, threads
from app.runs.run import Run
from app.training.workers.cluster import Cluster
from data.errors import UserError

SESSIONS, PARTS = "sessions", "parts"
# A batch is computed in this many parts side by side; more were not measured. With fewer tokens than this, a batch is
# over too soon to pay for tracing each operation twice.
_PARTS, _LEAST_TOKENS = 2, 1024
# Settings that change the numerical results of a training.
COMPARED = ("precision", "backend", "processor", "threads")


def settle_machine(run: Run, cluster: Cluster, report: Callable[[str], None]) -> tuple[str, int]:
    """Decides the number format, threads and parts of a training; must be called before anything is computed.

    The first session decides; later ones on other machines follow it. The chief adds a session to `run.json` whenever
    something differs from the previous one.

    Args:
        run: the run.
        cluster: the workers, which all follow the chief.
        report: called with a line for the user if this machine would decide differently, or has an idle GPU.

    Returns:
        The training's precision, "float32" or "bfloat16", and the number of parts that a batch is computed in.

    Raises:
        UserError: `training.deterministic` is on, and this process cannot use as many threads as the training did.
    """
    if warning := idle_gpu():
        report(f"warning: {warning}")
    training = run.preset.training
    sessions = _sessions(run) if cluster.chief else []
    own = keras_policy(training.precision)
    policy = sessions[0]["precision"] if sessions else own
    if policy != own:
        report(
            f'training.precision = "auto": keeping {_short(policy)} from the start of training; '
            f"here {_short(own)} is faster"
        )
    parts = _parts(run, cluster, sessions)
    wanted = sessions[0]["threads"] if sessions else threads()
    mixed, intra, inter = cluster.broadcast(float(policy != "float32"), wanted["intra_op"], wanted["inter_op"])
    wanted = {"intra_op": int(intra), "inter_op": int(inter)}
    if training.deterministic and not set_threads(wanted):
        raise UserError(_other_threads(cluster, wanted))
    policy = "mixed_bfloat16" if mixed else "float32"
    if cluster.chief:
        _note(run, sessions, {**decided(policy, training.deterministic), PARTS: parts}, report)
    return _short(policy), parts


def _parts(run: Run, cluster: Cluster, sessions: list[dict]) -> int:
    """The number of parts: as at the start of training; at the start, two if threads and batches can be divided."""
    if sessions:
        parts = sessions[0].get(PARTS, 1)
        if parts > 1 and not run.preset.training.deterministic:
            settle_for_parts(parts)
        return parts
    training, documents = run.preset.training, run.preset.documents
    least = 2 if training.ranking else 1
    divisible = training.batch_tokens >= _LEAST_TOKENS and (
        documents.windows == "off" or (documents.lanes % _PARTS == 0 and documents.lanes >= least * _PARTS)
    )
    return _PARTS if cluster.devices == 1 and divisible and settle_for_parts(_PARTS) else 1


def _sessions(run: Run) -> list[dict]:
    """The sessions of a training that has a checkpoint; before that, none is binding."""
    return run.summary().get(SESSIONS, []) if run.checkpoints.all() else []


def _note(run: Run, sessions: list[dict], here: dict, report) -> None:
    if sessions:
        changes = [
            f"{key} {_shown(sessions[-1][key])} -> {_shown(here[key])}"
            for key in COMPARED
            if sessions[-1][key] != here[key]
        ]
        if not changes:
            return
        report(f"warning: this training resumes with {', '.join(changes)}; results will differ by rounding")
    run.write_summary(**{SESSIONS: [*sessions, here]})


def _other_threads(cluster: Cluster, wanted: dict[str, int]) -> str:
    who = f"worker {cluster.index}: " if cluster.workers > 1 else ""
    names = " ".join(f"TF_NUM_{name.replace('_', '').upper()}_THREADS={number}" for name, number in wanted.items())
    return (
        f"{who}training.deterministic: this training computes with {_shown(wanted)} threads, this process with "
        f"{_shown(threads())}, which gives different weights; set {names}, or resume on the original machine"
    )


def _short(policy: str) -> str:
    return policy.removeprefix("mixed_")


def _shown(value) -> str:
    if isinstance(value, dict):
        return f"{value['intra_op']} intra-op and {value['inter_op']} inter-op"
    return _short(value)
