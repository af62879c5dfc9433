"""What a fault code means for the person who asked, and what to try next."""

import re
from collections.abc import Mapping
from typing import Any, Final

from homeport.terms import FaultCode

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
"""What a terminal would obey in a device's words, or what would break their line."""

_TRY: dict[int, str] = {
    9000: "the device does not have this method; see which it has: homeport device rpc DEVICE GetRPCMethods",
    9001: "the device refuses without a reason; its log may say more: homeport device upload, or look at the box",
    9002: "the device failed inside; try again, then look at its log",
    9003: "an argument is missing or wrong; for SetParameterValues the parameters below say which",
    9004: "the device is short of memory or instances; delete what is not used, or ask for less at once",
    9005: "no such path; see which there are: homeport device names DEVICE PATH (an object ends with a dot, case counts)",
    9006: "the type is not the one the parameter has; leave the type out and it is looked up",
    9007: "the value does not fit (range, length, enumeration); the data model says what fits: homeport model show PATH",
    9008: "the parameter is read-only; `homeport device names` shows which are writable",
    9009: "the device always reports this parameter, or never; its notification cannot be changed",
    9010: "the device could not fetch the file; check that the URL can be reached from the device's network",
    9011: "the device could not send the file; check the upload URL and its credentials",
    9012: "the file server refused user name or password",
    9013: "the device does not support the protocol of this URL; try http",
    9015: "the device cannot reach the file server; check address, port and firewall from the device's side",
    9016: "the file is not there or not readable for the device; check the URL's path",
    9017: "the transfer broke off; try again",
    9018: "the device says the file is damaged or not for it; check file type, model and version",
    9019: "the file's signature is not accepted by the device",
    9020: "the device found no time in the windows; give later or longer ones",
    9021: "the transfer is past the point where it can be cancelled; wait for its end",
}


def meaning(code: int) -> str:
    """The short text of a code: "Invalid parameter name"; vendor ranges are named as such."""
    try:
        return FaultCode(code).text
    except ValueError:
        if 9800 <= code <= 9899 or 8800 <= code <= 8899:
            return "Vendor-specific fault"
        return "Unknown fault code"


def cure(code: int) -> str:
    """What to try after this code; "" where there is nothing better than its text."""
    return _TRY.get(code, "")


def fault_lines(fault: Mapping[str, Any]) -> list[str]:
    """A task's fault as lines: the outer fault, then each refused parameter with code, meaning, the device's words, what to try.

    fault: `{code, string, parameters: [{name, code, string}]}`; a code that is 0 or no number is a reason of the ACS itself.
    """
    parameters = fault.get("parameters") or []
    lines = [_sentence(fault.get("code"), str(fault.get("string") or ""))]
    if parameters:
        for parameter in parameters:
            lines.append(
                f"  {parameter['name']}: {_sentence(parameter.get('code'), str(parameter.get('string') or ''))}"
            )
            advice = _advice(parameter.get("code"))
            if advice:
                lines.append(f"    try: {advice}")
        return lines
    advice = _advice(fault.get("code"))
    if advice:
        lines.append(f"  try: {advice}")
    return lines


def fault_line(fault: Mapping[str, Any]) -> str:
    """A task's fault on one line: the refused parameters where it names some, at most three of them, else the fault itself."""
    parameters = list(fault.get("parameters") or [])
    if not parameters:
        return fault_lines(fault)[0]
    said = [f"{p['name']}: {_sentence(p.get('code'), str(p.get('string') or ''))}" for p in parameters[:3]]
    more = len(parameters) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more else "")


def of_the_device(fault: Mapping[str, Any]) -> bool:
    """Whether the device has answered so; else it is what the ACS itself found out."""
    return _number(fault.get("code")) is not None


def _number(code: Any) -> int | None:
    """The code that a device has answered; None where none has."""
    text = str(code)
    return int(text) or None if text.isdigit() else None


def _advice(code: Any) -> str:
    number = _number(code)
    return cure(number) if number is not None else ""


def _sentence(code: Any, words: str) -> str:
    words = _CONTROLS.sub(" ", words).strip()
    number = _number(code)
    if number is None:
        return words or str(code)
    text = meaning(number)
    said = f', the device says "{words}"' if words and words.lower() != text.lower() else ""
    return f"{number} {text}{said}"
