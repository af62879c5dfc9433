"""Connection requests: asking a device to open a session, to its own address only, and writing down how that went."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

import msgspec

from homeport.acs.records import ConnectionRequestDetail, DeviceRecord, TaskStatus
from homeport.acs.services.hub import Hub, keep_detail
from homeport.acs.services.sessions import contact
from homeport.acs.services.shares import MOST_CALLS, SlotKeeper
from homeport.acs.services.udp_calls import UdpCalls
from homeport.acs.services.xmpp_calls import XmppCalls
from homeport.errors import HomeportError, LocalProtocolError, RemoteProtocolError, StoreUnavailable
from homeport.transport.addresses import Address, parse_address

WAITS: Final = (0.0, 3.0, 10.0, 30.0, 60.0)
"""Seconds before each try: a device that is busy (503) gives no time of its own, and promises nothing.

The last is for those that take only so many calls a minute.
"""

SESSION_WITHIN: Final = 30.0
"""Seconds within which a device that accepted must open its session (TR-069a6 3.2.2.2)."""

HTTP: Final = "http"
UDP: Final = "udp"
XMPP: Final = "xmpp"

_ORDER: Final = (HTTP, XMPP, UDP)
"""UDP last: it gives no answer, so that only half a minute of silence tells that it did not work."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether a session of the device has ended."""

TURN: Final = 0.1
"""Seconds between two looks whether another worker has ended its call of the same device, or any one."""


class Answer(Protocol):
    """What a connection request gave."""

    @property
    def ok(self) -> bool: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...


Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Request = Callable[[str, Sequence[tuple[str, str]], float, Callable[[str], bool]], Awaitable[Answer]]
"""(url, credentials, timeout, allowed host) -> answer."""


def in_order(available: Collection[str], last: str, failed: Collection[str]) -> list[str]:
    """The ways to try, the one that worked last first. failed: ways that led to no session just now, tried only where all did."""
    untried = [way for way in available if way not in failed]
    return sorted(untried or available, key=lambda way: (way != last, _ORDER.index(way)))


def may_be_called(host: str, own: str, networks: Collection[Network]) -> bool:
    """Whether a device may be called at this host: only at its own address, however it writes it, and in networks that the operator named.

    own: the address that the device itself came from.
    """
    if host == own:
        return True
    try:
        address = _mapped(host)
        return any(address in network for network in networks) or address == _mapped(own)
    except ValueError:
        return False


