"""A firmware upgrade from the Download to the confirmed image, in both orders, and back when the new image does not reach the ACS."""

import asyncio
import hashlib
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.messages import Download
from homeport.cpe.firmware import (
    DirectoryUpdater,
    FirmwareInstaller,
    Order,
    ProgramUpdater,
    RaucUpdater,
    SignaturePolicy,
)
from homeport.cpe.firmware.image import build_image, read_image
from homeport.cpe.firmware.install import fetch_signature
from homeport.cpe.firmware.interface import SlotStatus
from homeport.cpe.firmware.signature import TRAILER, signature_url
from homeport.cpe.ledger import Ledger
from homeport.cpe.state import Store
from homeport.cpe.transfers.file_types import FileTypes
from homeport.cpe.transfers.records import State
from homeport.errors import ConfigError
from homeport.transport.files import NO_CREDENTIALS, FileOptions, FileTransferError, Trouble

from .conftest import Bench, Live

URL = "http://files/fw?token=1"
FIRMWARE = Download("fw", "1 Firmware Upgrade Image", URL)


def equip(bench: Bench, order: Order, *, limit: float = 600.0, **options: Any) -> None:
    """Give the bench two firmware slots; each `on()` is a start of the device."""

    def add(types: FileTypes, store: Store, ledger: Ledger) -> None:
        updater = DirectoryUpdater(bench.directory / "slots", factory_version="1.0", model="797xx")
        bench.version = updater.boot()  # type: ignore[attr-defined]
        bench.firmware = FirmwareInstaller(  # type: ignore[attr-defined]
            updater, facts=store, outbox=ledger, clock=bench.clock, order=order, limit=limit, **options
        )
        types.on_download("1 Firmware Upgrade Image", bench.firmware)  # type: ignore[attr-defined]

    bench.add_types = add
    bench.network.content[URL] = build_image(b"new code" * 100, version="2.0", models=["797xx", "798xx"])


@pytest.mark.case("T01")
def test_the_standard_order_restarts_first_and_reports_from_the_new_image(live: Live) -> None:
    """After the restart: `1 BOOT`, `7 TRANSFER COMPLETE`, `M Download`; the image stays once the ACS was reached."""

    async def scene(bench: Bench) -> None:
        equip(bench, Order.RESTART_FIRST)
        service = await bench.on()
        assert bench.version == "1.0"
        service.handle(FIRMWARE)
        await bench.until(lambda: bench.restarts)
        assert bench.reports == []
        service = await bench.again(20)
        assert bench.version == "2.0"
        assert [e.event_code for e in bench.ledger.events] == ["1 BOOT", "7 TRANSFER COMPLETE", "M Download"]
        assert bench.reports[0].fault_struct.fault_code == 0
        await service.acs_reached()
        bench.acknowledge()
        bench.clock.advance(10_000)
        await bench.again(1)
        await bench.quiet()
        assert bench.version == "2.0" and len(bench.restarts) == 1
        assert [(s.version, s.status) for s in bench.firmware.images] == [
            ("1.0", SlotStatus.AVAILABLE),
            ("2.0", SlotStatus.ACTIVE),
        ]

    live(scene)


def test_dkts_order_reports_first_and_restarts_after_the_response(live: Live) -> None:
    """TransferComplete once the flash is programmed; its response; the session's end; the restart; `1 BOOT` only."""

    async def scene(bench: Bench) -> None:
        equip(bench, Order.REPORT_FIRST)
        service = await bench.on()
        service.handle(FIRMWARE)
        await bench.until(lambda: bench.reports)
        assert bench.version == "1.0" and bench.restarts == []
        service.session_opened()
        bench.acknowledge()
        service.session_closed()
        await bench.until(lambda: bench.restarts)
        service = await bench.again(20)
        assert bench.version == "2.0"
        assert [e.event_code for e in bench.ledger.events] == ["1 BOOT"]
        await service.acs_reached()
        assert service.types.trial is not None and service.types.trial.deadline is None

    live(scene)


