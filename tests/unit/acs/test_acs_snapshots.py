"""The counters that workers leave for each other."""

from pathlib import Path

from structlog.testing import capture_logs

from homeport.acs.services.hub import Stats
from homeport.acs.services.snapshots import Snapshots, taken


def test_counters_that_cannot_be_written_are_told_of_once(tmp_path: Path) -> None:
    """They are written every second; a full disk must not fill the log as well."""
    directory = tmp_path / "data"
    snapshots = Snapshots(directory, 0, 2, lambda: taken(Stats(), 3))

    def told(times: int) -> int:
        with capture_logs() as said:
            for _ in range(times):
                snapshots.write()
        return len(said)

    assert told(5) == 1
    directory.mkdir()
    assert told(2) == 0
    assert Snapshots(directory, 1, 2, lambda: taken(Stats(), 4)).all()[0][1].open == 3
    (directory / "worker-1.stats").unlink()
    directory.rmdir()
    assert told(5) == 1, "it is another failure"
