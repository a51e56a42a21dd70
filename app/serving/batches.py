"""Dynamic batching: what several requests want decoded at the same time is decoded together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.retrieval.entries import Entries
from app.translation.batch_plan import plan_batches
from app.translation.decoder import Decoded, Decoder, Request, TokenScore, length_of, refuse_more, window_length
from data.packing import PackedWindow

# Batches computed at the same time: while one waits for a small operation, the other uses the processor.
WORKERS = 2
# How long the first row of a batch waits for others, in seconds.
WAIT = 0.004
# Jobs of at most so many tokens need not wait for a plan.
SHORT = 512
# How many batches are planned at once: more have less padding, but jobs that come after a plan wait for the next one.
# Jobs that fill less than this share of a batch wait for the batches before them: more jobs come when these are done.
PLANNED, ENOUGH = 4, 0.5
# How full a planned batch may become when short jobs join it; the decoder splits what is too much for one batch.
ROOM = 1.25


class OverdueError(Exception):
    """A request was not answered within its time."""


class StoppedError(Exception):
    """The server stops and takes nothing new."""


class Kind(NamedTuple):
    """What can be done with rows together: the decoder's method, and the number of outputs."""

    method: str
    outputs: int = 1


Batch = list[tuple["_Job", int]]


class _Job:
    """The rows of one call, the longest first; `found` gets a result for each."""

    def __init__(self, kind: Kind, rows: Sequence[Any], lengths: Sequence[int]):
        self.kind, self.rows, self.lengths = kind, rows, lengths
        self.waiting = deque(sorted(range(len(rows)), key=lambda row: -lengths[row]))
        self.found: list[Any] = [None] * len(rows)
        self.missing, self.short = len(rows), sum(lengths) <= SHORT
        self.error: Exception | None = None
        self.since, self.done = time.monotonic(), threading.Event()
        # The number of the last batch before it.
        self.after = 0


def _padded(length: int) -> int:
    # Imported here because it needs Keras: wrong options are refused before Keras is loaded.
    from app.translation.padding import round_length

    return round_length(length)


