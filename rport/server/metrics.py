"""Numbers for Prometheus: what the core and the others count anyway is read when somebody asks.

No series for single clients or tunnels: there may be thousands, and the API has their figures. Labels have few values.
"""

import time
from collections import Counter as Tally
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from rport.server.plane import Plane

BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)  # seconds; each is a series for each route
# When each series began: as many again, and nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"  # whatever strangers make up


class Page(NamedTuple):
    """In one of the formats that who asks can read."""

    text: bytes
    media_type: str


class Metrics:
    """Of one server."""

    def __init__(self, plane: "Plane") -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Reader(plane))
        self._requests = Counter(
            "rport_api_requests",
            "Requests to the API that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "rport_api_request_seconds",
            "Time until an answer of the API began.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self._registry,
        )

    def answered(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """`route` as the document names it, without what stands in its braces; None: there is none."""
        method = method if method in METHODS else OTHER
        self._requests.labels(method, route or OTHER, f"{status // 100}xx").inc()
        self._seconds.labels(method, route or OTHER).observe(seconds)

    def page(self, accept: str) -> Page:
        encode, media_type = choose_encoder(accept)
        return Page(encode(self._registry), media_type)


class _Reader(Collector):
    """Reads everybody's counts."""

    def __init__(self, plane: "Plane") -> None:
        self._plane = plane
        self._started = time.time()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._own()
        yield from self._traffic()
        yield from self._process()
        yield from self._journal()

    def _own(self) -> Iterator[Metric]:
        plane, numbers = self._plane, self._plane.service.statistics()
        yield InfoMetricFamily("rport_build", "The version that runs.", {"version": numbers["version"]})
        yield GaugeMetricFamily("rport_start_time_seconds", "When it started, since 1970.", self._started)
        yield GaugeMetricFamily("rport_sessions", "Clients that are connected.", numbers["sessions"])
        yield CounterMetricFamily("rport_sessions_started", "Sessions since the start.", numbers["sessions_total"])
        connected = sum(client.connected for client in plane.inventory)
        clients = GaugeMetricFamily("rport_clients", "Clients that are known.", labels=["state"])
        clients.add_metric(["connected"], connected)
        clients.add_metric(["disconnected"], len(plane.inventory) - connected)
        yield clients
        yield GaugeMetricFamily("rport_tunnels", "Tunnels that are open.", numbers["tunnels"])
        states = Tally(tunnel.state for tunnel in plane.tunnels.table)
        tunnels = GaugeMetricFamily("rport_api_tunnels", "Tunnels opened through the API.", labels=["state"])
        for state in ("open", "waiting", "failed"):
            tunnels.add_metric([state], states[state])
        yield tunnels

    def _traffic(self) -> Iterator[Metric]:
        numbers = self._plane.service.statistics()
        yield GaugeMetricFamily("rport_streams", "Connections that are carried.", numbers["streams"])
        yield CounterMetricFamily("rport_streams_started", "Connections since the start.", numbers["streams_total"])
        payload = CounterMetricFamily("rport_bytes", "What they carried; in is from clients.", labels=["direction"])
        carrier = CounterMetricFamily("rport_carrier_bytes", "The same and what is added to it.", labels=["direction"])
        for way in ("in", "out"):
            payload.add_metric([way], numbers[f"bytes_{way}"])
            carrier.add_metric([way], numbers[f"carrier_bytes_{way}"])
        yield payload
        yield carrier

    def _process(self) -> Iterator[Metric]:
        numbers = self._plane.service.statistics()
        yield GaugeMetricFamily("rport_resident_memory_bytes", "Memory in use.", numbers["memory_bytes"])
        p95, most = numbers["lag_p95_ms"] / 1000, numbers["lag_max_ms"] / 1000
        yield GaugeMetricFamily("rport_loop_lag_seconds", "The event loop's, 95th percentile of a minute.", p95)
        yield GaugeMetricFamily("rport_loop_lag_max_seconds", "The event loop's, at most in a minute.", most)
        yield GaugeMetricFamily("rport_descriptors", "Open descriptors.", numbers["descriptors"])
        yield GaugeMetricFamily("rport_descriptors_limit", "Descriptors there may be.", numbers["descriptors_max"])

    def _journal(self) -> Iterator[Metric]:
        plane, journal = self._plane, self._plane.journal
        up = not journal.trouble.error
        yield GaugeMetricFamily("rport_store_up", "Whether the database can be written.", up)
        failed = CounterMetricFamily("rport_logins_failed", "Logins that failed.", labels=["what"])
        for what in ("client", "api"):
            failed.add_metric([what], journal.logins_failed[what])
        yield failed
        events = CounterMetricFamily("rport_events", "Events.", labels=["type"])
        for type, count in sorted(journal.told.items()):
            events.add_metric([type], count)
        yield events
        yield GaugeMetricFamily("rport_journal_waiting", "Events and entries not saved yet.", journal.waiting)
        yield CounterMetricFamily("rport_journal_lost", "Events and entries that were given up.", journal.lost)
        yield GaugeMetricFamily("rport_event_listeners", "Who listens to events.", len(plane.events))
        deliveries = GaugeMetricFamily("rport_webhook_deliveries", "What webhooks were not told.", labels=["state"])
        deliveries.add_metric(["waiting"], sum(hook.waiting for hook in plane.webhooks))
        deliveries.add_metric(["dead"], sum(hook.dead for hook in plane.webhooks))
        yield deliveries
        tries = CounterMetricFamily("rport_webhook_tries", "Requests to webhooks.", labels=["result"])
        for result in ("ok", "failed"):
            tries.add_metric([result], plane.webhooks.tries[result])
        yield tries
