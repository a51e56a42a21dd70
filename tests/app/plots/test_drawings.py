"""What the figures show, on numbers written by hand: curves, maps and titles say what the numbers say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.comparison.systems import draw_costs, draw_systems, scored_texts
from app.plots.document import draw_gates, draw_slots
from app.plots.learning import HOURS, draw_learning
from app.plots.scores import LENGTH, POSITION, buckets, draw_scores
from app.plots.sentence import draw_alignment, draw_attention
from app.scoring.metrics import LengthScore
from app.translation.attention import Attention

pytest.importorskip("matplotlib")


def drawn(draw, *arguments):
    """The figure that a function draws, laid out as for a file."""
    from matplotlib.figure import Figure

    figure = Figure()
    draw(figure, *arguments)
    figure.draw_without_rendering()
    return figure


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def curves(axis):
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


LOG = [
    {"update": 10, "nll": 5.0},
    {"update": 20, "nll": 4.0},
    {"update": 20, "validation": {"nll": 4.5, "bleu": 3.0}},
    {"update": 30, "nll": 3.0},
    {"update": 40, "validation": {"nll": 4.25, "bleu": 7.5}},
]


def test_learning_curves_are_those_of_the_log():
    figure = drawn(draw_learning, {"one": LOG})
    loss, bleu = figure.axes
    assert curves(loss) == {
        "training,\nwith dropout": [[10, 5], [20, 4], [30, 3]],
        "validation": [[20, 4.5], [40, 4.25]],
    }
    assert curves(bleu) == {"validation": [[20, 3.0], [40, 7.5]]}
    assert "Validation loss is lowest, 4.25 nats a token, after 40 updates" in texts(figure)


def test_the_learning_curves_of_runs_are_told_apart():
    other = [{"update": 5, "nll": 2.0}, {"update": 5, "validation": {"nll": 1.5}}]
    figure = drawn(draw_learning, {"one": LOG, "other": other, "begun": other[:1]})
    loss, _ = figure.axes
    assert len(curves(loss)) == 5 and "other: validation" in curves(loss) and "begun: validation" not in curves(loss)
    validation = [line for line in loss.lines if "validation" in line.get_label()]
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in validation}) == 2
    assert "Validation loss is lowest, 1.50 nats a token, after 5 updates, with other" in texts(figure)


def test_learning_curves_against_hours_tell_which_run_is_better_after_the_same_time():
    slow = [{**entry, "seconds": 720.0 * entry["update"]} for entry in LOG]
    fast = [{**entry, "seconds": 180.0 * entry["update"]} for entry in LOG]
    figure = drawn(draw_learning, {"slow": slow, "fast": fast}, HOURS)
    loss, bleu = figure.axes
    assert curves(loss)["slow: training,\nwith dropout"] == [[2, 5], [4, 4], [6, 3]]
    assert curves(bleu) == {"slow: validation": [[4, 3.0], [8, 7.5]], "fast: validation": [[1, 3.0], [2, 7.5]]}
    assert "hours of training" in texts(figure)
    assert "Validation loss is lowest, 4.25 nats a token, after 2 hours, with fast" in texts(figure)


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=300))
def test_however_long_a_log_its_mean_loss_stays(losses):
    from app.plots.learning import _training

    log = [{"update": number, "nll": loss} for number, loss in enumerate(losses, start=1)]
    updates, means = _training(log)
    assert len(means) <= 80 and updates == sorted(updates)
    assert min(losses) - 1e-9 <= min(means) and max(means) <= max(losses) + 1e-9
    if len(losses) <= 80:
        assert means == losses


def test_buckets_are_found_wherever_they_stand_in_a_record():
    rows = [{"low": 0, "high": 3, "lines": 60, "bleu": 20.0}, {"low": 4, "high": None, "lines": 10, "bleu": 30.0}]
    assert buckets({"bleu_by_source_words": rows}, LENGTH)[1] == LengthScore(4, None, 10, 30.0)
    assert len(buckets({"document_scores": {"bleu_by_position": rows}}, POSITION)) == 2
    assert buckets({"bleu_by_source_words": rows}, POSITION) == []


def test_scores_of_few_segments_are_hollow_and_not_in_the_title():
    scores = [LengthScore(0, 10, 100, 30.0), LengthScore(11, 20, 80, 25.5), LengthScore(21, None, 3, 90.0)]
    figure = drawn(draw_scores, LENGTH, "toys-test", {"one": scores})
    (axis,) = figure.axes
    assert curves(axis)["one"] == [[0, 30.0], [1, 25.5], [2, 90.0]]
    hollow = [line for line in axis.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xydata().tolist() for line in hollow] == [[[2, 90.0]]]
    assert "toys-test: BLEU is 30.0 at 0-10 words, 25.5 at 11-20" in texts(figure)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0-10\n100", "11-20\n80", "21+\n3"]


def test_runs_with_other_buckets_share_an_axis():
    one, other = [LengthScore(0, 3, 99, 1.0), LengthScore(8, 15, 99, 2.0)], [LengthScore(4, 7, 99, 5.0)]
    (axis,) = drawn(draw_scores, POSITION, "toys-test", {"one": one, "other": other}).axes
    assert curves(axis) == {"one": [[0, 1.0], [2, 2.0]], "other": [[1, 5.0]]}


ATTENTION = Attention(
    source=("▁a", "▁do", "g", "(end)"),
    target=("▁ein", "▁hund", "(end)"),
    weights=np.array(
        [
            [[[0.7, 0.1, 0.1, 0.1], [0.0, 0.2, 0.3, 0.5], [0, 0, 0, 1]]] * 2,
            [[[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]] * 2,
        ]
    ),
    translation="ein hund",
)


def test_words_are_aligned_by_the_layer_before_the_last():
    source, target, weights = ATTENTION.alignment()
    assert source == ["a", "dog", "(end)"] and target == ["ein", "hund"]
    np.testing.assert_allclose(weights, [[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])


def test_the_pieces_of_a_word_share_its_alignment():
    pieces = Attention(("▁a", "▁b", "(end)"), ("▁x", "y", "(end)"), np.eye(3)[None, None], "xy")
    source, target, weights = pieces.alignment()
    assert target == ["xy"] and source == ["a", "b", "(end)"]
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0.0]])


def test_letters_in_bytes_are_letters_in_a_word():
    pieces = ("▁<0xC3>", "<0xA4>", "<0xE2>", "(end)")
    source, _, _ = Attention(pieces, ("▁x", "(end)"), np.ones((1, 1, 2, 4)) / 4, "x").alignment()
    assert source == ["ä\ufffd", "(end)"]


def test_attention_is_drawn_for_each_layer():
    figure = drawn(draw_attention, ATTENTION)
    first, second, _ = figure.axes
    np.testing.assert_allclose(first.images[0].get_array(), ATTENTION.weights[0, 0])
    np.testing.assert_allclose(second.images[0].get_array(), ATTENTION.weights[1, 0])
    assert {"layer 1", "layer 2", "▁ein", "▁do"} <= set(texts(figure))


def test_the_strongest_link_of_each_word_is_framed_and_numbers_are_written():
    figure = drawn(draw_alignment, ATTENTION)
    (axis,) = figure.axes
    assert [frame.get_xy() for frame in axis.patches] == [(-0.5, -0.5), (0.5, 0.5)]
    assert {"70", "20", "10", "50"} <= set(texts(figure))


def record(number, window, source, target, writes, slots):
    names = {"window": window, "line": number, "source_gates": source, "target_gates": target, "writes": writes}
    return names | {"source_slots": slots, "target_slots": slots[::-1]}


RECORDS = [
    record(1, 1, [0.1, 0.3], [0.2], [0.5, 0.0], [0.9, 0.1]),
    record(2, 1, [0.2], [0.6, 0.8], [0.5, 0.0], [0.7, 0.3]),
    record(3, 2, [0.3], [0.4], [0.1, 0.2], [0.5, 0.5]),
]


def test_gates_are_means_over_the_pieces_of_a_segment():
    figure = drawn(draw_gates, RECORDS)
    found = curves(figure.axes[0])
    np.testing.assert_allclose(found["encoder, mean of its pieces"], [[1, 0.2], [2, 0.2], [3, 0.3]])
    np.testing.assert_allclose(found["decoder, mean of its pieces"], [[1, 0.2], [2, 0.7], [3, 0.4]])
    assert "The memory is read most by the decoder in segment 2: its gate is 0.70 open there" in texts(figure)


def test_slots_are_drawn_by_window_and_by_segment():
    figure = drawn(draw_slots, RECORDS)
    written, source, target = figure.axes[:3]
    np.testing.assert_allclose(written.images[0].get_array(), [[0.5, 0.1], [0.0, 0.2]])
    np.testing.assert_allclose(source.images[0].get_array(), [[0.9, 0.7, 0.5], [0.1, 0.3, 0.5]])
    np.testing.assert_allclose(target.images[0].get_array(), [[0.1, 0.3, 0.5], [0.9, 0.7, 0.5]])
    assert "The encoder reads slot 0 most: 70.0%, where an even share is 50.0%" in texts(figure)
    assert "The decoder reads slot 1 most: 70.0%, where an even share is 50.0%" in texts(figure)


def system(name, value, p=None, **costs):
    score = {"value": value, "low": value and value - 1, "high": value and value + 1, "difference": None, "p_value": p}
    empty = {"value": None, "low": None, "high": None, "difference": None, "p_value": None}
    scores = {"toys-test": {"s-BLEU": score, "d-BLEU": empty}, "nothing": {}}
    known = {"minutes": 2.0, "tokens_per_second": 100, "output_tokens_per_second": None, "weights": 1_500_000}
    return {"system": name, "scores": scores, **known, **costs}


RUNS = {
    "none-1": system("none", 20.0),
    "gru-1": system("gru", 22.0, 0.01),
    "gru-2": system("gru", 21.0, 0.3, minutes=4.0),
}


def test_systems_are_drawn_with_intervals_and_what_is_certain_is_filled():
    assert scored_texts(RUNS) == ["toys-test"]
    figure = drawn(draw_systems, RUNS, "toys-test", "none")
    # d-BLEU is not defined on this text.
    (axis,) = figure.axes
    points = {line.get_xdata()[0]: line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"}
    assert points.keys() == {20.0, 22.0, 21.0}
    assert points[21.0] == "white" and points[22.0] != "white" and points[20.0] != "white"
    bars = [
        list(line.get_xdata()) for line in axis.lines if line.get_marker() == "None" and line.get_linestyle() == "-"
    ]
    assert sorted(bars) == [[19.0, 21.0], [20.0, 22.0], [21.0, 23.0]]
    assert "toys-test: s-BLEU is highest with gru, 21.50, then none, 20.00" in texts(figure)


def test_costs_are_means_over_seeds():
    figure = drawn(draw_costs, RUNS)
    minutes = [bar.get_width() for bar in figure.axes[0].patches]
    assert minutes == [2.0, 3.0] and "unknown" in texts(figure) and "1.5" in texts(figure)
