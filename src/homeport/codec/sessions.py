"""Recorded messages to sessions: who sent what, what it says, and where the exchange departs from the session's and HTTP's rules.

Each message is examined by itself by `findings`; here are the rules between messages. Pure.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.findings import Finding, Report, examine, sender_of
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.recording import Recorded
from homeport.codec.rpc_table import response_class
from homeport.terms import Role

_HTTP: Final = "TR-069a6 3.4.1"
_ORDER: Final = "TR-069a6 3.7.2 (unverified)"


class Rung(Struct, frozen=True):
    """One message of a session. sender: None where neither HTTP nor the message tells. findings: of the message and of its place."""

    number: int
    sender: Role | None
    http: Recorded
    report: Report
    findings: tuple[Finding, ...]

    @property
    def gist(self) -> str:
        """A few words about the content, or HTTP's where there is none; "" where the title says enough."""
        if self.report.empty and self.http.status not in (0, 200, 204):
            return self.http.line.partition(" ")[2]
        return gist(self.report)


class Session(Struct, frozen=True):
    """The rungs from one Inform to the end. title: the device and its events, as the Inform gives them."""

    title: str
    rungs: tuple[Rung, ...]


def sessions(
    recorded: Sequence[Recorded], *, limits: CodecLimits = DEFAULT_LIMITS, reveal: bool = False
) -> tuple[Session, ...]:
    """The sessions of a recording, in order. Messages before the first Inform (a challenge, say) belong to the first one."""
    groups: list[list[tuple[Recorded, Report]]] = [[]]
    informed = False
    previous: m.Inform | None = None
    for message in recorded:
        report = examine(message.body, content_type=message.header("Content-Type") or "", limits=limits, reveal=reveal)
        body = report.envelope.body if report.envelope is not None else None
        if isinstance(body, m.Inform):
            # The same Inform again is the answer to a 401 or to fault 8005, not another session.
            if informed and (previous is None or body.device_id != previous.device_id or _answered(groups[-1])):
                groups.append([])
            informed, previous = True, body
        groups[-1].append((message, report))
    return tuple(_session(group) for group in groups if group)


def gist(report: Report) -> str:
    """What a person wants to read of a message at a glance."""
    message = report.envelope.body if report.envelope is not None else None
    match message:
        case m.Inform():
            return ", ".join(event.event_code for event in message.event) or "no events"
        case m.FaultMessage():
            return f"{message.fault_code} {message.fault_string}".rstrip()
        case m.SetParameterValues():
            return _listed([f"{v.name.rpartition('.')[2]}" for v in message.parameter_list])
        case m.GetParameterValues() | m.GetParameterAttributes():
            return _listed([name or "everything" for name in message.parameter_names])
        case m.GetParameterNames():
            return (message.parameter_path or "everything") + (" (next level)" if message.next_level else "")
        case m.GetParameterValuesResponse() | m.GetParameterNamesResponse() | m.GetParameterAttributesResponse():
            return f"{len(message.parameter_list)} parameters"
        case m.AddObject() | m.DeleteObject():
            return message.object_name
        case m.AddObjectResponse():
            return f"instance {message.instance_number}"
        case m.Download() | m.Upload() | m.ScheduleDownload():
            return f"{message.file_type}, {message.command_key or 'no key'}"
        case m.TransferComplete():
            code = message.fault_struct.fault_code
            return f"{message.command_key or 'no key'}: {'done' if code == 0 else f'fault {code}'}"
        case m.Reboot() | m.ScheduleInform() | m.CancelTransfer():
            return message.command_key
        case _:
            return report.error[:80]


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _answered(group: list[tuple[Recorded, Report]]) -> bool:
    return any(r.envelope is not None and isinstance(r.envelope.body, m.InformResponse) for _, r in group)


def _session(group: list[tuple[Recorded, Report]]) -> Session:
    checker = _Checker(alone=len(group) == 1)
    rungs = []
    title = "no Inform"
    for number, (http, report) in enumerate(group, 1):
        body = report.envelope.body if report.envelope is not None else None
        if isinstance(body, m.Inform):
            device = body.device_id
            identity = "-".join(part for part in (device.oui, device.product_class, device.serial_number) if part)
            title = f"{identity}: {gist(report)}"
        sender = _sender(http, body)
        notes = [Finding("note", "recording", "", note) for note in http.notes]
        last = number == len(group)
        rungs.append(
            Rung(number, sender, http, report, (*report.findings, *notes, *checker.look(sender, http, report, last)))
        )
    return Session(title, tuple(rungs))


