"""How far a transfer or a reading is: a bar on a terminal, nothing elsewhere."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from homeport.cli import output


def byte_bar(what: str, size: int) -> AbstractContextManager[Any]:
    """A bar on a terminal, which is told by a call how many bytes went; nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext(None)
    return _Bar(what, size)


class _Bar(AbstractContextManager[Any]):
    def __init__(self, what: str, size: int) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), console=output.console(stderr=True), transient=True)
        self._task = self._bar.add_task(what, total=size)

    def __enter__(self) -> Any:
        self._bar.start()
        return lambda count: self._bar.advance(self._task, count)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