@pytest.mark.parametrize("order", list(Order))
def test_an_image_that_does_not_reach_the_acs_is_given_up(live: Live, order: Order) -> None:
    """After the limit the device goes back, and says so: in the report where that was not delivered, else in its status."""

    async def scene(bench: Bench) -> None:
        equip(bench, order, limit=600)
        service = await bench.on()
        service.handle(FIRMWARE)
        if order is Order.REPORT_FIRST:
            await bench.until(lambda: bench.reports)
            bench.acknowledge()
        await bench.until(lambda: bench.restarts)
        await bench.again(20)
        assert bench.version == "2.0"
        bench.clock.advance(599)
        await bench.quiet()
        assert len(bench.restarts) == 1
        bench.clock.advance(1)
        await bench.until(lambda: len(bench.restarts) == 2)
        assert "not reached" in bench.restarts[1]
        await bench.again(20)
        assert bench.version == "1.0"
        if order is Order.RESTART_FIRST:
            assert len(bench.reports) == 1
            assert bench.reports[0].fault_struct.fault_code == 9010
            assert "given up" in bench.reports[0].fault_struct.fault_string
            bench.acknowledge()
        assert "given up" in bench.firmware.failure
        assert bench.firmware.images[1].status is SlotStatus.ACTIVATION_FAILED
        assert bench.ledger.owes_requests is False
        bench.clock.advance(5000)
        await bench.quiet()
        assert len(bench.restarts) == 2

    live(scene)


def test_an_image_that_the_device_does_not_start_is_reported_as_a_failure(live: Live) -> None:
    """The boot loader fell back by itself: 9010 with a sentence, no success."""

    async def scene(bench: Bench) -> None:
        equip(bench, Order.RESTART_FIRST)
        service = await bench.on()
        service.handle(FIRMWARE)
        await bench.until(lambda: bench.restarts)
        boot = bench.directory / "slots" / "boot.json"
        boot.write_text(json.dumps({**json.loads(boot.read_text()), "next": ""}))
        await bench.again(20)
        assert bench.version == "1.0"
        assert bench.reports[0].fault_struct.fault_code == 9010
        assert "did not start" in bench.reports[0].fault_struct.fault_string

    live(scene)


def test_an_image_that_starts_again_and_again_is_given_up(live: Live) -> None:
    """Three starts without the ACS are enough, however short they were."""

    async def scene(bench: Bench) -> None:
        equip(bench, Order.RESTART_FIRST)
        service = await bench.on()
        service.handle(FIRMWARE)
        await bench.until(lambda: bench.restarts)
        for _ in range(3):
            await bench.again(5)
            assert bench.version == "2.0"
        await bench.again(5)
        await bench.until(lambda: len(bench.restarts) == 2)
        await bench.again(5)
        assert bench.version == "1.0"
        assert [r.fault_struct.fault_code for r in bench.reports] == [9010]

    live(scene)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\x7fELF not an image", 9018),
        (build_image(b"x" * 100, version="2.0", models=["other"]), 9018),
        (build_image(b"x" * 100, version="2.0")[:-10], 9018),
        (build_image(b"x" * 100, version="2.0")[:-10] + b"y" * 10, 9018),
    ],
)
def test_an_image_that_does_not_fit_changes_nothing(live: Live, content: bytes, code: int) -> None:
    """Not an image, for another model, cut, damaged: 9018 before anything is staged."""

    async def scene(bench: Bench) -> None:
        equip(bench, Order.RESTART_FIRST)
        service = await bench.on()
        bench.network.content[URL] = content
        service.handle(FIRMWARE)
        await bench.until(lambda: bench.reports)
        assert bench.reports[0].fault_struct.fault_code == code
        assert bench.restarts == []
        assert bench.firmware.images[1].status is SlotStatus.NO_IMAGE

    live(scene)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Any, Any, Path]:
    """(private key, a stranger's, file of the public key)."""
    ed25519 = pytest.importorskip(
        "cryptography.hazmat.primitives.asymmetric.ed25519", reason="cryptography is not installed"
    )
    from cryptography.hazmat.primitives import serialization

    private = ed25519.Ed25519PrivateKey.generate()
    public = tmp_path / "public.pem"
    public.write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, ed25519.Ed25519PrivateKey.generate(), public


