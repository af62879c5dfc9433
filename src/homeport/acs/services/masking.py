"""Messages as people may see them: secrets masked, length cut."""

import json
import re
from collections.abc import Generator, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from homeport.acs.engine.effects import is_secret, peculiar
from homeport.acs.records import TaskRecord
from homeport.acs.slices import pieces
from homeport.codec import messages as m
from homeport.codec.concealing import Concealer
from homeport.codec.envelope import Envelope, encode
from homeport.errors import LocalProtocolError

MASK: Final = "********"

SHORTEST_ECHO: Final = 4
"""Characters of a secret that is looked for in the words of a device: a shorter one stands in other words."""

_HINTS: Final = ("pass", "pwd", "secret", "psk", "key", "ioncode", "token", "voucher", "community")
"""What stands in the name of everything that is a secret, in small letters. PIN, which is in many words, is looked for as it is."""

_DISGUISES: Final = ("&#", "<!", "\ufffe", "\uffff")
"""What can make these words be written otherwise, beside processing instructions."""

_CONTROLS: Final = bytes({*range(32)} - {*b"\t\n\r"})
"""Bytes that the parser takes out."""

_HIDDEN: Final = re.compile(r"(?:Password|Passphrase|Secret|PreSharedKey|PrivateKey|Token|\AVoucherList)\Z")
_ROW: Final = re.compile(
    r"<((?:\w+:)?)Name(?: [^<>]*)?>([^<]*)</\1Name>\s*<\1Value(?:\s[^<>]*)?>([^<]*)</\1Value>(?!\s*<\1Value\b)"
)
_TAG: Final = re.compile(r"<(?!/)[^<>]*>?")
_NAMING: Final = re.compile(r"\bName\b|Password|Passphrase|Secret|PreSharedKey|PrivateKey|Token|Voucher")
_ELEMENT: Final = re.compile(r"<((?:\w+:)?(\w+))>([^<]*)</\1>")
_OPENS_VALUE: Final = re.compile(r"<(?:[^\s<>/:]*:)?Value(?![\w.:-])")
_ENDS_NAME: Final = re.compile(r"Name\s*>\s*\Z")

_SIGNED_URL: Final = re.compile(r"(/[du]/[0-9a-f]+-[0-9a-zA-Z]+-[0-9a-f]+-)[a-z2-7]{32}(/)")
_USER_INFO: Final = re.compile(r"(://[^/\s:@<>\"'?#]*:)([^/\s@<>\"'?#]+)(@)")
_QUERY: Final = re.compile(
    r"([?&](?:amp;)?[\w.%-]{0,64}?(?:passw|pwd|passphrase|token|secret|signature|credential|api_?-?key|access_?-?key|\bsig\b|\bkey\b)"
    r"[\w.%-]{0,64}=)[^&\s<>\"'#]+",
    re.IGNORECASE,
)
"""The names of arguments have an end: without one, a text made for it would take minutes."""

_SECRET_KEYS: Final = ("password", "secret", "token", "passphrase", "key")

_NAMES_ONLY: Final = (
    m.InformResponse,
    m.GetParameterNames,
    m.GetParameterNamesResponse,
    m.GetParameterValues,
    m.GetParameterAttributes,
)


def without_secrets(message: m.Message) -> bool:
    """Whether the message surely holds no secret and no signed URL, so that nothing has to be looked for in its text.

    Its rows are cheaper to look through than its text.
    """
    if isinstance(message, m.GetParameterValuesResponse):
        names, values, _ = message.columns
        if peculiar(names):
            return False
        return "/" not in "".join(values) or not any(["/" in value and plain_url(value) != value for value in values])
    if isinstance(message, m.Inform):
        rows = message.parameter_list
        if peculiar(tuple([row.name for row in rows])):
            return False
        return not any(["/" in row.value and plain_url(row.value) != row.value for row in rows])
    return isinstance(message, _NAMES_ONLY)


def without_secrets_in_parts(message: m.Message) -> Generator[None, None, bool]:
    """The same for a long message, with rests."""
    if not isinstance(message, m.GetParameterValuesResponse):
        return without_secrets(message)
    for rows in pieces(message.parameter_list, 50):
        if not without_secrets(m.GetParameterValuesResponse(tuple(rows))):
            return False
        yield
    return True


