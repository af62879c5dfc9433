"""Who a request comes from, where load balancers stand in between."""

import pytest

from homeport.http.forwarded import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/24", "2001:db8:1::1"])


@pytest.mark.parametrize(
    ("header", "origin"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:4711", ("192.0.2.1", 4711)),
        ("[192.0.2.1]:4711", ("192.0.2.1", 4711)),
        ("2001:db8::7", ("2001:db8::7", 0)),
        ("[2001:db8::7]:4711", ("2001:db8::7", 4711)),
        ("::ffff:192.0.2.1", ("192.0.2.1", 0)),
        ("::FFFF:192.0.2.1", ("192.0.2.1", 0)),
        ("2001:DB8:0::7", ("2001:db8::7", 0)),
        ("192.0.2.1, ::ffff:a00:5", ("192.0.2.1", 0)),
        ("203.0.113.9, 192.0.2.1, 10.0.0.5", ("192.0.2.1", 0)),
        ("203.0.113.9,192.0.2.1", ("192.0.2.1", 0)),
        ("10.0.0.5, 10.0.0.6", ("", 0)),
        ("", ("", 0)),
        ("unknown", ("", 0)),
        ("192.0.2.1, evil", ("", 0)),
        ("192.0.2.1:99999", ("192.0.2.1", 0)),
        ("[192.0.2.1", ("192.0.2.1", 0)),
    ],
)
def test_the_origin_is_the_last_address_that_is_no_load_balancer(header: str, origin: tuple[str, int]) -> None:
    """What stands before it was sent by the device, who may say anything."""
    assert PROXIES.origin(header) == origin


def test_only_named_addresses_are_trusted() -> None:
    """Networks and single addresses, of both families; a name is nobody."""
    assert [
        PROXIES.trusts(h) for h in ("10.0.0.200", "2001:db8:1::1", "10.0.1.1", "2001:db8:1::2", "localhost", "")
    ] == [
        *(True, True),
        *(False, False, False, False),
    ]
    assert PROXIES
    assert not TrustedProxies()