def _mapped(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4 address that is written as one of IPv6 is one of IPv4. Raises ValueError."""
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


class _Call:
    """A device being called. hurry: set when another task asks while we wait to try again."""

    __slots__ = ("hurry", "job", "tasks")

    def __init__(self, task: str) -> None:
        self.tasks = {task}
        self.hurry = asyncio.Event()
        self.job: asyncio.Task[None]


class Contacts:
    """One running request per device, however many tasks ask for it. in_session: whether the device has a session open.

    shared: the calls of all workers of this machine, of which a device has one at a time; None in a process that is alone.
    """

    def __init__(
        self,
        hub: Hub,
        request: Request,
        *,
        in_session: Callable[[str], Awaitable[bool]],
        udp: UdpCalls | None = None,
        xmpp: XmppCalls | None = None,
        shared: SlotKeeper | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hub = hub
        self._request = request
        self._in_session = in_session
        self._udp = udp
        self._xmpp = xmpp
        self._sleep = sleep
        self._running: dict[str, _Call] = {}
        self._calls = asyncio.Semaphore(MOST_CALLS)
        self._shared = shared
        settings = hub.settings
        self._users = tuple((u, p) for u, _, p in (x.partition(":") for x in settings.connection_request_users))
        self._networks = tuple(ipaddress.ip_network(n, strict=False) for n in settings.connection_request_networks)

    def ask(self, device: str, task: str) -> None:
        """Have the device called, and the outcome noted for the task; for no task ("") where the ACS itself wants it. Returns at once."""
        running = self._running.get(device)
        if running is not None:
            running.tasks.add(task)
            running.hurry.set()
            return
        call = self._running[device] = _Call(task)
        call.job = asyncio.get_running_loop().create_task(self._run(device, call))
        call.job.add_done_callback(lambda _: self._running.pop(device, None))

    async def stop(self) -> None:
        """End all running requests."""
        jobs = [call.job for call in self._running.values()]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _pause(self, seconds: float, hurry: asyncio.Event) -> None:
        """Wait, unless somebody is in a hurry."""
        jobs = {asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(hurry.wait())}
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()

    async def _run(self, device: str, call: _Call) -> None:
        tasks = call.tasks
        failed: set[str] = set()
        for wait in WAITS:
            if wait:
                await self._pause(wait, call.hurry)
            call.hurry.clear()
            try:
                if await self._in_session(device) and not await self._left_out(device, tasks):
                    return  # it was here already, and has taken its tasks in that session
            except StoreUnavailable as e:
                self._note(tasks, self._detail(False, 0, str(e)))
                continue  # so was the device: it is called when the database is back
            if not await self._admitted(device):
                self._note(tasks, self._detail(True, 0, "called for another task, by another process"))
                return
            heard = asyncio.ensure_future(self._hub.bus.wait(contact(device), SESSION_WITHIN))
            try:
                try:
                    detail, again = await self.call(device, failed)
                except StoreUnavailable as e:
                    detail, again = self._detail(False, 0, str(e)), True
                finally:
                    self._ended(device)
                self._note(tasks, detail)
                if detail.ok and not await heard:
                    failed.add(detail.way)
                    told = "sent" if detail.way == UDP else "accepted"
                    reason = f"{told}, but no session within {SESSION_WITHIN:g} s"
                    self._note(tasks, self._detail(False, detail.status, reason, detail.way))
                elif detail.ok:
                    self._remember(device, detail.way)
                    return
                elif not again and not call.hurry.is_set():
                    return
            finally:
                heard.cancel()

    async def _left_out(self, device: str, tasks: set[str]) -> bool:
        """Wait for the end of the device's session; whether one of these tasks came too late for it. Raises StoreUnavailable."""
        while await self._in_session(device):
            await self._sleep(LOOK_EVERY)
        if "" in tasks:
            record = await self._hub.store.device(device)
            if record is not None and record.wants:
                return True
        return any(t.id in tasks and t.status is TaskStatus.QUEUED for t in await self._hub.store.open_tasks(device))

    async def _admitted(self, device: str) -> bool:
        """Wait until the device may be called; False where another worker has called it meanwhile, and it is here."""
        await self._calls.acquire()
        try:
            while self._shared is not None and not self._shared.take(device):
                if await self._hub.bus.wait(contact(device), TURN):
                    self._calls.release()
                    return False
        except BaseException:
            self._calls.release()
            raise
        return True

    def _ended(self, device: str) -> None:
        self._calls.release()
        if self._shared is not None:
            self._shared.free(device)

    def _remember(self, device: str, way: str) -> None:
        """Begin with this way the next time."""
        try:
            self._hub.store.touch(device, {"call_way": way}, {})
        except StoreUnavailable:
            pass  # the way is found again by trying

    async def call(self, device: str, failed: Collection[str] = ()) -> tuple[ConnectionRequestDetail, bool]:
        """How one connection request went, and whether another try makes sense. failed: ways that need not be tried."""
        record = await self._hub.store.device(device)
        if record is None:
            return self._detail(False, 0, "the device is gone"), False
        to = self._udp_address(record)
        available = [HTTP] if record.connection_request_url else []
        if to is not None:
            available.append(UDP)
        if self._xmpp is not None and record.jabber_id:
            available.append(XMPP)
        details: list[ConnectionRequestDetail] = []
        again = False
        for way in in_order(available or [HTTP], record.call_way, failed):
            if way == XMPP:
                detail, later = await self._by_xmpp(record)
            elif way == UDP and to is not None:
                detail, later = self._by_udp(record, to), False
            else:
                detail, later = await self._by_http(record)
            if detail.ok:
                return detail, False
            details.append(detail)
            again |= later
            if way == HTTP and detail.status:
                break  # the device was reached, and said no
        if record.jabber_id and self._xmpp is None:
            details[-1] = self._with_hint(details[-1])
        return _together(details), again

    @staticmethod
    def _with_hint(detail: ConnectionRequestDetail) -> ConnectionRequestDetail:
        hint = "the device can be called by XMPP too, for which this ACS needs an account (xmpp_jid)"
        return msgspec.structs.replace(detail, reason=f"{detail.reason}; {hint}")

    async def _by_xmpp(self, record: DeviceRecord) -> tuple[ConnectionRequestDetail, bool]:
        assert self._xmpp is not None
        outcome = await self._xmpp.call(record)
        return self._detail(outcome.ok, outcome.status, outcome.reason, XMPP), outcome.again

    def _udp_address(self, record: DeviceRecord) -> Address | None:
        """Where the device can be called by UDP; None where it cannot."""
        if self._udp is None or not record.udp_address:
            return None
        try:
            to = parse_address(record.udp_address)
        except RemoteProtocolError:
            return None
        return to if self._allowed(to.host, record) else None

    def _by_udp(self, record: DeviceRecord, to: Address) -> ConnectionRequestDetail:
        assert self._udp is not None
        username, password = (self._credentials(record) or [("", "")])[0]
        try:
            self._udp.call(record.id, to, username, password)
        except LocalProtocolError as e:
            return self._detail(False, 0, str(e), UDP)
        return self._detail(True, 0, f"sent to {to} by UDP, to which devices give no answer", UDP)

    async def _by_http(self, record: DeviceRecord) -> tuple[ConnectionRequestDetail, bool]:
        if not record.connection_request_url:
            return self._detail(
                False, 0, "the device has told no ConnectionRequestURL; it comes with its next session"
            ), False
        unusable = not record.connection_request_url.startswith("http://")
        looked_at: list[bool] = []

        def allowed(host: str) -> bool:
            looked_at.append(self._allowed(host, record))
            return looked_at[-1]

        try:
            answer = await self._request(
                record.connection_request_url,
                self._credentials(record),
                self._hub.settings.connection_request_timeout,
                allowed,
            )
        except HomeportError as e:
            return self._detail(False, 0, str(e)), False
        forbidden = bool(looked_at) and not any(looked_at)
        reason = answer.reason
        if forbidden:
            reason += f": the device comes from {record.address}; to allow it, name its network in connection_request_networks"
        again = answer.status == 503 or (answer.status == 0 and not forbidden and not unusable)
        return self._detail(answer.ok, answer.status, reason), again

    def _credentials(self, record: DeviceRecord) -> list[tuple[str, str]]:
        """The device's own first, then those of the settings: the one with its known user name before the others."""
        own = (record.connection_request_username, record.connection_request_password)
        listed = sorted(self._users, key=lambda pair: pair[0] != own[0])
        return ([own] if own[0] and own[1] else []) + listed

    def _allowed(self, host: str, record: DeviceRecord) -> bool:
        return may_be_called(host, record.address, self._networks)

    def _detail(self, ok: bool, status: int, reason: str, way: str = HTTP) -> ConnectionRequestDetail:
        return ConnectionRequestDetail(ok=ok, status=status, reason=reason, at=self._hub.clock(), way=way)

    def _note(self, tasks: set[str], detail: ConnectionRequestDetail) -> None:
        self._hub.stats.count(self._hub.stats.connection_requests, "ok" if detail.ok else str(detail.status))
        for task in tasks - {""}:
            keep_detail(self._hub.connection_request_details, task, detail)
            self._hub.noted(task, detail)


def _together(details: Sequence[ConnectionRequestDetail]) -> ConnectionRequestDetail:
    """One for all ways that failed: the last one's, with every reason."""
    if len(details) == 1:
        return details[0]
    reasons = "; ".join(f"{d.way.upper()}: {d.reason}" for d in details)
    return msgspec.structs.replace(details[-1], reason=reasons)
