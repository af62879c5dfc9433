"""Users' throttle, the webhooks' signature, and what the audit log shows of a request."""

import asyncio
import hashlib
import hmac
from ipaddress import ip_network

import pytest

from homeport.acs.config import AcsSettings
from homeport.acs.records import Scope
from homeport.acs.services.hub import Hub
from homeport.acs.services.masking import MASK, masked_json
from homeport.acs.services.users import SLOWEST, Throttle, Users
from homeport.acs.services.webhook_post import may_go_to, post
from homeport.acs.services.webhooks import signature
from homeport.acs.storage.memory import MemoryStore


def test_a_password_is_kept_as_a_hash_that_costs_a_guesser_memory_and_time():
    """Argon2id with 64 MB and three passes (RFC 9106, 4: the second recommended option): other tests hash cheaply."""

    async def scene() -> None:
        users = Users(Hub(MemoryStore(), AcsSettings()))
        try:
            kept = await users.make("eve", "a-long-password", Scope.READ)
        finally:
            users.close()
        assert kept.password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert "a-long-password" not in kept.password

    asyncio.run(scene())


def test_logins_that_fail_wait_longer_and_longer():
    """Three tries are free; then 1, 2, 4 ... seconds for the name and the address, at most a minute; a success forgets all."""
    throttle, keys = Throttle(), ("name eve", "from 192.0.2.7")
    waits = []
    for _ in range(12):
        throttle.failed(keys, 100.0)
        waits.append(throttle.left(keys, 100.0))
    assert waits[:6] == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == SLOWEST
    assert throttle.left(("name eve", "from 192.0.2.8"), 100.0) == SLOWEST, "another address does not help"
    assert throttle.left(keys, 100.0 + SLOWEST) == 0.0
    assert throttle.left(keys, 50.0) == 0.0, "a clock that was put back keeps nobody out until it is there again"
    throttle.succeeded(keys)
    assert throttle.left(keys, 100.0) == 0.0


def test_a_signature_is_what_the_guide_says():
    """HMAC-SHA256 with the secret over the time, a dot and the body."""
    expected = hmac.new(b"key", b'1700000000.{"id":"1"}', hashlib.sha256).hexdigest()
    assert signature("key", 1_700_000_000, b'{"id":"1"}') == f"t=1700000000,v1={expected}"


def test_what_the_audit_log_keeps_of_a_request_holds_no_secret():
    """Passwords and keys by name, values of secret parameters by theirs; command keys are no secrets."""
    assert masked_json(b'{"name": "eve", "password": "geheim"}') == f'{{"name": "eve", "password": "{MASK}"}}'
    spv = b'{"args": {"parameter_list": [{"name": "Device.WiFi.AccessPoint.1.Security.KeyPassphrase", "value": "s3"}]}}'
    assert "s3" not in masked_json(spv)
    assert masked_json(b'{"command_key": "k", "parameter_key": "p"}') == '{"command_key": "k", "parameter_key": "p"}'
    assert "geheim" not in masked_json(b'{"operations": [{"url": "http://x", "password": "geheim"}]}')
    assert masked_json(b"\xff\x00") == "(2 bytes)"
    assert masked_json(b"") == ""


def test_a_field_that_is_no_secret_at_one_path_is_shown_there_alone():
    """Only in the body itself: the same name further in, other secrets beside it and passwords in its URL stay masked."""
    body = b'{"key": "night", "token": "t0p", "rows": [{"key": "geheim"}]}'
    hidden = f'{{"key": "{MASK}", "token": "{MASK}", "rows": [{{"key": "{MASK}"}}]}}'
    assert masked_json(body) == hidden
    assert masked_json(body, plain=("key",)) == hidden.replace(MASK, "night", 1)
    assert "geheim" not in masked_json(b'{"key": "http://u:geheim@x/"}', plain=("key",))
    assert masked_json(b'["key"]', plain=("key",)) == '["key"]'


@pytest.mark.parametrize(
    ("address", "networks", "may"),
    [
        ("192.0.2.7", (), True),
        ("127.0.0.1", (), True),
        ("10.1.2.3", (), True),
        ("169.254.169.254", (), False),
        ("::ffff:169.254.169.254", (), False),
        ("fe80::1%eth0", (), False),
        ("0.0.0.0", (), False),
        ("224.0.0.1", (), False),
        ("169.254.169.254", ("169.254.169.254/32",), True),
        ("192.0.2.7", ("192.0.2.0/24", "2001:db8::/32"), True),
        ("127.0.0.1", ("192.0.2.0/24",), False),
        ("2001:db8::7", ("192.0.2.0/24", "2001:db8::/32"), True),
    ],
)
def test_webhooks_go_where_they_may(address: str, networks: tuple[str, ...], may: bool):
    """To the networks that are named; where none is, not where clouds keep the secrets of their machines."""
    assert may_go_to(address, [ip_network(network) for network in networks]) is may


def test_a_webhook_s_address_is_looked_at_when_it_is_connected_to():
    """Whatever its name says, and in whatever way a number is written."""
    local = [ip_network("192.0.2.0/24")]
    for url in ("http://localhost:1/", "http://127.0.0.1:1/", "http://[::1]:1/"):
        with pytest.raises(OSError, match=r"webhooks are not sent to (127\.0\.0\.1|::1); .*webhook_networks"):
            asyncio.run(post(url, b"", {}, networks=local))
    with pytest.raises(OSError, match="cannot connect"):
        asyncio.run(post("http://127.0.0.1:1/", b"", {}, networks=[ip_network("127.0.0.0/8")]))
    for url in ("http://2852039166/", "http://0xa9fea9fe/"):
        with pytest.raises(OSError):
            asyncio.run(post(url, b"", {}))
