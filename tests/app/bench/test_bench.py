import copy
import json

import numpy as np
import pytest

from app.bench import machine, race, report, search, training
from app.bench.__main__ import _sweeps, main
from app.bench.contestant import Contestant, ContestantFailed, peers_installed
from app.bench.contestants.eole_search import renamed
from app.bench.contestants.prepared import Prepared
from app.bench.contestants.protocol import Clock, Enough, Trial
from app.bench.shapes import SHAPES, matrix_flops, quick
from data.errors import UserError
from data.spans import PIECES, piece
from data.tokenizer import Tokenizer
from tests.app.copy_model import TEXT
from tests.app.export.test_export_ctranslate2 import new_run
from tests.app.serving.conftest import DOCUMENTS
from tests.app.toy_training import write_corpus

MACHINE = {"date": "2026-11-22T07:00+00:00", "commit": "abc", "processor": "8086"}
needs_peers = pytest.mark.skipif(
    not peers_installed(), reason="EOLE is not installed; `make bench` installs it into .venv-peers"
)


def measure_training(folder, contestant: str, *options) -> dict:
    """The results of a quick run on a toy corpus."""
    corpus = write_corpus(folder / "toy")
    chosen = ["--only", "training", "--shapes", "toy", "--contestants", contestant, "--quick", "--corpus", str(corpus)]
    assert main([*chosen, "--folder", str(folder / "out"), *options]) == 0
    return json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A quick run of our own training on a toy corpus: its results and the page that it wrote."""
    folder = tmp_path_factory.mktemp("bench")
    page = folder / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    return measure_training(folder, "ours", "--write", str(page)), page


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


class FakeCTranslate2:
    """Knows no bfloat16, is slow with threads and fast with Intel's library, and in that fastest with large batches."""

    def __init__(self, module, spec, peers, log, variables):
        self.mkl = variables == {"CT2_USE_MKL": "1"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def answer(self):
        return {"ready": True}

    def ask(self, lines, setting):
        if setting["compute"] == "int8" and self.mkl:
            raise ContestantFailed("ended by signal 4")
        if "bfloat16" in setting["compute"]:
            return {"error": "no bfloat16"}
        seconds = 1.0 + setting["workers"] - 0.5 * self.mkl
        return {"tokens": setting["batch_tokens"], "seconds": [seconds]}


def test_ctranslate2_is_tried_with_both_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "Contestant", FakeCTranslate2)
    monkeypatch.setattr(search.os, "sched_getaffinity", lambda _: {0, 1})
    steps = []
    trials = search._sweep("ctranslate2", {}, ["a line"], tmp_path, steps.append)
    assert search.fastest(trials) == {"compute": "int8_float32", "workers": 1, "batch_tokens": 2048, "mkl": True}
    errors = {search.told(trial["setting"]): trial["error"] for trial in trials if trial["error"]}
    assert errors["bfloat16, 2 workers, batch 1,024"] == "no bfloat16"
    assert errors["int8, 2 workers, batch 1,024, MKL"] == "ended by signal 4"
    assert len(steps) == len(trials) == 13 and steps[-1].endswith("int8_float32, 1 workers, batch 2,048, MKL")


def test_eole_gets_no_model_that_it_would_compute_otherwise():
    table = np.ones((4, 2), "float32")
    names = ("encoder/embeddings_0/weight", "decoder/embeddings/weight", "decoder/projection/weight")
    arrays = {name: table for name in names}
    for side in ("encoder", "decoder"):
        arrays |= {f"{side}/layer_norm/{kind}": np.ones(2, "float32") for kind in ("gamma", "beta")}
    assert renamed(dict(arrays), "rotary")["src_emb.embeddings.weight"] is table
    with pytest.raises(ValueError, match="one table"):
        renamed({**arrays, names[2]: 2 * table}, "rotary")
    with pytest.raises(ValueError, match="no place for decoder/projection/bias"):
        renamed({**arrays, "decoder/projection/bias": np.ones(4)}, "rotary")


