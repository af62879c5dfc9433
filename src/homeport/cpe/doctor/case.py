"""What the doctor looks at, from a running agent or from the state directory of one that does not run, and what it finds."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from homeport.cpe.config import CpeSettings
from homeport.cpe.leases.desk import seen_of
from homeport.cpe.leases.lease import LeaseSeen, kept_leases
from homeport.errors import HomeportError

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent


class Mark(StrEnum):
    """How bad a finding is. SKIPPED: could not be looked at, because something before it failed or it does not apply."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True):
    """One check: what was found, in a sentence, and what to do about it, "" where nothing."""

    check: str
    mark: Mark
    said: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One device. url_from: stored, DHCP or factory. state: what the state directory says of itself, "ok" or a sentence; "" for no state.

    trouble: what kept the rest from being read, "" for nothing. periodic: seconds between contacts, 0 for none.
    """

    settings: CpeSettings
    running: bool
    url: str = ""
    url_from: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    enabled: bool = True
    periodic: int = 0
    connection_request_url: str = ""
    connection_request_password: bool = True
    leases: tuple[LeaseSeen, ...] = ()
    last_failure: str = ""
    state: str = ""
    trouble: str = ""

    @property
    def directory(self) -> Path:
        return self.settings.directory


def case_of_agent(agent: "Agent") -> Case:
    """The case of a running agent."""
    agent.save_status()
    management, status = agent.management, agent.status
    last = status.last_session
    enabled, interval, _ = management.periodic
    return Case(
        settings=agent.settings,
        running=True,
        url=management.url,
        url_from=status.acs_url_from,
        username=management.username,
        password=management.password,
        enabled=agent.enabled,
        periodic=interval if enabled else 0,
        connection_request_url=management.text("ConnectionRequestURL"),
        connection_request_password=bool(management.connection_request_credentials[1]),
        leases=agent.leases.seen,
        last_failure=last.reason if last is not None and not status.connected else "",
        state=agent.store.check(),
    )


def case_of_directory(settings: CpeSettings) -> Case:
    """The case of an agent that does not run: what these settings and its state directory say."""
    from homeport.cpe.enable import stored_model, switched_off
    from homeport.cpe.management import Management
    from homeport.cpe.startup import RANKS, url_source
    from homeport.cpe.state import Store

    leases = tuple(seen_of(lease, settings.option43_form) for lease in kept_leases(settings.directory))
    plain = Case(
        settings,
        False,
        url=settings.acs_url,
        url_from="stored" if settings.acs_url else "",
        username=settings.username,
        password=settings.password,
        leases=leases,
    )
    if not (settings.directory / "state.db").exists():
        return plain
    try:
        store = Store(settings.directory)
    except HomeportError as e:
        return with_texts(plain, trouble=str(e))
    try:
        known = stored_model(store) or stored_model(store, settings.profile)
        state = store.check()
        if known is None:
            return with_texts(plain, state=state)
        management = Management(known[0])
        enabled, interval, _ = management.periodic
        return Case(
            settings,
            False,
            url=management.url or settings.acs_url,
            url_from=RANKS[url_source(store)] if management.url else plain.url_from,
            username=management.username or settings.username,
            password=management.password or settings.password,
            enabled=management.enabled and not switched_off(store),
            periodic=interval if enabled else 0,
            leases=leases,
            state=state,
        )
    except HomeportError as e:
        return with_texts(plain, trouble=str(e))
    finally:
        store.close()


def with_texts(case: Case, **changes: str) -> Case:
    """The case with some of its texts changed."""
    import dataclasses

    return dataclasses.replace(case, **changes)  # type: ignore[arg-type]
