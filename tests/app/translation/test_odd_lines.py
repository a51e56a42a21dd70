"""Odd lines through whole translators whose models know nothing: nothing is lost or doubled, on every engine."""

import functools
import re
import xml.sax

import keras
import numpy as np
import pytest

from app.presets.schema import SearchPreset
from app.translation.decoder import Decoded, Sampling
from app.translation.faults import choose, cut_loops, has_loop, is_complete
from app.translation.translator import Translator
from data.cleaning import normalise
from data.forms import TextForm
from data.spans import KINDS, PIECES, SpanFinder, has_words, piece
from data.tokenizer import Tokenizer
from models.transformer import Transformer
from tests.app.copy_model import TEXT
from tests.app.decoding import decode
from tests.app.odd_lines import LINES

FORM = TextForm(copy=KINDS, capitals=True)
FINDER = SpanFinder()


@functools.cache
def tokenizer():
    return Tokenizer.train(TEXT * 3, 352, seed=0, symbols=[piece(n) for n in range(1, PIECES + 1)])


@functools.cache
def model():
    keras.utils.set_random_seed(5)
    found = Transformer(tokenizer().vocabulary_size, 1, 1, width=16, hidden=32, heads=2)
    found.build()
    draw = np.random.default_rng(3)
    for variable in found.trainable_variables:
        variable.assign_add(0.4 * draw.standard_normal(variable.shape).astype("float32"))
    return found


@functools.cache
def translator(beam, sampling=None):
    search = SearchPreset(beam=beam, batch_tokens=2000, max_ratio=1.0, max_extra=4)
    return Translator.of_model(
        model(), tokenizer(), search, sampling=sampling, form=FORM, max_length=100, warn=lambda _: None
    )


def check(lines, translations):
    assert len(lines) == len(translations)
    for line, found in zip(lines, translations, strict=True):
        assert len(found.splitlines()) <= 1
        text = normalise(line)
        if not has_words(FINDER.mark(text).text):
            assert found == text
        for span in {span.text for span in FINDER.find(text)}:
            wanted = [s.text for s in FINDER.find(text)].count(span)
            assert found.count(span) >= wanted, (line, span, found)
        assert bool(found) == bool(text)
        if re.search(r"</\w+>", text) and "</s>" not in text:
            tags = "".join(s.text for s in FINDER.find(found) if s.kind == "tags")
            xml.sax.parseString(f"<root>{tags}</root>".encode(), xml.sax.ContentHandler())


@pytest.mark.parametrize("beam", [1, 3])
def test_nothing_is_lost_or_doubled(beam):
    check(LINES, translator(beam).translate_all(LINES))


def test_each_line_is_the_same_alone_as_in_a_batch():
    together = translator(3).translate_all(LINES)
    for number in range(0, len(LINES), 3):
        assert translator(3).translate_all([LINES[number]]) == [together[number]]


def test_draws_keep_what_must_be_copied():
    check(LINES, translator(1, Sampling(temperature=0.9, seed=4)).translate_all(LINES))


def test_other_hypotheses_keep_it_too():
    for line, hypotheses in zip(LINES, translator(3).nbest(LINES, 3), strict=True):
        for hypothesis in hypotheses:
            check([line], [hypothesis.text])


def test_documents_keep_it():
    found = list(translator(1).translate_documents([LINES[:40], LINES[40:]]))
    check(LINES, [*found[0], *found[1]])


def test_scores_are_the_model_s_own_whatever_had_to_come():
    found = translator(1)
    sources = [line.parts[0].ids for line in found.encoder.lines(["Copy %s to /tmp now", "the 5 files"])]
    outputs = [group[0] for group in decode(found.decoder, sources)]
    again = found.decoder.score(sources, [output.ids for output in outputs])
    assert [output.score for output in outputs] == pytest.approx([one.log_probability for one in again], abs=1e-3)


def test_a_loop_that_the_source_has_not_is_a_fault():
    assert has_loop([7, 8, 9, 9, 9], [7, 8, 9]) and not has_loop([7, 9, 9], [7])
    assert has_loop([1, 2, 1, 2, 1, 2], [5, 5]) and not has_loop([1, 2, 1, 2, 1, 2], [3, 4, 3, 4, 3, 4])
    assert cut_loops([5, 1, 2, 1, 2, 1, 2, 6], []) == [5, 1, 2, 6]
    assert cut_loops([1, 1, 1, 1, 1], [4, 4]) == [1, 1]
    assert cut_loops([], []) == []


def test_the_next_hypothesis_takes_the_place_of_one_with_a_fault():
    good, looping, doubled = Decoded([50, 9], -3.0), Decoded([50, 7, 7, 7], -1.0), Decoded([50, 50], -2.0)
    asked = []

    def again(rows):
        asked.append(rows)
        return [[looping, doubled, good] for _ in rows]

    found = choose([[looping], [good], [doubled]], [[50, 5]] * 3, range(50, 60), again)
    assert found == [[looping._replace(ids=[50, 7])], [good], [good]] and asked == [[2]]
    both = choose([[looping, good]], [[50, 5]], range(50, 60), again)
    assert both == [[good, looping._replace(ids=[50, 7])]] and asked == [[2]]
    # A second search may give more than were asked for.
    assert choose([[doubled]], [[50, 5]], range(50, 60), lambda rows: [[good, doubled]]) == [[good]]
    assert choose([[looping]], [[50]], range(50, 60)) == [[looping._replace(ids=[50, 7])]]
    assert choose([[looping]], [[50]], range(50, 60), refuse_loops=False) == [[looping]]
    assert is_complete([50, 4], [50], range(50, 60)) and not is_complete([51, 50], [50], range(50, 60))


@pytest.mark.parametrize("beam", [1, 3])
def test_ctranslate2_keeps_it_as_well(tmp_path, beam):
    pytest.importorskip("ctranslate2")
    from app.export.ctranslate2 import SETTINGS, save
    from app.translation.ctranslate2 import CTranslate2Decoder
    from data.files import write_manifest

    save(model(), tokenizer(), tmp_path)
    write_manifest(tmp_path / SETTINGS, {"max_positions": 1024, "quantization": "float32"})
    search = SearchPreset(beam=beam, max_ratio=1.0, max_extra=4)
    decoder = CTranslate2Decoder(tmp_path, search)
    found = Translator(decoder, tokenizer(), form=FORM, max_length=100, warn=lambda _: None)
    check(LINES, found.translate_all(LINES))
