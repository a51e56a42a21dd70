"""Trains a preset into a run folder, and goes on exactly where an earlier start of the same training stopped."""

import contextlib
import signal

import keras
from rich.console import Console

from app.averaging import average
from app.board import Board
from app.journal import LOG, Journal, Log
from app.preparation import Prepared, prepare
from app.preset import Preset
from app.progress import ProgressBar
from app.run import Run
from app.schedules import WarmUp
from app.supervisor import Supervisor, restore_state
from app.validation import Validation
from data.errors import UserError
from data.feeding import as_dataset

# What a person may change between two starts of a training without making it another one.
FREE_KEYS = (
    "description:",
    "data.test:",
    "training.updates:",
    "training.minutes:",
    "training.keep:",
    "training.patience:",
    "training.average:",
    "training.average_around:",
    "search.",
)


def train(preset: Preset, path, folders=(), console: Console | None = None) -> Run:
    """Trains, or goes on training, to the preset's end; then averages the last checkpoints.

    Args:
        preset: the experiment.
        path: the run folder; made if it is not there.
        folders: where folder corpora are looked for.
        console: where progress goes, by default standard error.

    Returns:
        The finished run. Nothing is done if it was finished before.

    Raises:
        UserError: bad input, another training in this folder, or a loss that is not a number.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint of the last update is written.
    """
    console = console or Console(stderr=True)
    run = open_or_create(path, preset)
    if is_finished(run):
        console.print(f"{run.path}: this training is finished: {run.summary()['finished']['why']}.")
        return run
    _fix_randomness(preset)
    found = run.checkpoints.latest(console.print)
    summary = found[1] if found else {}
    counts = {int(epoch): n for epoch, n in summary.get("counts", {}).items()}
    prepared = prepare(run, folders, console.print, counts)
    model = _compiled(run, prepared, console)
    if found:
        restore_state(model, found[0].weights(), found[0].state(), found[0].folder)
        console.print(f"Going on after update {found[0].update:,}.")
    journal = Journal.from_summary({**summary, "finished": ""})
    _fit(run, model, prepared, journal, console)
    updates = average(run, report=console.print)
    run.write_summary(finished={"update": journal.update, "why": journal.finished, "seconds": journal.seconds})
    console.print(
        f"Training ended at update {journal.update:,}: {journal.finished}. "
        f"Averaged {len(updates)} checkpoints, {updates[0]:,} to {updates[-1]:,}."
    )
    return run


def open_or_create(path, preset: Preset) -> Run:
    """The run in a folder, with `preset` as its preset.

    Raises:
        UserError: the folder holds a training that differs in more than `FREE_KEYS`.
    """
    if not Run.exists(path):
        return Run.create(path, preset)
    run = Run.open(path)
    changed = run.preset.differences(preset)
    fixed = [line for line in changed if not line.startswith(FREE_KEYS)]
    if fixed:
        raise UserError(
            f"{path}: holds another training; what differs: {'; '.join(fixed)}. "
            "Choose another run folder, or remove this one"
        )
    run.update_preset(preset)
    return run


def is_finished(run: Run) -> bool:
    """Whether the training came to its end; more `updates` or `minutes` than then make it unfinished again."""
    finished, training = run.summary().get("finished"), run.preset.training
    if not finished:
        return False
    enough = finished["update"] >= training.updates
    late = training.minutes and finished["seconds"] >= training.minutes * 60
    patient = "validations" in finished["why"] and training.patience
    return bool(enough or late or patient)


def _fix_randomness(preset: Preset) -> None:
    keras.utils.set_random_seed(preset.training.seed)
    if preset.training.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _compiled(run: Run, prepared: Prepared, console):
    """The model with its loss and optimiser, all variables made."""
    from models.teacher_forcing import TeacherForcing

    training = run.preset.training
    transformer = _with_vectors(run, prepared.tokenizer, console)
    model = TeacherForcing(transformer, training.label_smoothing)
    model.build()
    schedule = WarmUp(training.schedule, training.learning_rate, training.warmup, training.updates)
    optimizer = keras.optimizers.Adam(
        schedule,
        beta_1=training.beta_1,
        beta_2=training.beta_2,
        epsilon=training.epsilon,
        global_clipnorm=training.clip_norm or None,
        gradient_accumulation_steps=training.accumulate if training.accumulate > 1 else None,
    )
    optimizer.build(transformer.trainable_variables)
    # XLA on a processor does not use its matrix units and compiles each batch shape anew.
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    console.print(
        f"{transformer.count_params():,} weights, {prepared.tokenizer.vocabulary_size:,} pieces, "
        f"{transformer.dtype_policy.name}, {prepared.batches.batches_per_epoch(0):,} batches an epoch."
    )
    return model


def _with_vectors(run: Run, tokenizer, console):
    """A fresh Transformer whose embeddings start from the preset's word vectors, if it names any."""
    embeddings, size = run.preset.embeddings, tokenizer.vocabulary_size
    if not embeddings.vectors:
        return run.new_model(size)
    from data.vectors import load_vectors

    width, seed = run.preset.model.width, run.preset.training.seed
    vectors, coverage = load_vectors(embeddings.vectors, tokenizer.pieces(), width, seed)
    console.print(str(coverage))
    both = embeddings.side == "both"
    transformer = run.new_model(size, vectors.shape[1], vectors.shape[1] if both else None)
    transformer.source_embedding.table.assign(vectors)
    if both:
        transformer.target_embedding.table.assign(vectors)
    return transformer


def _fit(run: Run, model, prepared: Prepared, journal: Journal, console) -> None:
    training = run.preset.training
    progress = ProgressBar(console, journal.update, training.updates, lambda: supervisor.time_left())
    supervisor = Supervisor(
        run.preset,
        journal,
        run.checkpoints,
        Log(run.path / LOG, journal.update),
        Board(run.path / "tensorboard"),
        Validation(model.transformer, prepared, run.preset) if prepared.validation else None,
        lambda: prepared.batches.counts,
        progress,
        console,
    )
    if journal.update >= training.updates:
        journal.finished = f"all {training.updates:,} updates are done"
        return
    dataset = as_dataset(prepared.batches, journal.update * training.accumulate)
    with _stop_at_update(supervisor), progress:
        steps = (training.updates - journal.update) * training.accumulate
        model.fit(dataset, epochs=1, steps_per_epoch=steps, callbacks=[supervisor], shuffle=False, verbose=0)
    if supervisor.interrupted:
        raise KeyboardInterrupt(f"stopped after update {journal.update:,}; the same command goes on from there")


@contextlib.contextmanager
def _stop_at_update(supervisor: Supervisor):
    """Lets the first Ctrl-C or SIGTERM end the current update and write a checkpoint; the second one stops at once."""

    def stop(number, _):
        supervisor.interrupted = True
        signal.signal(number, signal.default_int_handler)

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, a notebook's for example
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
