"""Numbers for Prometheus. With several workers they are added up over all of them."""

import os

import prometheus_client as prometheus
from prometheus_client import multiprocess

# what prometheus-client names the folder by that several processes count in
SHARED = "PROMETHEUS_MULTIPROC_DIR"
# a query takes milliseconds, a request of 2,048 passages seconds
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        own = self._registry = prometheus.CollectorRegistry()
        route = ("route",)
        self.requests = prometheus.Counter("medembed_requests", "Requests answered.", ("route", "status"), registry=own)
        self.seconds = prometheus.Histogram(
            "medembed_request_seconds",
            "Time from a request's head to its answer.",
            route,
            registry=own,
            buckets=BUCKETS,
        )
        self.running = prometheus.Gauge(
            "medembed_requests_running", "Requests being answered.", registry=own, multiprocess_mode="livesum"
        )
        self.texts = prometheus.Counter("medembed_texts", "Texts encoded.", route, registry=own)
        self.tokens = prometheus.Counter("medembed_tokens", "Tokens read.", route, registry=own)
        self.truncated_texts = prometheus.Counter(
            "medembed_truncated_texts", "Texts that were cut.", route, registry=own
        )
        self.truncated_tokens = prometheus.Counter("medembed_truncated_tokens", "Tokens left out.", route, registry=own)
        self.queue = prometheus.Gauge(
            "medembed_queue_tokens",
            "Tokens that wait, estimated.",
            ("lane",),
            registry=own,
            multiprocess_mode="livesum",
        )
        self.batches = prometheus.Counter("medembed_batches", "Batches encoded.", ("lane",), registry=own)

    def text(self) -> tuple[bytes, str]:
        """The numbers in Prometheus's text format, and its media type."""
        registry = self._registry
        if SHARED in os.environ:
            registry = prometheus.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return prometheus.generate_latest(registry), prometheus.CONTENT_TYPE_LATEST
