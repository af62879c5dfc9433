"""What a person on the device can ask of its transfers; `homeport cpe transfer|confirm|refuse|request-download` call these.

Transfers that are begun here are not asked for by the ACS: they are reported to it as AutonomousTransferCompletePolicy says.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from homeport.cpe.transfers.records import Kind, Transfer
from homeport.cpe.transfers.service import TransferService
from homeport.errors import HomeportError
from homeport.transport.files import Credentials

MOST_ARGUMENTS: Final = 16
"""Of a RequestDownload (cwmp-1-0.xsd)."""

LONGEST_TYPE: Final = 64
LONGEST_ARGUMENT: Final = 256


def _start(service: TransferService, args: Mapping[str, Any]) -> Any:
    """`direction` (download or upload), `url`, `file_type`, `username`, `password`, `file_size`, `name`. Answers `{"transfer": NUMBER}`."""
    kinds = {"download": Kind.DOWNLOAD, "upload": Kind.UPLOAD}
    kind = kinds.get(str(args.get("direction")))
    if kind is None:
        raise HomeportError("say what is to be done: download or upload")
    number = service.start_own(
        kind,
        str(args.get("file_type") or ""),
        str(args.get("url") or ""),
        credentials=Credentials(str(args.get("username") or ""), str(args.get("password") or "")),
        file_size=int(args.get("file_size") or 0),
        target_file_name=str(args.get("name") or "")[:LONGEST_ARGUMENT],
    )
    return {"transfer": number}


def _result(service: TransferService, args: Mapping[str, Any]) -> Any:
    """`transfer`: `{"fault_code", "fault_string"}` of one that has ended, None while it is under way."""
    found = service.finished(int(args.get("transfer") or 0))
    return None if found is None else {"fault_code": found.fault_code, "fault_string": found.fault_string}


def _cancel(service: TransferService, args: Mapping[str, Any]) -> Any:
    """`transfer`: one of the device's own, by number."""
    service.cancel_own(_named(service, args).number)
    return {}


def _answer(service: TransferService, args: Mapping[str, Any]) -> Any:
    """`transfer`: its number or CommandKey; the only one that asks where it is left out. `yes`: whether it may begin."""
    found = _named(service, args, asking=True)
    service.answer_user(found.number, yes=bool(args.get("yes")))
    return {"transfer": found.number}


def _request(service: TransferService, args: Mapping[str, Any]) -> Any:
    """`file_type`, `arguments` (name -> value): ask the ACS for a Download."""
    kind, given = str(args.get("file_type") or ""), args.get("arguments") or {}
    if not kind or len(kind) > LONGEST_TYPE:
        raise HomeportError(f"name the file type, at most {LONGEST_TYPE} characters: 1 Firmware Upgrade Image")
    if not isinstance(given, dict) or len(given) > MOST_ARGUMENTS:
        raise HomeportError(f"a request has at most {MOST_ARGUMENTS} arguments, each NAME=VALUE")
    arguments = {str(name): str(value) for name, value in given.items()}
    if any(len(n) > LONGEST_TYPE or len(v) > LONGEST_ARGUMENT for n, v in arguments.items()):
        raise HomeportError(f"names have at most {LONGEST_TYPE} characters, values {LONGEST_ARGUMENT}")
    service.request_download(kind, arguments)
    return {}


VERBS: Final[Mapping[str, Callable[[TransferService, Mapping[str, Any]], Any]]] = {
    "transfer-start": _start,
    "transfer-result": _result,
    "transfer-cancel": _cancel,
    "transfer-answer": _answer,
    "request-download": _request,
}
"""Each raises HomeportError or Fault where it refuses."""


def _named(service: TransferService, args: Mapping[str, Any], *, asking: bool = False) -> Transfer:
    """The transfer that is meant. Raises HomeportError where it is none, or one of several."""
    name = str(args.get("transfer") or "")
    questions = {row.number for row in service.status() if row.question}
    candidates = [t for t in service.queue if not asking or t.number in questions]
    found = [t for t in candidates if not name or str(t.number) == name] or [
        t for t in candidates if t.command_key == name
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{t.number} ({t.file_type})" for t in found or candidates)
    what = "asks for an answer" if asking else "is under way"
    raise HomeportError(f"name the transfer: {listed}" if listed else f"no transfer {what}")
