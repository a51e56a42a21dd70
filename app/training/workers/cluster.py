"""The interface between a training and the processes and devices that share it; here for one device."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from app.training.state import to_array
from data.errors import UserError
from data.feeding import dataset_of


class Cluster:
    """The workers of one training, as seen by one of them; this class is for one worker with one device.

    A worker is a process, with one device or several. Each device takes its share of every batch; sums over all
    devices equal those of the whole batch, so that a training does not depend on the number of devices. The chief,
    worker 0, is the only one that writes.

    Attributes:
        index: this worker's number, from 0.
        workers: how many there are.
        devices: how many devices all workers have together.
    """

    index, workers, devices = 0, 1, 1

    @property
    def chief(self) -> bool:
        """Whether this worker writes."""
        return self.index == 0

    @property
    def description(self) -> str:
        """A line for the user, or "" for one worker with one device."""
        if self.devices == 1:
            return ""
        shared = f"{self.devices} devices share each batch."
        if self.workers == 1:
            return shared
        role = "which writes" if self.chief else "worker 0 writes and shows the progress"
        each = self.devices // self.workers
        devices = "1 device" if each == 1 else f"{each} devices"
        return f"Worker {self.index} of {self.workers} ({role}), {devices} each: {shared}"

    def lanes_per_model(self, lanes: int) -> int:
        """How many of a batch's lanes one copy of the model reads; here all of them, as a batch stays one array.

        Raises:
            UserError: they cannot be divided equally.
        """
        if lanes % self.devices:
            raise UserError(
                f"documents.lanes: {lanes} lanes cannot be divided among {self.devices} devices; choose a multiple of "
                f"{self.devices}, such as --set documents.lanes={-(-lanes // self.devices) * self.devices}"
            )
        return lanes

    def scope(self) -> AbstractContextManager:
        """A context in which the variables of a model and its optimiser are made."""
        return contextlib.nullcontext()

    def undistributed(self) -> AbstractContextManager:
        """A context in which this worker computes without the others, as in a validation."""
        return contextlib.nullcontext()

    def raise_on_lost_worker(self) -> AbstractContextManager:
        """A context that turns the loss of another worker into a `UserError`."""
        return contextlib.nullcontext()

    def synchronise(self, model: Any, accumulate: int, status: Callable[[], tuple[float, bool]]) -> None:
        """Makes `fit` sum gradients over all devices.

        Args:
            model: the compiled `TeacherForcing` model.
            accumulate: batches in an update.
            status: returns this worker's seconds and whether it was interrupted, for `agreed_status`.
        """

    def agreed_status(self, logs: dict, seconds: float, interrupted: bool) -> tuple[float, bool]:
        """The chief's clock and whether any worker was interrupted: the same on all workers.

        Args:
            logs: logs of the last batch.
            seconds, interrupted: the current status of this worker.
        """
        return seconds, interrupted

    def dataset(self, draw: Callable[[], Iterator], inputs: Iterable[str], accumulate: int = 1) -> Any:
        """The data set for `fit`: see `data.feeding.dataset_of`."""
        return dataset_of(draw, inputs, accumulate)

    def broadcast(self, *numbers: float) -> list[float]:
        """The chief's numbers, on all workers; each must call this with the same number of values."""
        return list(numbers)

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Lets the chief run a block, then the others.

        Raises:
            UserError: the chief's block failed; its own error is raised on the chief.
        """
        if self.chief:
            try:
                yield
            except BaseException:
                self.broadcast(0.0)
                raise
            self.broadcast(1.0)
            return
        if not self.broadcast(0.0)[0]:
            raise UserError(f"worker {self.index}: worker 0 failed; see its output")
        yield

    def gather(self, variables: Iterable[Any]) -> list:
        """The memory state of all lanes as arrays, from variables that hold the lanes of one device."""
        return [to_array(variable) for variable in variables]

    def scatter(self, variables: Iterable[Any], arrays: Iterable[Any]) -> None:
        """The reverse of `gather`."""
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def offset_seeds(self, generators: Iterable[Any]) -> None:
        """Gives each device different random numbers.

        Args:
            generators: the states of a model's random generators, as in a single process.
        """
