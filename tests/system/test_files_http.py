"""Downloads and uploads over http against servers in this process that misbehave as told."""

import asyncio
import hashlib
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.http.digest import DigestAuthority
from homeport.transport.files import Credentials, FileLimits, FileOptions, FileTransferError, Trouble, fetch, put
from homeport.transport.files.http import retry_after
from support.file_servers import answer, free_port, http_server

pytestmark = pytest.mark.system

FAST = FileLimits(connect=1.0, stall=0.3, total=5.0, reserve=0, resumes=3)
BODY = bytes(range(256)) * 4096  # 1 MiB
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


def transfer(handler: Any, work: Callable[[str], Awaitable[Any]]) -> Any:
    """The result of work(base URL) with such a server."""

    async def main() -> Any:
        async with http_server(handler) as base:
            return await work(base)

    return asyncio.run(main())


def failing(handler: Any, tmp_path: Path, path: str = "/f.bin", **options: Any) -> FileTransferError:
    """The error of a download from such a server."""
    options.setdefault("limits", FAST)
    with pytest.raises(FileTransferError) as caught:
        transfer(handler, lambda base: fetch(base + path, tmp_path / "f.bin", **options))
    assert not (tmp_path / "f.bin").exists()
    return caught.value


def test_a_file_arrives_whole_with_its_digest_and_progress(tmp_path: Path) -> None:
    """Content, size, SHA-256, and a progress that ends at the size."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, "200 OK", BODY, Content_Type="application/x-image")

    seen: list[tuple[int, int | None]] = []
    fetched = transfer(
        serve,
        lambda base: fetch(base + "/f.bin", tmp_path / "f.bin", limits=FAST, progress=lambda n, t: seen.append((n, t))),
    )
    assert fetched.path.read_bytes() == BODY
    assert (fetched.size, fetched.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert fetched.content_type == "application/x-image"
    assert seen[-1] == (len(BODY), len(BODY))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.bin"]


@pytest.mark.case("T04")
@pytest.mark.parametrize(
    ("status", "credentials", "trouble"),
    [
        ("404 Not Found", Credentials(), Trouble.NOT_ACCESSIBLE),
        ("410 Gone", Credentials(), Trouble.NOT_ACCESSIBLE),
        ("403 Forbidden", Credentials(), Trouble.NOT_ACCESSIBLE),
        ("403 Forbidden", Credentials("u", "p"), Trouble.CREDENTIALS),
        ("401 Unauthorized", Credentials(), Trouble.CREDENTIALS),
        ("500 Internal Server Error", Credentials(), Trouble.SERVER),
        ("503 Service Unavailable", Credentials(), Trouble.SERVER),
        ("429 Too Many Requests", Credentials(), Trouble.NOT_ACCESSIBLE),
        ("501 Not Implemented", Credentials(), Trouble.SERVER),
        ("204 No Content", Credentials(), Trouble.SERVER),
    ],
)
def test_statuses_are_told_apart(tmp_path: Path, status: str, credentials: Credentials, trouble: Trouble) -> None:
    """404 is 9016, refused credentials are 9012, a failing server is 9010."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, status, b"sorry")

    error = failing(serve, tmp_path, credentials=credentials)
    assert error.trouble is trouble
    assert error.passing is status.startswith(("429", "500", "503"))


