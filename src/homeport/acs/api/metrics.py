"""Counters for Prometheus, collected when somebody asks: counting costs the sessions nothing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from homeport.acs.api.app import Services


class Metrics:
    """The registry of one ACS."""

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._devices = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def text(self) -> str:
        """All metrics in the text format."""
        self._devices = await self._services.hub.store.device_count()
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for. With several workers each series has the worker's number, so that a restart resets only its own."""
        hub = self._services.hub
        snapshots = self._services.snapshots()
        several = len(snapshots) > 1 or bool(snapshots[0][0])
        worker = ["worker"] if several else []
        yield GaugeMetricFamily("homeport_devices", "Devices known", self._devices)
        yield GaugeMetricFamily(
            "homeport_store_up", "1 while the database takes writes", float(hub.store.trouble is None)
        )
        gauge = GaugeMetricFamily("homeport_sessions_open", "CWMP sessions open now", labels=worker)
        for number, snapshot in snapshots:
            gauge.add_metric([number] if several else [], snapshot.open)
        yield gauge
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
        for name, text, label, table in _TABLES:
            family = CounterMetricFamily(name, text, labels=[label, *worker])
            for number, snapshot in snapshots:
                for key, value in sorted(snapshot.tables.get(table, {}).items()):
                    family.add_metric([key, number] if several else [key], value)
            yield family


_COUNTS = (
    ("homeport_informs", "Informs received", "informs"),
    ("homeport_messages", "HTTP requests of devices", "messages"),
    ("homeport_unauthorized", "Challenges sent to devices", "unauthorized"),
    ("homeport_sessions_continued", "CWMP sessions that another process had begun", "continued"),
)

_TABLES = (
    ("homeport_sessions", "CWMP sessions ended", "outcome", "sessions"),
    ("homeport_rpcs", "RPCs in either direction", "rpc", "rpcs"),
    ("homeport_faults", "Faults of devices", "code", "faults"),
    ("homeport_http_responses", "HTTP answers to devices", "status", "http"),
    (
        "homeport_group_logins",
        "Sessions begun by groups' logins; /old: by the password before",
        "login",
        "group_logins",
    ),
    ("homeport_file_transfers", "Transfers of the file server", "outcome", "file_transfers"),
    ("homeport_notifications", "Lightweight notifications received", "verdict", "notifications"),
    ("homeport_connection_requests", "Connection requests", "outcome", "connection_requests"),
)
