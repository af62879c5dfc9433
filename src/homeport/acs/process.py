"""The process of an ACS, or the processes: started, told to stop, ended; what they print. What an ACS is made of says `app.py`."""

import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from homeport.acs import logs, tls
from homeport.acs.app import TOKEN_FILE, AcsApp, no_room, write_addresses
from homeport.acs.config import AcsSettings
from homeport.acs.ports import Ports, allow_connections, take_directory
from homeport.acs.pulse import BEAT_EVERY
from homeport.acs.services.shares import Board
from homeport.acs.services.snapshots import forget
from homeport.acs.systemd import Notifier
from homeport.acs.workers import AGAIN_AFTER, STOP_WITHIN, News, Tether, at_terminal, supervise
from homeport.errors import ConfigError, HomeportError, StoreError

_log = structlog.get_logger("homeport.acs")


def main(settings: AcsSettings) -> int:
    """Run an ACS until SIGTERM or SIGINT; the exit code."""
    try:
        logs.configure(settings.log_format, settings.log_level, sys.stderr, settings.log_file)
    except ConfigError as e:
        return _failed(e)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # standard error is no file
        faulthandler.enable()  # systemd's watchdog, a broken library: the log shows where each thread was
    if not at_terminal():
        signal.signal(signal.SIGHUP, lambda *_: None)  # who asks while it starts gets what is newest anyway
    try:
        settings.check()
        allow_connections(settings)
        if settings.workers > 1:
            return _run_workers(settings)
        _run_one(settings)
    except HomeportError as e:
        return _failed(e)
    except Exception:
        # What happens once in a thousand starts cannot be asked for again: all that is known of it belongs into the log.
        _log.exception("the ACS has failed by a defect; please report these lines")
        return 1
    return 0


def _failed(e: HomeportError) -> int:
    logs.tell(f"homeport acs: {e}")
    return 2 if isinstance(e, ConfigError) else 1


def _run_workers(settings: AcsSettings) -> int:
    """The parent of several workers: it holds the ports and the directory, and serves nobody itself."""
    notifier = Notifier()
    with take_directory(settings.data_dir):
        ports = Ports.bind(settings)
        if ports.cwmp_tls is not None:
            tls.context(
                settings, laboratory=True
            )  # the certificate of the laboratory is made once, and not by each worker
        parent, printed = os.getpid(), False
        try:
            board = Board(settings.workers, settings.file_max_transfers, settings.data_dir)
        except OSError as e:
            raise no_room(settings, e) from e
        forget(settings.data_dir)

        def work(number: int, tether: Tether) -> int:
            try:
                _run_one(settings, ports, number, tether, board)
            except HomeportError as e:
                return _failed(e)
            return 0

        def changed(workers: Sequence[int]) -> None:
            nonlocal printed
            write_addresses(settings, ports, parent, workers)
            if not printed:
                _print_start(settings, ports, {})
                notifier.ready()
                printed = True

        def told(number: int, news: News) -> None:
            match news:
                case News.SERVES:
                    board.started(number)
                case News.HANGS:
                    board.hangs(number)
                case News.ENDED:
                    board.died(number)
                    forget(settings.data_dir, number)

        def turn() -> None:
            notifier.alive()
            logs.look()  # the parent writes seldom, and must not hold a file that was put aside until then

        def stopping() -> None:
            notifier.stopping()
            ports.close()  # when the workers have let go, too, who comes now is refused and not kept waiting

        # What the workers have in common is loaded once, and stays common memory.
        gc.collect()
        gc.freeze()
        try:
            return supervise(settings.workers, work, changed, told, turn=turn, stopping=stopping)
        except OSError as e:
            raise StoreError(f"the workers cannot be started: {e}; look at memory, disk and limits") from e
        finally:
            ports.close()
            board.close()


def _run_one(
    settings: AcsSettings,
    ports: Ports | None = None,
    number: int | None = None,
    tether: Tether | None = None,
    board: Board | None = None,
) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, ports, number, tether, board))


