"""An agent on a virtual clock in a process of its own, so that a test can end it with a real kill -9 at any instant.

The nursery forks it, so that a start costs milliseconds. It is told what to do in messages over its pipe, posts its bodies to the ACS of
the test through it, and says what time it is after every step of its clock.
"""

import asyncio
from pathlib import Path

from cpe_support.bench import Bench
from cpe_support.virtual_clock import VirtualClock
from homeport.terms import Writer
from homeport.transport.driver import HttpAnswer
from support.nursery import Pipe


class ToldClock(VirtualClock):
    """Says every new time, so that a clock that dies with its process goes on from there in the next."""

    def __init__(self, pipe: Pipe, time: float, asleep: float, wall: float) -> None:
        super().__init__(wall)
        self._time, self._asleep = time, asleep
        self._offset = wall - time
        self._pipe = pipe

    async def settle(self) -> None:
        self._pipe.send("time", self._time, self._asleep, self.now())
        await super().settle()


class Child:
    """One life of the agent."""

    def __init__(self, pipe: Pipe, directory: str, time: float, asleep: float, wall: float) -> None:
        self._pipe = pipe
        self._bench = Bench(Path(directory), clock=ToldClock(pipe, time, asleep, wall), acs=self._post)  # type: ignore[arg-type]

    def _post(self, body: bytes) -> HttpAnswer:
        self._pipe.send("post", body)
        (answer,) = self._pipe.receive()
        assert isinstance(answer, HttpAnswer)
        return answer

    async def live(self) -> None:
        bench = self._bench
        agent = await bench.start()
        value: object = None
        while True:
            self._pipe.send("done", value, bench.ended, bench.most_open_channels)
            word, *args = self._pipe.receive()
            value = None
            if word == "advance":
                await bench.clock.advance(args[0])
            elif word == "standby":
                bench.clock.standby(args[0])
            elif word == "trigger":
                agent.trigger(*args)
            elif word == "owe":
                agent.ledger.owe_request(*args)
                agent.contact()
            elif word == "set_local":
                agent.model.set_local(args[0], args[1], Writer.LOCAL)
            elif word == "value":
                value = agent.model.value(args[0])
            elif word == "owes_requests":
                value = agent.ledger.owes_requests
            elif word == "ring":
                agent.connection_requested()
            elif word == "end":
                await bench.stop()
                return


def live(directory: str, time: float, asleep: float, wall: float, pipe: Pipe) -> None:
    """Be an agent in a directory, from these times on (seconds; `wall` since 1970), until the other end of the pipe says "end"."""
    asyncio.run(Child(pipe, directory, time, asleep, wall).live())
