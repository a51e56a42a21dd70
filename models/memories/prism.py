"""Prism: an invertible network and a recurrent one over the sub-sequences of a document."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from models import Tensor
from models.attention import SelfAttention
from models.couplings import Couplings
from models.memories import memory
from models.memories.attention import straight_dense
from models.memories.base import Memory, Row, State, row_mean
from models.memories.cells import GRUCell
from models.options import option
from models.past import Past


@dataclass(frozen=True)
class PrismSettings:
    """Windows pass through an invertible network; a recurrent network carries the low part from window to window."""

    places: int = option(
        64, "how many positions of a sequence are kept; longer windows are squeezed", low=1, high=65536
    )
    share: float = option(0.25, "share of the width that is the low part, which is carried", above=0.0, below=1.0)
    couplings: int = option(4, "couplings of the invertible network", low=1, high=64)
    keep_bias: float = option(0.0, "bias of the update gate: above 0, places start out keeping what they hold")
    rebuild: float = option(0.1, "weight of the loss for rebuilding windows from the low part alone; 0 = none", low=0.0)


@memory("prism", PrismSettings)
@keras.saving.register_keras_serializable(package="weitblick")
class PrismMemory(Memory):
    """A sequence of P positions: what a recurrent network made of the low parts of all windows so far, together with
    the rest of the latest window, mapped back by the inverse of an invertible network f.

    Each position x of a window becomes f(x), whose first numbers are its low part. The window's positions go into P
    places one by one; if there are more than P, neighbouring positions share a place, which gets their mean. A gated
    recurrent network carries the low part of each place from window to window. What is read from a place is the inverse
    of f, applied to the output of that network and to the rest of the last window that had a position there.

    The extra loss is the error of positions rebuilt by the inverse from their low part alone, with zeros for the rest.
    So f learns to put into the low part what characterises a sequence best. The loss trains only f.

    Args:
        width: see `Memory`.
        places: P.
        share: the low part's share of the width.
        couplings: number of couplings of f, see `Couplings`.
        keep_bias: see `Cell`.
        rebuild: weight of the extra loss.

    Call arguments and results: see `Memory`.

    References:
        Dinh et al. 2017, "Density estimation using Real NVP", for f; Cho et al. 2014, section 2.3, for the recurrent
        network; Jacobsen et al. 2018, "i-RevNet", for recognising sequences by part of an invertible network's output.
    """

    def __init__(
        self,
        width: int,
        places: int = 64,
        share: float = 0.25,
        couplings: int = 4,
        keep_bias: float = 0.0,
        rebuild: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, **kwargs)
        self.places, self.share, self.keep_bias, self.rebuild = places, share, keep_bias, rebuild
        self.low = min(max(round(share * width), 1), width - 1)
        self.loss_names = ("rebuild",) if rebuild else ()
        self.network = Couplings(width, couplings, dtype=self.dtype_policy, name="network")
        self.cell = GRUCell(self.low, keep_bias, dtype=self.dtype_policy, name="cell")
        self.output_dense = straight_dense(self.low, 1, self.dtype_policy, "output")

    def build(self, *_: Any) -> None:
        self.network.build()
        self.cell.build()
        self.output_dense.build((None, None, self.low))

    def initial_state(self, batch: int | Tensor) -> State:
        return {
            "filled": ops.zeros((batch, self.places), "bool"),
            "low": ops.zeros((batch, self.places, self.low), "float32"),
            "rest": ops.zeros((batch, self.places, self.width - self.low), "float32"),
        }

    def prepare(self, x: Tensor) -> Tensor:
        low, rest = ops.split(self.network(x), [self.low], axis=-1)
        # What the cell computes from low parts is linear, so means can be taken afterwards.
        return ops.concatenate([ops.cast(self.cell.inputs(low), "float32"), rest], axis=-1)

    def write(self, prepared: Tensor, here: Tensor, state: State) -> tuple[State, tuple[Tensor, Tensor]]:
        lies = self._lying(here)
        mass = ops.sum(lies, axis=-1, keepdims=True)
        lies = lies / ops.maximum(mass, 1.0)
        inputs, rest = ops.split(ops.matmul(lies, prepared), [prepared.shape[-1] - self.width + self.low], axis=-1)
        low, kept = self.cell.step(state["low"], inputs)
        some = mass > 0
        new = {
            "filled": ops.logical_or(state["filled"], some[..., 0]),
            "low": ops.where(some, low, state["low"]),
            "rest": ops.where(some, rest, state["rest"]),
        }
        return new, (ops.where(some, 1 - kept, 0.0), lies)

    def _lying(self, here):
        """Which positions (B, N) are in each place: (B, P, N) float32, 0 or 1."""
        order = ops.cumsum(ops.cast(here, "int32"), axis=1)
        count = ops.maximum(order[:, -1:], self.places)
        places = ops.where(here, (order - 1) * self.places // count, -1)
        return ops.cast(ops.equal(places[:, None], ops.arange(self.places, dtype="int32")[:, None]), "float32")

    def view(self, state: State) -> tuple[Tensor, Tensor]:
        low = ops.cast(self.output_dense(ops.cast(state["low"], self.compute_dtype)), "float32")
        values = self.network.inverse(ops.concatenate([low, state["rest"]], axis=-1))
        return ops.cast(values, self.compute_dtype), state["filled"]

    def call(
        self, x: Tensor, row: Row, state: State, attention: SelfAttention | None = None
    ) -> tuple[Past, State, dict[str, Tensor]]:
        past, state, losses = super().call(x, row, state, attention=attention)
        if self.rebuild:
            losses = {"rebuild": self.rebuild * self._rebuild_loss(x, row)}
        return past, state, losses

    def _rebuild_loss(self, x, row):
        x = ops.stop_gradient(ops.cast(x, "float32"))
        low = self.network(x)[..., : self.low]
        rest = ops.zeros((*ops.shape(x)[:2], self.width - self.low), "float32")
        errors = ops.square(self.network.inverse(ops.concatenate([low, rest], axis=-1)) - x)
        counted = ops.logical_and(ops.cast(row.remembered, "bool"), ops.not_equal(row.windows, 0))
        return row_mean(ops.mean(errors, axis=-1), counted)

    def get_config(self) -> dict[str, Any]:
        own = {"places": self.places, "share": self.share, "couplings": self.network.couplings}
        return {**super().get_config(), **own, "keep_bias": self.keep_bias, "rebuild": self.rebuild}
