"""One open session of a device, as the services see it: a plain holder, without verbs of its own."""

from collections.abc import Callable
from typing import Any

from homeport.acs.engine.args import Call
from homeport.acs.engine.recipes import Run
from homeport.acs.records import TaskRecord, TaskStatus, Want
from homeport.codec import messages as m


class Work:
    """One open session, as the services see it.

    manage: whether the device may get tasks (it is approved). weighty: whether the session is worth a row in the history.
    cookie, patience, record: of the protocol's session: its name, seconds that the device may be silent, how it stands as plain values.
    place: the address of a device that sends no cookie. over: the session has ended, perhaps while an answer is still worked on.
    """

    __slots__ = (
        "address",
        "clean",
        "cookie",
        "device",
        "events",
        "id",
        "leased",
        "manage",
        "mending",
        "over",
        "patience",
        "place",
        "record",
        "request",
        "run",
        "secret",
        "started",
        "stored",
        "task",
        "told",
        "tried",
        "unechoed",
        "want",
        "weighty",
    )

    def __init__(self, id: str, device: str, started: float, address: str, events: tuple[str, ...]) -> None:
        self.id = id
        self.device = device
        self.started = started
        self.address = address
        self.events = events
        self.manage = False
        self.over = False
        self.weighty = False
        self.told = 0  # requests of a device that is not admitted
        self.cookie = ""
        self.place = ""
        self.patience = 60.0
        self.record: Callable[[], dict[str, Any]] = dict
        self.leased = False  # there is a row by which another process can go on
        self.run: Run | None = None
        self.task: TaskRecord | None = None
        self.stored = (
            TaskStatus.QUEUED
        )  # the task's status in the store; a task that only reads runs without a row that says so
        self.want: Want | None = None
        self.clean = False  # what the program was told so far surely holds no secret
        self.mending = False  # the program settles a lost answer; it is not the task's own
        self.request: Call | None = None
        self.secret = ""
        self.unechoed: m.Request | None = None  # the device's last request as it may be shown, without what it was told
        self.tried: set[str] = set()  # wants that this session has dealt with

    def clear(self, asking: dict[str, TaskRecord]) -> None:
        """No program is running any more. asking: tasks that only read, of all sessions of this process."""
        if self.task is not None:
            asking.pop(self.task.id, None)
        if self.run is not None:
            self.run.close()
        self.run = self.task = self.want = self.request = None
        self.mending = False
