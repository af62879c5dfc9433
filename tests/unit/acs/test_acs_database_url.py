"""A database URL that cannot be used is told of by what is wrong in it, and never with its password."""

import asyncio

import pytest

from homeport.acs.storage.sql.postgres_link import Link
from homeport.errors import StoreError, StoreUnavailable


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:Secret7@127.0.0.1:99999/x", "a port is a number up to 65535"),
        ("postgresql://u:Secret7@127.0.0.1:port/x", "cannot be read"),
        ("postgresql://u:Secret7?a@127.0.0.1/x", "cannot be read"),
        ("postgresql://u:Secret7@127.0.0.1:1/x?sslmode=maybe", "`sslmode` parameter must be one of"),
        ("postgresql://u:Secret7@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/no/ca.pem", "not there: /no/ca.pem"),
        ("postgresql://u:Secret7@127.0.0.1:1/x?sslmode=require&sslcert=/no/me.pem", "not there: /no/me.pem"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, said: str) -> None:
    """It is the setting's fault, so nobody looks at the server."""
    with pytest.raises(StoreError) as caught:
        asyncio.run(Link(url).connect())
    assert said in str(caught.value)
    assert "Secret7" not in str(caught.value)
    assert not isinstance(caught.value, StoreUnavailable)


def test_a_server_that_is_not_there_is_no_fault_of_the_url() -> None:
    """Its socket does not exist: it has not been started yet."""
    with pytest.raises(StoreUnavailable, match="does not answer"):
        asyncio.run(Link("postgresql:///x?host=/no/such/directory").connect())
