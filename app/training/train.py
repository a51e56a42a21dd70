"""Trains a preset into a run folder; the same command resumes a training exactly where it stopped."""

import contextlib
import math
from collections.abc import Collection, Iterable
from pathlib import Path

import keras
from rich.console import Console

from app.presets.preset import Difference, Preset
from app.presets.schema import MEMORY
from app.runs.averaging import average
from app.runs.journal import Journal
from app.runs.lock import locked
from app.runs.precision import devices
from app.runs.run import Run
from app.runs.tuned import forget_replaced, with_tuned
from app.runs.weights import split_variables
from app.terminal import progress_console
from app.training.diagnosis import explain
from app.training.first_stage import take_weights
from app.training.machine import settle_machine
from app.training.objective import marked, teacher_forcing
from app.training.optimizer import FusedAdam
from app.training.preparation import Prepared, prepare, text_lines
from app.training.schedules import WarmUp, decays_to_zero, timed
from app.training.signals import wait_for_update
from app.training.state import restore_state
from app.training.supervisor import NotFinite, Supervisor
from app.training.workers.agreement import check_text, open_shared, shared_checkpoint
from app.training.workers.cluster import Cluster
from data.batching import fill
from data.errors import UserError
from data.files import sweep
from models.memories import RETRIEVAL

# Prefixes of keys that make no difference to training.
NOT_TRAINED = ("search.", f"{MEMORY}{RETRIEVAL}.")
# Other keys that a user may change when resuming a training.
FREE_KEYS = (
    "data.test",
    "training.keep",
    "training.resume_minutes",
    "training.patience",
    "training.average",
    "training.average_around",
)
# These may change too, unless the learning rate depends on where the training ends.
ENDS = ("training.updates", "training.minutes")


def train(
    preset: Preset,
    path: Path | str,
    folders: Iterable[Path | str] = (),
    console: Console | None = None,
    cluster: Cluster | None = None,
    named: Collection[str] = (),
) -> Run:
    """Trains, or resumes training, to the end that the preset sets; then averages the last checkpoints.

    Args:
        preset: the experiment.
        path: the run folder; created if missing.
        folders: where to look for folder corpora.
        console: where progress is shown, by default standard error.
        cluster: the workers and devices that share the training; by default this process with one device. All workers
            call this with the same arguments.
        named: keys such as "search.beam" that the user has set for this call; they override those of `weitblick tune`.

    Returns:
        The finished run. Does nothing if it was already finished.

    Raises:
        UserError: bad input, another training in this folder, a loss or weight that is not finite, or a lost worker.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint of the last update is written.
    """
    console = console or progress_console()
    cluster = cluster or Cluster()
    if cluster.description:
        console.print(cluster.description)
    if preset.documents.windows != "off":
        lanes = cluster.lanes_per_model(preset.documents.lanes)
        if preset.training.ranking and lanes < 2:
            raise UserError(
                "training.ranking: takes wrong documents from the other lanes of a device, so each device needs at "
                f"least 2: set documents.lanes to {2 * cluster.devices} or more, got {preset.documents.lanes}"
            )
    if not cluster.chief:
        console = Console(quiet=True)
    with cluster.raise_on_lost_worker(), contextlib.ExitStack() as held:
        with cluster.chief_first():
            if cluster.chief:
                held.enter_context(locked(path))
            run, changed = open_or_create(path, preset, named) if cluster.chief else (open_shared(path, preset), [])
        _say_what_counts(run, preset, changed, console)
        why = _why_finished(run)
        if not why:
            _train(run, folders, console, cluster)
        elif cluster.chief and any(change.key.startswith("training.average") for change in changed):
            _average(run, console)
        else:
            console.print(f"{run.path}: this training is finished: {why}.")
    return run


def _say_what_counts(run: Run, asked: Preset, changed: list[Difference], console: Console) -> None:
    """Says how the preset of an existing run has changed, and how it differs from what was asked for."""
    if changed:
        console.print(f"{run.path}: its preset has changed: {'; '.join(map(str, changed))}.")
    if kept := asked.differences(run.preset):
        console.print(
            f"{run.path}: keeps what `weitblick tune` chose: {'; '.join(map(str, kept))}. "
            "Name a key with --set, or change it in the preset, to have another value."
        )


