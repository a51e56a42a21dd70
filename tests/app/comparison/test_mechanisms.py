"""Stages, recall, costs and the page of a comparison; a stand-in for the command line does the work."""

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from app.comparison.made_up import write_documents
from app.comparison.measures import TRAINING, Measurements
from app.comparison.page import refuse_to_lose, write_page
from app.comparison.plan import Contestant, find_plan, read_plan
from app.comparison.queue import Queue
from app.presets.preset import load_preset
from data.corpora.corpora import Corpora
from data.errors import UserError
from data.files import write_json
from models.memories import trained_kinds
from tests.app.comparison.made_up import PROGRAM, made_up_plan, recalled, write_plan

pytestmark = pytest.mark.usefixtures("in_process")
PLAN = """
preset = "toy.toml"
set = ["updates=20", "windows=segments", "training.memory_tokens=reference"]
corpora = ["{place}/corpora"]
stage = "first"
[stages.first]
preset = "toy.toml"
[score]
corpora = ["toys"]
baseline = "none"
[recall]
minutes = 0.5
distances = [4, 1]
documents = 10
records = ["{place}/other/probe.json"]
[costs]
corpus = "toys"
tokens = [512, 1024]
[systems.none]
set = ["memory.kind=none"]
seeds = [1, 2]
[systems.gru]
set = ["memory.kind=gru"]
use = "Where *names* come back."
[systems.retrieval]
set = ["memory.kind=retrieval", "memory.retrieval.own=0.5"]
"""
# The same, with what a page's file holds.
RECORDED = PLAN.replace("[stages.first]", 'records = ["{place}/a/page.json"]\n[stages.first]')
RECORDED = RECORDED.replace('other/probe.json"]', 'other/probe.json", "{place}/a/page.json"]')
LSH = {"stack": "lsh", "layers": 2, "rows": 1, "what": "training", "precision": "float32"}
STACKS = {
    "length": [{**LSH, "length": 512, "seconds": 0.5, "megabytes": 70}, {**LSH, "length": 1024, "error": "killed"}]
}


def do(plan, *systems, **options):
    """Does what is missing; returns the calls that this made."""
    Queue(plan, systems, report=lambda _: None, program=PROGRAM, **options).run()
    path = plan.folder / "calls"
    found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def test_a_stage_is_trained_before_what_starts_from_it_and_each_system_is_measured_once(tmp_path):
    plan = made_up_plan(tmp_path, PLAN)
    assert do(plan, "none") == [
        "train stage-first",
        "train none-1",
        "evaluate-documents none-1",
        "probe none",
        "probe length none-1",
        "probe training none-1",
        "train none-2",
        "evaluate-documents none-2",
    ]
    # What reads stored translations is like none in the probe, and is not trained there.
    assert do(plan) == [
        "train gru-1",
        "evaluate-documents gru-1 --baseline",
        "probe gru",
        "probe length gru-1",
        "probe training gru-1",
        "train retrieval-1",
        "evaluate-documents retrieval-1 --baseline",
        "probe length retrieval-1",
        "probe training retrieval-1",
    ]
    assert do(plan) == []
    (plan.folder / "gru-1/costs/length.json").unlink()
    assert do(plan) == ["probe length gru-1", "probe training gru-1"]
    longer = made_up_plan(tmp_path, PLAN.replace("[512, 1024]", "[512, 1024, 2048]"))
    assert do(longer, "gru") == ["probe length gru-1", "probe training gru-1"]
    assert list(Measurements(longer).costs("gru", TRAINING)) == [512, 1024, 2048]


def test_a_stage_that_fails_leaves_out_what_starts_from_it(tmp_path):
    plan = made_up_plan(tmp_path, PLAN)
    plan.folder.mkdir()
    (plan.folder / "fail").write_text("stage-first")
    with pytest.raises(UserError, match="failed.*: training stage-first: error: the loss is not a number$"):
        do(plan, "gru")
    # The probe needs no run.
    assert (plan.folder / "calls").read_text().splitlines() == ["train stage-first", "probe gru"]


