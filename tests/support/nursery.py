"""Starts processes quickly: each is forked from one that has imported everything already.

A start costs up to a second of CPU for imports alone, which would be most of the time of the tests that start the real programs. What is
forked is the real program, with its own process id, log, sockets and files; only its modules were loaded before. Tests of the start itself
(what a command imports, how it is installed) start an interpreter of their own.

Run as a program this is that process: it takes wishes from a socket, forks, and tells the end of each child. It ends, with all of them,
when the socket's other end is gone.
"""

import asyncio
import atexit
import contextlib
import functools
import importlib
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = "homeport.cli.main:run"
"""What `homeport` runs."""

PRELOADED = (
    *("homeport.cli.main", "homeport.cli.acs", "homeport.cli.cpe", "uvloop", "encodings.idna"),
    *(
        "homeport.acs.process",
        "homeport.acs.storage.sql.postgres",
        "homeport.acs.api.app",
        "homeport.acs.services.fleet",
    ),
    *(
        f"homeport.acs.api.{name}"
        for name in (
            *("audit", "description", "devices", "files", "groups", "health"),
            *("histories", "tasks", "tokens", "users", "webhooks"),
        )
    ),
    *(
        "anyio._backends._asyncio",
        "argon2",
        "pydantic.v1",
        "uvicorn.lifespan.off",
        "uvicorn.protocols.http.httptools_impl",
    ),
    *("typer._adapters", "typer._click.decorators", "homeport.cli.device"),
    *("homeport.transport.acs_client", "homeport.transport.files.http"),
    *(
        "homeport.cpe.process",
        "homeport.cpe.devices.simulated",
        "homeport.cpe.devices.loading",
        "homeport.cpe.web.part",
    ),
    *("homeport.cpe.firmware", "homeport.cpe.transfers.service", "homeport.cpe.transfers.vendor_files"),
    *("homeport.cpe.transfers.handed_on", "cpe_support.bench"),
)


class Wish(NamedTuple):
    """What a child is to be. target: "module:function"; it gets the arguments, and its pipe last where it has one."""

    target: str
    arguments: tuple[Any, ...]
    log: str
    environment: dict[str, str]
    directory: str


class Pipe:
    """Whole messages over a stream socket; what it sends and receives are tuples whose first item is a word."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def send(self, *message: object) -> None:
        content = pickle.dumps(message)
        self.socket.sendall(struct.pack("!I", len(content)) + content)

    def receive(self) -> tuple[Any, ...]:
        """The next message. Raises EOFError where the other end is gone, TimeoutError after the socket's time limit."""
        head = self._exactly(4)
        self.socket.settimeout(None)  # the rest is on its way
        return tuple(pickle.loads(self._exactly(struct.unpack("!I", head)[0])))

    def _exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            try:
                part = self.socket.recv(size - len(parts))
            except ConnectionResetError:
                part = b""
            if not part:
                raise EOFError("the other end is gone")
            parts += part
        return parts


class Child:
    """One process, as much like a Popen as tests need. pipe: the way to talk with it, where it was started with one."""

    def __init__(self, ends: socket.socket, pipe: Pipe | None) -> None:
        self._ends = ends
        self.pipe = pipe
        self.returncode: int | None = None
        told = self._ends.recv(4)
        assert told, "the nursery has ended; its last words are on stderr"
        (self.pid,) = struct.unpack("!i", told)

    def __del__(self) -> None:
        self._ends.close()  # a test that ended badly may never have asked

    def poll(self) -> int | None:
        """None while it lives."""
        if self.returncode is None and select.select([self._ends], [], [], 0)[0]:
            self._take()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal, once the kernel has taken everything back. Raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._ends], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            self._take()
        assert self.returncode is not None
        return self.returncode

    async def gone(self) -> int:
        """The same, for who has a loop to run meanwhile."""
        if self.returncode is None:
            ended, loop = asyncio.Event(), asyncio.get_running_loop()
            loop.add_reader(self._ends, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._ends)
        return self.wait()

    def _take(self) -> None:
        told = self._ends.recv(4)
        assert told, "the nursery is gone"
        (self.returncode,) = struct.unpack("!i", told)
        self._ends.close()

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


class Nursery:
    """The process that the others are forked from, seen from outside."""

    def __init__(self, *preloaded: str) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "support.nursery", str(other.fileno()), *preloaded],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                env=clean_environment() | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )

    def is_here(self) -> bool:
        """Whether what it starts sees the network that the calling thread sees: a thread may have entered another namespace."""
        return os.stat("/proc/thread-self/ns/net").st_ino == os.stat(f"/proc/{self._process.pid}/ns/net").st_ino

    def close(self) -> None:
        """End it and all that it has started."""
        self._socket.close()
        self._process.wait()

    def start(self, *arguments: Any, target: str = PROGRAM, log: Path | None = None, talks: bool = False) -> Child:
        """A new process that runs target(*arguments), in the current directory and environment, without HOMEPORT_ variables.

        log: where it prints. talks: target gets a Pipe as well, whose other end is the child's `pipe`.
        """
        passed = (list(arguments),) if target == PROGRAM else arguments
        wish = Wish(target, passed, str(log or os.devnull), clean_environment(), os.getcwd())
        ours, theirs = socket.socketpair()
        near, far = socket.socketpair() if talks else (None, None)
        with theirs, far or contextlib.nullcontext():
            fds = [theirs.fileno(), *([far.fileno()] if far else [])]
            socket.send_fds(self._socket, [pickle.dumps(wish)], fds)
        return Child(ours, Pipe(near) if near else None)


@functools.cache
def shared_nursery() -> Nursery:
    """The one that all tests of this process share; started when first asked for."""
    nursery = Nursery(*PRELOADED)
    atexit.register(nursery.close)
    return nursery


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change Homeport's settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}


# --- the process itself ------------------------------------------------------------------------------------------------------------------


def _keep(wishes: socket.socket) -> None:
    """Fork a child for each wish, and tell the ends, until nobody is there to wish."""
    woken, wake = socket.socketpair()
    woken.setblocking(False)
    wake.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, whose end is this process's end
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    children: dict[int, socket.socket] = {}
    while True:
        ready = select.select([wishes, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            _tell_ends(children)
        if wishes in ready:
            message, fds, _, _ = socket.recv_fds(wishes, 1 << 20, 2)
            if not message:
                break
            ends, *pipes = (socket.socket(fileno=fd) for fd in fds)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for other in (wishes, woken, wake, ends, *children.values()):
                    other.close()
                _become(pickle.loads(message), [Pipe(p) for p in pipes])
            for pipe in pipes:
                pipe.close()
            children[pid] = ends
            ends.sendall(struct.pack("!i", pid))
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _tell_ends(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as ends, contextlib.suppress(OSError):  # the test may not want to know
            ends.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))


def _become(wish: Wish, pipes: Sequence[Pipe]) -> None:
    """Be what is wished for, and end."""
    code: object = 1
    try:
        os.chdir(wish.directory)
        os.environ.clear()
        os.environ.update(wish.environment)
        log = os.open(wish.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        if wish.target == PROGRAM:
            sys.argv = ["homeport", *wish.arguments[0]]
            sys.orig_argv = [
                sys.executable,
                "-m",
                "homeport",
                *wish.arguments[0],
            ]  # with which an agent starts itself again
        code = _function(wish.target)(*wish.arguments, *pipes)
    except SystemExit as e:
        code = e.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


if __name__ == "__main__":
    for _name in sys.argv[2:]:
        importlib.import_module(_name)
    _keep(socket.socket(fileno=int(sys.argv[1])))
