"""What a training must know of the other processes and devices that take part in it; here: none."""

import contextlib

from app.training.state import to_array
from data.errors import UserError
from data.feeding import dataset_of


class Cluster:
    """The workers of one training as one of them sees them; this one is alone, with one device.

    A worker is a process, with one device or several. Each device takes its share of every batch; the sums over all
    devices are those of the whole batch, so that a training does not depend on how many there are. The chief, worker
    0, is the only one that writes.

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

    def lanes(self, lanes: int) -> int:
        """How many of a batch's lanes one device reads.

        Raises:
            UserError: they cannot be divided equally.
        """
        if lanes % self.devices:
            raise UserError(
                f"documents.lanes: {lanes} lanes cannot be divided among {self.devices} devices; choose a multiple of "
                f"{self.devices}, such as --set documents.lanes={-(-lanes // self.devices) * self.devices}"
            )
        return lanes

    def scope(self):
        """A context in which the variables of a model and its optimiser are made."""
        return contextlib.nullcontext()

    def alone(self):
        """A context in which a model is used by this worker alone, as in a validation."""
        return contextlib.nullcontext()

    def guard(self):
        """A context in which the loss of another worker is a `UserError`."""
        return contextlib.nullcontext()

    def synchronise(self, model, accumulate: int, status) -> None:
        """Makes `fit` sum over all devices.

        Args:
            model: the compiled `TeacherForcing` model.
            accumulate: batches in an update.
            status: returns what this worker has to tell the others before each batch: see `heard`.
        """

    def heard(self, logs: dict, seconds: float, interrupted: bool) -> tuple[float, bool]:
        """The clock of the chief, and whether any worker was interrupted: the same on all workers.

        Args:
            logs: of the last batch.
            seconds, interrupted: those of this worker, now.
        """
        return seconds, interrupted

    def dataset(self, draw, inputs):
        """What `fit` reads: see `data.feeding.dataset_of`."""
        return dataset_of(draw, inputs)

    def from_chief(self, *numbers: float) -> list[float]:
        """The numbers that the chief gives; all workers must call this, with as many numbers."""
        return list(numbers)

    @contextlib.contextmanager
    def chief_first(self):
        """Lets the chief run a block, then the others.

        Raises:
            UserError: the chief's block failed; its own error is raised at the chief.
        """
        if self.chief:
            try:
                yield
            except BaseException:
                self.from_chief(0.0)
                raise
            self.from_chief(1.0)
            return
        if not self.from_chief(0.0)[0]:
            raise UserError(f"worker {self.index}: worker 0 could not go on; see what it says")
        yield

    def join(self, variables) -> list:
        """The memory of all lanes, as arrays, from variables that hold those of one device."""
        return [to_array(variable) for variable in variables]

    def deal(self, variables, arrays) -> None:
        """The reverse of `join`."""
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def vary(self, generators) -> None:
        """Gives each device random numbers of its own.

        Args:
            generators: the states of a model's random generators, as one process alone would have them.
        """