# Notes when a step begins and ends, and what it may use; takes a while, so that others can begin.
NOTING = """
import os, sys, time
from pathlib import Path
from tests.app.comparison import made_up
name = " ".join(each for each in sys.argv[1:] if each in ("train", "evaluate-documents", "length", "training"))
names = [Path(each).stem for each in sys.argv[1:]]
name += " " + next(each for each in names if each.startswith(("stage", "none-", "gru-", "retrieval-")))
def note(what):
    with open("times", "a") as file:
        file.write(f"{what} {name} {sorted(os.sched_getaffinity(0))}\\n")
note("begin")
time.sleep(0.5)
made_up.main()
note("end")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds processes to cores")
def test_several_steps_at_a_time_have_their_own_cores_and_what_is_timed_is_alone(tmp_path, monkeypatch):
    """With two jobs; a baseline is scored before what is compared with it, a run trained before it is scored."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one core")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    without = PLAN[: PLAN.index("[recall]")] + PLAN[PLAN.index("[costs]") :]
    plan = made_up_plan(tmp_path, without.replace("seeds = [1, 2]", ""))
    queue = Queue(plan, report=lambda _: None, program=(sys.executable, "-c", NOTING), jobs=2)
    assert queue.run() == [] and queue.missing() == []
    lines = Path("times").read_text().splitlines()
    running, most, before = {}, 0, []
    for line in lines:
        what, step, cores = re.fullmatch(r"(begin|end) (.+) (\[.+\])", line).groups()
        if what == "end":
            del running[step]
            before.append(step)
            continue
        assert not any(set(json.loads(cores)) & set(json.loads(other)) for other in running.values())
        running[step] = cores
        most = max(most, len(running))
        if step.startswith(("length", "training")):
            assert list(running) == [step] and json.loads(cores) == sorted(os.sched_getaffinity(0))
        if step.startswith("evaluate-documents"):
            needed = {"evaluate-documents none-1", step.replace("evaluate-documents", "train")} - {step}
            assert needed <= set(before)
    assert most == 2 and len(lines) == 2 * 13 and before[0] == "train stage-first"


def test_a_run_made_elsewhere_is_a_stage(tmp_path):
    do(made_up_plan(tmp_path, PLAN), "gru")
    (tmp_path / "runs/stage-first").rename(tmp_path / "base")
    other = PLAN.replace(
        '[stages.first]\npreset = "toy.toml"', '[stages.first]\npreset = "toy.toml"\nrun = "{place}/base"'
    )
    plan = read_plan(write_plan(tmp_path, other), tmp_path / "elsewhere")
    plan.check()
    assert do(plan, "gru")[0] == "train gru-1"


def test_recall_that_was_measured_elsewhere_counts_where_it_was_measured_on_the_same_terms(tmp_path):
    plan = made_up_plan(tmp_path, PLAN)
    # Longer trained, at other distances, with more questions: it stands in the record.
    recalled(tmp_path / "other", "gru", 0.75, distances=(1, 16), minutes=9.0, documents=1000)
    recalled(tmp_path / "other", "none", 0.125, distances=(1, 16), minutes=9.0, documents=1000)
    found = Measurements(plan).recall("gru")
    assert found.file == tmp_path / "other/probe.json" and found.shares == {
        1: (0.75, 0.65, 0.85),
        16: (0.75, 0.65, 0.85),
    }
    assert not any("probe gru" in call for call in do(plan))
    # Another memory, or another task, is another measurement.
    small = made_up_plan(tmp_path, PLAN.replace('"memory.kind=gru"', '"memory.kind=gru", "memory.gru.slots=3"'))
    assert Measurements(small).candidate("gru").name == "gru slots=3" and Measurements(small).recall("gru") is None
    record = json.loads((tmp_path / "other/probe.json").read_text())
    record["task"]["keys"] = 4
    write_json(tmp_path / "other/probe.json", record)
    assert Measurements(plan).recall("gru") is None and Measurements(plan).recall("none") is None


def test_stacks_are_measured_once_unless_a_benchmark_has_them(tmp_path):
    text = PLAN + '[stacks]\nrecords = ["{place}/benchmarks.json"]\n'
    plan = made_up_plan(tmp_path, text)
    asked = f"import json, sys; json.dump(sys.argv[1:], open({str(tmp_path / 'asked.json')!r}, 'w'))"
    bench = [sys.executable, "-c", asked]
    # It wrote nothing.
    with pytest.raises(UserError, match="measuring stacks by length: it has not written"):
        do(plan, "none", bench=bench)
    folder = plan.folder / "bench"
    assert json.loads((tmp_path / "asked.json").read_text()) == ["--only", "stacks", "--folder", str(folder)]
    folder.mkdir()
    write_json(folder / "results.json", {"stacks": STACKS})
    assert Measurements(plan).stacks() == STACKS and do(plan, "none", bench=bench)[-1:] == ["evaluate-documents none-2"]
    (folder / "results.json").unlink()
    write_json(tmp_path / "benchmarks.json", {"stacks": STACKS})
    assert do(plan, "none", bench=bench) == []


