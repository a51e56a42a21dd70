"""The page of a comparison: everything known about its mechanisms, for people and programs, with charts next to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.comparison.charts import draw, scores_chart
from app.comparison.measures import TRAINING, TRANSLATION, Measurements, probed
from app.comparison.plan import PLANS, Plan
from app.comparison.recorded import SCORED, read_content
from app.comparison.records import Records, read_records
from app.comparison.report import figures, markdown_table, read_failures, score_sections
from app.comparison.systems import scored_texts
from app.probe.candidates import Reach
from app.runs.run import Run
from data.errors import UserError
from data.files import atomic_write, write_json

FIGURES = "figures"
_WHAT = {TRANSLATION: "Translation", TRAINING: "Training"}


def refuse_to_lose(plan: Plan, path: Path | str) -> None:
    """Raises a UserError if `write_page` would replace scores that no longer exist anywhere else."""
    path, records = Path(path), read_records(plan)
    kept = {name for name, one in records.items() if one.state == SCORED or Run.exists(one.contestant.path)}
    file = path.with_suffix(".json")
    before = [name for name, run in read_content(file).get("runs", {}).items() if run.get("state") == SCORED]
    if lost := [name for name in before if name not in kept]:
        raise UserError(
            f"--write {path}: {file} has scores that this plan does not know or has on other terms, and that would be "
            f"lost ({', '.join(lost)}): name another page, or move {file.name} away"
        )


def write_page(plan: Plan, path: Path | str) -> None:
    """Writes the page, a JSON file of the same name, and charts into `figures` next to it; each whole or not at all.

    The page has only what is known so far.

    Args:
        plan: the plan.
        path: the path of the page, which ends in .md.
    """
    path, records, found = Path(path), read_records(plan), Measurements(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.with_suffix(".json"), _content(plan, records, found))
    runs = figures(plan, records, {})["runs"]
    names = draw(plan, found, runs, path.parent / FIGURES, path.stem)
    drawn = {name: f"{FIGURES}/{path.stem}-{name}.svg" for name in names}
    charts = {test: drawn[name] for test in scored_texts(runs) if (name := scores_chart(test)) in drawn}
    lines = [
        *_head(plan, records, path),
        *score_sections(plan, records, charts),
        *_recall(plan, found, drawn),
        *_costs(plan, found, drawn),
        *_stacks(found),
        *_uses(plan, records),
    ]
    with atomic_write(path, "w") as file:
        file.write("\n".join(lines).rstrip() + "\n")


def _content(plan: Plan, records: dict[str, Records], found: Measurements) -> dict[str, Any]:
    """All figures: those of results.json, and what was measured of each system.

    The recall of a system is that of its "memory" among "memories".
    """
    measured: dict[str, dict[str, Any]] = {}
    for system in plan.systems:
        memory = found.candidate(system) if found.recall(system) else None
        measured[system] = {
            "terms": plan.cost_terms(system),
            "memory": memory.name if memory else None,
            "state_bytes": found.state_bytes(system),
            **{what: list(found.costs(system, what).values()) for what in _WHAT},
        }
    known = {"measured": measured, "stacks": found.stacks(), **found.recall_record()}
    return {**figures(plan, records, read_failures(plan)), **known}


def _head(plan: Plan, records: dict[str, Records], path: Path) -> Iterator[str]:
    states = [one.state for one in records.values()]
    yield from ("# A comparison of mechanisms", "")
    yield from ("`weitblick compare`, explained in [compare.md](compare.md), wrote this page. To write it again:", "")
    name = plan.path.stem if plan.path.parent == PLANS else str(plan.path)
    items = f" --items {plan.score.items}" if plan.score.items else ""
    pronouns = f" --contrapro{items}" if plan.score.contrapro else ""
    folders = f" --corpora {' '.join(plan.folders)}" if plan.folders and not plan.made_up else ""
    yield from ("```sh", f"weitblick compare {name}{folders}{pronouns} --write {path}", "```", "")
    yield "All systems have the same layers, width, text and budget; a memory adds weights (see Costs)."
    yield f"{states.count('scored')} of {len(states)} runs are scored ({', '.join(plan.systems)})."
    if states.count("scored") > len(plan.systems):
        yield "Each figure is the mean over the seeds of a system, with the lowest and the highest in brackets."
    if plan.score.baseline:
        yield f"Differences are from `{plan.score.baseline}` with the same seed; p is by paired bootstrap."
    if plan.stages and (seeds := {one.seed for one in plan.contestants if one.name in plan.recorded}):
        *others, last = sorted(seeds)
        listed = f"seeds {', '.join(map(str, others))} and {last}" if others else f"seed {last}"
        yield f"The runs of {listed} were made by separate calls, from their own first stages."


def _recall(plan: Plan, found: Measurements, drawn: dict[str, str]) -> Iterator[str]:
    """How far each memory reaches; one that was not probed has no row."""
    known = {system: recalled for system in plan.systems if (recalled := found.recall(system))}
    if not known:
        return
    distances = sorted({distance for recalled in known.values() for distance in recalled.shares})
    rows = []
    for system, recalled in known.items():
        shares, promised = recalled.shares, recalled.found["promised"]
        reach = str(Reach(**promised)) if promised else "no limit"
        cells = [f"{100 * shares[each][0]:.1f}" if each in shares else "" for each in distances]
        rows.append([system, *cells, reach, f"{recalled.found['state_bytes']:,}", f"{recalled.found['seconds']:.0f}"])
    yield from ("", "## Recall by distance", "")
    chance = 100 / found.experiment.task.values
    yield "Right answers in %, by windows between a fact and the question about it, from small models trained for this"
    yield "on made-up documents. Reach is how far the design reaches, in windows; bytes are those of the state; seconds"
    yield f"are those of the training. Chance is {chance:.1f}%."
    yield ""
    yield from markdown_table(["system", *map(str, distances), "reach", "bytes", "seconds"], rows)
    yield from _figure(drawn, "recall", "Recall by distance")
    own = {probed(plan), *plan.records}
    others = {system: one.file for system, one in known.items() if one.file not in own}
    if others:
        files = sorted({str(file) for file in others.values()})
        yield from ("", f"From {', '.join(f'`{file}`' for file in files)}: {', '.join(others)}.")


def _costs(plan: Plan, found: Measurements, drawn: dict[str, str]) -> Iterator[str]:
    """Seconds and memory by length of a document."""
    rows, lengths = [], sorted(plan.costs.tokens) if plan.costs else []
    for what, word in _WHAT.items():
        for system in plan.systems:
            if costs := found.costs(system, what):
                state = found.state_bytes(system)
                cells = [
                    f"{costs[length]['seconds_per_1000']:.2f}, {costs[length]['peak_megabytes']:,.0f}"
                    for length in lengths
                ]
                rows.append([system, word.lower(), f"{state:,}", *cells])
    if not rows:
        return
    yield from ("", "## Costs by length of the document", "")
    yield "Seconds for 1,000 source tokens of one document that is read from its beginning, and the peak resident"
    yield "memory until then, in MB, by the length of the document in source tokens; for greedy translation, and for"
    yield "training with one lane. Each is measured in a separate process. The state is what is carried from window to"
    yield "window, in bytes, without what retrieval stores."
    yield ""
    yield from markdown_table(["system", "", "state", *(f"{length:,}" for length in lengths)], rows)
    for what, word in _WHAT.items():
        for unit in ("seconds", "megabytes"):
            yield from _figure(drawn, f"{what}-{unit}", f"{word}: {unit} by length")


def _stacks(found: Measurements) -> Iterator[str]:
    """Seconds and memory by length of one input, which stacks and ways to attend change."""
    rows = found.stacks().get("length", [])
    if not rows:
        return
    lengths = list(dict.fromkeys(row["length"] for row in rows))
    cells = []
    keys = ("stack", "what", "precision")
    for line in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        own = {row["length"]: row for row in rows if tuple(row[key] for key in keys) == line}
        cells.append([*line, *(_stack_cell(own.get(length, {})) for length in lengths)])
    yield from ("", "## Costs by length of one input", "")
    yield f"Seconds for 1,000 tokens, and MB above what was in use before, for {rows[0]['layers']} encoder layers that"
    yield "read one input of that many tokens at once; [stacks.md](stacks.md) explains the stacks."
    yield ""
    yield from markdown_table(["stack", "", "", *(f"{length:,}" for length in lengths)], cells)


def _stack_cell(row: dict[str, Any]) -> str:
    if "seconds" not in row:
        return "-" if row else ""
    return f"{1000 * row['seconds'] / row['length'] / row['rows']:.3f}, {row['megabytes']:,.0f}"


def _uses(plan: Plan, records: dict[str, Records]) -> Iterator[str]:
    """What each system is for, in the plan's words; only for systems whose runs are all scored."""
    scored = {
        system
        for system in plan.systems
        if all(one.state == "scored" for one in records.values() if one.contestant.system == system)
    }
    known = {system: text for system, text in plan.uses.items() if system in scored}
    if known:
        yield from ("", "## When to use which", "")
        yield from (f"- **`{system}`**: {text}" for system, text in known.items())


def _figure(drawn: dict[str, str], name: str, title: str) -> Iterator[str]:
    if name in drawn:
        yield from ("", f"![{title}]({drawn[name]})")
