import json
import os
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from app.presets.preset import load_preset
from app.presets.schema import SearchPreset
from app.runs.run import AVERAGED, TOKENIZER, Run
from app.runs.weights import read_variables, save_arrays, split_variables
from app.translation.lines import one_line
from app.translation.text import split_long
from app.translation.translator import Translator
from data import spans
from data.cleaning import normalise
from data.errors import UserError
from data.forms import TextForm
from data.spans import KINDS, PIECES, piece, read
from data.tokenizer import Tokenizer
from models.transformer import Transformer
from tests.app.copy_model import TEXT, small_tokenizer
from tests.app.toy_training import REPOSITORY

tf = pytest.importorskip("tensorflow")
if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is made of TensorFlow operations", allow_module_level=True)

from app.export import graph_text  # noqa: E402
from app.export.savedmodel import ABOUT, TranslationModule, export  # noqa: E402

TOKENIZER_OF_ALL = small_tokenizer()
SHAPE = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "hidden": 16, "heads": 2}
SEARCH = {"beam": 3, "max_ratio": 0.5, "max_extra": 4, "batch_tokens": 300, "refuse_loops": False}
DATA = {"lowercase": "true", "max_length": 40, "copy": "[]", "capitals": "false"}

# Loads the folder with nothing but TensorFlow and tensorflow-text, and prints what it answers.
STRANGER = """
import sys

OURS = {"app", "data", "models", "tests", "sentencepiece", "keras_hub"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OURS:
            raise ImportError(f"{name} is not to be had here")

sys.meta_path.insert(0, Refuse())
import json
import tensorflow as tf
import tensorflow_text

model = tf.saved_model.load(sys.argv[1])
serve = model.signatures["serving_default"]
calls = json.loads(sys.stdin.read())
answers = []
for lines in calls:
    found = serve(text=tf.constant(lines, tf.string))
    answers.append([found[name].numpy().tolist() for name in ("translation", "score", "parts")])
assert not OURS & {name.partition(".")[0] for name in sys.modules}
print(json.dumps([[[text.decode() for text in texts], *rest] for texts, *rest in answers]))
"""


def make_run(folder, precision="float32", **model) -> Run:
    """A run whose weights are random numbers."""
    sections = {"data": DATA, "model": SHAPE | model, "search": SEARCH, "training": {"precision": f'"{precision}"'}}
    text = 'name = "toy"\n' + "".join(
        f"[{name}]\n"
        + "".join(f"{key} = {str(value).lower() if value is False else value}\n" for key, value in section.items())
        for name, section in sections.items()
    )
    (folder / "toy.toml").write_text(text, encoding="utf-8")
    run = Run.create(folder / "run", load_preset(folder / "toy.toml"))
    TOKENIZER_OF_ALL.save(run.path / TOKENIZER)
    draw = np.random.default_rng(3)
    values = read_variables(split_variables(run.new_model(TOKENIZER_OF_ALL.vocabulary_size))[0])
    noise = {name: 0.4 * draw.standard_normal(value.shape).astype("float32") for name, value in values.items()}
    save_arrays(run.path / AVERAGED, noise)
    return run


def some_lines(count: int) -> list[str]:
    draw = random.Random(5)
    words = [*" ".join(TEXT).split(), "U\u0308ber", "ΑΣ", "🙂\u200d🙂", "\u00a0", "3,14", "文。"]
    lines = [" ".join(draw.choices(words, k=draw.randint(0, 9))) for _ in range(count)]
    long = [" ".join(TEXT * 3), "x" * 150, "e\u0301" * 60, "word " * 70]
    return [*lines, *long, "", " \t\u3000", "\x00\u200b", "a\u2028b"]


