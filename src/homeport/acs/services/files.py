"""Stored files: added, described, deleted, handed to devices by signed URLs, and received from them.

A file that was accepted is whole, on the disk, and described by a row: first the content gets its place, then the row is committed.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import IO, Any, Final

from msgspec.structs import replace

from homeport.acs.engine.args import ArgumentsError
from homeport.acs.records import OPEN_STATUSES, FileRecord, TaskRecord
from homeport.acs.services.file_links import Direction, FileLinks, Flaw, Grant, name_problem
from homeport.acs.services.hub import Hub, NotFound, Refused
from homeport.acs.storage.blobs import Blobs, Part
from homeport.acs.storage.interface import Page, UnitOfWork
from homeport.errors import HomeportError
from homeport.terms import RpcName

GATHER: Final = 262_144
"""Bytes that are collected before they are hashed and written by a thread: a hop costs about as much as hashing 32 KB."""

FETCHES: Final = frozenset({RpcName.DOWNLOAD, RpcName.SCHEDULE_DOWNLOAD})
LONGEST_FIELD: Final = 256
_STAND_IN: Final = "http://acs.invalid/"
_PLAIN: Final = re.compile(r"[^A-Za-z0-9._+]+")
_KINDS: Final = {"1": "config", "2": "log", "3": "config", "4": "log"}


class BadFile(HomeportError):
    """A file's name or description cannot be taken; the message says why."""


class Ended(HomeportError):
    """The transfer that a URL belongs to is over, or its file is not what it was."""


class Incoming:
    """A file that is being received. Use it as a context: what is not `add`ed is gone at its end."""

    def __init__(self, part: Part, pool: ThreadPoolExecutor) -> None:
        self.part = part
        self._pool = pool
        self._waiting: list[bytes] = []
        self._length = 0

    async def write(self, data: bytes) -> None:
        """Append. Raises TooLarge, StoreUnavailable."""
        self._waiting.append(data)
        self._length += len(data)
        if self._length >= GATHER:
            await self._flush()

    async def finish(self) -> None:
        """Everything is on the disk, not yet in its place. Raises TooLarge, StoreUnavailable."""
        await self._flush()
        await asyncio.get_running_loop().run_in_executor(self._pool, self.part.finish)

    async def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._length = 0
        if data:
            await asyncio.get_running_loop().run_in_executor(self._pool, self.part.write, data)

    async def __aenter__(self) -> "Incoming":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.part.drop()


