"""What an operator's secrets do on their way: the device gets them, and nobody else sees them."""

import html
import random
from pathlib import Path
from typing import Any

import pytest
from tests.support.acs_wire import OUI, PRODUCT, acs, id_of, played, run
from tests.support.spellings import NAMES, SECRET, Speller, every_way

from homeport.acs.services.masking import same_but_masked
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode

URL = "https://u:hunter2@files.example/fw.bin?token=hunter2"


def test_a_secret_reaches_the_device_and_nobody_else(tmp_path: Path) -> None:
    """REST, the session's trace, the events, the faults, the audit log, and after the end the database, too."""
    passphrase = "Device.WiFi.AccessPoint.1.Security.KeyPassphrase"

    def answer(request: m.Request) -> m.Message | None:
        match request:
            case m.Download(url=url) if "broken" in url:
                return m.FaultMessage(9010, f"cannot fetch {url}")
            case m.Download():
                return m.DownloadResponse(0, "2026-11-21T06:00:00Z", "2026-11-21T06:00:00Z")
            case m.SetParameterValues():
                return m.SetParameterValuesResponse(0)
            case m.GetParameterValues(parameter_names=names):
                return m.GetParameterValuesResponse(tuple(m.ParameterValueStruct(n, "hunter2") for n in names))
        return None

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            row = {"name": passphrase, "value": "hunter2", "type": "string"}
            tasks = [
                await bed.task("Download", {"file_type": "1 F", "url": URL, "username": "u", "password": "hunter2"}),
                await bed.task("SetParameterValues", {"parameter_list": [row]}),
                await bed.task("GetParameterValues", {"parameter_names": [passphrase]}),
                await bed.task("Download", {"file_type": "1 F", "url": URL.replace("fw.bin", "broken.bin")}),
                await bed.task("SetVouchers", {"voucher_list": ["aHVudGVyMg=="]}),
            ]
            await device.inform()
            told = m.AutonomousTransferComplete(URL, URL, True, "1 F", 1, "fw")
            await device.post(told)
            await device.serve(await device.post(None), answer)
            download, setting, *_ = device.heard
            assert isinstance(download, m.Download) and (download.url, download.password) == (URL, "hunter2")
            assert isinstance(setting, m.SetParameterValues) and setting.parameter_list[0].value == "hunter2"
            seen = [(await bed.rest("GET", f"tasks/{task['id']}")).body for task in tasks]
            device_path = f"devices/{id_of()}"
            for path in (
                f"{device_path}/tasks",
                f"{device_path}/events",
                f"{device_path}/parameters",
                "faults",
                "audit",
            ):
                seen.append((await bed.rest("GET", path)).body)
            for session in (await bed.rest("GET", f"{device_path}/sessions")).json["items"]:
                seen.append((await bed.rest("GET", f"sessions/{session['id']}")).body)
            assert b"********" in seen[0] and b"files.example" in seen[0]
            assert not [page for page in seen if b"hunter2" in page or b"aHVudGVyMg" in page]
            stored = [await bed.app.store.task(task["id"]) for task in tasks]
            assert "hunter2" not in str(stored)

    run(scene())


def an_inform(speller: Speller, serial: str, names: tuple[str, ...]) -> str:
    device = f"<Manufacturer>E</Manufacturer><OUI>{OUI}</OUI><ProductClass>{PRODUCT}</ProductClass><SerialNumber>{serial}</SerialNumber>"
    rest = "<MaxEnvelopes>1</MaxEnvelopes><CurrentTime>2026-11-21T06:00:00Z</CurrentTime><RetryCount>0</RetryCount>"
    event = "<EventStruct><EventCode>4 VALUE CHANGE</EventCode><CommandKey/></EventStruct>"
    content = f"<DeviceId>{device}</DeviceId><Event>{event}</Event>{rest}{speller.values(names)}"
    return speller.envelope("Inform", content)


