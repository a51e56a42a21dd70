"""Trains one memory on the probe's documents, easy ones first."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np

from app.probe.batches import Shape, stream
from app.probe.candidates import MODEL
from app.probe.documents import Task, training_document
from app.probe.recall import Examiner
from app.probe.sizes import state_bytes
from app.training.optimizer import FusedAdam

LANES, WINDOWS = 64, 16
FIRST_LENGTH = 4
CHECK_EVERY, CHECKED = 50, 256  # updates, documents
# The recall needed to move on to the next lesson, and to finish the last one.
GOOD, PERFECT = 0.9, 0.995
LEARNING_RATE, CLIP_NORM = 4e-3, 1.0


@dataclass(frozen=True)
class Progress:
    """The state of a training.

    Attributes:
        update: number of updates done.
        seconds: time they took.
        facts: number of facts in the current training documents.
        keys: number of keys that they use.
        length: their maximum number of segments.
        loss: mean negative log-likelihood per target token since the last check, in nats.
        recall: share of right answers at the farthest distance in such documents.
    """

    update: int
    seconds: float
    facts: int
    keys: int
    length: int
    loss: float
    recall: float

    def __str__(self) -> str:
        return (
            f"update {self.update:,}  loss {self.loss:.3f}  recall {100 * self.recall:.0f}% of {self.facts} facts, "
            f"{self.keys} keys in documents of {self.length}  {self.update / self.seconds:.1f} updates/s"
        )


@dataclass(frozen=True)
class Lesson:
    """The task and the maximum length, in segments, of training documents."""

    task: Task
    length: int

    @property
    def farthest(self) -> int:
        """The maximum distance between the first of adjacent facts and its question."""
        return max(self.length - self.task.facts, 1)


def lessons(task: Task, longest: int) -> list[Lesson]:
    """A curriculum: two facts with few keys, then all keys, then more facts, then longer documents, doubling each time.

    A memory first learns to answer with any of the stated values, and does no more until slots happen to distinguish
    keys. That takes longer with more keys, and with more facts; once slots distinguish two, more are soon learnt. A
    memory must also be useful over short distances before it can become useful over long ones.
    """
    few = replace(task, facts=min(task.facts, 2))
    shortest = min(max(FIRST_LENGTH, few.facts + 2), longest)
    found = [Lesson(replace(few, keys_in_use=number), shortest) for number in _doubled(2, task.keys)]
    for facts in _doubled(few.facts, task.facts)[1:]:
        found.append(Lesson(replace(found[-1].task, facts=facts), min(max(FIRST_LENGTH, facts + 2), longest)))
    return found + [Lesson(found[-1].task, length) for length in _doubled(found[-1].length, longest)[1:]]


def _doubled(first: int, last: int) -> list[int]:
    """The numbers from `first`, each twice the one before it, and `last` at their end."""
    found = [min(first, last)]
    while found[-1] < last:
        found.append(min(2 * found[-1], last))
    return found


@dataclass(frozen=True)
class Learnt:
    """A trained model with its examiner, how the training ended, and the bytes of a document's memory state."""

    examiner: Examiner
    progress: Progress
    weights: int
    state_bytes: int


def learn(task: Task, memory: dict, context: int, longest: int, minutes: float, seed: int, report: Callable) -> Learnt:
    """Trains a small `DocumentTransformer` through all `lessons` or until the time limit.

    Args:
        task: the content of documents.
        memory: settings of the memory, as `DocumentTransformer` takes them.
        context: preceding segments in a window of `concat`.
        longest: segments in the longest training documents.
        minutes: the time limit.
        seed: seed of weights, documents and order.
        report: called with a `Progress` every 50 updates and at the time limit.
    """
    keras.utils.set_random_seed(seed)
    size = context + 1 if memory["kind"] == "concat" else 1
    # Windows with context are longer, and no memory carries a gradient between them.
    shape = Shape(LANES, max(1, WINDOWS // size), size)
    model = _compiled_model(task, memory)
    training = _Training(model, Examiner(model.transformer, shape), lessons(task, longest), seed)
    progress = training.run(minutes * 60, report)
    return Learnt(
        training.examiner, progress, model.transformer.count_params(), state_bytes(model.transformer.initial_memory(1))
    )


class _Training:
    """The loop over updates, from the first lesson to the last."""

    def __init__(self, model, examiner: Examiner, lessons: list[Lesson], seed: int):
        self.model, self.examiner, self.lessons, self.seed = model, examiner, lessons, seed
        self.rng = np.random.default_rng([seed, 0])
        self.update, self.began = 0, time.monotonic()

    def run(self, seconds: float, report) -> Progress:
        for number, lesson in enumerate(self.lessons):
            known = PERFECT if number == len(self.lessons) - 1 else GOOD
            # Long documents need smaller steps, since many windows change the memory state.
            self.model.optimizer.learning_rate = LEARNING_RATE * (self.lessons[0].length / lesson.length) ** 0.5
            for inputs, labels in self._batches(lesson):
                logs = self.model.train_on_batch(inputs, labels, return_dict=True)
                self.update += 1
                over = time.monotonic() - self.began >= seconds
                if over or self.update % CHECK_EVERY == 0:
                    progress = self._check(lesson, float(logs["nll"]))
                    report(progress)
                    if over:
                        return progress
                    if progress.recall >= known:
                        break
        return progress

    def _batches(self, lesson: Lesson):
        shape = self.examiner.shape
        # Documents of 8 segments gain nothing from a gradient through 16.
        windows = min(shape.windows, max(8, lesson.length))
        documents = (training_document(lesson.task, lesson.length, self.rng) for _ in itertools.count())
        return stream(documents, shape._replace(windows=windows))

    def _check(self, lesson: Lesson, loss: float) -> Progress:
        seed = self.seed + 1000 * self.update
        recall = self.examiner.recall(lesson.task, lesson.farthest, CHECKED, seed).share
        self.model.reset_metrics()
        seconds = time.monotonic() - self.began
        task = lesson.task
        return Progress(self.update, seconds, task.facts, task.keys_in_use, lesson.length, loss, recall)


def _compiled_model(task: Task, memory: dict):
    from models.document import DocumentTransformer
    from models.teacher_forcing import DocumentTeacherForcing

    model = DocumentTeacherForcing(DocumentTransformer(task.vocabulary, **MODEL, memory=memory), 0.0, LANES)
    model.build()
    optimizer = FusedAdam(LEARNING_RATE, beta_2=0.98, epsilon=1e-9, global_clipnorm=CLIP_NORM)
    optimizer.build(model.transformer.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    return model
