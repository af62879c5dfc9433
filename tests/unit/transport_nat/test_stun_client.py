"""The device's STUN client behind a NAT, as transcripts on a virtual clock."""

import pytest

from homeport.errors import ConfigError
from homeport.transport.addresses import Address
from homeport.transport.stun_client import (
    LONGEST_PERIOD,
    BindingKnown,
    BindingRefused,
    LifetimeKnown,
    ServerSilent,
    StunSettings,
)
from homeport.transport.stun_exchange import Port
from homeport.transport.stun_lifetime import SearchState
from homeport.transport.stun_messages import MessageType, StunMessage, encode
from homeport.transport.stun_server import Reply

FIXED = StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=20)
NAMED = StunSettings("user", "secret", 20, 20)


@pytest.mark.case("C14")
def test_binding_request_names_the_port_of_connection_requests(world) -> None:
    """Annex G: every request from that port carries CONNECTION-REQUEST-BINDING; behind a NAT the mapped address is told."""
    client = world.connect(FIXED)
    _, request = world.requests()[0]
    assert request.type is MessageType.BINDING_REQUEST
    assert request.connection_request_binding
    assert request.username is None and request.integrity is None and not request.binding_change
    assert world.told(BindingKnown) == [
        BindingKnown(Address("198.51.100.7", 40_001), Address("192.168.1.2", 7547), nat_detected=True, changed=False)
    ]
    assert client.nat_detected and client.mapped == Address("198.51.100.7", 40_001)


@pytest.mark.case("C14")
def test_without_a_nat_none_is_detected(world) -> None:
    """TR-181: NATDetected is false where the mapped address is the local one."""
    world.nat = False
    client = world.connect(FIXED)
    assert not client.nat_detected
    assert client.mapped == client.local


@pytest.mark.case("C17")
def test_equal_minimum_and_maximum_give_an_exact_rhythm(world) -> None:
    """STUNMinimum = STUNMaximum = 20: one request every 20 s, and no search beside it."""
    world.connect(FIXED)
    world.run(100)
    assert [at - 1000 for at, _ in world.requests()] == [0, 20, 40, 60, 80, 100]
    assert not world.requests(Port.SECONDARY) and not world.requests(Port.PROBE)


@pytest.mark.case("C15")
def test_new_mapping_is_told_to_the_server_at_once(world) -> None:
    """Annex G: BINDING-CHANGE goes out as soon as the mapping changed, once, exempt from the minimum period."""
    world.connect(FIXED)
    world.run(10)
    world.new_mapping()
    world.run(50)
    assert [(at - 1000, m.binding_change) for at, m in world.requests()] == [
        (0, False), (20, False), (20, True), (40, False), (60, False),
    ]  # fmt: skip
    assert [e.changed for e in world.told(BindingKnown)] == [False, True, False, False, False]
    assert [r.address for _, r in world.reports if r.binding_change] == [Address("198.51.100.7", 40_002)]


@pytest.mark.case("C15")
def test_mapping_other_than_before_a_restart_is_a_change(world) -> None:
    """The ACS still knows the old address; the same one is no change."""
    world.connect(FIXED, last_reported=Address("198.51.100.7", 39_000))
    assert [m.binding_change for _, m in world.requests()] == [False, True]
    assert world.told(BindingKnown)[0].changed


def test_mapping_as_before_a_restart_is_no_change(world) -> None:
    """Nothing new, nothing to tell."""
    world.connect(FIXED, last_reported=Address("198.51.100.7", 40_001))
    assert [m.binding_change for _, m in world.requests()] == [False]
    assert not world.told(BindingKnown)[0].changed


def test_change_that_got_lost_is_told_with_the_next_keep_alive(world) -> None:
    """Until the server has answered to a BINDING-CHANGE, it does not know."""
    world.connect(FIXED)
    world.lose = lambda direction, message, now: message.binding_change and now < 1035
    world.new_mapping()
    world.run(60)
    changes = [at - 1000 for at, m in world.requests() if m.binding_change]
    assert changes[:9] == pytest.approx([20, 20.1, 20.3, 20.7, 21.5, 23.1, 24.7, 26.3, 27.9])
    assert changes[9:] == [40]


