"""Where the ACS is, as DHCP tells it: options 43 and 125 of DHCPv4 and option 17 of DHCPv6, read; option 43 written.

Pure: bytes in, facts and warnings out; asking a DHCP server is transport/dhcp.py's. DHCP is not authenticated, so what it says is checked
like any hostile input, and a value that is out of range is left out with a warning. What a client says about itself (options 60, 124, 16),
and 125 and 17 written, is vendor_options.py's.
Source: TR-069a6 3.1 and Annex F; the DKT and Sangoma Vega documents; HP, 3Com and Eltex forms as seen in the field.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from urllib.parse import urlsplit

from homeport.errors import ConfigError, RemoteProtocolError

ENTERPRISE: Final = 3561
"""The Broadband Forum's enterprise number, under which options 125, 124, 16 and 17 carry CWMP's facts."""

VENDOR_CLASS: Final = "dslforum.org"
"""What a CPE puts somewhere into its vendor class (option 60, 124 or 16) so that the server knows it wants an ACS URL."""

Form = Literal["standard", "vega"]

MAX_URL: Final = 256
MAX_PROVISIONING_CODE: Final = 64


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a DHCP option said.

    url: absolute http or https URL, None where none was given. retry_minimum_wait: 1..65535 seconds. retry_multiplier: 1000..65535,
    in thousandths. periodic_*: only in Vega's form. username, password: only in HP's and Eltex's forms. warnings: sentences for the log.
    """

    url: str | None = None
    provisioning_code: str | None = None
    retry_minimum_wait: int | None = None
    retry_multiplier: int | None = None
    periodic_inform_enable: bool | None = None
    periodic_inform_interval: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()


# Sub-option code -> what it fills, per carrier. A Vega counts its codes 3 and 4 differently from everyone else.
STANDARD_CODES: Final = {1: "url", 2: "provisioning_code", 3: "retry_minimum_wait", 4: "retry_multiplier"}
VEGA_CODES: Final = {1: "url", 2: "provisioning_code", 3: "periodic_inform_enable", 4: "periodic_inform_interval"}
OPTION_125_CODES: Final = {
    11: "url",
    12: "provisioning_code",
    13: "retry_minimum_wait",
    14: "retry_multiplier",
}  # (unverified)
OPTION_17_CODES: Final = STANDARD_CODES
_CODES: Final[dict[str, dict[int, str]]] = {"standard": STANDARD_CODES, "vega": VEGA_CODES}

_RANGES: Final = {
    "retry_minimum_wait": (1, 65535),
    "retry_multiplier": (1000, 65535),
    "periodic_inform_interval": (1, 4294967295),
}


def option_bytes(text: str) -> bytes:
    """The bytes that a person or a DHCP client wrote in hexadecimal: `01 2c 68`, `1:2c:68` (ISC), `0x012c68` and mixtures.

    Raises ConfigError that shows an example.
    """
    pieces = [re.sub(r"^0[xX]", "", piece) for piece in re.split(r"[\s:,-]+", text) if piece]
    digits = "".join(piece.zfill(2) if len(piece) == 1 else piece for piece in pieces)
    try:
        if not digits.isascii():
            raise ValueError
        return bytes.fromhex(digits)
    except ValueError as e:
        shown = text if len(text) <= 80 else text[:80] + "..."
        raise ConfigError(f"{shown!r} is not hexadecimal; write option bytes such as 01:0c:68:74:74:70...") from e


def decode_option43(data: bytes, *, form: Form = "standard") -> Discovered:
    """What option 43 says, whatever of the known layouts it has.

    data: the option's content without its own code and length. form: which table the sub-option codes are read by.
    Layouts, tried in this order: sub-options; the bare URL as text; Eltex's `1|url|2|code|3|user|4|password`.
    Raises RemoteProtocolError where nothing of that fits.
    """
    if not data.strip(b"\0 \t\r\n"):
        raise RemoteProtocolError("DHCP option 43 is empty; the server should put the ACS URL into sub-option 1")
    text = _text(data)
    if re.match(r"(?i)https?://", text):
        return _bare(text)
    if re.match(r"\d+\|", text):
        return _piped(text)
    warnings: list[str] = []
    found = _fill(_sub_options(data, warnings), _CODES[form], warnings)
    if (
        not any((found.url, found.provisioning_code, found.retry_minimum_wait, found.retry_multiplier))
        and not found.warnings
    ):
        raise RemoteProtocolError("DHCP option 43 holds no sub-option 1 to 4: it does not seem to be meant for TR-069")
    return found


