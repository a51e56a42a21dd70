"""Progress bars and lines for work that takes long."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

QUIET_SECONDS = 30
_OFTEN = 1000  # pairs between two looks at the clock


def progress_console() -> Console:
    """Standard error as a console that prints lines as they are, neither wrapped nor coloured."""
    return Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


class _Line:
    """One line that changes, with a bar; plain lines if the console is not a terminal."""

    def __init__(self, console: Console, label: str, start: int, total: int | None):
        self.console = console
        self.began = self.printed = time.monotonic()
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}")]
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = self.bar.add_task(label, total=total, completed=start, text="") if self.bar else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar:
            self.bar.stop()

    def _show(self, done: int, text: str, plain: str, last: bool = False) -> None:
        """Shows a text next to the bar; without a bar, prints a plain line now and then."""
        now = time.monotonic()
        if self.bar:
            self.bar.start()
            self.bar.update(self.task, completed=done, text=text)
        elif now - self.printed >= QUIET_SECONDS or last:
            self.printed = now
            self.console.print(plain)


class ProgressBar(_Line):
    """A line with updates, loss, learning rate, tokens a second and the time left.

    Args:
        console: where to print.
        start: number of the first update.
        updates: number of the last update.
        time_left: gives the seconds that a time limit leaves; None without a limit.
    """

    def __init__(self, console: Console, start: int, updates: int, time_left: Callable[[], float | None]):
        super().__init__(console, "training", start, updates)
        self.start, self.updates, self.time_left = start, updates, time_left

    def show(self, update: int, loss: float, rate: float, speed: float) -> None:
        """Shows one state: loss in nats a token, learning rate, speed in target tokens a second."""
        text = (
            f"{update:,}/{self.updates:,}  loss {loss:.3f}  lr {rate:.2e}  {speed:,.0f} tok/s  "
            f"{clock(self._left(update))} left"
        )
        self._show(update, text, f"update {text}", last=update == self.updates)

    def _left(self, update: int) -> float:
        per_update = (time.monotonic() - self.began) / max(update - self.start, 1)
        left, limit = per_update * (self.updates - update), self.time_left()
        return left if limit is None else max(min(left, limit), 0.0)


class TimeBar(_Line):
    """A line for work that ends when its time is up, or sooner.

    Args:
        console: where to print.
        label: what is being done.
        seconds: the most time that it may take.

    Call arguments:
        done: seconds that have passed.
        text: the current state.
    """

    def __init__(self, console: Console, label: str, seconds: float):
        super().__init__(console, label, 0, seconds)
        self.label, self.seconds = label, seconds

    def __call__(self, done: float, text: str) -> None:
        text += f"  at most {clock(max(self.seconds - done, 0))} left"
        self._show(done, text, f"{self.label}: {text}")


class PairsBar(_Line):
    """A line with the number of pairs done, pairs a second and, as soon as it is known, the time left.

    Args:
        console: where to print.
        label: what is being done.
        total: number of all pairs; None if unknown.

    Call arguments:
        done: number of pairs done.
    """

    def __init__(self, console: Console, label: str, total: int | None = None):
        super().__init__(console, label, 0, total)
        self.label, self.total = label, total

    def __call__(self, done: int) -> None:
        speed = done / max(time.monotonic() - self.began, 1e-9)
        text = f"{done:,}/{self.total:,}" if self.total else f"{done:,}"
        text += f" pairs  {speed:,.0f} pairs/s"
        if self.total and done:
            text += f"  {clock(max(self.total - done, 0) / speed)} left"
        self._show(done, text, f"{self.label}: {text}")

    def count(self, pairs: Iterable) -> Iterator:
        """Yields the pairs, and shows how many have passed."""
        for number, pair in enumerate(pairs, start=1):
            yield pair
            if not number % _OFTEN:
                self(number)


def clock(seconds: float) -> str:
    """A duration as MINUTES:SECONDS, or HOURS:MINUTES:SECONDS."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


@contextlib.contextmanager
def decoding_progress(segments: int, text: str = "translating") -> Iterator[Callable[[float], None] | None]:
    """A progress bar on standard error, if that is a terminal.

    Args:
        segments: how many there are in all.
        text: what is being done.

    Yields:
        A function of the share that is done, 0 to 1; None without a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]:>6.1f} lines/s"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{text} {segments:,} lines", total=1.0, speed=0.0)

        def report(share: float) -> None:
            speed = share * segments / max(1e-9, time.perf_counter() - start)
            progress.update(task, completed=share, speed=speed)

        yield report
