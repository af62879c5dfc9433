"""What all services share: the store, the settings, the clock, ids, counters, and who is told after a commit."""

import asyncio
import itertools
import random
import secrets
import time
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from homeport.acs.config import AcsSettings
from homeport.acs.engine.settle import Patience
from homeport.acs.records import OPEN_STATUSES, ConnectionRequestDetail, TaskRecord, TaskStatus
from homeport.acs.services.newcomers import Newcomers
from homeport.acs.services.peers import Peers
from homeport.acs.services.timekeeper import Timekeeper
from homeport.acs.storage.interface import Store, TaskChange
from homeport.errors import HomeportError
from homeport.http.forwarded import TrustedProxies

MOST_WAITING: Final = 1_000
"""Events that one slow listener may have waiting; then it loses them and is told so, not the server its memory."""


class NotFound(HomeportError):
    """There is no such device, task, session or file."""


class Refused(HomeportError):
    """The wish does not fit the state of things; the message says what to do first."""


class Invalid(Refused):
    """The wish is wrong in itself, whatever the state of things."""


MOST_KEPT: Final = 500
KEPT_FOR: Final = 300.0
"""Events, and seconds after the last listener has left, that are kept for listeners whose connection has broken."""

GAP: Final[dict[str, Any]] = {"kind": "gap"}
"""Told to a listener who has missed events that nobody can tell him any more: he reads anew what he shows."""

END: Final[dict[str, Any]] = {"kind": "end"}
"""Told to a listener when this process ends: he comes again, here or at another."""

CONTACT: Final = "contact:"
"""What the subjects of those begin with who wait for a device and not for a task."""

FOREVER: Final = float("inf")
ANSWER_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, FOREVER)
SESSION_BOUNDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, FOREVER)
"""Seconds, upper bounds of the histograms."""


_LAST_MOMENT: Final = 0x7FFFFFFFFFF
"""Milliseconds since 1970, in the 23rd century: ids have eleven digits for them."""


class Stats:
    """Counters since the start; plain numbers, read by /metrics."""

    __slots__ = (
        "answer_micros",
        "answer_times",
        "connection_requests",
        "continued",
        "faults",
        "file_transfers",
        "group_logins",
        "http",
        "informs",
        "login_failures",
        "logins_held",
        "logins_unread",
        "messages",
        "newcomers_over_share",
        "newcomers_refused",
        "notifications",
        "rpcs",
        "session_micros",
        "session_times",
        "sessions",
        "tasks",
        "tls_failures",
        "unauthorized",
        "webhook_drops",
        "xmpp_connected",
    )

    def __init__(self) -> None:
        self.informs = 0
        self.messages = 0
        self.unauthorized = 0
        self.continued = 0
        self.newcomers_refused = 0
        self.newcomers_over_share = 0  # of those, because others of their address have its share
        self.login_failures = 0
        self.logins_held = 0
        self.logins_unread = 0  # of those, that were told to come back without having been looked at
        self.xmpp_connected = 0  # 1 while this process has the connection
        self.rpcs: dict[str, int] = {}
        self.faults: dict[int, int] = {}
        self.http: dict[int, int] = {}
        self.sessions: dict[str, int] = {}
        self.tasks: dict[str, int] = {}  # that have ended, by their status
        self.connection_requests: dict[str, int] = {}
        self.file_transfers: dict[str, int] = {}
        self.tls_failures: dict[str, int] = {}  # by OpenSSL's name of the reason
        self.notifications: dict[str, int] = {}
        self.group_logins: dict[str, int] = {}  # by the group's name, or NAME/old with the password before
        self.webhook_drops: dict[str, int] = {}  # events that were never taken, by the webhook's name

        self.answer_micros = 0
        self.answer_times: dict[float, int] = {}  # by the bounds of ANSWER_BOUNDS, each without the ones below
        self.session_micros = 0
        self.session_times: dict[float, int] = {}

    def answered(self, seconds: float) -> None:
        """An answer to a device was ready so long after its request had arrived."""
        self.answer_micros += int(seconds * 1e6)
        bound, times = ANSWER_BOUNDS[bisect_left(ANSWER_BOUNDS, seconds)], self.answer_times
        times[bound] = times.get(bound, 0) + 1

    def session_lasted(self, seconds: float) -> None:
        """A session has ended after so long."""
        self.session_micros += int(seconds * 1e6)
        bound, times = SESSION_BOUNDS[bisect_left(SESSION_BOUNDS, seconds)], self.session_times
        times[bound] = times.get(bound, 0) + 1

    @staticmethod
    def count(table: dict[Any, int], key: Any) -> None:
        """One more of this key."""
        table[key] = table.get(key, 0) + 1


