"""What a CPE says about itself to a DHCP server (options 60, 124 and, in DHCPv6, 16), and what a server sends beside the usual option 43:
options 125 and 17, and option 43 in the layouts of single vendors.

Pure. Source: TR-069a6 3.1; RFC 2132 9.13 (option 60), RFC 3925 (124, 125), RFC 8415 21.16 and 21.17 (DHCPv6 16, 17).
"""

from typing import Final

from homeport.cpe.discovery import (
    ENTERPRISE,
    OPTION_17_CODES,
    OPTION_125_CODES,
    VENDOR_CLASS,
    checked_text,
)
from homeport.errors import ConfigError

CLASS_60: Final = VENDOR_CLASS.encode("ascii")
"""Option 60 of a CPE that has nothing else to say there."""

_ENTERPRISE_BYTES: Final = ENTERPRISE.to_bytes(4, "big")


def encode_option124(data: bytes = CLASS_60) -> bytes:
    """Option 124 (vendor-identifying vendor class) under the Broadband Forum's enterprise. data: at most 250 bytes."""
    return _ENTERPRISE_BYTES + bytes((len(data),)) + data


def encode_option16(data: bytes = CLASS_60) -> bytes:
    """DHCPv6 option 16 (vendor class) under the Broadband Forum's enterprise."""
    return _ENTERPRISE_BYTES + len(data).to_bytes(2, "big") + data


def encode_text_form(
    form: str,
    *,
    url: str,
    provisioning_code: str | None = None,
    username: str | None = None,
    password: str | None = None,
) -> bytes:
    """Option 43's content in a layout that is one vendor's: `bare` the URL alone, `hp` URL, user and password in sub-option 1 (HP, 3Com,
    H3C), `eltex` text with bars. Raises ConfigError for what the form cannot say.
    """
    if form == "bare" and (provisioning_code or username or password):
        raise ConfigError("the bare form of option 43 holds the URL and nothing else")
    if password and not username:
        raise ConfigError("a password needs its user name: --username")
    address = checked_text("url", url)
    code = checked_text("provisioning_code", provisioning_code) if provisioning_code else b""
    words = [_word(form, text) for text in (username, password) if text]
    if form == "bare":
        out = address
    elif form == "hp":
        first = b" ".join([address, *words])
        if len(first) > 255:
            raise ConfigError(f"option 43: URL, user name and password have {len(first)} bytes; a sub-option holds 255")
        out = bytes((1, len(first))) + first + (bytes((2, len(code))) + code if code else b"")
    elif form == "eltex":
        parts = [b"1", address] + ([b"2", code] if code else [])
        for number, word in zip((b"3", b"4"), words, strict=False):
            parts += [number, word]
        out = b"|".join(parts)
    else:
        raise ConfigError(f"option 43 has no form {form!r}; there are standard, vega, bare, hp, eltex")
    if len(out) > 255:
        raise ConfigError(f"option 43 would have {len(out)} bytes; a DHCP option holds at most 255")
    return out


def _word(form: str, text: str) -> bytes:
    bad = " " if form == "hp" else "|"
    if not text.isascii() or not text.isprintable() or bad in text:
        raise ConfigError(f"the {form} form of option 43 cannot carry {text!r}: no {bad!r}, only printable ASCII")
    return text.encode("ascii")


def wants_acs_url(*, option60: bytes = b"", option124: bytes = b"", option16: bytes = b"") -> bool:
    """Whether a client's vendor class says that it is a CPE looking for its ACS: `dslforum.org` anywhere in option 60, or anywhere in
    what option 124 or 16 says under enterprise 3561. A server uses it; bytes that cannot be read are a no.
    """
    if CLASS_60 in option60:
        return True
    return _names_forum(option124, 1) or _names_forum(option16, 0)


def encode_option125(
    *,
    url: str | None = None,
    provisioning_code: str | None = None,
    retry_minimum_wait: int | None = None,
    retry_multiplier: int | None = None,
) -> bytes:
    """Option 125's content for these facts, as a DHCP server must send it; sub-options 11 to 14 (unverified, see discovery.py).

    Raises ConfigError for what is too long or out of range.
    """
    inner = b""
    for code, name, raw in _raws(OPTION_125_CODES, url, provisioning_code, retry_minimum_wait, retry_multiplier):
        if len(raw) > 255:
            raise ConfigError(f"option 125: {name} has {len(raw)} bytes; a sub-option holds at most 255")
        inner += bytes((code, len(raw))) + raw
    if len(inner) > 250:
        raise ConfigError(f"option 125 would have {len(inner) + 5} bytes; a DHCP option holds at most 255")
    return _ENTERPRISE_BYTES + bytes((len(inner),)) + inner


def encode_option17(
    *,
    url: str | None = None,
    provisioning_code: str | None = None,
    retry_minimum_wait: int | None = None,
    retry_multiplier: int | None = None,
) -> bytes:
    """DHCPv6 option 17's content for these facts, beginning with the enterprise number. Raises ConfigError as `encode_option125` does."""
    out = _ENTERPRISE_BYTES
    for code, _, raw in _raws(OPTION_17_CODES, url, provisioning_code, retry_minimum_wait, retry_multiplier):
        out += code.to_bytes(2, "big") + len(raw).to_bytes(2, "big") + raw
    return out


def _raws(
    codes: dict[int, str],
    url: str | None,
    provisioning_code: str | None,
    retry_minimum_wait: int | None,
    retry_multiplier: int | None,
) -> list[tuple[int, str, bytes]]:
    facts = {
        "url": url,
        "provisioning_code": provisioning_code,
        "retry_minimum_wait": retry_minimum_wait,
        "retry_multiplier": retry_multiplier,
    }
    return [
        (code, name, checked_text(name, value)) for code, name in codes.items() if (value := facts[name]) is not None
    ]


def _names_forum(data: bytes, width: int) -> bool:
    """Whether a vendor class option names the Forum. width: bytes of each enterprise's length, 0 where one enterprise fills the option."""
    position = 0
    while position + 4 <= len(data):
        enterprise = int.from_bytes(data[position : position + 4], "big")
        position += 4
        length = int.from_bytes(data[position : position + width], "big") if width else len(data) - position
        content = data[position + width : position + width + length]
        if enterprise == ENTERPRISE and CLASS_60 in content:
            return True
        position += width + length
    return False
