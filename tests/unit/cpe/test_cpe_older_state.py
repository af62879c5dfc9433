"""State that an older release left: it is lifted at one stroke, and every kind of fact that a release ever wrote is still understood."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import GetParameterAttributes, GetParameterValues
from homeport.cpe import state
from homeport.cpe.state import AGENT, Store
from homeport.errors import StoreError

GOLDEN = Path(__file__).parents[2] / "golden" / "cpe_state"


def lay_down(directory: Path, file: Path) -> None:
    """Put a recorded state into a directory, as the device's flash holds it after the update."""
    db = sqlite3.connect(directory / "state.db")
    db.executescript(file.read_text(encoding="utf-8"))
    db.close()


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("format_*.sql")), ids=lambda p: p.stem)
def test_the_state_of_every_release_is_understood(tmp_path, file):
    """Recorded in the middle of its life: values, attributes, rows, the key, a waiting report, a change to tell, a promised restart and a
    scheduled contact. Nothing of it is lost or told to the wrong ACS."""
    lay_down(tmp_path, file)

    async def play() -> None:
        bench = Bench(tmp_path)
        await bench.start()
        told = [(e.event_code, e.command_key) for e in bench.informs[0].event]
        assert told == [
            ("1 BOOT", ""),
            ("4 VALUE CHANGE", ""),
            ("7 TRANSFER COMPLETE", ""),
            ("M Reboot", "again"),
            ("M Download", "fw"),
        ]
        assert bench.values()["Device.WiFi.SSID"] == "changed here"
        assert [c.command_key for c in bench.acs.calls] == ["fw"]
        names = ("Device.WiFi.Channel", "Device.WiFi.Neighbour.2.Name", "Device.ManagementServer.ParameterKey")
        values, attributes = await bench.ask(GetParameterValues(names), GetParameterAttributes(("Device.WiFi.SSID",)))
        assert [v.value for v in values.parameter_list] == ["7", "", "key-4"]
        assert attributes.parameter_list[0].notification == 1
        assert bench.agent.management.connection_request_credentials[1] == "bell"
        assert bench.agent.model.instances("Device.WiFi.Neighbour.") == [2]
        await bench.clock.advance(601)
        assert ("M ScheduleInform", "later") in [(e.event_code, e.command_key) for e in bench.informs[-1].event]
        await bench.stop()

    asyncio.run(play())


def next_release(monkeypatch, *steps: str) -> None:
    """A release whose layout is so many steps further."""
    monkeypatch.setattr(state, "FORMAT", 1 + len(steps))
    monkeypatch.setattr(state, "_MIGRATIONS", dict(enumerate(steps, 1)))


def version(directory: Path) -> int:
    db = sqlite3.connect(directory / "state.db")
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    db.close()
    return found


def test_an_older_layout_is_lifted_step_by_step(tmp_path, monkeypatch):
    """Two releases at once; facts stay."""
    store = Store(tmp_path)
    with store.transaction() as transaction:
        transaction.put(AGENT, "old name", 7)
    store.close()
    next_release(
        monkeypatch,
        "UPDATE fact SET key = 'new name' WHERE key = 'old name';",
        "UPDATE fact SET key = 'newest name' WHERE key = 'new name';",
    )
    store = Store(tmp_path)
    assert store.items(AGENT) == [("newest name", 7)]
    store.close()
    assert version(tmp_path) == 3


def test_a_lift_that_fails_changes_nothing(tmp_path, monkeypatch):
    """The state is the old release's as before, which can be installed again."""
    store = Store(tmp_path)
    with store.transaction() as transaction:
        transaction.put(AGENT, "name", 7)
    store.close()
    next_release(monkeypatch, "DELETE FROM fact; INSERT INTO nowhere VALUES (1);")
    with pytest.raises(StoreError):
        Store(tmp_path)
    monkeypatch.undo()
    assert version(tmp_path) == 1
    store = Store(tmp_path)
    assert store.get(AGENT, "name") == 7
    store.close()