class Bus:
    """Who is told what, after it was committed: listeners of the event stream, and waiters for tasks and devices."""

    def __init__(self) -> None:
        self.far: Callable[[dict[str, Any]], None] = lambda event: None
        """Tells the other processes, where somebody listens there."""
        self.first: Callable[[], None] = lambda: None
        """Called when the first listener comes."""
        self._far_until = 0.0
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self.tap: Callable[[dict[str, Any]], None] | None = None
        """Told of what happened in this process, and not of what others tell."""
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._kept: deque[dict[str, Any]] = deque(maxlen=MOST_KEPT)
        self._kept_until = 0.0
        self._run, self._number = secrets.token_hex(4), itertools.count(1)
        self.ended = False
        """This process is being stopped: who waits for a task gets it as it stands."""

    def end(self) -> None:
        """Let listeners and those go who wait for tasks, because this process is being stopped."""
        self.ended = True
        for subject in [s for s in self._waiters if not s.startswith(CONTACT)]:
            self.wake(subject)
        for queue in self._listeners:
            while queue.full():
                queue.get_nowait()
            queue.put_nowait(END)

    @property
    def listening(self) -> bool:
        """Whether anybody reads the event stream, at any process."""
        return bool(self._listeners) or self.tap is not None or self._far or self._may_return

    @property
    def local(self) -> bool:
        """Whether anybody reads it here, or did a moment ago and may come back for what he has missed."""
        return bool(self._listeners) or self._may_return

    @property
    def _may_return(self) -> bool:
        return self._kept_until > 0.0 and time.monotonic() < self._kept_until

    @property
    def _far(self) -> bool:
        return self._far_until > 0.0 and time.monotonic() < self._far_until

    def heard_elsewhere(self, seconds: float) -> None:
        """Somebody reads the stream at another process, for so long at least."""
        self._far_until = time.monotonic() + seconds

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Tell all listeners."""
        event = {"kind": kind, **data}
        if self.tap is not None:
            self.tap(event)
        event["id"] = f"{self._run}-{next(self._number)}"
        self.deliver(event)
        if self._far:
            self.far(event)

    def mention(self, kind: str, data: dict[str, Any]) -> None:
        """Tell those who read the event stream now; it is not kept for who comes back, nor told to webhooks."""
        event = {"kind": kind, **data}
        self.deliver(event)
        if self._far:
            self.far(event)

    @property
    def watched(self) -> bool:
        """Whether anybody reads the event stream now, at any process."""
        return bool(self._listeners) or self._far

    def deliver(self, event: dict[str, Any]) -> None:
        """Tell the listeners of this process."""
        if self.local and ("id" in event or event is GAP):
            self._kept.append(event)
        for queue in self._listeners:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(GAP)
            queue.put_nowait(event)

    def missed(self) -> None:
        """What happened at other processes may not have been told here: who reads the stream is told so."""
        self.deliver(GAP)

    @asynccontextmanager
    async def listen(self, last: str | None = None) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
        """A queue of everything published while the context is open.

        last: the id of an event: what came after it is in the queue, too, or the event GAP where it is not known any more.
        """
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        if last:
            missed = list(self._kept)
            while missed and missed[0].get("id") != last:
                del missed[0]
            for event in missed[1:] if missed else [GAP]:
                queue.put_nowait(event)
        if self.ended:
            queue.put_nowait(END)
        self._listeners.add(queue)
        if len(self._listeners) == 1:
            self.first()
        try:
            yield queue
        finally:
            self._listeners.discard(queue)
            if not self._listeners:
                self._kept_until = time.monotonic() + KEPT_FOR

    def wake(self, subject: str) -> None:
        """Wake who waits for this subject (a task's id, `contact:` and a device's id)."""
        if not self._waiters:
            return
        for future in self._waiters.pop(subject, ()):
            if not future.done():
                future.set_result(None)

    async def wait(self, subject: str, seconds: float) -> bool:
        """Whether the subject was woken within the time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiters.setdefault(subject, set())
        waiting.add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            waiting.discard(future)
            if not waiting and self._waiters.get(subject) is waiting:
                del self._waiters[subject]


