"""The callback of `fit`: logs, validates, writes checkpoints, and ends the training."""

import math
import time
from typing import Any

import keras
import numpy as np

from app.runs.checkpoints import nearest
from app.runs.journal import LOG, Journal, Log
from app.runs.run import Run
from app.terminal import Console, ProgressBar
from app.training.preparation import Prepared
from app.training.schedules import WarmUp, decay_position, timed
from app.training.state import read_memory, read_state, sync, to_array
from app.training.tensorboard import ScalarWriter
from app.training.validation import Validation
from app.training.workers.cluster import Cluster

LOG_EVERY = 10


class NotFinite(Exception):
    """Training produced a number that is not finite; `what` describes it, `batch` is the batch index."""

    def __init__(self, what: str, batch: int):
        super().__init__(f"{what} in batch {batch}")
        self.what, self.batch = what, batch


class Supervisor(keras.callbacks.Callback):
    """Does everything that training needs after each update.

    Its decisions depend only on the journal and the preset, so that they are the same in a resumed and an
    uninterrupted training, and on all workers of a cluster; only the chief writes files and shows progress.

    Args:
        run: the run; its checkpoints and its log are written.
        model: the compiled `TeacherForcing` model.
        prepared: the text.
        journal: the state of the training; updated as it proceeds.
        console: where progress is shown.
        cluster: the workers of this training.
    """

    def __init__(self, run: Run, model: Any, prepared: Prepared, journal: Journal, console: Console, cluster: Cluster):
        super().__init__()
        self.set_model(model)
        self.preset, self.journal, self.checkpoints, self.console = run.preset, journal, run.checkpoints, console
        self.cluster = cluster
        self.counts = prepared.batches.counts
        self.text = prepared.fingerprint
        self.validates = prepared.validation is not None
        if cluster.chief:
            self.validation = Validation(model.transformer, prepared, run.preset) if self.validates else None
            # Everything after the journal's update is made again: checkpoints, and the entries that the log leaves out.
            self.checkpoints.remove_after(journal.update)
            self.log, self.scalars = Log(run.path / LOG, journal.update), ScalarWriter(run.path / "tensorboard")
        self.progress = ProgressBar(console, journal.update, run.preset.training.updates, self.time_left)
        self.schedule, self.timed = WarmUp.of(run.preset.training), timed(run.preset.training)
        self._set_rate()
        self.interrupted = self.agreed = False
        self.saved = journal.update
        # When this session's last checkpoint with a state was written.
        self.last_state: float | None = None
        # The best checkpoint that each state knows of, by the state's update.
        self.bests = {journal.update: journal.best}
        self.batch = journal.update * run.preset.training.accumulate
        self.sums = [(variable, to_array(variable)) for metric in model.metrics for variable in metric.variables]
        self.tokens_before = self.tokens_counted = float(model.get_metrics_result()["tokens"])
        self.earlier_seconds = journal.seconds
        self.session_start = self.log_start = time.monotonic()
        cluster.synchronise(model, run.preset.training.accumulate, lambda: (self.seconds, self.interrupted))

    @property
    def why_finished(self) -> str:
        """Why the training is finished, or "" if it is not."""
        return self.journal.why_finished(self.preset.training)

    @property
    def stopping(self) -> bool:
        """Whether the training stops because of an interruption that all workers know of."""
        return self.interrupted if self.cluster.workers == 1 else self.agreed

    @property
    def seconds(self) -> float:
        """Seconds spent in all sessions, by this worker's clock."""
        return self.earlier_seconds + time.monotonic() - self.session_start

    def time_left(self) -> float | None:
        """Seconds until the preset's time limit, or None without one."""
        limit = self.preset.training.minutes * 60
        return limit - self.journal.seconds if limit else None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # `fit` has just reset the sums to zero; a resumed training continues with its own.
        for variable, value in self.sums:
            variable.assign(value)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if not math.isfinite(logs["loss"]):
            raise NotFinite(f"the loss is {logs['loss']}", self.batch)
        self.batch += 1
        if self.batch % self.preset.training.accumulate:
            return
        self.journal.update += 1
        self.journal.seconds, self.agreed = self.cluster.agreed_status(logs, self.seconds, self.interrupted)
        if self.timed and self.journal.update == self.preset.training.warmup:
            self.journal.warmup_seconds = self.journal.seconds
        self._log()
        # Before the checkpoint, which holds the optimiser's rate.
        self._set_rate()
        self.conclude()
        self.model.stop_training = self.stopping or bool(self.why_finished)

    def _set_rate(self) -> None:
        """Sets the rate of the next update, if it depends on time."""
        if not self.timed:
            return
        journal = self.journal
        update = decay_position(self.preset.training, journal.update + 1, journal.seconds, journal.warmup_seconds)
        self.rate = self.schedule.rate(update)
        sync(self.model)  # otherwise JAX would not read the variable
        self.model.optimizer.learning_rate = self.rate

    def conclude(self) -> None:
        """Validates and writes a checkpoint if they are due after the last update.

        At the start of a session, it catches up on a validation that an interruption skipped.
        """
        # A stop that the user asked for must not wait for a validation.
        due = not self.stopping and self._validation_due()
        best = due and self._validate()
        regular = self.journal.update % self.preset.training.checkpoint_every == 0
        new = due or self.saved != self.journal.update
        if best or (new and (regular or self.stopping or self.why_finished)):
            self.save()

    def save(self) -> None:
        """Writes a checkpoint of the last update."""
        sync(self.model)
        carried = read_memory(self.model, self.cluster)
        if self.cluster.chief:
            self._write_checkpoint(carried)
        self.saved = self.journal.update

    def _write_checkpoint(self, carried: list) -> None:
        self._count_tokens()
        protected, removed = self._kept()
        weights, state = read_state(self.model, carried, whole=self._state_due())
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise NotFinite("a weight is not finite", self.batch - 1)
        # A copy, because the batching thread keeps adding to it.
        counts = {str(epoch): n for epoch, n in dict(self.counts).items()}
        summary = {**self.journal.as_dict(), "counts": counts, "text": self.text}
        self.checkpoints.save(self.journal.update, weights, state, summary, protected, removed)
        if state is not None:
            self.last_state = self.seconds
            self.bests[self.journal.update] = self.journal.best

    def _state_due(self) -> bool:
        """Whether the next checkpoint needs the state, so that training can resume from it.

        The first and the last checkpoint of a session need it, and one that is written `training.resume_minutes` or
        more after the last checkpoint with a state.
        """
        if self.stopping or self.why_finished or self.last_state is None:
            return True
        return self.seconds - self.last_state >= self.preset.training.resume_minutes * 60

    def _kept(self) -> tuple[set[int], set[int]]:
        """Updates whose checkpoints are always kept, and those whose checkpoints are removed at once.

        An irregular checkpoint, from an interruption or the end of a shorter training, is removed so that the average
        is over the same checkpoints as without it.
        """
        training = self.preset.training
        updates = {self.journal.update, *(checkpoint.update for checkpoint in self.checkpoints.all())}
        # The checkpoints that training could resume from now, and the best ones known to them and to the journal. They
        # must stay, because the next checkpoint may hold weights alone.
        states = [] if self.why_finished else [checkpoint.update for checkpoint in self.checkpoints.resumable()]
        known = [self.journal.best, *(self.bests.get(update) for update in states)]
        bests = {best["update"] for best in known if best}
        regular = {update for update in updates if update % training.checkpoint_every == 0}
        protected = {*bests, *states}
        if training.average_around == "best":
            protected.update(*(nearest(regular | {best}, best, training.average) for best in bests))
        return protected, updates - regular - bests

    def _validation_due(self) -> bool:
        update = self.journal.update
        regular = update > 0 and update % self.preset.training.validate_every == 0
        return bool(self.validates and self.journal.validated != update and (regular or self.why_finished))

    def _log(self) -> None:
        update = self.journal.update
        regular = update % LOG_EVERY == 0
        if not regular and not self.why_finished:
            return
        sync(self.model)
        if self.cluster.chief:
            self._count_tokens()
            self._write_log(update)
        if regular:
            self.model.reset_metrics()
            self.tokens_before = self.tokens_counted = 0.0

    def _count_tokens(self) -> None:
        """Adds the tokens since the last count to the journal; the model must be in sync.

        The model's sum of tokens is reset with the other metrics. Checkpoints hold both this sum and the journal, so
        that every update counts exactly once.
        """
        if self.journal.tokens is not None:
            tokens = float(self.model.get_metrics_result()["tokens"])
            self.journal.tokens += round(tokens - self.tokens_counted)
            self.tokens_counted = tokens

    def _write_log(self, update: int) -> None:
        found = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        seconds, self.log_start = time.monotonic() - self.log_start, time.monotonic()
        speed = (found.pop("tokens") - self.tokens_before) / max(seconds, 1e-9)
        rate = self.rate if self.timed else self.schedule.rate(update)
        self.log.write(update=update, **self._clock(), **found, learning_rate=rate, tokens_per_second=round(speed))
        self.scalars.write(update, **found, learning_rate=rate, tokens_per_second=speed)
        self.progress.show(update, found["loss"], rate, speed)

    def _clock(self) -> dict[str, float]:
        """The time that the training has taken up to the last update, for the log."""
        return {"seconds": round(self.journal.seconds, 1)}

    def _validate(self) -> bool:
        """Validates on the chief; returns whether the score is the best so far."""
        if not self.cluster.chief:
            return self.journal.note_validation(*self.cluster.broadcast(0.0))
        sync(self.model)
        began = time.monotonic()
        with self.cluster.undistributed():
            found = self.validation()
        update = self.journal.update
        best = self.journal.note_validation(*self.cluster.broadcast(self.validation.score(found)))
        sample = found.pop("sample")
        bleu = f", BLEU {found['bleu']:.2f}" if "bleu" in found else ""
        self.console.print(
            f"update {update:,}: validation nll {found['nll']:.3f}, perplexity {found['perplexity']:.2f}"
            f"{bleu}{' (best so far)' if best else ''}, {time.monotonic() - began:.0f} s"
        )
        for label, text in sample.items():
            self.console.print(f"  {label:9} {text}")
        # The time after it, as other programs give it.
        seconds = round(self.seconds, 1)
        self.log.write(update=update, seconds=seconds, validation={**found, "sample": list(sample.values())})
        self.scalars.write(update, **{f"validation_{name}": value for name, value in found.items()})
        self.log_start += time.monotonic() - began
        return best
