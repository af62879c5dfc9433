"""The support archive: everything that helps somebody else to see why a device does not do what it should, secrets masked.

One .tar.gz with text files; the capture of the last sessions is read by `homeport decode`, and comes as a page of ladders too.
"""

import io
import tarfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.codec.ladder_html import STYLE, ladder
from homeport.codec.recording import Recorded, capture, of_device
from homeport.codec.sessions import Rung, Session, sessions

CONTENTS: Final = (
    ("README.txt", "what is in here"),
    ("status.json", "whether the ACS is reached, since when or why not, and the counters"),
    ("config.txt", "the configuration, as data model and in words"),
    ("settings.txt", "what the agent was started with"),
    ("parameters.txt", "every parameter with value, type, access and notification"),
    ("config.log", "what changed the configuration: when, who, what, old, new"),
    ("client.log", "what the ACS asked for, and what was done"),
    ("sessions.capture", "the last sessions, message by message: homeport decode sessions.capture"),
    ("sessions.html", "the same as ladders, for a browser"),
    ("versions.json", "Homeport, Python, system"),
)

_PAGE: Final = """
:root { color-scheme: light dark } body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
"""


def ladder_of(record: Mapping[str, Any]) -> tuple[Session, list[str]]:
    """A session of the verb `session` as one ladder, and the moment of each message as text."""
    recorded: list[Recorded] = []
    times: list[str] = []
    for m in record["messages"]:
        if m["direction"] == "note":
            if recorded:
                recorded[-1] = msgspec.structs.replace(recorded[-1], notes=(*recorded[-1].notes, m["note"]))
            continue
        body = m["body"].encode()
        notes = () if body or not m["size"] else (f"The body of {m['size']} bytes is not kept.",)
        recorded.append(of_device(m["direction"], body, m["note"], notes))
        times.append(f"{m['at'] * 1000:.0f} ms" if m["at"] < 10 else f"{m['at']:.1f} s")
    found = sessions(recorded)
    rungs: list[Rung] = []
    for part in found:  # the same Inform sent again begins a new group there; here it is one session
        rungs += part.rungs
    return Session(found[0].title if found else "", tuple(rungs)), times


def archive(
    support: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]
) -> bytes:
    """The archive. support, parameters, records: what the verbs `support`, `params` and `session` said, sessions oldest first."""
    device = support["status"]["device_id"] or "device"
    config = support["config"]
    files: dict[str, str | bytes] = {
        "README.txt": f"Support archive of {device}, made by Homeport {support['versions']['homeport']}. Secrets are masked.\n\n"
        + "".join(f"{name:<18} {what}\n" for name, what in CONTENTS),
        "status.json": _json(support["status"]),
        "config.txt": "".join(
            f"{r['path']} = {r['value']}\n    {r['name']}: {r['said']}\n" for r in config["readable"]
        ),
        "settings.txt": "".join(f"{name} = {value}\n" for name, value in config["settings"].items()),
        "parameters.txt": "".join(
            f"{r['path']}\t{r['value']}\t{r['type']}\t{'writable' if r['writable'] else 'read-only'}\t{r['notification']}\n"
            for r in parameters
        ),
        "config.log": "".join(line + "\n" for line in support["log"]),
        "client.log": "".join(line + "\n" for line in support["client_log"]),
        "sessions.capture": capture(
            (
                f"session {r['number']} {r['started']} {r['acs_url']}: {r['outcome']}, {r['reason']}",
                [(m["direction"], m["at"], m["note"], m["body"].encode()) for m in r["messages"]],
            )
            for r in records
        ),
        "sessions.html": _page(device, records),
        "versions.json": _json(support["versions"]),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
            member = tarfile.TarInfo(f"{folder(device)}/{name}")
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def left_behind(directory: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """What `support` and the sessions would say, as far as an agent that does not run has left it in its state directory.

    None where none has run there. The configuration is not in it: it is in the agent's own store.
    """
    import time

    from homeport.cpe import journal, status
    from homeport.cpe.recorder import Recorder, session_as_data, session_in_short
    from homeport.cpe.verbs import versions

    last = status.load(directory)
    if last is None:
        return None
    records = Recorder(directory, time.monotonic).sessions
    found = {
        "versions": versions(),
        "status": msgspec.to_builtins(last),
        "config": {"settings": {}, "parameters": {}, "readable": []},
        "log": journal.read("config", directory),
        "client_log": journal.read("client", directory),
        "sessions": [session_in_short(record) for record in records],
    }
    return found, [session_as_data(record) for record in records]


def folder(device: str) -> str:
    """The name of the archive without its ending: a device's name may hold anything."""
    return "homeport-support-" + "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in device)[:80]


def _json(content: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def _page(device: str, records: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for record in records:
        session, times = ladder_of(record)
        said = f"{record['outcome']}: {record['reason']}"
        parts.append(
            f"<h2>{escape(record['started'])} {escape(', '.join(record['events']))}</h2>{ladder(session, times=times)}<p>{escape(said)}</p>"
        )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(device)}</title><style>{_PAGE}{STYLE}</style></head><body><h1>{escape(device)}</h1>{''.join(parts)}</body></html>\n"
    )


def written(path: Path, content: bytes) -> None:
    """Write an archive that only its owner can read. Raises OSError."""
    import os

    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
