"""How a contestant talks to the benchmark: one JSON object a line, on standard input and standard output.

The contestant warms up, says that it is ready, and then does one turn for each line that it is sent, until its input
ends. This module needs only the standard library, because it runs in the environments of all contestants.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable


class Channel:
    """The contestant's end. Anything that libraries print goes to standard error."""

    def __init__(self):
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.spec = self.receive()

    def receive(self) -> dict:
        """The next line's content; ends the process if there is none."""
        line = sys.stdin.readline()
        if not line:
            self.end()
        return json.loads(line)

    def send(self, **values) -> None:
        """Sends one line, with the most memory that the process has held so far."""
        print(json.dumps({**values, "peak_bytes": peak_bytes()}), file=self._out, flush=True)

    def end(self) -> None:
        """Ends the process at once: anything a library would still do, such as saving a checkpoint, is of no use."""
        sys.stdout.flush()
        os._exit(0)


class Clock:
    """Times a training from inside; call `updated` after every update.

    After `warmup` updates it reports that it is ready; from then on it lets the training run only for the updates of
    a turn. Between turns the training waits in `updated`.

    Args:
        channel: where turns come from.
        warmup: updates before the first turn.
        **about: what to report once, such as thread counts.
    """

    def __init__(self, channel: Channel, warmup: int, **about):
        self._channel, self._about = channel, about
        self._left, self._tokens, self._ready = warmup, 0, False
        self._begin = time.perf_counter()

    def updated(self, tokens: int, updates: int = 1) -> None:
        """Counts updates and the target tokens in them, without padding."""
        self._left -= updates
        self._tokens += tokens
        if self._left > 0:
            return
        seconds = time.perf_counter() - self._begin
        if self._ready:
            self._channel.send(seconds=seconds, tokens=self._tokens)
        else:
            self._channel.send(ready=True, warmup_seconds=seconds, **self._about)
            self._ready = True
        self._left, self._tokens = self._channel.receive()["updates"], 0
        self._begin = time.perf_counter()


class Trial:
    """Like `Clock`, for one setting of a sweep: raises `Enough` after some updates, and then has the `rate`."""

    def __init__(self, warmup: int, updates: int):
        self._warmup, self._updates = warmup, updates
        self._done, self._tokens, self._begin = 0, 0, 0.0
        self.rate = 0.0

    def updated(self, tokens: int, updates: int = 1) -> None:
        """See `Clock.updated`."""
        self._done += updates
        if self._done <= self._warmup:
            self._begin = time.perf_counter()
            return
        self._tokens += tokens
        if self._done >= self._warmup + self._updates:
            self.rate = self._tokens / (time.perf_counter() - self._begin)
            raise Enough


class Enough(Exception):
    """Ends the training of a `Trial`."""


def sweep(channel: Channel, run: Callable) -> None:
    """Tries the settings of the specification one after another; for each, reports the rate or what went wrong.

    Args:
        channel: has `settings`, a list of objects, in its specification.
        run: a function of a setting and a `Trial` that trains until the trial has enough.
    """
    for setting in channel.spec["settings"]:
        trial, error = Trial(channel.spec["trial_warmup"], channel.spec["trial_updates"]), None
        begin = time.perf_counter()
        try:
            run(setting, trial)
        except Enough:
            pass
        except Exception as caught:  # a setting that a machine cannot do is a row of the table
            error = f"{type(caught).__name__}: {caught}".splitlines()[0][:200]
        if not trial.rate and not error:
            error = "the training ended before the trial had enough"
        channel.send(setting=setting, rate=trial.rate, error=error, all_seconds=time.perf_counter() - begin)


def serve_training(channel: Channel, train: Callable, **about: object) -> None:
    """Trains one model in turns, or one for each setting of a sweep, as the specification says.

    Args:
        channel: where turns come from.
        train: a function of a setting and a clock; it calls the clock's `updated` after every update.
        **about: see `Clock`.
    """
    spec = channel.spec
    if spec["mode"] == "sweep":
        sweep(channel, train)
    else:
        train(spec["setting"], Clock(channel, spec["warmup"], **about))


def peak_bytes() -> int:
    """The most memory that this process has held at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve_translations(channel: Channel, translate: Callable) -> None:
    """Answers turns of translating until the input ends.

    A turn is `{"lines": [...], "setting": ..., "one_by_one": false}`; the answer holds the translations, their tokens
    and the seconds, which are those of each line alone if `one_by_one` is true.

    Args:
        channel: where turns come from.
        translate: a function of lines and a setting that returns translations and the number of their tokens.
    """
    channel.send(ready=True)
    while True:
        turn = channel.receive()
        portions = [[line] for line in turn["lines"]] if turn.get("one_by_one") else [turn["lines"]]
        texts, tokens, seconds = [], 0, []
        try:
            for portion in portions:
                begin = time.perf_counter()
                found, count = translate(portion, turn["setting"])
                seconds.append(time.perf_counter() - begin)
                texts += found
                tokens += count
        except Exception as error:  # a setting that a machine cannot do is a row of the table
            channel.send(error=f"{type(error).__name__}: {error}".splitlines()[0][:200])
            continue
        channel.send(texts=texts, tokens=tokens, seconds=seconds)
