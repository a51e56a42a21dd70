"""Equal to `torch.nn.Transformer` and to Hugging Face's Marian with copied weights."""

import numpy as np
import pytest

from models.positions import sinusoidal_positions
from models.search import greedy
from models.transformer import Transformer
from tests.models.copied_weights import array, marian_weights, randomise, torch_weights

pytestmark = pytest.mark.backends
VOCABULARY, WIDTH, HIDDEN, HEADS, LAYERS = 30, 12, 20, 3, 2
SOURCE = np.array([[5, 9, 7, 3], [8, 4, 3, 0]])
TARGET = np.array([[2, 9, 7, 10, 6], [2, 8, 4, 0, 0]])
REAL = TARGET != 0
REASON = "{} is not installed; the extra `backends` brings it"


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason=REASON.format("torch"))


def make(**settings):
    model = Transformer(VOCABULARY, LAYERS, LAYERS, WIDTH, HIDDEN, HEADS, **settings)
    model.build()
    return randomise(model)


def torch_transformer(torch, norm, activation):
    """Their whole Transformer. It normalises once more at the end of each stack, which post-norm does not want."""
    settings = {"dropout": 0.0, "activation": activation, "batch_first": True, "norm_first": norm == "pre"}
    theirs = torch.nn.Transformer(WIDTH, HEADS, LAYERS, LAYERS, HIDDEN, **settings)
    if norm == "post":
        theirs.encoder.norm = theirs.decoder.norm = None
    return theirs.eval()


@pytest.mark.parametrize("norm,activation", [("post", "relu"), ("pre", "gelu")])
def test_torch_transformer(torch, norm, activation):
    model = make(norm=norm, activation=activation)
    theirs = torch_transformer(torch, norm, activation)
    theirs.load_state_dict({name: torch.tensor(values) for name, values in torch_weights(model).items()})
    table = array(model.source_embedding.table)

    def embed(tokens):
        places = array(sinusoidal_positions(np.arange(tokens.shape[1]), WIDTH))
        return torch.tensor(table[tokens] * np.float32(WIDTH**0.5) + places)

    with torch.no_grad():
        states = theirs(
            embed(SOURCE),
            embed(TARGET),
            tgt_mask=~torch.tensor(np.tri(TARGET.shape[1], dtype=bool)),
            src_key_padding_mask=torch.tensor(SOURCE == 0),
            tgt_key_padding_mask=torch.tensor(TARGET == 0),
            memory_key_padding_mask=torch.tensor(SOURCE == 0),
        ).numpy()
    logits = array(model({"source": SOURCE, "target": TARGET}))
    np.testing.assert_allclose(logits[REAL], (states @ table.T)[REAL], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def marian(torch):
    """A post-norm Transformer of ours, and Marian with its weights."""
    transformers = pytest.importorskip("transformers", reason=REASON.format("transformers"))
    model = make()
    settings = {
        "vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "scale_embedding": True,
        "activation_function": "relu",
        "max_position_embeddings": 16,
        "pad_token_id": 0,
        "eos_token_id": 3,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
        "tie_word_embeddings": True,
    }
    for side in ("encoder", "decoder"):
        sizes = {"layers": LAYERS, "attention_heads": HEADS, "ffn_dim": HIDDEN}
        settings.update({f"{side}_{name}": size for name, size in sizes.items()})
    theirs = transformers.MarianMTModel(transformers.MarianConfig(**settings)).eval()
    missing, unknown = theirs.load_state_dict(
        {name: torch.tensor(values) for name, values in marian_weights(model).items()}, strict=False
    )
    assert not unknown and all("embed_positions" in name for name in missing), (missing, unknown)
    # Marian has all sines before all cosines. Which column holds which does not matter to a model, so ours are put in.
    places = torch.tensor(array(sinusoidal_positions(np.arange(16), WIDTH)))
    for side in (theirs.model.encoder, theirs.model.decoder):
        side.embed_positions.weight.data.copy_(places)
    return model, theirs


def test_marian_logits(torch, marian):
    model, theirs = marian
    with torch.no_grad():
        logits = theirs(
            input_ids=torch.tensor(SOURCE),
            attention_mask=torch.tensor(SOURCE != 0),
            decoder_input_ids=torch.tensor(TARGET),
            decoder_attention_mask=torch.tensor(TARGET != 0),
        ).logits.numpy()
    ours = array(model({"source": SOURCE, "target": TARGET}))
    np.testing.assert_allclose(ours[REAL], logits[REAL], rtol=1e-5, atol=1e-5)


def test_marian_greedy_search(torch, marian):
    model, theirs = marian
    with torch.no_grad():
        found = theirs.generate(
            torch.tensor(SOURCE),
            attention_mask=torch.tensor((SOURCE != 0).astype("int64")),
            num_beams=1,
            do_sample=False,
            max_new_tokens=8,
            suppress_tokens=[0, 2],
        )[:, 1:].numpy()
    tokens = array(greedy(model.step, model.initial_state(SOURCE, 9), len(SOURCE), 9, bos=2, eos=3).tokens)
    length = min(found.shape[1], 8)
    np.testing.assert_array_equal(tokens[:, :length], found[:, :length])
    assert (tokens[:, :length] != 0).sum() > 4