def test_server_that_shows_another_address_each_time_causes_no_storm(world) -> None:
    """A hostile server must not make a device send without pause: two requests per period at most."""
    ports = iter(range(1, 1000))
    answer = world.server.answer

    def always_another(question, **known):
        shown = StunMessage(
            MessageType.BINDING_RESPONSE,
            question.request.transaction_id,
            mapped_address=Address("203.0.113.1", next(ports)),
        )
        return Reply(encode(shown), answer(question, **known).to)

    world.server.answer = always_another
    world.connect(FIXED)
    world.run(200)
    assert 11 <= len(world.requests()) <= 22


@pytest.mark.case("C16")
def test_refused_change_is_signed_and_repeated(world) -> None:
    """Annex G: after 401 the request is made again with MESSAGE-INTEGRITY, under a new transaction id."""
    world.passwords["user"] = "secret"
    world.connect(NAMED, last_reported=Address("198.51.100.7", 39_000))
    plain, unsigned, signed = (m for _, m in world.requests())
    assert (plain.username, plain.binding_change, plain.integrity) == ("user", False, None)
    assert (unsigned.binding_change, unsigned.integrity) == (True, None)
    assert signed.binding_change and signed.integrity is not None and signed.username == "user"
    assert signed.transaction_id != unsigned.transaction_id
    assert [r.verified for _, r in world.reports if r.binding_change] == [True]
    assert not world.told(BindingRefused)


@pytest.mark.case("C16")
def test_wrong_password_is_reported_and_tried_once_per_period(world) -> None:
    """The server's 431 ends the attempt; the binding stays alive by the next keep-alive."""
    world.passwords["user"] = "another"
    world.connect(NAMED, last_reported=Address("198.51.100.7", 39_000))
    assert world.told(BindingRefused) == [BindingRefused(431, "Integrity")]
    assert len(world.requests()) == 3
    world.run(20)
    assert len(world.requests()) == 6


@pytest.mark.case("C16")
def test_without_a_username_nothing_is_ever_signed(world) -> None:
    """TR-181 STUNUsername: empty means no credentials, even when the server asks for them."""
    client = world.connect(StunSettings("", "secret", 20, 20))
    world.lose = lambda direction, message, now: direction == "up"
    world.run(20)
    _, request = world.requests()[-1]
    error = StunMessage(MessageType.BINDING_ERROR, request.transaction_id, error=(401, "Unauthorized"))
    outputs = client.receive(encode(error), source=client.server, port=Port.PRIMARY, now=world.now)
    assert outputs == [BindingRefused(401, "Unauthorized")]
    assert all(m.integrity is None and m.username is None for _, m in world.requests())


def test_request_is_repeated_nine_times_by_the_timetable(world) -> None:
    """RFC 3489 9.3: 100 ms, doubling to 1.6 s; 9.5 s after the first the server counts as silent."""
    world.lose = lambda direction, message, now: True
    world.connect(StunSettings(minimum_keep_alive_period=60, maximum_keep_alive_period=60))
    world.run(30)
    assert [at - 1000 for at, _ in world.requests()] == pytest.approx([0, 0.1, 0.3, 0.7, 1.5, 3.1, 4.7, 6.3, 7.9])
    assert len({m.transaction_id for _, m in world.requests()}) == 1
    assert [(at - 1000, e) for at, e in world.events] == [(pytest.approx(9.5), ServerSilent(9))]
    world.lose = lambda direction, message, now: False
    world.run(40)
    assert len(world.told(BindingKnown)) == 1


def test_one_lost_answer_costs_a_tenth_of_a_second(world) -> None:
    """A repetition is the same request; its answer ends the exchange."""
    lost = []
    world.lose = lambda direction, message, now: direction == "down" and not lost and not lost.append(1)
    world.connect(FIXED)
    world.run(5)
    assert [at - 1000 for at, _ in world.requests()] == pytest.approx([0, 0.1])
    assert len(world.told(BindingKnown)) == 1