def expected(run, lines):
    """What `translate` says: texts and scores."""
    found = Translator.of_run(run, warn=lambda _: None).nbest(iter(lines), 1)
    return map(list, zip(*((line[0].text, line[0].score) for line in found), strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("float32"))


@pytest.fixture(scope="module")
def exported(run):
    folder = run.path / "exported" / "1"
    export(run, folder)
    return folder


def test_a_process_without_this_code_answers_the_same(run, exported, tmp_path):
    lines = some_lines(300)
    calls = [lines, [], [lines[0]], [""], ["", " "]]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", STRANGER, str(exported)],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "gradient" not in done.stderr
    (texts, scores, parts), *others = json.loads(done.stdout.splitlines()[-1])
    translations, log_probabilities = expected(run, lines)
    assert texts == translations
    assert scores == pytest.approx(log_probabilities, rel=1e-5)
    assert sum(map(bool, texts)) > 250
    assert [bool(count) for count in parts] == [bool(normalise(line)) for line in lines]
    assert min(parts[300:304]) > 1
    alone = [texts[:1], [pytest.approx(scores[0])], parts[:1]]
    assert others == [[[], [], []], alone, [[""], [0], [0]], [["", ""], [0, 0], [0, 0]]]


def test_it_says_what_it_is(exported):
    about = json.loads((exported / ABOUT).read_text(encoding="utf-8"))
    assert about["weights"] == "averaged"
    others = {"length_penalty": 0.6, "length_offset": 5.0, "term_bonus": 3.5, "memory_cache": 0, "memory_compressed": 0}
    others |= {"ensemble": [], "language_model": "", "language_model_weight": 0.1}
    assert about["search"] == SEARCH | others
    assert (about["source"], about["target"], about["precision"]) == ("en", "de", "float32")


def test_nothing_is_compiled_when_it_is_loaded_and_called(exported):
    graph = tf.saved_model.load(str(exported)).signatures["serving_default"].graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert not [node.op for node in nodes if node.op.startswith("Xla") or "_XlaMustCompile" in node.attr]
    biggest = max(len(node.attr["value"].tensor.tensor_content) for node in nodes if node.op == "Const")
    assert biggest < 4096, "a table became a constant of the graph"


def test_bfloat16_weights_are_stored_as_such_and_answer_the_same(tmp_path, exported):
    run = make_run(tmp_path, "bfloat16")
    lines = some_lines(40)
    translations, scores = expected(run, lines)
    module = TranslationModule(Translator.of_run(run))
    found = module.translate(tf.constant(lines))
    assert [text.decode() for text in found["translation"].numpy()] == translations
    assert found["score"].numpy() == pytest.approx(scores, rel=1e-5)
    stored = {variable.dtype.name for variable in module.variables if len(variable.shape) == 2}
    assert stored == {"bfloat16"}


REFORMER = {"stack": '"reversible"', "attention": '"lsh"', "lsh_chunk": 3, "lsh_buckets": 4, "feed_forward_chunks": 2}


@pytest.mark.parametrize("settings", [{"positions": '"learned"', "max_positions": 48}, {"tie": '"none"'}, REFORMER])
def test_other_models_and_greedy_search(tmp_path, settings):
    run = make_run(tmp_path, **settings)
    lines = some_lines(20)
    search = SearchPreset(**SEARCH | {"beam": 1})
    translator = Translator.of_run(run, search=search, warn=lambda _: None)
    found = TranslationModule(translator).translate(tf.constant(lines))
    assert [text.decode() for text in found["translation"].numpy()] == list(translator.translate(lines))


def test_the_search_copies_pieces_and_spans_py_does_the_rest(tmp_path):
    run = make_run(tmp_path)
    pieces = Tokenizer.train(TEXT * 3, 352, seed=0, symbols=[piece(n) for n in range(1, PIECES + 1)])
    draw = np.random.default_rng(4)
    model = Transformer(pieces.vocabulary_size, 1, 1, width=16, hidden=16, heads=2)
    model.build()
    for variable in model.trainable_variables:
        variable.assign_add(0.4 * draw.standard_normal(variable.shape).astype("float32"))
    form = TextForm(copy=KINDS, capitals=True)
    search = SearchPreset(beam=3, max_ratio=1.0, max_extra=4, refuse_loops=False)
    translator = Translator.of_model(model, pieces, search, form=form)
    lines = ["%d files in <b>/tmp</b>", "SEE 5 OF %s!", "no span"]
    sources = [read(line, form.finder, capitals=True) for line in lines]
    found = TranslationModule(translator).translate(tf.constant([source.text for source in sources]))["translation"]
    texts = [source.translation(text.decode()) for source, text in zip(sources, found.numpy(), strict=True)]
    assert texts == translator.translate_all(lines)
    assert "%d" in texts[0] and "<b>" in texts[0]
    export(run, tmp_path / "folder")
    assert (tmp_path / "folder" / "assets.extra" / "spans.py").read_text() == Path(spans.__file__).read_text()


def test_the_search_and_the_precision_can_be_others(run, tmp_path):
    export(run, tmp_path / "other", search=SearchPreset(**SEARCH | {"beam": 2}), precision="bfloat16")
    about = json.loads((tmp_path / "other" / ABOUT).read_text(encoding="utf-8"))
    assert about["search"]["beam"] == 2
    assert about["precision"] == "bfloat16"


def test_damaged_weights_and_a_full_folder_are_refused(tmp_path):
    run = make_run(tmp_path)
    with np.load(run.path / AVERAGED) as file:
        values = dict(file)
    next(iter(values.values())).flat[0] = np.nan
    save_arrays(run.path / AVERAGED, values)
    with pytest.raises(UserError, match="not finite; take another checkpoint"):
        export(run, tmp_path / "new")
    assert not list(tmp_path.glob("*new*"))
    with pytest.raises(UserError, match="exists already"):
        export(run, run.path)


@pytest.mark.parametrize("kind", ["none", "concat", "gru", "recurrence", "compressive"])
def test_a_run_on_documents_is_refused(tmp_path, kind):
    run = make_run(tmp_path)
    chosen = [f"memory.kind={kind}", "documents.windows=segments", "documents.size=2", "model.positions=rotary"]
    run.update_preset(run.preset.with_overrides([*chosen, "training.memory_tokens=reference"]))
    with pytest.raises(UserError, match="translate --document"):
        export(run, tmp_path / "new")


ALPHABET = (
    "aAbß ΑΣσİıǅÅ\u0308\u0301\u0323\u0327가\u11a8e🙂\ufe0f\u0915\u094d\u0937مب.,"  # letters, accents, other scripts
    "\t\n\v\f\r\x1c\x1f\xa0\u1680\u2028\u3000\x00\x07\x7f\x80\x81\x85\x93\x99\x9f"  # white space and controls
    "\xad\u034f\u200b\u200c\u200d\u200e\u2060\ufeff\ufdd0\ufffe\U0001ffff"  # invisible characters
)


@pytest.mark.parametrize("lowercase", [False, True])
def test_text_is_normalised_as_in_python(lowercase):
    draw = random.Random(7)
    texts = ["".join(draw.choices(ALPHABET, k=draw.randint(0, 12))) for _ in range(4000)]
    found = graph_text.normalise(tf.constant(texts), lowercase).numpy()
    assert [text.decode() for text in found] == [normalise(text, lowercase) for text in texts]
    assert graph_text.normalise(tf.constant([b"a\xffb"])).numpy()[0].decode() == "a\ufffdb"


def test_tokens_become_text_as_in_python():
    draw = random.Random(9)
    rows = [draw.choices(range(4, TOKENIZER_OF_ALL.vocabulary_size), k=draw.randint(0, 9)) for _ in range(2000)]
    texts = TOKENIZER_OF_ALL.source.graph_tokenizer().detokenize(tf.ragged.constant(rows, tf.int32))
    found = [text.decode() for text in graph_text.one_line(texts).numpy()]
    assert found == [one_line(text) for text in TOKENIZER_OF_ALL.source.decode(rows)]


@pytest.mark.parametrize("limit", [3, 8, 30])
def test_long_texts_are_split_as_in_python(limit):
    draw = random.Random(limit)
    alphabet = 'aaabc   .,;!?\u2026"\u201d)\u3002\uff01\u0301\u0301🙂\u200d'
    texts = ["".join(draw.choices(alphabet, k=draw.randint(1, 150))) for _ in range(200)]
    texts = list(filter(None, map(normalise, texts)))
    graph = TOKENIZER_OF_ALL.source.graph_tokenizer()
    parts, owners = graph_text.split_long(
        tf.constant(texts), lambda texts: tf.cast(graph.tokenize(texts).row_lengths(), tf.int32), limit
    )
    found = [[] for _ in texts]
    for part, owner in zip(parts.numpy(), owners.numpy(), strict=True):
        found[owner].append(part.decode())
    count = lambda texts: [len(ids) for ids in TOKENIZER_OF_ALL.source.encode(texts)]  # noqa: E731
    assert found == [split_long(text, count, limit) for text in texts]


def test_a_file_that_cannot_be_written_is_one_line(run, tmp_path):
    """A limit on the size of files stands for a full disk, which TensorFlow reports in the same way."""
    command = f"ulimit -f 100; exec {sys.executable} -m app export {run.path} --to savedmodel {tmp_path}/out"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=REPOSITORY)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.endswith(": File too large\n")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
