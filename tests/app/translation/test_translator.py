import functools
import os
import random
import threading

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.presets.schema import SearchPreset
from app.translation.batch_plan import plan_batches
from app.translation.keras_decoder import Sampling
from app.translation.lines import LineReader
from app.translation.padding import round_length
from app.translation.translator import Translator
from data.cleaning import normalise
from data.errors import UserError
from data.forms import TextForm
from models.transformer import Transformer
from tests.app.copy_model import TEXT, CopyModel, CountingTokenizer, small_tokenizer
from tests.app.decoding import decode

TOKENIZER = small_tokenizer()
MODEL = CopyModel(TOKENIZER.vocabulary_size)
GREEDY = SearchPreset(beam=1, batch_tokens=400)
BEAM = SearchPreset(beam=3, batch_tokens=400)


@functools.cache  # each new one compiles its search
def plain(search) -> Translator:
    return Translator.of_model(MODEL, TOKENIZER, search)


def translator(search=GREEDY, **options) -> Translator:
    return Translator.of_model(MODEL, TOKENIZER, search, **options) if options else plain(search)


SHARED = translator(max_length=40, warn=lambda _: None)


@pytest.mark.parametrize("search", [GREEDY, BEAM])
def test_one_line_in_is_one_line_out_in_the_same_order(search):
    lines = ["", *TEXT, "   \t ", "a", *reversed(TEXT), "\u00a0", "z" * 30]
    expected = [" ".join(line.split()) for line in lines]
    assert translator(search).translate_all(lines) == expected
    assert list(translator(search).translate(lines)) == expected


@settings(max_examples=15)
@given(st.lists(st.text(st.sampled_from("ab. ,\u2028\x85\r\n\x0b\x1c\ta\u0301ß🙂\u200b"), max_size=90), max_size=12))
def test_any_text_gives_as_many_lines(lines):
    found = SHARED.translate_all(lines)
    assert len(found) == len(lines)
    for line, output in zip(lines, found, strict=True):
        assert len(output.splitlines()) <= 1
        assert bool(output) == bool(normalise(line))


def test_a_list_of_nothing_and_of_empty_lines():
    assert SHARED.translate_all([]) == []
    assert list(SHARED.translate(iter([]))) == []
    assert list(SHARED.translate(["", " "])) == ["", ""]


def test_text_is_normalised_and_lower_cased_where_the_model_knows_no_case():
    assert translator().translate_all(["U\u0308ber  ALLES"]) == ["\u00dcber ALLES"]
    assert translator(form=TextForm(lowercase=True)).translate_all(["U\u0308ber  ALLES"]) == ["\u00fcber alles"]


def test_the_first_output_comes_before_the_last_input_is_read():
    read = []

    def source():
        for number in range(1000):
            read.append(number)
            yield f"line {number}"

    output = translator().translate(source())
    assert next(output) == "line 0"
    assert len(read) < 50
    assert list(output) == [f"line {number}" for number in range(1, 1000)]


def test_what_is_in_the_pipe_is_translated_before_more_is_waited_for():
    read, write = os.pipe()
    output = translator().translate(LineReader(read, "pipe"))
    for number in range(3):
        os.write(write, f"line {number}\n".encode())
        assert next(output) == f"line {number}"
    threading.Timer(0.2, lambda: (os.write(write, b"late"), os.close(write))).start()
    assert list(output) == ["late"]


def test_all_lines_before_a_bad_one_are_translated():
    read, write = os.pipe()
    os.write(write, b"one\ntwo\nthr\xe9e\nfour\n")
    os.close(write)
    output = translator().translate(LineReader(read, "in.txt"))
    assert [next(output), next(output)] == ["one", "two"]
    with pytest.raises(UserError, match="in.txt, line 3: not valid UTF-8"):
        next(output)


def test_long_lines_are_split_and_never_cut_with_one_warning():
    warnings = []
    long = " ".join(TEXT * 3)
    lines = ["short", long, "x" * 100, long]
    found = list(translator(max_length=30, warn=warnings.append).translate(lines))
    assert found[0] == "short"
    assert found[1] == found[3] == long
    assert found[2].replace(" ", "") == "x" * 100
    assert len(warnings) == 1
    assert "line 2 has " in warnings[0]
    assert "takes 30" in warnings[0]


