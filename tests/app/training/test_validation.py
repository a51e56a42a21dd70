from types import SimpleNamespace

import pytest

from app.presets.preset import load_preset
from app.scoring.metrics import bleu
from app.training.validation import Translations, WrittenText
from data.pairs import Pair
from tests.app.copy_model import TEXT, CopyModel, small_tokenizer

LOWERED = [line.lower() for line in TEXT]


@pytest.mark.parametrize(
    ("changes", "expected", "shown"),
    [
        (["bleu_lines=0"], bleu(TEXT, LOWERED).value, len(TEXT) // 2),
        (["bleu_lines=0", "lowercase=true"], 100.0, len(TEXT) // 2),
        (["bleu_lines=1"], bleu(TEXT[:1], LOWERED[:1]).value, 0),
    ],
)
def test_bleu_and_a_sample_are_those_of_what_the_model_translates(changes, expected, shown):
    """A model that copies translates by copying."""
    tokenizer, pairs = small_tokenizer(), [Pair(line, line.lower()) for line in TEXT]
    prepared = SimpleNamespace(validation_pairs=pairs, tokenizer=tokenizer)
    preset = load_preset("starter", ["copy=[]", "capitals=false", *changes])
    found = Translations(CopyModel(tokenizer.vocabulary_size), prepared, preset)()
    assert found["bleu"] == pytest.approx(expected)
    output = TEXT[shown].lower() if "lowercase=true" in changes else TEXT[shown]
    assert found["sample"] == {"source": TEXT[shown], "reference": LOWERED[shown], "output": output}


@pytest.mark.parametrize("longest", [2, 4, 256])
def test_a_generator_continues_no_more_than_it_can_read(longest):
    model = SimpleNamespace(initial_memory=lambda batch: {})
    prepared = SimpleNamespace(validation_pairs=[Pair("", " ".join(TEXT))], tokenizer=small_tokenizer())
    changes = ["copy=[]", "capitals=false", f"max_length={longest}"]
    found = WrittenText(model, prepared, load_preset("generator", changes))
    found.writer.read(found.beginning)
    assert sum(map(len, found.writer.lines)) < longest
    assert bool(found.beginning) == (longest > 4)
    assert " ".join(TEXT).startswith(f"{found.beginning} {found.reference}".strip())
