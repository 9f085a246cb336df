"""/metrics: what the watches last told of policies and requests, and how the operator itself fares.

A scrape asks the API server nothing. A policy that is deleted is gone at the next scrape.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

import resguardo
from resguardo.api.names import POLICY_KIND, REQUEST_KIND
from resguardo.controller.outcome import Key
from resguardo.controller.samples import POLICY_METRICS, Phase, Sample, phase_of, policy_samples

Object = Mapping[str, Any]

KINDS = (POLICY_KIND, REQUEST_KIND)
#: A reconcile is a few requests of some 30 ms each; each has a deadline of 20 s.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Known(Collector):
    """What was last told of each resource: its numbers and nothing else. Told by the watches, read by scrapes in their threads."""

    def __init__(self) -> None:
        self._policies: dict[Key, tuple[Sample, ...]] = {}
        self._requests: dict[Key, Phase] = {}

    def see(self, key: Key, resource: Object | None) -> None:
        """A resource as it is now; None where it is no more."""
        if resource is None:
            self._policies.pop(key, None)
            self._requests.pop(key, None)
        elif key.kind == POLICY_KIND:
            self._policies[key] = policy_samples(resource)
        elif key.kind == REQUEST_KIND:
            self._requests[key] = phase_of(resource)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every number that is known; of what changes meanwhile, the one or the other."""
        families = {
            metric: GaugeMetricFamily(metric.name, metric.help, labels=("namespace", "policy", *metric.labels))
            for metric in POLICY_METRICS
        }
        # A copy is made in one step: watches go on telling meanwhile.
        for key, samples in self._policies.copy().items():
            for sample in samples:
                families[sample.metric].add_metric((key.namespace, key.name, *sample.labels), sample.value)
        yield from families.values()
        requests = GaugeMetricFamily(
            "resguardo_restore_requests", "RestoreRequests, by how far they have got.", labels=("namespace", "phase")
        )
        counts = Counts((key.namespace, phase) for key, phase in self._requests.copy().items())
        for namespace in sorted({namespace for namespace, _ in counts}):
            for phase in Phase:
                requests.add_metric((namespace, phase.value), counts[namespace, phase])
        yield requests


class Metrics:
    """All metrics of one operator."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.known = Known()
        self.registry.register(self.known)
        Info("resguardo_build", "What runs here.", registry=self.registry).info({"version": resguardo.__version__})
        ProcessCollector(registry=self.registry)
        self._durations = Histogram(
            "resguardo_reconcile_duration_seconds",
            "How long one look at a resource took, with what was done about it.",
            ("kind",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._errors = Counter(
            "resguardo_reconcile_errors",
            "Looks at a resource that failed and are made again: the API server did not answer or refused, or a defect.",
            ("kind",),
            registry=self.registry,
        )
        for kind in KINDS:
            # From the start: the first error would otherwise be no increase.
            self._durations.labels(kind)
            self._errors.labels(kind)

    @contextmanager
    def reconcile(self, kind: str) -> Iterator[None]:
        """Measure one look at a resource; an exception counts as an error and goes on."""
        began = time.perf_counter()
        try:
            yield
        except Exception:
            self._errors.labels(kind).inc()
            raise
        finally:
            self._durations.labels(kind).observe(time.perf_counter() - began)

    @contextmanager
    def served(self, port: int) -> Iterator[int]:
        """Answer scrapes, each in a thread of its own, while the block runs. Gives the port; with 0, one that is free.

        Raises OSError where the port is taken.
        """
        server, thread = start_http_server(port, addr="0.0.0.0", registry=self.registry)  # noqa: S104 - scraped from other pods
        try:
            yield int(server.server_port)
        finally:
            server.shutdown()
            server.server_close()
            thread.join(timeout=5)
