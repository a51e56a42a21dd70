"""An imported Marian checkpoint is a run like any other; PyTorch and `transformers` are not needed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.cli.main import main
from app.imports.marian import import_marian
from app.runs.run import Run
from app.training.train import open_or_create, train
from app.translation.translator import Translator
from data.errors import UserError
from tests.app.decoding import decode
from tests.app.imports.toy_marian import SIZE, write_checkpoint, write_json
from tests.app.toy_training import WORDS, write_corpus
from tests.slow import slow_but

LINES = ["the red dog sees a big tree", "never the house", "", "zebra"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a checkpoint, `opus`, its run, `run`, and a corpus, `toy`."""
    place = tmp_path_factory.mktemp("marian")
    folder = write_checkpoint(place / "opus")
    write_corpus(place / "toy", document=5)
    import_marian(folder, place / "run", ["training.precision=float32", "search.max_extra=5", "refuse_loops=false"])
    return place


@pytest.fixture(scope="module")
def run(place):
    return Run.open(place / "run")


def test_the_preset_is_that_of_the_checkpoint(run):
    data, model, search = run.preset.data, run.preset.model, run.preset.search
    assert (data.source, data.target, data.copy, data.max_length) == ("en", "de", (), 63)
    assert (model.norm, model.activation, model.positions, model.output_bias) == ("post", "swish", "sinusoidal", True)
    assert (search.beam, search.length_penalty, search.length_offset) == (4, 1.0, 0.0)
    assert run.preset.tokenizer.kind == "unigram"
    assert run.tokenizer().vocabulary_size == run.preset.tokenizer.vocabulary == 384


def test_each_side_has_a_model_of_its_own_over_one_vocabulary(run):
    tokenizer = run.tokenizer()
    texts = ["the old cat", "never"], ["der alte kater", "nie"]
    sides = tokenizer.source, tokenizer.target
    for side, other, own in zip(sides, reversed(sides), texts, strict=True):
        assert side.decode(side.encode(own)) == own
        assert side.encode(own) != other.encode(own)
    # vocab.json has no piece for "house", which SentencePiece would choose.
    (house,) = tokenizer.source.encode(["house"])
    assert len(house) > 1 and tokenizer.source.decode([house]) == ["house"] and 1 not in house
    assert Run.open(run.path).tokenizer().fingerprint == tokenizer.fingerprint
    (run.path / "tokenizer.target.model").rename(run.path / "away")
    with pytest.raises(UserError, match="tokenizer.target.model: the run is incomplete"):
        run.tokenizer()
    (run.path / "away").rename(run.path / "tokenizer.target.model")