@pytest.mark.parametrize(
    ("status", "said", "seconds"),
    [
        ("503 Service Unavailable", "120", 120),
        ("429 Too Many Requests", "7", 7),
        ("503 Service Unavailable", "soon", 0),
        ("503 Service Unavailable", "-5", 0),
        ("404 Not Found", "120", 0),
    ],
)
def test_a_server_says_how_long_it_wants_to_be_left_alone(tmp_path: Path, status: str, said: str, seconds: int) -> None:
    """Retry-After counts where trying again makes sense, and only what can be read."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, status, b"", Retry_After=said)

    assert failing(serve, tmp_path).retry_after == seconds


def test_a_time_to_come_again_may_be_a_date() -> None:
    """In seconds from now, never less than 0."""
    now = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
    assert retry_after("Sun, 06 Nov 1994 08:51:37 GMT", now=now) == 120
    assert retry_after("Sun, 06 Nov 1994 08:51:37", now=now) == 120
    assert retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now=now) == 0
    assert retry_after("Sun, 99 Nov 1994 08:48:37 GMT", now=now) == retry_after("9" * 400, now=now) == 0


def test_a_busy_server_does_not_cost_the_bytes_that_are_here(tmp_path: Path) -> None:
    """Cut, then 503, then well: the third call goes on where the first one stopped."""

    class Busy(Ranged):
        async def __call__(self, first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
            if len(self.ranges) == 1:
                self.ranges.append("busy")
                answer(w, "503 Service Unavailable")
            else:
                await super().__call__(first, headers, r, w)

    async def thrice(base: str) -> Any:
        none = FileLimits(stall=0.3, total=5, reserve=0, resumes=0)
        for _ in range(2):
            with pytest.raises(FileTransferError) as caught:
                await fetch(base + "/f", tmp_path / "f", limits=none)
            assert caught.value.passing
        return await fetch(base + "/f", tmp_path / "f", limits=none)

    server = Busy(cuts=1)
    assert transfer(server, thrice).path.read_bytes() == BODY
    assert server.ranges == ["", "busy", "bytes=300000-"]


@pytest.mark.case("T04")
def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    """Nobody listens, or the name has no address: 9015."""
    for url in (f"http://127.0.0.1:{free_port()}/f", "http://no-such-host.invalid/f"):
        with pytest.raises(FileTransferError) as caught:
            asyncio.run(fetch(url, tmp_path / "f", limits=FAST))
        assert caught.value.trouble is Trouble.UNREACHABLE


@pytest.mark.case("T04")
def test_a_cut_body_that_cannot_be_taken_up_is_incomplete(tmp_path: Path) -> None:
    """The connection ends in the middle and the server knows no ranges: 9017, nothing left on disk."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        w.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 400)
        await w.drain()
        w.close()

    error = failing(serve, tmp_path)
    assert error.trouble is Trouble.INCOMPLETE
    assert "400 of 1000" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_a_stalled_body_is_incomplete_after_the_stall_limit(tmp_path: Path) -> None:
    """A server that sends nothing more for `stall` seconds is given up."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        w.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        await w.drain()
        await r.read()

    assert failing(serve, tmp_path).trouble is Trouble.INCOMPLETE


def test_a_server_that_never_answers_is_incomplete(tmp_path: Path) -> None:
    """The connection stands, so it was reached; the answer does not come."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        await r.read()

    assert failing(serve, tmp_path).trouble is Trouble.INCOMPLETE


def test_a_body_that_comes_byte_by_byte_ends_at_the_total_limit(tmp_path: Path) -> None:
    """Each byte comes in time, the whole does not."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        w.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not r.at_eof():
            w.write(b"x")
            await w.drain()
            await asyncio.sleep(0.02)

    error = failing(serve, tmp_path, limits=FileLimits(stall=0.3, total=0.5, reserve=0))
    assert error.trouble is Trouble.INCOMPLETE
    assert "0.5 s" in str(error)


def test_an_endless_body_ends_at_the_largest_size(tmp_path: Path) -> None:
    """Without a length the limit is max_size; nothing is kept."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        w.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not w.is_closing():
            w.write(b"10000\r\n" + b"z" * 0x10000 + b"\r\n")
            await w.drain()

    error = failing(serve, tmp_path, limits=FileLimits(stall=1, total=5, max_size=3 << 20, reserve=0))
    assert error.trouble is Trouble.SPACE
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_fills_the_disk_stops_before_the_reserve(tmp_path: Path) -> None:
    """The free space is looked at while bytes come, not only before."""
    asked: list[int] = []

    def free(_: Path) -> int:
        asked.append(1)
        return 100 << 20 if len(asked) < 3 else 10

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        w.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not w.is_closing():
            w.write(b"10000\r\n" + b"z" * 0x10000 + b"\r\n")
            await w.drain()

    error = failing(serve, tmp_path, free=free, limits=FileLimits(stall=1, total=5, reserve=1000))
    assert error.trouble is Trouble.SPACE


@pytest.mark.parametrize("known_from", ["FileSize", "Content-Length"])
def test_a_file_without_room_is_refused_before_its_bytes_come(tmp_path: Path, known_from: str) -> None:
    """FileSize is for preparing space (TR-069a6 A.3.2.8); the server's own length counts too."""
    served: list[str] = []

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        served.append(first)
        answer(w, "200 OK", BODY)

    expected = len(BODY) if known_from == "FileSize" else 0
    error = failing(serve, tmp_path, expected_size=expected, free=lambda _: 1000)
    assert error.trouble is Trouble.SPACE
    assert len(served) == (0 if known_from == "FileSize" else 1)


