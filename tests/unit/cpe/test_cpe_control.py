"""The control socket: for the agent's own user, one JSON object per line."""

import asyncio
import grp
import os
import stat
from pathlib import Path

import pytest

from homeport.cpe.control import SOCKET, ControlClient, ControlServer
from homeport.errors import ConfigError, Fault, HomeportError, ParameterFault, TransportError
from homeport.terms import FaultCode


async def echo(args):
    return {name: value for name, value in args.items() if name != "who"}


async def refuse(args):
    raise Fault(
        FaultCode.INVALID_ARGUMENTS,
        parameters=(ParameterFault(name="Device.X", code=FaultCode.INVALID_PARAMETER_NAME, text="no such parameter"),),
    )


async def broken(args):
    raise ZeroDivisionError


def with_server(directory: Path, deed):
    """deed(client), run in a thread beside a served socket."""

    async def scene():
        server = ControlServer(directory, {"echo": echo, "refuse": refuse, "break": broken})
        await server.start()
        try:
            return await asyncio.to_thread(deed, ControlClient(directory))
        finally:
            await server.stop()

    return asyncio.run(scene())


def test_a_verb_gets_its_arguments_and_answers(tmp_path):
    """The round trip that the command line makes."""
    assert with_server(tmp_path, lambda c: c.call("echo", paths=["Device."])) == {"paths": ["Device."]}


def test_a_refusal_is_a_sentence_with_its_parameters(tmp_path):
    """A fault of the data model is told as it would be on the wire."""
    with pytest.raises(HomeportError, match=r"9003.*Device\.X: 9005 no such parameter"):
        with_server(tmp_path, lambda c: c.call("refuse"))


def test_a_defect_is_answered_and_the_socket_goes_on(tmp_path):
    """Whoever asks hears something, and the next question is answered."""

    def deed(client):
        with pytest.raises(HomeportError, match="log"):
            client.call("break")
        return client.call("echo", paths=["a"])

    assert with_server(tmp_path, deed) == {"paths": ["a"]}


def test_an_unknown_verb_names_the_known_ones(tmp_path):
    """So that a person can go on."""
    with pytest.raises(HomeportError, match="break, echo, refuse"):
        with_server(tmp_path, lambda c: c.call("dance"))


def test_only_the_owner_can_open_the_socket(tmp_path):
    """Whoever can talk to it can read and set everything."""
    mode = with_server(tmp_path, lambda c: (tmp_path / SOCKET).stat().st_mode)
    assert stat.S_IMODE(mode) == 0o600


def test_the_socket_is_gone_after_the_agent_stopped_and_the_message_says_how_to_start(tmp_path):
    """A person who asks a stopped agent learns the command."""
    with_server(tmp_path, lambda c: None)
    with pytest.raises(TransportError, match="homeport cpe run"):
        ControlClient(tmp_path).call("status")


def test_a_stale_socket_of_a_killed_agent_is_taken_over(tmp_path):
    """kill -9 leaves the file behind."""
    (tmp_path / SOCKET).touch()
    assert with_server(tmp_path, lambda c: c.call("echo")) == {}


def test_a_deep_state_directory_does_not_matter(tmp_path):
    """A socket's address has 108 bytes; directories are longer."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    assert with_server(deep, lambda c: c.call("echo", n=1)) == {"n": 1}


def test_a_line_that_is_no_json_is_answered(tmp_path):
    """And the connection goes on."""

    async def scene():
        server = ControlServer(tmp_path, {"echo": echo})
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        writer.write(b'nonsense\n[1]\n{"verb": "echo"}\n')
        lines = [await reader.readline() for _ in range(3)]
        writer.close()
        await writer.wait_closed()
        await server.stop()
        return lines

    lines = asyncio.run(scene())
    assert b'"ok":false' in lines[0] and b'"ok":false' in lines[1] and b'"ok":true' in lines[2]


def test_who_asks_is_known_by_the_kernel_and_not_by_what_they_say(tmp_path):
    """The configuration log names the user; a request cannot forge it."""

    async def who(args):
        return args["who"]

    async def scene():
        server = ControlServer(tmp_path, {"who": who})
        await server.start()
        try:
            return await asyncio.to_thread(ControlClient(tmp_path).call, "who", who="the ACS")
        finally:
            await server.stop()

    assert asyncio.run(scene()).endswith(" on the command line")


def test_a_verb_that_goes_on_is_heard_until_the_listener_leaves(tmp_path):
    """Lines as they come; the agent learns that nobody listens any more."""
    left = []

    async def count(args):
        async def numbers():
            try:
                for n in range(1_000_000):
                    yield n
                    await asyncio.sleep(0)
            finally:
                left.append(True)

        return numbers()

    def listen():
        items = ControlClient(tmp_path).follow("count")
        found = [next(items) for _ in range(3)]
        items.close()
        return found

    async def scene():
        server = ControlServer(tmp_path, {"count": count})
        await server.start()
        try:
            assert await asyncio.to_thread(listen) == [0, 1, 2]
            async with asyncio.timeout(5):
                while not left:
                    await asyncio.sleep(0.001)
        finally:
            await server.stop()

    asyncio.run(scene())


def test_a_group_may_be_let_in(tmp_path):
    """Its members reach the socket and can list nothing beside it."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    group = grp.getgrgid(os.getgid()).gr_name

    async def scene():
        server = ControlServer(directory, {"echo": echo}, group=group)
        await server.start()
        modes = [stat.S_IMODE(p.stat().st_mode) for p in (directory / SOCKET, directory)]
        await server.stop()
        return modes

    assert asyncio.run(scene()) == [0o660, 0o710]
    with pytest.raises(ConfigError, match="addgroup"):
        asyncio.run(ControlServer(directory, {}, group="no-such-group").start())


def test_the_socket_may_be_elsewhere(tmp_path):
    """A service manager's run directory; a place that cannot be is a setting to correct."""
    path = tmp_path / "run" / "cpe.sock"
    path.parent.mkdir()

    async def scene():
        server = ControlServer(tmp_path, {"echo": echo}, path=path)
        await server.start()
        try:
            return await asyncio.to_thread(ControlClient(path).call, "echo", n=1)
        finally:
            await server.stop()

    assert asyncio.run(scene()) == {"n": 1}
    with pytest.raises(ConfigError, match="control_socket"):
        asyncio.run(ControlServer(tmp_path, {}, path=tmp_path / "none" / "s").start())