@pytest.mark.slow
def test_it_translates_alike_here_and_exported(run, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 (registers the tokenizer's operations)

    expected = list(Translator.of_run(run).translate(LINES))
    assert len(expected) == len(LINES) and all(expected[:2]) and expected[2] == ""
    assert main(["export", str(run.path), "--to", "savedmodel", str(tmp_path / "saved")]) == 0
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    found = loaded.translate(tf.constant(LINES))["translation"].numpy()
    assert [line.decode() for line in found] == expected
    assert main(["export", str(run.path), "--to", "ctranslate2", str(tmp_path / "ct2")]) == 0
    folder, translator = tmp_path / "ct2", ctranslate2.Translator(str(tmp_path / "ct2"), compute_type="float32")
    assert (folder / "tokenizer.target.model").read_bytes() == (run.path / "tokenizer.target.model").read_bytes()
    tokenizer, greedy = run.tokenizer(), ["search.beam=1"]
    alone = Translator.of_run(run, search=run.preset.with_overrides(greedy).search)
    (ids,) = tokenizer.source.encode(LINES[:1])
    result = translator.translate_batch(
        [[tokenizer.piece(id) for id in ids]], beam_size=1, max_decoding_length=4, disable_unk=True
    )
    (decoded,), count = decode(alone.decoder, [ids]), len(result[0].hypotheses[0])
    assert count and result[0].hypotheses[0] == [tokenizer.piece(id) for id in decoded[0].ids[:count]]


def test_the_example_of_an_export_writes_with_the_target_model(run, tmp_path):
    pytest.importorskip("ctranslate2")
    from app.export.ctranslate2 import export

    export(run, tmp_path / "ct2", search=run.preset.with_overrides(["search.beam=1"]).search)
    stranger = [sys.executable, str(tmp_path / "ct2" / "translate.py")]
    done = subprocess.run(stranger, input=LINES[0] + "\n", capture_output=True, text=True, encoding="utf-8", cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and "\u2581" not in done.stdout


def test_it_is_scored(run, place, capsys):
    files = ["--source", str(place / "toy" / "en.validation.txt"), "--reference"]
    assert main(["evaluate", str(run.path), *files, str(place / "toy" / "de.validation.txt")]) == 0
    assert "BLEU" in capsys.readouterr().out


def second_stage(place, name, *changes):
    corpora = [f"data.{key}={place / 'toy'}" for key in ("corpora", "validation", "test")]
    own = [
        "language_filter=false",
        "deduplicate=false",
        "windows=segments",
        "lanes=4",
        "training.batch_tokens=256",
        "updates=2",
    ]
    own += ["validate_every=2", "checkpoint_every=2", "bleu_lines=5", "average=1", "warmup=1", "schedule=constant"]
    start = f"training.start={place / 'run'}"
    preset = Run.open(place / "run").preset.with_overrides([start, *corpora, *own, *changes])
    return train(preset, place / name)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", slow_but(["gru", "variable", "prism"], "gru"))
def test_a_second_stage_adds_a_memory(run, place, kind):
    found = second_stage(place, kind, f"memory.kind={kind}")
    summary = found.summary()
    assert summary["finished"]["update"] == 2 and summary["started_from"]["weights"] == "averaged"
    assert found.tokenizer().fingerprint == run.tokenizer().fingerprint
    before, after = run.weights()[1], found.weights()[1]
    assert set(before) < set(after) and any(name.startswith("memory") or "memory" in name for name in after)
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert "source_embedding/bias" in moved and "decoder/layer_1/feed_forward/inner/kernel" in moved
    assert all(np.abs(after[name] - before[name]).max() < 0.01 for name in before)
    (translated,) = Translator.of_run(found).translate_documents([LINES[:2]])
    assert len(translated) == 2


@pytest.mark.parametrize("kind", ["recurrence", "compressive"])
def test_a_memory_that_needs_rotary_positions_says_so(place, kind):
    with pytest.raises(UserError, match=f'model.positions: memory.kind = "{kind}" needs "rotary"'):
        second_stage(place, kind, f"memory.kind={kind}", "memory_tokens=reference")
    with pytest.raises(UserError, match='model.norm: stack = "reversible" needs "pre", got "post"'):
        second_stage(place, kind, "memory.kind=gru", "stack=reversible")


def test_an_imported_run_is_not_trained_over(run, capsys):
    command = ["train", str(run.path / "preset.toml"), "--run", str(run.path), "--set", "test=[]"]
    for changes in ([], ["updates=5"]):
        assert main([*command, *changes]) == 2
        assert f"--set training.start={run.path}" in capsys.readouterr().err
    with pytest.raises(UserError, match="the run was imported"):
        open_or_create(run.path, run.preset)
    assert Run.open(run.path).weights()[0] == "averaged"


def test_the_command_says_what_it_made(tmp_path, capsys):
    folder = write_checkpoint(tmp_path / "opus")
    (folder / "tokenizer_config.json").unlink()
    command = ["import", "marian", str(folder), "--run", str(tmp_path / "run"), "--set", "beam=2"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "names no languages: en and de are assumed" in said and "2 + 2 layers of width 16, 384 pieces" in said
    assert Run.open(tmp_path / "run").preset.search.beam == 2
    assert main(command) == 2 and "exists already" in capsys.readouterr().err


CONFIGS = {
    "model_type": ("bart", 'model_type: expected "marian", got "bart"'),
    "d_model": (None, "d_model: expected a number from 1, got nothing"),
    "decoder_ffn_dim": (40, "decoder_ffn_dim: expected 24 as in the encoder, got 40"),
    "encoder_ffn_dim": (40, "decoder_ffn_dim: expected 40 as in the encoder, got 24"),
    "normalize_before": (True, "normalize_before: expected false, got true"),
    "share_encoder_decoder_embeddings": (False, "source and target must share one vocabulary"),
    "scale_embedding": (False, "scale_embedding: expected true"),
    "activation_function": ("tanh", 'activation_function: expected one of swish, silu, relu, gelu, got "tanh"'),
    "encoder_layers": (3, "the weights lack model.encoder.layers.2"),
    "decoder_layers": (1, "Marian has no weights called model.decoder.layers.1"),
    "pad_token_id": (SIZE, f"pad_token_id: expected less than vocab_size = {SIZE}, got {SIZE}"),
    "vocab_size": (SIZE - 30, "expected less than vocab_size|own number below vocab_size"),
}


@pytest.mark.parametrize("key", CONFIGS)
def test_other_architectures_are_refused(tmp_path, key):
    value, message = CONFIGS[key]
    folder = write_checkpoint(tmp_path / "opus", **{key: value})
    with pytest.raises(UserError, match=message):
        import_marian(folder, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["opus"], "nothing is left behind"


@pytest.mark.parametrize("name", ["config.json", "source.spm", "target.spm", "vocab.json", "model.safetensors"])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    folder = write_checkpoint(tmp_path / "opus")
    content = (folder / name).read_bytes()
    for damage in (content[: len(content) // 2], b"", None):
        (folder / name).unlink() if damage is None else (folder / name).write_bytes(damage)
        with pytest.raises(UserError, match=name):
            import_marian(folder, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["opus"]
    with pytest.raises(UserError, match="there is no such folder"):
        import_marian(tmp_path / "nowhere", tmp_path / "run")


def test_odd_weights_are_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "opus")
    path = folder / "model.safetensors"
    whole, fixed = load_file(path), "model.encoder.embed_positions.weight"
    oddities = {
        "has numbers that are not finite": {"final_logits_bias": np.full((1, SIZE), np.nan, "float32")},
        r"final_logits_bias has shape \(1, 7\)": {"final_logits_bias": np.zeros((1, 7), "float32")},
        "differ; only models with one are supported": {"lm_head.weight": np.zeros((SIZE, 16), "float32")},
        "Marian has no weights called extra": {"extra": np.zeros(3, "float32")},
        "not hold Marian's fixed positions": {fixed: np.zeros((64, 16), "float32")},
    }
    for message, change in oddities.items():
        save_file({**whole, **change}, path)
        with pytest.raises(UserError, match=message):
            import_marian(folder, tmp_path / "run")


def test_a_model_of_several_target_languages_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "opus")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary[">>deu<<"] = vocabulary.pop("\u2581filler0")
    write_json(folder / "vocab.json", vocabulary)
    with pytest.raises(UserError, match="translates into several languages"):
        import_marian(folder, tmp_path / "run")


def test_weights_of_pytorch_need_pytorch(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "opus")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pytorch_model.bin: only PyTorch reads this file: .* -m pip install .*torch;"):
        import_marian(folder, tmp_path / "run")


@pytest.mark.backends
def test_weights_of_pytorch_are_those_of_safetensors(place, run, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; the extra `backends` brings it")
    folder = write_checkpoint(tmp_path / "opus")
    path = folder / "model.safetensors"
    tensors = {name: torch.tensor(array) for name, array in load_file(path).items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    path.unlink()
    found, _ = import_marian(folder, tmp_path / "run")
    assert found.weights()[1].keys() == run.weights()[1].keys()
    assert all(np.array_equal(array, run.weights()[1][name]) for name, array in found.weights()[1].items())
    (folder / "pytorch_model.bin").write_bytes(b"PK damaged")
    with pytest.raises(UserError, match="the weights cannot be read"):
        import_marian(folder, tmp_path / "other")


def test_words_of_the_corpus_are_known(run):
    ids = run.tokenizer().target.encode([" ".join(WORDS.values())])[0]
    assert 1 not in ids