def decode_option125(data: bytes) -> Discovered:
    """What option 125 (DHCPv4, vendor-identifying) says under the Broadband Forum's enterprise number.

    Raises RemoteProtocolError where that enterprise is absent or a length does not fit.
    """
    warnings: list[str] = []
    for enterprise, content in _enterprises(data):
        if enterprise == ENTERPRISE:
            pairs = dict(_sub_options(content, warnings))
            if 11 not in pairs and re.match(rb"(?i)https?://", pairs.get(1, b"")):
                # Kea examples in the field number the ACS items as in option 43; code 1 is otherwise a device's OUI.
                warnings.append("option 125 gives the ACS URL as sub-option 1 instead of 11")
                return _fill(list(pairs.items()), STANDARD_CODES, warnings)
            return _fill(list(pairs.items()), OPTION_125_CODES, warnings)
    raise RemoteProtocolError(f"DHCP option 125 holds nothing of enterprise {ENTERPRISE}")


def decode_option17(data: bytes) -> Discovered:
    """What option 17 (DHCPv6, vendor-specific) says; its sub-options have 16-bit codes and lengths.

    data: the option's content, beginning with the enterprise number.
    Raises RemoteProtocolError where the enterprise is another one or a length does not fit.
    """
    if len(data) < 4 or int.from_bytes(data[:4], "big") != ENTERPRISE:
        raise RemoteProtocolError(f"DHCPv6 option 17 is not of enterprise {ENTERPRISE}")
    warnings: list[str] = []
    pairs = []
    position = 4
    while position < len(data):
        if position + 4 > len(data):
            raise RemoteProtocolError("DHCPv6 option 17 ends inside a sub-option's header")
        code = int.from_bytes(data[position : position + 2], "big")
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        position += 4
        if position + length > len(data):
            raise RemoteProtocolError(
                f"DHCPv6 option 17: sub-option {code} claims {length} bytes, {len(data) - position} are left"
            )
        pairs.append((code, data[position : position + length]))
        position += length
    return _fill(pairs, OPTION_17_CODES, warnings)


def encode_option43(
    *,
    url: str | None = None,
    provisioning_code: str | None = None,
    retry_minimum_wait: int | None = None,
    retry_multiplier: int | None = None,
    periodic_inform_enable: bool | None = None,
    periodic_inform_interval: int | None = None,
    form: Form = "standard",
    end_mark: bool = False,
) -> bytes:
    """Option 43's content for these facts, with true (binary) length bytes, as a DHCP server must send it.

    form: "vega" allows periodic_inform_*, "standard" allows retry_*. end_mark: close with 255.
    Raises ConfigError for what the form has no code for, or what is too long or out of range.
    """
    facts = {
        "url": url,
        "provisioning_code": provisioning_code,
        "retry_minimum_wait": retry_minimum_wait,
        "retry_multiplier": retry_multiplier,
        "periodic_inform_enable": periodic_inform_enable,
        "periodic_inform_interval": periodic_inform_interval,
    }
    codes = {name: code for code, name in _CODES[form].items()}
    out = bytearray()
    for name, value in facts.items():
        if value is None:
            continue
        if name not in codes:
            raise ConfigError(f"the {form} form of option 43 has no code for {name}")
        raw = checked_text(name, value)
        if len(raw) > 255:
            raise ConfigError(f"option 43: {name} has {len(raw)} bytes; a sub-option holds at most 255")
        out += bytes((codes[name], len(raw))) + raw
    if end_mark:
        out.append(255)
    if len(out) > 255:
        raise ConfigError(f"option 43 would have {len(out)} bytes; a DHCP option holds at most 255")
    return bytes(out)


def checked_text(name: str, value: str | int | bool) -> bytes:
    """A fact as the text of a sub-option. Raises ConfigError where it is too long, out of range or no URL."""
    text = ("1" if value else "0") if isinstance(value, bool) else str(value)
    problem = _problem(name, text)
    if problem:
        raise ConfigError(problem)
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as e:
        raise ConfigError(f"{name} {text!r} holds characters that are not ASCII") from e


def merge(stronger: Discovered, weaker: Discovered) -> Discovered:
    """Both together; where both say something, the stronger counts (option 43 before 125)."""
    filled = {
        name: getattr(stronger, name) if getattr(stronger, name) is not None else getattr(weaker, name)
        for name in Discovered.__dataclass_fields__
        if name != "warnings"
    }
    return Discovered(**filled, warnings=stronger.warnings + weaker.warnings)


def prefer(found43: Discovered | None, found125: Discovered | None, asked: Collection[int] = ()) -> Discovered | None:
    """What a lease with options 43 and 125 says: the one that was asked for counts first; asked for both or neither, 43 does.

    asked: option codes of the client's parameter request list (option 55), () where it is not known.
    Source: TR-069a6 3.1.
    """
    if found43 is None or found125 is None:
        return found43 or found125
    if 125 in asked and 43 not in asked:
        return merge(found125, found43)
    return merge(found43, found125)


def url_problem(url: str) -> str | None:
    """Why a text cannot be an ACS URL, as a sentence, or None where it can.

    Source: TR-181 ManagementServer.URL (at most 256), TR-069a6 3.1 (http or https).
    """
    if len(url) > MAX_URL:
        return f"the ACS URL has {len(url)} characters, at most {MAX_URL} are allowed"
    if not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        return f"the ACS URL {url!r} holds characters that a URL may not hold"
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        return f"the ACS URL {url!r} cannot be read; expected for example http://acs.example.net:7547/"
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
        return f"the ACS URL {url!r} is not an absolute http or https URL; expected for example http://acs.example.net:7547/"
    if parts.username is not None:
        return "the ACS URL holds a user name; give it as a setting of its own"
    return None