def test_another_size_than_file_size_fails_only_where_it_must_be_exact(tmp_path: Path) -> None:
    """FileSize is a hint: a mismatch is no failure by itself (cwmp-transfers.md section 2)."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, "200 OK", BODY)

    for said in (len(BODY) - 7, len(BODY) + 7):
        fetched = transfer(
            serve, lambda base, n=said: fetch(base + "/f", tmp_path / "ok", expected_size=n, limits=FAST)
        )
        assert fetched.size == len(BODY)
        error = failing(serve, tmp_path, expected_size=said, exact_size=True)
        assert error.trouble is Trouble.CORRUPT


def test_a_body_without_any_length_that_is_shorter_than_file_size_was_cut(tmp_path: Path) -> None:
    """HTTP/1.0 style: the end of the connection is the end of the body, so only FileSize can tell."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        w.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 400)
        await w.drain()
        w.close()

    assert failing(serve, tmp_path, expected_size=500).trouble is Trouble.INCOMPLETE


@pytest.mark.case("T04")
def test_an_error_page_in_place_of_the_file_is_corrupt(tmp_path: Path) -> None:
    """A captive portal answers 200 with a web page: 9018, except where a web page is what was asked for."""
    page = b"\n<!DOCTYPE html><title>Login</title>"

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, "200 OK", page, Content_Type="text/html")

    assert failing(serve, tmp_path).trouble is Trouble.CORRUPT
    wanted = transfer(
        serve,
        lambda base: fetch(base + "/", tmp_path / "w", limits=FAST, options=FileOptions(refuse_html=False)),
    )
    assert wanted.path.read_bytes() == page


def test_a_wrong_checksum_is_corrupt_and_leaves_no_file(tmp_path: Path) -> None:
    """The digest is computed on the way and compared before the file gets its name."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, "200 OK", BODY)

    assert failing(serve, tmp_path, sha256="00" * 32).trouble is Trouble.CORRUPT


class Ranged:
    """Serves BODY with ranges; each answer but the last is cut after `cut` bytes."""

    def __init__(self, cuts: int, *, etag: str = '"v1"', cut: int = 300_000) -> None:
        self.cuts, self.etag, self.cut = cuts, etag, cut
        self.ranges: list[str] = []

    async def __call__(self, first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        self.ranges.append(headers.get("range", ""))
        start = 0
        if headers.get("if-range") == self.etag:
            start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
        rest = BODY[start:]
        status = "206 Partial Content" if start else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(rest)}\r\nAccept-Ranges: bytes\r\nETag: {self.etag}\r\n"
        if start:
            head += f"Content-Range: bytes {start}-{len(BODY) - 1}/{len(BODY)}\r\n"
        w.write(head.encode() + b"\r\n")
        if self.cuts:
            self.cuts -= 1
            w.write(rest[: self.cut])
            await w.drain()
            w.close()
        else:
            w.write(rest)


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Range with If-Range, as often as `resumes` allows."""
    server = Ranged(cuts=2)
    fetched = transfer(server, lambda base: fetch(base + "/f", tmp_path / "f", limits=FAST))
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert fetched.resumed == 2
    assert server.ranges == ["", "bytes=300000-", "bytes=600000-"]