async def _run(
    settings: AcsSettings, ports: Ports | None, number: int | None, tether: Tether | None, board: Board | None
) -> None:
    app = AcsApp(settings, ports=ports, number=number, board=board)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    notifier = Notifier({} if tether is not None else os.environ)
    # A worker ends as soon as its parent says so, or kills it; who is alone has a limit of its own.
    end = ended.set if tether is not None else _Deadline(ended, notifier).ask
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, end)
    if tether is not None:
        _every(loop, BEAT_EVERY, tether.beat)
    elif notifier.every:
        _every(loop, notifier.every / 2, notifier.alive)

    def renew() -> None:
        logs.look()
        app.renew()

    # Of several workers the parent has the terminal.
    loop.add_signal_handler(signal.SIGHUP, end if tether is None and at_terminal() else renew)
    if tether is not None:
        loop.add_reader(tether.parent, ended.set)  # a worker does not outlive its parent
    try:
        await _started(app)
        if tether is None:
            _print_start(settings, app.ports, app.udp_ports())
            notifier.ready()
        else:
            tether.ready()
        # What lives now lives for ever; the default thresholds make large messages collect garbage again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await ended.wait()
    finally:
        if tether is not None:
            loop.remove_reader(tether.parent)
        await app.stop()


def _every(loop: asyncio.AbstractEventLoop, seconds: float, beat: Callable[[], None]) -> None:
    """Give a beat now, and again as long as the loop turns."""
    beat()
    loop.call_later(seconds, _every, loop, seconds, beat)


class _Deadline:
    """The end of a process that has no parent to watch over it: after so long, or asked for a second time, it ends at once.

    What was acknowledged is on the disk then as after any crash; devices begin their sessions anew.
    """

    def __init__(self, ended: asyncio.Event, notifier: Notifier) -> None:
        self._ended = ended
        self._notifier = notifier
        self._asked = 0.0

    def ask(self) -> None:
        """The end is asked for."""
        if not self._asked:
            self._asked = time.monotonic()
            self._ended.set()
            self._notifier.stopping()
            limit = threading.Timer(STOP_WITHIN, self._now, ("it did not end in time",))
            limit.daemon = True
            limit.start()
        elif time.monotonic() - self._asked >= AGAIN_AFTER:
            self._now("the end was asked for a second time")

    @staticmethod
    def _now(why: str) -> None:
        _log.error(
            "the ACS ends at once; devices begin their sessions anew, and nothing that was acknowledged is lost",
            why=why,
        )
        os._exit(1)


async def _started(app: AcsApp) -> None:
    """Start it; where that fails, what follows from the failure must not hide it."""
    try:
        await app.start()
    except Exception:
        try:
            await app.stop()
        except Exception:
            _log.exception("what was started before the failure could not be ended")
        raise


def _udp_listeners(settings: AcsSettings, taken: Mapping[str, int]) -> list[tuple[str, str]]:
    """What devices find by UDP: name and address; "" where it is switched off. taken: as `_print_start` has it."""
    rows = [("STUN", "stun_listen"), ("TFTP", "tftp_listen"), ("notifications", "lightweight_listen")]
    return [(name, _with_port(getattr(settings, setting), taken.get(setting, 0))) for name, setting in rows]


def _with_port(where: str, port: int) -> str:
    """HOST:PORT with the port that was taken for port 0; 0: it is not known."""
    host, _, wanted = where.rpartition(":")
    return f"{host}:{port}" if wanted == "0" and port else where


def _print_start(settings: AcsSettings, ports: Ports, taken: Mapping[str, int]) -> None:
    """What the operator needs to go on. taken: the ports of the UDP listeners, by their settings, as far as they are known."""
    lines = [
        f"CWMP for devices   {ports.cwmp_url}",
        f"REST API           {ports.http_url}/api/v1",
        f"files for devices  {ports.file_url}",
        *(f"{name} (UDP)".ljust(19) + where for name, where in _udp_listeners(settings, taken) if where),
        f"admin token        {settings.data_dir / TOKEN_FILE}",
    ]
    if ports.cwmp_tls is not None:
        lines.insert(1, f"  by https         {ports.cwmp_tls_url}")
        if settings.tls_certificate is None:
            lines.append(f"devices must trust {settings.data_dir / 'laboratory.crt'}")
    if settings.workers > 1:
        lines.insert(3, f"worker processes   {settings.workers}")
    if settings.cpe_auth == "open":
        lines.append("WARNING            cpe_auth is open: every device that comes is managed; for laboratories only")
    with contextlib.suppress(OSError):  # nobody reads it, or its disk is full: devices are served all the same
        print("\n".join(lines), flush=True)  # noqa: T201 - the command's output
