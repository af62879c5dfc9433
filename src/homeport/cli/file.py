"""`homeport file`: the files that an ACS keeps for its devices, and those that devices have sent."""

import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from homeport.cli import output
from homeport.cli.byte_bar import byte_bar
from homeport.cli.client import quoted
from homeport.cli.common import Acs, AsJson, Token, Yes, complete_names, confirm, connect, group, tell
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import shown, told

app = group("Keep files for devices (firmware, configurations), and see what devices have sent.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of a stored file, as `homeport file list` prints it.",
        autocompletion=complete_names("/files"),
    ),
]
TRANSFER_LIMIT = 3_600.0
"""Seconds for a whole file: a large one over a slow line."""


class FormBody:
    """A form with one file, read as it is sent, so that its size does not matter. shown: told how many bytes went."""

    def __init__(self, file: BinaryIO, size: int, name: str, fields: dict[str, str], shown: Any = None) -> None:
        frontier = f"homeport-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={frontier}"
        parts = [
            f'--{frontier}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        ]
        plain = name.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'--{frontier}\r\nContent-Disposition: form-data; name="file"; filename="{plain}"\r\n\r\n')
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{frontier}--\r\n".encode()
        self._file = file
        self._left = size
        self._shown = shown
        self.length = len(self._head) + size + len(self._tail)

    def read(self, count: int = 65_536) -> bytes:
        """The next bytes of the body; b"" at its end. http.client asks for 8 KB, which is too little for a large file."""
        if self._head:
            data, self._head = self._head, b""
            return data
        if self._left:
            data = self._file.read(min(max(count, 65_536), self._left))
            if not data:
                raise CliError("the file became shorter while it was being sent; try again")
            self._left -= len(data)
            if self._shown is not None:
                self._shown(len(data))
            return data
        data, self._tail = self._tail, b""
        return data


@app.command()
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Another name than the file has here.")] = "",
    file_type: Annotated[
        str, typer.Option("--file-type", metavar="TYPE", help="As the standard names it.")
    ] = "1 Firmware Upgrade Image",
    version: Annotated[str, typer.Option("--version", metavar="TEXT", help="Version of its content.")] = "",
    model: Annotated[str, typer.Option("--model", metavar="TEXT", help="Model that it is meant for.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a stored file with this name.")] = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Store a file at the ACS, for `homeport device download`."""
    client = connect(acs, token)
    given = {"file_type": file_type, "version": version, "model": model}
    fields = {key: value for key, value in given.items() if value}
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            with byte_bar(path.name, size) as shown:
                body = FormBody(file, size, name or path.name, fields, shown)
                stored = client.call(
                    "POST",
                    "/files",
                    query={"replace": "true"} if replace else None,
                    content=body,
                    content_type=body.content_type,
                    timeout=TRANSFER_LIMIT,
                )
    except OSError as e:
        raise CliError(f"cannot read {path}: {e.strerror}", ExitCode.USAGE) from e
    if json:
        output.print_json(stored)
        return
    print(f"{stored['name']} is stored: {stored['size']} bytes, SHA-256 {stored['sha256']}")


@app.command("list")
def list_files(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """List the stored files, with those that devices have sent."""
    files = list(connect(acs, token).items("/files"))
    if json:
        output.print_json(files)
        return
    output.print_table(
        ("NAME", "SIZE", "TYPE", "VERSION", "MODEL", "STORED", "FROM"),
        [_row(file) for file in files],
        empty="no files; store one: homeport file add PATH",
    )


@app.command()
def show(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show what is known of one stored file."""
    file = connect(acs, token).get(f"/files/{quoted(name)}")
    if json:
        output.print_json(file)
        return
    fields = [(key.replace("_", " "), told(value) if key == "created" else str(value)) for key, value in file.items()]
    output.print_fields([(key, value) for key, value in fields if value])


@app.command()
def get(
    name: Name,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Where to; - is standard output.")
    ] = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Fetch a stored file, for example a configuration that a device has sent."""
    client = connect(acs, token)
    if to == Path("-"):
        client.fetch(f"/files/{quoted(name)}/content", sys.stdout.buffer.write, timeout=TRANSFER_LIMIT)
        return
    target = to or Path(name)
    if target.is_dir():
        target = target / name
    stored = client.get(f"/files/{quoted(name)}")
    size = int(stored["size"])
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file, byte_bar(name, size) as shown:

            def write(data: bytes) -> None:
                file.write(data)
                if shown is not None:
                    shown(len(data))

            client.fetch(f"/files/{quoted(name)}/content", write, timeout=TRANSFER_LIMIT)
        part.replace(target)
    except OSError as e:
        raise CliError(f"cannot write {target}: {e.strerror}", ExitCode.USAGE) from e
    finally:
        part.unlink(missing_ok=True)
    tell(f"{target}: {size} bytes", stored, json=json)


@app.command()
def delete(name: Name, yes: Yes = False, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Delete a stored file; transfers that are under way are finished."""
    client = connect(acs, token)
    confirm(f"Delete the stored file {name}?", yes=yes)
    client.call("DELETE", f"/files/{quoted(name)}")
    tell(f"{name} is deleted", {"name": name, "removed": True}, json=json)


def _row(file: dict[str, Any]) -> tuple[str, ...]:
    return (
        file["name"],
        str(file["size"]),
        file["file_type"],
        file["version"],
        file["model"],
        shown(file["created"]),
        file["device"] or "operator",
    )
