import json
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.presets.preset import Preset
from app.probe.batches import Shape, last_segments, stream, windows_of
from app.probe.candidates import PRESET, Reach, candidate, name_of, reach
from app.probe.chart import draw, show
from app.probe.documents import LEAD, Task, asking_documents, training_document
from app.probe.experiment import Experiment, Results
from app.probe.learning import lessons
from app.probe.recall import wilson
from data.errors import UserError

TASK = Task(keys=4, values=3, facts=2, fillers=5)
KEYS, VALUES = range(6, 10), range(10, 13)  # source tokens; fact is 4 and ask is 5
TO_TARGET = TASK.words

NONE, GRU, ALL = candidate("none"), candidate("gru slots=16"), candidate("gru layers=all")


def stated(segments):
    """Key to value, in source tokens, of all facts."""
    return {int(s.source[1]): int(s.source[2]) for s in segments if s.source[0] == 4}


@given(distance=st.integers(1, 20), seed=st.integers(0, 99))
def test_the_asked_fact_stands_at_the_distance_and_nowhere_else(distance, seed):
    for document in asking_documents(TASK, distance, 6, np.random.default_rng(seed)):
        *before, question = document
        assert question.source[0] == 5 and len(question.source) == 2
        assert question.target.tolist() == [question.answer]
        fact = before[-distance]
        assert fact.source.tolist() == [4, question.source[1], question.answer - TO_TARGET]
        assert len(stated(before)) == TASK.facts == sum(segment.source[0] == 4 for segment in before)
        others = [token for segment in before if segment is not fact for token in segment.source]
        assert question.source[1] not in others
        assert distance + 1 < len(document) <= distance + 1 + TASK.facts - 1 + LEAD


def test_without_the_fact_nothing_beats_chance():
    documents = asking_documents(Task(), 4, 800, np.random.default_rng(1))
    assert set(Counter(document[-1].answer for document in documents).values()) == {100}
    asked = Counter(int(document[-1].source[1]) for document in documents)
    assert len(asked) == 8 and max(asked.values()) < 150
    by_other = defaultdict(Counter)
    # The same holds for each key and for each place of the fact.
    for group in (lambda d: d[-1].source[1], len):
        for chosen in {int(group(document)) for document in documents}:
            answers = Counter(document[-1].answer for document in documents if group(document) == chosen)
            assert max(answers.values()) < 0.3 * sum(answers.values())
    # Nor do the facts about other keys.
    for document in documents:
        del (facts := stated(document))[int(document[-1].source[1])]
        by_other[next(iter(facts.values()))] += Counter([document[-1].answer])
    assert all(max(answers.values()) < 0.3 * sum(answers.values()) for answers in by_other.values())


@given(length=st.integers(2, 20), seed=st.integers(0, 99))
def test_training_documents_ask_only_for_what_they_have_told(length, seed):
    document = training_document(TASK, length, np.random.default_rng(seed))
    assert len(document) <= max(length, TASK.facts + 1)
    for number, segment in enumerate(document):
        if segment.answer:
            assert stated(document[:number])[int(segment.source[1])] == segment.answer - TO_TARGET
        else:
            assert (segment.target - segment.source == TO_TARGET).all()
    assert document[-1].answer and len(stated(document)) == TASK.facts


def test_equal_seeds_give_equal_documents():
    one, other, third = (asking_documents(TASK, 3, 9, np.random.default_rng(seed)) for seed in (5, 5, 6))
    flat = [[token for document in found for s in document for token in s.source] for found in (one, other, third)]
    assert flat[0] == flat[1] != flat[2]


def test_fewer_keys_in_use_and_impossible_tasks():
    few = Task(keys=8, values=8, facts=2, keys_in_use=2)
    assert set().union(*(stated(d) for d in asking_documents(few, 2, 50, np.random.default_rng(1)))) == {6, 7}
    with pytest.raises(ValueError, match="3 facts need"):
        Task(keys=2, values=8, facts=3)


def test_windows_hold_the_segments_before_as_context():
    document = training_document(TASK, 9, np.random.default_rng(3))
    windows = windows_of(document, 3)
    assert [(len(window.sources), window.scored) for window in windows[:4]] == [(1, 0), (2, 1), (3, 2), (3, 2)]
    assert [window.reset for window in windows] == [True] + [False] * (len(document) - 1)
    assert all(window.sources[-1] is segment.source for window, segment in zip(windows, document, strict=True))


