"""Peers for the transport tests: an HTTP server that does what its script says, also the wrong thing, and certificates made here."""

import asyncio
import datetime
import ipaddress
import ssl
import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Seen:
    """One request as it came. connection: which connection brought it, from 1."""

    start: str
    headers: dict[str, str]
    raw_head: bytes
    body: bytes
    connection: int


@dataclass
class Server:
    """What a test sees of its server."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    sni: list[str | None] = field(default_factory=list)
    url: str = ""


def answer(status: int = 200, body: bytes = b"", *lines: str, length: bool = True) -> bytes:
    """A plain HTTP response."""
    head = [f"HTTP/1.1 {status} Reason", *lines]
    if length:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


STALL = object()
"""Says nothing any more, but keeps the connection."""

CLOSE = object()
"""Closes the connection without a word."""


@asynccontextmanager
async def serving(*script, context: ssl.SSLContext | None = None):
    """A server on a free loopback port.

    script: one entry per request, the last one for all later ones: bytes, STALL, CLOSE, a function of Seen that gives one of these,
    or a tuple of them, done in turn.
    """
    server = Server()
    todo = list(script)
    tasks: set[asyncio.Task] = set()

    async def connected(reader, writer):
        task = asyncio.current_task()
        tasks.add(task)
        server.connections += 1
        number = server.connections
        try:
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                start, *lines = raw.decode("latin-1").strip().split("\r\n")
                headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                seen = Seen(start, headers, raw, body, number)
                server.seen.append(seen)
                if not await act(todo.pop(0) if len(todo) > 1 else todo[0], seen, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the client is gone
        finally:
            tasks.discard(task)
            writer.close()

    async def act(step, seen, writer) -> bool:
        if callable(step):
            step = step(seen)
        if isinstance(step, tuple):
            for part in step:
                if not await act(part, seen, writer):
                    return False
            return True
        if step is STALL:
            await asyncio.Event().wait()
        if step is CLOSE:
            return False
        writer.write(step)
        await writer.drain()
        return b"connection: close" not in step.lower()

    if context is not None:
        context.sni_callback = lambda sock, name, ctx: server.sni.append(name)
    made = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    server.port = made.sockets[0].getsockname()[1]
    scheme = "http" if context is None else "https"
    server.url = f"{scheme}://{'127.0.0.1' if context is None else 'localhost'}:{server.port}/acs"
    try:
        yield server
    finally:
        made.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- certificates -----------------------------------------------------------------------------------------------------------------

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority that writes PEM files into a folder."""

    def __init__(self, folder, name="Test CA"):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.subject, self.key, NOW - DAY, NOW + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
        )
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, key, start, end):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )

    def issue(
        self,
        name="localhost",
        *,
        names=("localhost",),
        addresses=(),
        start=NOW - DAY,
        end=NOW + 30 * DAY,
        password=None,
    ):
        """(certificate file, key file) for a server or client; names=() leaves out subjectAltName."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key, start, end)
        alternatives = [x509.DNSName(n) for n in names] + [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        stem = f"{name.replace('*', 'any')}-{certificate.serial_number:x}"
        cert_file, key_file = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        cover = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cover))
        return cert_file, key_file

    def server_context(self, *args, clients: "Authority | None" = None, maximum=None, **options) -> ssl.SSLContext:
        """A TLS server with a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*args, **options))
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.file)
        if maximum is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # an old server is what is wanted here
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = maximum
            context.set_ciphers("ALL:@SECLEVEL=0")
        return context
