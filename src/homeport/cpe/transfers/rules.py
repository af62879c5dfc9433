"""What the device chooses itself about its transfers, and what people see of one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransferRules:
    """What is the device's own choice.

    parallel: transfers at once. retry_wait: seconds between attempts in a time window. look: seconds between looks whether the device
    is idle or its user has consented. restarts: how often a transfer that a restart interrupted is begun again.
    exact_size: whether a file of another size than FileSize is refused; the standard calls FileSize a hint.
    """

    parallel: int = 1
    retry_wait: float = 30.0
    look: float = 5.0
    restarts: int = 3
    exact_size: bool = False


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """One transfer for status pages and the command line. done, total: bytes. due_in: seconds, None where it is not waiting."""

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
