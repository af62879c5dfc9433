"""The certificate of the https listeners: the operator's, or the laboratory's; and whose client certificates count."""

import datetime
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog

from homeport.acs import laboratory as made_here
from homeport.acs.config import AcsSettings
from homeport.errors import ConfigError

LOOKED_AT_EVERY: Final = 60.0
"""Seconds after which the files of a certificate are looked at again."""

SOON: Final = datetime.timedelta(days=14)
"""How long before the end of a certificate the log begins to say so."""

TOO_MANY: Final = "TOO_MANY_HANDSHAKES"

TOLD_AGAIN: Final = 60.0
"""Seconds after which the log says again that handshakes fail for the same reason."""

_log = structlog.get_logger("homeport.acs.tls")


def context(settings: AcsSettings, *, laboratory: bool = False) -> ssl.SSLContext | None:
    """The context of an https listener; None without a certificate. TLS 1.2 is the least (X05). Raises ConfigError.

    laboratory: where the settings name no certificate, the one in the data directory is used, and made at the first start.
    """
    chain, key = settings.tls_certificate, settings.tls_key
    if chain is None or key is None:
        if not laboratory:
            return None
        chain, key = made_here.certificate(settings)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(chain, key)
    except OSError as e:
        raise ConfigError(f"cannot use tls_certificate {chain} with tls_key {key}: {e}") from e
    if settings.tls_client_ca is not None:
        try:
            made.load_verify_locations(settings.tls_client_ca)
        except OSError as e:
            raise ConfigError(f"cannot use tls_client_ca {settings.tls_client_ca}: {e}") from e
        made.verify_mode = (
            ssl.CERT_OPTIONAL
        )  # who shows none logs in by password; one of another authority is turned away
    return made


class Handshakes:
    """Tells of handshakes that fail: of a device that does not trust our certificate nothing else is ever seen here. And limits how
    many are under way: before its handshake is done a connection is counted nowhere else.

    count: counts a reason. clock: seconds, monotonic. most: at once. within: seconds after which one that does not go on is cut.
    """

    def __init__(
        self, count: Callable[[str], None], clock: Callable[[], float], *, most: int = 10_000, within: float = 60.0
    ) -> None:
        self._count = count
        self._clock = clock
        self._most = most
        self._within = within
        # The oldest first. Of a connection that is closed meanwhile nobody tells: it goes out of this with its object.
        self._begun: WeakKeyDictionary[ssl.SSLObject, float] = WeakKeyDictionary()
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def watch(self, context: ssl.SSLContext) -> None:
        """From now on look at this context's."""
        hands = self

        class Watched(ssl.SSLObject):
            """A connection's TLS, whose handshake is looked at."""

            stage = 0  # 1: it has begun; 2: it is over, and what the loop still tries fails for other reasons

            def do_handshake(self) -> None:
                if self.stage == 2:
                    return super().do_handshake()
                try:
                    if self.stage == 0:
                        self.stage = 1
                        hands.begin(self)
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise
                except ssl.SSLError as e:
                    self.stage = 2
                    hands.over(self)
                    hands.failed(e)
                    raise
                self.stage = 2
                hands.over(self)

        context.sslobject_class = Watched

    def begin(self, one: ssl.SSLObject) -> None:
        """A handshake begins. Raises SSLError where there are too many."""
        now = self._clock()
        while self._begun:
            oldest = next(iter(self._begun))
            if now - self._begun[oldest] <= self._within and len(self._begun) < self._most:
                break
            if now - self._begun[oldest] <= self._within:
                error = ssl.SSLError(1, "too many handshakes at once")
                error.reason = TOO_MANY
                raise error
            del self._begun[oldest]
        self._begun[one] = now

    def over(self, one: ssl.SSLObject) -> None:
        """It is done, or has failed."""
        self._begun.pop(one, None)

    def failed(self, error: ssl.SSLError) -> None:
        """One has failed: counted, and told once a minute for each reason."""
        name = error.reason or "OTHER"
        self._count(name)
        why = getattr(error, "verify_message", "") or name.lower().replace("_", " ")
        self._untold[why] = self._untold.get(why, 0) + 1
        if self._clock() - self._told.get(why, -TOLD_AGAIN) < TOLD_AGAIN:
            return
        self._told[why] = self._clock()
        advice = next((text for part, text in _ADVICE if part in name), "look at the log of the device")
        _log.warning("devices cannot begin TLS", reason=why, times=self._untold.pop(why), advice=advice)