def plain_url(text: str) -> str:
    """Text in which URLs have no passwords, tokens or signatures any more."""
    if "://" in text:
        if "@" in text:
            text = _USER_INFO.sub(rf"\1{MASK}\3", text)
        if "=" in text and ("?" in text or "&" in text):
            text = _QUERY.sub(rf"\1{MASK}", text)
    if "/d/" in text or "/u/" in text:
        text = _SIGNED_URL.sub(rf"\1{MASK}\2", text)
    return text


_CONCEALER: Final = Concealer(
    secret=is_secret, hidden=lambda tag: _HIDDEN.search(tag) is not None, plain=plain_url, mask=MASK
)


def shown(body: bytes, limit: int, *, clean: bool = False, size: int | None = None) -> str:
    """The body as text without secrets, at most `limit` characters. Bytes that are no characters are shown as such.

    clean: it is known to hold none. size: bytes of the whole body, where this is its beginning.
    """
    body, whole = body[: 4 * limit], len(body)
    codec = _codec(body[:2])
    text = body.decode(codec, "backslashreplace")
    if not clean:
        odd = codec != "utf-8" or len(body.translate(None, _CONTROLS)) != len(body)
        cut = (whole if size is None else size) > len(body)
        text = _without(text, odd=odd or (cut and _ends_nameless(text)))
    return text if len(text) <= limit else f"{text[:limit]} [cut: {whole if size is None else size} bytes]"


def _ends_nameless(text: str) -> bool:
    """Whether a text that was cut may end in a row whose name was to come behind its value."""
    at = len(text)
    for _ in range(16):
        at = text.rfind("<", 0, at)
        if at < 0:
            return True
        if _OPENS_VALUE.match(text, at):
            return _ENDS_NAME.search(text, max(at - 100, 0), at) is None
    return "Value" in text[at:]


def _codec(first: bytes) -> str:
    """What a body that begins so is in, as far as the names in it could else not be read."""
    if first in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\x00" in first:
        return "utf-16-be" if first[:1] == b"\x00" else "utf-16-le"
    return "utf-8"


def _without(text: str, *, odd: bool = True) -> str:
    """odd: there may be characters in it that the parser takes out."""
    # Few messages hold a secret, and looking is much cheaper than replacing.
    words = text.lower()
    if odd or len(words) != len(text) or text.find("<?", 5) >= 0 or any([x in text for x in _DISGUISES]):
        return plain_url(_CONCEALER.conceal(text))
    hints = [hint for hint in _HINTS if hint in words]
    if hints or "PIN" in text:
        plain = _without_rows(text, words, hints)
        text = _CONCEALER.conceal(text) if plain is None else plain
    return plain_url(text)


def _without_rows(text: str, words: str, hints: list[str]) -> str | None:
    """The text without secrets, where these are written as nearly all devices do; None where they are not.

    words: the text in small letters; hints: those that are in it. Only what stands around a hint is looked at.
    """
    begins: set[int] = set()
    for hint in hints:
        if hint == "key" and words.count("key") == words.count("commandkey") + words.count("parameterkey"):
            continue  # which are in nearly all messages
        at = words.find(hint)
        while at >= 0:
            begins.add(text.rfind("<", 0, at))
            at = words.find(hint, at + 1)
    at = text.find("PIN")
    while at >= 0:
        begins.add(text.rfind("<", 0, at))
        at = text.find("PIN", at + 1)
    out: list[str] = []
    last = 0
    for begin in sorted(begins):
        if begin < 0:
            return None
        found = _ROW.match(text, begin)
        if found is not None:
            if not is_secret(found[2].strip()):
                continue
            if text[text.rfind("<", 0, begin) + 1] == "/":
                return None  # it is not the first of its row, so that another Value may be the one that counts
        else:
            tag = _TAG.match(text, begin)
            if tag is None or not _NAMING.search(tag[0]):
                continue  # a word between two tags, or in one that is no secret's
            found = _ELEMENT.match(text, begin)
            if found is None:
                return None
            if found[2] == "Name" and is_secret(found[3].strip()):
                return None
            if not _HIDDEN.search(found[2]):
                continue
        if found[3].strip():
            out += (text[last : found.start(3)], MASK)
            last = found.end(3)
    out.append(text[last:])
    return "".join(out)


def masked_json(body: bytes, *, plain: Sequence[str] = ()) -> str:
    """A JSON body of the REST API without secrets; what is no JSON is told by its size only.

    plain: fields of the body itself, not of what is in it, that are no secrets here though their names say so.
    """
    try:
        content = json.loads(body) if body else None
    except ValueError:
        content = None
        if body:
            return f"({len(body)} bytes)"
    if content is None:
        return ""
    clean = masked(content)
    if isinstance(content, dict):
        clean |= {name: masked(content[name]) for name in plain if name in content}
    return json.dumps(clean, ensure_ascii=False)


