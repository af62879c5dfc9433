"""Which transfers that the ACS did not ask for are reported to it: ManagementServer.AutonomousTransferCompletePolicy.

Source: TR-181 2.19 ManagementServer.AutonomousTransferCompletePolicy; TR-069a6 A.3.3.3.
"""

from dataclasses import dataclass

from homeport.errors import Fault
from homeport.model.tree import DataModel
from homeport.model.values import split_list


@dataclass(frozen=True, slots=True)
class AutonomousPolicy:
    """transfer, result: `Both`, or the one kind that is reported. file_types: empty means that none is."""

    enable: bool = False
    transfer: str = "Both"
    result: str = "Both"
    file_types: frozenset[str] = frozenset()

    def reports(self, *, is_download: bool, success: bool, file_type: str) -> bool:
        """Whether such a transfer is reported. file_type: in the numbering of transfer lists."""
        return (
            self.enable
            and self.transfer in ("Both", "Download" if is_download else "Upload")
            and self.result in ("Both", "Success" if success else "Failure")
            and _without_row(file_type) in self.file_types
        )


def policy_of(model: DataModel) -> AutonomousPolicy:
    """What the data model says now; a device without the object reports nothing."""
    prefix = f"{model.root}ManagementServer.AutonomousTransferCompletePolicy."

    def text(name: str, default: str) -> str:
        try:
            return model.value(prefix + name)
        except Fault:
            return default  # the profile does not have this parameter

    types = frozenset(t for t in split_list(text("FileTypeFilter", "")) if t)
    return AutonomousPolicy(
        enable=text("Enable", "false") in ("1", "true"),
        transfer=text("TransferTypeFilter", "Both") or "Both",
        result=text("ResultTypeFilter", "Both") or "Both",
        file_types=types,
    )


def _without_row(file_type: str) -> str:
    """`6 Vendor Configuration File 2` is filtered as `3 Vendor Configuration File`, 7 as 4: the filter knows no rows."""
    words = file_type.split(" ")
    if words[0] in ("6", "7") and words[-1].isdigit():
        return " ".join(["3" if words[0] == "6" else "4", *words[1:-1]])
    return file_type