def test_long_lines_are_split_at_sentences():
    counting = CountingTokenizer(TOKENIZER)
    limit = max(len(ids) for ids in TOKENIZER.source.encode(TEXT))
    Translator.of_model(MODEL, counting, GREEDY, max_length=limit, warn=lambda _: None).translate_all([" ".join(TEXT)])
    assert counting.seen[-len(TEXT) :] == TEXT


def test_the_warning_goes_to_standard_error(capsys):
    assert list(translator(max_length=20).translate(TEXT)) == TEXT
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: line 1 has ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_output_ends_at_the_limit_of_the_search():
    ids = TOKENIZER.source.encode([TEXT[0]])[0]
    search = SearchPreset(beam=1, max_ratio=0.25, max_extra=3, batch_tokens=400)
    found = translator(search).translate_all([TEXT[0]])[0]
    assert TOKENIZER.source.encode([found])[0] == ids[: int(0.25 * len(ids)) + 3]


def test_n_best_translations_come_in_falling_order():
    found = list(translator(BEAM).nbest(["", *TEXT], 3))
    assert found[0] == [("", 0.0)]
    for line, hypotheses in zip(TEXT, found[1:], strict=True):
        scores = [hypothesis.score for hypothesis in hypotheses]
        assert hypotheses[0].text == line
        assert len(hypotheses) == 3
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > scores[1]
    with pytest.raises(UserError, match="search.beam = 4 or more"):
        next(translator(BEAM).nbest(TEXT, 4))


def test_n_best_of_a_line_in_parts_is_made_of_its_parts():
    line = " ".join(TEXT)
    found = next(translator(BEAM, max_length=25, warn=lambda _: None).nbest([line], 2))
    assert found[0].text == line
    assert len(found) == 2
    assert found[0].score > found[1].score


def test_scores_are_what_the_model_says():
    lines = [TEXT[0], "", TEXT[1]]
    found = translator().score_pairs(lines, lines)
    wrong = translator().score_pairs(lines, [TEXT[1], "", TEXT[0]])
    for line, score, other in zip(lines, found, wrong, strict=True):
        tokens = len(TOKENIZER.source.encode([line])[0]) + 1
        assert score.tokens == tokens
        assert score.log_probability == pytest.approx(tokens * np.log(0.9), rel=1e-4)
        assert other.log_probability <= score.log_probability
    with pytest.raises(UserError, match="3 source lines and 1 target lines"):
        translator().score_pairs(lines, ["x"])


def test_the_score_of_a_translation_is_the_score_of_the_pair():
    greedy = [found[0].score for found in translator().nbest(TEXT, 1)]
    forced = [score.log_probability for score in translator().score_pairs(TEXT, TEXT)]
    assert greedy == pytest.approx(forced, rel=1e-4)


def test_drawing_depends_on_the_seed_alone():
    def draw(seed, **options):
        unsure = CopyModel(TOKENIZER.vocabulary_size, sure=0.5)
        drawing = Translator.of_model(unsure, TOKENIZER, GREEDY, sampling=Sampling(seed=seed, **options))
        return [[found.text for found in line] for line in drawing.nbest(TEXT[:2], 4)]

    first = draw(1)
    assert draw(1) == first != draw(2)
    assert len(set(first[0])) > 1
    assert draw(3, top_k=1) == [[line] * 4 for line in TEXT[:2]]
    assert draw(3, top_p=0.4) == [[line] * 4 for line in TEXT[:2]]


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_sampling_options_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", "-")):
        Sampling(**wrong)


def test_a_model_with_broken_weights_is_an_error_and_no_text():
    broken = CopyModel(TOKENIZER.vocabulary_size)
    broken.margin = float("nan")
    with pytest.raises(UserError, match="take another checkpoint"):
        Translator.of_model(broken, TOKENIZER, GREEDY).translate_all(TEXT)
    with pytest.raises(UserError, match="take another checkpoint"):
        Translator.of_model(broken, TOKENIZER, GREEDY).score_pairs(TEXT, TEXT)