def test_answers_that_are_not_the_servers_change_nothing(world) -> None:
    """Another source, another transaction, a request, an answer without an address, or nonsense: all as if it had not come."""
    world.lose = lambda direction, message, now: True
    client = world.connect(FIXED)
    mine = world.requests()[-1][1].transaction_id
    forged = Address("203.0.113.66", 6)

    def answer(
        kind: MessageType = MessageType.BINDING_RESPONSE, tid: bytes = mine, address: Address | None = forged
    ) -> bytes:
        return encode(StunMessage(kind, tid, mapped_address=address))

    attempts = [
        (answer(), Address("203.0.113.66", 3478), Port.PRIMARY),
        (answer(), Address(client.server.host, 3479), Port.PRIMARY),
        (answer(tid=bytes(16)), client.server, Port.PRIMARY),
        (answer(kind=MessageType.BINDING_REQUEST), client.server, Port.PRIMARY),
        (answer(address=None), client.server, Port.PRIMARY),
        (answer()[:-1], client.server, Port.PRIMARY),
        (answer(), client.server, Port.SECONDARY),
    ]
    for datagram, source, port in attempts:
        assert client.receive(datagram, source=source, port=port, now=world.now) == []
    assert client.mapped is None


def test_signed_answer_with_a_wrong_signature_is_as_good_as_lost(world) -> None:
    """Once we sign, an answer that claims a signature must have the right one; one without is taken."""
    world.passwords["user"] = "secret"
    world.lose = lambda direction, message, now: (
        direction == "down" and message.type is MessageType.BINDING_RESPONSE and bool(message.integrity)
    )
    client = world.connect(NAMED, last_reported=Address("198.51.100.7", 39_000))
    _, request = world.requests()[-1]
    answer = StunMessage(
        MessageType.BINDING_RESPONSE, request.transaction_id, mapped_address=Address("203.0.113.66", 6)
    )
    assert client.receive(encode(answer, key=b"guess"), source=client.server, port=Port.PRIMARY, now=world.now) == []
    outputs = client.receive(encode(answer, key=b"secret"), source=client.server, port=Port.PRIMARY, now=world.now)
    assert isinstance(outputs[0], BindingKnown)


# --- the lifetime of a binding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", [45.0, 60.0, 119.0, 180.0, 299.0])
def test_lifetime_of_a_binding_is_found(world, lifetime: float) -> None:
    """Annex G: the period ends between the minimum and the true lifetime, at most a tenth below it."""
    world.lifetime = lifetime
    client = world.connect(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=300))
    world.run(3 * 3600)
    (found,) = world.told(LifetimeKnown)
    assert found.outcome is SearchState.FOUND
    assert lifetime / 1.11 - 1 <= found.period <= lifetime
    assert client.period == found.period
    assert not client.searching


def test_search_never_leaves_the_primary_port_without_a_keep_alive(world) -> None:
    """Connection requests get through all the while: the primary binding never changes."""
    world.lifetime = 70.0
    world.connect(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=300))
    world.run(2 * 3600)
    assert {e.mapped for e in world.told(BindingKnown)} == {Address("198.51.100.7", 40_001)}
    gaps = [b - a for (a, _), (b, _) in zip(world.requests(), world.requests()[1:], strict=False)]
    assert min(gaps) >= 20 and max(gaps) <= 70


def test_search_uses_other_ports_without_names_or_tr069_attributes(world) -> None:
    """A server must not take a port of the search for the one that connection requests go to."""
    world.connect(StunSettings("user", "secret", 20, 300))
    world.run(100)
    secondary, probe = world.requests(Port.SECONDARY), world.requests(Port.PROBE)
    assert secondary and probe
    for _, message in [*secondary, *probe]:
        assert message.username is None and not message.connection_request_binding and not message.binding_change
    assert all(m.response_address is None for _, m in secondary)
    assert {m.response_address for _, m in probe} == {Address("198.51.100.7", 40_002)}
    assert {r.address for _, r in world.reports} == {Address("198.51.100.7", 40_001)}


