"""Parts of the tests that kill one of the two real programs at a message and look at what is left."""

import threading
from collections import Counter

from support.ends import Acs, Program, wait_for
from support.tap import CPE, Passed

INTERVAL = "Device.ManagementServer.PeriodicInformInterval"


def known(acs: Acs, serial: str) -> str:
    """The id of the device with this serial number, once the ACS knows it."""

    def find() -> str | None:
        items = acs.rest("GET", "devices?limit=500")["items"]
        return next((d["id"] for d in items if d["serial_number"] == serial), None)

    return str(wait_for(find, f"the first Inform of {serial}"))


def set_interval(acs: Acs, device: str, seconds: int) -> str:
    """A queued SetParameterValues."""
    return acs.task(device, "SetParameterValues", {"parameter_list": [{"name": INTERVAL, "value": str(seconds)}]})


def finished(acs: Acs, tasks: list[str]) -> list[str]:
    """The statuses of the tasks once none of them is on its way."""
    for task in tasks:
        acs.rest("GET", f"tasks/{task}?wait=30")  # answered when it has ended, which spares both sides the polling
    wait_for(
        lambda: all(acs.task_status(t) in {"done", "failed", "expired", "cancelled"} for t in tasks),
        "the end of the tasks",
        60,
    )
    return [acs.task_status(t) for t in tasks]


def script(acs: Acs, device: str, number: int) -> list[str]:
    """The tasks of one kill round: a write and a reboot."""
    return [
        set_interval(acs, device, 600 + number),
        acs.task(device, "Reboot", {"command_key": f"kill-{number}"}, connection_request=True),
    ]


class Killer:
    """Kills the agent when the first message with these bytes is about to pass; what the agent itself sent still arrives."""

    def __init__(self, agent: Program, sender: str, words: bytes) -> None:
        self.agent, self.sender, self.words = agent, sender, words
        self.done = False

    def __call__(self, number: int, message: Passed) -> bool:
        if self.done or message.sender != self.sender or self.words not in message.body:
            return True
        self.done = True
        self.agent.kill()
        return message.sender == CPE


class KillAt:
    """Kills a program when the message with a given number is about to pass, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.number = -1
        self.victim: Program | None = None
        self.victim_is = CPE
        self.done: Passed | None = None

    def arm(self, number: int, victim: Program, victim_is: str) -> None:
        """From now on: kill `victim` at message `number` or the first one after it."""
        self.done, self.victim, self.victim_is, self.number = None, victim, victim_is, number

    def __call__(self, at: int, message: Passed) -> bool:
        """What the victim sent still arrives; what it should get is lost with it."""
        with self._lock:
            if self.number < 0 or at < self.number or self.victim is None:
                return True
            self.number = -1
            self.victim.kill()
            self.done = message
        return message.sender == self.victim_is

    def disarm(self) -> Passed | None:
        """The message at which it killed, or None; from now on it will not."""
        with self._lock:
            self.number = -1
            return self.done


def counts_of(acs: Acs, device: str) -> Counter[str]:
    """How often the ACS has stored each event of the device."""
    return Counter(item["code"] for item in acs.rest("GET", f"devices/{device}/events?limit=500")["items"])


def event_counts(acs: Acs, device: str, reboots: int) -> Counter[str]:
    """The counts once as many M Reboot have come as there were Reboots accepted."""
    wait_for(lambda: counts_of(acs, device)["M Reboot"] >= reboots, f"the report of {reboots} reboots")
    return counts_of(acs, device)