def test_progress_grows_to_one():
    shares = []
    translator().translate_all([*TEXT * 10, ""], shares.append)
    assert len(shares) > 2
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_tokens_are_counted_with_their_ends():
    counted = translator()
    before = counted.output_tokens
    counted.translate_all(["", *TEXT])
    assert counted.output_tokens - before == sum(len(ids) + 1 for ids in TOKENIZER.source.encode(TEXT))


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(10, 200))
def test_batches_hold_every_sequence_once_within_the_budget(lengths, budget):
    batches = list(plan_batches(lengths, budget, round_length))
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        padded = -(-max(lengths[row] for row in rows) // 8) * 8
        assert len(rows) == 1 or len(rows) * padded <= budget


@pytest.fixture(scope="module")
def transformer():
    keras.utils.set_random_seed(1)
    model = Transformer(TOKENIZER.vocabulary_size, 1, 1, width=16, hidden=16, heads=2, dropout=0.5)
    model.build()
    return model


@pytest.fixture(scope="module")
def searching(transformer):
    search = SearchPreset(beam=3, max_ratio=1.0, max_extra=4, length_penalty=0.0, batch_tokens=200)
    return Translator.of_model(transformer, TOKENIZER, search)


def test_a_line_is_translated_the_same_in_any_company(searching):
    lines = [*TEXT, "a", "bc", " ".join(TEXT[:2])]
    expected = [[found.text for found in line] for line in searching.nbest(lines, 3)]
    shuffled = random.Random(3).sample(lines, len(lines))
    for line, found in zip(shuffled, searching.nbest(shuffled, 3), strict=True):
        assert [hypothesis.text for hypothesis in found] == expected[lines.index(line)]
    for line, texts in zip(lines, expected, strict=True):
        assert [hypothesis.text for hypothesis in next(searching.nbest([line], 3))] == texts


def test_beam_scores_are_the_teacher_forced_ones(searching):
    sources = TOKENIZER.source.encode(TEXT)
    for source, found in zip(sources, decode(searching.decoder, sources, 3), strict=True):
        forced = searching.decoder.score([source] * 3, [decoded.ids for decoded in found])
        assert [s.log_probability for s in forced] == pytest.approx([d.score for d in found], abs=1e-3)


def test_weights_that_change_are_used_at_once_and_nothing_is_compiled_again(transformer):
    traces = []

    class Watched:
        variables = transformer.variables
        step = staticmethod(transformer.step)

        def initial_state(self, source, max_length):
            traces.append(source.shape)
            return transformer.initial_state(source, max_length)

    watching = Translator.of_model(
        Watched(), TOKENIZER, SearchPreset(beam=1, max_ratio=1.0, max_extra=2, batch_tokens=200)
    )
    before = watching.translate_all(TEXT)
    values = [variable.numpy() for variable in transformer.variables]
    table = max(transformer.trainable_variables, key=lambda variable: variable.shape[0])
    table.assign(-table.numpy()[::-1])
    after = watching.translate_all([*TEXT, "a"])
    for variable, value in zip(transformer.variables, values, strict=True):
        variable.assign(value)
    assert after[:4] != before
    assert watching.translate_all(TEXT) == before
    if keras.backend.backend() == "tensorflow":
        assert len(traces) == 1


def test_learned_positions_limit_lines_and_outputs():
    keras.utils.set_random_seed(1)
    model = Transformer(
        TOKENIZER.vocabulary_size, 1, 1, width=16, hidden=16, heads=2, positions="learned", max_positions=24
    )
    model.build()
    warnings = []
    limited = Translator.of_model(model, TOKENIZER, GREEDY, warn=warnings.append)
    assert len(limited.translate_all([" ".join(TEXT)])) == 1
    assert "the model takes 23" in warnings[0]
    with pytest.raises(UserError, match="line 2 has more tokens than the 23"):
        limited.score_pairs(["a", "b"], ["a", " ".join(TEXT)])
