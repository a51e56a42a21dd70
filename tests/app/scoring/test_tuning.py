"""Retrieval's settings and gate: likelihoods against plain sums, and a gate that learns what helps."""

import numpy as np
import pytest

from app.scoring.metrics import bleu_by_position
from app.scoring.misplaced import misplaced
from app.scoring.tuning import Readings, apart, candidates, learn_gate
from models.memories import settings_of

Settings = settings_of("retrieval")


def readings(rows=4000):
    """Near neighbours are right, far ones are wrong, and the model is unsure of all."""
    draw = np.random.default_rng(1)
    distances = np.sort(draw.random((rows, 16)).astype("float32") * 2, axis=1)
    right = draw.integers(5, 50, rows).astype("int32")
    tokens = np.where(distances < 0.5, right[:, None], 60).astype("int32")
    log_probs = np.log(draw.uniform(0.05, 0.3, rows)).astype("float32")
    return Readings(distances, tokens, right, log_probs, np.maximum(log_probs, -1.0))


def test_losses_are_those_of_the_mixture_and_the_best_comes_first():
    found, read = candidates(readings(300), Settings()), readings(300)
    assert [each.loss for each in found] == sorted(each.loss for each in found)
    for candidate in (found[0], found[-1]):
        own, total = candidate.settings, 0.0
        near = read.nearest(own.neighbours)
        for row in range(300):
            shares = np.exp(-near.distances[row] / own.temperature)
            share = shares[near.tokens[row] == read.right[row]].sum() / shares.sum()
            gate = own.weight * max(0.0, 1 - near.distances[row, 0] / own.threshold)
            total -= np.log((1 - gate) * np.exp(read.log_probs[row]) + gate * share + 1e-9)
        assert candidate.loss == pytest.approx(total / 300, rel=1e-4)
    best = apart(found, 4)
    assert best[0] is found[0] and len({each.settings.threshold for each in best}) == 4


def test_a_gate_learns_that_near_neighbours_are_right():
    read = readings().nearest(8)
    gate, loss = learn_gate(read)
    assert loss < -read.log_probs.mean() - 0.3 and loss < candidates(readings(), Settings())[0].loss + 0.05
    assert learn_gate(read)[0].bias == pytest.approx(gate.bias, abs=1e-3)


def test_what_is_taken_over_is_right_only_where_the_reference_has_it():
    references = [["ein roter Hund bellt", "ein roter Kater schläft", "ein Haus"]]
    own = [["ein roter Hund", "ein roter Hund schläft", "ein Haus"]]
    found = misplaced(own, references, [["x", "ein roter Kater", "y"]], samples=0)
    # Of the second segment: "ein roter" belongs there; "roter Hund" and "ein roter Hund" do not.
    assert found.value == pytest.approx(100 * 2 / 3)
    assert found.comparison.baseline == 0.0


def test_buckets_count_the_segments_corrected_before():
    references = [["der rote Hund bellt laut"] * 6, ["die alte Katze schläft fest"] * 2]
    right, wrong = references, [["falsch ist das hier alles"] * 6, references[1]]
    found = bleu_by_position(right, references, wrong)
    assert [(str(part), part.lines) for part in found] == [("0", 2), ("1-3", 4), ("4-7", 2)]
    assert all(part.bleu == pytest.approx(100) for part in found)
    assert found[2].baseline < 5 < found[0].baseline
