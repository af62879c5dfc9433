"""What the processes on one database tell each other for people: events of the stream, connection requests and how they went."""

import base64
from typing import Any, Final

import msgspec

from homeport.acs.records import ConnectionRequestDetail
from homeport.acs.services.hub import Hub, keep_detail
from homeport.acs.services.udp_calls import UdpCalls
from homeport.acs.storage.interface import LONGEST_WORD
from homeport.transport.addresses import Address

ANNOUNCE_EVERY: Final = 5.0
"""Seconds between two signs that somebody reads the event stream here; others stop telling us two and a half times later."""

HEARD_FOR: Final = 2.5 * ANNOUNCE_EVERY
_ROOM: Final = LONGEST_WORD - 100


class Relay:
    """Joins this process's hub with those of the others. udp: the way of UDP connection requests, where there is one."""

    def __init__(self, hub: Hub, udp: UdpCalls | None) -> None:
        assert hub.peers is not None
        self._bus = hub.bus
        self._peers = hub.peers
        self._details = hub.connection_request_details
        self._udp = udp
        hub.peers.on("event", lambda word: self._bus.deliver(word["e"]))
        hub.peers.on("listening", lambda _: self._bus.heard_elsewhere(HEARD_FOR))
        hub.peers.on("detail", self._detail)
        hub.peers.on("who", lambda _: self._answer())
        hub.peers.on_gap(self._bus.missed)
        hub.peers.on_gap(self._ask)
        hub.bus.far = self._tell
        hub.bus.first = self._announce
        hub.noted = self._note
        if udp is not None:
            udp.carry = self._carry
            hub.peers.on("udp", self._carried)
        self._ask()

    def _ask(self) -> None:
        """Who reads the event stream? A process that has just started must not keep its events to itself until it is told."""
        self._peers.say("who")

    def _answer(self) -> None:
        if self._bus.local:
            self._announce()

    async def announce(self) -> None:
        """Say that somebody reads the event stream here; called every `ANNOUNCE_EVERY` seconds."""
        self._peers.own_up()
        self._answer()

    def _announce(self) -> None:
        self._peers.say("listening")

    def _tell(self, event: dict[str, Any]) -> None:
        if len(msgspec.json.encode(event)) > _ROOM:
            event = {k: v for k, v in event.items() if k != "paths"}  # the one field that may be long
        self._peers.say("event", e=event)

    def _note(self, task: str, detail: ConnectionRequestDetail) -> None:
        self._peers.say("detail", task=task, d=msgspec.to_builtins(detail))

    def _detail(self, word: dict[str, Any]) -> None:
        keep_detail(self._details, str(word["task"]), msgspec.convert(word["d"], ConnectionRequestDetail))

    def _carry(self, datagram: bytes, to: Address) -> None:
        """A device behind NAT hears only the address that it sends its STUN packets to, and that may be another process's."""
        self._peers.say("udp", data=base64.b64encode(datagram).decode(), host=to.host, port=to.port)

    def _carried(self, word: dict[str, Any]) -> None:
        assert self._udp is not None
        self._udp.send(base64.b64decode(word["data"]), Address(word["host"], word["port"]))