def open_or_create(path: Path | str, preset: Preset, named: Collection[str] = ()) -> tuple[Run, list[Difference]]:
    """Opens or creates the run in a folder; its preset becomes `preset` with the keys that were tuned.

    Args:
        path, preset, named: as for `train`.

    Returns:
        The run, and the differences from its earlier preset.

    Raises:
        UserError: the folder holds an imported run, or a training with a checkpoint that differs in keys that must not
            change.
    """
    sweep(path)
    if not Run.exists(path):
        return Run.create(path, preset), []
    preset = with_tuned(path, preset, named)
    Run.restore_preset(path, preset)
    run = Run.open(path, kind=None)
    if run.summary().get("imported"):
        raise UserError(
            f"{path}: the run was imported and cannot be trained itself: name another folder with --run, and this run "
            f"with --set training.start={path}"
        )
    changed = run.preset.differences(preset)
    free = FREE_KEYS if decays_to_zero(preset.training) else FREE_KEYS + ENDS
    fixed = [change for change in changed if change.key not in free and not change.key.startswith(NOT_TRAINED)]
    if fixed and not run.has_results:
        run.discard()
        return Run.create(path, preset), []
    if fixed:
        raise UserError(
            f"{path}: holds another training; differences: {'; '.join(map(str, fixed))}. "
            "Choose another run folder, or remove this one"
        )
    if changed:
        run.update_preset(preset)
        forget_replaced(run)
    return run, changed


def _why_finished(run: Run) -> str:
    """Why there is nothing to do, or ""; raising `updates` or `minutes` extends a finished training."""
    ended = run.ended
    return ended.why_finished(run.preset.training) if ended else ""


def _train(run: Run, folders, console, cluster: Cluster) -> None:
    _make_deterministic(run.preset)
    precision, parts = settle_machine(run, cluster, console.print)
    for line in text_lines(run.preset.data):
        console.print(line)
    found = shared_checkpoint(run, cluster, console.print)
    summary = found[1] if found else {}
    with cluster.chief_first():
        prepared = _prepared(run, folders, console, summary, cluster)
    check_text(cluster, prepared.fingerprint)
    model = _compiled(run, prepared, precision, parts, console, not found, cluster)
    if found:
        restore_state(model, found[0].weights(), found[0].state(), found[0].folder, cluster)
        console.print(f"Resuming after update {found[0].update:,}.")
    cluster.offset_seeds(split_variables(model.transformer)[1])
    supervisor = Supervisor(run, model, prepared, Journal.from_summary(summary), console, cluster)
    try:
        _fit(model, supervisor, prepared)
    except NotFinite as error:
        if not cluster.chief:
            raise UserError(f"worker {cluster.index}: {error}; see the output of worker 0") from error
        with cluster.undistributed():
            begins = run.checkpoints.latest(lambda _: None) is None
            fresh = _transformer(run, prepared.tokenizer, precision, begins)
            raise UserError(explain(run, prepared, model, fresh, error)) from error
    # The other workers wait, because some schedulers end a job when the first of its processes ends.
    with cluster.chief_first():
        if cluster.chief and not supervisor.stopping:
            _finish(run, supervisor, console)
    if supervisor.stopping:
        raise KeyboardInterrupt


def _finish(run: Run, supervisor: Supervisor, console) -> None:
    _average(run, console)
    finished = {**supervisor.journal.as_dict(), "why": supervisor.why_finished}
    run.write_summary(finished=finished)
    console.print(f"Training ended at update {finished['update']:,}: {finished['why']}.")


def _prepared(run: Run, folders, console, summary: dict, cluster: Cluster) -> Prepared:
    counts = {int(epoch): n for epoch, n in summary.get("counts", {}).items()}
    try:
        prepared = prepare(run, folders, console.print, counts, cluster.index)
    except (UserError, OSError):
        if cluster.chief and not run.has_results:
            run.discard()
        raise
    if summary.get("text", prepared.fingerprint) != prepared.fingerprint:
        console.print(
            "warning: the training text has changed since the start of training; continuing with the new text"
        )
    return prepared


