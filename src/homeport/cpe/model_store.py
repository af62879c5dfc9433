"""The data model's place on disk: a snapshot and the commits since, and what a commit makes the agent owe, in one transaction.

A commit of 200 bytes costs 200 bytes on flash, not the whole state; between sessions many commits are folded into a new snapshot.
"""

from typing import Any, Final

import msgspec

from homeport.cpe.ledger import Ledger
from homeport.cpe.startup import ACS, LOCAL, keep_url_source
from homeport.cpe.state import MODEL, Store
from homeport.errors import Fault, StoreError
from homeport.model.changes import CommitRecord
from homeport.model.tree import DataModel
from homeport.terms import EventCode, FaultCode, Writer

FOLD_AFTER: Final = 200
"""Commits after which a new snapshot is written: a start replays at most about so many, in a few milliseconds."""

MOST_STATE: Final = 8 * 1024 * 1024
"""Bytes of state beyond which nobody but the device itself can add: a device of 5,000 parameters keeps 0.5 MB, and memory grows with it.
Deleting rows always works, and what must be remembered of events and commands finds its place beyond this."""

_SNAPSHOT: Final = "snapshot"
_RECORD: Final = "record/"


class ModelStore:
    """Gives `persist` to a DataModel, and brings the model back at the next start."""

    def __init__(self, store: Store, ledger: Ledger, url_path: str) -> None:
        """url_path: the parameter that holds the ACS URL; who set it last is kept with it."""
        self._store = store
        self._ledger = ledger
        self._url_path = url_path
        self._records = 0
        self.model: DataModel | None = None

    def restore(self, model: DataModel) -> list[str]:
        """Bring a fresh model to its last committed state; sentences about what no longer fits (another profile or firmware).

        Raises StoreError where the stored state cannot be read at all.
        """
        facts = self._store.items(MODEL)
        left_out: list[str] = []
        try:
            for key, value in facts:
                if key == _SNAPSHOT:
                    left_out += model.load_state(value)
            for key, value in facts:
                if key.startswith(_RECORD):
                    left_out += model.replay(value)
                    self._records += 1
        except (TypeError, ValueError, KeyError) as e:
            raise StoreError(
                f"the stored data model in {self._store.directory} cannot be read ({e!r}); move state.db away to start anew"
            ) from e
        self.model = model
        return left_out

    def persist(self, record: CommitRecord) -> None:
        """Put a commit on disk, with the VALUE CHANGE that it causes. Raises StoreError; then nothing is changed or owed.

        Called by the model before the commit takes effect.
        """
        reportable = any(op[0] == "pending" and op[2] is not None for op in record.ops)
        if not record.durable and not any(op[0] in ("pending", "baseline") for op in record.ops):
            return  # the device computes or writes these values again after every start: flash is spared
        if record.writer != Writer.SYSTEM and not any(op[0] == "delete" for op in record.ops):
            self._keep_limit()
        with self._ledger.promise() as transaction:
            transaction.put(MODEL, f"{_RECORD}{record.number:012d}", msgspec.to_builtins(record))
            if any(op[0] == "set" and op[1] == self._url_path for op in record.ops) and record.writer != Writer.SYSTEM:
                keep_url_source(transaction, ACS if record.writer == Writer.ACS else LOCAL)
            if reportable:
                self._ledger.queue.add(EventCode.VALUE_CHANGE)
        self._records += 1

    def _keep_limit(self) -> None:
        """Raises Fault 9004 where the state is as large as it may become."""
        if self._store.size <= MOST_STATE:
            return
        self.fold(force=True)  # overwritten values are in the commits, not in a snapshot
        if self._store.size > MOST_STATE:
            raise Fault(FaultCode.RESOURCES_EXCEEDED, "the device can keep no more; delete rows first")

    def fold(self, *, force: bool = False) -> None:
        """Replace the commits by a snapshot where there are many; a disk that has no room for it now is asked again later."""
        if self.model is None or (self._records < FOLD_AFTER and not force) or not self._records:
            return
        state: dict[str, Any] = self.model.dump_state()
        try:
            with self._store.transaction() as transaction:
                transaction.replace(MODEL, [(_SNAPSHOT, state)])
        except StoreError:
            return  # the commits are still there; nothing is lost by keeping them
        self._records = 0