def test_nat_that_forgets_nothing_is_found_to_last_the_maximum(world) -> None:
    """Doubling ends at the maximum; without one at our own."""
    client = world.connect(StunSettings(minimum_keep_alive_period=30, maximum_keep_alive_period=-1))
    world.run(2 * 3600)
    assert world.told(LifetimeKnown) == [LifetimeKnown(float(LONGEST_PERIOD), SearchState.FOUND)]
    assert client.period == LONGEST_PERIOD


def test_server_that_ignores_response_address_leaves_the_minimum(world) -> None:
    """An answer to the asking port shows that the server cannot help; the minimum period is kept."""
    answer = world.server.answer

    def to_the_asker(question, **known):
        reply = answer(question, **known)
        return Reply(reply.datagram, question.source, reply.report)

    world.server.answer = to_the_asker
    client = world.connect(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=300))
    world.run(600)
    assert world.told(LifetimeKnown) == [LifetimeKnown(20.0, SearchState.UNSUPPORTED)]
    assert client.period == 20


def test_server_that_refuses_response_address_leaves_the_minimum(world) -> None:
    """An error counts like no support."""
    answer = world.server.answer

    def refusing(question, **known):
        if question.request.response_address is None:
            return answer(question, **known)
        error = StunMessage(MessageType.BINDING_ERROR, question.request.transaction_id, error=(420, "Unknown"))
        return Reply(encode(error), question.source)

    world.server.answer = refusing
    world.connect(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=300))
    world.run(600)
    assert world.told(LifetimeKnown) == [LifetimeKnown(20.0, SearchState.UNSUPPORTED)]


def test_search_begins_again_when_the_server_is_back(world) -> None:
    """Silence during the search says nothing about the NAT."""
    world.lifetime = 50.0
    world.connect(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=300))
    world.lose = lambda direction, message, now: 1010 < now < 1400
    world.run(1.5 * 3600)
    outcomes = [e.outcome for e in world.told(LifetimeKnown)]
    assert outcomes[0] is SearchState.SERVER_SILENT
    assert outcomes[-1] is SearchState.FOUND
    assert 44 <= world.client.period <= 50


def test_other_mapping_starts_the_search_afresh(world) -> None:
    """A restarted or exchanged NAT may forget sooner: back to the minimum until more is known."""
    client = world.connect(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=160))
    world.run(3600)
    assert client.period == 160
    world.lifetime = 40.0
    world.new_mapping()
    world.run(3600)
    assert len(world.told(LifetimeKnown)) == 2
    assert 36 <= client.period <= 40


def test_server_with_another_address_is_used_from_the_next_request_on(world) -> None:
    """The name was looked up again."""
    client = world.connect(FIXED)
    client.server_moved(Address("192.0.2.99", 3478))
    assert client.deadline_passed(1020.0)[0].to == Address("192.0.2.99", 3478)


# --- settings -----------------------------------------------------------------------------------------------------------------


def test_odd_settings_have_a_meaning() -> None:
    """TR-181: -1 is no maximum; a maximum below the minimum, and a minimum of 0, must not make us send without pause."""
    assert StunSettings(minimum_keep_alive_period=0, maximum_keep_alive_period=0).shortest == 1
    assert StunSettings(minimum_keep_alive_period=0, maximum_keep_alive_period=0).longest == 1
    assert StunSettings(minimum_keep_alive_period=60, maximum_keep_alive_period=30).longest == 60
    assert StunSettings(minimum_keep_alive_period=60).longest == LONGEST_PERIOD


@pytest.mark.parametrize("settings", [{"maximum_keep_alive_period": -2}, {"minimum_keep_alive_period": -1}])
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    """The message names the parameter and an example."""
    with pytest.raises(ConfigError, match="for example"):
        StunSettings(**settings)


def test_before_the_start_nothing_is_due(world) -> None:
    """A client sends nothing of its own accord."""
    client = world.connect(FIXED)
    assert client.deadline_passed(1000.0) == []
    fresh = type(client)(FIXED, server=client.server, local=client.local)
    assert fresh.next_deadline() is None and fresh.deadline_passed(5.0) == []
