"""File transfers, firmware, vendor configuration and logs: what the settings say about them, and when they are loaded at all.

The service (cpe/transfers) and the updaters (cpe/firmware) are imported when the first transfer is asked for, or at the start where
something is under way: most devices transfer a file once a year, and memory is for what is used.
Source: TR-069a6 A.3.2.8, A.4.1.5; the order of DKT's firmware upgrade from its interface description.
"""

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from homeport.codec.messages import (
    CancelTransfer,
    Download,
    GetAllQueuedTransfers,
    GetQueuedTransfers,
    Request,
    Response,
    ScheduleDownload,
    Upload,
)
from homeport.cpe.clock import date_time
from homeport.cpe.journal import LOG
from homeport.cpe.parts.file_rows import FileRows, own_logs
from homeport.cpe.parts.part import Part
from homeport.cpe.transfers.rules import TransferRules, TransferStatus
from homeport.errors import StoreError, TransportError
from homeport.http.redirects import shown_url
from homeport.terms import CwmpVersion

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent
    from homeport.cpe.devices.declarations import Moment
    from homeport.cpe.firmware import DirectoryUpdater, FirmwareInstaller, Updater
    from homeport.cpe.parts.firmware_rows import FirmwareRows
    from homeport.cpe.transfers.file_types import FileTypes
    from homeport.cpe.transfers.service import TransferService
    from homeport.transport.files import FileOptions

CONFIGURATION: Final = "3 Vendor Configuration File"

_BUCKET: Final = "transfer"
"""The bucket of transfers.queue; named here too so that a start with nothing under way need not import it."""

_ANSWERED: Final[tuple[type[Request], ...]] = (
    Download,
    Upload,
    ScheduleDownload,
    CancelTransfer,
    GetQueuedTransfers,
    GetAllQueuedTransfers,
)

_VERBS: Final = ("transfer-start", "transfer-result", "transfer-cancel", "transfer-answer", "request-download")
"""The names of transfers.verbs.VERBS."""

_REPORT_FIRST: Final = ("dkt-",)
"""Beginnings of the names of profiles whose devices report a firmware upgrade before they restart."""