def masked_task(task: TaskRecord) -> TaskRecord:
    """The task without the secrets in its arguments and its result."""
    args, result, fault = masked(task.args), masked(msgspec.to_builtins(task.result, enc_hook=list)), task.fault
    if fault is not None and fault.string != plain_url(fault.string):
        fault = msgspec.structs.replace(fault, string=plain_url(fault.string))
    if args == task.args and result == task.result and fault is task.fault:
        return task
    return msgspec.structs.replace(task, args=args, result=result, fault=fault)


def masked_in_parts(task: TaskRecord) -> Generator[None, None, TaskRecord]:
    """As `masked_task`, with rests, where the result is a long list that is kept as it was read."""
    rows: Any = (task.result or {}).get("parameter_list")
    if task.result is None or not _is_read(rows):
        return masked_task(task)
    out: list[Any] = []
    for piece in pieces(rows):
        out += _masked_rows(piece)
        yield
    rest = masked_task(msgspec.structs.replace(task, result={k: v for k, v in task.result.items() if v is not rows}))
    return msgspec.structs.replace(rest, result=(rest.result or {}) | {"parameter_list": tuple(out)})


def _is_read(rows: Any) -> bool:
    return isinstance(rows, tuple | list) and bool(rows) and isinstance(rows[0], msgspec.Struct)


def _masked_rows(rows: Sequence[Any]) -> list[Any]:
    """Rows of a device's answer without secrets."""
    if not rows or not isinstance(rows[0], m.ParameterValueStruct):
        return list(rows)
    secret = {name for name in peculiar(tuple([row.name for row in rows])) if is_secret(name)}
    return [
        msgspec.structs.replace(row, value=(row.value and MASK) if row.name in secret else plain_url(row.value))
        if row.name in secret or "/" in row.value
        else row
        for row in rows
    ]


def masked(content: Any) -> Any:
    """JSON without secrets: those of parameters by their names, those of arguments by their own, those inside of URLs."""
    if isinstance(content, str):
        return plain_url(content) if "/" in content else content
    if _is_read(content):
        return tuple(_masked_rows(content))
    if isinstance(content, list | tuple):
        return content if _harmless(content) else [masked(item) for item in content]
    if not isinstance(content, dict):
        return content
    hidden = isinstance(content.get("name"), str) and "value" in content and is_secret(content["name"])
    out: dict[str, Any] = {}
    for key, value in content.items():
        if key == "voucher_list" and isinstance(value, list):
            out[key] = [MASK for _ in value]
        elif key == "xml" and isinstance(value, str):
            out[key] = _without(value)
        else:
            secret = (hidden and key == "value") or _names_secret(key)
            out[key] = MASK if secret and value and not isinstance(value, dict | list) else masked(value)
    return out


def without_echo(fault: m.FaultMessage, request: m.Message, task: TaskRecord | None) -> m.FaultMessage:
    """A device's fault without the secrets that it was told: some say in words which value they do not like.

    request: what it refuses. task: whose request that is, which may have told more.
    """
    echo = _echo([msgspec.to_builtins(request), task.args if task is not None else None])
    if echo is None:
        return fault
    clean = msgspec.structs.replace(
        fault,
        fault_string=echo.sub(MASK, fault.fault_string),
        set_parameter_values_faults=tuple(
            msgspec.structs.replace(row, fault_string=echo.sub(MASK, row.fault_string))
            for row in fault.set_parameter_values_faults
        ),
    )
    return fault if clean == fault else clean


def _echo(told: Any) -> re.Pattern[str] | None:
    """Finds the secrets in what a device was told; None where there are none."""
    words = {text for text in _secrets_in(told) if len(text) >= SHORTEST_ECHO}
    # The longest first: of two secrets one may be a part of the other.
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True)))) if words else None


def end_without_echo(request: m.Request, task: TaskRecord) -> m.Request:
    """What a device tells of a transfer's end, or of its modules', without the secrets that it was told in the task."""
    strings = _fault_strings(request)
    echo = _echo(task.args) if any(strings) else None
    return request if echo is None else _with_fault_strings(request, [echo.sub(MASK, text) for text in strings])


