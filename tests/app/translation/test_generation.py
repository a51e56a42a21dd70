"""Writing with a generator: it draws from its distribution, goes on with what is given, and keeps its place."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from scipy.stats import chisquare

from app.translation.generation import ROOM, Choice, Writer
from data.errors import UserError
from data.packing import PackedWindow, pack
from data.tokenizer import EOS
from data.tokenizer import Tokenizer as RealTokenizer
from data.windows import WindowOptions, cut
from models.text_generator import TextGenerator
from tests.app.word_tokenizer import WordTokenizer, words


class Tokenizer(WordTokenizer):
    span_ids = range(38, 40)


@pytest.fixture(scope="module")
def model(request):
    """With a layer of attention, or as many as `LAYERS` says."""
    keras.utils.set_random_seed(3)
    model = TextGenerator(40, layers=getattr(request, "param", 1), width=16, hidden=16, heads=2, dropout=0.0)
    model.build()
    # Spread out, so that the likeliest token depends on what was read.
    for variable in model.trainable_variables:
        variable.assign(variable * 2.0)
    return model


LAYERS = pytest.mark.parametrize("model", [1, 0], ids=["attention", "lstm"], indirect=True)
WINDOWS = WindowOptions("tokens", tokens=12)
SEED = "w7 w8 w9\nw4 w5"


def writer(model, windows=WINDOWS, longest=20, **choice):
    return Writer(model, Tokenizer(), windows, longest, Choice(**choice))


def written(model, tokens=30, text=SEED, **choice):
    found = writer(model, **choice)
    found.read(text)
    return found.write(tokens)


@LAYERS
def test_many_calls_of_one_token_write_what_one_call_of_many_does(model):
    one = writer(model, seed=5)
    one.read(SEED)
    assert "".join(one.write(1) for _ in range(30)) == written(model, seed=5)
    assert written(model, seed=5) != written(model, seed=6)


@pytest.mark.parametrize("text", ["ein hund € haus\nein 漢▁\n😀😀", "€ \ufffd"])
def test_characters_in_several_tokens_are_whole_in_the_stream(text, tmp_path):
    """Byte pieces spell what the vocabulary lacks; one call, many calls and a saved document write the same text."""
    lines = [f"ein hund {noun} haus {number}" for number in range(50) for noun in ("sieht", "und", "ein")]
    tokenizer = RealTokenizer.train(lines, 300, "bpe")
    keras.utils.set_random_seed(1)
    model = TextGenerator(tokenizer.vocabulary_size, layers=0, width=4, hidden=4, heads=1)
    model.build()
    ids = [token for line in tokenizer.target.encode(text.split("\n")) for token in (*line, EOS)]
    assert len(ids) > len(text) + 1

    def spelling(first=0):
        found = Writer(model, tokenizer, WindowOptions("tokens", tokens=64), 60)
        found._draw = iter(ids[first:]).__next__
        return found

    whole = spelling()
    whole.read("")
    pieces = list(whole.stream(len(ids)))
    assert "".join(pieces) == text + "\n" and max(map(len, pieces)) < len(text)
    one = spelling()
    assert "".join(one.write(1) for _ in ids) == text + "\n"
    for count in range(1, len(ids)):
        begun, after = spelling(), spelling(count)
        first = begun.write(count)
        begun.save(tmp_path / "state.json")
        after.load(tmp_path / "state.json")
        assert first + after.write(len(ids) - count) == text + "\n"


def test_the_given_text_is_kept_and_not_repeated(model):
    found = writer(model)
    found.read(SEED)
    given = [list(line) for line in found.lines]
    found.write(30)
    assert found.lines[0] == given[0] and found.lines[1][:2] == given[1]


@LAYERS
def test_a_document_goes_on_after_it_was_saved(model, tmp_path):
    found = writer(model, seed=5)
    found.read(SEED)
    first = found.write(13)
    found.save(tmp_path / "state.json")
    other = writer(model, seed=5)
    other.load(tmp_path / "state.json")
    assert first + other.write(17) == written(model, seed=5)


def test_draws_follow_the_distribution(model):
    """Chi-squared over 1,500 draws of the next token, each with a seed of its own."""
    found = writer(model)
    found.read(SEED)
    shares = np.exp(found.log_probabilities().astype("float64"))
    allowed = np.r_[EOS, 4:38]
    counts = np.zeros(40)
    for seed in range(1500):
        found.choice = Choice(seed=seed)
        counts[found._draw()] += 1
    assert counts.sum() == counts[allowed].sum()
    expected = 1500 * shares[allowed] / shares[allowed].sum()
    common = expected >= 5
    observed = np.append(counts[allowed][common], counts[allowed][~common].sum())
    assert chisquare(observed, np.append(expected[common], expected[~common].sum())).pvalue > 1e-3


@LAYERS
@pytest.mark.parametrize("windows", [WINDOWS, WindowOptions("segments", size=2), WindowOptions("dynamic", tokens=70)])
def test_the_state_after_many_windows_is_that_of_scoring_the_document(model, windows):
    found = writer(model, windows)
    found.read(SEED)
    found.write(3 * ROOM)
    cuts = cut([len(line) for line in found.lines], windows)
    assert len(cuts) > 1
    packed = [PackedWindow([[]] * (end - first), found.lines[first:end], 0, first == 0) for first, _, end in cuts]
    inputs, _ = pack([packed], 8)
    states, _ = model.document_states(inputs, model.initial_memory(1))
    last = int(np.flatnonzero(inputs["target"][0])[-1])
    logits = ops.convert_to_numpy(model.output_embedding.logits(states[:, last]))[0]
    expected = logits - np.logaddexp.reduce(logits)
    np.testing.assert_allclose(found.log_probabilities(), expected, atol=1e-4)


def test_what_a_generator_learnt_goes_on_after_the_beginning():
    """The often copied version reads the prediction at each position of its input, and so repeats the seed text."""
    keras.utils.set_random_seed(1)
    model = TextGenerator(40, layers=1, width=16, hidden=16, heads=2, dropout=0.0)
    model.build()
    line = list(range(4, 24))
    inputs, labels = pack([[PackedWindow([[]], [line], 0, True)]], 1)
    optimizer = keras.optimizers.Adam(0.02)
    import tensorflow as tf

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            found = keras.losses.sparse_categorical_crossentropy(labels, model(inputs), from_logits=True)
            loss = ops.mean(found)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights, strict=True)
        )
        return loss

    for _ in range(60):
        loss = train()
    assert loss < 0.1
    assert written(model, 8, words(line[:5]), temperature=0) == " " + words(line[5:13])


def test_no_sequence_comes_twice(model):
    found = writer(model, temperature=0, no_repeat=2)
    found.read(SEED)
    found.write(60)
    flat = [token for line in found.lines for token in (*line, EOS)]
    pairs = [pair for pair in zip(flat, flat[1:], strict=False) if pair[1] != EOS]
    assert len(pairs) == len(set(pairs))
    free = writer(model, temperature=0)
    free.read(SEED)
    free.write(60)
    flat = [token for line in free.lines for token in (*line, EOS)]
    assert len(set(zip(flat, flat[1:], strict=False))) < len(flat) - 1


def test_repetitions_become_less_likely(model):
    def repeated(**choice):
        ids = [word for word in written(model, 60, **choice).split()]
        return 1 - len(set(ids)) / len(ids)

    assert repeated(temperature=0, repetition_penalty=5.0) < repeated(temperature=0)


@pytest.mark.parametrize("choice", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 0.999}, {"temperature": 1e-3}])
def test_each_restriction_comes_down_to_the_likeliest_token(model, choice):
    assert written(model, 20, **choice) == written(model, 20, temperature=0)


def log_probability(model, text):
    """Of the first line that goes on with SEED."""
    found = writer(model)
    found.read(SEED)
    total = 0.0
    for token in [*Tokenizer().encode([text])[0], EOS]:
        total += found.log_probabilities()[token]
        found._add(token)
    return total


@LAYERS
def test_beams_find_a_likelier_line_than_the_likeliest_tokens_make(model):
    greedy = written(model, 40, temperature=0, no_repeat=0).split("\n")[0]
    found = written(model, 40, beam=6).split("\n")[0]
    lengths = [len(text.split()) + 1 for text in (greedy, found)]
    scores = [
        log_probability(model, text) / ((5 + size) / 6) ** 0.6
        for text, size in zip((greedy, found), lengths, strict=True)
    ]
    assert scores[1] >= scores[0] - 1e-4


def test_lines_end_at_the_longest_that_the_model_reads(model):
    found = writer(model, longest=6, temperature=0)
    found.read("w7 w8")
    found.write(40)
    assert max(map(len, found.lines)) <= 6 and len(found.lines) > 3
    with pytest.raises(UserError, match="lines of up to 6"):
        found.read("\n" + words(range(4, 12)))


@pytest.mark.parametrize(
    "choice",
    [{"temperature": -1}, {"top_p": 0.0}, {"min_p": 1.0}, {"repetition_penalty": 0.5}, {"beam": 2, "top_k": 3}],
)
def test_choices_out_of_range_are_refused(choice):
    with pytest.raises(UserError, match=next(iter(choice)).replace("_", "-")):
        Choice(**choice)


def test_a_state_that_was_changed_or_is_of_another_model_is_refused(model, tmp_path):
    path = tmp_path / "state.json"
    found = writer(model)
    found.read(SEED)
    found.save(path)
    text = path.read_text()
    path.write_text(text.replace('"written": 0', '"written": 1'))
    with pytest.raises(UserError, match="checksum"):
        found.load(path)
    path.write_text("{}")
    with pytest.raises(UserError, match="not a document of this version"):
        found.load(path)
    path.write_text(text)
    other = writer(model)
    other.tokenizer.piece = lambda number: f"x{number}"
    with pytest.raises(UserError, match="another vocabulary"):
        other.load(path)


def test_every_field_of_a_choice_is_an_option_of_the_command():
    from app.cli.main import build_parser

    args = build_parser().parse_args(["generate", "run"])
    own = {field.name: field.default for field in dataclasses.fields(Choice)} | {"penalty_tokens": None}
    assert {name: getattr(args, name, None) for name in own} == own
