"""The rows of a task's long result, kept in packed pieces until somebody wants them.

200,000 rows are a tenth of a second of unpacking and 100 MB: who only wants to know how the task stands pays nothing of it, and
who shows them does so piece by piece.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, overload

Row = dict[str, Any]

PIECE: Final = 65_536
"""Bytes of one piece before it is compressed, unless a single row is longer: enough for it to be compressed well."""


class PackedRows(Sequence[Row]):
    """The rows as JSON has them. pieces: packed; count: rows in all of them; unpack: of one piece."""

    __slots__ = ("_count", "_unpack", "pieces")

    def __init__(self, pieces: Sequence[bytes], count: int, unpack: Callable[[bytes], list[Row]]) -> None:
        self.pieces = pieces
        self._count = count
        self._unpack = unpack

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        for piece in self.in_pieces():
            yield from piece

    def in_pieces(self) -> Iterator[list[Row]]:
        """All rows, some at a time. Raises StoreError where a piece is damaged."""
        return map(self._unpack, self.pieces)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        return list(self)[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