class Batches:
    """Decodes for several threads at once with one decoder.

    Long jobs are planned several batches at a time: a row of each job in turn, and rows of similar length together.
    Short jobs join the next of these batches; if they do not fit, the two sorts take turns. Nothing waits for others
    longer than `wait` seconds while there is nothing else to do. Only these worker threads use the model: TensorFlow
    keeps memory for each thread that does, and never frees it.

    Args:
        decoder: the model with its search.
        wait: how long rows wait for others, in seconds.
        observe: called after each batch with its kind, its number of rows and its seconds.
    """

    def __init__(
        self, decoder: Decoder, wait: float = WAIT, observe: Callable[[str, int, float], None] = lambda *_: None
    ):
        self.decoder, self.wait, self.observe = decoder, wait, observe
        self.first_memory = decoder.first_memory
        self._jobs: list[_Job] = []
        self._plan: deque[Batch] = deque()
        # The numbers, from 1, of the batches that are being computed.
        self._running: dict[int, int] = {}
        self._started, self._last_short = 0, False
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [threading.Thread(target=self._work, name=f"batches-{n}", daemon=True) for n in range(WORKERS)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """The number of rows that no worker has taken yet."""
        with self._changed:
            return sum(len(job.waiting) for job in self._jobs) + sum(map(len, self._plan))

    def run(self, kind: Kind, rows: Sequence[Any], lengths: Sequence[int], until: float | None = None) -> list[Any]:
        """The result for each row; waits for it.

        Args:
            kind: what to do.
            rows: what to do it with.
            lengths: the number of tokens of each row.
            until: when to give up, by `time.monotonic()`; None for never.

        Raises:
            OverdueError: the time ran out.
            StoppedError: `stop` was called before.
        """
        if not rows:
            return []
        job = _Job(kind, rows, lengths)
        with self._changed:
            if self._stopped:
                raise StoppedError
            job.after = self._started
            self._jobs.append(job)
            self._changed.notify_all()
        if not job.done.wait(None if until is None else max(until - time.monotonic(), 0)):
            self._drop(job)
            raise OverdueError
        if job.error:
            raise job.error
        return job.found

    def stop(self) -> None:
        """Finishes what it has, and takes nothing new."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            began = time.monotonic()
            try:
                self._finish(batch, self._compute([job.rows[row] for job, row in batch], batch[0][0].kind))
            except Exception as error:
                self._blame(batch, error)
            with self._changed:
                del self._running[id(batch)]
                self._changed.notify_all()
            self.observe(batch[0][0].kind.method, len(batch), time.monotonic() - began)

    def _next_batch(self) -> Batch:
        """Waits for rows; none when the server stops."""
        with self._changed:
            while not (batch := self._take()):
                if self._stopped and not self._jobs:
                    return []
                left = [job.since + self.wait - time.monotonic() for job in self._jobs]
                self._changed.wait(min((seconds for seconds in left if seconds > 0), default=None))
            self._started += 1
            self._running[id(batch)] = self._started
            self._last_short = batch[0][0].short
            return batch

    def _take(self) -> Batch:
        """The next batch; none if nothing is ready yet."""
        short, long = ([job for job in self._jobs if job.short == kind] for kind in (True, False))
        if not self._plan and self._ready(long, ENOUGH, apart=True):
            self._plan.extend(self._batches_of(long, PLANNED))
        if self._plan:
            joined = self._joined(self._plan[0], short)
            if joined or self._last_short or not self._ready(short):
                planned = self._plan.popleft()
                return joined or planned
        if self._ready(short):
            batch, *rest = self._batches_of(short, 1)
            self._plan.extendleft(reversed(rest))
            return batch
        return []

    def _joined(self, batch: Batch, jobs: list[_Job]) -> Batch:
        """A planned batch with all waiting rows of these jobs; none if there is no room for them."""
        joined = batch + [(job, row) for job in jobs for row in job.waiting]
        longest = _padded(max(job.lengths[row] for job, row in joined))
        fits = longest * len(joined) <= ROOM * self.decoder.search.batch_tokens
        if any(job.kind != batch[0][0].kind for job in jobs) or not fits:
            return []
        self._jobs = [job for job in self._jobs if job not in jobs]
        for job in jobs:
            job.waiting.clear()
        return joined

    def _ready(self, jobs: list[_Job], enough: float = 1.0, apart: bool = False) -> bool:
        """Whether these fill `enough` of a batch, or the first has waited, and if `apart` for the batches before it."""
        if not jobs:
            return False
        over = self._stopped or time.monotonic() >= jobs[0].since + self.wait
        tokens = sum(job.lengths[row] for job in jobs if job.kind == jobs[0].kind for row in job.waiting)
        held = apart and any(number <= jobs[0].after for number in self._running.values())
        return (over and not held) or tokens >= enough * self.decoder.search.batch_tokens

    def _batches_of(self, jobs: list[_Job], most: int) -> list[Batch]:
        """Plans about so many batches: takes a row of each job in turn until there are enough."""
        budget = self.decoder.search.batch_tokens
        turns = deque(job for job in jobs if job.kind == jobs[0].kind)
        rows: Batch = []
        tokens = 0
        while turns and tokens < most * budget:
            job = turns.popleft()
            rows.append((job, job.waiting.popleft()))
            tokens += job.lengths[rows[-1][1]]
            if job.waiting:
                turns.append(job)
        taken = {id(job) for job, _ in rows}
        self._jobs = sorted((job for job in self._jobs if job.waiting), key=lambda job: id(job) in taken)
        plan = list(plan_batches([job.lengths[row] for job, row in rows], budget, _padded))
        for job in self._jobs:
            if id(job) in taken:
                job.after = self._started + len(plan)
        return [[rows[place] for place in places] for places in plan]

    def _compute(self, rows: list[Any], kind: Kind) -> list[Any]:
        """One call of the decoder; a row of several arguments is a tuple."""
        if kind.method == "decode_segments":
            return self.decoder.decode_segments(rows, kind.outputs)
        if kind.method in ("inspect", "attend"):
            return [getattr(self.decoder, kind.method)(*row) for row in rows]
        if kind.method == "score_windows":
            return self.decoder.score_windows(rows)
        return getattr(self.decoder, kind.method)(*map(list, zip(*rows, strict=True)))

    def _finish(self, batch: list[tuple[_Job, int]], found: list[Any]) -> None:
        for (job, row), one in zip(batch, found, strict=True):
            job.found[row] = one
            self._count_off(job)

    def _blame(self, batch: list[tuple[_Job, int]], error: Exception) -> None:
        """After a batch has failed: computes each job's part alone, so that one job does not fail the others."""
        jobs = {id(job): job for job, _ in batch}
        for job in jobs.values():
            own = [(other, row) for other, row in batch if other is job]
            try:
                if len(jobs) == 1:
                    raise error
                self._finish(own, self._compute([job.rows[row] for _, row in own], job.kind))
            except Exception as reason:
                job.error = reason
                self._drop(job)
                job.done.set()

    def _drop(self, job: _Job) -> None:
        """Forgets the rows of a job that no worker has taken."""
        with self._changed:
            job.waiting.clear()
            self._jobs = [other for other in self._jobs if other is not job]
            plan = ([(other, row) for other, row in batch if other is not job] for batch in self._plan)
            self._plan = deque(batch for batch in plan if batch)

    def _count_off(self, job: _Job) -> None:
        # Both workers may hold rows of a job.
        with self._changed:
            job.missing -= 1
            if not job.missing:
                job.done.set()


class BatchedDecoder:
    """A decoder for one request, whose work is done in batches together with that of other requests.

    It implements `app.translation.decoder.Decoder`, except that settings cannot be changed: all requests share them.

    Args:
        batches: does the work.
        until: when to give up, by `time.monotonic()`; None for never.
        memory: the memory at a document's start, if something was read before it.
    """

    def __init__(self, batches: Batches, until: float | None = None, memory: dict | None = None):
        inner = batches.decoder
        self._batches, self._until, self._continued = batches, until, memory is not None
        self.first_memory = batches.first_memory if memory is None else memory
        self.max_positions, self.search, self.words = inner.max_positions, inner.search, inner.words
        self.retrieval, self.remembers, self.most = inner.retrieval, inner.remembers, inner.most
        self.attends = inner.attends

    @property
    def output_tokens(self) -> int:
        """The tokens decoded so far for all requests."""
        return self._batches.decoder.output_tokens

    def decode_segments(
        self, requests: Sequence[Request], count: int = 1, progress: Callable[[list[int]], None] | None = None
    ) -> list[list[Decoded]]:
        """See `Decoder.decode_segments`; `progress` is called once, at the end."""
        refuse_more(count, self.most)
        lengths = [length_of(request.sources) + length_of(request.before) for request in requests]
        found = self._run(Kind("decode_segments", count), requests, lengths)
        if progress:
            progress(list(range(len(requests))))
        return found

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[TokenScore]:
        """See `Decoder.score`."""
        return self._run_pairs("score", sources, targets)

    def entries(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Entries]:
        """See `Decoder.entries`."""
        return self._run_pairs("entries", sources, targets)

    def remember(self, windows: Sequence[PackedWindow], memories: Sequence[dict]) -> list[dict]:
        """See `Decoder.remember`."""
        if self._continued:
            windows = [window._replace(reset=False) for window in windows]
        lengths = [window_length(window) for window in windows]
        return self._run(Kind("remember"), list(zip(windows, memories, strict=True)), lengths)

    def inspect(self, window: PackedWindow, memory: dict) -> dict[str, Any]:
        """See `Decoder.inspect`."""
        return self._run(Kind("inspect"), [(window, memory)], [length_of(window.sources)])[0]

    def attend(self, source: Sequence[int], target: Sequence[int]) -> Any:
        """See `Decoder.attend`."""
        return self._run(Kind("attend"), [(source, target)], [max(len(source), len(target)) + 1])[0]

    def score_windows(self, documents: Sequence[Sequence[PackedWindow]]) -> list[list[TokenScore]]:
        """See `Decoder.score_windows`."""
        lengths = [sum(length_of(window.sources) for window in windows) for windows in documents]
        return self._run(Kind("score_windows"), documents, lengths)

    def read_by(self, settings: Any, gate: Any = None) -> None:
        """Refused."""
        raise TypeError("all requests share the settings of retrieval")

    def read_index(self, search: Callable[..., Any] | None) -> None:
        """Refused."""
        raise TypeError("all requests share the index")

    def _run_pairs(self, method: str, sources, targets) -> list[Any]:
        pairs = list(zip(sources, targets, strict=True))
        return self._run(Kind(method), pairs, [max(map(len, pair)) + 1 for pair in pairs])

    def _run(self, kind: Kind, rows: Sequence[Any], lengths: Sequence[int]) -> list[Any]:
        return self._batches.run(kind, rows, lengths, self._until)
