"""The process of a provider: started without a shell, asked with time limits, restarted when it dies or hangs, its nonsense tolerated.

One thread per process reads its answers and starts it again; another logs what it prints on stderr. `request` may be called from any
thread. Everything that must be killed is killed with its children.
"""

import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from homeport.cpe.journal import LOG, MASK, is_secret
from homeport.errors import ConfigError, HomeportError

MAX_LINE: Final = 1024 * 1024
"""Bytes of one line, either way: the rows of the largest table fit."""

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
"""Seconds before a dead process is started again: first, and doubled up to the longest."""

STEADY: Final = 60.0
"""Seconds of life after which a process counts as sound again."""

MOST_GARBAGE: Final = 1_000
"""Lines without meaning, in a row, after which the process is started anew: it has lost its mind, and reading it costs time."""

MOST_HUNG: Final = 3
"""Requests without an answer, in a row, after which the process is started anew."""

GRACE: Final = 1.0
"""Seconds that a process has to end after its stdin was closed, and again after SIGTERM."""

MOST_SECRETS: Final = 64

_GREETED: Final = "has not answered hello yet"
"""The state of a process that has just been started: it hears `hello` first, and nothing before that."""


class ProviderFailed(HomeportError):
    """A provider gave no usable answer; the text is a sentence."""


class _Waiting:
    __slots__ = ("done", "answer", "failed")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: Mapping[str, Any] = {}
        self.failed = ""