def _sender(http: Recorded, body: m.Message | None) -> Role | None:
    if http.kind in ("request", "sent"):
        return Role.CPE
    if http.kind in ("response", "received"):
        return Role.ACS
    return sender_of(body)


class _Checker:
    """What one session's earlier messages mean for the next."""

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone  # One saved body is no session: what came before it is not known.
        self.outstanding: dict[Role, tuple[m.Message, str | None]] = {}
        self.informed = False
        self.cookies: set[str] = set()

    def look(self, sender: Role | None, http: Recorded, report: Report, last: bool) -> list[Finding]:
        """The findings of one message in its place."""
        found: list[Finding] = []
        if http.kind in ("request", "response"):
            found += self._http(http, report, last)
        if sender is not None and report.envelope is not None and report.envelope.body is not None and not self.alone:
            found += self._turn(sender, report.envelope.body, report.envelope.id)
        return found

    def _turn(self, sender: Role, message: m.Message, cwmp_id: str | None) -> list[Finding]:
        found = []
        if isinstance(message, m.Inform):
            self.outstanding.clear()
            self.informed = True
        elif not self.informed:
            found.append(Finding("error", _ORDER, "", f"{message.element or 'The message'} comes before any Inform."))
            self.informed = True
        if isinstance(message, m.Request):
            self.outstanding[sender] = (message, cwmp_id)
            return found
        if not isinstance(message, m.Response | m.FaultMessage):
            return found
        asked, asked_id = self.outstanding.pop(sender.peer, (None, None))
        if asked is None:
            found.append(Finding("error", _ORDER, "", f"{message.element} answers no request."))
        elif isinstance(message, m.Response) and not isinstance(message, response_class(asked) or m.Response):
            found.append(Finding("error", _ORDER, "", f"{message.element} does not answer {asked.element}."))
        elif cwmp_id != asked_id and asked_id is not None:
            text = f"The ID is {cwmp_id!r}; the request's was {asked_id!r}."
            found.append(Finding("error", "TR-069a6 3.5 (unverified)", "Header/ID", text))
        return found

    def _http(self, http: Recorded, report: Report, last: bool) -> list[Finding]:
        found = []
        content_type = http.header("Content-Type")
        action = http.header("SOAPAction")
        soap = report.envelope is not None
        if soap and content_type is not None and not content_type.lower().startswith("text/xml"):
            found.append(
                Finding("error", _HTTP, "Content-Type", f"It is {content_type}; an envelope goes as text/xml.")
            )
        if http.kind == "request":
            if http.method != "POST":
                found.append(Finding("error", _HTTP, "", f"The method is {http.method}; a CPE uses POST."))
            if report.empty and action is not None:
                found.append(Finding("error", _HTTP, "SOAPAction", "An empty POST has no SOAPAction."))
            if not report.empty and action is None:
                found.append(
                    Finding("error", _HTTP, "SOAPAction", "A POST with an envelope has the header SOAPAction.")
                )
            if not report.empty and action not in (None, ""):
                found.append(Finding("error", _HTTP, "SOAPAction", f"It is {action}; it must have no value."))
            sent = {part.partition("=")[0].strip() for part in (http.header("Cookie") or "").split(";")}
            found.extend(
                Finding("error", "TR-069a6 3.4.2", "Cookie", f"The cookie {name[:40]} was not sent back.")
                for name in sorted(self.cookies - sent)
            )
            self.cookies &= sent
            return found
        self.cookies |= {value.partition("=")[0].strip() for key, value in http.headers if key.lower() == "set-cookie"}
        if soap and http.status != 200:
            found.append(
                Finding("error", _HTTP, "", f"An envelope of the ACS goes under status 200, not {http.status}.")
            )
        if "chunked" in (http.header("Transfer-Encoding") or "").lower():
            found.append(Finding("note", "field", "Transfer-Encoding", "One C client cannot read chunked answers."))
        if report.empty and last and http.status == 200:
            found.append(
                Finding("note", "field", "", "One C client never ends a session that ends with 200 instead of 204.")
            )
        if report.empty and not last and "close" in (http.header("Connection") or "").lower():
            found.append(
                Finding(
                    "note", "field", "Connection", "One C client writes its next message into the closed connection."
                )
            )
        return found
