"""The last sessions: kept, bounded, without secrets, over restarts."""

import asyncio

from cpe_support.bench import Bench
from homeport.codec.messages import (
    Download,
    GetParameterValues,
    ParameterValueStruct,
    SetParameterValues,
)
from homeport.cpe import recorder
from homeport.cpe.recorder import Recorder, Tape
from homeport.cpe.status import SessionReport
from homeport.cpe.support import ladder_of
from homeport.cpe.verbs import verbs_of
from homeport.terms import Role


def report(reason: str = "done") -> SessionReport:
    return SessionReport(
        started="2026-01-01T00:00:00Z",
        ended="2026-01-01T00:00:01Z",
        acs_url="http://acs/",
        events=("2 PERIODIC",),
        outcome="success",
        reason=reason,
    )


def play(tmp_path, scene):
    async def run():
        bench = Bench(tmp_path)
        agent = await bench.start()
        result = await scene(bench, agent)
        await bench.stop()
        return result

    return asyncio.run(run())


def test_a_session_can_be_looked_at_message_by_message(tmp_path):
    """Both directions, in order, with the moment of each; the ladder knows who said what."""

    async def scene(bench, agent):
        await bench.ask(GetParameterValues(("Device.WiFi.",)))
        verbs = verbs_of(agent)
        rows = await verbs["sessions"]({})
        return rows, await verbs["session"]({"number": rows[0]["number"]})

    rows, record = play(tmp_path, scene)
    assert [row["number"] for row in rows] == [2, 1]
    assert rows[0]["events"] == ("6 CONNECTION REQUEST",) or rows[0]["events"] == ["6 CONNECTION REQUEST"]
    session, times = ladder_of(record)
    assert [(rung.sender, rung.report.title) for rung in session.rungs] == [
        (Role.CPE, "Inform"),
        (Role.ACS, "InformResponse"),
        (Role.CPE, "(empty)"),
        (Role.ACS, "GetParameterValues"),
        (Role.CPE, "GetParameterValuesResponse"),
        (Role.ACS, "(empty)"),
    ]
    assert len(times) == 6 and times[0] == "0 ms"
    assert not [f for rung in session.rungs for f in rung.findings if f.level == "error"]


def test_what_the_acs_sets_is_kept_without_its_secrets(tmp_path):
    """By the parameter's name, by the model's word that it is hidden, and the key in a file's address."""

    async def scene(bench, agent):
        server = "Device.ManagementServer."
        values = (
            ParameterValueStruct(name=server + "Password", value="s3cret-a", type="string"),
            ParameterValueStruct(name="Device.WiFi.SSID", value="http://u:s3cret-b@x/", type="string"),
        )
        await bench.ask(
            SetParameterValues(values, "key"),
            Download(command_key="d", file_type="1 Firmware Upgrade Image", url="http://x/f?token=s3cret-c"),
            Download(command_key="e", file_type="1 Firmware Upgrade Image", url="ftp://u:s3cret-d@x/f"),
        )
        return await verbs_of(agent)["session"]({"number": 2})

    record = play(tmp_path, scene)
    text = repr(record)
    assert "Device.WiFi.SSID" in text and "http://x/f?********" in text
    assert "s3cret" not in text


def test_sessions_survive_a_restart(tmp_path):
    """The session that asked for a reboot is the one that a person wants to see after it."""

    async def scene(bench, agent):
        return agent.recorder.sessions[0].messages

    before = play(tmp_path, scene)
    assert before and (tmp_path / recorder.FILE).stat().st_mode & 0o777 == 0o600
    again = Recorder(tmp_path, lambda: 0.0)
    assert again.sessions[0].messages == before
    again.finished(Tape(lambda: 0.0), report())
    assert again.sessions[-1].number == again.sessions[0].number + 1


def test_a_broken_file_of_sessions_is_no_obstacle(tmp_path):
    """It informs people; the agent starts without it."""
    (tmp_path / recorder.FILE).write_bytes(b"\xc1garbage")
    assert Recorder(tmp_path, lambda: 0.0).sessions == ()


def test_memory_is_bounded(tmp_path, monkeypatch):
    """Old sessions go; of a huge body its size is told."""
    import random

    rng = random.Random(7)
    kept = Recorder(tmp_path, lambda: 0.0)
    for _ in range(20):
        tape = Tape(lambda: 0.0)
        tape.add("received", rng.randbytes(60_000).hex().encode(), "HTTP 200")
        kept.finished(tape, report())
    assert sum(len(m.packed) for s in kept.sessions for m in s.messages) <= recorder.MOST_BYTES
    assert 1 <= len(kept.sessions) <= recorder.KEEP
    tape = Tape(lambda: 0.0)
    tape.add("received", b"x" * (recorder.MOST_OF_BODY + 1), "HTTP 200")
    for _ in range(3):
        tape.add("sent", b"y" * recorder.MOST_OF_BODY, "Fault")
    kept.finished(tape, report())
    sizes = [(m.size, len(m.body)) for m in kept.sessions[-1].messages]
    big = recorder.MOST_OF_BODY
    assert sizes == [(big + 1, 0), (big, big), (big, big), (big, 0)]
