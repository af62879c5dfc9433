"""What an execution unit prints: two files of bounded size, and the last line in memory."""

from pathlib import Path

LONGEST_LINE = 200
"""Characters of the last line that a fault message can carry."""


class UnitLog:
    """The log of one unit: `file` and its predecessor, each at most half of `most` bytes."""

    def __init__(self, file: Path, most: int) -> None:
        self._file = file
        self._half = max(1, most // 2)
        self._tail = b""
        self._size = -1

    @property
    def files(self) -> tuple[Path, ...]:
        """Oldest first."""
        return self._file.with_name(self._file.name + ".1"), self._file

    @property
    def last_line(self) -> str:
        """The last line that is not empty, printable."""
        lines = [line for line in self._tail.decode("utf-8", "replace").splitlines() if line.strip()]
        text = lines[-1].strip() if lines else ""
        return "".join(c if c.isprintable() else "?" for c in text)[:LONGEST_LINE]

    def write(self, block: bytes) -> None:
        """Take what the unit printed; a full disk loses lines, not the unit."""
        self._tail = (self._tail + block)[-1024:]
        try:
            self._write(block)
        except OSError:
            self._size = -1

    def _write(self, block: bytes) -> None:
        if self._size < 0:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._size = self._file.stat().st_size if self._file.exists() else 0
        if self._size + len(block) > self._half and self._size:
            self._file.replace(self.files[0])
            self._size = 0
        with self._file.open("ab") as out:
            out.write(block[-self._half :])
        self._size += min(len(block), self._half)
