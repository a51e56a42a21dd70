"""The weight of a language model: the highest BLEU, and of equal ones the smallest."""

from app.scoring.bootstrap import Measure
from app.scoring.fusion import Weighed, best


def rows(*figures):
    return [Weighed(weight, Measure("BLEU", figure, None, None, "segments", 9)) for weight, figure in figures]


def test_the_highest_bleu_wins_whatever_the_order():
    assert best(rows((0.0, 20.0), (0.05, 21.5), (0.1, 22.0), (0.2, 19.0))).weight == 0.1
    assert best(rows((0.0, 23.0), (0.1, 22.0))).weight == 0.0


def test_a_model_that_changes_nothing_is_not_listened_to():
    assert best(rows((0.0, 20.0), (0.05, 20.0), (0.1, 20.0))).weight == 0.0
