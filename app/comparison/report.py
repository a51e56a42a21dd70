"""The report of a comparison: REPORT.md for people, results.json for programs; both from the records of the runs."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from app.comparison.plan import Contestant, Plan
from app.comparison.records import Records, Score, read_records
from app.scoring.bootstrap import Measure
from app.scoring.consistency import ALL
from app.scoring.cxmi import CONTENT
from app.scoring.evaluation import PRONOUNS
from data.errors import UserError
from data.files import atomic_write, read_json, write_json

if TYPE_CHECKING:
    from rich.table import Table

REPORT, RESULTS = "REPORT.md", "results.json"
MAIN = ("s-BLEU", "d-BLEU", "chrF2++", ALL, CONTENT)
COMPARED_WHEN_SHUFFLED = ("s-BLEU", "d-BLEU", "chrF2++")
TITLES = {CONTENT: "CXMI, right less wrong"}
# At least this many digits after the point: systems differ by tenths of a BLEU point.
DIGITS = 2
Rows = list[list[str]]
Found = dict[str, dict[str, Score]]


def write_report(plan: Plan, failed: dict[str, str]) -> None:
    """Writes the report into the plan's folder; each file whole or not at all.

    Args:
        plan: the plan.
        failed: the steps that failed, and why.
    """
    records = read_records(plan)
    write_json(plan.folder / RESULTS, figures(plan, records, failed))
    with atomic_write(plan.folder / REPORT, "w") as file:
        file.write("\n".join(_markdown(plan, records, failed)) + "\n")


def read_failures(plan: Plan) -> dict[str, str]:
    """The steps that had failed when the report was last written, and why."""
    try:
        return dict(read_json(plan.folder / RESULTS).get("failed", {}))
    except UserError:  # there is none yet, or it is damaged: it is written again
        return {}


def status_table(plan: Plan, contestants: Iterable[Contestant]) -> "Table":
    """A table of how far each contestant is."""
    from rich.table import Table

    table = Table(title=f"{plan.name}, in {plan.folder}", title_justify="left")
    table.add_column("run", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("updates", "minutes", "tokens/s", "BLEU", "nats", "best at"):
        table.add_column(name, justify="right", no_wrap=True)
    records = read_records(plan)
    for contestant in contestants:
        found = records[contestant.name].training
        best = found.validation
        table.add_row(
            contestant.name,
            records[contestant.name].state,
            f"{found.update:,}" if found.begun else "",
            f"{found.seconds / 60:.1f}" if found.begun else "",
            f"{found.tokens_per_second:,.0f}" if found.tokens_per_second is not None else "",
            f"{best['bleu']:.2f}" if "bleu" in best else "",
            f"{best['nll']:.3f}" if "nll" in best else "",
            f"{best['update']:,}" if best else "",
        )
    return table


def figures(plan: Plan, records: dict[str, Records], failed: dict[str, str]) -> dict:
    """The content of results.json.

    Args:
        plan: the plan.
        records: the results of all contestants.
        failed: the steps that failed, and why.
    """
    runs = {}
    for name, found in records.items():
        training = found.training
        controls = {test: found.control(test) for test in plan.tests} if plan.score.control else {}
        runs[name] = {
            "system": found.contestant.system,
            "seed": found.contestant.seed,
            "state": found.state,
            "weights": found.weights(),
            "updates": training.update,
            "minutes": training.seconds / 60,
            "tokens_per_second": training.tokens_per_second,
            "output_tokens_per_second": found.output_speed(),
            "validation": training.validation,
            "scores": _figures({test: found.scores(test) for test in found.texts}),
            "shuffled": _figures(controls),
            "decided": sorted(found.decided()),
            "terms": found.terms,
        }
    return {"plan": plan.name, "baseline": plan.score.baseline, "runs": runs, "failed": failed}


def _figures(found: Found) -> dict:
    return {name: {key: score.as_dict() for key, score in scores.items()} for name, scores in found.items() if scores}


def _markdown(plan: Plan, records: dict[str, Records], failed: dict[str, str]) -> list[str]:
    """The lines of REPORT.md."""
    states = [found.state for found in records.values()]
    lines = [f"# {plan.name}", "", f"{states.count('scored')} of {len(states)} runs are trained and scored."]
    if len(states) > len(plan.systems):
        lines += ["Each figure is the mean over the seeds of a system, with the lowest and the highest in brackets."]
    if plan.score.baseline:
        lines += [
            f"Differences are from `{plan.score.baseline}` with the same seed; p is how often chance alone gives a "
            "difference this large, by paired bootstrap. Where there is no p, the difference is not tested."
        ]
    if failed:
        lines += ["", *(f"- failed: {step}: {why}" for step, why in failed.items())]
    return [*lines, *score_sections(plan, records)]


def score_sections(plan: Plan, records: dict[str, Records], charts: Mapping[str, str] | None = None) -> list[str]:
    """The lines of all tables: the scores, and what the trainings have cost.

    Args:
        plan: the plan.
        records: the results of all contestants.
        charts: the path of the chart of a test set, by its name.
    """
    lines: list[str] = []
    for name in dict.fromkeys(name for found in records.values() for name in found.texts):
        lines += ["", f"## {name}", "", *_test_set(plan, records, name, () if name == PRONOUNS else MAIN)]
        if plan.score.control and name != PRONOUNS:
            lines += _control(records, name)
        if charts and name in charts:
            lines += ["", f"![Scores on {name}]({charts[name]})"]
    lines += ["", "## Costs", "", *markdown_table(["system", *_COSTS], _costs(plan, records)), ""]
    return [*lines, *_decided(records)]


def _test_set(plan: Plan, records: dict[str, Records], name: str, chosen: Sequence[str] = ()) -> list[str]:
    """The scores of one test set by system, and their differences by run.

    Args:
        plan: the plan.
        records: the results of all contestants.
        name: the name of the test set.
        chosen: which scores; by default all in the records.
    """
    scores = {run: found.scores(name) for run, found in records.items()}
    columns = [key for key in chosen or _names(scores) if any(key in found for found in scores.values())]
    if not columns:
        return ["No scores yet."]
    heads = [TITLES.get(column, column) for column in columns]
    lines = markdown_table(["system", *heads], _means(plan, scores, columns))
    if compared := _differences(scores, columns):
        lines += ["", f"Difference from `{plan.score.baseline}`:", "", *markdown_table(["run", *heads], compared)]
    measures = [found[key].measure for found in scores.values() for key in columns if key in found]
    signatures = dict.fromkeys(f"- {each.name}|{each.signature}" for each in measures if each.signature)
    return [*lines, "", *signatures] if signatures else lines


def _control(records: dict[str, Records], name: str) -> list[str]:
    """What scores lose if documents are shuffled, so that their context is wrong."""
    fallen = _differences({run: found.control(name) for run, found in records.items()}, COMPARED_WHEN_SHUFFLED)
    return (
        ["", "Shuffled documents minus those in order:", "", *markdown_table(["run", *COMPARED_WHEN_SHUFFLED], fallen)]
        if fallen
        else []
    )


def _names(scores: Found) -> list[str]:
    return list(dict.fromkeys(key for found in scores.values() for key in found))


def _means(plan: Plan, scores: Found, columns: Sequence[str]) -> Rows:
    """For each system, each score over its seeds."""
    rows = []
    for system in plan.systems:
        found = [scores[one.name] for one in plan.contestants if one.system == system and scores[one.name]]
        measures = [[each[key].measure for each in found if key in each] for key in columns]
        cells = [_score_cell(each) for each in measures]
        if found:
            rows.append([system, *cells])
    return rows


def _score_cell(measures: Sequence[Measure]) -> str:
    """A score over seeds; one that is not defined on a text is left out."""
    values = [each.value for each in measures if not math.isnan(each.value)]
    return spread(values, max(measures[0].digits, DIGITS)) if values else ""


def _differences(scores: Found, columns: Sequence[str]) -> Rows:
    """For each run that is compared, each difference with its p."""
    rows = []
    for run, found in scores.items():
        cells = [_difference(found[key]) if key in found else "" for key in columns]
        if any(cells):
            rows.append([run, *cells])
    return rows


def _difference(score: Score) -> str:
    if score.difference is None or math.isnan(score.difference):
        return ""
    figure = f"{score.difference:+z.{max(score.measure.digits, DIGITS)}f}"
    return figure if score.p_value is None else f"{figure}, p = {score.p_value:.3f}"


_COSTS: dict[str, Callable[[Records], float | None]] = {
    "weights": lambda found: found.weights(),
    "updates": lambda found: found.training.update,
    "minutes": lambda found: found.training.seconds / 60,
    "training, tokens/s": lambda found: found.training.tokens_per_second,
    "translation, tokens/s": lambda found: found.output_speed(),
}


def _costs(plan: Plan, records: dict[str, Records]) -> Rows:
    """For each system, what its finished trainings have cost."""
    rows = []
    for system in plan.systems:
        runs = [one for one in records.values() if one.contestant.system == system and one.training.finished]
        figures = {name: [cost(run) for run in runs] for name, cost in _COSTS.items()}
        cells = [
            spread([each for each in found if each is not None], 1 if name == "minutes" else 0)
            for name, found in figures.items()
        ]
        if runs:
            rows.append([system, *cells])
    return rows


def _decided(records: dict[str, Records]) -> list[str]:
    """What the runs were translated with; if that differs, which of them with what."""
    found = {name: one.decided() for name, one in records.items()}
    ways = sorted(set().union(*found.values()))
    if len(ways) < 2:
        return [f"Translated in {way}." for way in ways]
    return [f"- translated in {way}: {', '.join(name for name in found if way in found[name])}" for way in ways]


def spread(values: Sequence[float], digits: int) -> str:
    """The mean and, if there are several values, the lowest and the highest.

    Args:
        values: the values; "" for none.
        digits: how many after the point.
    """
    if not values:
        return ""
    mean, low, high = (f"{each:z,.{digits}f}" for each in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def markdown_table(columns: Sequence[str], rows: Rows) -> list[str]:
    """The lines of a table in Markdown, with the first column aligned to the left.

    Args:
        columns: the heads of the columns.
        rows: the cells of each row.
    """
    ruler = ["---", *("---:" for _ in columns[1:])]
    return [f"| {' | '.join(row)} |" for row in (columns, ruler, *rows)]