@needs_peers
def test_a_quick_run_measures_the_training_of_eole(tmp_path):
    results = measure_training(tmp_path, "eole")
    found, trials = results["training"]["toy"]["contestants"]["eole"], results["sweeps"]["toy"]["trials"]["eole"]
    assert "error" not in found and found["median"] > 0 and found["threads"] >= 1
    assert [trial["setting"]["precision"] for trial in trials] == ["float32", "bfloat16"]
    assert all(trial["rate"] > 0 and not trial["error"] for trial in trials)
    assert not list((tmp_path / "out" / "toy").rglob("*.safetensors"))


@needs_peers
@pytest.mark.parametrize("positions", ("sinusoidal", "learned", "rotary"))
def test_eole_translates_as_ctranslate2_does(tmp_path, positions):
    run = new_run(tmp_path / "run", f'model.positions="{positions}"')
    arrays = str(tmp_path / "arrays.npz")
    with Contestant("export", {"run": str(run.path), "folder": str(tmp_path), "grow": None, "arrays": arrays}) as one:
        one.answer()
    lines = ["a dog", "the cat sees a dog", "an old tree", "never", "two red houses near the tree"]
    setting = {"compute": "float32", "workers": 1, "batch_tokens": 64}
    texts, tokens = [], []
    # Greedy, as the two end a beam search by other rules.
    spec = {"run": str(tmp_path / "ctranslate2"), "arrays": arrays, "beam": 1}
    for module in ("ctranslate2_search", "eole_search"):
        with Contestant(module, spec, peers=True, log=tmp_path / f"{module}.log") as one:
            one.answer()
            found = one.ask(lines=lines, setting=setting)
        texts.append(found["texts"])
        tokens.append(found["tokens"])
    assert texts[0] == texts[1] and tokens[0] == tokens[1] > len(lines)


def test_a_peer_reads_the_pieces_that_our_model_reads(tmp_path):
    tokenizer = Tokenizer.train(TEXT, 352, seed=0, symbols=[piece(number) for number in range(1, PIECES + 1)])
    tokenizer.save(tmp_path / "tokenizer.model")
    about = {"copy": ["tags", "numbers"], "numbers": "german", "capitals": True, "lowercase": False, "search": {}}
    (tmp_path / "weitblick.json").write_text(json.dumps(about))
    seen = []

    def decode(sources):
        seen.extend(sources)
        return sources

    lines = ["The  <b>file</b> has 1,234.5 windows.", "12", "THE DISK IS FULL", "a file\u200b"]
    found, tokens = Prepared(tmp_path).translate(lines, decode)
    assert found == ["The <b>file</b> has 1.234,5 windows.", "12", "THE DISK IS FULL", "a file"]
    texts = [f"The {piece(1)}file{piece(2)} has {piece(3)} windows.", "The disk is full", "a file"]
    assert seen == [[tokenizer.piece(id) for id in ids] for ids in tokenizer.source.encode(texts)]
    assert tokens == sum(len(pieces) + 1 for pieces in seen)


def test_tables_of_search_start_up_and_input():
    about = {"machine": MACHINE, "repeat": 3, "corpus": "software"}
    setting = {"compute": "int8", "workers": 2, "batch_tokens": 1024}
    scores = {"BLEU": 20.0, "chrF": 50.0, "BLEU signature": "tok:13a", "chrF signature": "nc:6"}
    common = {"spread": 0.1, "peak_bytes": 1e9, "scores": scores}
    ours = {"setting": {}, "median": 3000.0, "latency": {"median": 0.03, "slow": 0.05}, **common}
    peer = {"setting": setting, "median": 2000.0, "latency": {"median": 0.02, "slow": 0.04}, **common}
    result = {"about": {**about, "lines": 9, "set": "s", "whole": True}, "shape": "4+4", "vocabulary": 8000}
    eole = {"setting": {"compute": "bfloat16", "batch_tokens": 512}, **common, "median": 500.0}
    eole["latency"] = {"median": 0.2, "slow": 0.4}
    engines = {"ours": ours, "ctranslate2": peer, "eole": eole}
    trials = [{"engine": "ctranslate2", "setting": {**setting, "mkl": True}, "rate": 2000.0, "error": None}]
    trials.append({"engine": "ctranslate2", "setting": setting, "rate": 0.0, "error": "no int8"})
    trials.append({"engine": "eole", "setting": eole["setting"], "rate": 510.0, "error": None})
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
    assert "| eole | bfloat16, batch 512 | 500 | 10% | 6.00 x | 200 ms | 400 ms |" in text
    assert "| ctranslate2 | int8, 2 workers, batch 1,024, MKL | 2,000 |" in text
    assert "ctranslate2 with int8, 2 workers, batch 1,024, MKL; eole with bfloat16, batch 512. MKL: with" in text
    assert "no int8" in text and "| ours | 1.00 | 0.50 | 0.25 | 1.75 | 0.10 |" in text and "2,000 pairs" in text
    failed = {**result, "engines": {"ours": {"setting": {}, "rates": [], "error": "ended by signal 9"}}, "sweep": []}
    failed["engines"]["ctranslate2"] = peer
    assert "ended by signal 9" in report.tables({"search": {"own": failed}})[0].markdown()


