"""The log of an ACS as programs read it."""

import errno
import io
import json
from collections.abc import Iterator

import pytest
import structlog

from homeport.acs import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """structlog's settings are the process's."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["text", "json"])
def test_each_event_is_one_line_whatever_a_peer_has_written(form: str) -> None:
    """A line break in a name cannot make a line of its own, and what is below the level is left out."""
    out = io.StringIO()
    logs.configure(form, "warning", out)
    log = structlog.get_logger("test")
    log.info("quiet")
    log.warning("a login failed", user='eve\nlevel="error" x', peer="192.0.2.1")
    (line,) = out.getvalue().splitlines()
    if form == "json":
        found = json.loads(line)
        assert (found["event"], found["level"], found["peer"]) == ("a login failed", "warning", "192.0.2.1")
    else:
        assert "level='warning' event='a login failed'" in line
        assert "peer='192.0.2.1'" in line


def test_a_mistake_of_ours_is_logged_with_where_it_was() -> None:
    """The traceback is part of its event."""
    out = io.StringIO()
    logs.configure("json", "info", out)
    try:
        raise ValueError("here")
    except ValueError:
        structlog.get_logger("test").exception("broken")
    assert "ValueError: here" in json.loads(out.getvalue())["exception"]


class Disk(io.StringIO):
    """A file on a disk that may be full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_full_disk_costs_lines_of_the_log_and_nothing_else() -> None:
    """Whoever logs goes on; when there is room again, the log tells how much is missing."""
    disk = Disk()
    logs.configure("json", "info", disk)
    log = structlog.get_logger("test")
    log.info("before")
    disk.full = True
    for _ in range(3):
        log.error("lost")
    disk.full = False
    log.info("after")
    log.info("and on")
    told = [json.loads(line) for line in disk.getvalue().splitlines()]
    assert [line["event"] for line in told] == ["before", "after", "lines of the log could not be written", "and on"]
    assert told[2]["lost"] == 3
