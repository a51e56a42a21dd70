"""What a person sees while a model trains."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

QUIET_SECONDS = 30


class ProgressBar:
    """A line with updates, loss, learning rate, tokens a second and the time left; plain lines where no one watches.

    Args:
        console: where to print.
        start: number of the first update.
        updates: number of the last update.
        time_left: gives the seconds that a time limit leaves (None without one), or None.
    """

    def __init__(self, console: Console, start: int, updates: int, time_left):
        self.console, self.start, self.updates, self.time_left = console, start, updates, time_left
        self.began = self.printed = time.monotonic()
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}")]
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = self.bar.add_task("training", total=updates, completed=start, text="") if self.bar else None

    def __enter__(self):
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_):
        if self.bar:
            self.bar.stop()

    def show(self, update: int, loss: float, rate: float, speed: float) -> None:
        """Shows one state: loss in nats a token, learning rate, speed in target tokens a second."""
        text = (
            f"{update:,}/{self.updates:,}  loss {loss:.3f}  lr {rate:.2e}  {speed:,.0f} tok/s  "
            f"{_clock(self._left(update))} left"
        )
        now = time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=update, text=text)
        elif now - self.printed >= QUIET_SECONDS or update == self.updates:
            self.printed = now
            self.console.print(f"update {text}")

    def _left(self, update: int) -> float:
        per_update = (time.monotonic() - self.began) / max(update - self.start, 1)
        left, limit = per_update * (self.updates - update), self.time_left()
        return left if limit is None else max(min(left, limit), 0.0)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
