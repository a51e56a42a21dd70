"""The report says what the records say, and nothing that is no longer so."""

import json

import numpy as np
import pytest

from app.comparison.records import read_records, read_training
from app.comparison.report import read_failures, spread, write_report
from app.runs.run import Run
from app.scoring.bootstrap import Measure
from app.scoring.consistency import ALL
from app.scoring.contrapro import find_items, fingerprint, read_items
from app.scoring.cxmi import CONTENT
from app.scoring.results import Results
from app.scoring.testsets import load_documents
from data.corpora.corpora import Corpora
from tests.app.comparison.made_up import PLAN, made_up_plan, score, train

NONE = {"s-BLEU": 20.0, "d-BLEU": 21.0, "chrF2++": 40.0, ALL: 70.0, CONTENT: 0.0}
GRU = {"s-BLEU": 20.4, "d-BLEU": 21.5, "chrF2++": 40.25, ALL: 73.0, CONTENT: 0.0312}
OTHER = {"s-BLEU": 20.8, "d-BLEU": 21.25, "chrF2++": 40.25, ALL: 72.0, CONTENT: 0.0412}


@pytest.fixture
def scored(tmp_path):
    """A plan whose three runs are trained and scored; the runs and the test set."""
    plan = made_up_plan(tmp_path)
    test = load_documents("toys", "test", Corpora([tmp_path / "corpora"]))
    runs = [train(each.path, each.preset, 60.0 * n) for n, each in enumerate(plan.contestants, start=1)]
    none, gru, other = runs
    score(none, test, NONE)
    score(gru, test, GRU, "elsewhere/none-1", others=NONE, p=0.0123)
    score(other, test, OTHER)
    for run, values in zip(runs, (NONE, GRU, OTHER), strict=True):
        fallen = {**values, "d-BLEU": values["d-BLEU"] - 0.3}
        score(run, test, fallen, str(run.path), others=values, p=0.04, suffix="-shuffled")
    return plan, runs, test


def report(plan, failed=None):
    """REPORT.md without empty lines, and results.json."""
    write_report(plan, failed or {})
    text = (plan.folder / "REPORT.md").read_text(encoding="utf-8")
    content = (plan.folder / "results.json").read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line], json.loads(content, parse_constant=pytest.fail)


def test_the_report_has_the_figures_of_the_records(scored):
    plan, _, _ = scored
    lines, results = report(plan)
    assert lines[1] == "3 of 3 runs are trained and scored."
    assert "| none | 20.00 | 21.00 | 40.00 | 70.00 | 0.0000 |" in lines
    gru = "20.60 (20.40 to 20.80) | 21.38 (21.25 to 21.50) | 40.25 | 72.50 (72.00 to 73.00) | 0.0362 (0.0312 to 0.0412)"
    assert f"| gru | {gru} |" in lines
    # The use of context is not tested by the evaluation, and gru-2 has no baseline of its seed.
    p = "p = 0.012"
    compared = f"| gru-1 | +0.40, {p} | +0.50, {p} | +0.25, {p} | +3.00, {p} | +0.0312 |"
    assert lines[lines.index("Difference from `none`:") + 3] == compared
    assert lines[lines.index("Difference from `none`:") + 4] == "- s-BLEU|of:s-BLEU"
    shuffled = lines.index("Shuffled documents minus those in order:")
    assert lines[shuffled + 4] == "| gru-1 | +0.00, p = 0.040 | -0.30, p = 0.040 | +0.00, p = 0.040 |"
    assert "| gru | 17 | 20 | 2.5 (2.0 to 3.0) | 200 | 50 |" in lines
    assert lines[-1] == "Translated in float32, tensorflow, cores: 2, made up."
    run = results["runs"]["gru-1"]
    assert run["scores"]["toys-test"]["d-BLEU"] == {
        "value": 21.5,
        "low": None,
        "high": None,
        "difference": 0.5,
        "p_value": 0.0123,
        "digits": 1,
        "signature": "of:d-BLEU",
    }
    assert (run["state"], run["seed"], run["minutes"], run["weights"]) == ("scored", 1, 2.0, 17)
    assert run["validation"] == {"update": 20, "nll": 2.5, "bleu": 12.25}


def test_nothing_has_no_sign():
    assert spread([-0.00001], 4) == "0.0000"
    assert spread([-0.004, -1.0], 2) == "-0.50 (-1.00 to 0.00)"


def test_figures_that_are_not_defined_are_left_out(scored):
    plan, (none, *_), test = scored
    score(none, test, {**NONE, ALL: np.nan})
    lines, results = report(plan)
    assert "| none | 20.00 | 21.00 | 40.00 |  | 0.0000 |" in lines
    assert results["runs"]["none-1"]["scores"]["toys-test"][ALL]["value"] is None


def test_the_report_says_which_runs_were_translated_in_another_precision(scored):
    plan, (*_, other), test = scored
    score(other, test, OTHER, precision="bfloat16")
    assert report(plan)[0][-2:] == [
        "- translated in bfloat16, tensorflow, cores: 2, made up: gru-2",
        "- translated in float32, tensorflow, cores: 2, made up: none-1, gru-1",
    ]


def states(plan):
    return {name: found.state for name, found in read_records(plan).items()}


def test_a_comparison_with_what_the_baseline_was_is_not_reported(scored):
    plan, (none, *_), test = scored
    assert set(states(plan).values()) == {"scored"}
    score(none, test, {**NONE, "s-BLEU": 25.0})
    assert states(plan) == {"none-1": "scored", "gru-1": "trained", "gru-2": "scored"}
    found = read_records(plan)["gru-1"].scores("toys-test")["s-BLEU"]
    assert (found.difference, found.p_value) == (pytest.approx(-4.6), None)


