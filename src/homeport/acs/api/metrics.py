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
        """What the registry asks for."""
        hub, stats = self._services.hub, self._services.hub.stats
        yield GaugeMetricFamily("homeport_devices", "Devices known", self._devices)
        yield GaugeMetricFamily("homeport_sessions_open", "CWMP sessions open now", self._services.live_sessions())
        yield GaugeMetricFamily(
            "homeport_store_up", "1 while the database takes writes", float(hub.store.trouble is None)
        )
        yield CounterMetricFamily("homeport_informs", "Informs received", stats.informs)
        yield CounterMetricFamily("homeport_messages", "HTTP requests of devices", stats.messages)
        yield CounterMetricFamily("homeport_unauthorized", "Challenges sent to devices", stats.unauthorized)
        for name, text, label, table in (
            ("homeport_sessions", "CWMP sessions ended", "outcome", stats.sessions),
            ("homeport_rpcs", "RPCs in either direction", "rpc", stats.rpcs),
            ("homeport_faults", "Faults of devices", "code", stats.faults),
            ("homeport_http_responses", "HTTP answers to devices", "status", stats.http),
            ("homeport_file_transfers", "Transfers of the file server", "outcome", stats.file_transfers),
            ("homeport_connection_requests", "Connection requests", "outcome", stats.connection_requests),
        ):
            family = CounterMetricFamily(name, text, labels=[label])
            for key, value in sorted(table.items(), key=lambda item: str(item[0])):
                family.add_metric([str(key)], value)
            yield family
