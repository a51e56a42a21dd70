"""Terms that a hypothesis should contain: their tokens get a bonus, and no hypothesis ends without them.

A term is met by any of several forms, which are sequences of tokens. While a hypothesis matches the beginning of a
form, it is ranked as if it were likelier; the bonus grows with the match, is lost when the match breaks, and stays when
the term is met. It affects only the ranking: the scores of hypotheses are the model's own log-probabilities.

A match begins and ends where words do, so that "Ordnerstruktur" does not meet "Ordner". The forms of a term make up a
tree, in which each node is a token; the matches in progress are a set of nodes.

References:
    - [Zhao et al., 2019](https://www.isca-archive.org/interspeech_2019/zhao19d_interspeech.html), the bonus
    - [Post and Vilar, 2018](https://arxiv.org/abs/1804.06609), constraints in a beam
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from models import Tensor
from models.search.state import pick

# Sizes are rounded up to a multiple of this, so that JAX compiles for only a few of them.
_MULTIPLE = 8
# More tokens than any form has.
_MANY = 1 << 20


class Words(NamedTuple):
    """Where words begin and end; a match may begin or end between two tokens if either says so.

    begins: (V,) bool, this token does not continue the word before it: "▁House", ".", the end token.
    opens: (V,) bool, this token's word ends with it: "▁(", the token that starts a sequence.
    """

    begins: np.ndarray
    opens: np.ndarray


class Terms(NamedTuple):
    """C terms of each of B inputs, as trees with Q nodes in total. Inputs with fewer are padded, `parents` with -1 and
    the others with zeros.

    tokens: (B, Q) int32, each node's token; 0 for padding.
    parents: (B, Q) int32, the node before; -1 where a form begins.
    left: (B, Q) int32, the fewest tokens after the node that complete a form; 0 where one is complete.
    values: (B, Q) float32, the bonus of a match that has reached the node: the worth of its term times the square root
        of the share of the form that is matched, as it is the first token that the model must be talked into.
    owners: (B, Q, C) float32, 1 for the term that the node belongs to.
    least: (B, C) int32, the fewest tokens of a form that begins a word; 0 for padding.
    worth: (B, C) float32, the bonus of a term that is met.
    """

    tokens: Tensor
    parents: Tensor
    left: Tensor
    values: Tensor
    owners: Tensor
    least: Tensor
    worth: Tensor


class TermState(NamedTuple):
    """How far K hypotheses of each of B inputs have got with its terms.

    terms: `Terms`.
    met: (B, K, C) bool, terms that a hypothesis contains; padding counts as met.
    active: (B, K, Q) bool, the nodes that matches have reached with the last token.
    last: (B, K) int32, the last token.
    """

    terms: Terms
    met: Tensor
    active: Tensor
    last: Tensor


class Outlook(NamedTuple):
    """What the next token may do for K hypotheses.

    kept: (B, K) float32, the bonus whatever comes next.
    completed: (B, K) float32, additional bonus if the next token begins a word, as terms are then met.
    gains: (B, K, Q) float32, additional bonus for each node's token.
    nearer: (B, K, Q) bool, whether the node's token brings a term nearer; if a match in progress can do so, only such.
    needed: (B, K) int32, the fewest tokens that meet all terms.
    """

    kept: Tensor
    completed: Tensor
    gains: Tensor
    nearer: Tensor
    needed: Tensor


def pack_terms(rows: Sequence[Sequence[Sequence[Sequence[int]]]], bonus: float, words: Words) -> Terms:
    """Makes `Terms` from numpy arrays.

    Args:
        rows: for each input its terms, for each term its forms, for each form its tokens.
        bonus: above zero. Nats for each token of a term's shortest form.
        words: where words begin; a term needs a form whose first token begins one, as only such a form can always come.

    Raises:
        ValueError: for a bonus or forms that could not work.
    """
    if not bonus > 0:
        raise ValueError(f"The bonus must be above zero. Received: bonus={bonus}.")
    trees = [[_tree(forms) for forms in terms] for terms in rows]
    nodes = _rounded(max((sum(map(len, own)) for own in trees), default=0))
    count = _rounded(max(map(len, trees), default=0))
    size = len(rows)
    found = Terms(
        tokens=np.zeros((size, nodes), "int32"),
        parents=np.full((size, nodes), -1, "int32"),
        left=np.zeros((size, nodes), "int32"),
        values=np.zeros((size, nodes), "float32"),
        owners=np.zeros((size, nodes, count), "float32"),
        least=np.zeros((size, count), "int32"),
        worth=np.zeros((size, count), "float32"),
    )
    for row, own in enumerate(trees):
        place = 0
        for term, tree in enumerate(own):
            starts = [node.left + 1 for node in tree if node.parent < 0 and words.begins[node.token]]
            if not starts:
                raise ValueError(f"No form begins a word. Received: {rows[row][term]}.")
            least = min(starts)
            found.least[row, term], found.worth[row, term] = least, bonus * least
            for number, node in enumerate(tree, start=place):
                found.tokens[row, number] = node.token
                found.parents[row, number] = node.parent + place if node.parent >= 0 else -1
                found.left[row, number] = node.left
                found.values[row, number] = bonus * least * (node.depth / (node.depth + node.left)) ** 0.5
                found.owners[row, number, term] = 1.0
            place += len(tree)
    return found


class _Node(NamedTuple):
    token: int
    parent: int
    depth: int
    left: int


def _tree(forms: Sequence[Sequence[int]]) -> list[_Node]:
    """The nodes of a term's forms, parents first."""
    if not forms or not all(forms):
        raise ValueError(f"A term needs forms of at least one token each. Received: {forms}.")
    places: dict[tuple[int, ...], int] = {}
    for form in forms:
        for end in range(1, len(form) + 1):
            places.setdefault(tuple(form[:end]), len(places))
    left = dict.fromkeys(places, len(max(forms, key=len)))
    for form in forms:
        for end in range(1, len(form) + 1):
            left[tuple(form[:end])] = min(left[tuple(form[:end])], len(form) - end)
    return [_Node(path[-1], places.get(path[:-1], -1), len(path), left[path]) for path in places]


