"""Document scores as tables on the terminal."""

from collections.abc import Sequence

from app.document_scores.bootstrap import Measure

P_VALUE = "p: how often chance alone gives as large a difference, by paired bootstrap of {}; below 0.05 it counts"


def show_documents(evaluation, file=None) -> None:
    """Prints an `app.document_scores.evaluation.DocumentEvaluation` as tables, with what they mean below.

    Args:
        evaluation: what to show.
        file: where to; standard output by default.
    """
    documents = evaluation.documents
    title = f"{documents.origin}: {len(documents.names):,} documents, {documents.segments:,} segments"
    if evaluation.options.shuffle:
        title += ", in shuffled order"
    tables = [_table(title, [*evaluation.quality, *evaluation.terms], evaluation.baseline)]
    if evaluation.context:
        tables.append(_table("Use of context, in nats a token", evaluation.context))
    _print(tables, _remarks(evaluation), file)


def show_pronouns(evaluation, file=None) -> None:
    """Prints an `app.document_scores.evaluation.PronounEvaluation`; arguments as for `show_documents`."""
    table = _table(f"ContraPro: {evaluation.items:,} items", evaluation.measures, evaluation.baseline)
    remarks = ["right: the reference is likelier than each translation with a wrong pronoun, in percent of the items"]
    if evaluation.baseline:
        remarks.append(P_VALUE.format("items"))
    _print([table], remarks, file)


def _print(tables: Sequence, remarks: Sequence[str], file) -> None:
    from rich.console import Console

    console = Console(file=file, highlight=False)
    for table in tables:
        console.print(table)
    for line in remarks:
        console.print(line, soft_wrap=True, markup=False)


def _table(title: str, measures: Sequence[Measure], baseline: str = ""):
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    references = any(found.reference is not None for found in measures)
    columns = ["score", "", "95% interval", *(["reference"] if references else [])]
    columns += [baseline, "difference", "95% interval", "p"] if baseline else []
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for found in measures:
        row = [found.name, _figure(found.value, found), _interval(found, found)]
        row += [_figure(found.reference, found)] if references else []
        table.add_row(*row, *(_comparison(found) if baseline else []))
    return table


def _comparison(found: Measure) -> list[str]:
    other = found.comparison
    if other is None:
        return [""] * 4
    p_value = "" if other.p_value is None else f"{other.p_value:.3f}"
    figures = _figure(other.baseline, found), _figure(other.difference, found, "+")
    return [*figures, _interval(other, found, "+"), p_value]


def _figure(value: float | None, found: Measure, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.{found.digits}f}"


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
        lines.append(
            "consistency: pairs of occurrences of a source word in a document with equal translations, percent"
        )
    speed = evaluation.how.get("decoding")
    if speed:
        lines.append(f"translated in {speed['seconds']:,.1f} s: {speed['segments_per_second']:,.1f} lines/s")
    return lines
