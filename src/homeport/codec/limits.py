"""How much of a peer's message is read before it is refused: one setting each, with its reason."""

from dataclasses import dataclass, fields
from typing import Final

from homeport.settings import setting


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """Limits on one SOAP envelope; each is checked before work or memory that grows with it is spent."""

    max_body: int = setting(
        1024 * 1024,
        "Largest body that is parsed: a whole data model of 5,000 parameters is 0.8 MB; every peer must take 32 KiB.",
        unit="bytes",
    )
    max_depth: int = setting(
        32,
        "Deepest nesting of elements: CWMP's own messages need 8, gSOAP's wrappers two more.",
        unit="levels",
    )
    max_attributes: int = setting(
        64,
        "Most attributes on one element: an Envelope with every namespace of an old stack has 12.",
        unit="attributes",
    )
    max_elements: int = setting(
        100_000,
        "Most start tags, comments and the like in one body: 5,000 parameters need 15,000; each costs some 200 bytes of memory.",
        unit="elements",
    )
    max_list: int = setting(
        50_000,
        "Most entries in one list (parameters, names): twice the largest data model seen in the field.",
        unit="entries",
    )
    max_text: int = setting(
        128 * 1024,
        "Longest text of one element: the longest standard value, DeviceInfo.DeviceLog, is 32 KiB.",
        unit="characters",
    )
    max_header: int = setting(
        32,
        "Most elements in a SOAP header: CWMP defines six.",
        unit="elements",
    )
    max_header_text: int = setting(
        1024,
        "Longest text of a header element: an ID is echoed and logged, so it must not be a store for the peer.",
        unit="characters",
    )

    def __post_init__(self) -> None:
        """Refuses a limit that would refuse everything."""
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1")


DEFAULT_LIMITS: Final = CodecLimits()
