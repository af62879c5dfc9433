"""The lists of paths that the deltas of devices share in SQLite: most devices of a model tell the same.

A delta is what a device told since its values were last written whole. Where its paths come more than once they get a number, and the
row holds the values alone.
"""

import sqlite3
from typing import Final

import structlog

from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.sql.reads import SqliteReads
from homeport.acs.storage.sql.writer import Mode, Statement, Writer
from homeport.acs.storage.values import (
    DAMAGED,
    NO_PATHS,
    Column,
    Paths,
    column_of,
    pack_delta,
    unpack_delta,
    unpack_paths,
)

MOST_FORMS: Final = 1_000
"""Lists of paths that deltas share: a model has one or a few. About 1 KB each, for ever."""

_log = structlog.get_logger("homeport.acs.storage")


class DeltaForms(SqliteReads):
    """Deltas as columns of a row, and back."""

    def __init__(self) -> None:
        self._forms: dict[int, Paths] = {}
        self._form_ids: dict[bytes, int] = {}  # by the hash of their paths
        self._form_seen: dict[bytes, int] = {}  # how often others were written
        self._writer: Writer | None = None

    def _packed(self, delta: Column) -> tuple[bytes, int | None]:
        """The columns `delta` and `delta_form`."""
        form = self._form_ids.get(delta.paths.hash)
        if form is None:
            self._learn_form(delta.paths)
            return pack_delta(delta.unpacked()), None
        return delta.packed(), form

    def _unpacked(self, blob: bytes | None, form: int | None, connection: sqlite3.Connection) -> Column:
        """The delta of these columns. One that is damaged is empty: the device tells it again."""
        if not blob:
            return Column(NO_PATHS, None)
        try:
            if form is None:
                return column_of(unpack_delta(blob))
            paths = self._forms.get(form)
            if paths is None:
                (found,) = connection.execute(QUERIES["delta_form"], (form,)).fetchone() or (b"\x90",)
                paths = self._forms[form] = Paths(unpack_paths(found), found)
                self._form_ids[paths.hash] = form
            return column_of_form(paths, blob)
        except DAMAGED as e:
            _log.error("what a device told lately cannot be read; run homeport acs db check", reason=str(e))
            return Column(NO_PATHS, None)

    def _learn_form(self, paths: Paths) -> None:
        """Give the paths of a delta a number, where they come more than once: most devices of a model tell the same."""
        seen = self._form_seen.get(paths.hash, 0)
        if len(self._form_seen) >= MOST_FORMS:
            self._form_seen.clear()
        self._form_seen[paths.hash] = seen + 1
        if seen == 0:
            self._find_form(paths)  # it may be there from another day
        elif seen == 1 and self._writer is not None:  # there is none any more at the end
            statement = Statement(Mode.ONE, QUERIES["insert_delta_form"], (paths.hash, paths.blob, MOST_FORMS))
            self._writer.submit([statement], lambda error: self._find_form(paths) if error is None else None)

    def _find_form(self, paths: Paths) -> None:
        row = self._one("delta_form_id", paths.hash)
        if row is not None:
            self._forms[row[0]] = paths
            self._form_ids[paths.hash] = row[0]


def column_of_form(paths: Paths, blob: bytes | None) -> Column:
    """The delta of this form. Raises ValueError where it has another length."""
    column = Column(paths, blob)
    if len(column) != len(paths.names):
        raise ValueError("a delta does not fit its list of paths")
    return column
