"""Two sessions joined: what one sends, the other receives. Loss is not delivering."""

from dataclasses import dataclass, field

from homeport.codec.messages import (
    DeviceIdStruct,
    EventStruct,
    FaultMessage,
    Inform,
    InformResponse,
    Message,
    ParameterValueStruct,
)
from homeport.session.events import Event
from homeport.session.session import Session
from homeport.terms import Role

BOOT = Inform(
    device_id=DeviceIdStruct("Maker", "00256D", "Router", "S1"),
    event=(EventStruct("1 BOOT"),),
    current_time="2026-01-01T00:00:00Z",
    parameter_list=(ParameterValueStruct("Device.RootDataModelVersion", "2.19"),),
)


def refusal(code: int, text: str = "no") -> FaultMessage:
    """A fault of either side."""
    return FaultMessage(fault_code=code, fault_string=text)


@dataclass
class Pair:
    """A CPE's session and an ACS's, with a clock that only tests move.

    `cpe(message)` and `acs(message)` send and deliver; the other end's events come back. `wire` keeps every body in order.
    """

    cpe_session: Session = field(default_factory=lambda: Session(Role.CPE))
    acs_session: Session = field(default_factory=lambda: Session(Role.ACS))
    now: float = 1000.0
    wire: list[tuple[str, bytes]] = field(default_factory=list)

    def cpe(self, message: Message | None) -> list[Event]:
        """The CPE posts; the ACS's events."""
        body = self.cpe_session.send(message, now=self.now)
        self.wire.append(("cpe", body))
        return self.acs_session.receive(body, now=self.now)

    def acs(self, message: Message | None, *, hold: bool = False) -> list[Event]:
        """The ACS answers; the CPE's events."""
        body = self.acs_session.send(message, now=self.now, hold_requests=hold)
        self.wire.append(("acs", body))
        return self.cpe_session.receive(body, now=self.now)

    def opened(self, *, hold: bool = False) -> "Pair":
        """After Inform and InformResponse."""
        self.cpe(BOOT)
        self.acs(InformResponse(), hold=hold)
        return self

    def idle(self) -> "Pair":
        """After the first empty POST: the ACS's turn."""
        self.opened()
        self.cpe(None)
        return self


def names(events: list[Event]) -> list[str]:
    """The kinds of events, in order."""
    return [type(e).__name__ for e in events]