@pytest.mark.parametrize("signed", ["trailer", "detached", "none", "wrong", "tampered"])
def test_only_signed_images_are_staged_where_a_key_is_set(live: Live, keys: tuple[Any, Any, Path], signed: str) -> None:
    """Ed25519, at the end of the image or beside it; none, a stranger's, or one for other bytes is 9019."""
    private, stranger, public = keys

    async def beside(url: str, place: Path, _: Any) -> bytes:
        assert signature_url(url) == "http://files/fw.sig?token=1"
        if signed == "detached":
            return bytes(private.sign(image))
        raise FileTransferError(Trouble.UNTRUSTED, "not signed")

    image = build_image(b"x" * 5000, version="2.0", models=["797xx"])

    async def scene(bench: Bench) -> None:
        equip(bench, Order.REPORT_FIRST, signature=SignaturePolicy((public,)), fetch_signature=beside)
        content = image
        if signed == "trailer":
            content = image + TRAILER + private.sign(image)
        elif signed == "wrong":
            content = image + TRAILER + stranger.sign(image)
        elif signed == "tampered":
            content = image[:-1] + b"y" + TRAILER + private.sign(image)
        bench.network.content[URL] = content
        service = await bench.on()
        service.handle(FIRMWARE)
        await bench.until(lambda: bench.reports)
        expected = 0 if signed in ("trailer", "detached") else 9019
        assert bench.reports[0].fault_struct.fault_code == expected
        staged = bench.firmware.images[1].status
        assert staged is (SlotStatus.AVAILABLE if expected == 0 else SlotStatus.NO_IMAGE)

    live(scene)


def test_a_key_that_is_none_is_a_configuration_error(tmp_path: Path, keys: tuple[Any, Any, Path]) -> None:
    """The sentence names the file and the command that makes a key."""
    (tmp_path / "bad.pem").write_text("nonsense")
    (tmp_path / "image").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"bad\.pem"):
        asyncio.run(SignaturePolicy((tmp_path / "bad.pem",)).check(tmp_path / "image", b"x" * 64))


def test_an_empty_image_is_not_trusted(tmp_path: Path, keys: tuple[Any, Any, Path]) -> None:
    """With whatever signature: it is a refusal of the file (9019), not a failure of the device."""
    (tmp_path / "image").write_bytes(b"")
    with pytest.raises(FileTransferError, match="empty") as refused:
        asyncio.run(SignaturePolicy((keys[2],)).check(tmp_path / "image", b"x" * 64))
    assert refused.value.trouble is Trouble.UNTRUSTED


def test_an_image_with_less_than_nothing_in_it_is_corrupt(tmp_path: Path) -> None:
    """A size below zero would be a whole image without a payload."""
    header = {"version": "1", "models": [], "size": -1, "sha256": hashlib.sha256().hexdigest()}
    (tmp_path / "i").write_bytes(b"HOMEPORT-FIRMWARE " + json.dumps(header).encode() + b"\n")
    with pytest.raises(FileTransferError, match="no size"):
        read_image(tmp_path / "i")


@pytest.mark.parametrize("order", list(Order))
def test_a_crash_between_the_image_and_the_note_of_it_is_settled(live: Live, order: Order) -> None:
    """The image was activated, the record still says `installing`: the new image runs, so it was a success."""

    async def scene(bench: Bench) -> None:
        equip(bench, order)
        service = await bench.on()
        real = service.queue.save
        held = asyncio.Event()

        def save(record: Any) -> Any:
            if record.state is State.RESTARTING:
                held.set()
                raise asyncio.CancelledError
            return real(record)

        service.queue.save = save  # type: ignore[method-assign]
        service.queue.complete = lambda *_, **__: save(type("R", (), {"state": State.RESTARTING}))  # type: ignore[method-assign]
        service.handle(FIRMWARE)
        await held.wait()
        await bench.again(5)
        assert bench.version == "2.0"
        assert [r.fault_struct.fault_code for r in bench.reports] == [0]

    live(scene)


# --- updaters -------------------------------------------------------------------------------------------------------------------