def test_a_download_goes_on_after_the_device_restarted(tmp_path: Path) -> None:
    """A later fetch of the same URL takes up the part file; the digest covers both halves."""

    async def twice(base: str) -> Any:
        none = FileLimits(stall=0.3, total=5, reserve=0, resumes=0)
        with pytest.raises(FileTransferError):
            await fetch(base + "/f", tmp_path / "f", limits=none)
        assert (tmp_path / "f.part").stat().st_size == 300_000
        return await fetch(base + "/f", tmp_path / "f", limits=none)

    server = Ranged(cuts=1)
    fetched = transfer(server, twice)
    assert fetched.path.read_bytes() == BODY
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert server.ranges == ["", "bytes=300000-"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_half_of_what_was_asked_for_is_no_whole_file(tmp_path: Path) -> None:
    """A server may answer a range with a part of it: the rest is asked for, and where it never comes the download has failed."""

    class Stingy(Ranged):
        async def __call__(self, first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
            if "range" not in headers:
                await super().__call__(first, headers, r, w)
                return
            start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
            piece = BODY[start : start + self.cut]
            where = f"bytes {start}-{start + len(piece) - 1}/{len(BODY)}"
            answer(w, "206 Partial Content", piece, ETag=self.etag, Content_Range=where)

    fetched = transfer(Stingy(cuts=1), lambda base: fetch(base + "/f", tmp_path / "f", limits=FAST))
    assert fetched.path.read_bytes() == BODY and fetched.resumed == 3
    assert failing(Stingy(cuts=1, cut=100_000), tmp_path).trouble is Trouble.INCOMPLETE


def test_no_error_repeats_the_key_of_a_signed_url(tmp_path: Path) -> None:
    """Its sentence goes into logs and into the report."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, "404 Not Found", b"sorry")

    assert "s3cret" not in str(failing(serve, tmp_path, "/f.bin?sig=s3cret"))


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path) -> None:
    """If-Range fails, the server answers 200: no bytes of the old version remain."""

    class Changing(Ranged):
        async def __call__(self, first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
            await super().__call__(first, headers, r, w)
            self.etag = '"v2"'

    fetched = transfer(Changing(cuts=1), lambda base: fetch(base + "/f", tmp_path / "f", limits=FAST))
    assert fetched.path.read_bytes() == BODY


def test_redirects_are_followed_five_times_and_no_further(tmp_path: Path) -> None:
    """cwmp-transfers.md section 2: 302 and 307, at most five."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        left = int(first.split()[1].removeprefix("/r"))
        if left:
            answer(w, "302 Found" if left % 2 else "307 Temporary Redirect", Location=f"/r{left - 1}")
        else:
            answer(w, "200 OK", BODY)

    fetched = transfer(serve, lambda base: fetch(base + "/r5", tmp_path / "ok", limits=FAST))
    assert fetched.url.endswith("/r0")
    assert failing(serve, tmp_path, "/r6").trouble is Trouble.SERVER


def test_a_redirect_loop_ends(tmp_path: Path) -> None:
    """A server that sends us in circles is a failing server."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, "302 Found", Location="/f.bin")

    error = failing(serve, tmp_path)
    assert error.trouble is Trouble.SERVER
    assert "redirect" in str(error)


@pytest.mark.case("T09")
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest_uses_the_credentials_of_the_transfer(tmp_path: Path, algorithm: str) -> None:
    """The file server is answered with Username and Password of the RPC, over Digest."""
    authority = DigestAuthority(b"k" * 32, "files", algorithms=(algorithm,))

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        method, uri, _ = first.split()
        given = headers.get("authorization", "")
        if given and authority.verify(given, method=method, uri=uri, password="pass word", now=1000.0).ok:
            answer(w, "200 OK", BODY)
        else:
            answer(w, "401 Unauthorized", b"no", WWW_Authenticate=authority.challenges(1000.0)[0])

    who = Credentials("üser", "pass word")
    fetched = transfer(serve, lambda base: fetch(base + "/f?a=b", tmp_path / "ok", credentials=who, limits=FAST))
    assert fetched.size == len(BODY)
    assert failing(serve, tmp_path, credentials=Credentials("üser", "wrong")).trouble is Trouble.CREDENTIALS


def test_credentials_stay_with_the_server_that_the_rpc_named(tmp_path: Path) -> None:
    """A redirect to another host gets no password, whatever it asks for."""
    heard: list[str | None] = []

    async def thief(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        heard.append(headers.get("authorization"))
        answer(w, "401 Unauthorized", WWW_Authenticate='Basic realm="give it to me"')

    async def main() -> None:
        async with http_server(thief) as other:
            elsewhere = other.replace("127.0.0.1", "localhost") + "/x"

            async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
                if "authorization" in headers:
                    answer(w, "302 Found", Location=elsewhere)
                else:
                    answer(w, "401 Unauthorized", WWW_Authenticate='Basic realm="files"')

            async with http_server(serve) as base:
                with pytest.raises(FileTransferError) as caught:
                    await fetch(base + "/f", tmp_path / "f", credentials=Credentials("u", "p"), limits=FAST)
                assert caught.value.trouble is Trouble.CREDENTIALS

    asyncio.run(main())
    assert heard == [None]


def test_basic_without_tls_can_be_forbidden(tmp_path: Path) -> None:
    """basic_over_http=False: the password does not go out in the clear."""
    heard: list[str] = []

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        heard.append(headers.get("authorization", ""))
        answer(w, "401 Unauthorized", WWW_Authenticate='Basic realm="files"')

    error = failing(serve, tmp_path, credentials=Credentials("u", "p"), options=FileOptions(basic_over_http=False))
    assert error.trouble is Trouble.CREDENTIALS
    assert set(heard) == {""}


def test_a_rate_limit_holds(tmp_path: Path) -> None:
    """256 KiB at 1 MiB/s take a quarter of a second."""

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        answer(w, "200 OK", BODY[: 256 * 1024])

    async def timed(base: str) -> float:
        start = asyncio.get_running_loop().time()
        await fetch(base + "/f", tmp_path / "f", limits=FileLimits(rate=1 << 20, reserve=0))
        return asyncio.get_running_loop().time() - start

    assert 0.15 < transfer(serve, timed) < 3


@pytest.mark.case("T10")
def test_an_upload_puts_the_file_and_authenticates(tmp_path: Path) -> None:
    """PUT with a Content-Length; after a 401 the whole body is sent again, with Digest."""
    authority = DigestAuthority(b"k" * 32, "files")
    source = tmp_path / "up.bin"
    source.write_bytes(BODY)
    taken: list[bytes] = []

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        method, uri, _ = first.split()
        assert "expect" not in headers
        body = await r.readexactly(int(headers["content-length"]))
        given = headers.get("authorization", "")
        if given and authority.verify(given, method=method, uri=uri, password="p", now=5.0).ok:
            assert method == "PUT"
            taken.append(body)
            answer(w, "201 Created")
        else:
            answer(w, "401 Unauthorized", WWW_Authenticate=authority.challenges(5.0)[0])

    sent = transfer(serve, lambda base: put(base + "/up", source, credentials=Credentials("u", "p"), limits=FAST))
    assert sent.size == len(BODY)
    assert taken == [BODY]


@pytest.mark.parametrize(
    ("status", "trouble"),
    [("403 Forbidden", Trouble.NOT_ACCESSIBLE), ("507 Insufficient Storage", Trouble.SERVER)],
)
def test_a_refused_upload_says_so(tmp_path: Path, status: str, trouble: Trouble) -> None:
    """Everything that is not 200, 201, 202 or 204 means: not taken."""
    source = tmp_path / "up.bin"
    source.write_bytes(b"x" * 1000)

    async def serve(first: str, headers: dict[str, str], r: Reader, w: Writer) -> None:
        await r.readexactly(1000)
        answer(w, status)

    with pytest.raises(FileTransferError) as caught:
        transfer(serve, lambda base: put(base + "/up", source, limits=FAST))
    assert caught.value.trouble is trouble


def test_a_certificate_that_nobody_vouches_for_is_unreachable(tmp_path: Path) -> None:
    """https verifies; with the certificate among the trusted ones the same server is fine."""
    key, cert = tmp_path / "k.pem", tmp_path / "c.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def main() -> None:
        async def serve(r: Reader, w: Writer) -> None:
            try:
                await r.readuntil(b"\r\n\r\n")
                answer(w, "200 OK", BODY)
                await w.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # the client refused the certificate
            finally:
                w.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/f"
        with pytest.raises(FileTransferError) as caught:
            await fetch(url, tmp_path / "f", limits=FAST)
        assert caught.value.trouble is Trouble.UNREACHABLE and not caught.value.passing
        trusting = FileOptions(tls=ssl.create_default_context(cafile=str(cert)))
        assert (await fetch(url, tmp_path / "f", limits=FAST, options=trusting)).size == len(BODY)
        server.close()

    asyncio.run(main())


def test_a_scheme_that_is_not_offered_is_refused(tmp_path: Path) -> None:
    """A device with only tftp (Vega) does not fetch over http."""
    with pytest.raises(FileTransferError) as caught:
        asyncio.run(fetch("http://127.0.0.1/f", tmp_path / "f", options=FileOptions(schemes=("tftp",))))
    assert caught.value.trouble is Trouble.SCHEME
