"""What a person reads when TLS fails: which check it was and what to look at."""

import ssl

import pytest

from homeport.transport.tls import refusal_sentence


def refused(reason: str) -> str:
    """The sentence for OpenSSL's word."""
    error = ssl.SSLError(1, f"[SSL] {reason}")
    error.reason = reason
    return refusal_sentence("acs.example", error)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TLSV1_ALERT_PROTOCOL_VERSION", "no common TLS version"),
        ("UNSUPPORTED_PROTOCOL", "no common TLS version"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it may want a client certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "it may want a client certificate"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS on this port"),
        ("HTTP_REQUEST", "does not speak TLS on this port"),
        ("SOMETHING_NEW", "failed: something new"),
        ("", "failed: "),
    ],
)
def test_openssls_words_become_sentences(reason, words):
    """Each names the host."""
    assert words in refused(reason)
    assert "acs.example" in refused(reason)


@pytest.mark.parametrize(
    ("code", "words"), [(10, "has expired"), (20, "issuer is not trusted"), (62, "another host name"), (99, "odd")]
)
def test_a_failed_check_is_named(code, words):
    """By OpenSSL's number, or in its own words where we have none."""
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, "odd"
    assert words in refusal_sentence("acs.example", error)
