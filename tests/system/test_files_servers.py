"""Transfers against the file servers of Debian, started here on loopback; each test is skipped where its server is absent."""

import asyncio
import contextlib
import getpass
import hashlib
import os
import random
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.transport.files import Credentials, FileLimits, FileOptions, FileTransferError, Trouble, fetch, put
from support.file_servers import free_port, program, running

pytestmark = pytest.mark.system

FAST = FileLimits(connect=3.0, stall=3.0, total=20.0, reserve=0)
BODY = random.Random(7).randbytes(1_500_000)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A directory with f.bin in it."""
    root = tmp_path / "srv"
    root.mkdir()
    (root / "f.bin").write_bytes(BODY)
    return root


def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """(certificate, key) for localhost."""
    key, cert = tmp_path / "k.pem", tmp_path / "c.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@contextlib.contextmanager
def nginx(tmp_path: Path, root: Path) -> Iterator[tuple[int, int]]:
    """(http port, https port): /auth/ asks for Basic, /up/ takes PUT."""
    command = program("nginx", "nginx-light")
    cert, key = certificate(tmp_path)
    (tmp_path / "users").write_text("acs:{PLAIN}secret word\n")
    (tmp_path / "ng").mkdir()
    (root / "up").mkdir()
    plain, secure = free_port(), free_port()
    temporary = "".join(f"{kind}_temp_path {tmp_path}/ng/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(
        f"""{user} daemon off; worker_processes 1; pid {tmp_path}/ng/pid; error_log {tmp_path}/ng/err;
        events {{ worker_connections 64; }}
        http {{ access_log off; client_body_temp_path {tmp_path}/ng/body; {temporary} client_max_body_size 0;
          server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl; root {root};
            ssl_certificate {cert}; ssl_certificate_key {key};
            location /auth/ {{ alias {root}/; auth_basic files; auth_basic_user_file {tmp_path}/users; }}
            location /up/ {{ dav_methods PUT; }}
            location /moved/ {{ return 302 http://127.0.0.1:{plain}/f.bin; }} }} }}"""
    )
    with running([command, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], plain, tmp_path / "nginx.log"):
        yield plain, secure


def test_nginx_over_http_and_https(tmp_path: Path, served: Path) -> None:
    """Plain, TLS, ranges after a restart, Basic, 404, upload by PUT, and no way from https to http."""
    with nginx(tmp_path, served) as (plain, secure):
        trusting = FileOptions(tls=ssl.create_default_context(cafile=str(tmp_path / "c.pem")))

        async def main() -> None:
            base, tls = f"http://127.0.0.1:{plain}", f"https://localhost:{secure}"
            got = await fetch(f"{base}/f.bin", tmp_path / "a", limits=FAST, expected_size=len(BODY))
            assert got.sha256 == hashlib.sha256(BODY).hexdigest()
            got = await fetch(f"{tls}/f.bin", tmp_path / "b", limits=FAST, options=trusting)
            assert got.path.read_bytes() == BODY

            slow = FileLimits(rate=2_000_000, total=0.3, reserve=0)
            with pytest.raises(FileTransferError) as caught:
                await fetch(f"{base}/f.bin", tmp_path / "c", limits=slow)
            assert caught.value.trouble is Trouble.INCOMPLETE
            came = (tmp_path / "c.part").stat().st_size
            assert 0 < came < len(BODY)
            asked: list[int] = []
            got = await fetch(f"{base}/f.bin", tmp_path / "c", limits=FAST, progress=lambda n, _: asked.append(n))
            assert got.path.read_bytes() == BODY
            assert asked[0] > came

            who = Credentials("acs", "secret word")
            assert (await fetch(f"{base}/auth/f.bin", tmp_path / "d", credentials=who, limits=FAST)).size == len(BODY)
            for url, credentials, trouble in (
                (f"{base}/auth/f.bin", Credentials("acs", "no"), Trouble.CREDENTIALS),
                (f"{base}/nothing", Credentials(), Trouble.NOT_ACCESSIBLE),
                (f"{tls}/moved/", Credentials(), Trouble.SERVER),
            ):
                with pytest.raises(FileTransferError) as caught:
                    await fetch(url, tmp_path / "e", credentials=credentials, limits=FAST, options=trusting)
                assert caught.value.trouble is trouble
            assert (await put(f"{base}/up/log.txt", tmp_path / "a", limits=FAST)).size == len(BODY)
            assert (served / "up" / "log.txt").read_bytes() == BODY

        asyncio.run(main())


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that another user may read: f.bin, and `in` where anybody may write."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "f.bin").write_bytes(BODY)
        (root / "f.bin").chmod(0o644)
        (root / "in").mkdir()
        (root / "in").chmod(0o777)
        yield root


def test_vsftpd(tmp_path: Path, shared: Path) -> None:
    """RETR and STOR, no such file, wrong password, and going on in the middle with REST."""
    pytest.importorskip("aioftp", reason="aioftp is not installed")
    command = program("vsftpd", "vsftpd")
    if os.geteuid() != 0:
        pytest.skip("vsftpd changes its user, which needs root")
    port = free_port()
    (tmp_path / "empty").mkdir()
    (tmp_path / "vsftpd.conf").write_text(
        "\n".join(
            (
                "listen=YES\nbackground=NO\nlisten_address=127.0.0.1\nanonymous_enable=YES\nlocal_enable=NO",
                f"listen_port={port}\nanon_root={shared}\nftp_username=daemon\nseccomp_sandbox=NO",
                "write_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nallow_writeable_chroot=YES",
                f"secure_chroot_dir={tmp_path}/empty\nrun_as_launching_user=NO\nxferlog_enable=NO\n",
            )
        )
    )
    with running([command, str(tmp_path / "vsftpd.conf")], port, tmp_path / "vsftpd.log"):

        async def main() -> None:
            base = f"ftp://127.0.0.1:{port}"
            got = await fetch(f"{base}/f.bin", tmp_path / "a", limits=FAST)
            assert got.path.read_bytes() == BODY
            slow = FileLimits(rate=2_000_000, total=0.5, stall=3, reserve=0)
            with pytest.raises(FileTransferError) as caught:
                await fetch(f"{base}/f.bin", tmp_path / "c", limits=slow)
            assert caught.value.trouble is Trouble.INCOMPLETE
            came = (tmp_path / "c.part").stat().st_size
            assert 0 < came < len(BODY)
            asked: list[int] = []
            got = await fetch(f"{base}/f.bin", tmp_path / "c", limits=FAST, progress=lambda n, _: asked.append(n))
            assert got.sha256 == hashlib.sha256(BODY).hexdigest()
            assert asked[0] > came
            assert (await put(f"{base}/in/up.bin", tmp_path / "a", limits=FAST)).size == len(BODY)
            assert (shared / "in" / "up.bin").read_bytes() == BODY
            for url, credentials, trouble in (
                (f"{base}/nothing", Credentials(), Trouble.NOT_ACCESSIBLE),
                (f"{base}/f.bin", Credentials("root", "no"), Trouble.CREDENTIALS),
                (f"{base}/", Credentials(), Trouble.NOT_ACCESSIBLE),
            ):
                with pytest.raises(FileTransferError) as caught:
                    await fetch(url, tmp_path / "e", credentials=credentials, limits=FAST)
                assert caught.value.trouble is trouble

        asyncio.run(main())


def test_ftp_with_a_user_and_a_password(tmp_path: Path, served: Path) -> None:
    """Username and Password of the RPC are the FTP login; nobody there is 9015."""
    aioftp = pytest.importorskip("aioftp", reason="aioftp is not installed")

    async def main() -> None:
        users = [aioftp.User("acs", "secret", base_path=served)]
        server = aioftp.Server(users)
        await server.start("127.0.0.1", 0)
        base = f"ftp://127.0.0.1:{server.server_port}"
        got = await fetch(f"{base}/f.bin", tmp_path / "a", credentials=Credentials("acs", "secret"), limits=FAST)
        assert got.path.read_bytes() == BODY
        with pytest.raises(FileTransferError) as caught:
            await fetch(f"{base}/f.bin", tmp_path / "b", credentials=Credentials("acs", "wrong"), limits=FAST)
        assert caught.value.trouble is Trouble.CREDENTIALS
        await server.close()
        with pytest.raises(FileTransferError) as caught:
            await fetch(f"{base}/f.bin", tmp_path / "b", limits=FAST)
        assert caught.value.trouble is Trouble.UNREACHABLE

    asyncio.run(main())


def test_openssh(tmp_path: Path, served: Path) -> None:
    """Get and put over SFTP; an unknown host key is refused; no such file is told apart."""
    pytest.importorskip("asyncssh", reason="asyncssh is not installed (pip install homeport[sftp])")
    command = program("sshd", "openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks itself in
    for name in ("host", "device"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True, capture_output=True
        )
    port = free_port()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {tmp_path}/device.pub\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    with running([command, "-D", "-e", "-f", str(tmp_path / "sshd_config")], port, tmp_path / "sshd.log"):

        async def main() -> None:
            base, who = f"sftp://127.0.0.1:{port}{served}", Credentials(getpass.getuser(), "")
            trusting = FileOptions(known_hosts=known, ssh_keys=(tmp_path / "device",))
            got = await fetch(f"{base}/f.bin", tmp_path / "a", credentials=who, limits=FAST, options=trusting)
            assert got.path.read_bytes() == BODY
            await put(f"{base}/up.bin", tmp_path / "a", credentials=who, limits=FAST, options=trusting)
            assert (served / "up.bin").read_bytes() == BODY
            for url, options, trouble in (
                (f"{base}/nothing", trusting, Trouble.NOT_ACCESSIBLE),
                (f"{base}/f.bin", FileOptions(ssh_keys=(tmp_path / "device",)), Trouble.UNREACHABLE),
                (f"{base}/f.bin", FileOptions(known_hosts=known), Trouble.CREDENTIALS),
            ):
                with pytest.raises(FileTransferError) as caught:
                    await fetch(url, tmp_path / "e", credentials=who, limits=FAST, options=options)
                assert caught.value.trouble is trouble

        asyncio.run(main())


def test_tftpd_hpa(tmp_path: Path, served: Path) -> None:
    """Get and put with options; no such file is told apart (the way of Vega's devices)."""
    command = program("in.tftpd", "tftpd-hpa")
    if os.geteuid() != 0:
        pytest.skip("in.tftpd changes its root, which needs root")
    port = free_port(socket.SOCK_DGRAM)
    server = [
        command,
        "-L",
        "-a",
        f"127.0.0.1:{port}",
        "-s",
        "-c",
        "-p",
        "-u",
        getpass.getuser(),
        "-U",
        "022",
        str(served),
    ]
    with running(server, None, tmp_path / "tftpd.log"):

        async def main() -> None:
            base = f"tftp://127.0.0.1:{port}"
            # The server needs a moment to bind; the client asks again by itself.
            eager = FileOptions(tftp_timeout=0.1)
            got = await fetch(f"{base}/f.bin", tmp_path / "a", limits=FAST, options=eager)
            assert got.path.read_bytes() == BODY
            await put(f"{base}/config.txt", tmp_path / "a", limits=FAST)
            assert (served / "config.txt").read_bytes() == BODY
            with pytest.raises(FileTransferError) as caught:
                await fetch(f"{base}/nothing", tmp_path / "e", limits=FAST)
            assert caught.value.trouble is Trouble.NOT_ACCESSIBLE

        asyncio.run(main())


def test_sftp_with_a_password(tmp_path: Path, served: Path) -> None:
    """Username and Password of the RPC are the login; a wrong one is 9012."""
    asyncssh = pytest.importorskip("asyncssh", reason="asyncssh is not installed (pip install homeport[sftp])")

    class Server(asyncssh.SSHServer):  # type: ignore[misc,name-defined]
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("acs", "secret")

    async def main() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.create_server(
            Server,
            "127.0.0.1",
            0,
            server_host_keys=[key],
            sftp_factory=lambda c: asyncssh.SFTPServer(c, chroot=str(served)),
        )
        port = server.get_port()
        known = tmp_path / "known"
        known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
        options = FileOptions(known_hosts=known)
        url = f"sftp://127.0.0.1:{port}/f.bin"
        got = await fetch(url, tmp_path / "a", credentials=Credentials("acs", "secret"), limits=FAST, options=options)
        assert got.path.read_bytes() == BODY
        with pytest.raises(FileTransferError) as caught:
            await fetch(url, tmp_path / "b", credentials=Credentials("acs", "wrong"), limits=FAST, options=options)
        assert caught.value.trouble is Trouble.CREDENTIALS
        server.close()
        await server.wait_closed()

    asyncio.run(main())
