"""TLS as CWMP needs it: 1.2 or newer, chain and host name always checked, and every refusal a sentence that says which check failed.

Source: TR-069a6 3.3; RFC 6125 (the common name counts only where there is no subjectAltName).
"""

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from homeport.errors import ConfigError

_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name."""

_CHECKS: Final = {
    9: "its certificate is not valid yet; check the clock",
    10: "its certificate has expired; check the clock, or the ACS's operator has to renew it",
    18: "its certificate is signed by itself; add it to the CA file if it is yours",
    19: "its chain ends in a root that is not trusted; add that root to the CA file",
    20: "its issuer is not trusted; add the issuing CA to the CA file, or let the ACS send its whole chain",
    21: "its issuer is not trusted; add the issuing CA to the CA file, or let the ACS send its whole chain",
    23: "its certificate was revoked",
    62: "its certificate is for another host name; check the ACS URL",
    64: "its certificate is for another address; check the ACS URL",
}


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How a peer is verified and how we show who we are.

    ca_file: PEM; replaces the system's roots unless system_roots. client_certificate, client_key: PEM files.
    check_dates: False while no clock is set; a certificate's validity is then not looked at (TR-069a6 3.3).
    minimum: the oldest version that is spoken.
    """

    ca_file: Path | None = None
    system_roots: bool = False
    client_certificate: Path | None = None
    client_key: Path | None = None
    client_key_password: str | None = None
    check_dates: bool = True
    minimum: Literal["1.2", "1.3"] = "1.2"


@lru_cache(maxsize=16)
def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """The context for connections to an ACS or file server; built once per settings, since reading the roots costs 10 ms.

    Raises ConfigError where a file cannot be used. A file that changes on disk counts after a restart.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    if settings.ca_file is None or settings.system_roots:
        context.load_default_certs()
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except (OSError, ssl.SSLError) as e:
            raise ConfigError(
                f"the CA file {settings.ca_file} cannot be used: {_os_reason(e)}; it must hold PEM certificates"
            ) from e
    if settings.client_certificate is not None:
        try:
            # Without a callback OpenSSL would ask on the terminal for the password of an encrypted key.
            context.load_cert_chain(
                settings.client_certificate, settings.client_key, lambda: settings.client_key_password or ""
            )
        except (OSError, ssl.SSLError) as e:
            raise ConfigError(
                f"the client certificate {settings.client_certificate} cannot be used: {_os_reason(e)};"
                " it must be PEM, with its unencrypted key or the key's password"
            ) from e
    if not settings.check_dates:
        context.verify_flags |= _NO_CHECK_TIME
    return context


def refusal_sentence(host: str, error: ssl.SSLError) -> str:
    """What went wrong in a TLS handshake with host, and what to look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        check = _CHECKS.get(error.verify_code, error.verify_message)
        return f"the ACS {host} was not accepted: {check}"
    reason = (error.reason or str(error) or "handshake failed").replace("_", " ").lower()
    if "wrong version number" in reason or "http request" in reason:
        return f"{host} does not speak TLS on this port; check the scheme of the URL"
    if "version" in reason or "unsupported protocol" in reason:
        return f"no common TLS version with {host}; TLS 1.2 or newer is needed ({reason})"
    if "certificate required" in reason or "bad certificate" in reason or "unknown ca" in reason or "alert" in reason:
        return f"{host} refused our side of TLS: {reason}; it may want a client certificate"
    return f"TLS with {host} failed: {reason}"


def _os_reason(error: OSError) -> str:
    return getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error) or "unreadable"