def script(path: Path, code: str) -> tuple[str, ...]:
    """A program of the device maker."""
    path.write_text(f"#!{sys.executable}\nimport json, sys\nverb, *args = sys.argv[1:]\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return (str(path),)


def test_an_external_program_is_the_updater(tmp_path: Path) -> None:
    """JSON on standard output, arguments as a list, no shell in between."""
    log = tmp_path / "log"
    command = script(
        tmp_path / "updater",
        f"""
open({str(log)!r}, "a").write(repr([verb, *args]) + chr(10))
if verb == "status":
    print(json.dumps({{"slots": [{{"name": "a", "version": "1", "running": True}}, {{"name": "b", "running": False}}]}}))
elif verb == "verify":
    print(json.dumps({{"version": "2; rm -rf /"}}))
elif verb == "stage":
    print(json.dumps({{"slot": "b"}}))
""",
    )
    image = tmp_path / "a file; $(touch x)"
    image.write_bytes(b"x")

    async def main() -> None:
        updater = ProgramUpdater(command, timeout=10)
        slots = await updater.slots()
        assert [(s.name, s.running, s.status) for s in slots] == [
            ("a", True, SlotStatus.ACTIVE),
            ("b", False, SlotStatus.NO_IMAGE),
        ]
        info = await updater.verify(image)
        assert await updater.stage(image, info) == "b"
        await updater.activate("b")
        await updater.confirm()
        await updater.roll_back()

    asyncio.run(main())
    assert log.read_text().splitlines()[1:] == [
        repr(["verify", str(image)]),
        repr(["stage", str(image)]),
        repr(["activate", "b"]),
        repr(["confirm"]),
        repr(["roll-back"]),
    ]


@pytest.mark.parametrize(
    ("code", "trouble", "text"),
    [
        ("sys.exit('wrong model')", Trouble.CORRUPT, "wrong model"),
        ("print('bad key', file=sys.stderr); sys.exit(3)", Trouble.UNTRUSTED, "bad key"),
        ("print('not json')", Trouble.LOCAL, "did not print"),
        ("print('{}')", Trouble.LOCAL, "did not print"),
        ("import time; time.sleep(60)", Trouble.LOCAL, "0.5 s"),
    ],
)
def test_an_external_program_that_fails_says_why(tmp_path: Path, code: str, trouble: Trouble, text: str) -> None:
    """The last line of standard error is the reason; a program that hangs is ended with its children."""
    command = script(tmp_path / "updater", code)
    with pytest.raises(FileTransferError, match=text) as caught:
        asyncio.run(ProgramUpdater(command, timeout=0.5).verify(tmp_path))
    assert caught.value.trouble is trouble


def test_a_program_that_is_not_there_is_a_failure_of_the_device(tmp_path: Path) -> None:
    """9002 in the report, not a crash of the agent."""
    with pytest.raises(FileTransferError) as caught:
        asyncio.run(ProgramUpdater((str(tmp_path / "none"),)).slots())
    assert caught.value.trouble is Trouble.LOCAL


def test_rauc_is_read_as_it_prints(tmp_path: Path) -> None:
    """The slots with a bootname count, the one whose state is `booted` runs (JSON of RAUC 1.8)."""
    slot = {"class": "rootfs", "device": "/dev/x", "type": "ext4", "parent": None, "mountpoint": None}
    status = {
        "compatible": "797xx",
        "booted": "/dev/x",
        "boot_primary": "rootfs.1",
        "slots": [
            {"rootfs.1": {**slot, "bootname": "B", "state": "inactive", "boot_status": "good",
                          "slot_status": {"bundle": {"version": "2.0"}}}},
            {"rescue.0": {**slot, "bootname": None, "state": "inactive", "boot_status": None}},
            {"rootfs.0": {**slot, "bootname": "A", "state": "booted", "boot_status": "good", "slot_status": {}}},
        ],
    }  # fmt: skip
    command = script(tmp_path / "rauc", f"print({json.dumps(status)!r})")
    slots = asyncio.run(RaucUpdater(command).slots())
    assert [(s.name, s.version, s.running, s.boots_next) for s in slots] == [
        ("rootfs.1", "2.0", False, True),
        ("rootfs.0", "", True, False),
    ]


def test_an_image_says_what_it_is(tmp_path: Path) -> None:
    """Version and models from the header; what follows the payload is not looked at."""
    (tmp_path / "i").write_bytes(build_image(b"payload", version="3.1", models=["a", "b"]) + TRAILER + b"s" * 64)
    header = read_image(tmp_path / "i")
    assert (header.version, header.models, header.size) == ("3.1", ("a", "b"), 7)


def test_a_signature_is_fetched_as_the_device_speaks_to_file_servers(tmp_path: Path) -> None:
    """Its own protocols and certificates count for the signature as for the image; without it the image is not trusted."""
    options = FileOptions(schemes=("https",))
    with pytest.raises(FileTransferError, match="http is not") as refused:
        asyncio.run(fetch_signature("http://127.0.0.1:9/i", tmp_path / "i.sig", NO_CREDENTIALS, options=options))
    assert refused.value.trouble is Trouble.UNTRUSTED
