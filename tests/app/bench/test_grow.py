import numpy as np
import pytest

from app.bench.grow import UNUSED_LOGIT, grow
from app.bench.vocabulary import filled_up
from app.runs.run import AVERAGED, TOKENIZER, Run
from app.runs.weights import read_variables, save_arrays, split_variables
from data.errors import UserError
from data.tokenizer import Tokenizer
from tests.app.toy_training import WORDS, toy_preset


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([f"{en} {de}" for en, de in WORDS.items()] * 9, 300, "bpe", 1)


def random_run(folder, tokenizer, *changes):
    """A run whose every weight, biases and norms included, is random."""
    folder.mkdir(exist_ok=True)
    run = Run.create(folder / "small", toy_preset(folder, *changes))
    tokenizer.save(run.path / TOKENIZER)
    draw = np.random.default_rng(1)
    found = read_variables(split_variables(run.new_model(tokenizer.vocabulary_size))[0])
    found = {name: draw.normal(0.0, 0.3, array.shape).astype("float32") for name, array in found.items()}
    run.write_summary(averaged={"updates": [1], "checksum": save_arrays(run.path / AVERAGED, found)})
    return run


@pytest.mark.parametrize("changes", [(), ("tie=none", "positions=rotary"), ("tie=target", "positions=learned")])
def test_a_grown_model_computes_what_the_small_one_does(tmp_path, tokenizer, changes):
    small = random_run(tmp_path, tokenizer, *changes)
    large = grow(small, tmp_path / "large", layers=3, vocabulary=350)
    size = tokenizer.vocabulary_size
    draw = np.random.default_rng(2)
    lengths = {"source": 7, "target": 5}
    batch = {side: draw.integers(3, size, (4, length)).astype("int32") for side, length in lengths.items()}
    batch["source"][0, 4:] = 0
    before, after = (np.asarray(run.load_model()(batch)) for run in (small, large))
    assert large.preset.model.width == 2 * small.preset.model.width and after.shape[-1] == 350
    np.testing.assert_allclose(after[..., :size], before, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(after[..., size:], UNUSED_LOGIT, rtol=1e-3)


def test_what_cannot_grow_says_why(tmp_path, tokenizer):
    with pytest.raises(UserError, match="only pre-norm"):
        grow(random_run(tmp_path / "post", tokenizer, "norm=post"), tmp_path / "large", 3, 350)
    with pytest.raises(UserError, match="more than 1 layers or 290 pieces"):
        grow(random_run(tmp_path / "pre", tokenizer), tmp_path / "large", 1, 290)


def test_a_filled_vocabulary_encodes_and_decodes_as_before(tokenizer):
    larger = filled_up(tokenizer, 350)
    texts = ["the red dog", "große katze", "xyz <unused 3>"]
    assert larger.vocabulary_size == 350
    assert larger.source.encode(texts) == tokenizer.source.encode(texts)
    assert larger.source.decode(tokenizer.source.encode(texts)) == tokenizer.source.decode(
        tokenizer.source.encode(texts)
    )
    assert larger.pieces()[: tokenizer.vocabulary_size] == tokenizer.pieces()
    with pytest.raises(ValueError, match="more than"):
        filled_up(larger, 310)
