"""Counters for Prometheus, collected when somebody asks: counting costs the sessions nothing."""

import contextlib
import shutil
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from homeport.acs.services.hub import ANSWER_BOUNDS, FOREVER, SESSION_BOUNDS
from homeport.acs.storage.interface import Figures
from homeport.errors import StoreUnavailable

if TYPE_CHECKING:
    from homeport.acs.api.app import Services


class Metrics:
    """The registry of one ACS."""

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._up = True
        self._devices = 0
        self._free = 0
        self._figures = Figures()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def text(self) -> str:
        """All metrics in the text format. While the database is away what it last told stands beside `homeport_store_up 0`."""
        hub = self._services.hub
        self._up = hub.store.trouble is None
        try:
            self._devices = await hub.store.device_count()
            self._figures = await hub.store.figures()
        except StoreUnavailable:
            self._up = False
        with contextlib.suppress(OSError):
            self._free = shutil.disk_usage(hub.settings.data_dir).free
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for. With several workers each series has the worker's number, so that a restart resets only its own."""
        hub = self._services.hub
        snapshots = self._services.snapshots()
        several = len(snapshots) > 1 or bool(snapshots[0][0])
        worker = ["worker"] if several else []
        yield GaugeMetricFamily("homeport_devices", "Devices known", self._devices)
        yield GaugeMetricFamily("homeport_store_up", "1 while the database takes writes", float(self._up))
        ahead = hub.time.ahead
        yield GaugeMetricFamily(
            "homeport_clock_ahead_seconds", "By how much a clock that has jumped is not believed", ahead
        )
        yield from self._store_figures()
        gauge = GaugeMetricFamily("homeport_sessions_open", "CWMP sessions open now", labels=worker)
        for number, snapshot in snapshots:
            gauge.add_metric([number] if several else [], snapshot.open)
        yield gauge
        workers = self._services.workers()
        if workers:
            serving = sum(w.serving for w in workers)
            yield GaugeMetricFamily("homeport_workers", "Worker processes that shall serve", len(workers))
            yield GaugeMetricFamily("homeport_workers_serving", "Worker processes that serve", serving)
            starts = CounterMetricFamily("homeport_worker_starts", "Starts of a worker process", labels=["worker"])
            hung = CounterMetricFamily("homeport_worker_hung", "Ends of a worker process that hung", labels=["worker"])
            for position, state in enumerate(workers, 1):
                starts.add_metric([str(position)], state.starts)
                hung.add_metric([str(position)], state.hung)
            yield from (starts, hung)
        if hub.settings.xmpp_jid:
            up = any(snapshot.counts.get("xmpp_connected") for _, snapshot in snapshots)
            yield GaugeMetricFamily(
                "homeport_xmpp_connected", "1 while connection requests by XMPP can be sent", float(up)
            )
        for name, text, count in _COUNTS:
            counter = CounterMetricFamily(name, text, labels=worker)
            for number, snapshot in snapshots:
                counter.add_metric([number] if several else [], snapshot.counts.get(count, 0))
            yield counter
        for name, text, bounds, kind in _HISTOGRAMS:
            histogram = HistogramMetricFamily(name, text, labels=worker)
            for number, snapshot in snapshots:
                times = snapshot.tables.get(f"{kind}_times", {})
                sums = accumulate(times.get(str(bound), 0) for bound in bounds)
                buckets = [
                    ("+Inf" if bound == FOREVER else str(bound), float(n))
                    for bound, n in zip(bounds, sums, strict=True)
                ]
                seconds = snapshot.counts.get(f"{kind}_micros", 0) / 1e6
                histogram.add_metric([number] if several else [], buckets, seconds)
            yield histogram
        for name, text, label, table in _TABLES:
            family = CounterMetricFamily(name, text, labels=[label, *worker])
            for number, snapshot in snapshots:
                for key, value in sorted(snapshot.tables.get(table, {}).items()):
                    family.add_metric([key, number] if several else [key], value)
            yield family

    def _store_figures(self) -> Iterator[Metric]:
        """The queue and the storage, the same whichever worker is asked."""
        found = self._figures
        age = max(0.0, self._services.hub.clock() - found.oldest_task) if found.open_tasks else 0.0
        for name, text, value in (
            ("homeport_tasks_open", "Tasks queued, running, or with an unknown outcome", found.open_tasks),
            ("homeport_oldest_open_task_age_seconds", "Age of the oldest open task, 0 without any", age),
            ("homeport_store_size_bytes", "What the database takes", found.size),
            ("homeport_data_dir_free_bytes", "Room where the data directory is", self._free),
        ):
            yield GaugeMetricFamily(name, text, value)


_HISTOGRAMS = (
    (
        "homeport_answer_seconds",
        "From a device's request, read in full, to our answer, commit included",
        ANSWER_BOUNDS,
        "answer",
    ),
    ("homeport_session_seconds", "From the Inform to the end of the session", SESSION_BOUNDS, "session"),
)

_COUNTS = (
    ("homeport_informs", "Informs received", "informs"),
    ("homeport_messages", "HTTP requests of devices", "messages"),
    ("homeport_unauthorized", "Challenges sent to devices", "unauthorized"),
    ("homeport_login_failures", "Logins of devices with a wrong name or password", "login_failures"),
    ("homeport_logins_held", "Logins of devices that were held: many like them had failed", "logins_held"),
    ("homeport_logins_unread", "Of those, the ones that were told to come back and not looked at", "logins_unread"),
    ("homeport_newcomers_refused", "Devices not known that were sent away: too many wait", "newcomers_refused"),
    (
        "homeport_newcomers_over_share",
        "Of those, the ones of whose address too many wait while there is room for others",
        "newcomers_over_share",
    ),
    ("homeport_sessions_continued", "CWMP sessions that another process had begun", "continued"),
)

_TABLES = (
    ("homeport_sessions", "CWMP sessions ended", "outcome", "sessions"),
    ("homeport_tasks_ended", "Tasks ended, also by the clock or by an operator", "status", "tasks"),
    ("homeport_rpcs", "RPCs in either direction", "rpc", "rpcs"),
    ("homeport_faults", "Faults of devices", "code", "faults"),
    ("homeport_http_responses", "HTTP answers to devices", "status", "http"),
    (
        "homeport_group_logins",
        "Sessions begun by groups' logins; /old: by the password before",
        "login",
        "group_logins",
    ),
    ("homeport_tls_failures", "TLS handshakes of devices that failed", "reason", "tls_failures"),
    ("homeport_file_transfers", "Transfers of the file server", "outcome", "file_transfers"),
    ("homeport_notifications", "Lightweight notifications received", "verdict", "notifications"),
    (
        "homeport_webhook_events_dropped",
        "Events that a webhook did not take, and that are too old or too many",
        "webhook",
        "webhook_drops",
    ),
    ("homeport_connection_requests", "Connection requests", "outcome", "connection_requests"),
)
