"""An agent on a virtual clock in a process of its own, so that a test can end it with a real kill -9 at any instant.

Run as a program with the path of a Unix socket, it imports everything once and then forks one agent per connection: a start costs
milliseconds. The agent's end of a connection is told what to do in pickled messages (`Pipe`), posts its bodies to the ACS of the test
through it, and says what time it is after every step of its clock.
"""

import asyncio
import os
import pickle
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from cpe_support.bench import Bench
from cpe_support.virtual_clock import VirtualClock
from homeport.terms import Writer
from homeport.transport.driver import HttpAnswer


class Pipe:
    """Whole messages over a stream socket; what it sends and receives are tuples whose first item is a word."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def send(self, *message: object) -> None:
        content = pickle.dumps(message)
        self.socket.sendall(struct.pack("!I", len(content)) + content)

    def receive(self) -> tuple[Any, ...]:
        """The next message. Raises EOFError where the other end is gone, TimeoutError after the socket's time limit."""
        head = self._exactly(4)
        self.socket.settimeout(None)  # the rest is on its way
        return tuple(pickle.loads(self._exactly(struct.unpack("!I", head)[0])))

    def _exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            try:
                part = self.socket.recv(size - len(parts))
            except ConnectionResetError:
                part = b""
            if not part:
                raise EOFError("the other end is gone")
            parts += part
        return parts


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


def _be_an_agent(connection: socket.socket) -> None:
    pipe = Pipe(connection)
    pipe.send("pid", os.getpid())
    directory, time, asleep, wall = pipe.receive()
    asyncio.run(Child(pipe, directory, time, asleep, wall).live())


def main(path: str) -> None:
    """Fork an agent for each connection until the socket's other user ends this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for an agent
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                status = 1
                try:
                    _be_an_agent(connection)
                    status = 0
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
