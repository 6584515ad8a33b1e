"""What Prometheus is told: counts, latencies and sizes; labels are templates and names of data sets, never what was asked."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from index.serve.catalogue import Catalogue

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one server; a registry of its own, so that several may live in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tamis_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "tamis_request_seconds", "Time to answer", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self.searches = Counter("tamis_searches", "Searches done", ("dataset",), registry=self.registry)
        self._overloads = Counter("tamis_overloads", "Requests answered 503", registry=self.registry)
        self.reloads = Counter(
            "tamis_reloads", "Looks for a newer snapshot that found one, or failed", ("dataset", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self._snapshot = Gauge("tamis_snapshot", "Number of the snapshot served", ("dataset",), registry=self.registry)
        self._rows = Gauge("tamis_index_rows", "Samples that can be found", ("dataset",), registry=self.registry)
        self._hidden = Gauge("tamis_hidden_rows", "Samples hidden by tombstones", ("dataset",), registry=self.registry)

    def request(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(took_s)
        if status == 503:
            self._overloads.inc()

    def exposition(self, catalogue: Catalogue) -> tuple[bytes, str]:
        """Return all of it in Prometheus' text form, and the form's media type."""
        for one in catalogue.all():
            self._snapshot.labels(one.name).set(one.searcher.snapshot.number)
            self._rows.labels(one.name).set(one.searcher.opened.rows)
            self._hidden.labels(one.name).set(len(one.hidden()))
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
