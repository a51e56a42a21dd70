import json
import shutil
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from app.cli.main import main
from app.export.ctranslate2 import ctranslate2_engine, export, save
from app.presets.preset import load_preset
from app.presets.schema import SearchPreset
from app.runs.run import AVERAGED, TOKENIZER, Run
from app.runs.weights import read_variables, save_arrays, split_variables
from app.translation import ctranslate2 as ctranslate2_decoding
from app.translation.ctranslate2 import CTranslate2Decoder
from app.translation.decoder import QUANTIZATIONS, Sampling
from app.translation.keras_decoder import KerasDecoder
from app.translation.translator import Translator
from data import spans
from data.cleaning import normalise
from data.errors import UserError
from data.installing import extra_command
from data.tokenizer import BOS, EOS, PAD, UNK
from models.document import DocumentTransformer
from models.transformer import Transformer
from tests.app.copy_model import TEXT, small_tokenizer
from tests.app.decoding import decode
from tests.app.toy_training import environment, weitblick

pytest.importorskip("ctranslate2", reason='needs the extra "ctranslate2"')

sys.modules["spans"] = spans  # an export has it beside the example
from app.export import ctranslate2_example  # noqa: E402 (needs ctranslate2 and spans)

TOKENS = small_tokenizer()
SHAPE = {"encoder_layers": 2, "decoder_layers": 1, "width": 16, "hidden": 24, "heads": 2}
SEARCH = SearchPreset(beam=3, max_ratio=1.0, max_extra=6)
ENGINE = ctranslate2_engine("float32")


def enliven(model, seed: int = 2):
    """Gives a fresh model weights with which it puts out this and that, ends now and then, and never says <unk>."""
    draw = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        spread = 0.6 if variable.path.endswith("kernel") else 0.4
        base = 1.0 if variable.path.endswith("gamma") else 0.0
        variable.assign(base + spread * draw.standard_normal(variable.shape).astype("float32"))
    # Column 0 of the states becomes a constant, with which the output's column 0 favours some tokens.
    last = model.decoder.norm or model.decoder.stack[-1].feed_forward_residual.norm
    width = last.gamma.shape[0]
    last.gamma.assign([0.0] + [3.0] * (width - 1))
    last.beta.assign([5.0] + [0.0] * (width - 1))
    output = model.output_embedding
    table = np.array(output.table)
    table[:, 0] = 2.0
    table[[PAD, UNK, BOS], 0] = -2.0
    table[EOS, 0] = 2.9
    output.table.assign(table)
    if output.projection is not None:
        projection = np.array(output.projection)
        projection[0], projection[:, 0] = 0.0, 0.0
        projection[0, 0] = 1.0
        output.projection.assign(projection)
    return model


def new_model(**options) -> Transformer:
    model = Transformer(TOKENS.vocabulary_size, **{**SHAPE, **options})
    model.build()
    return enliven(model)


def new_run(path, *changes, which=AVERAGED) -> Run:
    """A run that was never trained."""
    shape = [f"model.{key}={value}" for key, value in {**SHAPE, "norm": "pre", "positions": "rotary"}.items()]
    limits = ["search.beam=3", "search.max_ratio=1.0", "search.max_extra=6", "data.max_length=40"]
    preset = load_preset("starter", [*shape, *limits, "training.precision=float32", *changes])
    run = Run.create(path, preset)
    TOKENS.save(path / TOKENIZER)
    model = enliven(run.new_model(TOKENS.vocabulary_size))
    save_arrays(path / which, read_variables(split_variables(model)[0]))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return new_run(tmp_path_factory.mktemp("ct2") / "run")


@pytest.fixture(scope="module")
def ours(run):
    return Translator.of_run(run)


