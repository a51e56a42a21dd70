"""An imported checkpoint does what Hugging Face's Marian does with it: logits, searches and tokens."""

import numpy as np
import pytest
from keras import ops

from app.imports.marian import import_marian
from app.imports.marian_tokenizer import read_vocabulary
from app.presets.schema import SearchPreset
from app.translation.keras_decoder import KerasDecoder
from tests.app.decoding import decode
from tests.app.imports.toy_marian import CONFIG, SIZE, write_checkpoint
from tests.app.toy_training import WORDS

pytestmark = pytest.mark.backends
REASON = "{} is not installed; the extra `backends` brings it"
LENGTHS = [1 + number % 12 for number in range(36)]
LIMIT = 20


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason=REASON.format("torch"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("marian") / "opus")


@pytest.fixture(scope="module")
def theirs(torch, folder):
    transformers = pytest.importorskip("transformers", reason=REASON.format("transformers"))
    return transformers.MarianMTModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def run(folder):
    return import_marian(folder, folder.parent / "run", ["training.precision=float32"])[0]


@pytest.fixture(scope="module")
def order(folder):
    """Our id of each of their ids."""
    rows = read_vocabulary(folder, CONFIG).rows
    found = np.zeros(SIZE, int)
    for ours, row in reversed(list(enumerate(rows))):
        found[row] = ours
    return found


@pytest.fixture(scope="module")
def sources(order):
    """Random sentences: theirs, padded and with end tokens (B, S), and ours without."""
    draw = np.random.default_rng(6)
    texts = [draw.integers(2, SIZE - 1, size=length) for length in LENGTHS]
    padded = np.full((len(texts), max(LENGTHS) + 1), SIZE - 1)
    for row, text in zip(padded, texts, strict=True):
        row[: len(text) + 1] = [*text, 0]
    return padded, [order[text].tolist() for text in texts]


def test_logits_are_equal(torch, theirs, run, order, sources):
    padded, _ = sources
    targets = np.random.default_rng(7).integers(2, SIZE - 1, size=(len(padded), 8))
    targets[:, 0] = SIZE - 1
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(padded),
            attention_mask=torch.tensor(padded != SIZE - 1),
            decoder_input_ids=torch.tensor(targets),
        ).logits.numpy()
    ours = order[targets]
    ours[:, 0] = 2  # begins the sequence, as the padding does in Marian
    model = run.load_model()
    logits = ops.convert_to_numpy(model({"source": order[padded], "target": ours}))
    pieces = order[:-1]  # all but padding, the last of theirs
    np.testing.assert_allclose(logits[..., pieces], expected[..., :-1], rtol=1e-5, atol=1e-5)
    never = np.delete(logits, pieces, axis=-1)
    assert never.shape[-1] == logits.shape[-1] - SIZE + 1 and (never < expected.min(axis=-1, keepdims=True) - 40).all()


@pytest.mark.parametrize("beam, alpha", [(1, 1.0), (4, 1.0), (4, 0.0), (4, 0.6)])
def test_searches_find_the_same(torch, theirs, run, order, sources, beam, alpha):
    padded, ours = sources
    # As `renormalize_logits` of OPUS-MT's configurations does, which here would leave out the first end token as well.
    theirs.final_logits_bias[0, SIZE - 1] = -1e4
    with torch.no_grad():
        generated = theirs.generate(
            torch.tensor(padded),
            attention_mask=torch.tensor((padded != SIZE - 1).astype("int64")),
            num_beams=beam,
            do_sample=False,
            length_penalty=alpha,
            early_stopping=False,
            max_new_tokens=LIMIT,
            min_new_tokens=1,
            bad_words_ids=[[1]],
        ).numpy()
    limits = {"max_ratio": 1e-9, "max_extra": LIMIT - 1, "refuse_loops": False}
    search = SearchPreset(beam=beam, length_penalty=alpha, length_offset=0.0, **limits)
    decoder = KerasDecoder(run.load_model(), search)
    compared, others = [], []
    for source, (output,), row in zip(ours, decode(decoder, ours), generated, strict=True):
        length = int(np.argmax(row[1:] == 0)) + 1
        # At the limit Marian stops with any token, and our search with the end token.
        if row[length] == 0 and max(length, len(output.ids) + 1) < LIMIT:
            compared.append(length)
            expected = order[row[1:length]].tolist()
            if output.ids != expected:
                (score,) = decoder.score([source], [expected])
                others.append(output.score - score.log_probability / length**alpha)
    assert len(compared) >= 10 and max(compared) > 5
    # The two end a beam search by other rules: ours has then found a better output.
    assert len(others) <= (beam > 1) and all(difference > 1e-4 for difference in others)


def test_text_becomes_the_same_tokens_and_comes_back(theirs, run, folder, order):
    import transformers

    tokenizer, marian = run.tokenizer(), transformers.MarianTokenizer.from_pretrained(folder)
    # The source's model lacks "ß", which the vocabulary has from the target's.
    sources = ["the red dog sees a big tree .", "never  the dog", "zebra \u4e2d x", "the gro\u00dfe dog"]
    ids = dict(zip(read_vocabulary(folder, CONFIG).pieces, range(SIZE), strict=False))
    assert "\u00df" in ids and ids["\u00df"] in tokenizer.source.encode(sources)[3]
    targets = [" ".join(WORDS[word] for word in ("the", "old", "cat", "finds", "house")), "gro\u00dfe hund \u00df"]
    expected = marian(sources)["input_ids"], marian(text_target=targets)["input_ids"]
    for side, texts, ids in zip((tokenizer.source, tokenizer.target), (sources, targets), expected, strict=True):
        assert side.encode(texts) == [order[own[:-1]].tolist() for own in ids]
    found = tokenizer.target.decode(tokenizer.target.encode(targets[:1]))
    assert found == marian.batch_decode(expected[1][:1], skip_special_tokens=True) == targets[:1]
