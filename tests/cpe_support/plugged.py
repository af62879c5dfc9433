"""A small device with plug-ins, for tests: a profile with what the plug-ins declare, a model, and their host."""

from collections.abc import Callable

from cpe_support.virtual_clock import VirtualClock
from homeport.cpe.devices.mapper import Mapper
from homeport.cpe.devices.plugin import Plugin
from homeport.cpe.devices.plugin_host import PluginHost
from homeport.errors import Fault
from homeport.model.changes import CommitRecord
from homeport.model.profile import ProfileDef, load_profile
from homeport.model.tree import DataModel
from homeport.terms import Writer


class Plugged:
    """One model with the host of its plug-ins. records: what commits would have put on disk."""

    def __init__(
        self,
        *plugins: Plugin,
        profile: ProfileDef | None = None,
        state: object = None,
        mapper: Mapper | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.host = PluginHost(plugins, self.clock, mapper)
        self.records: list[CommitRecord] = []
        profile = self.host.fitted(profile or load_profile("dkt-797xx"))
        self.model = DataModel(profile, persist=self.records.append, state=state)  # type: ignore[arg-type]
        self.host.attach(self.model)

    def values(self, path: str) -> dict[str, str]:
        """What GetParameterValues answers, by what follows the path."""
        return {v.name.removeprefix(path): v.value for v in self.model.get(path)}

    def value(self, path: str) -> str:
        """One parameter as GetParameterValues answers it."""
        return self.model.get(path)[0].value

    def set(self, writer: Writer = Writer.ACS, **values: str) -> int:
        """SetParameterValues; in the names `__` stands for a dot."""
        with self.model.transaction(writer) as change:
            for name, text in values.items():
                change.set("Device." + name.replace("__", "."), text)
            return change.commit()

    def refusal(self, deed: Callable[[], object]) -> Fault:
        """The fault that a deed ends with."""
        try:
            deed()
        except Fault as fault:
            return fault
        raise AssertionError("nothing was refused")
