"""Times as people type and read them."""

from datetime import UTC, datetime

import pytest

from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import exact, local, moment, shown, told

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("90s", "2026-11-21T11:58:30Z"),
        ("30min", "2026-11-21T11:30:00Z"),
        ("1.5h", "2026-11-21T10:30:00Z"),
        ("3d", "2026-11-18T12:00:00Z"),
        ("2026-11-21T06:00Z", "2026-11-21T06:00:00Z"),
        ("2026-11-21T06:00:00.25+02:00", "2026-11-21T04:00:00.250000Z"),
    ],
)
def test_a_time_is_an_age_or_a_moment(text: str, is_: str) -> None:
    """What REST takes for it."""
    assert moment(text, now=NOW) == is_


def test_a_date_is_midnight_where_the_person_is() -> None:
    """Without a zone it is local time."""
    assert datetime.fromisoformat(moment("2026-11-21")) == datetime(2026, 11, 21).astimezone()


@pytest.mark.parametrize("text", ["", "h", "yesterday", "3w", "1e999d", "nans", "2026-13-01", "99999999999d"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    """A wrong use of the command, and how it is right."""
    with pytest.raises(CliError, match="say how long ago") as refused:
        moment(text, now=NOW)
    assert refused.value.code == ExitCode.USAGE


def test_a_pipe_gets_the_time_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """ISO 8601 in UTC, to the second: an age is of no use to a program."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    for say in (shown, told, exact):
        assert say("2026-11-21T06:00:00.250000Z") == "2026-11-21T06:00:00Z"
    assert (shown(None), told(None), exact(None)) == ("never", "never", "")


def test_a_person_gets_an_age_and_later_the_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a table whichever tells more; among the fields of one thing both."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert shown(NOW - 120, now=NOW) == "2 min ago"
    assert shown(NOW - 7200, now=NOW) == local(NOW - 7200)
    assert told(NOW - 7200, now=NOW) == f"{local(NOW - 7200)} (2 h ago)"
    assert told(NOW + 90, now=NOW) == f"{local(NOW + 90)} (in 2 min)"
    assert datetime.fromisoformat(local(NOW)).astimezone().timestamp() == NOW
