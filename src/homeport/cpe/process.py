"""The process around the agent: event loop, signals, log lines, and what a restart really does."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from homeport.cpe.agent import Agent
from homeport.cpe.config import CpeSettings
from homeport.cpe.journal import LOG
from homeport.cpe.loop import Exit
from homeport.errors import ConfigError, HomeportError

OK: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2


def main(settings: CpeSettings) -> int:
    """Run the agent until it is told to stop; the exit status. What `homeport cpe run` calls.

    Prints to stderr what it does, in words: where the ACS URL came from, how each session went, when the next contact is.
    """
    _set_up_logs(settings)
    while True:
        try:
            how = _run_loop(settings)
        except ConfigError as e:
            LOG.error("%s", e)
            return MISCONFIGURED
        except HomeportError as e:
            LOG.error("%s", e)
            return FAILED
        if how is Exit.STOPPED:
            LOG.info("stopped")
            return OK
        if settings.reboot == "exec":
            _execute_again()
        elif settings.reboot == "command":
            return _run_command(settings.reboot_command)
        LOG.info("restarting")


def _run_loop(settings: CpeSettings) -> Exit:
    factory: Callable[[], asyncio.AbstractEventLoop]
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:  # not everywhere (Windows, PyPy); asyncio's own loop does the same, slower
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_run(settings))


async def _run(settings: CpeSettings) -> Exit:
    agent = Agent(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    loop.add_signal_handler(signal.SIGHUP, _open_log_anew)
    agent.model.schema.release()  # the agent has asked for all that its device has
    gc.freeze()  # what start-up made stays; the collector need not look at it again
    gc.set_threshold(20_000, 20, 20)  # a large answer makes thousands of objects, all of which die by reference count
    try:
        return await agent.run()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _execute_again() -> None:
    """Replace this process by a fresh one with the same command line: nothing in memory survives, as after a power cut."""
    LOG.info("rebooting: this process starts anew")
    sys.stderr.flush()
    sys.stdout.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as e:
        # The interpreter was replaced or removed under our feet: everything is read from disk anew in this process instead.
        LOG.error("%s cannot be run again (%s); going on in this process", sys.executable, e.strerror)


def _run_command(command: tuple[str, ...]) -> int:
    import subprocess

    LOG.info("rebooting: %s", " ".join(command))
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as e:
        LOG.error("the reboot command %s cannot be run: %s; correct reboot_command", command[0], e.strerror)
        return FAILED


def _set_up_logs(settings: CpeSettings) -> None:
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if settings.log_file is not None:
        try:
            handler = logging.FileHandler(settings.log_file, encoding="utf-8")
        except OSError as e:
            raise ConfigError(f"log_file: cannot write {settings.log_file}: {e.strerror}") from e
    if settings.log_format == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        date = "%H:%M:%S" if settings.log_file is None else "%Y-%m-%dT%H:%M:%S%z"
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt=date))
    LOG.handlers[:] = [handler]
    LOG.propagate = False
    LOG.setLevel(settings.log_level.upper())


def _open_log_anew() -> None:
    """Let go of a log file that logrotate put aside; the next line opens the new one. Without a log file nothing happens."""
    for handler in LOG.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    LOG.info("told to open the log anew (SIGHUP)")


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        import msgspec

        content = {"time": record.created, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            content["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(content).decode()
