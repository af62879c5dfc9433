"""In which order a device is called by HTTP, XMPP and UDP, and what is told where none of them works."""

import asyncio
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pytest

from homeport.acs.config import AcsSettings
from homeport.acs.records import DeviceRecord
from homeport.acs.services.contacts import Contacts, in_order, may_be_called
from homeport.acs.services.hub import Hub
from homeport.acs.services.peers import Peers
from homeport.acs.services.xmpp_calls import XmppCalls, link_settings, login
from homeport.acs.storage.interface import UnitOfWork
from homeport.acs.storage.memory import MemoryStore
from homeport.errors import ConfigError, TransportError
from homeport.transport.xmpp import XmppRequestResult, XmppState
from homeport.transport.xmpp_rules import XmppStatus

DEVICE = DeviceRecord(
    id="O-P-S",
    oui="O",
    product_class="P",
    serial_number="S",
    address="192.0.2.7",
    connection_request_url="http://192.0.2.7:7547/x",
    connection_request_username="u",
    connection_request_password="p",
    jabber_id="cpe@xmpp.test/r",
)
XMPP = {"xmpp_jid": "acs@xmpp.test", "xmpp_password": "x"}


@pytest.mark.parametrize(
    ("available", "last", "failed", "order"),
    [
        (("http", "udp", "xmpp"), "", (), ["http", "xmpp", "udp"]),
        (("http", "udp", "xmpp"), "xmpp", (), ["xmpp", "http", "udp"]),
        (("http", "udp", "xmpp"), "udp", (), ["udp", "http", "xmpp"]),
        (("http", "udp", "xmpp"), "udp", {"udp"}, ["http", "xmpp"]),
        (("http", "xmpp"), "xmpp", {"http", "xmpp"}, ["xmpp", "http"]),
        (("xmpp",), "http", (), ["xmpp"]),
    ],
)
def test_the_way_that_worked_last_is_tried_first(
    available: tuple[str, ...], last: str, failed: Collection[str], order: list[str]
) -> None:
    """Then HTTP, XMPP and UDP; a way that led to no session just now waits until all have."""
    assert in_order(available, last, failed) == order


@dataclass
class HttpAnswer:
    """What an HTTP connection request gave."""

    ok: bool
    status: int
    reason: str = "said so"


class Link:
    """A connection to an XMPP server that answers as it is told."""

    def __init__(self, result: XmppRequestResult | Exception) -> None:
        self.result = result
        self.state = XmppState(XmppStatus.ENABLED, "acs@xmpp.test/1")
        self.asked: list[tuple[str, str, str]] = []

    def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def request_connection(self, jid: str, *, username: str, password: str, timeout: float = 10.0) -> Any:
        self.asked.append((jid, username, password))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def commit(store: MemoryStore, record: DeviceRecord) -> None:
    unit = UnitOfWork()
    unit.devices.append(record)
    await store.commit(unit)


def calling(record: DeviceRecord, http: HttpAnswer, link: Link | None, **settings: Any) -> tuple[Any, bool]:
    """How a call of this device goes."""

    async def scene() -> tuple[Any, bool]:
        store = MemoryStore()
        await store.open()
        await commit(store, record)
        hub = Hub(store, AcsSettings(**(XMPP | settings if link else settings)))

        async def request(*_: Any) -> HttpAnswer:
            return http

        async def never(_: str) -> bool:
            return False

        xmpp = XmppCalls(hub, lambda told: link) if link is not None else None
        return await Contacts(hub, request, in_session=never, xmpp=xmpp).call(record.id)

    return asyncio.run(scene())


NO_WAY = HttpAnswer(False, 0, "no connection")


def test_a_device_that_http_does_not_reach_is_called_by_xmpp() -> None:
    """With its own login, at its own Jabber id."""
    link = Link(XmppRequestResult(True))
    detail, _ = calling(DEVICE, NO_WAY, link)
    assert (detail.ok, detail.way, detail.status) == (True, "xmpp", 200)
    assert link.asked == [("cpe@xmpp.test/r", "u", "p")]


def test_a_device_that_refuses_by_http_is_not_asked_by_xmpp_too() -> None:
    """It was reached: another way would only try the same login again."""
    link = Link(XmppRequestResult(True))
    detail, again = calling(DEVICE, HttpAnswer(False, 401), link)
    assert (detail.ok, detail.way, detail.status, again, link.asked) == (False, "http", 401, False, [])


@pytest.mark.parametrize(
    ("result", "status", "again", "words"),
    [
        (XmppRequestResult(False, "not-authorized"), 401, False, "refuses the user name or password"),
        (XmppRequestResult(False, "service-unavailable"), 503, True, "ConnReqAllowedJabberIDs"),
        (XmppRequestResult(False, "bad-request"), 400, False, "does not understand"),
        (XmppRequestResult(False, "timeout"), 0, True, "no answer by XMPP within 10 s"),
        (XmppRequestResult(False, "remote-server-not-found"), 0, True, "cannot reach the device's"),
        (XmppRequestResult(False, "gone"), 0, False, "XMPP: gone"),
        (TransportError("not connected to the XMPP server", kind="closed"), 0, True, "not connected"),
    ],
)
def test_an_xmpp_error_becomes_status_and_reason(result: Any, status: int, again: bool, words: str) -> None:
    """What a person can act on, and whether the device is called again."""
    record = DeviceRecord(**{f: getattr(DEVICE, f) for f in DEVICE.__struct_fields__} | {"connection_request_url": ""})
    detail, later = calling(record, NO_WAY, Link(result))
    assert (detail.ok, detail.way, detail.status, later) == (False, "xmpp", status, again)
    assert words in detail.reason


