"""Messages as plain values and back, for session records: `{"_": class name, field: value, ...}`, tuples as lists.

Not the wire form: a record must also hold what a peer sent and the writer would refuse to send.
"""

from types import ModuleType
from typing import Any

from msgspec import Struct, structs


def freeze(value: Any) -> Any:
    """value, a Struct, tuple or plain value, as dicts, lists and plain values."""
    if isinstance(value, Struct):
        frozen: dict[str, Any] = {"_": type(value).__name__}
        for name, item in structs.asdict(value).items():
            frozen[name] = freeze(item)
        return frozen
    if isinstance(value, tuple):
        return [freeze(item) for item in value]
    return value


def thaw(value: Any, classes: ModuleType) -> Any:
    """What `freeze` was given. classes: the module whose Struct classes may come back, no others.

    Raises KeyError for a class that is not there, TypeError for fields that it does not have.
    """
    if isinstance(value, dict):
        fields = {name: thaw(item, classes) for name, item in value.items() if name != "_"}
        found = vars(classes)[value["_"]]
        if not (isinstance(found, type) and issubclass(found, Struct)):
            raise KeyError(value["_"])
        return found(**fields)
    if isinstance(value, list):
        return tuple(thaw(item, classes) for item in value)
    return value
