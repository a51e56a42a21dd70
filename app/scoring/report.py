"""Tables and progress bars on the terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


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
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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


def show_evaluation(evaluation, file=None) -> None:
    """Prints an `app.scoring.evaluation.Evaluation` as tables, with the signatures below.

    Args:
        evaluation: what to show.
        file: where to; standard output by default.
    """
    from rich.console import Console

    console = Console(file=file, highlight=False)
    console.print(_score_table(evaluation))
    if evaluation.lengths:
        console.print(_length_table(evaluation.lengths))
    for line in _remarks(evaluation):
        console.print(line, soft_wrap=True, markup=False)


def _score_table(evaluation):
    from rich.table import Table

    test = evaluation.test
    table = Table(title=f"{test.origin}: {len(test.references):,} segments", title_justify="left")
    columns = ["score", "", "95% interval"]
    if evaluation.comparisons:
        columns += [evaluation.baseline, "difference", "p"]
    for name in columns:
        table.add_column(name, justify="left" if name == "score" else "right")
    for number, found in enumerate(evaluation.scores):
        name = "TER (less is better)" if found.name == "TER" else found.name
        row = [name, f"{found.value:.1f}", _interval(found)]
        if evaluation.comparisons:
            other = evaluation.comparisons[number]
            row += [f"{other.baseline:.1f}", f"{found.value - other.baseline:+.1f}", f"{other.p_value:.3f}"]
        table.add_row(*row)
    if evaluation.tokenised:
        table.add_row("BLEU, Moses tokens", f"{evaluation.tokenised.value:.1f}", _interval(evaluation.tokenised))
    return table


def _interval(score) -> str:
    if score.interval is None:
        return ""
    return f"{score.mean - score.interval:.1f} - {score.mean + score.interval:.1f}"


def _length_table(lengths):
    from rich.table import Table

    table = Table(title="BLEU by source length", title_justify="left")
    table.add_column("words")
    table.add_column("segments", justify="right")
    table.add_column("BLEU", justify="right")
    for bucket in lengths:
        table.add_row(str(bucket), f"{bucket.lines:,}", f"{bucket.bleu:.1f}")
    return table


def _remarks(evaluation) -> list[str]:
    """The signatures, what made BLEU, whether the differences count, and the speed."""
    scores = [*evaluation.scores, *([evaluation.tokenised] if evaluation.tokenised else [])]
    lines = [f"{found.name}|{found.signature}" for found in scores]
    lines += [f"BLEU: {evaluation.scores[0].details}"]
    if evaluation.comparisons:
        lines.append("p: how often chance alone gives such a difference, by paired bootstrap; below 0.05 it counts")
    speed = evaluation.how.get("decoding")
    if speed:
        lines.append(
            f"translated in {speed['seconds']:,.1f} s: {speed['segments_per_second']:,.1f} lines/s, "
            f"{speed['output_tokens_per_second']:,.0f} output tokens/s"
        )
    return lines
