import copy
import json

import pytest

from app.bench import machine, report, search, training
from app.bench.__main__ import _sweeps, main
from app.bench.contestants.protocol import Clock, Enough, Trial
from app.bench.shapes import SHAPES, matrix_flops, quick
from data.errors import UserError
from tests.app.export.test_export_ctranslate2 import new_run
from tests.app.serving.conftest import DOCUMENTS
from tests.app.toy_training import write_corpus


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A quick run of our own training on a toy corpus: its results and the page that it wrote."""
    folder = tmp_path_factory.mktemp("bench")
    page = folder / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    corpus = write_corpus(folder / "toy")
    options = ["--only", "training", "--shapes", "toy", "--contestants", "ours", "--quick", "--corpus", str(corpus)]
    assert main([*options, "--folder", str(folder / "out"), "--write", str(page)]) == 0
    return json.loads((folder / "out" / "results.json").read_text(encoding="utf-8")), page


def test_a_quick_run_measures_our_training_and_writes_the_page(measured):
    results, page = measured
    ours = results["training"]["toy"]["contestants"]["ours"]
    assert "error" not in ours
    assert ours["median"] > 0 and ours["peak_bytes"] > 1e8 and ours["threads"] >= 1
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert f"| ours | {ours['setting']['precision']} | {ours['median']:,.0f} |" in text
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8")) == results


def test_the_tokens_counted_are_those_of_the_batches(measured):
    text = measured[0]["training"]["toy"]["text"]
    assert 250 < text["pairs"] <= 300 and text["vocabulary"] == 400
    assert 0 < text["sums"]["target"] <= text["sums"]["padded"]


def test_a_sweep_is_kept_while_nothing_has_changed(measured):
    results, _ = measured
    shape, about = quick(SHAPES["toy"]), results["training"]["toy"]["about"]
    _sweeps(results, shape, about, anew=False)["marian"] = ["a trial"]
    assert _sweeps(results, shape, about, anew=False) == {"marian": ["a trial"]}
    other = {**about, "machine": {**about["machine"], "processor": "another"}}
    assert _sweeps(copy.deepcopy(results), shape, other, anew=False) == {}
    assert _sweeps(copy.deepcopy(results), SHAPES["toy"], about, anew=False) == {}
    assert _sweeps(results, shape, about, anew=True) == {}


def test_matrix_products_are_counted_one_by_one():
    shape = {"encoder_layers": 1, "decoder_layers": 1, "width": 2, "hidden": 3, "vocabulary": 5}
    sums = {"source": 7, "target": 11, "source_source": 49, "target_target": 121, "source_target": 77}
    encoder = [(7, 2, 6), (7, 2, 7), (7, 7, 2), (7, 2, 2), (7, 2, 3), (7, 3, 2)]
    on_target = [(11, 2, 6), (11, 2, 11), (11, 11, 2), (11, 2, 2)]
    on_source = [(11, 2, 2), (7, 2, 4), (11, 2, 7), (11, 7, 2), (11, 2, 2)]
    rest = [(11, 2, 3), (11, 3, 2), (11, 2, 5)]
    products = encoder + on_target + on_source + rest
    assert matrix_flops(shape, sums) == 3 * sum(2 * m * k * n for m, k, n in products)


class FakeChannel:
    def __init__(self, turns):
        self.turns, self.sent = list(turns), []

    def receive(self):
        return self.turns.pop(0)

    def send(self, **values):
        self.sent.append(values)


def test_a_clock_counts_each_turn_by_itself():
    channel = FakeChannel([{"updates": 2}, {"updates": 1}, {"updates": 9}])
    clock = Clock(channel, 1, threads=2)
    for tokens in (100, 1, 2, 4):
        clock.updated(tokens)
    assert channel.sent[0]["ready"] and channel.sent[0]["threads"] == 2
    assert [turn["tokens"] for turn in channel.sent[1:]] == [3, 4]


def test_a_trial_ends_after_its_updates():
    trial = Trial(warmup=1, updates=2)
    trial.updated(5)
    trial.updated(5)
    with pytest.raises(Enough):
        trial.updated(5)
    assert trial.rate > 0


def test_a_compiled_setting_must_be_clearly_faster():
    def trials(compiled):
        return [{"setting": {"compile": setting}, "rate": rate} for setting, rate in ((False, 100), compiled)]

    assert not training._best(trials((True, 105)))["compile"]
    assert training._best(trials((True, 120)))["compile"]
    assert training._best([{"setting": {}, "rate": 0.0, "error": "no compiler"}]) is None


def test_shares_of_the_lines_are_scored_together():
    references = ["ein roter Hund sieht die Katze", "das alte Haus ist sehr groß", "nie war der Baum so hoch"]
    whole = search._scores([references], references, 1, whole=True)
    shares = search._scores([references[0::2], references[1::2]], references, 2, whole=False)
    assert whole["BLEU"] == shares["BLEU"] == pytest.approx(100.0)
    assert "tok:13a" in whole["BLEU signature"]


def test_tables_of_search_start_up_and_input():
    about = {"machine": {"date": "2026-11-22T07:00+00:00", "commit": "abc"}, "repeat": 3, "corpus": "software"}
    setting = {"compute": "int8", "workers": 2, "batch_tokens": 1024}
    scores = {"BLEU": 20.0, "chrF": 50.0, "BLEU signature": "tok:13a", "chrF signature": "nc:6"}
    common = {"spread": 0.1, "peak_bytes": 1e9, "scores": scores}
    ours = {"setting": {}, "median": 3000.0, "latency": {"median": 0.03, "slow": 0.05}, **common}
    peer = {"setting": setting, "median": 2000.0, "latency": {"median": 0.02, "slow": 0.04}, **common}
    result = {"about": {**about, "lines": 9, "set": "s", "whole": True}, "shape": "4+4", "vocabulary": 8000}
    engines = {"ours": ours, "ctranslate2": peer}
    trials = [{"setting": setting, "rate": 2000.0, "error": None}]
    trials.append({"setting": setting, "rate": 0.0, "error": "no int8"})
    steps = {"ours": {"imports": 1.0, "model": 0.5, "first": 0.25, "second": 0.1}}
    results = {
        "search": {"own": {**result, "engines": engines, "sweep": trials}},
        "startup": {**about, "whole": {"weitblick --help": {"median": 0.1, "spread": 0.0}}, "steps": steps},
        "input": {
            **about,
            "encoding": {"pairs": 1000, "seconds": 0.5, "words": 7.0, "all_bytes": 2e8},
            "feeding": {"tokens_a_second": 1e6},
        },
    }
    text = "\n".join(table.markdown() for table in report.tables(results))
    assert "| ours | its own choice | 3,000 | 10% |  | 30 ms (1.5 x) | 50 ms | 20.00 | 50.00 | 1.0 GB |" in text
    assert "| ctranslate2 | int8, 2 workers, batch 1,024 | 2,000 | 10% | 1.50 x | 20 ms |" in text
    assert "no int8" in text and "| ours | 1.00 | 0.50 | 0.25 | 1.75 | 0.10 |" in text and "2,000 pairs" in text
    failed = {**result, "engines": {"ours": {"setting": {}, "rates": [], "error": "ended by signal 9"}}, "sweep": []}
    failed["engines"]["ctranslate2"] = peer
    assert "ended by signal 9" in report.tables({"search": {"own": failed}})[0].markdown()


def test_a_quick_run_measures_the_server(tmp_path):
    run = new_run(tmp_path / "run", *DOCUMENTS)
    (tmp_path / "en").write_text("a dog\nthe cat sees a dog\n" * 10)
    (tmp_path / "de").write_text("ein hund\ndie katze sieht einen hund\n" * 10)
    options = ["--only", "server", "--quick", "--run", str(run.path), "--folder", str(tmp_path / "out")]
    assert main([*options, "--source", str(tmp_path / "en"), "--reference", str(tmp_path / "de")]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())["server"]
    assert found["users"]["requests"] >= 50 and found["users"]["errors"] == 0
    assert found["users"]["median"] <= found["users"]["slow"]
    assert found["document"]["same"] is True and found["document"]["lines"] == 4
    assert all(rate > 0 for rates in found["rates"].values() for rate in rates)
    assert list(found["memory"]) == ["0", "20", "40", "60", "80", "100"] and min(found["memory"].values()) > 1e8


def test_a_server_that_fails_is_said_in_the_tables():
    made = {"date": "2026-01-02", "commit": "abc"}
    found = {
        "rates": {"server": [9.0, 8.0, 10.0], "translate": [10.0, 10.0, 10.0]},
        "users": {"requests": 100, "rate": 1.5, "errors": 2, "error": "503", "median": 0.5, "slow": 2.0},
        "document": {"lines": 400, "alone_seconds": 9.0, "seconds": None, "same": None},
        "memory": {"0": 10**9, "2000": None},
        "about": {"machine": made, "repeat": 3, "set": "newstest2014"},
        **{"sent": 1000, "together": 25, "connections": 20, "beam": 4, "users_at_once": 50, "seconds": 60.0},
    }
    beside, users = (table.markdown() for table in report.tables({"server": found}))
    assert "| server | 9.0 | 22% | 90% |" in beside and "| translate | 10.0 | 0% | 100% |" in beside
    assert "| 100 | 1.5 | 500 ms | 2,000 ms | 2 | failed | failed |" in users and "0: 1,000 MB." in users


def test_errors_say_what_to_do(tmp_path, capsys):
    assert main(["--only", "speed", "--folder", str(tmp_path)]) == 2
    assert "choose from training, search" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(UserError, match="expected the lines"):
        report.write_page(page, {"machine": machine.describe()})
    assert main(["--only", "", "--write", str(tmp_path / "none.md"), "--folder", str(tmp_path)]) == 2
    assert "none.md: stays as it is, as nothing has been measured" in capsys.readouterr().err