MOST_DETAILS: Final = 10_000


def keep_detail(details: dict[str, ConnectionRequestDetail], task: str, detail: ConnectionRequestDetail) -> None:
    """Remember how the last connection request for a task went, of as many tasks as there is room for."""
    while len(details) >= MOST_DETAILS:
        details.pop(next(iter(details)))
    details[task] = detail


class Hub:
    """Made once by the composition root. clock: seconds since 1970. peers: None in a process that is alone.

    steady: a clock that nobody sets, by which the other one is judged; None where that is believed whatever it tells.
    """

    def __init__(
        self,
        store: Store,
        settings: AcsSettings,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.patience = Patience(settings.restart_timeout, settings.transfer_timeout, settings.unknown_timeout)
        channel = store.channel
        self.clock = clock if channel is None else lambda: clock() + channel.ahead
        self.time = Timekeeper(store, lambda: self.clock(), steady, settings.clock_doubt)
        self.sure = self.time.sure
        # Elsewhere nobody comes in without a login, or everybody is approved.
        most = settings.max_unapproved_devices if settings.cpe_auth == "quarantine" else 0
        self.newcomers = Newcomers(store, most, proxies=TrustedProxies(settings.trusted_proxies))
        self.peers = Peers(channel, store.node) if channel is not None else None
        self.bus = Bus()
        self.stats = Stats()
        self.forsaken: Callable[[], None] = lambda: None
        """Called when a task has ended otherwise than done: there may be others that wait for it."""
        self.noted: Callable[[str, ConnectionRequestDetail], None] = lambda task, detail: None
        """Tells the other processes how a connection request for a task went."""
        self.connection_request_details: dict[str, ConnectionRequestDetail] = {}
        self.asking: dict[str, TaskRecord] = {}
        """Tasks that only read, as they stand while their question is out; and those whose lost answer is being settled."""
        self.served: dict[str, tuple[int, int]] = {}
        """By task: how far a file was sent to its device, and its size; bytes, of this process's file server. The newest MOST_SERVED."""
        self._chance = random.Random(secrets.randbits(64)).getrandbits  # ids are no secrets
        self._counter = itertools.count(secrets.randbits(16))

    def tell_tasks(self, changes: Iterable[TaskChange]) -> None:
        """After the commit: wake who waits for these tasks, tell listeners, count what has ended."""
        bus = self.bus
        for change in changes:
            task = change.record
            if task.status not in OPEN_STATUSES:
                self.served.pop(task.id, None)
                self.stats.count(self.stats.tasks, task.status.value)
                if task.status is not TaskStatus.DONE:
                    self.forsaken()
            bus.wake(task.id)
            if bus.listening:
                bus.publish("task", {"device": task.device, "task": task.id, "rpc": task.rpc, "status": task.status})

    @staticmethod
    def first_id(at: float) -> str:
        """Sorts before every id that was made at this time or later; only milliseconds count."""
        return f"{min(max(int(at * 1000), 0), _LAST_MOMENT):011x}"

    def new_id(self, at: float | None = None) -> str:
        """20 hexadecimal digits: time, a counter, and chance; ids sort by the time at which they were made. at: now where left out."""
        now = self.clock() if at is None else at
        return f"{int(now * 1000):011x}{next(self._counter) & 0xFFFF:04x}{self._chance(20):05x}"
