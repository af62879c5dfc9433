"""How a report reaches the ACS that is spoken to: in words that it knows, and as often as it asks for it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import (
    AutonomousTransferComplete,
    FaultMessage,
    FaultStruct,
    Message,
    TransferComplete,
)
from homeport.cpe.parts.transfers import TransfersPart
from homeport.cpe.transfers.spoken import in_words_of
from homeport.session.events import RequestReceived
from homeport.terms import CwmpVersion, EventCode
from homeport.transport.loopback import LoopbackAcs

CORRUPT = TransferComplete("k", FaultStruct(9018, "the checksum is wrong"))


class BusyAcs(LoopbackAcs):
    """Answers the first TransferComplete of each session with a fault, as often as `busy` says."""

    busy = 0
    code = 8005

    def _answer_to(self, event: RequestReceived) -> Message:
        if self.busy and isinstance(event.request, TransferComplete):
            self.busy -= 1
            return FaultMessage(self.code, "later", (), "Server")
        return super()._answer_to(event)


def played(directory: Path, scene: Callable[[Bench], Awaitable[None]], **settings: object) -> None:
    """A scene with an agent that has its transfers, on virtual time."""

    async def main() -> None:
        bench = Bench(directory, parts=lambda agent: [TransfersPart(agent)], **settings)
        bench.acs = BusyAcs(clock=bench.clock.monotonic)
        await bench.start()
        try:
            await scene(bench)
        finally:
            await bench.stop()

    asyncio.run(main())


async def owe(bench: Bench) -> None:
    """The device has a result for the ACS."""
    assert bench.agent is not None
    bench.agent.ledger.owe_request(CORRUPT, EventCode.M_DOWNLOAD, "k")
    bench.agent.contact()
    await bench.clock.settle()


def told(bench: Bench) -> list[int]:
    return [c.fault_struct.fault_code for c in bench.acs.calls if isinstance(c, TransferComplete)]


@pytest.mark.case("T04")
@pytest.mark.parametrize(("version", "code"), [("1.0", 9010), ("1.1", 9018), ("1.4", 9018)])
def test_the_fault_of_a_report_is_one_that_the_spoken_version_has(tmp_path: Path, version: str, code: int) -> None:
    """Codes 9014 to 9019 came with CWMP 1.1; the confirmed report is settled all the same."""

    async def scene(bench: Bench) -> None:
        await owe(bench)
        assert told(bench) == [code]
        assert bench.agent is not None and not bench.agent.ledger.owes_requests
        assert EventCode.M_DOWNLOAD not in bench.agent.ledger.queue

    played(tmp_path, scene, cwmp_version=version)


def test_an_old_acs_is_not_sent_what_it_has_no_method_for(tmp_path: Path) -> None:
    """AutonomousTransferComplete came with CWMP 1.1: it stays owed, and what comes behind it is sent."""

    async def scene(bench: Bench) -> None:
        assert bench.agent is not None
        own = AutonomousTransferComplete(
            "", "http://files/a", True, "1 Firmware Upgrade Image", 5, "", FaultStruct(0, "")
        )
        bench.agent.ledger.owe_request(own, EventCode.AUTONOMOUS_TRANSFER_COMPLETE)
        await owe(bench)
        assert told(bench) == [9010]
        assert bench.agent.ledger.owes_requests
        assert not [c for c in bench.acs.calls if isinstance(c, AutonomousTransferComplete)]

    played(tmp_path, scene, cwmp_version="1.0")


@pytest.mark.case("T18")
def test_a_report_that_is_answered_with_8005_is_sent_again(tmp_path: Path) -> None:
    """In the same session, word for word; settled once by the response."""

    async def scene(bench: Bench) -> None:
        assert isinstance(bench.acs, BusyAcs)
        bench.acs.busy, before = 2, len(bench.informs)
        await owe(bench)
        assert told(bench) == [9018] * 3 and len(bench.informs) == before + 1
        assert bench.agent is not None and not bench.agent.ledger.owes_requests

    played(tmp_path, scene)


@pytest.mark.case("T18")
def test_a_report_that_is_refused_otherwise_is_sent_in_the_next_session(tmp_path: Path) -> None:
    """Nothing but TransferCompleteResponse settles it; `7 TRANSFER COMPLETE` and M Download come again."""

    async def scene(bench: Bench) -> None:
        assert isinstance(bench.acs, BusyAcs)
        bench.acs.busy, bench.acs.code = 1, 8002
        await owe(bench)
        assert told(bench) == [9018]
        assert bench.agent is not None and bench.agent.ledger.owes_requests
        bench.agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        assert told(bench) == [9018] * 2 and not bench.agent.ledger.owes_requests
        assert {"7 TRANSFER COMPLETE", "M Download"} <= set(bench.events())

    played(tmp_path, scene)


def test_each_newer_code_has_an_older_word() -> None:
    """9010 for downloads and 9011 for uploads; 9020 since CWMP 1.2; what every version knows stays."""
    for code, version, upload, word in (
        (9015, CwmpVersion.V1_0, True, 9011),
        (9015, CwmpVersion.V1_1, True, 9015),
        (9019, CwmpVersion.V1_0, False, 9010),
        (9020, CwmpVersion.V1_1, False, 9010),
        (9020, CwmpVersion.V1_2, False, 9020),
        (9012, CwmpVersion.V1_0, False, 9012),
        (0, CwmpVersion.V1_0, False, 0),
    ):
        spoken = in_words_of(TransferComplete("k", FaultStruct(code, "text")), version, upload=upload)
        assert isinstance(spoken, TransferComplete)
        assert (spoken.command_key, spoken.fault_struct) == ("k", FaultStruct(word, "text"))
