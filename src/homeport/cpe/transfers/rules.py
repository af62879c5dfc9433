"""What the device chooses itself about its transfers, and what people see of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from homeport.cpe.transfers.repeats import Repeats


@dataclass(frozen=True, slots=True)
class TransferRules:
    """What is the device's own choice.

    parallel: transfers at once. retry_wait: seconds between attempts in a time window. look: seconds between looks whether the device
    is idle or its user has consented. restarts: how often a transfer that a restart interrupted is begun again.
    exact_size: whether a file of another size than FileSize is refused; the standard calls FileSize a hint.
    repeats: when a transfer without windows is begun again because its file server failed.
    """

    parallel: int = 1
    retry_wait: float = 30.0
    look: float = 5.0
    restarts: int = 3
    exact_size: bool = False
    repeats: Repeats = field(default_factory=Repeats)


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """One transfer for status pages and the command line. done, total: bytes. due_in: seconds, None where it is not waiting.

    question: what the person at the device is asked before it may begin, "" where nobody is. waits_for: `idle`, or "".
    autonomous: not asked for by the ACS.
    """

    number: int
    kind: str
    command_key: str
    file_type: str
    url: str
    state: str
    done: int
    total: int | None
    due_in: float | None
    fault_code: int
    fault_string: str
    question: str = ""
    waits_for: str = ""
    autonomous: bool = False


RowOwner = Callable[[int], Sequence[Path] | None]


class RowFiles:
    """Files behind rows of VendorLogFile and VendorConfigFile that other parts of the agent own, such as software modules.

    Each owner is asked with a row's number: None says that the row is not its own, () that it has no file now.
    """

    def __init__(self) -> None:
        self.logs: list[RowOwner] = []
        self.configurations: list[RowOwner] = []

    def log(self, row: int | None) -> Sequence[Path] | None:
        return _owned(self.logs, row)

    def configuration(self, row: int | None) -> Sequence[Path] | None:
        return _owned(self.configurations, row)


def _owned(owners: Sequence[RowOwner], row: int | None) -> Sequence[Path] | None:
    if row is None:
        return None
    return next((found for owner in owners if (found := owner(row)) is not None), None)
