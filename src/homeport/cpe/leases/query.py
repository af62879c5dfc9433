"""The agent's own question for the ACS: what the DHCP servers of its networks say, as leases. Needs no DHCP client and no hook.

Source: TR-069a6 3.1 (vendor class, parameter request list); transport/dhcp.py carries it.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from homeport.cpe.leases.lease import QUERY, Lease, lease_of
from homeport.cpe.vendor_options import CLASS_60, encode_option16, encode_option124
from homeport.errors import ConfigError, TransportError
from homeport.transport.dhcp import WAITS, Interface, ask_options, ask_options6, interfaces
from homeport.transport.dhcp_packets import Reply

BESIDE: Final = (66, 67, 150)
"""What is asked for beside the ACS: where the TFTP server is, for `homeport cpe enable FILE`."""

REFRESH: Final = 32
"""DHCPv6's Information Refresh Time (RFC 8415 21.23): seconds until the question should be asked again."""

_FORUM: Final = (3561).to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask, and where. names: interfaces, () for all. options: of 43 and 125, those to ask for. vendor_class: text of option 60."""

    ipv4: bool = True
    ipv6: bool = True
    names: Collection[str] = ()
    options: Collection[int] = (43, 125)
    vendor_class: bytes = CLASS_60
    waits: Collection[float] = WAITS


@dataclass(slots=True)
class Answers:
    """What came. problems: sentences, one per interface that could not ask. asked: how many questions went out.

    refresh: seconds after which a server wants to be asked again, None where none says.
    """

    leases: list[Lease] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    asked: int = 0
    refresh: int | None = None


async def ask(question: Question) -> Answers:
    """What the DHCP servers say on all interfaces at once; at most the sum of the waits long."""
    answers = Answers()
    places = interfaces(question.names)
    jobs = []
    for place in places:
        if question.ipv4 and place.ipv4:
            jobs.append(_ask4(place, question, answers))
        if question.ipv6 and place.link_local:
            jobs.append(_ask6(place, question, answers))
    if not jobs:
        wanted = ", ".join(question.names) or "any interface"
        answers.problems.append(f"nobody can be asked by DHCP: {wanted} has no address yet")
    await asyncio.gather(*jobs)
    answers.leases.sort(key=lambda lease: lease.key)
    return answers


async def _ask4(place: Interface, question: Question, answers: Answers) -> None:
    wanted = tuple(question.options)
    answers.asked += 1
    try:
        reply = await ask_options(
            place,
            requested=(*wanted, *BESIDE),
            vendor_class=question.vendor_class,
            others={124: encode_option124()},
            enough=lambda reply: any(code in reply.options for code in wanted),
            waits=question.waits,
        )
    except TransportError as e:
        answers.problems.append(str(e))
        return
    if reply is not None:
        _take(answers, place, 4, _with_next_server(reply), wanted)


async def _ask6(place: Interface, question: Question, answers: Answers) -> None:
    answers.asked += 1
    try:
        reply = await ask_options6(
            place,
            requested=(17, REFRESH),
            vendor_class=encode_option16(),
            enough=lambda reply: 17 in reply.options,
            waits=question.waits,
        )
    except TransportError as e:
        answers.problems.append(str(e))
        return
    if reply is not None:
        mine = [content for content in reply.several.get(17, []) if content[:4] == _FORUM]
        _take(answers, place, 6, {17: mine[0]} if mine else {}, ())
        seconds = int.from_bytes(reply.options.get(REFRESH, b""), "big")
        if seconds:
            answers.refresh = min(seconds, answers.refresh or seconds)


def _take(answers: Answers, place: Interface, family: int, options: dict[int, bytes], asked: tuple[int, ...]) -> None:
    try:
        answers.leases.append(lease_of(place.name, family, options, asked=asked, origin=QUERY))
    except ConfigError as e:
        answers.problems.append(f"the DHCP answer on {place.name} cannot be used: {e}")


def _with_next_server(reply: Reply) -> dict[int, bytes]:
    """The options; where none names a TFTP server, the header's next-server does."""
    options = dict(reply.options)
    if reply.next_server and not options.get(66) and not options.get(150):
        options[66] = reply.next_server.encode("ascii")
    return options