class TransfersPart(Part):
    """The transfers of one device."""

    name = "file transfers"

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._service: TransferService | None = None
        self._started = False
        self._trouble = ""
        self._needed = asyncio.Event()
        self._in_session = False
        self._news = False
        self._directory = agent.settings.directory / "transfers"
        self._slots = agent.settings.firmware_directory or agent.settings.directory / "firmware"
        self._updater: Updater | None = None
        self._version = ""
        path = f"{agent.management.device_info}SoftwareVersion"
        self._factory_version = agent.management.value(path)
        if self._factory_version:
            # None leaves the stored value, which is the factory's.
            agent.model.source(path, read=lambda _: self._version or None)
        logs, sizes = own_logs(agent.settings.directory)
        self._files = FileRows(agent.model, logs, sizes)
        self._images: FirmwareRows | None = None
        self._installer: FirmwareInstaller | None = None

    def handlers(self) -> Mapping[type[Request], Callable[[Any], Response]]:
        return dict.fromkeys(_ANSWERED, self._handle)

    def verbs(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]:
        return {name: functools.partial(self._verb, name) for name in _VERBS}

    async def _verb(self, name: str, args: Mapping[str, Any]) -> Any:
        from homeport.cpe.transfers.verbs import VERBS

        if self._trouble:
            raise StoreError(self._trouble)
        answer = VERBS[name](self._build(), args)
        self._needed.set()
        if name != "transfer-result":
            what = args.get("transfer") or args.get("file_type") or ""
            self._agent.config_log.write(f"{name} {what}, by {args.get('who') or 'a person at the device'}")
        return answer

    def transfers(self) -> list[TransferStatus]:
        """All transfers, for people; URLs without their query, which may hold a secret."""
        rows = self._service.status() if self._service is not None and self._started else []
        return [dataclasses.replace(row, url=shown_url(row.url)) for row in rows]

    async def start(self) -> None:
        """Find out which firmware runs, and take up what was under way; where the disk does not let us, `run` tries again."""
        await self._look_at_firmware()
        self._files.start()
        await self._show_images()
        if not any(key.isdigit() or key == "trial" for key, _ in self._agent.store.items(_BUCKET)):
            for file in self._directory.glob("*.file*"):
                file.unlink(missing_ok=True)  # a factory reset dropped the transfer that it belonged to
            return
        try:
            await self._start_service()
        except StoreError as e:
            LOG.error("transfers cannot be taken up now: %s", e)
        self._needed.set()

    async def prepare(self, paths: Sequence[str], *, rows_only: bool = False) -> None:
        if self._images is not None and not rows_only and self._images.concerns(paths):
            await self._images.refresh()

    async def run(self) -> None:
        """Do what is due, from the first transfer on."""
        await self._needed.wait()
        if not self._started:
            await self._start_service()
        await self._build().run()

    def session_opened(self) -> None:
        self._in_session = True
        if self._service is not None:
            self._service.session_opened()

    def session_closed(self) -> None:
        self._in_session = False
        if self._service is None:
            return
        if self._news and self._service.owed_results():
            # Once for each result: a session that fails is tried again when the retry policy says so.
            self._agent.contact()
        self._news = False
        self._service.session_closed()

    async def acs_reached(self) -> None:
        if self._service is not None:
            await self._service.acs_reached()

    def in_words_of(self, request: Request, version: CwmpVersion) -> Request:
        if version >= CwmpVersion.V1_2:
            return request  # it knows all that a report can say
        from homeport.cpe.transfers.spoken import in_words_of

        own = self._service.queue.reported_by(request) if self._service is not None else None
        return in_words_of(request, version, upload=own is not None and not own.is_download)

    def acknowledged(self, request: Request) -> bool:
        if self._service is None or request.element not in ("TransferComplete", "AutonomousTransferComplete"):
            return False
        self._service.acknowledged(request)
        return True

    async def _start_service(self) -> None:
        """Take up what is on disk. Raises StoreError; nothing more is accepted until it works."""
        try:
            await self._build().start()
        except StoreError as e:
            self._trouble = str(e)
            raise
        except OSError as e:
            self._trouble = f"{self._directory} cannot be used: {e.strerror or e}; give it to the agent's user"
            raise StoreError(self._trouble) from e
        self._started, self._trouble = True, ""

    # --- made when needed -----------------------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> Response:
        if self._trouble:
            raise StoreError(self._trouble)
        answer = self._build().handle(request)
        self._needed.set()
        return answer

    def _build(self) -> "TransferService":
        """The service. Raises StoreError."""
        if self._service is not None:
            return self._service
        from homeport.cpe.transfers.policy import policy_of
        from homeport.cpe.transfers.repeats import Repeats
        from homeport.cpe.transfers.service import TransferService
        from homeport.transport.files import FileLimits

        agent, settings = self._agent, self._agent.settings
        self._service = TransferService(
            facts=agent.store,
            outbox=agent.ledger,
            clock=agent.clock,
            directory=self._directory,
            types=self._types(),
            on_owed=self._owed,
            on_restart=agent.restart,
            limits=FileLimits(
                rate=settings.transfer_rate,
                total=settings.transfer_time_limit,
                max_size=settings.transfer_max_size,
            ),
            options=self._options(),
            rules=TransferRules(
                repeats=Repeats(
                    most=settings.transfer_retries,
                    first=settings.transfer_retry_wait,
                    longest=settings.transfer_retry_longest,
                )
            ),
            policy=lambda: policy_of(agent.model),
            idle=self._idle(),
            asks=settings.transfer_confirmation,
        )
        if self._in_session:
            self._service.session_opened()
        return self._service

    def _options(self) -> "FileOptions":
        """How this device speaks to file servers."""
        from homeport.transport.files import FileOptions
        from homeport.transport.tls import TlsSettings, client_context

        settings, tls = self._agent.settings, None
        if settings.ca_file is not None or settings.client_certificate is not None:
            tls = client_context(
                TlsSettings(
                    ca_file=settings.ca_file,
                    client_certificate=settings.client_certificate,
                    client_key=settings.client_key,
                )
            )
        return FileOptions(schemes=settings.transfer_schemes, tls=tls, known_hosts=settings.transfer_known_hosts)

    def _types(self) -> "FileTypes":
        from homeport.cpe.devices.declarations import FileHandler
        from homeport.cpe.transfers.file_types import FileTypes
        from homeport.cpe.transfers.handed_on import FunctionForFiles, add_handlers
        from homeport.cpe.transfers.vendor_files import VendorConfiguration, VendorLogs

        agent = self._agent
        types = FileTypes()
        if self._made_updater() is not None:
            from homeport.cpe.firmware.install import FIRMWARE_TYPES

            for name in FIRMWARE_TYPES:
                types.on_download(name, self._made_installer())
        configuration = VendorConfiguration(
            agent.model,
            description=f"{agent.status.profile} {self._running_version}",
            others=agent.vendor_files,
            row=lambda: self._files.configuration,
            now=lambda: date_time(agent.clock.now()),
        )
        types.on_download(CONFIGURATION, configuration)
        for name in ("1 Vendor Configuration File", CONFIGURATION):
            types.on_upload(name, configuration)
        logs = VendorLogs(self._files.logs, others=agent.vendor_files)
        for name in ("2 Vendor Log File", "4 Vendor Log File"):
            types.on_upload(name, logs)
        add_handlers(types, agent.settings.transfer_directories, agent.settings.transfer_programs)
        for moment in self._moments():
            if isinstance(moment, FileHandler):
                handler = FunctionForFiles(moment)
                if moment.when == "download":
                    types.on_download(moment.file_type, handler)
                else:
                    types.on_upload(moment.file_type, handler)
        return types

    def _moments(self) -> "list[Moment]":
        """What plug-ins do now and then."""
        host = getattr(self._agent.device, "host", None)
        return [m for plugin in host.plugins for m in plugin.moments] if host is not None else []

    def _idle(self) -> Callable[[], bool] | None:
        """How it is found out that the device is idle, None where it cannot be."""
        from homeport.cpe.transfers.idle import QuietWatch, idle_of

        settings, quiet = self._agent.settings, None
        if settings.idle_after:
            quiet = QuietWatch(
                self._agent.clock.monotonic,
                after=settings.idle_after,
                traffic=settings.idle_traffic,
                load=settings.idle_load,
            )
        return idle_of([m for m in self._moments() if m.when == "idle"], quiet)

    def _owed(self) -> None:
        self._news = True
        if not self._in_session:
            self._agent.contact()

    # --- firmware -------------------------------------------------------------------------------------------------------------------

    @property
    def _running_version(self) -> str:
        return self._version or self._factory_version

    def _order(self) -> str:
        order = self._agent.settings.firmware_order
        if order != "profile":
            return order
        return "report-first" if self._agent.status.profile.startswith(_REPORT_FIRST) else "restart-first"

    async def _look_at_firmware(self) -> None:
        """Set the version that runs, where it is not the one that came with the device."""
        kind = self._agent.settings.firmware_updater
        if kind == "none" or (kind == "directory" and not (self._slots / "boot.json").exists()):
            return
        updater = self._made_updater()
        assert updater is not None
        if kind == "directory":
            return  # its boot loader was played when it was made
        from homeport.cpe.firmware.interface import running_slot

        try:
            slot = await running_slot(updater)
        except TransportError as e:
            LOG.error("the updater cannot say which firmware runs: %s", e)
            return
        self._version = slot.version if slot is not None else ""

    async def _show_images(self) -> None:
        """Make the rows of FirmwareImage, where the device has the table and an updater."""
        updater = (
            self._made_updater()
            if self._agent.model.exists(f"{self._agent.management.device_info}FirmwareImage.")
            else None
        )
        if updater is None:
            return
        from homeport.cpe.parts.firmware_rows import FirmwareRows

        self._images = FirmwareRows(
            self._agent,
            updater,
            installer=self._chosen_by,
            queue=lambda: self._service.queue if self._service is not None else None,
            trouble=lambda: self._installer.trouble if self._installer is not None else None,
        )
        await self._images.start()

    def _chosen_by(self) -> "FirmwareInstaller":
        """The installer that notes which slot the ACS chose; the service then watches over its start. Raises StoreError."""
        self._build()
        self._needed.set()
        return self._made_installer()

    def _made_installer(self) -> "FirmwareInstaller":
        """The installer of firmware. Raises StoreError."""
        if self._installer is None:
            from homeport.cpe.firmware import FirmwareInstaller, Order, SignaturePolicy
            from homeport.cpe.firmware.install import fetch_signature

            agent, updater = self._agent, self._made_updater()
            assert updater is not None
            self._installer = FirmwareInstaller(
                updater,
                facts=agent.store,
                outbox=agent.ledger,
                clock=agent.clock,
                order=Order(self._order()),
                signature=SignaturePolicy(agent.settings.firmware_keys),
                limit=agent.settings.firmware_trial,
                fetch_signature=functools.partial(fetch_signature, options=self._options()),
                on_staged=self._images.installed if self._images is not None else None,
            )
        return self._installer

    def _made_updater(self) -> "Updater | None":
        """The updater of the settings; None where the device takes no firmware."""
        settings = self._agent.settings
        if self._updater is not None or settings.firmware_updater == "none":
            return self._updater
        from homeport.cpe import firmware

        match settings.firmware_updater:
            case "program":
                self._updater = firmware.ProgramUpdater(settings.firmware_command)
            case "rauc":
                self._updater = firmware.RaucUpdater(settings.firmware_command or ("rauc",))
            case _:
                self._updater = self._booted(
                    firmware.DirectoryUpdater(
                        self._slots,
                        factory_version=self._factory_version,
                        model=self._agent.product_class,
                    )
                )
        return self._updater

    def _booted(self, updater: "DirectoryUpdater") -> "DirectoryUpdater":
        """The directory updater after this start of the device."""
        try:
            self._version = updater.boot()
        except OSError as e:
            LOG.error("the firmware directory %s cannot be used: %s", self._slots, e.strerror or e)
        return updater
