import json
import shutil
from pathlib import Path

import pytest

from app.comparison.plan import read_plan
from app.runs.run import Run
from data.errors import UserError
from tests.app.comparison.made_up import PLAN, made_up_plan, train, write_plan


def test_each_seed_is_done_for_all_systems_and_the_baseline_first(tmp_path):
    plan = made_up_plan(tmp_path, PLAN.replace("seeds = [1, 2]", "seeds = [2, 1]"))
    assert [each.name for each in plan.contestants] == ["none-1", "gru-1", "gru-2"]
    assert plan.systems == ["none", "gru"]
    first, other, alone = plan.contestants
    assert [plan.baseline_of(each) for each in (first, other, alone)] == [None, first, None]
    assert [each.preset.training.seed for each in plan.contestants] == [1, 1, 2]
    assert [each.preset.memory.kind for each in plan.contestants] == ["none", "gru", "gru"]
    assert all(each.preset.training.updates == 20 for each in plan.contestants)
    assert list(plan.texts) == ["toys-test"]


def test_runs_are_in_a_folder_of_the_plans_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_plan(tmp_path, 'name = "other"' + PLAN)
    assert str(read_plan(path).contestants[0].path) == "runs/other/none-1"
    assert str(read_plan(write_plan(tmp_path)).folder) == "runs/memories"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("corpora = [", "seed = 3\ncorpora = [", 'unknown key "seed"; choose from name, preset, set, seeds'),
        ("control", "kontrol", 'unknown key "score.kontrol"; choose from corpora, split'),
        ("seeds = [1, 2]", 'start = "x"', 'unknown key "systems.gru.start"; choose from set, seeds'),
        ("seeds = [1, 2]", "seeds = [1, 1]", "systems.gru: seeds: expected at least one number, each once, got [1, 1]"),
        ("seeds = [1, 2]", "seeds = [true]", "systems.gru.seeds: expected a list of whole numbers"),
        ("control = true", "control = 1", "score.control: expected true or false, got 1"),
        ("control = true", 'split = "dev"', 'score.split: got "dev", choose from train, validation, test'),
        ("control = true", "items = 7", "score.items: is for ContraPro: add contrapro = true"),
        ('corpora = ["toys"]', "", "score.corpora: expected a list of corpora"),
        ('["toys"]', '["nothing"]', "no corpus 'nothing'"),
        ('baseline = "none"', 'baseline = "nun"', 'score.baseline: there is no system "nun"; choose from gru, none'),
        ("systems.gru", 'systems."a/b"', 'systems.a/b: "a/b" becomes part of a folder\'s name'),
        ('preset = "toy.toml"', 'preset = "startr"', 'preset: no preset is called "startr", did you mean "starter"?'),
        ('preset = "toy.toml"', 'preset = "other.toml"', "other.toml: the preset cannot be read: No such file"),
        ('preset = "toy.toml"', "", '"preset" is missing'),
        ("memory.kind=none", "memory.kind=nun", 'systems.none: set: memory.kind: got "nun"'),
        ("updates=20", "update=20", 'systems.none: set: update=20: unknown key "update": did you mean "updates"?'),
        ("updates=20", "training.seed=4", "systems.none: set: training.seed=4: the key seeds sets the seed"),
        ("[systems.gru]", "[systems.gru", "the plan is not TOML"),
    ],
)
def test_a_bad_plan_is_refused_with_its_key(tmp_path, before, after, said):
    assert before in PLAN
    with pytest.raises(UserError) as error:
        made_up_plan(tmp_path, PLAN.replace(before, after, 1))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_missing_plan_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"plan\.toml: the plan cannot be read: No such file"):
        read_plan(tmp_path / "plan.toml")


def test_a_run_to_start_from_must_be_there_before_anything_starts(tmp_path):
    plan = made_up_plan(tmp_path, PLAN.replace('"updates=20"', '"updates=20", "training.start=runs/nothing"'))
    with pytest.raises(UserError, match="runs/nothing: there is no such run folder"):
        plan.check()


def test_a_training_corpus_must_be_there_before_anything_starts(tmp_path):
    plan = made_up_plan(tmp_path, PLAN.replace('"updates=20"', "\"updates=20\", \"data.corpora=['toys', 'nothing']\""))
    with pytest.raises(UserError, match="no corpus 'nothing'"):
        plan.check()


def test_a_finished_run_of_other_settings_is_refused_with_the_key(tmp_path):
    plan = made_up_plan(tmp_path)
    plan.check()
    contestant = plan.contestants[1]
    train(contestant.path, contestant.preset)
    plan.check()
    changed = made_up_plan(tmp_path, PLAN.replace('"memory.kind=gru"', '"memory.kind=gru", "memory.gru.slots=3"'))
    with pytest.raises(UserError, match=r"runs/gru-1: .* memory\.gru\.slots: \d+ -> 3\. Undo the change"):
        changed.check()


def test_settings_of_retrieval_decide_scores(tmp_path):
    plan = made_up_plan(tmp_path)
    contestant = plan.contestants[1]
    train(contestant.path, contestant.preset)
    changed = made_up_plan(tmp_path, PLAN.replace('"memory.kind=gru"', '"memory.kind=gru", "memory.retrieval.own=0.5"'))
    with pytest.raises(UserError, match=r"runs/gru-1: .* memory\.retrieval\.own: 0\.0 -> 0\.5"):
        changed.check()
    assert changed.terms(changed.contestants[1]) != plan.terms(contestant)


def test_a_run_without_a_checkpoint_may_change(tmp_path):
    plan = made_up_plan(tmp_path)
    Run.create(plan.contestants[0].path, plan.contestants[0].preset)
    made_up_plan(tmp_path, PLAN.replace("updates=20", "updates=30")).check()


def test_unknown_systems_are_refused(tmp_path):
    plan = made_up_plan(tmp_path)
    assert [each.name for each in plan.chosen(["gru"])] == ["gru-1", "gru-2"]
    with pytest.raises(UserError, match='there is no system "gruu"; choose from none, gru'):
        plan.chosen(["gruu"])


def test_the_example_of_the_page_is_a_plan(tmp_path, monkeypatch):
    page = (Path(__file__).resolve().parents[3] / "docs" / "compare.md").read_text(encoding="utf-8")
    write_plan(tmp_path, page.partition("```toml\n")[2].partition("```")[0])
    toys, items = tmp_path / "corpora" / "toys", tmp_path / "corpora" / "contrapro" / "items.jsonl"
    for name in ("libreoffice-help", "europarl"):
        shutil.copytree(toys, toys.with_name(name))
    items.parent.mkdir()
    item = {"src_ctx": "", "src": "It is.", "ref_ctx": "", "ref": "Er ist.", "contrastive": ["Es ist."]}
    items.write_text(1000 * (json.dumps(item) + "\n"), encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    plan = read_plan("../memories.toml")
    runs = [str(each.path) for each in plan.contestants]
    assert runs == [f"runs/my-plan/{name}" for name in ("none-1", "gru-1", "gru-2", "gru-3")]
    assert list(plan.texts) == ["libreoffice-help-test", "europarl-test", "contrapro"]
    assert all(each.preset.training.minutes == 45 for each in plan.contestants)
