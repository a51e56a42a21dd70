"""Windows with a gap between their segments, decoded and scored."""

import pytest

from app.presets.schema import SearchPreset
from app.translation.decoder import Request
from app.translation.keras_decoder import KerasDecoder
from data.packing import PackedWindow
from tests.models.test_segment_shift import SHIFT, model_of


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_the_score_of_a_search_is_that_of_its_output_in_the_window(positions):
    search = SearchPreset(beam=3, max_ratio=1.0, max_extra=3, length_penalty=0.0, refuse_loops=False)
    decoder = KerasDecoder(model_of(SHIFT, positions), search, segments=3)
    sources, before = [[5, 6], [8, 21, 4, 7], [9, 4, 12]], [[7, 20], [10]]
    requests = [Request(sources[:n], before[: n - 1], n - 1, decoder.first_memory) for n in (3, 1, 2)]
    found = [group[0] for group in decoder.decode_segments(requests)]
    windows = [
        [PackedWindow(request.sources, [*request.before, decoded.ids], request.current, True)]
        for request, decoded in zip(requests, found, strict=True)
    ]
    scores = [score.log_probability for (score,) in decoder.score_windows(windows)]
    assert scores == pytest.approx([decoded.score for decoded in found], abs=1e-4)
    assert any(len(decoded.ids) > 1 for decoded in found)
