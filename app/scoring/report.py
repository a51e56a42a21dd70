"""Prints evaluations as tables."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from app.scoring.bootstrap import Comparison, Measure
from app.scoring.copies import Copied
from app.scoring.evaluation import Evaluation
from app.scoring.metrics import LengthScore
from app.scoring.misplaced import WRONG
from app.scoring.perplexity import Perplexity
from app.scoring.terms import TermCount

# Terms in the table; the record has them all.
TERMS_SHOWN = 10


def show_evaluation(evaluation: Evaluation, file: TextIO | None = None) -> None:
    """Prints an evaluation as tables, with explanatory notes below.

    Args:
        evaluation: what to show.
        file: the output; standard output by default.
    """
    from rich.console import Console

    console = Console(file=file, highlight=False)
    for table in _tables(evaluation):
        console.print(table)
    for line in _remarks(evaluation):
        console.print(line, soft_wrap=True, markup=False)


def show_perplexity(found: Perplexity, file: TextIO | None = None) -> None:
    """Prints the perplexity of a text as a table; arguments as for `show_evaluation`."""
    from rich.console import Console

    rows = [
        [
            "perplexity of a word",
            f"{found.per_word:.2f}",
            "" if found.low is None else f"{found.low:.2f} - {found.high:.2f}",
            f"{found.words:,} words",
        ],
        ["perplexity of a token", f"{found.per_token:.2f}", "", f"{found.tokens:,} tokens"],
        ["bits a byte", f"{found.bits_per_byte:.3f}", "", f"{found.bytes:,} bytes"],
    ]
    console = Console(file=file, highlight=False)
    console.print(_table(found.title, ["measure", "value", "95% interval", "of"], rows))
    console.print(f"Model: {found.weights}. Each line's end counts as a word, a token and a byte.", markup=False)


def _tables(evaluation: Evaluation) -> list:
    scores = [*evaluation.scores, *evaluation.terms]
    more = [replace(evaluation.tokenised, name="BLEU, Moses tokens")] if evaluation.tokenised else []
    tables = [_scores(evaluation.title, [*scores, *more])]
    if evaluation.context:
        tables.append(_scores("Use of context, in nats a token", evaluation.context))
    if evaluation.baseline:
        tables.append(_comparisons(evaluation.baseline, scores))
    if evaluation.lengths:
        rows = [[str(bucket), f"{bucket.lines:,}", f"{bucket.bleu:.1f}"] for bucket in evaluation.lengths]
        tables.append(_table("BLEU by source length", ["words", "segments", "BLEU"], rows))
    if evaluation.corrected:
        tables.append(_corrected(evaluation.corrected))
    if evaluation.copied:
        tables.append(_copied(evaluation.copied))
    if evaluation.met:
        tables.append(_met(evaluation.met))
    return tables


def _corrected(scores: Sequence[LengthScore]):
    rows = [
        [str(score), f"{score.lines:,}", f"{score.bleu:.1f}", "" if score.baseline is None else f"{score.baseline:.1f}"]
        for score in scores
    ]
    return _table("BLEU by segments corrected before", ["corrected", "segments", "BLEU", "baseline"], rows)


def _copied(counts: Sequence[Copied]):
    rows = [
        [found.kind, f"{found.lines:,}", _share(found.kept, found.lines), _share(found.reference, found.lines)]
        for found in counts
    ]
    return _table("Lines that copy all spans of a kind", ["kind", "lines", "copied", "reference"], rows)


def _met(counts: Sequence[TermCount]):
    rows = [
        [
            f"{found.source} = {found.target}" if found.source else "all terms",
            f"{found.segments:,}",
            _share(found.met, found.segments),
            _share(found.reference, found.segments),
        ]
        for found in counts[: TERMS_SHOWN + 1]
    ]
    return _table("Terms of the glossary", ["term", "segments", "met", "reference"], rows)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%"


def _scores(title: str, measures: Sequence[Measure]):
    rows = [
        [
            _name(measure),
            _figure(measure.value, measure),
            _interval(measure, measure),
            _figure(measure.reference, measure),
        ]
        for measure in measures
    ]
    return _table(title, ["score", "", "95% interval", "reference"], rows)


def _comparisons(baseline: str, measures: Sequence[Measure]):
    rows = []
    for measure in measures:
        other = measure.comparison
        p_value = "" if other.p_value is None else f"{other.p_value:.3f}"
        figures = _figure(other.baseline, measure), _figure(other.difference, measure, "+")
        rows.append([_name(measure), *figures, _interval(other, measure, "+"), p_value])
    return _table(f"Compared with {baseline}", ["score", "baseline", "difference", "95% interval", "p"], rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]):
    """A table that omits columns that are empty in every row."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    kept = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    for number in kept:
        table.add_column(columns[number], justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[number] for number in kept))
    return table


def _name(measure: Measure) -> str:
    return f"{measure.name} (less is better)" if measure.name in ("TER", WRONG) else measure.name


def _figure(value: float | None, measure: Measure, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}z.{measure.digits}f}"


def _interval(ends: Measure | Comparison, measure: Measure, sign: str = "") -> str:
    """The ends of an interval; separated by "to" if they may have a sign."""
    if ends.low is None:
        return ""
    dash = "to" if sign or ends.low < 0 else "-"
    return f"{_figure(ends.low, measure, sign)} {dash} {_figure(ends.high, measure, sign)}"


def _remarks(evaluation: Evaluation) -> list[str]:
    """Signatures, the components of BLEU, explanations of the scores, and speed."""
    scores = [*evaluation.scores, *([evaluation.tokenised] if evaluation.tokenised else [])]
    first = scores[0]
    lines = [f"{measure.name}|{measure.signature}" for measure in scores if measure.signature]
    if first.details:
        lines.append(f"{first.name}: {first.details}")
    if first.low is None and evaluation.samples and first.units == "documents":
        lines.append("too few documents for intervals, which resample whole documents")
    if evaluation.baseline:
        lines.append(
            "p: how often chance alone gives a difference this large, by paired bootstrap of "
            f"{first.units}; below 0.05 is significant"
        )
    if evaluation.terms:
        lines.append("consistency: percent of pairs of equal source words in a document with the same translation")
    if any(measure.name == WRONG for measure in scores):
        lines.append(
            f"{WRONG}: percent of the 2-, 3- and 4-grams found in references of earlier segments of the document that "
            "the segment's own reference has not"
        )
    if first.units == "items":
        lines.append("pronouns: percent of items whose reference is more likely than each of its wrong translations")
    if evaluation.lost:
        lines.append(f"the first {len(evaluation.lost)} lines that do not:")
        lines += [
            f"  line {n} ({', '.join(kinds)}): {source} => {found}" for n, kinds, source, found in evaluation.lost
        ]
    if evaluation.missed:
        lines.append(f"the first {len(evaluation.missed)} lines that miss a term of the glossary:")
        lines += [
            f"  line {n} ({', '.join(terms)}): {source} => {found}" for n, terms, source, found in evaluation.missed
        ]
    speed = evaluation.how.get("decoding")
    if speed:
        lines.append(
            f"translated in {speed['seconds']:,.1f} s: {speed['segments_per_second']:,.1f} lines/s, "
            f"{speed['output_tokens_per_second']:,.0f} output tokens/s"
        )
    return lines
