"""What Prometheus may know about the server."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

# The time at which each series began is of no use here, and would double their number.
disable_created_metrics()
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _OutputTokens(Collector):
    def __init__(self, count: Callable[[], int]):
        self._count = count

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily("weitblick_output_tokens", "Tokens decoded, end tokens included", self._count())


class Metrics:
    """Counts requests by their route, and batches; no label holds what a client sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._make(Counter, "requests", "Requests answered", ["route", "status"])
        self.seconds = self._make(Histogram, "request_seconds", "Time to answer", ["route"], buckets=_SECONDS)
        self.characters = self._make(Counter, "characters", "Characters of text that clients sent")
        self.batch_rows = self._make(Histogram, "batch_rows", "Rows of a batch", ["kind"], buckets=_ROWS)
        self.batch_seconds = self._make(Histogram, "batch_seconds", "Time of a batch", ["kind"], buckets=_SECONDS)

    def watch(self, tokens: Callable[[], int], waiting: Callable[[], int], documents: Callable[[], int]) -> None:
        """Adds what is looked up when the metrics are read: tokens decoded, rows waiting, documents open."""
        self.registry.register(_OutputTokens(tokens))
        for name, text, function in (
            ("waiting_rows", "Rows that wait for a batch", waiting),
            ("documents", "Documents that are open", documents),
        ):
            self._make(Gauge, name, text).set_function(function)

    def batch(self, kind: str, rows: int, seconds: float) -> None:
        """Counts a batch."""
        self.batch_rows.labels(kind).observe(rows)
        self.batch_seconds.labels(kind).observe(seconds)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def _make(self, kind: Callable, name: str, text: str, labels: Sequence[str] = (), **rest: Any) -> Any:
        return kind(f"weitblick_{name}", text, labels, registry=self.registry, **rest)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