def test_a_stream_goes_on_with_each_lane_where_it_stopped():
    documents = [training_document(TASK, 9, np.random.default_rng(seed)) for seed in range(40)]
    drawn = iter(documents)
    batches = stream(drawn, Shape(lanes=3, windows=4))
    lanes, resets = [[], [], []], 0
    for inputs, _ in (next(batches) for _ in range(5)):
        assert inputs["source"].shape == (3, 20) and inputs["resets"].shape == (3, 4)
        resets += int(inputs["resets"].sum())
        for lane, row in zip(lanes, inputs["source"], strict=True):
            lane += row[row > 0].tolist()
    used = documents[: len(documents) - len(list(drawn))]
    assert resets == len(used)
    for lane in lanes:  # each lane is whole documents, one after another, the last one perhaps cut
        while lane:
            texts = [[t for segment in document for t in (*segment.source, 3)] for document in used]
            text = next(text for text in texts if text[: len(lane)] == lane[: len(text)])
            lane[:] = lane[len(text) :]


@pytest.mark.parametrize("size", [1, 3])
def test_answers_are_found_where_documents_end(size):
    rng = np.random.default_rng(1)
    documents = [*asking_documents(TASK, 6, 4, rng), *asking_documents(TASK, 1, 1, rng)]
    found = {}
    for (inputs, labels), ends in last_segments(documents, Shape(lanes=6, windows=4, size=size)):
        for row, column in ends:
            found[row] = labels[row, column]
            assert inputs["target"][row, column] == 2  # nothing but the begin token stands before the answer
    assert found == {number: document[-1].answer for number, document in enumerate(documents)}


def test_wilson_intervals():
    # R: prop.test(x, n, correct = FALSE)
    assert wilson(95, 100) == pytest.approx((0.888249, 0.978459), abs=1e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-5)
    assert wilson(1000, 1000)[1] == 1.0 and wilson(1000, 1000)[0] == pytest.approx(0.996173, abs=1e-5)


def test_lessons_begin_with_few_keys_and_short_documents():
    found = [(lesson.task.keys_in_use, lesson.length, lesson.farthest) for lesson in lessons(Task(), 32)]
    assert found == [(2, 4, 2), (4, 4, 2), (8, 4, 2), (8, 8, 6), (8, 16, 14), (8, 32, 30)]
    five = Task(keys=6, facts=5)
    found = [(lesson.task.facts, lesson.task.keys_in_use, lesson.length) for lesson in lessons(five, 12)]
    assert found == [(2, 2, 4), (2, 4, 4), (2, 6, 4), (4, 6, 6), (5, 6, 7), (5, 6, 12)]
    found = [
        (lesson.task.facts, lesson.task.keys_in_use, lesson.length) for lesson in lessons(Task(keys=3, facts=1), 3)
    ]
    assert found == [(1, 2, 3), (1, 3, 3)]


@pytest.fixture
def experiment():
    return Experiment(TASK, distances=(1, 4), documents=50)


def outcome(*rights, promised=None):
    recalls = [
        {"distance": d, "right": r, "asked": 50, "recall": r / 50, "low": max(0, r / 50 - 0.1), "high": r / 50}
        for d, r in zip((1, 4), rights, strict=True)
    ]
    return {"weights": 9, "update": 100, "promised": promised, "state_bytes": 1024, "recall": recalls}


def test_results_are_kept_while_their_terms_are_the_same(tmp_path, experiment):
    beside = Results(tmp_path, experiment)  # a second probe at the same time
    Results(tmp_path, experiment).add(ALL, outcome(20, 20))
    Results(tmp_path, experiment).add(NONE, outcome(17, 16))
    beside.add(GRU, outcome(50, 49))
    again = Results(tmp_path, experiment)
    assert list(again.memories) == ["none", "gru layers=all", "gru slots=16"]
    assert again.has(GRU) and again.has(ALL) and again.has(NONE) and not again.has(candidate("gru"))
    # The same name, but another setting by --set.
    assert not again.has(candidate("gru layers=all", PRESET.with_overrides(["memory.gru.slots=4"])))
    again.refuse_others()
    other = Results(tmp_path, Experiment(TASK, distances=(1, 4), documents=51))
    assert not other.memories
    with pytest.raises(UserError, match=r"probe.json: its results were made with other settings \(documents\)"):
        other.refuse_others()
    written = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert written["chance"] == pytest.approx(1 / 3)
    assert written["memories"]["gru slots=16"]["recall"][1]["right"] == 49
    (tmp_path / "probe.json").write_text("recall: 1", encoding="utf-8")
    with pytest.raises(UserError, match="probe.json: is not a results file"):
        Results(tmp_path, experiment)


def test_charts(tmp_path, experiment, capsys):
    from rich.console import Console

    results = Results(tmp_path, experiment)
    results.add(NONE, outcome(17, 16, promised={"direct": 0, "most": 0}))
    results.add(GRU, outcome(50, 49))
    results.add(candidate("recurrence cache=8"), outcome(50, 20, promised={"direct": 2.0, "most": 4.0}))
    results.add(candidate("cache+recurrence"), outcome(50, 20, promised={"direct": 2.0, "most": 4.0}))
    show(results, Console(width=100))
    printed = capsys.readouterr().out
    assert "gru" in printed and "██" in printed and "98.0" in printed and "chance: 33.3%" in printed
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in printed.splitlines()]
    assert ["gru slots=16", "no limit", "1,024"] in rows and ["recurrence cache=8", "2 to 4", "1,024"] in rows
    assert ["none", "0", "1,024"] in rows
    assert draw(results, tmp_path / "recall.svg")
    first = (tmp_path / "recall.svg").read_bytes()
    assert b"<svg" in first and b"gru slots=16" in first and b"chance" in first
    assert b"2 to 4 windows, 1,024 bytes" in first and re.search(rb"\d+ cache\.cache, \d+ recurrence\.cache", first)
    draw(results, tmp_path / "recall.svg")
    assert (tmp_path / "recall.svg").read_bytes() == first


