"""One committed state of a device: the tree, the attributes, and what the ACS is still to be told."""

from homeport.model.changes import Attributes
from homeport.model.nodes import Node


class State:
    """One committed state of a device. Never changed; a commit makes another."""

    __slots__ = ("root", "attributes", "pending", "baseline", "number")

    def __init__(
        self,
        root: Node,
        attributes: dict[str, Attributes],
        pending: dict[str, str],
        baseline: dict[str, str],
        number: int,
    ) -> None:
        self.root = root
        self.attributes = attributes
        self.pending = pending
        """Old text of every parameter that has something to report."""
        self.baseline = baseline
        """Last seen text of reported parameters that nobody writes: computed ones and those that firmware fixes."""
        self.number = number