def end_as_kept(request: m.Request, kept: Any) -> m.Request:
    """The same as it stands in the history, where it was told before: the secrets of a task that is over are not known any more."""
    faults = [kept.get("fault_struct")] if isinstance(request, m.TransferComplete) else []
    if isinstance(request, m.DUStateChangeComplete):
        faults = [row.get("fault") for row in kept.get("results", ())]
    strings = [(fault or {}).get("fault_string", "") for fault in faults]
    return _with_fault_strings(request, strings) if len(strings) == len(_fault_strings(request)) else request


def _fault_strings(request: m.Request) -> list[str]:
    if isinstance(request, m.TransferComplete):
        return [request.fault_struct.fault_string]
    return [row.fault.fault_string for row in request.results] if isinstance(request, m.DUStateChangeComplete) else []


def _with_fault_strings(request: m.Request, strings: list[str]) -> m.Request:
    if strings == _fault_strings(request):
        return request
    replace = msgspec.structs.replace
    if isinstance(request, m.TransferComplete):
        return replace(request, fault_struct=replace(request.fault_struct, fault_string=strings[0]))
    assert isinstance(request, m.DUStateChangeComplete)
    rows = [
        replace(row, fault=replace(row.fault, fault_string=text))
        for row, text in zip(request.results, strings, strict=True)
    ]
    return replace(request, results=tuple(rows))


def same_but_masked(kept: Any, told: Any) -> bool:
    """Whether this is what is kept, in which secrets may be masked that are not masked in this."""
    if isinstance(kept, str) and isinstance(told, str):
        return _fits(kept, told)
    if isinstance(kept, dict) and isinstance(told, dict):
        return kept.keys() == told.keys() and all(same_but_masked(value, told[key]) for key, value in kept.items())
    if isinstance(kept, list | tuple) and isinstance(told, list | tuple):
        return len(kept) == len(told) and all(same_but_masked(a, b) for a, b in zip(kept, told, strict=True))
    return bool(kept == told)


def _fits(kept: str, told: str) -> bool:
    first, *rest = kept.split(MASK)
    if not rest or not told.startswith(first):
        return kept == told
    at, last = len(first), rest.pop()
    for part in rest:
        found = told.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return told.endswith(last) and len(told) - len(last) >= at


def fault_body(fault: m.FaultMessage | m.Request, urn: str) -> bytes:
    """A device's fault, or what it tells of one, for the history, where its message cannot be shown as it came."""
    try:
        return encode(Envelope(body=fault, urn=urn))
    except LocalProtocolError:
        # A code that we ourselves may not send, or a method that its version of CWMP does not have.
        if isinstance(fault, m.FaultMessage):
            return f"{fault.fault_code} {fault.fault_string}".encode()
        return f"{fault.element}: {'; '.join(_fault_strings(fault))}".encode()


def _secrets_in(content: Any) -> Generator[str, None, None]:
    """What `masked` hides of this."""
    if isinstance(content, str):
        yield from _secrets_in_url(content) if "://" in content else ()
    elif isinstance(content, list | tuple):
        for item in content:
            yield from _secrets_in(item)
    elif isinstance(content, dict):
        hidden = isinstance(content.get("name"), str) and "value" in content and is_secret(content["name"])
        for key, value in content.items():
            if isinstance(value, str) and ((hidden and key == "value") or _names_secret(key)):
                yield value
            elif key == "voucher_list" and isinstance(value, list):
                yield from (str(voucher) for voucher in value)
            else:
                yield from _secrets_in(value)


def _secrets_in_url(text: str) -> Generator[str, None, None]:
    """Passwords and tokens of a URL, as they are written in it and as they are meant."""
    found = [match[2] for match in _USER_INFO.finditer(text)]
    found += [match[0][len(match[1]) :] for match in _QUERY.finditer(text)]
    for secret in found:
        yield secret
        yield unquote(secret)


def _harmless(items: Sequence[Any]) -> bool:
    """Whether these are names, or parameters, of which none is secret and none holds a URL: by far the most usual lists, and long."""
    try:
        if {*map(type, items)} == {str}:
            return not any(["/" in item for item in items])
        values = [item["value"] for item in items]
        return (
            {*map(type, items)} == {dict}
            and {*map(len, items)} == {3}
            and not any(
                [item["type"].__class__ is not str or "/" in value for item, value in zip(items, values, strict=True)]
            )
            and not peculiar(tuple([item["name"] for item in items]))
        )
    except (TypeError, KeyError, AttributeError):
        return False


def _names_secret(key: str) -> bool:
    last = key.lower().rpartition("_")[2]
    return last in _SECRET_KEYS and key.lower() not in ("command_key", "parameter_key")