def test_the_page_has_what_is_known_and_nothing_else(tmp_path):
    plan, page = (
        made_up_plan(tmp_path, PLAN + '[stacks]\nrecords = ["{place}/benchmarks.json"]\n'),
        tmp_path / "a/page.md",
    )
    write_page(plan, page)
    text = page.read_text(encoding="utf-8")
    assert "0 of 4 runs" in text and "Recall" not in text and "by length" not in text and "When to use" not in text
    assert "Stacks" not in text and "![" not in text
    write_json(tmp_path / "benchmarks.json", {"stacks": STACKS})
    do(plan)
    write_page(plan, page)
    lines = page.read_text(encoding="utf-8").splitlines()
    assert "4 of 4 runs are scored" in " ".join(lines)
    assert "| none | 1.50 (1.00 to 2.00) | 0.00 | 0.00 | 0.00 | 0.0000 |" in lines
    assert lines[lines.index("## Recall by distance") + 6 :][:3] == [
        "| system | 1 | 4 | reach | bytes | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| none | 50.0 | 50.0 | no limit | 4,096 | 7 |",
    ]
    assert "| gru | training | 2,048 | 2.50, 900 | 2.50, 900 |" in lines
    assert "| lsh | training | float32 | 0.977, 70 | - |" in lines
    assert lines[-1] == "- **`gru`**: Where *names* come back."
    content = json.loads(page.with_suffix(".json").read_text())
    assert content["measured"]["gru"]["translation"][1]["tokens"] == 1024
    assert content["memories"][content["measured"]["gru"]["memory"]]["state_bytes"] == 4096
    assert content["measured"]["retrieval"]["memory"] is None and content["runs"]["none-2"]["state"] == "scored"
    pytest.importorskip("matplotlib")
    named = {line.partition("](")[2].rstrip(")") for line in lines if line.startswith("![")}
    assert named == {str(path.relative_to(page.parent)) for path in (page.parent / "figures").iterdir()}
    charts = {name: (page.parent / name).read_text(encoding="utf-8") for name in named}
    assert len(charts) == 6 and all("gru</text>" in chart or "gru<" in chart for chart in charts.values())
    assert (
        "retrieval<" not in charts["figures/page-recall.svg"]
        and "Translation of one document: seconds" in charts["figures/page-translation-seconds.svg"]
    )
    assert "toys-test: s-BLEU is highest with none, 1.50" in charts["figures/page-scores-toys-test.svg"]


def test_what_another_call_has_written_need_not_be_done_again(tmp_path):
    page, text = tmp_path / "a/page.md", RECORDED
    plan = made_up_plan(tmp_path, text)
    assert len(do(plan)) > 10
    write_page(plan, page)
    before = page.read_text(encoding="utf-8")
    shutil.rmtree(plan.folder)
    plan = made_up_plan(tmp_path, text)
    assert do(plan) == []
    write_page(plan, page)
    said = "The runs of seeds 1 and 2 were made by separate calls, from their own first stages.\n"
    assert before == page.read_text(encoding="utf-8").replace(said, "")
    # Other terms are another comparison, but a memory remembers as it did.
    other = made_up_plan(tmp_path, text.replace("updates=20", "updates=21"))
    assert {one.split()[0] for one in do(other)} == {"train", "evaluate-documents", "probe"}
    assert not any("--memory" in one for one in do(other))
    shutil.rmtree(plan.folder)
    # A seed is taken as a whole.
    content = json.loads(page.with_suffix(".json").read_text())
    content["runs"]["gru-1"]["state"] = "trained"
    write_json(page.with_suffix(".json"), content)
    done = do(made_up_plan(tmp_path, text))
    trained = {one.split()[1] for one in done if one.startswith("train")}
    assert {"none-1", "gru-1", "retrieval-1"} <= trained and "none-2" not in trained
    assert do(made_up_plan(tmp_path, text)) == []


