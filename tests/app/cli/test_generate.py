"""A generator on the command line: trained, evaluated, and going on with texts."""

import json
import math
import re
import shutil

import pytest

from app.cli.main import main
from app.runs.run import Run
from app.scoring.perplexity import perplexity
from app.scoring.testsets import TestSet
from app.translation.generation import Writer
from data.spans import piece
from data.tokenizer import Tokenizer
from tests.app.toy_training import toy_preset, write_corpus

GENERATOR = [
    "model.kind=generator",
    "encoder_layers=0",
    "monitor=loss",
    "windows=segments",
    "documents.size=2",
    "lanes=3",
    "back_propagation=2",
    "copy=[]",
    "label_smoothing=0",
    "vocabulary=340",
    "model.positions=rotary",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from app.training.train import train

    folder = tmp_path_factory.mktemp("generator")
    write_corpus(folder / "toy", train=120, validation=12, document=2)
    preset = toy_preset(folder, *GENERATOR, "test=./toy", "updates=20", corpus=folder / "toy")
    train(preset, folder / "run")
    return folder


def call(capsys, *arguments, code=0, stdin=None, monkeypatch=None):
    if stdin is not None:
        monkeypatch.setattr("sys.stdin", stdin)
    assert main([str(argument) for argument in arguments]) == code
    return capsys.readouterr()


def test_validation_shows_loss_and_what_the_generator_writes(folder):
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    found = [entry["validation"] for entry in log if "validation" in entry]
    assert "bleu" not in found[-1] and found[-1]["nll"] < math.log(340)
    beginning, reference, output = found[-1]["sample"]
    assert beginning and reference and output is not None


def test_perplexity_is_that_of_the_next_tokens_one_after_another(folder, capsys):
    out = call(capsys, "evaluate", folder / "run", "--corpus", folder / "toy", "--split", "validation").out
    assert "perplexity of a word" in out
    kept = json.loads((folder / "run" / "results" / "toy-validation.json").read_text())
    lines = (folder / "toy" / "de.validation.txt").read_text().splitlines()
    writer = Writer.of_run(Run.open(folder / "run", "generator"))
    nats = 0.0
    for first in range(0, 12, 2):
        writer.begin()
        for line in lines[first : first + 2]:
            for token in [*writer.tokenizer.target.encode([line])[0], 3]:
                nats -= writer.log_probabilities()[token]
                writer._add(token)
    assert kept["nats"] == pytest.approx(nats, rel=1e-4)
    words = sum(len(line.split()) + 1 for line in lines)
    size = len((folder / "toy" / "de.validation.txt").read_bytes())
    assert kept["per_word"] == pytest.approx(math.exp(nats / words), rel=1e-3)
    assert kept["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)
    out = call(
        capsys, "evaluate", folder / "run", "--corpus", folder / "toy", "--split", "validation", "--ngram", 3
    ).out
    assert "3-grams of the training text" in out
    assert kept["low"] < kept["per_word"] < kept["high"]


def test_text_goes_on_from_an_argument_standard_input_and_a_state(folder, capsys, monkeypatch, tmp_path):
    run, text = folder / "run", "der alte hund"
    whole = call(capsys, "generate", run, text, "--length", 16).out
    assert whole.startswith(text) and len(whole) > len(text) + 1
    (tmp_path / "begin.txt").write_text(text + "\n")
    with open(tmp_path / "begin.txt") as begin:
        given = call(capsys, "generate", run, "--length", 16, stdin=begin, monkeypatch=monkeypatch).out
    assert given == whole
    (tmp_path / "latin.txt").write_bytes("\n\u00fcber".encode("latin-1"))
    with open(tmp_path / "latin.txt") as begin:
        refused = call(capsys, "generate", run, stdin=begin, monkeypatch=monkeypatch, code=2).err
    assert refused.startswith("error: standard input, line 2: not valid UTF-8")
    monkeypatch.setattr("sys.stdin", None)
    assert "standard input is closed" in call(capsys, "generate", run, code=2).err
    state = tmp_path / "state.json"
    first = call(capsys, "generate", run, text, "--length", 7, "--state", state).out
    second = call(capsys, "generate", run, "", "--length", 9, "--state", state).out
    assert first[:-1] + second == whole


def test_each_kind_of_run_is_refused_where_the_other_is_needed(folder, capsys):
    from app.runs.run import Run

    for command in (["translate", folder / "run"], ["export", folder / "run", "--to", "savedmodel", folder / "x"]):
        error = call(capsys, *command, code=2).err
        assert "a translator is needed here, and this run is a generator" in error
    Run.create(folder / "translator", toy_preset(folder, corpus=folder / "toy"))
    error = call(capsys, "generate", folder / "translator", "ein", code=2).err
    assert "a generator is needed here, and this run is a translator" in error


@pytest.mark.parametrize("options", [["--beam", 3], ["--baseline", "x.de"], ["--set", "length_penalty=1"], ["--again"]])
def test_options_of_translations_are_refused(folder, capsys, options):
    assert f"{options[0]} is for translations" in call(capsys, "evaluate", folder / "run", *options, code=2).err


@pytest.mark.parametrize(
    "changes,message",
    [
        (["encoder_layers=1"], "model.encoder_layers: a generator has no encoder: set 0"),
        (["windows=off", "lanes=16"], "documents.windows: a generator reads documents"),
        (["stack=bdia"], 'model.stack: a generator needs "plain"'),
        (["memory.kind=gru"], 'memory.kind: a generator needs "none"'),
        (["monitor=bleu"], 'training.monitor: a generator needs "loss"'),
        (["model.kind=translator"], "model.encoder_layers: a translator needs at least 1"),
        (["vectors=glove.txt"], 'embeddings.side: a generator needs "both"'),
    ],
)
def test_settings_that_a_generator_would_ignore_are_refused(tmp_path, changes, message):
    from data.errors import UserError

    with pytest.raises(UserError, match="^--set: ") as caught:
        toy_preset(tmp_path, *GENERATOR, *changes)
    assert message in str(caught.value)


def test_a_tokenizer_can_be_that_of_another_run(folder, capsys):
    from app.training.train import train
    from data.errors import UserError

    own = ["updates=2", "validation=[]", f"tokenizer.run={folder / 'run'}"]
    preset = toy_preset(folder, *GENERATOR, *own, "decoder_layers=0", corpus=folder / "toy")
    found = train(preset, folder / "second")
    assert found.tokenizer().fingerprint == Run.open(folder / "run", None).tokenizer().fingerprint
    preset = toy_preset(folder, *GENERATOR, *own, "lowercase=true", corpus=folder / "toy")
    with pytest.raises(UserError, match="tokenizer.run: .*data.lowercase = false"):
        train(preset, folder / "third")


def test_a_plain_lstm_trains_shows_a_sample_and_writes(folder, capsys, tmp_path):
    from app.training.train import train

    own = ["updates=20", f"tokenizer.run={folder / 'run'}", "decoder_layers=0"]
    run = train(toy_preset(folder, *GENERATOR, *own, corpus=folder / "toy"), folder / "lstm").path
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    samples = [entry["validation"]["sample"] for entry in log if "validation" in entry]
    assert samples and len(samples[-1]) == 3 and all(samples[-1])
    text, state = "der alte hund", tmp_path / "state.json"
    whole = call(capsys, "generate", run, text, "--length", 12).out
    assert whole.startswith(text) and len(whole) > len(text) + 1
    first = call(capsys, "generate", run, text, "--length", 5, "--state", state).out
    assert first[:-1] + call(capsys, "generate", run, "", "--length", 7, "--state", state).out == whole
    found = call(capsys, "generate", run, text, "--length", 12, "--beam", 3).out
    assert found.startswith(text) and len(found) > len(text) + 1


def test_a_beam_goes_on_from_the_text_and_warns_of_nothing(folder, capfd):
    done = call(capfd, "generate", folder / "run", "der hund", "--length", 5, "--beam", 2)
    assert done.out.startswith("der hund") and not done.err


def test_perplexity_is_of_the_text_as_in_training(folder, tmp_path):
    """A generator for a translator's search may have learnt pieces in place of what the search copies."""
    shutil.copytree(folder / "run", tmp_path / "run")
    raw = Run.open(tmp_path / "run", kind=None)
    marked = Run(raw.path, raw.preset.with_overrides(["copy=numbers"]))
    numbers = TestSet.of_documents("numbers", [["the 12 dogs"]], [["der 12 hund"]], "here")
    pieces = TestSet.of_documents("pieces", [["the dogs"]], [[f"der {piece(1)} hund"]], "here")
    found = perplexity(marked, numbers, "averaged")
    assert found.nats == perplexity(raw, pieces, "averaged").nats != perplexity(raw, numbers, "averaged").nats
    assert "with spans set aside" in found.title


@pytest.fixture(scope="module")
def translator(folder):
    """A sentence-level run with the generator's tokenizer."""
    from app.training.train import train

    own = ["updates=20", "validation=[]", "test=./toy", "copy=[]", "vocabulary=340", f"tokenizer.run={folder / 'run'}"]
    train(toy_preset(folder, *own, corpus=folder / "toy"), folder / "translating")
    return folder / "translating"


def test_a_language_model_joins_the_search(folder, translator, capsys, tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("the red dog sees a cat\nthe old house\n\nthe tree\n", encoding="utf-8")

    def translated(*changes, options=("--document",)):
        sets = ["--set", *changes] if changes else []
        return call(capsys, "translate", translator, source, *options, *sets)

    alone = translated().out
    assert translated(f"language_model={folder / 'run'}", "language_model_weight=0").out == alone
    fused = translated(f"language_model={folder / 'run'}", "language_model_weight=5")
    assert fused.out != alone and "each segment is translated alone" not in fused.err
    error = call(capsys, "translate", translator, source, "--set", f"language_model={translator}", code=2).err
    assert "a generator is needed here" in error


@pytest.mark.slow
def test_scores_with_a_language_model_are_kept_apart(folder, translator, capsys):
    corpus = ["--corpus", folder / "toy", "--split", "validation"]
    call(capsys, "evaluate-documents", translator, *corpus, "--samples", 0)
    record = json.loads((translator / "results" / "toy-validation.json").read_text())
    sets = ["--set", f"language_model={folder / 'run'}", "language_model_weight=1"]
    call(capsys, "evaluate-documents", translator, *corpus, "--samples", 0, *sets)
    other = json.loads((translator / "results" / "toy-validation.json").read_text())
    assert other["search"]["language_model_weight"] == 1 and other["language_model"]["checksum"]
    assert "language_model" not in record


@pytest.fixture
def tuned(folder, translator, tmp_path):
    """A copy of the translator's run, and the arguments that choose the weight of a language model in it."""
    run = shutil.copytree(translator, tmp_path / "tuned")
    corpus = ["--corpus", folder / "toy", "--split", "validation"]
    return run, ["tune", run, "--language-model", folder / "run", *corpus]


@pytest.mark.slow
def test_tuning_a_language_model_scores_what_evaluation_translates(folder, tuned, capsys, monkeypatch):
    from app.scoring import fusion

    (run, tune), scored, bleu = tuned, [], fusion.bleu

    def watched(found, *arguments):
        scored.append(list(found))
        return bleu(found, *arguments)

    monkeypatch.setattr(fusion, "WEIGHTS", (0.0, 5.0))
    monkeypatch.setattr(fusion, "bleu", watched)
    call(capsys, *tune)
    assert scored[0] != scored[1]
    for lines, changes in zip(
        scored, ([], [f"language_model={folder / 'run'}", "language_model_weight=5"]), strict=True
    ):
        call(capsys, "evaluate", run, *tune[4:], "--set", "language_model=", *changes)
        assert (run / "results" / "toy-validation.de").read_text(encoding="utf-8").splitlines() == lines


@pytest.mark.slow
def test_the_weight_with_the_highest_bleu_is_kept_and_none_if_the_model_does_not_help(
    folder, tuned, capsys, monkeypatch
):
    from app.scoring import fusion

    run, tune = tuned
    before = Run.open(run).preset.search

    def best_at(weight):
        """Stands in for the translations: right with one weight of the model, and one word wrong with the others."""

        def translated(translator, test, lines, by_documents, progress):
            used = getattr(translator.decoder.model, "weight", 0.0)
            assert by_documents == (used > 0)
            return test.references if used == weight else ["falsch", *test.references[1:]]

        monkeypatch.setattr(fusion, "translated", translated)

    best_at(0.0)
    out = call(capsys, *tune).out
    assert "does not help" in out and re.findall(r"(?m)^│ +(off|0.\d+) │", out) == ["off", "0.05", "0.1", "0.2", "0.3"]
    assert Run.open(run).preset.search == before
    best_at(0.1)
    out = call(capsys, *tune).out
    assert "with a weight of 0.1" in out and re.search(r"│ +0.1 │ 100.0 │", out)
    kept = Run.open(run).preset.search
    assert kept.language_model == str(folder / "run") and kept.language_model_weight == 0.1
    best_at(0.0)
    assert "does not help" in call(capsys, *tune).out
    assert Run.open(run).preset.search.language_model == ""


@pytest.mark.parametrize(
    "options,message",
    [
        (["--learn"], "--learn is for retrieval"),
        (["--tries", 3], "--tries is for retrieval"),
        (["--set", "search.language_model_weight=1"], "this command chooses its weight"),
        (["--set", "language_model=x"], "--language-model names the model"),
        (["--language-model", "nowhere"], "nowhere: there is no such run folder"),
    ],
)
def test_options_that_do_not_go_with_tuning_a_language_model_are_refused(tuned, capsys, options, message):
    assert message in call(capsys, *tuned[1], *options, code=2).err


def test_tuning_refuses_a_language_model_that_cannot_join_before_it_translates(
    folder, translator, tuned, capsys, tmp_path
):
    run, tune = tuned
    memory = tmp_path / "memory.tsv"
    memory.write_text("a cat\tein kater\n", encoding="utf-8")
    assert "--memory is for retrieval" in call(capsys, *tune, "--memory", memory, code=2).err
    assert "a generator is needed here" in call(capsys, *tune, "--language-model", translator, code=2).err
    other = Run.create(tmp_path / "other", toy_preset(tmp_path, *GENERATOR, corpus=folder / "toy"))
    other.save_tokenizer(Tokenizer.train(["der hund und ein haus"], 270))
    assert "has another tokenizer" in call(capsys, *tune, "--language-model", other.path, code=2).err