def _rounded(size: int) -> int:
    return max(1, -(-size // _MULTIPLE)) * _MULTIPLE


def begin_terms(terms: Terms, beam: int, bos: int, words: Words | None) -> TermState:
    """The `TermState` before the first token.

    Raises:
        ValueError: `words` is missing, without which no term can be recognised.
    """
    if words is None:
        raise ValueError("Terms need `words`, which say where words begin.")
    terms = Terms(*map(ops.convert_to_tensor, terms))
    return TermState(
        terms=terms,
        met=ops.repeat((terms.least == 0)[:, None], beam, axis=1),
        active=ops.repeat(ops.zeros_like(terms.tokens, dtype="bool")[:, None], beam, axis=1),
        last=ops.full((ops.shape(terms.tokens)[0], beam), bos, dtype="int32"),
    )


def follow(state: TermState, parents: Tensor) -> TermState:
    """The state of hypotheses that continue others: parents (B, K) int32."""
    found = {name: pick(getattr(state, name), parents) for name in ("met", "active", "last")}
    return state._replace(**found)


def add_tokens(state: TermState, tokens: Tensor, words: Words) -> TermState:
    """The state after one more token (B, K) of each hypothesis."""
    begins = ops.logical_or(ops.take(words.opens, state.last, axis=0), ops.take(words.begins, tokens, axis=0))
    pending = ops.logical_and(_pending(state), begins[:, :, None])
    reached = _reached(state, ops.expand_dims(begins, -1))
    # Not `==`, with which TensorFlow may lose the number of axes.
    active = ops.logical_and(reached, ops.equal(state.terms.tokens[:, None], tokens[:, :, None]))
    return state._replace(met=ops.logical_or(state.met, pending), active=active, last=tokens)


def look_ahead(state: TermState, words: Words) -> Outlook:
    """What the next token may do."""
    terms, pending = state.terms, _pending(state)
    unmet, opened = ops.logical_not(state.met), ops.take(words.opens, state.last, axis=0)
    begins = ops.logical_or(opened[:, :, None], ops.take(words.begins, terms.tokens, axis=0)[:, None])
    # A term whose form is complete is met by a token that begins a word, and needs no more.
    over = ops.logical_and(_of_nodes(pending, terms), begins)
    useful = ops.logical_and(_of_nodes(unmet, terms), ops.logical_not(over))
    reached = ops.logical_and(_reached(state, begins), useful)
    completed, closest = _sum(pending, terms.worth), _closest(state)
    # A token that several terms share, such as a space sign alone, helps only one of them.
    owing = ops.where(ops.logical_and(unmet, ops.logical_not(pending)), terms.least[:, None], 0)
    spared = ops.max(ops.maximum(owing - closest, 0), axis=-1)
    closest = ops.matmul(ops.cast(closest, "float32"), ops.transpose(terms.owners, (0, 2, 1)))
    nearer = ops.logical_and(reached, ops.cast(terms.left, "float32")[:, None] < closest)
    goes_on = ops.logical_and(nearer, (terms.parents >= 0)[:, None])
    nearer = ops.where(ops.any(goes_on, axis=-1, keepdims=True), goes_on, nearer)
    return Outlook(
        kept=_sum(state.met, terms.worth) + ops.where(opened, completed, 0.0),
        completed=ops.where(opened, 0.0, completed),
        gains=ops.where(reached, terms.values[:, None], 0.0),
        nearer=nearer,
        needed=ops.sum(owing, axis=-1) - spared,
    )


def promote(logits: Tensor, outlook: Outlook, terms: Terms, words: Words) -> tuple[Tensor, Tensor]:
    """Adds each token's bonus to its logit, except what a hypothesis keeps anyway.

    Args:
        logits: (B * K, V) float32.
        outlook: the `Outlook` of the hypotheses.
        terms: the inputs' terms.
        words: where words begin.

    Returns:
        The sums (B * K, V), and which tokens (B * K, V) bring a term nearer.
    """
    size, rows = logits.shape[-1], ops.arange(ops.shape(logits)[0], dtype="int32")
    places = ops.reshape(rows, (-1, outlook.kept.shape[1]))[:, :, None] * size + terms.tokens[:, None]
    places = ops.reshape(places, (-1, 1))

    def with_nodes(values, of_nodes):
        added = ops.reshape(ops.cast(of_nodes, "float32"), (-1,))
        added = ops.scatter_update(ops.reshape(values, (-1,)), places, added, reduction="add")
        return ops.reshape(added, ops.shape(logits))

    completed = ops.reshape(outlook.completed, (-1, 1)) * ops.cast(words.begins, "float32")
    nearer = with_nodes(ops.zeros_like(logits), outlook.nearer) > 0
    return with_nodes(logits + completed, outlook.gains), nearer


def worth_of_all(terms: Terms) -> Tensor:
    """(B, 1) float32: the bonus of a hypothesis that contains all terms."""
    return ops.sum(terms.worth, axis=-1, keepdims=True)


def _pending(state):
    """(B, K, C) bool: unmet terms that have a complete form, provided that a word begins next."""
    complete = ops.logical_and(state.active, (state.terms.left == 0)[:, None])
    owners = ops.matmul(ops.cast(complete, "float32"), state.terms.owners)
    return ops.logical_and(owners > 0, ops.logical_not(state.met))


def _reached(state, begins):
    """(B, K, Q) bool: nodes whose token may come next in a match; `begins` (B, K, Q or 1) says whether it begins a
    word."""
    batch, beam, nodes = ops.shape(state.active)
    rows = ops.arange(batch * beam, dtype="int32") * nodes
    places = ops.reshape(rows, (batch, beam, 1)) + ops.maximum(state.terms.parents, 0)[:, None]
    before = ops.take(ops.reshape(state.active, (-1,)), places, axis=0)
    return ops.where((state.terms.parents < 0)[:, None], begins, before)


def _of_nodes(of_terms, terms):
    """Passes what is true of terms (B, K, C) on to their nodes (B, K, Q)."""
    return ops.matmul(ops.cast(of_terms, "float32"), ops.transpose(terms.owners, (0, 2, 1))) > 0


def _sum(chosen, worth):
    """(B, K) float32: the worth (B, C) of the chosen terms (B, K, C)."""
    return ops.sum(ops.where(chosen, worth[:, None], 0.0), axis=-1)


def _closest(state):
    """(B, K, C) int32: the fewest tokens that complete a match in progress of each term; many where there is none."""
    mine = ops.logical_and(state.active[:, :, :, None], state.terms.owners[:, None] > 0)
    return ops.min(ops.where(mine, state.terms.left[:, None, :, None], _MANY), axis=2)
