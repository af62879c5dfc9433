"""Software modules: what the settings say about them, and the seam between them and the agent.

The part exists where the profile has SoftwareModules and the setting module_environments names an environment; without it ChangeDUState is
answered 9000. Units of the last run start with the agent, so that nothing here waits for a first request.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from homeport.codec.messages import ChangeDUState, Request, Response
from homeport.cpe.journal import LOG
from homeport.cpe.modules.interface import Setup
from homeport.cpe.modules.load import load_environments
from homeport.cpe.modules.service import ModuleService
from homeport.cpe.modules.verbs import verbs_of
from homeport.cpe.parts.part import Part
from homeport.errors import StoreError
from homeport.terms import EventCode
from homeport.transport.files import Credentials, FileLimits, FileOptions, FileTransferError, Trouble

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent


class ModulesPart(Part):
    """The software modules of one device."""

    name = "software modules"

    def __init__(self, agent: "Agent") -> None:
        """Raises ConfigError for an environment that cannot be loaded, StoreError."""
        settings = agent.settings
        directory = settings.module_directory or settings.directory / "modules"
        setup = Setup(
            directory,
            max_size=settings.module_max_size,
            disk=settings.module_disk,
            memory=settings.module_memory,
            log_size=settings.module_log_size,
            user=settings.module_user,
        )
        self._agent = agent
        self._trouble = "the software modules have not been started"
        self._news = self._in_session = self._bootstrap = False
        self.service = ModuleService(
            facts=agent.store,
            outbox=agent.ledger,
            model=agent.model,
            clock=agent.clock,
            directory=settings.directory / "packages",
            environments=load_environments(settings.module_environments, directory, setup),
            on_owed=self._owed,
            limits=FileLimits(
                rate=settings.transfer_rate,
                total=settings.transfer_time_limit,
                max_size=settings.module_max_size,
            ),
            options=self._options(),
            log_size=settings.module_log_size,
            verify=self._verify,
            owes=lambda key: agent.ledger.owes("DUStateChangeComplete", key),
        )
        agent.vendor_files.logs.append(self.service.log_of)
        agent.vendor_files.configurations.append(self.service.configuration_of)

    def handlers(self) -> Mapping[type[Request], Callable[[Any], Response]]:
        return {ChangeDUState: self._handle}

    def verbs(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]:
        return verbs_of(self.check)

    async def start(self) -> None:
        """Take up what is installed; where the disk does not let us, no change is accepted, and `run` tries again."""
        try:
            await self._take_up()
        except StoreError as e:
            LOG.error("software modules cannot be taken up now: %s", e)

    async def run(self) -> None:
        if self._trouble:
            await self._take_up()
        await self.service.run()

    async def _take_up(self) -> None:
        """Raises StoreError."""
        try:
            await self.service.start()
        except StoreError as e:
            self._trouble = str(e)
            raise
        self._trouble = ""

    async def stop(self) -> None:
        await self.service.stop()

    def session_opened(self) -> None:
        self._in_session = True
        self._bootstrap = EventCode.BOOTSTRAP in self._agent.ledger.queue
        self.service.session_opened()

    def session_closed(self) -> None:
        self._in_session = False
        if self._news and self._agent.ledger.owes_requests:
            # Once for each result: a session that fails is tried again when the retry policy says so.
            self._agent.contact()
        self._news = False
        self.service.session_closed()

    async def acs_reached(self) -> None:
        if self._bootstrap:
            self._bootstrap = False
            self.service.bootstrapped()

    def check(self) -> ModuleService:
        """The service. Raises StoreError where it could not take up its state."""
        if self._trouble:
            raise StoreError(self._trouble)
        return self.service

    def _handle(self, request: ChangeDUState) -> Response:
        return self.check().handle(request)

    def _owed(self) -> None:
        if not self._agent.ledger.owes_requests:
            return
        self._news = True
        if not self._in_session:
            self._agent.contact()

    def _options(self) -> FileOptions:
        settings = self._agent.settings
        tls = None
        if settings.ca_file is not None or settings.client_certificate is not None:
            from homeport.transport.tls import TlsSettings, client_context

            tls = client_context(
                TlsSettings(
                    ca_file=settings.ca_file,
                    client_certificate=settings.client_certificate,
                    client_key=settings.client_key,
                )
            )
        return FileOptions(schemes=settings.transfer_schemes, tls=tls, known_hosts=settings.transfer_known_hosts)

    async def _verify(self, package: Path, url: str, credentials: Credentials) -> None:
        """Raises FileTransferError for a package that the settings do not allow."""
        settings = self._agent.settings
        if settings.module_checksums:
            found = await asyncio.to_thread(_sha256, package)
            if found not in {c.lower() for c in settings.module_checksums}:
                raise FileTransferError(
                    Trouble.UNTRUSTED,
                    f"the package with the SHA-256 {found} is not among those that this device allows",
                )
        if settings.module_keys:
            await self._check_signature(package, url, credentials)

    async def _check_signature(self, package: Path, url: str, credentials: Credentials) -> None:
        """The detached signature lies beside the package, under its URL with `.sig` behind the path."""
        from homeport.cpe.firmware.signature import SignaturePolicy, signature_url
        from homeport.transport.files import fetch

        place, where = package.with_name(package.name + ".sig"), signature_url(url)
        try:
            if where.startswith("file:///"):
                detached = await asyncio.to_thread(_read, Path(unquote(urlsplit(where).path)))
            else:
                await fetch(where, place, credentials=credentials, options=self._options(), limits=_SIGNATURE)
                detached = await asyncio.to_thread(_read, place)
        except FileTransferError as e:
            raise FileTransferError(Trouble.UNTRUSTED, f"the package is not signed: {e}") from e
        finally:
            await asyncio.to_thread(place.unlink, missing_ok=True)
        try:
            await SignaturePolicy(self._agent.settings.module_keys).check(package, detached)
        except FileTransferError as e:
            raise FileTransferError(e.trouble, str(e).replace("firmware image", "package")) from e


_SIGNATURE = FileLimits(total=60.0, max_size=4096, reserve=0)


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()[:4096]
    except OSError as e:
        raise FileTransferError(Trouble.NOT_ACCESSIBLE, f"{file} cannot be read") from e