@played
async def test_a_secret_in_any_spelling_is_in_no_history_event_log_or_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told in an Inform, read by a task, in an answer that is broken: histories, tasks, the event stream and all that lies on the disk."""
    heard: list[Any] = []
    async with acs(tmp_path, log_level="debug") as bed:
        bed.app.hub.bus.tap = heard.append  # what the webhooks are made of, and the event stream
        seen: list[bytes] = []
        for seed in range(1, 5):
            serial, names = f"S{seed}", (NAMES[seed],)
            device = await bed.device(serial)
            assert (await device.session("1 BOOT")).status == 204
            task = await bed.task("GetParameterValues", {"parameter_names": list(names)}, serial=serial)
            broken = await bed.task("GetParameterValues", {"parameter_names": ["Device.A"]}, serial=serial)
            informed = await device.post(every_way(seed, lambda s: an_inform(s, serial, names)))  # noqa: B023
            assert informed.status == 200, informed.body
            asked = await device.post(None)
            ids = decode(asked.body).id or ""
            answer = every_way(100 + seed, lambda s: s.envelope("GetParameterValuesResponse", s.values(names), id=ids))  # noqa: B023
            asked = await device.post(answer)
            assert asked.status == 200, asked.body
            cut = Speller(random.Random(seed)).values(names)[:-20].encode()
            assert (await device.post(cut)).status == 400
            for path in (f"tasks/{task['id']}", f"tasks/{broken['id']}"):
                seen.append((await bed.rest("GET", path)).body)
            pages = [
                f"devices/{id_of(serial)}/{what}" for what in ("sessions", "events", "parameters", "tasks", "faults")
            ]
            seen += [(await bed.rest("GET", path)).body for path in pages]
            for session in (await bed.rest("GET", pages[0])).json["items"]:
                seen.append((await bed.rest("GET", f"sessions/{session['id']}")).body)
        assert sum(b"********" in page for page in seen) >= 8
    seen += [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    seen += [repr(heard).encode(), capsys.readouterr().out.encode()]
    assert heard
    found = [
        page
        for page in seen
        if SECRET in html.unescape(page.decode("utf-8", "replace")).replace("<![CDATA[", "").replace("]]>", "")
    ]
    assert not found, found[0][:3_000]


@played
async def test_a_secret_that_a_device_repeats_in_its_fault_is_masked(tmp_path: Path) -> None:
    """In the task, the faults, the history and on the disk; the rest of its words stays."""
    rows = [
        {"name": "Device.WiFi.AccessPoint.1.Security.KeyPassphrase", "value": "hunter<2", "type": "string"},
        {"name": "Device.WiFi.SSID.1.SSID", "value": "home", "type": "string"},
        {"name": "Device.X.PIN", "value": "12", "type": "string"},
    ]
    echo = m.SetParameterValuesFault(rows[0]["name"], 9007, "hunter<2 is too short for home")
    async with acs(tmp_path) as bed:
        device = await bed.device()
        await device.session("1 BOOT")
        task = await bed.task("SetParameterValues", {"parameter_list": rows})
        other = await bed.task(
            "Download", {"file_type": "1 F", "url": "http://192.0.2.1/f", "username": "u", "password": "hunter<2"}
        )

        def answer(request: m.Request) -> m.Message:
            if isinstance(request, m.Download):
                return m.FaultMessage(9012, "no login with u and hunter<2")
            return m.FaultMessage(9003, "Invalid arguments: 'hunter<2', 12", (echo,), "Client")

        await device.session(handler=answer)
        row = {"parameter_list": [{"name": "Device.X.Password", "value": "hunter<2", "type": "string"}]}
        await bed.task("SetParameterValues", row)
        await device.inform()
        asked = decode((await device.post(None)).body)
        fault = encode(Envelope(body=m.FaultMessage(9002, "hunter<2?"), id=asked.id))
        assert (await device.post(fault.replace(b">9002<", b">4711<"))).status == 204
        seen = [(await bed.rest("GET", f"tasks/{t['id']}")).body for t in (task, other)]
        seen.append((await bed.rest("GET", "faults")).body)
        assert b"******** is too short for home" in seen[0] and b"no login with u and ********" in seen[1]
        for session in (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]:
            seen.append((await bed.rest("GET", f"sessions/{session['id']}")).body)
    seen += [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not [page for page in seen if b"hunter<2" in page or b"hunter&lt;2" in page]


def _ends(key: str, words: str) -> list[m.Request]:
    fault = m.FaultStruct(9010, words)
    return [
        m.TransferComplete(key, fault),
        m.DUStateChangeComplete((m.OpResultStruct("", "", "", "Failed", False, "", "", "", fault),), key),
    ]


@pytest.mark.parametrize("modules", [False, True])
@played
async def test_a_secret_that_a_device_repeats_at_the_end_of_a_transfer_is_masked(tmp_path: Path, modules: bool) -> None:
    """The task's password, and the one in its URL as it is written and as it is meant; also where the end is told twice."""
    url = "https://u:hunter%32%40x@files.example/fw.bin?token=tok-4711"
    words = "login with hunter2@x (hunter%32%40x), then pass-0815 and tok-4711 failed"

    def answer(request: m.Request) -> m.Message | None:
        if isinstance(request, m.ChangeDUState):
            return m.ChangeDUStateResponse()
        return m.DownloadResponse(1, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")

    async with acs(tmp_path) as bed:
        device = await bed.device(urn="urn:dslforum-org:cwmp-1-2")
        await device.session("1 BOOT")
        args: dict[str, Any] = {"url": url, "username": "u", "password": "pass-0815"}
        if modules:
            task = await bed.task("ChangeDUState", {"operations": [{"type": "Install", "uuid": ""} | args]})
        else:
            task = await bed.task("Download", {"file_type": "1 F"} | args)
        await device.session(handler=answer)
        sent = device.heard[-1]
        assert isinstance(sent, m.Download | m.ChangeDUState)
        for _ in range(2):  # our answer is lost, so that it is told again
            await device.inform("7 TRANSFER COMPLETE")
            assert (await device.post(_ends(sent.command_key, words)[modules])).status == 200
            await device.post(None)
        await bed.app.store.flush()
        done = (await bed.rest("GET", f"tasks/{task['id']}")).json
        assert done["fault"]["string"] == "login with ******** (********), then ******** and ******** failed"
        events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
        assert sum(e["code"] in ("TransferComplete", "DUStateChangeComplete") for e in events) == 1
        sessions = (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]
        shown = [(await bed.rest("GET", f"sessions/{s['id']}")).body.decode() for s in sessions]
        assert sum("Complete" in text and "********" in text for text in shown) >= 2
        everything = "".join([str(done), str(events), *shown, (await bed.rest("GET", "faults")).body.decode()])
    on_disk = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for secret in ("hunter2@x", "hunter%32", "pass-0815", "tok-4711"):
        assert secret not in everything
        assert secret.encode() not in on_disk


def test_what_is_kept_with_a_mask_is_known_again() -> None:
    """Only what the mask stands for may differ, and the order of the rest counts."""
    kept = {"fault_struct": {"fault_code": 9010, "fault_string": "a ******** b ******** c"}, "command_key": "k"}

    def told(words: str, code: int = 9010) -> Any:
        return {"fault_struct": {"fault_code": code, "fault_string": words}, "command_key": "k"}

    assert same_but_masked(kept, told("a secret b other c"))
    assert not any(
        same_but_masked(kept, told(words)) for words in ("a b c", "x secret b other c", "a secret b other d", "")
    )
    assert not same_but_masked(kept, told("a secret b other c", 9002))
