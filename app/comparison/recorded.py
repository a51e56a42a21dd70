"""Results that another call has written next to a page: each seed of a comparison may run on a machine of its own."""

from typing import TYPE_CHECKING, Any

from app.runs.run import Run
from data.errors import UserError
from data.files import read_json

if TYPE_CHECKING:
    from app.comparison.plan import Plan

SCORED = "scored"


def read_content(path: Any) -> dict[str, Any]:
    """The content of a file of records; {} if there is none, or if it is damaged and has to be made again."""
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def recorded_runs(plan: "Plan") -> dict[str, dict[str, Any]]:
    """The figures of contestants that need not be trained, by name, as `app.comparison.report.figures` wrote them.

    A seed is taken as a whole, because its contestants are compared with a baseline of the same start: it is taken if
    all that the plan names were scored on the plan's terms and none but the baseline is in the plan's folder. A kind of
    memory that was added later needs a baseline of its own there.
    """
    found: dict[str, dict[str, Any]] = {}
    for runs in (content.get("runs", {}) for content in plan.contents):
        for seed in dict.fromkeys(each.seed for each in plan.contestants):
            own = [each for each in plan.contestants if each.seed == seed and each.name not in found]
            known = [
                each
                for each in own
                if _is_scored(runs.get(each.name, {}), plan.terms(each))
                and (each.system == plan.score.baseline or not Run.exists(each.path))
            ]
            if all(each in known or each.added for each in own):
                found |= {each.name: runs[each.name] for each in known}
    return found


def _is_scored(run: dict[str, Any], terms: dict[str, Any]) -> bool:
    """Whether a run was scored on these terms, perhaps on more texts: not every machine has ContraPro's."""
    found = run.get("terms", {})
    texts = {name: text for name, text in found.get("texts", {}).items() if name in terms["texts"]}
    return run.get("state") == SCORED and {**found, "texts": texts} == terms


def recorded_costs(plan: "Plan", system: str, what: str) -> dict[str, Any]:
    """What was measured of a system by length of a document; {} if nothing was on the plan's terms.

    Args:
        plan: the plan.
        system: its name.
        what: `app.probe.length_report.TRANSLATION` or `TRAINING`.

    Returns:
        Its "lengths", the rows of `app.probe.sizes.Meter`, and its "state_bytes".
    """
    found = (content.get("measured", {}).get(system, {}) for content in plan.contents)
    same = (one for one in found if one.get("terms") == plan.cost_terms(system) and one.get(what))
    return next(({"lengths": one[what], "state_bytes": one["state_bytes"]} for one in same), {})
