"""The file server's end of a connection whose device goes away."""

import asyncio
import socket
import struct

import uvloop

from homeport.acs.files.wire import Gone, Wire


def test_a_device_that_is_killed_while_it_is_served_is_gone_and_no_defect() -> None:
    """uvloop raises RuntimeError where asyncio is silent: a write after the cut is told like any other end."""
    served: list[type[Exception]] = []

    async def scene() -> None:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = Wire(reader, writer, read_timeout=5, stall=5)
            await reader.read(1)
            async with asyncio.timeout(5):
                while not writer.transport.is_closing():
                    await asyncio.sleep(0)  # until the loop has heard of the cut
            for say in (lambda: wire.send(b"a piece"), lambda: wire.refuse(404, "it is not here")):
                try:
                    await say()
                except Exception as e:
                    served.append(type(e))
            await wire.close(at_once=True)
            over.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as device:
            device.sendall(b"G")
            device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
        async with asyncio.timeout(5):
            await over.wait()
        server.close()

    uvloop.run(scene())
    assert served == [Gone, Gone]
