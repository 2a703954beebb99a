"""Prometheus metrics, served at `/metrics` (https://prometheus.io/docs/practices/naming/)."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from app.engine import Engine, Watch

__all__ = ["CONTENT_TYPE", "Metrics"]

# Seconds. A sketch on a GPU takes milliseconds, a full queue on a CPU half a minute.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
METHODS = ("GET", "HEAD", "POST", "OPTIONS")


class Metrics(Watch):
    """One app's metrics, in a registry of its own, so that two apps in one process do not share figures."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "cafeteria_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "cafeteria_request_seconds",
            "From a request's headers to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "cafeteria_requests_in_progress", "Requests that are being answered", registry=registry
        )
        self._depth = Gauge(
            "cafeteria_queue_depth", "Pictures that wait or are in the making", registry=registry
        )
        self._capacity = Gauge(
            "cafeteria_queue_capacity", "Pictures that may wait or be in the making", registry=registry
        )
        self._demand = Gauge(
            "cafeteria_demand",
            "Pictures that wait or are in the making, of each client at most eight",
            registry=registry,
        )
        self._batch_size = Histogram(
            "cafeteria_batch_size",
            "Pictures in a forward pass",
            ["step"],
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self._wait = Histogram(
            "cafeteria_wait_seconds",
            "From taking a picture's order to its first forward pass",
            buckets=SECONDS,
            registry=registry,
        )
        self._forward = Histogram(
            "cafeteria_forward_seconds", "A forward pass", ["step"], buckets=SECONDS, registry=registry
        )
        self._encode = Histogram(
            "cafeteria_encode_seconds", "Encoding a picture", buckets=SECONDS, registry=registry
        )
        self._refusals = Counter(
            "cafeteria_refusals", "Pictures refused, or dropped unmade", ["reason"], registry=registry
        )
        tasks = Gauge("cafeteria_tasks", "Tasks of the event loop", registry=registry)
        tasks.set_function(lambda: len(asyncio.all_tasks()))

    def watch_queue(self, engine: Engine[Any]) -> None:
        self._depth.set_function(lambda: engine.depth)
        self._demand.set_function(lambda: engine.demand)
        self._capacity.set(engine.capacity)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        # Anything may stand where a method should; every label costs memory for good.
        self._requests.labels(method if method in METHODS else "other", route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All metrics, in CONTENT_TYPE. Call on the event loop."""
        return generate_latest(self.registry)

    # What the engine tells

    def waited(self, seconds: float) -> None:
        self._wait.observe(seconds)

    def batch(self, step: str, size: int, seconds: float) -> None:
        self._batch_size.labels(step).observe(size)
        self._forward.labels(step).observe(seconds)

    def encoded(self, seconds: float) -> None:
        self._encode.observe(seconds)

    def refused(self, reason: str, count: int = 1) -> None:
        self._refusals.labels(reason).inc(count)
