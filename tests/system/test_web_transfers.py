"""The question of a download that waits for a person, on the device's web page."""

import asyncio
from pathlib import Path

import pytest

from cpe_support.web_bench import WebBench
from homeport.codec.messages import ScheduleDownload, ScheduleDownloadResponse, TimeWindowStruct, TransferComplete
from homeport.cpe.parts.transfers import TransfersPart

pytestmark = pytest.mark.system


@pytest.mark.case("T13")
def test_a_person_answers_the_question_of_a_download_on_the_page(tmp_path: Path) -> None:
    """The ACS's words with two buttons; "Not now" ends the window, and the ACS is told 9001."""

    async def main() -> None:
        async with WebBench(tmp_path, parts=lambda agent: [TransfersPart(agent)]) as web:
            window = TimeWindowStruct(0, 3600, "4 Confirmation Needed", "Upgrade <now>?", 0)
            request = ScheduleDownload(
                "ask", "3 Vendor Configuration File", "http://127.0.0.1:9/c", time_window_list=(window,)
            )
            (answer,) = await web.bench.ask(request)
            assert isinstance(answer, ScheduleDownloadResponse), answer
            async with asyncio.timeout(10):
                while "Upgrade" not in (page := (await web.get("/transfers")).body):
                    await asyncio.sleep(0)
            assert "Upgrade &lt;now&gt;?" in page
            wrong = await web.post("/transfers", {"transfer": "99", "answer": "yes"})
            assert wrong.status == 400 and "name the transfer" in wrong.body
            done = await web.post("/transfers", {"transfer": "1", "answer": "no"})
            assert (done.status, done.headers["location"]) == (303, "/transfers")
            async with asyncio.timeout(10):
                while not (told := [c for c in web.bench.acs.calls if isinstance(c, TransferComplete)]):
                    await web.bench.clock.settle()
            assert told[0].fault_struct.fault_code == 9001

    asyncio.run(main())