@pytest.fixture(scope="module")
def theirs(run):
    return Translator.of_run(run, engine=ENGINE)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Lets CTranslate2 search as long as the search in Keras, so that equal results are no chance."""
    monkeypatch.setattr(ctranslate2_decoding, "PATIENCE", 12.0)
    # Threads that wait for each other take long where other tests run beside.
    monkeypatch.setattr(ctranslate2_decoding, "cores", lambda: 1)


def with_search(run, search, sampling=None) -> CTranslate2Decoder:
    return ENGINE.open(run, "auto", search, sampling)


def teacher_forced(model, source, ids):
    """Log-probabilities (T, V) before each token of an output and before its end, by one call of the model."""
    inputs = {"source": np.array([[*source, EOS]], "int32"), "target": np.array([[BOS, *ids]], "int32")}
    logits = np.array(model(inputs, training=False)[0], "float64")
    return logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))


OPTIONS = [
    {"norm": "pre"},
    {"norm": "post", "activation": "gelu"},
    {"norm": "post", "activation": "swish", "output_bias": True},
    {"norm": "pre", "positions": "learned", "max_positions": 70},
    {"norm": "post", "positions": "rotary"},
    {"norm": "pre", "positions": "rotary", "tie": "target"},
    {"norm": "post", "tie": "none"},
    {"norm": "pre", "source_vectors": 12},
    {"norm": "pre", "stack": "bdia"},
    {"norm": "pre", "tie": "none", "source_vectors": 10, "target_vectors": 12},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())))
def test_every_kind_of_model_computes_the_same(options, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    model = new_model(**options)
    save(model, TOKENS, tmp_path)
    translator = ctranslate2.Translator(str(tmp_path), compute_type="float32")
    sources = TOKENS.source.encode(TEXT)
    pieces = [[TOKENS.piece(id) for id in source] for source in sources]
    options = {"beam_size": 1, "length_penalty": 0, "max_decoding_length": 20, "min_decoding_length": 0}
    found = translator.translate_batch(pieces, return_scores=True, return_end_token=True, **options)
    for source, result in zip(sources, found, strict=True):
        ids = [TOKENS.pieces().index(piece) for piece in result.hypotheses[0]]
        log_probs = teacher_forced(model, source, ids[:-1])
        assert ids == np.argmax(log_probs, axis=1).tolist()
        assert result.scores[0] == pytest.approx(sum(log_probs[range(len(ids)), ids]), abs=1e-3)
    targets = list(reversed(sources))
    given = translator.score_batch(pieces, list(reversed(pieces)))
    for source, target, result in zip(sources, targets, given, strict=True):
        log_probs = teacher_forced(model, source, target)
        expected = log_probs[range(len(target) + 1), [*target, EOS]]
        np.testing.assert_allclose(result.log_probs, expected, atol=1e-3)


@pytest.mark.parametrize("beam, alpha, offset", [(1, 0.6, 5.0), (3, 0.6, 5.0), (4, 0.0, 5.0), (3, 1.4, 5.0), (3, 1, 0)])
def test_the_search_finds_the_same_as_the_one_in_keras(run, ours, beam, alpha, offset):
    limits = {"max_ratio": 1.0, "max_extra": 6, "batch_tokens": 120}
    search = SearchPreset(beam=beam, length_penalty=alpha, length_offset=offset, **limits)
    sources, count = TOKENS.source.encode([*TEXT, "A", "The disk is full. " * 2]), min(beam, 2)
    expected = decode(KerasDecoder(ours.decoder.model, search), sources, count)
    seen = []
    found = decode(with_search(run, search), sources, count, seen.extend)
    assert sorted(seen) == list(range(len(sources)))
    cut = [any(len(one.ids) == len(source) + 6 for one in ones) for source, ones in zip(sources, found, strict=True)]
    assert any(cut) and not all(cut), "outputs that end and outputs that are cut off"
    for mine, yours, open_ended in zip(expected, found, cut, strict=True):
        # Which beginnings are left at the limit depends on the token that would come there. And without a penalty
        # CTranslate2 ends a search for several outputs when the best is sure.
        compared = 1 if alpha == 0 or open_ended else count
        assert [one.ids for one in yours[:compared]] == [one.ids for one in mine[:compared]]
        assert [one.score for one in yours[:compared]] == pytest.approx([m.score for m in mine[:compared]], abs=0.05)


def test_lines_are_translated_as_by_keras(ours, theirs):
    lines = ["", *TEXT, "  ", "full ".join(TEXT), "Disk\u00adspace\tis  low"]
    assert list(theirs.translate(lines)) == list(ours.translate(lines))
    mine, yours = list(ours.nbest(TEXT, 2)), list(theirs.nbest(TEXT, 2))
    assert [[one.text for one in line] for line in yours] == [[one.text for one in line] for line in mine]
    assert theirs.output_tokens == ours.output_tokens
    with pytest.raises(UserError, match="search.beam = 4"):
        list(theirs.nbest(TEXT, 4))


def test_given_translations_are_scored_as_by_keras(ours, theirs):
    targets = [*reversed(TEXT), ""]
    mine, yours = (one.score_pairs([*TEXT, "x"], targets) for one in (ours, theirs))
    assert [score.tokens for score in yours] == [score.tokens for score in mine]
    assert [s.log_probability for s in yours] == pytest.approx([s.log_probability for s in mine], abs=1e-3)


def test_a_line_is_translated_the_same_in_any_company(run):
    sources = TOKENS.source.encode([*TEXT, "a", "b", TEXT[0] * 3])
    decoding = with_search(run, SEARCH)
    alone = [decode(decoding, [source], 2)[0] for source in sources]
    for mine, yours in zip(alone, decode(decoding, sources, 2), strict=True):
        assert [one.ids for one in mine] == [one.ids for one in yours]
    for source, (best, *_) in zip(sources, alone, strict=True):
        assert 1 <= len(best.ids) <= len(source) + SEARCH.max_extra
    assert decode(decoding, []) == [] and decoding.score([], []) == []


def test_drawing_heeds_its_options(run):
    sources = TOKENS.source.encode(TEXT)

    def draw(count=2, **options):
        return decode(with_search(run, SEARCH, Sampling(**options)), sources, count)

    first = draw(seed=5)
    assert draw(seed=5) == first != draw(seed=6)
    assert all(one[0] != one[1] for one in first)
    greedy = decode(with_search(run, SearchPreset(beam=1, max_ratio=1.0, max_extra=6)), sources)
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}):
        assert [[one.ids for one in ones] for ones in draw(**options)] == [[one[0].ids] * 2 for one in greedy]
    scored = with_search(run, SEARCH).score(sources, [one[0].ids for one in first])
    assert [one[0].score for one in first] == pytest.approx([one.log_probability for one in scored], abs=1e-2)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_keeps_the_model(run, theirs, quantization, tmp_path):
    export(run, tmp_path / "out", quantization=quantization)
    decoding = CTranslate2Decoder(tmp_path / "out", SEARCH)
    sources, targets = TOKENS.source.encode(TEXT), TOKENS.source.encode([*reversed(TEXT)])
    exact, found = ([s.log_probability for s in d.score(sources, targets)] for d in (theirs.decoder, decoding))
    assert found == pytest.approx(exact, rel=0.03)
    if quantization != "float32":
        assert found != pytest.approx(exact, rel=1e-7), "it was stored in float32"


def test_an_export_is_kept_with_the_run_until_the_weights_change(tmp_path):
    run = new_run(tmp_path / "run")
    first = with_search(run, SEARCH)
    (folder,) = (run.path / "exports").iterdir()
    made = (folder / "model.bin").stat().st_mtime_ns
    assert decode(with_search(run, SEARCH), [[9, 8]]) == decode(first, [[9, 8]])
    assert (folder / "model.bin").stat().st_mtime_ns == made
    model = run.load_model()
    enliven(model, seed=10)
    save_arrays(run.path / AVERAGED, read_variables(split_variables(model)[0]))
    assert decode(with_search(run, SEARCH), [[9, 8]]) != decode(first, [[9, 8]])
    (other,) = (run.path / "exports").iterdir()
    assert other != folder
    content = bytearray((other / "model.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (other / "model.bin").write_bytes(content)
    with pytest.raises(UserError, match=f"model.bin: the file is damaged; remove the folder {other} and try again"):
        with_search(run, SEARCH)


@pytest.mark.slow
def test_the_commands_need_keras_once_and_the_folder_never(ours, tmp_path):
    """The export as a process, what is in its folder without this code, and the engine without Keras."""
    run = new_run(tmp_path / "run", "data.lowercase=true", "search.beam=1", "search.refuse_loops=false")
    lines = [*TEXT, "", "Häuser  und Bäume"]
    text, expected = "\n".join(lines) + "\n", "\n".join(Translator.of_run(run).translate(lines)) + "\n"
    folder = tmp_path / "for others"
    said = weitblick("export", run.path, "--to", "ctranslate2", folder)
    assert str(folder) in said.stdout and not said.stderr
    moved = shutil.move(folder, tmp_path / "moved")
    stranger = [sys.executable, f"{moved}/translate.py"]
    done = subprocess.run(stranger, input=text, capture_output=True, text=True, encoding="utf-8", cwd="/")
    # The example has one limit for all lines, so it goes on where the others are cut off.
    sources = TOKENS.source.encode([line.lower() for line in TEXT])
    found = decode(Translator.of_run(run).decoder, sources)
    whole = [len(ones[0].ids) < len(source) + 6 for source, ones in zip(sources, found, strict=True)]
    pairs = list(zip(done.stdout.split("\n"), expected.split("\n"), strict=True))
    assert not done.stderr and pairs[len(TEXT)] == ("", "") and any(whole)
    assert all(mine == yours for (mine, yours), ended in zip(pairs, whole, strict=False) if ended)
    Translator.of_run(run, engine=ENGINE)
    hide = (
        "import sys; sys.modules.update(dict.fromkeys(['keras', 'tensorflow']));from app.cli.main import main; main()"
    )
    arguments = ["translate", str(run.path), "--engine", "ctranslate2"]
    done = subprocess.run(
        [sys.executable, "-c", hide, *arguments],
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(),
    )
    assert (done.stdout, done.stderr) == (expected, "")


ODD = [
    "",
    " \t Two  words\u00a0and\u2003more \r\n",
    "soft\u00adhyphen zero\u200bwidth \ufeffmark \u202edirection\u202c \u034f",
    "bell\x07 \x93quoted\x94 \x85\x81 \x1f\x1c",
    "Cafe\u0301 I\u0307stanbul \u1e9e \u0130",
    "\U0001f469\u200d\U0001f469 a\u200db \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 1\u200d",
    "half \ud800 pair \ufdd0 \U0001ffff",
    "e\u200d\u0301",
]


@pytest.mark.parametrize("lowercase", [False, True])
@hypothesis.given(text=st.text())
@hypothesis.example(text=" ".join(ODD))
def test_the_example_normalises_as_training_does(lowercase, text):
    for line in [text, *ODD]:
        assert ctranslate2_example.normalise(line, lowercase) == normalise(line, lowercase)


def test_the_example_normalises_every_character_as_training_does():
    for first in range(0, sys.maxunicode + 1, 256):
        letters = map(chr, range(first, first + 256))
        line = "".join(f"a{letter}b {letter} \u0645{letter}\u0645 " for letter in letters)
        assert ctranslate2_example.normalise(line) == normalise(line), hex(first)


def test_the_folder_says_what_is_needed(run, tmp_path):
    search = SearchPreset(beam=2, length_penalty=0.3)
    export(run, tmp_path / "out", quantization="int8", search=search)
    said = json.loads((tmp_path / "out" / "weitblick.json").read_text())
    assert said["source"] == "en" and said["lowercase"] is False and said["max_length"] == 40
    assert said["search"]["beam"] == 2 and said["search"]["length_penalty"] == 0.3
    assert said["weights"] == "averaged" and said["quantization"] == "int8" and said["max_positions"] == 1024
    assert (tmp_path / "out" / TOKENIZER).read_bytes() == (run.path / TOKENIZER).read_bytes()
    assert "averaged, int8" in (tmp_path / "out" / "README.txt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


def test_a_run_is_scored_with_either_engine(run, tmp_path, capsys):
    for name in ("in.en", "in.de"):
        (tmp_path / name).write_text("\n".join(TEXT) + "\n")
    files = ["--source", str(tmp_path / "in.en"), "--reference", str(tmp_path / "in.de")]
    for engine in (["--engine", "ctranslate2", "--quantization", "int8"], ["--engine", "ctranslate2"]):
        assert main(["evaluate", str(run.path), *files, *engine]) == 0
        record = json.loads(next((run.path / "results").glob("in*.json")).read_text())
        assert record["engine"] == {"name": "ctranslate2", "quantization": (engine[3:] or ["float32"])[0]}
        assert record["versions"]["ctranslate2"] and "keras" not in record["versions"]
    assert "BLEU" in capsys.readouterr().out


def refused(capsys, *arguments) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_exported_is_refused(run, tmp_path, capsys, monkeypatch):
    for memory in ({"kind": "gru"}, {"kind": "gru", "layers": ("all",)}, {"kind": "recurrence"}):
        remembering = DocumentTransformer(TOKENS.vocabulary_size, **SHAPE, positions="rotary", memory=memory)
        with pytest.raises(UserError, match="DocumentTransformer .* no place for a memory"):
            save(remembering, TOKENS, tmp_path)
    for key, value in {"stack": "reversible", "attention": "lsh"}.items():
        with pytest.raises(UserError, match=f'model.{key}: "{value}" .* engine keras'):
            save(new_model(norm="pre", **{key: value}), TOKENS, tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").touch()
    command = ("export", run.path, "--to")
    assert "exists already" in refused(capsys, *command, "ctranslate2", full)
    assert "exists already" in refused(capsys, *command, "savedmodel", full)
    assert "--precision is for" in refused(capsys, *command, "ctranslate2", full, "--precision", "float32")
    assert "--quantization is for" in refused(capsys, *command, "savedmodel", full, "--quantization", "int8")
    assert "--engine ctranslate2" in refused(capsys, "translate", run.path, "--quantization", "int8")
    assert "no checkpoint yet" in refused(capsys, *command, "ctranslate2", tmp_path / "new", "--checkpoint", "last")
    source = tmp_path / "in.txt"
    source.touch()
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    translate = ("translate", run.path, source, "--engine", "ctranslate2")
    for arguments in ((*command, "ctranslate2", tmp_path / "new"), translate):
        assert extra_command("ctranslate2") in refused(capsys, *arguments)


def test_a_search_with_other_models_is_refused_and_not_cut_down(tmp_path):
    run = new_run(tmp_path / "run", 'search.ensemble=["runs/other"]')
    with pytest.raises(UserError, match="search.ensemble: an export for CTranslate2 holds one model"):
        export(run, tmp_path / "export")
    assert not (tmp_path / "export").exists()
    alone = run.preset.with_overrides(["search.ensemble=[]"]).search
    assert Translator.of_run(run, search=alone, engine=ENGINE).decoder.score([[5, 6]], [[7]])


def test_damaged_weights_leave_nothing_behind(tmp_path):
    run = new_run(tmp_path / "run")
    arrays = dict(np.load(run.path / AVERAGED))
    arrays["encoder/layer_0/feed_forward/inner/kernel"][0, 0] = np.nan
    save_arrays(run.path / AVERAGED, arrays)
    with pytest.raises(UserError, match="inner/kernel has numbers that are not finite"):
        export(run, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
