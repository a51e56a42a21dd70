"""The callback that accompanies `fit`: logs, validates, writes checkpoints, and stops in time."""

import math
import time

import keras
import numpy as np

from app.checkpoints import Checkpoints
from app.journal import Journal, Log
from app.preset import Preset
from app.progress import ProgressBar, learning_rate
from app.weights import assign_variables, read_variables, split_variables
from data.errors import UserError

LOG_EVERY = 10


class Supervisor(keras.callbacks.Callback):
    """Does after each update what a training needs beside the update itself.

    Args:
        preset: the experiment.
        journal: where the training stands; changed as it goes on.
        checkpoints: where checkpoints go.
        log: the loss curve.
        board: a `Board` for TensorBoard.
        validation: called without arguments, see `app.validation.Validation`; None without validation text.
        counts: gives `Batches.counts`, which travel in the checkpoints.
        progress: the progress bar.
        console: where validations are shown.
    """

    def __init__(
        self,
        preset: Preset,
        journal: Journal,
        checkpoints: Checkpoints,
        log: Log,
        board,
        validation,
        counts,
        progress: ProgressBar,
        console,
    ):
        super().__init__()
        self.preset, self.journal, self.checkpoints, self.log, self.board = preset, journal, checkpoints, log, board
        self.validation, self.counts, self.progress, self.console = validation, counts, progress, console
        self.interrupted = False
        self.saved = journal.update
        self.batch = 0
        self.session_start = self.log_start = time.monotonic()
        self.earlier_seconds = journal.seconds

    def on_train_batch_end(self, batch, logs=None):
        training, journal = self.preset.training, self.journal
        self._refuse_nan(logs["loss"])
        self.batch += 1
        if self.batch % training.accumulate:
            return
        journal.update += 1
        journal.seconds = self.earlier_seconds + time.monotonic() - self.session_start
        update = journal.update
        journal.finished = self._why_stop()
        end = bool(journal.finished) or self.interrupted
        checkpoint = end or update % training.checkpoint_every == 0
        if checkpoint or update % LOG_EVERY == 0:
            self._log()
        # A stop that the user asked for must not wait for a validation; the resumed training will come by it.
        if self.validation and not self.interrupted and (journal.finished or update % training.validate_every == 0):
            checkpoint |= self._validate()
            journal.finished = journal.finished or self._lost_patience()
            end |= bool(journal.finished)
        if checkpoint or end:
            self.save()
        self.model.stop_training = end

    def time_left(self) -> float | None:
        """Seconds until the preset's time limit, or None without one."""
        limit = self.preset.training.minutes * 60
        return limit - self.journal.seconds if limit else None

    def save(self) -> None:
        """Writes a checkpoint of the last update."""
        sync(self.model)
        state = read_state(self.model)
        if not all(np.isfinite(array).all() for array in state["weights"].values()):
            raise UserError(self._nan_message("a weight is not a number"))
        summary = {**self.journal.as_dict(), "counts": {str(epoch): n for epoch, n in self.counts().items()}}
        best = [self.journal.best["update"]] if self.journal.best else []
        self.checkpoints.save(self.journal.update, state["weights"], state["state"], summary, protect=best)
        self.saved = self.journal.update

    def _why_stop(self) -> str:
        training, left = self.preset.training, self.time_left()
        if self.journal.update >= training.updates:
            return f"all {training.updates:,} updates are done"
        if left is not None and left <= 0:
            return f"the time limit of {training.minutes:g} minutes is reached"
        return ""

    def _lost_patience(self) -> str:
        patience = self.preset.training.patience
        if patience and self.journal.worse >= patience:
            return f"{patience} validations brought nothing better than that of update {self.journal.best['update']:,}"
        return ""

    def _log(self) -> None:
        found = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        for metric in self.model.metrics:
            metric.reset_state()
        seconds, self.log_start = time.monotonic() - self.log_start, time.monotonic()
        speed = found.pop("tokens") / max(seconds, 1e-9)
        rate = learning_rate(self.model.optimizer)
        update = self.journal.update
        self.log.write(update=update, **found, learning_rate=rate, tokens_per_second=round(speed))
        self.board.write(update, **found, learning_rate=rate, tokens_per_second=speed)
        self.progress.show(update, found["loss"], rate, speed)

    def _validate(self) -> bool:
        """Validates; returns whether it was the best so far."""
        sync(self.model)
        began = time.monotonic()
        found = self.validation()
        update = self.journal.update
        best = self.journal.validated(update, self.validation.score(found))
        source, output, reference = found.pop("sample")
        self.console.print(
            f"update {update:,}: validation nll {found['nll']:.3f}, perplexity {found['perplexity']:.2f}, "
            f"BLEU {found['bleu']:.2f}{' (best so far)' if best else ''}, {time.monotonic() - began:.0f} s",
            highlight=False,
            soft_wrap=True,
        )
        for label, text in (("source", source), ("reference", reference), ("output", output)):
            self.console.print(f"  {label:9} {text}", markup=False, highlight=False, soft_wrap=True)
        self.log.write(update=update, validation={**found, "sample": [source, reference, output]})
        self.board.write(update, **{f"validation_{name}": value for name, value in found.items()})
        self.log_start = time.monotonic()
        return best

    def _refuse_nan(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise UserError(self._nan_message(f"the loss is {loss}"))

    def _nan_message(self, what: str) -> str:
        update = self.journal.update + 1
        broken = [
            name for name, array in read_variables(split_variables(self.model.transformer)[0]).items()
            if not np.isfinite(array).all()
        ]  # fmt: skip
        where = f"; {len(broken)} weights are not finite now, the first is {broken[0]}" if broken else ""
        return (
            f"training stopped at update {update:,} (batch {self.batch + 1} of this session): {what}{where}. "
            f"The last good checkpoint is that of update {self.saved:,}. Lower training.learning_rate, raise "
            "training.warmup, set training.clip_norm, or try training.precision=float32"
        )


def sync(model) -> None:
    """On JAX, brings the values that `fit` holds back into the model's variables."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


def read_state(model) -> dict:
    """All that changes in training: the Transformer's `weights`, and the `state` of optimiser and random generators."""
    weights, random = split_variables(model.transformer)
    optimizer = {f"optimizer/{i:05d}": _array(v) for i, v in enumerate(model.optimizer.variables)}
    generators = {f"random/{i:05d}": _array(v) for i, v in enumerate(random)}
    return {"weights": read_variables(weights), "state": {**optimizer, **generators}}


def restore_state(model, weights: dict, state: dict, origin) -> None:
    """Sets what `read_state` read; the optimiser must be built.

    Raises:
        UserError: the values belong to another model.
    """
    mine, random = split_variables(model.transformer)
    assign_variables(mine, weights, origin)
    named = {f"optimizer/{i:05d}": v for i, v in enumerate(model.optimizer.variables)}
    named |= {f"random/{i:05d}": v for i, v in enumerate(random)}
    if set(named) != set(state):
        raise UserError(f"{origin}: the checkpoint's state is that of another model or version")
    for name, variable in named.items():
        variable.assign(state[name])


def _array(variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
