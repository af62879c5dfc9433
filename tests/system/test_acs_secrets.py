"""What an operator's secrets do on their way: the device gets them, and nobody else sees them."""

from pathlib import Path

from tests.support.acs_wire import acs, id_of, run

from homeport.codec import messages as m

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