class Files:
    """The verbs of stored files. base: the file server's address for a device at the given address, `http://host:port`."""

    def __init__(self, hub: Hub, blobs: Blobs, secret: bytes, base: Callable[[str], str]) -> None:
        self._hub = hub
        self._store = hub.store
        self.blobs = blobs
        self._links = FileLinks(secret)
        self._base = base
        self._writing = asyncio.Lock()
        self.pool = ThreadPoolExecutor(4, "files")
        self.changed: Callable[[], None] = lambda: None  # called after a file was added or deleted

    async def open(self) -> None:
        """Make the directory ready and clear away what a crash left. Raises StoreUnavailable."""
        await asyncio.to_thread(self.blobs.prepare)
        wanted = {f.sha256 async for f in self.all()}
        await asyncio.to_thread(self.blobs.sweep, wanted)

    def close(self) -> None:
        """Let go of the threads."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    # --- the operator's side ---

    async def get(self, name: str) -> FileRecord:
        """The file's description. Raises NotFound."""
        found = None if name_problem(name) else await self._store.file(name)
        if found is None:
            raise NotFound(f"there is no file {name[:120]!r}; list them with GET files")
        return found

    async def page(self, *, limit: int, cursor: str | None) -> Page:
        """Files by name."""
        return await self._store.files(limit=limit, cursor=cursor)

    async def all(self) -> AsyncIterator[FileRecord]:
        """All files, by name; others have their turn between pages: devices may have sent very many."""
        cursor: str | None = None
        while True:
            page = await self.page(limit=500, cursor=cursor)
            for record in page.items:
                yield record
            cursor = page.next
            if cursor is None:
                return
            await asyncio.sleep(0)

    async def receive(self, limit: int) -> Incoming:
        """A new file to be written, at most `limit` bytes. Raises StoreUnavailable."""
        return Incoming(await asyncio.to_thread(self.blobs.begin, limit), self.pool)

    async def add(self, incoming: Incoming, record: FileRecord, *, replace_it: bool = False) -> FileRecord:
        """The stored file, with its size, hash and time filled in. Raises BadFile, Refused, StoreUnavailable."""
        problem = name_problem(record.name)
        if problem:
            raise BadFile(problem)
        for field in ("file_type", "version", "model"):
            text = getattr(record, field)
            if len(text) > LONGEST_FIELD or not text.isprintable():
                raise BadFile(f"{field} must be at most {LONGEST_FIELD} printable characters")
        await incoming.finish()
        part = incoming.part
        record = replace(record, size=part.size, sha256=part.sha256, created=self._hub.clock())
        async with self._alone():
            before = await self._store.file(record.name)
            if before is not None:
                if _same(before, record):
                    return before
                if not replace_it:
                    raise Refused(f"there is a file {record.name!r} already; delete it first, or say replace=true")
            await asyncio.to_thread(self.blobs.place, part)
            unit = UnitOfWork()
            unit.files.append(record)
            try:
                await self._store.commit(unit)
            except BaseException:
                await self._forget_content(record.sha256)
                raise
            if before is not None:
                await self._forget_content(before.sha256)
        self._tell("added", record)
        return record

    async def delete(self, name: str) -> None:
        """Forget the file; transfers that are under way are finished. Raises NotFound, StoreUnavailable."""
        async with self._alone():
            record = await self.get(name)
            unit = UnitOfWork()
            unit.deleted_files.append(name)
            await self._store.commit(unit)
            await self._forget_content(record.sha256)
        self._tell("deleted", record)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody else adds or deletes a file meanwhile, in no process: a content that one gives up may be what another has just added."""
        async with self._writing:
            waiting = asyncio.get_running_loop().run_in_executor(self.pool, self.blobs.alone)
            try:
                lock = await asyncio.shield(waiting)
            except asyncio.CancelledError:
                waiting.add_done_callback(_let_go)
                raise
            with lock:
                yield

    async def _forget_content(self, sha256: str) -> None:
        async for record in self.all():
            if record.sha256 == sha256:
                return
        await asyncio.to_thread(self.blobs.remove, sha256)

    def _tell(self, what: str, record: FileRecord) -> None:
        self.changed()
        if self._hub.bus.listening:
            self._hub.bus.publish("file", {"name": record.name, "what": what, "device": record.device or None})

    # --- tasks ---

    async def checked(self, rpc: str, args: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new task's arguments as they are kept, and as they can be checked: with a URL in them.

        Raises NotFound, Refused, ArgumentsError.
        """
        if rpc in FETCHES and "file" in args:
            record = await self.get(_text(args, "file"))
            if args.get("url"):
                raise ArgumentsError(f"{rpc} takes a file or a url, not both")
            if record.file_type:
                args = {"file_type": record.file_type} | args
            return args, self._fetching(args, record, _STAND_IN)
        if rpc == RpcName.CHANGE_DU_STATE:
            return args, await self._with_packages(args, lambda record: _STAND_IN)
        if rpc == RpcName.UPLOAD and not args.get("url"):
            if "file" in args:
                name = _text(args, "file")
                problem = name_problem(name)
                if problem:
                    raise ArgumentsError(problem)
                if await self._store.file(name) is not None:
                    raise Refused(f"there is a file {name!r} already; choose another name, or delete it first")
            return args, {k: v for k, v in args.items() if k != "file"} | {"url": _STAND_IN}
        return args, args

    async def filled(self, task: TaskRecord, address: str) -> TaskRecord:
        """The task with the URL, size and so on that its RPC needs now. address: the device's. Raises NotFound."""
        if task.rpc in FETCHES and "file" in task.args:
            record = await self.get(task.args["file"])
            path = self._path(task, Direction.DOWN, record.name, record.sha256)
            return replace(task, args=self._fetching(task.args, record, self._base(address) + path))
        if task.rpc == RpcName.CHANGE_DU_STATE:
            base = self._base(address)
            args = await self._with_packages(
                task.args, lambda record: base + self._path(task, Direction.DOWN, record.name, record.sha256)
            )
            return replace(task, args=args)
        name = upload_name(task)
        if name is not None:
            url = self._base(address) + self._path(task, Direction.UP, name, "0")
            return replace(task, args={k: v for k, v in task.args.items() if k != "file"} | {"url": url})
        return task

    def _path(self, task: TaskRecord, direction: Direction, name: str, sha256: str) -> str:
        args = task.args
        windows = [w.get("window_end", 0) for w in args.get("time_window_list", ())]
        begins = max([int(args.get("delay_seconds", 0)), *map(int, windows)])
        until = self._hub.clock() + begins + self._hub.settings.file_url_lifetime
        return self._links.path(direction, name, task=task.id, expires=until, sha256=sha256)

    @staticmethod
    def _fetching(args: dict[str, Any], record: FileRecord, url: str) -> dict[str, Any]:
        given = {k: v for k, v in args.items() if k != "file"}
        return given | {"url": url, "file_size": record.size}

    async def _with_packages(self, args: dict[str, Any], url_of: Callable[[FileRecord], str]) -> dict[str, Any]:
        """The arguments of a ChangeDUState with a URL in place of each operation's `file`. Raises NotFound, ArgumentsError."""
        operations = args.get("operations")
        if not isinstance(operations, list) or not any(isinstance(o, dict) and "file" in o for o in operations):
            return args
        made = []
        for operation in operations:
            if isinstance(operation, dict) and "file" in operation:
                if operation.get("url"):
                    raise ArgumentsError("an operation takes a file or a url, not both")
                record = await self.get(_text(operation, "file"))
                operation = {k: v for k, v in operation.items() if k != "file"} | {"url": url_of(record)}
            made.append(operation)
        return args | {"operations": made}

    async def received(self, task: TaskRecord) -> dict[str, Any]:
        """What an ended Upload's result says of the file: its name, None where nothing came. Empty for other tasks."""
        name = upload_name(task)
        if name is None:
            return {}
        record = await self._store.file(name)
        return {"file": name if record is not None and record.task == task.id else None}

    # --- the devices' side ---

    async def allowed(self, path: str) -> tuple[Grant, TaskRecord] | Flaw:
        """What the path of a URL allows now, and for which task. Raises Ended where its task is over."""
        grant = self._links.read(path, self._hub.clock())
        if isinstance(grant, Flaw):
            return grant
        task = await self._store.task(grant.task)
        if task is None or task.status not in OPEN_STATUSES:
            raise Ended(f"the transfer is over: its task is {task.status if task is not None else 'deleted'}")
        return grant, task

    async def wanted(self, grant: Grant) -> FileRecord:
        """The file of a download. Raises NotFound, or Ended where the name now has another content."""
        record = await self._store.file(grant.name)
        if record is None:
            raise NotFound(f"the file {grant.name!r} was deleted")
        if not record.sha256.startswith(grant.content):
            raise Ended(f"the file {grant.name!r} was replaced since this address was made")
        return record

    async def take(self, grant: Grant, task: TaskRecord, incoming: Incoming) -> FileRecord:
        """The file that a device has sent, stored under its transfer's name. Until the transfer is over what comes last counts.

        A device that does not get our answer sends its file again, and a log has grown by then; some clients send their PUT without a
        body first, to be asked for a login (curl with --anyauth).
        Raises Ended where the name is another transfer's, StoreUnavailable.
        """
        before = await self._store.file(grant.name)
        own = before is not None and before.task == task.id
        record = FileRecord(
            name=grant.name,
            size=0,
            sha256="",
            file_type=str(task.args.get("file_type", "")),
            device=task.device,
            task=task.id,
        )
        try:
            return await self.add(incoming, record, replace_it=own)
        except Refused as e:
            raise Ended(f"there is a file {grant.name!r} already, which this transfer has not sent") from e


def _let_go(waiting: "asyncio.Future[IO[bytes]]") -> None:
    if not waiting.cancelled() and waiting.exception() is None:
        waiting.result().close()


def upload_name(task: TaskRecord) -> str | None:
    """Under which name an Upload's file is stored; None for tasks that send no file to us. The same at every attempt."""
    if task.rpc != RpcName.UPLOAD or task.args.get("url"):
        return None
    if "file" in task.args:
        return str(task.args["file"])
    device = _PLAIN.sub("-", task.device).strip("-.")[:48].replace("..", ".") or "device"
    kind = _KINDS.get(str(task.args.get("file_type", ""))[:1], "file")
    made = datetime.fromtimestamp(task.created, UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{device}_{kind}_{made}_{task.id[-5:]}"
    return name if name[0].isalnum() else f"d{name}"


def _text(args: dict[str, Any], name: str) -> str:
    value = args[name]
    if not isinstance(value, str) or not value:
        raise ArgumentsError(f"{name} must be the name of a stored file")
    return value


def _same(a: FileRecord, b: FileRecord) -> bool:
    """Whether both describe the same content in the same way; only the time may differ."""
    return replace(a, created=0.0) == replace(b, created=0.0)