def test_scores_of_other_weights_or_samples_or_text_do_not_count(scored, tmp_path):
    plan, (_, gru, other), test = scored
    gru.save_average({"a": np.ones(2)}, [20])
    score(other, test, OTHER, samples=50)
    assert states(plan) == {"none-1": "scored", "gru-1": "trained", "gru-2": "trained"}
    assert read_records(plan)["gru-1"].scores("toys-test") == {}
    (tmp_path / "corpora/toys/de.test.txt").write_text("ein baum\n" * 24, encoding="utf-8")
    assert set(states(made_up_plan(tmp_path)).values()) == {"trained"}


@pytest.mark.parametrize(
    "record",
    [
        {"search": {"beam": 1}},
        {"memory": {"name": "memory.tmx", "checksum": "c"}},
        {"glossary": {"name": "terms.tsv", "checksum": "c"}},
        {"corrected": True},
        {"documents": {"size": 3}},
    ],
    ids=lambda record: next(iter(record)),
)
def test_scores_that_were_made_otherwise_than_the_preset_says_do_not_count(scored, record):
    plan, (_, _, other), test = scored
    score(other, test, OTHER, record=record)
    assert states(plan) == {"none-1": "scored", "gru-1": "scored", "gru-2": "trained"}
    assert read_records(plan)["gru-2"].scores("toys-test") == {}


def test_a_control_that_was_not_shuffled_does_not_count(scored):
    plan, (_, _, other), test = scored
    fallen = {**OTHER, "d-BLEU": OTHER["d-BLEU"] - 0.3}
    unshuffled = {"test_set": {**test.summary(), "shuffled": False}}
    score(other, test, fallen, str(other.path), others=OTHER, p=0.04, suffix="-shuffled", record=unshuffled)
    assert states(plan)["gru-2"] == "trained"


def test_a_damaged_record_does_not_count(scored):
    plan, (none, *_), _ = scored
    path = none.path / "results" / "toys-test.json"
    path.write_text(path.read_text().replace("20.0", "29.0", 1), encoding="utf-8")
    assert states(plan)["none-1"] == "trained"


def test_pronouns_are_reported_by_all_that_the_record_holds(tmp_path):
    item = {"src_ctx": "A dog.", "src": "It is old.", "ref_ctx": "Ein Hund.", "ref": "Er ist alt."}
    folder = tmp_path / "corpora" / "contrapro"
    plan_text = PLAN.replace("control = true", "contrapro = true")
    made_up_plan(tmp_path)
    folder.mkdir()
    lines = [json.dumps({**item, "contrastive": ["Sie ist alt."]}) for _ in range(3)]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plan = made_up_plan(tmp_path, plan_text)
    contestant = plan.contestants[0]
    run = train(contestant.path, contestant.preset)
    test = load_documents("toys", "test", Corpora([tmp_path / "corpora"]))
    score(run, test, NONE)
    found = [
        Measure(name, value, None, None, "items", 3).as_dict()
        for name, value in {"pronouns, right context": 50.0, "distance 3": 41.0}.items()
    ]
    items = read_items(find_items([tmp_path / "corpora"]))
    record = {"weights": {"checksum": run.weights_file()[2]}, "samples": 1000, "baseline": "", "scores": found}
    for mark, state in {"another": "trained", fingerprint(items): "scored"}.items():
        Results(run.path).write("contrapro", {**record, "test_set": {"items": 3, "fingerprint": mark}})
        assert states(plan)["none-1"] == state
    lines, _ = report(plan)
    assert lines[lines.index("## contrapro") + 1 :][:3:2] == [
        "| system | pronouns, right context | distance 3 |",
        "| none | 50.00 | 41.00 |",
    ]


def test_a_plan_that_has_not_begun_has_a_report(tmp_path):
    plan = made_up_plan(tmp_path)
    lines, results = report(plan, {"training gru-1": "error: no"})
    assert lines[1] == "0 of 3 runs are trained and scored." and "- failed: training gru-1: error: no" in lines
    assert results["runs"]["gru-2"]["state"] == "not started"
    assert read_failures(plan) == {"training gru-1": "error: no"}
    (plan.folder / "results.json").write_text("{")
    assert read_failures(plan) == {}


def test_a_training_is_as_far_as_its_last_checkpoint(tmp_path):
    contestant = made_up_plan(tmp_path).contestants[0]
    assert not read_training(contestant).begun
    run = Run.create(contestant.path, contestant.preset)
    assert read_training(contestant).begun
    arrays, best = {"a": np.ones(2)}, {"update": 10, "score": 3.0}
    run.checkpoints.save(10, arrays, arrays, {"seconds": 5.0, "best": best})
    half = '{"update": 10, "tokens_per_second": 70}\n{"update": 10, "validation": {"bleu": 3.0, "sample": []}}\n{"upd'
    (run.path / "log.jsonl").write_text(half)
    found = read_training(contestant)
    assert (found.finished, found.update, found.seconds, found.tokens_per_second) == (False, 10, 5.0, 70)
    assert found.validation == {"update": 10, "bleu": 3.0}


def test_a_finished_training_that_was_extended_has_not_ended(tmp_path):
    contestant = made_up_plan(tmp_path).contestants[0]
    train(contestant.path, contestant.preset)
    assert read_training(contestant).finished
    longer = Run(contestant.path, contestant.preset.with_overrides(["updates=30"]))
    longer.checkpoints.save(25, {"a": np.ones(2)}, None, {"seconds": 5.0})
    assert (read_training(longer).finished, read_training(longer).update) == (False, 25)
