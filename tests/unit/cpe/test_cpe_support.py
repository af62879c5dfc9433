"""The support archive: all of it in one file, readable by people and by `homeport decode`, without secrets."""

import asyncio
import io
import tarfile

from cpe_support.bench import Bench
from homeport.cli.main import run
from homeport.codec.messages import GetParameterValues
from homeport.cpe.support import CONTENTS, archive, folder
from homeport.cpe.verbs import verbs_of


def made(tmp_path) -> dict[str, bytes]:
    async def scene():
        bench = Bench(tmp_path, password="s3cret", connection_request_password="s3cret")
        agent = await bench.start()
        await bench.ask(GetParameterValues(("Device.",)))
        verbs = verbs_of(agent)
        found = await verbs["support"]({})
        records = [await verbs["session"]({"number": r["number"]}) for r in reversed(found["sessions"])]
        content = archive(found, await verbs["params"]({}), records)
        await bench.stop()
        return content

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(scene()))) as tar:
        members = tar.getmembers()
        assert all(m.name.startswith("homeport-support-00256D-Bench-0001/") and m.mode == 0o600 for m in members)
        return {m.name.rpartition("/")[2]: tar.extractfile(m).read() for m in members}


def test_everything_is_in_it_and_no_secret(tmp_path):
    """Each file that its README names, none of them empty."""
    files = made(tmp_path)
    assert list(files) == [name for name, _ in CONTENTS]
    assert all(files.values())
    assert b"s3cret" not in b"".join(files.values())
    assert b"    ACS URL: http" in files["config.txt"]
    assert b"-> Inform" in files["client.log"]


def test_the_capture_is_read_by_decode(tmp_path, capsys):
    """Whoever helps looks at the sessions as if they had been recorded at home."""
    file = tmp_path / "sessions.capture"
    file.write_bytes(made(tmp_path / "state")["sessions.capture"])
    assert run(["decode", str(file), "--strict"]) == 0
    text = capsys.readouterr().out
    assert "00256D-Bench-0001: 6 CONNECTION REQUEST" in text
    assert "CPE ──▶ ACS  GetParameterValuesResponse" in text


def test_a_hostile_name_makes_no_path():
    """The device's name comes from its configuration."""
    assert folder("../../etc/x y") == "homeport-support-______etc_x_y"