def test_where_no_way_works_each_one_s_reason_is_told() -> None:
    """And where the ACS has no account, that the device could be called by XMPP."""
    detail, _ = calling(DEVICE, NO_WAY, Link(XmppRequestResult(False, "timeout")))
    assert detail.reason.startswith("HTTP: no connection; XMPP: cpe@xmpp.test/r gave no answer")
    detail, _ = calling(DEVICE, NO_WAY, None)
    assert "xmpp_jid" in detail.reason


def test_only_jabber_ids_of_named_domains_are_called() -> None:
    """A device cannot make the ACS write to anybody in the world."""
    record = DeviceRecord(
        **{f: getattr(DEVICE, f) for f in DEVICE.__struct_fields__} | {"jabber_id": "someone@elsewhere.example"}
    )
    link = Link(XmppRequestResult(True))
    detail, _ = calling(record, NO_WAY, link)
    assert not detail.ok and "xmpp_domains" in detail.reason and not link.asked
    assert calling(record, NO_WAY, link, xmpp_domains=("Elsewhere.example",))[0].ok


def test_no_device_is_told_another_s_password() -> None:
    """The request carries the password: the device's own, or the one of the settings that can only be its own."""
    unknown = DeviceRecord(id="d", oui="O", product_class="P", serial_number="S", connection_request_username="b")
    assert login(DEVICE, [("a", "1")]) == ("u", "p")
    assert login(unknown, [("a", "1"), ("b", "2")]) == ("b", "2")
    assert login(unknown, [("a", "1")]) == ("a", "1")
    assert login(unknown, [("a", "1"), ("c", "3")]) is None
    assert login(unknown, []) is None


class Line:
    """The channel between two processes, without a database."""

    def __init__(self) -> None:
        self.heard: Any = None
        self.other: Line

    def say(self, word: str) -> None:
        asyncio.get_running_loop().call_soon(self.other.heard, word)


def test_a_process_without_a_connection_asks_the_one_that_has_it() -> None:
    """By the device's id only; the other knows the login."""

    async def scene() -> None:
        store, lines, said = MemoryStore(), (Line(), Line()), []
        lines[0].other, lines[1].other = lines[1], lines[0]
        await store.open()
        await commit(store, DEVICE)
        hubs = [Hub(store, AcsSettings(**XMPP)) for _ in lines]
        for n, (hub, line) in enumerate(zip(hubs, lines, strict=True)):
            hub.peers = Peers(line, f"node{n}")  # type: ignore[arg-type]
        link = Link(XmppRequestResult(True))
        first, second = XmppCalls(hubs[0], lambda told: link), XmppCalls(hubs[1], None)
        assert "no process of this ACS" in (await second.call(DEVICE)).reason
        await first.announce()
        await asyncio.sleep(0)
        heard = lines[0].heard
        lines[0].heard = lambda word: (said.append(word), heard(word))
        assert (await second.call(DEVICE)).ok
        assert link.asked == [("cpe@xmpp.test/r", "u", "p")]
        assert DEVICE.id in said[0] and '"p"' not in said[0]

    asyncio.run(scene())


def test_the_connection_is_made_from_the_settings() -> None:
    """A server that is named is used, otherwise DNS is asked; the waits between attempts are short."""
    made = link_settings(AcsSettings(**XMPP, xmpp_server="[::1]:5222"))
    assert (made.jid, made.targets(), made.server_retry_max_interval) == ("acs@xmpp.test", (("::1", 5222),), 60)
    assert link_settings(AcsSettings(**XMPP)).targets() == (None,)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"xmpp_jid": "acs"}, "reads like"),
        ({"xmpp_jid": "acs@xmpp.test"}, "xmpp_password"),
        (XMPP | {"xmpp_server": "xmpp.test"}, "HOST:PORT"),
        (XMPP | {"xmpp_server": ":5222"}, "HOST:PORT"),
        ({"xmpp_password": "x"}, "need xmpp_jid"),
    ],
)
def test_xmpp_settings_that_lead_nowhere_are_refused(given: dict[str, Any], words: str) -> None:
    """Before anything starts, with the cure."""
    with pytest.raises(ConfigError, match=words):
        AcsSettings(**given).check()


@pytest.mark.parametrize(
    ("host", "own", "may"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("2001:DB8:0:0::7", "2001:db8::7", True),
        ("2001:db8::8", "2001:db8::7", False),
        ("10.1.2.3", "192.0.2.7", True),
        ("::ffff:10.1.2.3", "", True),
        ("fd00::1:2", "192.0.2.7", True),
        ("127.0.0.1", "192.0.2.7", False),
        ("acs.example", "192.0.2.7", False),
        ("", "192.0.2.7", False),
    ],
)
def test_a_device_is_called_at_its_own_address_however_it_writes_it(host: str, own: str, may: bool) -> None:
    """And in the networks that the operator named, of either kind."""
    networks = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
    assert may_be_called(host, own, networks) is may
