"""Turning a step function into text: greedy, beam search, sampling and forced scoring.

Search knows nothing about models. It takes `step(tokens (N,), state) -> (logits (N, V), state)` and a nested state
whose leaves have the N rows as axis 0. `models.search.state` defines what else the two guarantee.
"""

from models.search.beam import BeamSearch, beam_search, length_penalty, live_inputs, select_inputs
from models.search.greedy import greedy
from models.search.sampling import sample
from models.search.scoring import Scores, score, score_logits
from models.search.state import Hypotheses, refuse_nan
from models.search.terms import Terms, Words, pack_terms

__all__ = [
    "BeamSearch",
    "Hypotheses",
    "Scores",
    "Terms",
    "Words",
    "beam_search",
    "greedy",
    "length_penalty",
    "live_inputs",
    "pack_terms",
    "refuse_nan",
    "sample",
    "score",
    "score_logits",
    "select_inputs",
]
