"""Trains one memory on the probe's documents, short ones first."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from app.optimizer import FusedAdam
from app.probe.batches import Shape, stream
from app.probe.documents import Task, training_document
from app.probe.recall import Examiner
from app.schedules import WarmUp

MODEL = {"encoder_layers": 1, "decoder_layers": 1, "width": 64, "hidden": 128, "heads": 4}
MODEL |= {"dropout": 0.0, "norm": "pre"}
LANES, WINDOWS = 64, 16
SHORTEST = 4
CHECK_EVERY = 50  # updates
# Longer documents when the model knows these, and an end when it knows the longest so well.
GOOD, PERFECT = 0.9, 0.995
LEARNING_RATE, WARMUP, CLIP_NORM = 3e-3, 50, 1.0


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        update: updates done.
        seconds: time they took.
        length: segments that training documents have now at most.
        loss: mean negative log-likelihood of a target token since the last check, in nats.
        recall: share of right answers at the farthest distance in such documents.
    """

    update: int
    seconds: float
    length: int
    loss: float
    recall: float


@dataclass(frozen=True)
class Learnt:
    """A trained model, what to ask it with, and how the training ended."""

    examiner: Examiner
    progress: Progress
    weights: int


def learn(task: Task, memory: dict, context: int, longest: int, minutes: float, seed: int, report: Callable) -> Learnt:
    """Trains a small `DocumentTransformer` until it knows the longest documents or the time is over.

    Documents begin with 4 segments and become twice as long each time that the model answers nine of ten
    questions at their farthest distance: a memory must be found useful before it can be found useful for long.

    Args:
        task: what documents are made of.
        memory: settings of the memory, as `DocumentTransformer` takes them.
        context: segments before the current one that a window of `concat` holds.
        longest: segments in the longest training documents.
        minutes: the limit of time.
        seed: of weights, documents and order.
        report: is called with a `Progress` every 50 updates.
    """
    keras.utils.set_random_seed(seed)
    size = context + 1 if memory["kind"] == "concat" else 1
    # A window with context is longer, and there is no memory through which a gradient could run on.
    shape = Shape(LANES, max(1, WINDOWS // size), size)
    model = _compiled_model(task, memory)
    examiner = Examiner(model.transformer, shape)
    training = _Training(model, examiner, task, longest, seed)
    progress = training.run(minutes * 60, report)
    return Learnt(examiner, progress, model.transformer.count_params())


class _Training:
    """The loop over updates; `length` is what the documents that are drawn from now on may have."""

    def __init__(self, model, examiner: Examiner, task: Task, longest: int, seed: int):
        self.model, self.examiner, self.task, self.longest, self.seed = model, examiner, task, longest, seed
        self.length = min(SHORTEST, longest)

    def run(self, seconds: float, report) -> Progress:
        began = time.monotonic()
        rng = np.random.default_rng([self.seed, 0])
        batches = stream(self._documents(rng), self.examiner.shape)
        update = 0
        while True:
            inputs, labels = next(batches)
            logs = self.model.train_on_batch(inputs, labels, return_dict=True)
            update += 1
            over = time.monotonic() - began >= seconds
            if over or update % CHECK_EVERY == 0:
                recall = self._check(update)
                progress = Progress(update, time.monotonic() - began, self.length, float(logs["nll"]), recall)
                report(progress)
                self.model.reset_metrics()
                if over or (self.length == self.longest and recall >= PERFECT):
                    return progress
                if recall >= GOOD:
                    self.length = min(2 * self.length, self.longest)

    def _documents(self, rng):
        while True:
            yield training_document(self.task, self.length, rng)

    def _check(self, update: int) -> float:
        lanes, farthest = self.examiner.shape.lanes, max(self.length - self.task.facts, 1)
        return self.examiner.recall(self.task, farthest, 4 * lanes, seed=self.seed + 1000 * update).share


def _compiled_model(task: Task, memory: dict):
    from models.document import DocumentTransformer
    from models.teacher_forcing import DocumentTeacherForcing

    model = DocumentTeacherForcing(DocumentTransformer(task.vocabulary, **MODEL, memory=memory), 0.0, LANES)
    model.build()
    schedule = WarmUp("constant", LEARNING_RATE, WARMUP, updates=1)
    optimizer = FusedAdam(schedule, beta_2=0.98, epsilon=1e-9, global_clipnorm=CLIP_NORM)
    optimizer.build(model.transformer.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    return model