def test_a_kind_that_was_added_later_leaves_recorded_seeds_as_they_are(tmp_path):
    """It is compared with a baseline that is trained for it; the page keeps all that was known."""
    page = tmp_path / "a/page.md"
    text = RECORDED
    text += '[systems.concat]\nset = ["memory.kind=concat", "documents.size=2"]\n'
    text = text.replace('"updates=20",', '"updates=20", "positions=rotary",')
    plan = made_up_plan(tmp_path, text)
    do(plan)
    write_page(plan, page)
    shutil.rmtree(plan.folder)
    before = json.loads(page.with_suffix(".json").read_text())["runs"]
    added = text.replace("[stages.first]", "kinds = true\n[stages.first]")
    plan = made_up_plan(tmp_path, added)
    done = do(plan, "none", "cache")
    assert [call for call in done if not call.startswith("probe")] == [
        "train stage-first",
        "train none-1",
        "evaluate-documents none-1",
        "train cache-1",
        "evaluate-documents cache-1 --baseline",
    ]
    plan = made_up_plan(tmp_path, added)
    assert do(plan, "none", "cache", "gru") == []
    write_page(plan, page)
    runs = json.loads(page.with_suffix(".json").read_text())["runs"]
    assert {name: runs[name] for name in before} == before and runs["cache-1"]["state"] == "scored"
    assert runs["cache-1"]["scores"]["toys-test"]["s-BLEU"]["p_value"] is not None


def test_a_page_is_not_written_over_scores_that_are_nowhere_else(tmp_path):
    page = tmp_path / "a/page.md"
    plan = made_up_plan(tmp_path, PLAN)
    do(plan)
    write_page(plan, page)
    refuse_to_lose(plan, page)
    shutil.rmtree(plan.folder / "gru-1")
    with pytest.raises(UserError, match=r"page.json has scores .* lost \(gru-1\): name another page, or move"):
        refuse_to_lose(plan, page)
    refuse_to_lose(plan, tmp_path / "b/page.md")


@pytest.mark.parametrize(
    ("changes", "reads"),
    [
        (["memory.kind=none"], False),
        (["memory.kind=none", "windows=segments", "memory.retrieval.own=0.3"], True),
        (["memory.kind=none", "search.language_model=runs/generator"], True),
        (["memory.kind=none", "windows=tokens"], True),
    ],
)
def test_what_reads_context_has_a_control(tmp_path, changes, reads):
    assert Contestant("one", 1, tmp_path, load_preset("starter", changes)).reads_context == reads


def test_scores_on_text_that_this_machine_has_not_are_kept(tmp_path):
    """ContraPro is not everybody's: what was scored on it elsewhere is neither done again nor lost."""
    page = tmp_path / "a/page.md"
    text = RECORDED
    plan = made_up_plan(tmp_path, text)
    do(plan)
    write_page(plan, page)
    shutil.rmtree(plan.folder)
    content = json.loads(page.with_suffix(".json").read_text())
    right = {
        "value": 47.5,
        "low": None,
        "high": None,
        "difference": None,
        "p_value": None,
        "digits": 1,
        "signature": "",
    }
    for run in content["runs"].values():
        run["terms"]["texts"]["contrapro"] = "its fingerprint"
        run["scores"]["contrapro"] = {"pronouns, right context": right}
    write_json(page.with_suffix(".json"), content)
    plan = made_up_plan(tmp_path, text)
    assert do(plan) == []
    write_page(plan, page)
    assert json.loads(page.with_suffix(".json").read_text())["runs"] == content["runs"]
    assert "| gru | 47.50 |" in page.read_text(encoding="utf-8").partition("## contrapro")[2]
    # Fewer texts are another comparison.
    content["runs"]["gru-1"]["terms"]["texts"].pop("toys-test")
    write_json(page.with_suffix(".json"), content)
    assert "train gru-1" in do(made_up_plan(tmp_path, text))


