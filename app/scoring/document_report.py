"""Document scores as tables on the terminal."""

from collections.abc import Sequence

from app.scoring.bootstrap import Measure

P_VALUE = "p: how often chance alone gives as large a difference, by paired bootstrap of {}; below 0.05 it counts"


def show_documents(evaluation, file=None) -> None:
    """Prints an `app.scoring.document_evaluation.DocumentEvaluation` as tables, with what they mean below.

    Args:
        evaluation: what to show.
        file: where to; standard output by default.
    """
    documents = evaluation.documents
    title = f"{documents.origin}: {len(documents.names):,} documents, {documents.segments:,} segments"
    if evaluation.options.shuffle:
        title += ", in shuffled order"
    scores = [*evaluation.quality, *evaluation.terms]
    tables = [_table(title, scores)]
    if evaluation.context:
        tables.append(_table("Use of context, in nats a token", evaluation.context))
    if evaluation.baseline:
        tables.append(_comparisons(evaluation.baseline, scores))
    _print(tables, _remarks(evaluation), file)


def show_pronouns(evaluation, file=None) -> None:
    """Prints an `app.scoring.document_evaluation.PronounEvaluation`; arguments as for `show_documents`."""
    tables = [_table(f"ContraPro: {evaluation.items:,} items", evaluation.measures)]
    remarks = ["right is an item whose reference is likelier than each of its wrong translations; percent of the items"]
    if evaluation.baseline:
        tables.append(_comparisons(evaluation.baseline, evaluation.measures))
        remarks.append(P_VALUE.format("items"))
    _print(tables, remarks, file)


def _print(tables: Sequence, remarks: Sequence[str], file) -> None:
    from rich.console import Console

    console = Console(file=file, highlight=False)
    for table in tables:
        console.print(table)
    for line in remarks:
        console.print(line, soft_wrap=True, markup=False)


def _table(title: str, measures: Sequence[Measure]):
    references = any(found.reference is not None for found in measures)
    rows = [[found.name, _figure(found.value, found), _interval(found, found)] for found in measures]
    if references:
        rows = [[*row, _figure(found.reference, found)] for row, found in zip(rows, measures, strict=True)]
    return _rows(title, ["score", "", "95% interval", *(["reference"] if references else [])], rows)


def _comparisons(baseline: str, measures: Sequence[Measure]):
    rows = []
    for found in measures:
        other = found.comparison
        p_value = "" if other.p_value is None else f"{other.p_value:.3f}"
        figures = _figure(other.baseline, found), _figure(other.difference, found, "+")
        rows.append([found.name, *figures, _interval(other, found, "+"), p_value])
    return _rows(f"Compared with {baseline}", ["score", "baseline", "difference", "95% interval", "p"], rows)


def _rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]):
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _figure(value: float | None, found: Measure, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}z.{found.digits}f}"


def _interval(ends, found: Measure, sign: str = "") -> str:
    """The ends of an interval; "to" between figures that may have a sign."""
    if ends.low is None:
        return ""
    dash = "to" if sign or ends.low < 0 else "-"
    return f"{_figure(ends.low, found, sign)} {dash} {_figure(ends.high, found, sign)}"


def _remarks(evaluation) -> list[str]:
    lines = [f"{found.name}|{found.signature}" for found in evaluation.quality]
    if evaluation.quality[0].low is None and evaluation.options.samples:
        lines.append("too few documents for intervals: they are drawn as wholes")
    if evaluation.baseline:
        lines.append(P_VALUE.format("documents"))
    if evaluation.terms:
        lines.append("consistency: percent of the pairs of equal source words in a document that are translated alike")
    speed = evaluation.how.get("decoding")
    if speed:
        lines.append(f"translated in {speed['seconds']:,.1f} s: {speed['segments_per_second']:,.1f} lines/s")
    return lines