def test_a_kind_that_was_renamed_stays_in_the_results(tmp_path, experiment):
    results = Results(tmp_path, experiment)
    results.add(GRU, outcome(50, 49))
    text = (tmp_path / "probe.json").read_text().replace("gru", "mine")
    (tmp_path / "probe.json").write_text(text)
    results.add(NONE, outcome(17, 16))
    assert list(Results(tmp_path, experiment).memories) == ["none", "mine slots=16"]
    assert draw(results, tmp_path / "recall.svg") and b"mine slots=16" in (tmp_path / "recall.svg").read_bytes()


@pytest.mark.parametrize(
    ("text", "direct", "most"),
    [
        ("none", 0, 0),
        ("concat", 3, 3),
        ("fixed", 8, 8),
        ("fixed layers=all segments=5", 5, 10),  # the encoder has 2 layers
        ("recurrence", 64 / 4, 2 * 64 / 4),  # windows of 4 tokens on average
        ("cache", 64 / 4, 64 / 4),
        ("recurrence cache=10 layers=2 sides=encoder", 2.5, 2.5),
        ("compressive rate=2", (32 + 2 * 32) / 4, 2 * (32 + 2 * 32) / 4),
        ("fixed+recurrence cache=12", 8, 8),  # the former above the stacks, the latter 3 to 6
        ("compressive rate=8", (32 + 8 * 32) / 4, 2 * (32 + 8 * 32) / 4),
    ],
)
def test_how_far_a_memory_should_reach(text, direct, most):
    assert reach(candidate(text), Task(), context=3) == Reach(direct, most)


@pytest.mark.parametrize(
    "name", ["none", "gru layers=all read=attention", "fixed layers=1,2", "gru+compressive rate=2 slots=8"]
)
def test_a_run_is_named_like_a_candidate(name):
    kind, *changes = name.split()
    base = ["documents.windows=segments", "training.memory_tokens=reference", "model.positions=rotary"]
    assert name_of(Preset("run").with_overrides([*base, f"memory.kind={kind}", *changes])) == name


def test_a_candidate_says_of_which_memory_a_setting_is_that_both_have():
    text = "prism+compressive prism.rebuild=0.5"
    settings = candidate(text).memory
    assert (settings["prism.rebuild"], settings["compressive.rebuild"]) == (0.5, 1.0)
    base = ["documents.windows=segments", "training.memory_tokens=reference", "model.positions=rotary"]
    run = Preset("run").with_overrides([*base, "memory.kind=prism+compressive", "memory.prism.rebuild=0.5"])
    assert name_of(run) == text


def test_slots_set_no_limit():
    for text in ("gru", "gru layers=all", "gru+recurrence"):
        assert reach(candidate(text), Task(), 3) is None


def test_windows_are_as_long_as_the_promise_assumes():
    rng = np.random.default_rng(1)
    sizes = [len(Task().filler(rng).source) + 1 for _ in range(2000)]
    assert np.mean(sizes) == pytest.approx(Task().window_tokens, abs=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lstm", '--memory "lstm": expected one of none, concat, .*gru'),
        ("gru rate=2", '--memory "gru rate=2": expected KEY=VALUE with one of slots, cell, .*layers, .*got "rate=2"'),
        ("gru kind=fixed", 'got "kind=fixed"'),
        ("gru slots", 'got "slots"'),
        ("gru slots=0", '--memory "gru slots=0": memory.gru.slots: expected a number of at least 1'),
        ("none slots=1", '--memory "none slots=1": expected no settings of this kind, got "slots=1"'),
        ("gru layers=3", '--memory "gru layers=3": memory.layers: none of 3 is a layer of the encoder'),
        ("gru+lstm", '--memory "gru\\+lstm": expected one of none'),
        ("gru+fixed", '--memory "gru\\+fixed": .*join one of .*gru.* and one of compressive, recurrence, as in'),
        ("gru+recurrence rate=2", 'with one of slots, .*cache, .*got "rate=2"'),
        ("recurrence layers=top", '"recurrence layers=top": memory.layers: "recurrence" holds the inputs of layers'),
    ],
)
def test_candidates_that_make_no_sense(text, message):
    with pytest.raises(UserError, match=message):
        candidate(text)