_ADVICE: Final = (
    (
        TOO_MANY,
        "somebody connects and says nothing, or all devices come at once: look where the connections are from (ss -tn)",
    ),
    ("HTTP_REQUEST", "somebody speaks http to the https port; correct the URL of the device"),
    ("CERTIFICATE_VERIFY_FAILED", "the device's own certificate is not good here; see tls_client_ca, and its end"),
    (
        "ALERT_UNKNOWN_CA",
        "the device does not trust our certificate; give it the authority of tls_certificate, or of laboratory.crt",
    ),
    ("ALERT_CERTIFICATE", "the device refuses our certificate; look at its end, and at the names in it"),
    ("ALERT_BAD_CERTIFICATE", "the device refuses our certificate; look at its end, and at the names in it"),
    (
        "UNSUPPORTED_PROTOCOL",
        "the device knows no TLS 1.2; a newer firmware, or plain http in a network that is trusted",
    ),
    ("NO_SHARED_CIPHER", "the device knows none of our ciphers; a certificate with an RSA key may help old ones"),
    ("ALERT_HANDSHAKE", "the device finds no common ground; a certificate with an RSA key may help old ones"),
    ("PROTOCOL_VERSION", "the device knows no TLS 1.2; a newer firmware, or plain http in a network that is trusted"),
)


class Renewal:
    """Takes up the operator's certificate when its files have changed, for new connections; those that are open go on."""

    def __init__(self, settings: AcsSettings) -> None:
        self._settings = settings
        self._files = (settings.tls_certificate, settings.tls_key)
        self._newest: ssl.SSLContext | None = None
        self._known = self._looks()
        self._told = datetime.date.min

    def follow(self, listening: ssl.SSLContext) -> None:
        """From now on connections of this listener begin with what is newest."""
        listening.sni_callback = self._begin

    def _begin(self, connection: ssl.SSLObject, name: str | None, listening: ssl.SSLContext) -> None:
        """Called by OpenSSL when a device has said hello, also without a name."""
        # Not loaded into the listener's own context: that has a place for each kind of key, and would go on showing the old
        # certificate where the new one has a key of another kind.
        if self._newest is not None:
            connection.context = self._newest

    async def look(self) -> None:
        """Load what is new. A certificate that cannot be used is told of and left alone; the one before goes on serving."""
        looks = self._looks()
        if looks != self._known:
            self._known = looks
            self._load()
        self._tell_of_its_end()

    def _looks(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [os.stat(file) for file in self._files if file is not None]
        except OSError:
            return ()  # between two versions
        return tuple((x.st_ino, x.st_mtime_ns, x.st_size) for x in found)

    def _load(self) -> None:
        chain, key = self._files
        if chain is None or key is None or not self._known:
            return
        try:
            # First so: OpenSSL would ask at the terminal for the password of a key that has one, and all devices would wait.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
            self._newest = context(self._settings)
        except (OSError, ConfigError) as e:
            _log.error(
                "the new certificate cannot be used; the one before goes on serving",
                tls_certificate=str(chain),
                reason=str(e),
                advice="write tls_certificate and tls_key so that they belong together, the key without a password",
            )
            return
        self._told = datetime.date.min
        _log.info("the new certificate is used", tls_certificate=str(chain))

    def _tell_of_its_end(self) -> None:
        """Once a day, where the operator's certificate ends soon."""
        chain, today = self._files[0], datetime.datetime.now(datetime.UTC)
        if chain is None or self._told == today.date():
            return
        self._told = today.date()
        end = _end_of(chain)
        if end is not None and end - SOON < today:
            _log.warning(
                "the certificate has expired" if end < today else "the certificate expires soon",
                tls_certificate=str(chain),
                end=end.isoformat(),
                advice="renew it; new files are taken up within a minute",
            )


def _end_of(chain: Path) -> datetime.datetime | None:
    """Until when the first certificate in a file is good; None where that cannot be told."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(chain.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def common_name(certificate: Any) -> str:
    """The common name of a verified client certificate as `SSLSocket.getpeercert` gives it; "" where there is none."""
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""
