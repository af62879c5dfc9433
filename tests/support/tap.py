"""A tap in the line: forwards HTTP/1.1 between agent and ACS, records every message, and lets a test act between any two of them."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CPE, ACS = "cpe", "acs"


@dataclass(frozen=True)
class Passed:
    """One HTTP message that went through: who sent it, its first line, its head and its body."""

    sender: str
    first_line: str
    head: bytes
    body: bytes


@dataclass
class Tap:
    """Listens on a free loopback port and forwards to `target` (an http URL).

    before: called in the tap's thread before a message is forwarded, with its number (from 0) and itself; returning False drops
    the connection instead of forwarding, as a dead peer or a cut line would.
    """

    target: str
    before: Callable[[int, Passed], bool] | None = None
    passed: list[Passed] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> "Tap":
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    @property
    def url(self) -> str:
        """What the agent is given in place of the ACS's URL."""
        return f"http://127.0.0.1:{self.port}{urlsplit(self.target).path or '/'}"

    def soap(self) -> list[Passed]:
        """The messages that carried an envelope."""
        return [m for m in self.passed if m.body]

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            target = urlsplit(self.target)
            up_reader, upstream = await asyncio.open_connection(target.hostname, target.port)
            while await self._forward(CPE, reader, upstream) and await self._forward(ACS, up_reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a cut line is what these tests are about
        finally:
            for w in (writer, upstream):
                if w is not None:
                    w.close()
            self._tasks.discard(task)

    async def _forward(self, sender: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """True when a message went through; False at the end of the connection or when the test cut it."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
        body = await reader.readexactly(length)
        message = Passed(sender, head.split(b"\r\n", 1)[0].decode("latin-1"), head, body)
        number = len(self.passed)
        self.passed.append(message)
        if self.before is not None and not await asyncio.to_thread(self.before, number, message):
            return False
        writer.write(head + body)
        await writer.drain()
        return True