def _make_deterministic(preset: Preset) -> None:
    if preset.training.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _compiled(run: Run, prepared: Prepared, precision: str, parts: int, console, begins: bool, cluster: Cluster):
    """The model with its loss and optimiser, all variables created."""
    with cluster.scope():
        transformer = _transformer(run, prepared.tokenizer, precision, begins, console.print)
    # Outside the scope: inside it `fit` would distribute batches, but the cluster already does that.
    model = teacher_forcing(transformer, run.preset, cluster.lanes_per_model(run.preset.documents.lanes), parts)
    with cluster.scope():
        model.build()
        if run.preset.training.freeze:
            transformer.freeze()
        optimizer = _optimizer(run.preset, transformer)
    # On a CPU, XLA does not use the matrix units and recompiles for each batch shape.
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    frozen = f" ({_size(transformer.trainable_variables):,} trained)" if run.preset.training.freeze else ""
    console.print(
        f"{transformer.count_params():,} weights{frozen}, {prepared.tokenizer.vocabulary_size:,} pieces, "
        f"{transformer.dtype_policy.name}, {prepared.batches.batches_per_epoch(0):,} batches an epoch, on {devices()}."
    )
    return model


def _size(variables: list) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _optimizer(preset: Preset, transformer) -> FusedAdam:
    training = preset.training
    schedule = WarmUp.of(training)
    optimizer = FusedAdam(
        # If the rate depends on time, the supervisor sets it.
        schedule.rate(1) if timed(training) else schedule,
        beta_1=training.beta_1,
        beta_2=training.beta_2,
        epsilon=training.epsilon,
        weight_decay=training.weight_decay or None,
        global_clipnorm=training.clip_norm or None,
        gradient_accumulation_steps=training.accumulate if training.accumulate > 1 else None,
    )
    # Biases and the gains of normalisation stay, as is usual.
    optimizer.exclude_from_weight_decay([weight for weight in transformer.trainable_variables if len(weight.shape) < 2])
    optimizer.build(transformer.trainable_variables)
    if preset.memory.has_state:
        optimizer.set_rate_factor(transformer.memory_weights, training.memory_rate)
    return optimizer


def _transformer(run: Run, tokenizer, precision: str, begins: bool, report=None):
    """The Transformer that a training begins with: fresh, or with the weights of `training.start`.

    If there is a checkpoint, the weights of `training.start` are not needed and may be gone.
    """
    transformer = _fresh(run, tokenizer, precision, report)
    if begins and run.preset.training.start:
        take_weights(run, transformer, report)
    return transformer


def _fresh(run: Run, tokenizer, precision: str, report):
    """A new Transformer whose embeddings start from the preset's word vectors, if any."""
    embeddings, size, seed = run.preset.embeddings, tokenizer.vocabulary_size, run.preset.training.seed
    keras.utils.set_random_seed(seed)
    if not embeddings.vectors:
        return run.with_precision(precision).new_model(size)
    from data.vectors import load_vectors

    vectors, coverage = load_vectors(embeddings.vectors, tokenizer.pieces(), run.preset.model.width, seed)
    if report:
        report(str(coverage))
    both = embeddings.side == "both"
    # Scaled like random embeddings, so that they do not dominate the positions.
    vectors *= run.preset.model.width**-0.5 / vectors.std()
    widths = vectors.shape[1], vectors.shape[1] if both else None
    transformer = run.with_precision(precision).new_model(size, *widths)
    for side, embedding in transformer.input_embeddings.items():
        if both or side == "source":
            embedding.table.assign(vectors)
    return transformer


def _fit(model, supervisor: Supervisor, prepared: Prepared) -> None:
    supervisor.conclude()
    if supervisor.why_finished:
        return
    training, errors = supervisor.preset.training, []

    def batches():
        # TensorFlow would wrap the error in its own.
        try:
            stream = prepared.batches.stream(supervisor.batch)
            if training.ranking:
                stream = marked(stream, supervisor.preset, supervisor.batch)
            # Each part of a batch needs a row.
            yield from (batch if len(batch[1]) >= model.parts else fill(batch, model.parts) for batch in stream)
        except (UserError, OSError) as error:
            errors.append(error)
            raise

    steps = (training.updates - supervisor.journal.update) * training.accumulate
    try:
        with wait_for_update(supervisor), supervisor.progress:
            inputs = (*prepared.batches.inputs, *(("ranked",) if training.ranking else ()))
            dataset = supervisor.cluster.dataset(batches, inputs, training.accumulate)
            model.fit(dataset, steps_per_epoch=steps, callbacks=[supervisor], shuffle=False, verbose=0)
    except Exception:
        if errors:
            raise errors[0] from None
        raise


def _average(run: Run, console) -> None:
    updates = average(run, report=console.print)
    console.print(f"Averaged the weights after updates {', '.join(f'{update:,}' for update in updates)}.")