class ProviderProcess:
    """One provider's process, over all of its restarts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        start_limit: float,
        said: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        """folder: its working directory. start_limit: seconds for its first answer. said: gets what answers no request."""
        self.name = name
        self._command = tuple(command)
        self._folder = folder
        # The agent's own settings hold passwords that are none of a provider's business.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")} | dict(environment)
        self._start_limit = start_limit
        self._said = said
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._next = 1
        self._state = "has not been started"
        self._closed = threading.Event()
        self._garbage = 0
        self._hung = 0
        self._hello: Mapping[str, Any] = {}
        self._secrets: deque[str] = deque(maxlen=MOST_SECRETS)
        self.starts = 0

    # --- life -------------------------------------------------------------------------------------------------------------------

    def start(self, protocol: int) -> Mapping[str, Any]:
        """Start the process; its answer to `hello`. Raises ConfigError where it cannot be run, ProviderFailed where it is silent."""
        self._protocol = protocol
        try:
            self._launch()
        except OSError as e:
            raise ConfigError(
                f"the provider {self.name} cannot be started: {self._command[0]}: {e.strerror}; correct its command"
            ) from e
        threading.Thread(target=self._live, name=f"provider-{self.name}", daemon=True).start()
        self._hello = self._say_hello()
        return self._hello

    def close(self) -> None:
        """End the process: its stdin is closed, then it is asked to end, then it is killed."""
        self._closed.set()
        process = self._process
        if process is not None:
            self._end(process)

    def _launch(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,  # its children are killed with it
        )
        self.starts += 1
        self._garbage = self._hung = 0
        self._state = _GREETED
        assert self._process.stdin is not None and self._process.stderr is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        threading.Thread(
            target=self._log_errors, args=(self._process.stderr,), name=f"provider-{self.name}-err", daemon=True
        ).start()

    def _live(self) -> None:
        """Read the process's answers until it ends, and start it again, for as long as the agent runs."""
        wait = FIRST_WAIT
        while not self._closed.is_set():
            begun = time.monotonic()
            if self._process is not None:
                self._read(self._process)
                status = self._end(self._process)
                self._state = f"ended with status {status}"
            if self._closed.is_set():
                break
            if time.monotonic() - begun > STEADY:
                wait = FIRST_WAIT
            self._fail_all(f"the provider {self.name} {self._state}; it is started again in {wait:.0f} s")
            LOG.warning("the provider %s %s; it is started again in %.0f s", self.name, self._state, wait)
            if self._closed.wait(wait):
                break
            wait = min(wait * 2, LONGEST_WAIT)
            self._again()
        self._fail_all(f"the provider {self.name} is switched off")

    def _again(self) -> None:
        try:
            self._launch()
        except OSError as e:
            self._process, self._state = None, f"cannot be started: {e.strerror}"
            return
        threading.Thread(target=self._greet, name=f"provider-{self.name}-hello", daemon=True).start()

    def _greet(self) -> None:
        """A restarted process hears hello as the first one did; one that serves something else now needs a new start of the agent."""
        try:
            hello = self._say_hello()
        except ProviderFailed as e:
            LOG.warning("%s", e)
            return
        LOG.info("the provider %s runs again", self.name)
        served = [{k: v for k, v in h.items() if k != "id"} for h in (self._hello, hello)]
        if self._hello and served[0] != served[1]:
            LOG.warning("the provider %s serves something else now; restart the agent to take it over", self.name)
        self._said({"changed": []})

    def _say_hello(self) -> Mapping[str, Any]:
        """What the process says of itself. Raises ProviderFailed; it is asked for values all the same from now on."""
        try:
            return self.request("hello", {"protocol": self._protocol}, limit=self._start_limit)
        finally:
            with self._lock:
                if self._state == _GREETED:
                    self._state = ""

    def _end(self, process: "subprocess.Popen[bytes]") -> int:
        """The exit status of a process that is made to end."""
        if process.stdin is not None:
            # Not while a request is being written: the number of the descriptor would be another file's in the middle of it.
            with self._sending:
                try:
                    process.stdin.close()
                except OSError:
                    pass  # what was not written yet finds nobody
        for signal_number in (None, signal.SIGTERM, signal.SIGKILL):
            if signal_number is not None:
                try:
                    os.killpg(process.pid, signal_number)
                except OSError:
                    pass  # it ended just now
            try:
                status = process.wait(GRACE)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            status = -9
        try:
            os.killpg(process.pid, signal.SIGKILL)  # children that outlived it
        except OSError:
            pass
        return status

    # --- requests ---------------------------------------------------------------------------------------------------------------

    def request(self, do: str, arguments: Mapping[str, Any], *, limit: float) -> Mapping[str, Any]:
        """The answer to one request. Raises ProviderFailed with a sentence where there is none within limit seconds."""
        deadline = time.monotonic() + limit
        waiting = _Waiting()
        with self._lock:
            if self._state and not (do == "hello" and self._state == _GREETED):
                raise ProviderFailed(f"the provider {self.name} {self._state} and is being started again")
            number = self._next
            self._next += 1
            self._waiting[number] = waiting
        try:
            self._remember_secrets(arguments)
            self._send(msgspec.json.encode({"id": number, "do": do, **arguments}) + b"\n", deadline)
            if not waiting.done.wait(max(0.0, deadline - time.monotonic())):
                self._no_answer()
                raise ProviderFailed(f"the provider {self.name} did not answer {do} within {limit:g} s")
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if waiting.failed:
            raise ProviderFailed(waiting.failed)
        self._hung = 0
        return waiting.answer

    def masked(self, text: str) -> str:
        """A text of the provider without the secrets that it was given."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def _send(self, line: bytes, deadline: float) -> None:
        if len(line) > MAX_LINE:
            raise ProviderFailed(f"the request to the provider {self.name} is longer than {MAX_LINE} bytes")
        process = self._process
        if process is None or process.stdin is None:
            raise ProviderFailed(f"the provider {self.name} does not run")
        with self._sending:
            rest = memoryview(line)
            try:
                descriptor = process.stdin.fileno()
                while rest:
                    ready = select.select([], [descriptor], [], max(0.0, deadline - time.monotonic()))[1]
                    if not ready:
                        # Half a line cannot be taken back: whatever follows would be garbage to the process.
                        self._kill(process, "does not read its requests")
                        raise ProviderFailed(
                            f"the provider {self.name} does not read its requests; it is started again"
                        )
                    rest = rest[os.write(descriptor, rest) :]
            except (OSError, ValueError) as e:
                raise ProviderFailed(f"the provider {self.name} has ended") from e

    def _no_answer(self) -> None:
        self._hung += 1
        if self._hung >= MOST_HUNG and self._process is not None:
            self._kill(self._process, f"left {self._hung} requests unanswered")

    def _kill(self, process: "subprocess.Popen[bytes]", why: str) -> None:
        LOG.warning("the provider %s %s; it is started again", self.name, why)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass  # it has ended by itself

    def _fail_all(self, why: str) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.failed = why
            each.done.set()

    # --- what it prints ---------------------------------------------------------------------------------------------------------

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            while True:
                try:
                    line = stream.readline(MAX_LINE + 1)
                except (OSError, ValueError):
                    return
                if not line:
                    return
                if len(line) > MAX_LINE and not line.endswith(b"\n"):
                    self._nonsense(process, f"a line of more than {MAX_LINE} bytes")
                    try:
                        while line and not line.endswith(b"\n"):
                            line = stream.readline(MAX_LINE)
                    except (OSError, ValueError):
                        return
                    continue
                if line.strip():
                    self._heard(process, line)

    def _heard(self, process: "subprocess.Popen[bytes]", line: bytes) -> None:
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._nonsense(process, f"no JSON: {line[:80]!r}")
            return
        if not isinstance(message, dict):
            self._nonsense(process, f"no JSON object: {line[:80]!r}")
            return
        number = message.get("id")
        if isinstance(number, int):
            with self._lock:
                waiting = self._waiting.pop(number, None)
            if waiting is not None:
                self._garbage = 0
                waiting.answer = message
                waiting.done.set()
                return
            if number < self._next:
                return  # an answer that came too late
        try:
            understood = self._said(message)
        except Exception:
            LOG.exception("what the provider %s said could not be passed on", self.name)
            return
        if not understood:
            self._nonsense(process, f"neither an answer nor changed, event or log: {line[:80]!r}")

    def _nonsense(self, process: "subprocess.Popen[bytes]", what: str) -> None:
        self._garbage += 1
        if self._garbage <= 3:
            LOG.warning("the provider %s printed %s", self.name, self.masked(what))
        elif self._garbage == MOST_GARBAGE:
            self._kill(process, "prints nothing but nonsense")

    def _log_errors(self, stream: "IO[bytes]") -> None:
        """What it prints on stderr goes to the log, a line at a time, not more than a person can read."""
        lines, second = 0, 0
        with stream:
            while True:
                try:
                    line = stream.readline(2000)
                except (OSError, ValueError):
                    return
                if not line:
                    return
                now = int(time.monotonic())
                if now != second:
                    lines, second = 0, now
                lines += 1
                if lines <= 20 and line.strip():
                    LOG.log(logging.INFO, "%s: %s", self.name, self.masked(line.decode("utf-8", "replace").rstrip()))

    def _remember_secrets(self, arguments: Mapping[str, Any]) -> None:
        values = arguments.get("values")
        if isinstance(values, dict):
            for path, value in values.items():
                if is_secret(path) and isinstance(value, str) and len(value) > 2 and value not in self._secrets:
                    self._secrets.append(value)