def test_some_seeds_alone(tmp_path):
    plan = made_up_plan(tmp_path, PLAN)
    Queue(plan, report=lambda _: None, program=PROGRAM, seeds=[2]).run()
    assert [path.name for path in plan.folder.glob("*-[12]")] == ["none-2"]
    with pytest.raises(UserError, match="there is no seed 3; choose from 1, 2"):
        plan.chosen(seeds=[3])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('stage = "first"', 'stage = "frist"', 'systems.none: there is no stage "frist"; choose from first'),
        ('[stages.first]\npreset = "toy.toml"', "[stages.first]", "stages.first.preset: expected the name of a preset"),
        (
            "[stages.first]",
            "[stages.first]\nseeds = [1]",
            'unknown key "stages.first.seeds"; choose from preset, set, run',
        ),
        ("minutes = 0.5", "minutes = 0", "recall.minutes: expected a number above 0, got 0"),
        ("distances = [4, 1]", "distances = [0]", "recall.distances: expected numbers of at least 1, got [0]"),
        ("tokens = [512, 1024]", "tokens = []", "costs.tokens: expected numbers of at least 1, got []"),
        ('corpus = "toys"', "", "costs.corpus: expected the name of a corpus"),
        ("[costs]", "[costs]\nmost = 3", 'unknown key "costs.most"; choose from corpus, tokens'),
    ],
)
def test_a_bad_section_is_refused_with_its_key(tmp_path, before, after, said):
    assert before in PLAN
    with pytest.raises(UserError) as error:
        made_up_plan(tmp_path, PLAN.replace(before, after, 1))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_would_fail_later_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(UserError, match=r"systems\.none: its stage has model\.width = 32 \(here 16\): set these keys"):
        made_up_plan(tmp_path, PLAN.replace("[stages.first]", '[stages.first]\nset = ["width=32"]')).check()
    with pytest.raises(UserError, match="no corpus 'nothing'"):
        made_up_plan(tmp_path, PLAN.replace('corpus = "toys"', 'corpus = "nothing"')).check()


def test_the_plans_that_come_with_weitblick_have_all_memories_and_stacks(tmp_path):
    """The full one is read with made-up text in the place of what is fetched."""
    quick, full = (find_plan(name) for name in ("mechanisms-quick", "mechanisms"))
    tables = [tomllib.loads(path.read_text(encoding="utf-8")) for path in (quick, full)]
    assert list(tables[0]["systems"]) == list(tables[1]["systems"])
    text = full.read_text(encoding="utf-8").replace('"software"', '"made-up"')
    text = text.replace(
        'set = [\n    "model.pos', 'made_up = 20\nset = [\n    "data.corpora=[\'made-up\']",\n    "model.pos', 1
    )
    (tmp_path / "full.toml").write_text(text)
    for path in (quick, tmp_path / "full.toml"):
        plan = read_plan(path, tmp_path / path.stem)
        presets = {each.system: each.preset for each in plan.contestants}
        assert {preset.memory.kind for preset in presets.values()} >= {*trained_kinds(), "retrieval"}
        assert {preset.model.stack for preset in presets.values()} == {"plain", "reversible", "bdia"}
        assert {preset.model.attention for preset in presets.values()} == {"full", "lsh"}
        sizes = {(each.model.width, each.model.encoder_layers, each.model.decoder_layers) for each in presets.values()}
        budgets = {
            (each.training.updates, each.training.minutes, each.training.batch_tokens) for each in presets.values()
        }
        assert len(sizes) == len(budgets) == 1
        stacks = {name: presets[name].training.start for name in ("none", "bdia")}
        assert len(set(stacks.values())) == 1 and Path(stacks["none"]).name == "stage-plain"
        if path == quick:
            plan.check()


def test_a_made_up_document_answers_what_it_asks(tmp_path):
    place = write_documents(tmp_path / "one", 30)
    corpus = Corpora([tmp_path / "one"]).open("made-up")
    pairs = list(corpus.pairs("train"))
    assert len({pair.doc for pair in pairs}) == 30
    ask = max({pair.source.split()[0] for pair in pairs if len(pair.target.split()) == 1}, key=len)
    for place_in_text, pair in enumerate(pairs):
        words = pair.source.split()
        if words[0] == ask and len(words) == 2 and len(pair.target.split()) == 1:
            facts = [
                other for other in pairs[:place_in_text] if other.doc == pair.doc and words[1] in other.source.split()
            ]
            assert any(pair.target == fact.target.split()[-1] for fact in facts)
    again = write_documents(tmp_path / "two", 30)
    assert all(path.read_bytes() == (again / path.name).read_bytes() for path in place.iterdir())
