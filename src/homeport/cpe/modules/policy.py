"""Which changes of deployment units that the ACS did not ask for are reported to it: ManagementServer.DUStateChangeComplPolicy.

Source: TR-181 2.19 ManagementServer.DUStateChangeComplPolicy; TR-069a6 A.3.3.5.
"""

from dataclasses import dataclass

from homeport.errors import Fault
from homeport.model.tree import DataModel
from homeport.model.values import split_list


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """operations, fault_codes: what is reported; empty means none. result: Success, Failure or Both."""

    enable: bool = False
    operations: frozenset[str] = frozenset()
    result: str = "Both"
    fault_codes: frozenset[int] = frozenset()

    def reports(self, operation: str, fault_code: int) -> bool:
        """Whether such a change is reported. fault_code: 0 for a success, for which the codes do not matter."""
        if not self.enable or operation not in self.operations:
            return False
        if fault_code == 0:
            return self.result in ("Both", "Success")
        return self.result in ("Both", "Failure") and fault_code in self.fault_codes


def policy_of(model: DataModel) -> ChangePolicy:
    """What the data model says now; a device without the object reports nothing."""
    prefix = f"{model.root}ManagementServer.DUStateChangeComplPolicy."

    def text(name: str) -> str:
        try:
            return model.value(prefix + name)
        except Fault:
            return ""  # the profile does not have this parameter

    return ChangePolicy(
        enable=text("Enable") in ("1", "true"),
        operations=frozenset(split_list(text("OperationTypeFilter"))),
        result=text("ResultTypeFilter") or "Both",
        fault_codes=frozenset(int(c) for c in split_list(text("FaultCodeFilter")) if c.isdigit()),
    )