def test_backends_stand_beside_keras_hub_on_the_same_backend():
    rates = {"ours, tensorflow": 300.0, "keras-hub, tensorflow": 200.0, "ours, jax": 90.0, "keras-hub, jax": 100.0}
    found = {
        name: {"median": rate, "spread": 0.1, "warmup_seconds": 20.4, "peak_bytes": 2e9} for name, rate in rates.items()
    }
    found["keras-hub, jax"] = {"error": "ended by signal 9"}
    precisions = {"float32": found, "bfloat16": {**found, "keras-hub, jax": found["ours, jax"]}}
    about = {"machine": MACHINE, "repeat": 3, "corpus": "software"}
    result = {"shape": SHAPES["base"].as_dict(), "precisions": precisions, "about": about}
    (table,) = report.tables({"backends": {"base": result}})
    text = table.markdown()
    assert "| keras-hub, tensorflow | float32 | 200 | 10% | 1.50 x | 20 s | 2.0 GB |" in text
    assert "| keras-hub, jax | float32 | ended by signal 9 |" in text
    assert "| keras-hub, jax | bfloat16 | 90 | 10% | 1.00 x |" in text
    assert "commit abc, 8086." in text


def test_a_race_ends_at_the_goal_or_when_it_is_lost():
    validations = [race.Validation(update, 10.0 * update, float(update)) for update in range(1, 9)]
    assert race.until(iter(validations), 3.0) == validations[:3]
    assert race.until(iter(validations), 30.0, 40.0) == validations[:5]


def test_a_race_is_a_table():
    contestants = {
        "ours": {"validations": [[250, 60.0, 20.0], [500, 120.0, 38.5]]},
        "joeynmt": {"validations": [[250, 100.0, 7.0], [500, 250.0, 6.5]]},
        "other": {"error": "ended by signal 9"},
    }
    result = {"preset": "multi30k-tiny", "goal": 38.0, "contestants": contestants, "about": {"machine": MACHINE}}
    text = report.tables({"race": result})[0].markdown()
    assert "| ours | yes | 500 | 2.0 | 38.5 |" in text
    assert "| joeynmt | no | 500 | 4.2 | 7.0 |" in text
    assert "| other | ended by signal 9 |" in text


@pytest.mark.slow
@needs_peers
def test_a_quick_race_tells_of_a_validation_of_each(tmp_path):
    corpus = write_corpus(tmp_path / "toy")
    chosen = ["--only", "race", "--quick", "--corpus", str(corpus), "--folder", str(tmp_path / "out")]
    assert main(chosen) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["race"]["contestants"]
    for name in ("ours", "joeynmt"):
        ((update, seconds, bleu),) = found[name]["validations"]
        assert update == 2 and seconds > 0 and bleu >= 0, found[name]


@pytest.mark.backends
def test_a_quick_run_measures_both_backends(tmp_path):
    corpus = write_corpus(tmp_path / "toy")
    chosen = ["--only", "backends", "--shapes", "toy", "--quick", "--corpus", str(corpus)]
    assert main([*chosen, "--folder", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    for contestants in results["backends"]["toy"]["precisions"].values():
        assert list(contestants) == ["ours, tensorflow", "keras-hub, tensorflow", "ours, jax", "keras-hub, jax"]
        assert all(found["median"] > 0 for found in contestants.values()), contestants


@pytest.mark.slow
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
    made = {"date": "2026-01-02", "commit": "abc", "processor": "8086"}
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
    assert "none.md: not changed, as nothing has been measured" in capsys.readouterr().err