# --- layouts ------------------------------------------------------------------------------------------------------------------


def _sub_options(data: bytes, warnings: list[str]) -> list[tuple[int, bytes]]:
    """(code, content) of each sub-option; 255 ends, 0 pads. A length that overruns is mended, with a warning."""
    pairs = []
    position = 0
    while position < len(data):
        code = data[position]
        if code == 255:
            break
        if code == 0:
            position += 1
            continue
        if position + 1 >= len(data):
            warnings.append(f"the option ends after the code {code}, without a length")
            break
        length = data[position + 1]
        position += 2
        left = len(data) - position
        if length > left:
            length = _mended_length(code, length, left, warnings)
        pairs.append((code, data[position : position + length]))
        position += length
    return pairs


def _mended_length(code: int, length: int, left: int, warnings: list[str]) -> int:
    """How long a sub-option with an overrunning length is meant to be.

    Sangoma's manual for the Vega prints `44` in a hex dump for a URL of 44 bytes (it should be 2c), and administrators copy it.
    """
    digits = f"{length:02x}"
    if digits.isdecimal() and 0 < int(digits) <= left:
        warnings.append(
            f"sub-option {code} claims {length} bytes (hex {digits}) but only {left} are left: "
            f"read as the decimal number {digits}; the server should send hex {int(digits):02x}"
        )
        return int(digits)
    warnings.append(f"sub-option {code} claims {length} bytes but only {left} are left: took those")
    return left


def _enterprises(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        if position + 5 > len(data) or position + 5 + data[position + 4] > len(data):
            raise RemoteProtocolError("DHCP option 125 ends inside an enterprise's block")
        enterprise = int.from_bytes(data[position : position + 4], "big")
        length = data[position + 4]
        yield enterprise, data[position + 5 : position + 5 + length]
        position += 5 + length


def _bare(text: str) -> Discovered:
    problem = url_problem(text)
    if problem:
        return Discovered(warnings=(problem,))
    return Discovered(url=text, warnings=("the option is the bare URL, without sub-option codes",))


def _piped(text: str) -> Discovered:
    """Eltex's form: `1|url|2|provisioning code|3|user name|4|password`."""
    parts = text.split("|")
    names = {"1": "url", "2": "provisioning_code", "3": "username", "4": "password"}
    warnings: list[str] = []
    found = Discovered()
    for code, value in zip(parts[::2], parts[1::2], strict=False):
        name = names.get(code)
        if name is None:
            warnings.append(f"unknown code {code} in the text form of the option")
            continue
        found = _with(found, name, value, warnings)
    return replace(found, warnings=tuple(warnings))


def _fill(pairs: list[tuple[int, bytes]], codes: dict[int, str], warnings: list[str]) -> Discovered:
    found = Discovered()
    for code, content in pairs:
        name = codes.get(code)
        if name is None:
            continue
        text = _text(content)
        if name == "url" and " " in text:
            # HP and 3Com pack "URL user password" into sub-option 1.
            url, *rest = (word for word in text.split(" ") if word)
            found = _with(found, "url", url, warnings)
            if not all(word.isprintable() for word in rest):
                warnings.append(
                    "the user name or password beside the URL holds unprintable characters; both are ignored"
                )
            elif rest:
                found = replace(found, username=rest[0], password=rest[1] if len(rest) > 1 else None)
            continue
        found = _with(found, name, text, warnings)
    return replace(found, warnings=tuple(warnings))


def _with(found: Discovered, name: str, text: str, warnings: list[str]) -> Discovered:
    problem = _problem(name, text)
    if problem:
        warnings.append(problem)
        return found
    value: str | int | bool = text
    if name in _RANGES:
        value = int(text)
    elif name == "periodic_inform_enable":
        value = text in ("1", "true")
    return replace(found, **{name: value})  # type: ignore[arg-type]


def _problem(name: str, text: str) -> str | None:
    if name == "url":
        return url_problem(text)
    if name == "periodic_inform_enable":
        return None if text in ("0", "1", "true", "false") else f"{name} is {text!r}, expected 1 or 0"
    if name in _RANGES:
        low, high = _RANGES[name]
        # Decimal text, never a binary number: a guess here would turn "5" (0x35) into 53 seconds.
        if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
            return f"{name} is {text!r}, expected decimal text from {low} to {high}"
        return None
    if name == "provisioning_code" and (len(text) > MAX_PROVISIONING_CODE or not text.isprintable()):
        return f"the provisioning code {text[:80]!r} is longer than {MAX_PROVISIONING_CODE} or not printable"
    return None


def _text(content: bytes) -> str:
    """The text of a sub-option; servers add NULs or blanks at the end that do not belong to it."""
    return content.decode("latin-1").strip("\0 \t\r\n")
