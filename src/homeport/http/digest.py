"""HTTP Digest for both ends: MD5, MD5-sess, SHA-256, SHA-256-sess; qop auth, auth-int, or none (RFC 2069).

The server half keeps no state to make or check a nonce: a nonce carries its time and an HMAC. Only the replay window remembers, and
what it forgets it treats as stale. Of several processes with one secret each remembers what was used of its own nonces, which hold its
name: who is given another's asks it (`NonceUse`). No clock here: `now` is an argument.
Source: RFC 7616, RFC 2617, RFC 2069; the tolerated deviations are those of netcwmp (no qop, `uri=""`, no opaque).
"""

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from homeport.http.auth import Challenge, parse_challenges, parse_credentials, quoted

STRENGTH: Final = ("SHA-256", "SHA-256-sess", "MD5-sess", "MD5")
"""The algorithms that we speak, strongest first."""

_CANONICAL: Final = {name.lower(): name for name in STRENGTH}
_MAC_BYTES: Final = 12
_NONCE_BYTES: Final = 8 + 8 + _MAC_BYTES  # time in ms, random, mac; then the name of the process that made it
_SPARE: Final = b"!"  # before the name of one that was made because nobody could be asked
_WINDOW: Final = 64


def _hash(algorithm: str, *parts: bytes) -> str:
    data = b":".join(parts)
    if algorithm.startswith("SHA-256"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _wire(text: str) -> bytes:
    """text as it was, or will be, on the wire: HTTP libraries hand bytes over as ISO-8859-1; our own text is UTF-8."""
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        pass
    try:
        raw = text.encode("latin-1")
        raw.decode("utf-8")
    except UnicodeError:
        return text.encode("utf-8", "surrogatepass")
    return raw


def ha1(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """The hash that a server may keep in place of the password: hex, for the algorithm without `-sess`."""
    return _hash(algorithm, _wire(username), _wire(realm), _wire(password))


@dataclass(frozen=True, slots=True)
class NonceUse:
    """That a nonce of another process was used: whether for the first time, that one knows (`DigestAuthority.first_use_of`).

    count: nc. spare: the challenge before this one could not be settled so; whoever is asked the second time, and hears nothing, may
    believe it.
    """

    issuer: str
    nonce: str
    count: int
    spare: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the server half found.

    stale: the credentials are right but the nonce is not good any more: challenge with stale=true, and do not count a failure.
    reason: for our logs, never for the peer. username: as given, also on failure. quirks: deviations that were tolerated.
    use: what has to be asked of another process before it is ok.
    """

    ok: bool
    stale: bool = False
    reason: str = ""
    username: str = ""
    quirks: tuple[str, ...] = ()
    use: NonceUse | None = None


class DigestAuthority:
    """The server half.

    secret: at least 16 bytes; processes that share it accept each other's nonces. lifetime: seconds that a nonce is good for.
    algorithms: offered in this order. qop: offered; RFC 2069's form has none.
    rfc2069: what becomes of credentials without qop: refuse; once (a nonce counts once); allow.
    uri_policy: strict compares with the request target; lenient also takes "", an absolute URI or a target without query; ignore.
    replay: remembers counts of at most `most_nonces` nonces, so that one pair of nonce and nc counts once; False for many processes.
    random: gives n random bytes. here: the name of this process among those that share the secret, "" where all take all nonces.
    """

    def __init__(
        self,
        secret: bytes,
        realm: str,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        lifetime: float = 300.0,
        *,
        qop: tuple[str, ...] = ("auth",),
        rfc2069: Literal["refuse", "once", "allow"] = "allow",
        uri_policy: Literal["strict", "lenient", "ignore"] = "lenient",
        replay: bool = True,
        most_nonces: int = 20_000,
        random: Callable[[int], bytes] = os.urandom,
        here: str = "",
    ) -> None:
        if len(secret) < 16:
            raise ValueError("the secret of a Digest authority needs at least 16 bytes")
        unknown = [a for a in algorithms if a not in STRENGTH]
        if unknown or not algorithms:
            raise ValueError(f"unknown Digest algorithms {unknown}; known are {', '.join(STRENGTH)}")
        self.realm = realm
        self.algorithms = algorithms
        self.lifetime = lifetime
        self._secret = secret
        self._qop = qop
        self._rfc2069 = rfc2069
        self._uri_policy = uri_policy
        self._replay = replay
        self._most_nonces = most_nonces
        self._random = random
        self._here = here.encode()
        self._opaque = hmac.digest(secret, b"opaque", "sha256")[:12].hex()
        self._seen: dict[bytes, tuple[float, int, int]] = {}
        self._forgotten = float("-inf")  # nonces issued up to here are stale unless remembered
        self._dummy = ha1("", realm, self._opaque, "SHA-256")

    def challenges(self, now: float, *, stale: bool = False, spare: bool = False) -> list[str]:
        """Values for `WWW-Authenticate`, one per algorithm, in the order of `algorithms`.

        now: seconds on a clock that all holders of the secret share. spare: see NonceUse.
        """
        nonce = self._nonce(now, spare=spare)
        qop = f', qop="{",".join(self._qop)}"' if self._qop else ""
        tail = ", stale=true" if stale else ""
        return [
            f'Digest realm="{quoted(self.realm)}"{qop}, algorithm={algorithm}, nonce="{nonce}", opaque="{self._opaque}"{tail}'
            for algorithm in self.algorithms
        ]

    def username_of(self, header: str) -> str | None:
        """The user that an `Authorization` header claims; None where it is not Digest."""
        read = parse_credentials(header)
        if read is None or read.scheme != "digest" or "username" not in read.params:
            return None
        return _wire(read.params["username"]).decode("utf-8", "replace")

    def verify(
        self,
        header: str,
        *,
        method: str,
        uri: str,
        password: str | None = None,
        ha1: str | Mapping[str, str] | None = None,
        now: float,
        body: bytes = b"",
    ) -> Verdict:
        """Whether an `Authorization` header proves knowledge of the password, or of its hash.

        method, uri: of the request line. body: for qop auth-int.
        ha1: hex, for the algorithm that the client used, or one per algorithm name; neither password nor ha1 means an unknown user,
        which takes as long as a known one.
        """
        read = parse_credentials(header)
        if read is None or read.scheme != "digest":
            return Verdict(False, reason="no Digest credentials")
        params = read.params
        username = params.get("username", "")
        shown = _wire(username).decode("utf-8", "replace")

        def no(reason: str) -> Verdict:
            return Verdict(False, reason=reason, username=shown)

        missing = [name for name in ("username", "realm", "nonce", "response") if name not in params]
        if missing:
            return no(f"Digest without {', '.join(missing)}")
        if _wire(params["realm"]) != _wire(self.realm):
            return no("another realm")
        algorithm = _CANONICAL.get(params.get("algorithm", "MD5").lower(), "")
        if algorithm.removesuffix("-sess") not in {a.removesuffix("-sess") for a in self.algorithms}:
            return no("an algorithm that was not offered")
        qop = params.get("qop", "").lower()
        quirks: tuple[str, ...] = ()
        if not qop:
            if self._rfc2069 == "refuse" and self._qop:
                return no("no qop")
            quirks = ("digest-without-qop",)
        elif qop not in self._qop:
            return no("a qop that was not offered")
        target = params.get("uri", "")
        if not self._uri_fits(target, uri):
            return no("the Digest is for another uri")
        if target != uri:
            quirks = (*quirks, "digest-uri")
        count = _count(params.get("nc", "")) if qop else 0
        if count is None:
            return no("nc is not a hexadecimal count")
        secret_hash, known = self._secret_hash(username, password, ha1, algorithm)
        expected = _response(algorithm, secret_hash, params, method, target, qop, body)
        if not hmac.compare_digest(expected.encode(), _wire(params["response"].strip().lower())) or not known:
            return no("wrong username or password")
        return self._fresh(params["nonce"], count, bool(qop), now, shown, quirks)

    def _secret_hash(
        self, username: str, password: str | None, given: str | Mapping[str, str] | None, algorithm: str
    ) -> tuple[str, bool]:
        base = algorithm.removesuffix("-sess")
        if given is not None and not isinstance(given, str):
            given = given.get(base)
        if given is not None:
            return given.lower(), True
        if password is not None:
            return ha1(username, self.realm, password, base), True
        return self._dummy, False

    def _uri_fits(self, claimed: str, actual: str) -> bool:
        if claimed == actual or self._uri_policy == "ignore":
            return True
        if self._uri_policy == "strict":
            return False
        if claimed == "":
            return True
        if "://" in claimed:
            _, _, rest = claimed.partition("://")
            slash = rest.find("/")
            claimed = rest[slash:] if slash >= 0 else "/"
        return claimed == actual or claimed == actual.partition("?")[0]

    # --- nonces -----------------------------------------------------------------------------------------------------------

    def _nonce(self, now: float, *, spare: bool) -> str:
        head = max(int(now * 1000), 0).to_bytes(8, "big") + self._random(8)
        name = _SPARE + self._here if spare else self._here
        return urlsafe_b64encode(head + self._mac(head + name) + name).decode("ascii").rstrip("=")

    def _mac(self, head: bytes) -> bytes:
        return hmac.digest(self._secret, head + self.realm.encode(), "sha256")[:_MAC_BYTES]

    def _issued(self, nonce: str) -> tuple[bytes, float] | None:
        """(the nonce's bytes, when it was issued), None where it is not ours."""
        try:
            raw = urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
        except ValueError:
            return None
        mac = self._mac(raw[:16] + raw[_NONCE_BYTES:])
        if len(raw) < _NONCE_BYTES or not hmac.compare_digest(raw[16:_NONCE_BYTES], mac):
            return None
        return raw, int.from_bytes(raw[:8], "big") / 1000

    def _fresh(
        self, nonce: str, count: int, counted: bool, now: float, username: str, quirks: tuple[str, ...]
    ) -> Verdict:
        """The verdict on right credentials: is their nonce still good, and was this count never used with it?"""
        issued = self._issued(nonce)
        if issued is None:
            return Verdict(False, stale=True, reason="the nonce is not ours", username=username)
        raw, since = issued
        if not -1.0 <= now - since <= self.lifetime:
            return Verdict(False, stale=True, reason="the nonce is too old", username=username)
        if not counted and self._rfc2069 == "allow":
            return Verdict(True, username=username, quirks=quirks)
        use, name = None, raw[_NONCE_BYTES:]
        if name and self._here and name not in (self._here, _SPARE + self._here):
            issuer = name.removeprefix(_SPARE).decode("utf-8", "replace")
            use = NonceUse(issuer, nonce, count if counted else 1, name.startswith(_SPARE))
        if self._replay or not counted:
            if raw not in self._seen and since <= self._forgotten:
                return Verdict(False, stale=True, reason="the nonce was forgotten", username=username)
            if not self._first_use(raw, since, count if counted else 1):
                return Verdict(False, stale=True, reason="the nonce and count were used before", username=username)
        return Verdict(True, username=username, quirks=quirks, use=use)

    def first_use_of(self, nonce: str, count: int, now: float) -> bool:
        """Whether a nonce of this process is still good and was never used with this count; it then was. Asked for by other processes."""
        issued = self._issued(nonce)
        if issued is None or issued[0][_NONCE_BYTES:].removeprefix(_SPARE) != self._here:
            return False
        raw, since = issued
        known = raw in self._seen or since > self._forgotten
        return -1.0 <= now - since <= self.lifetime and known and self._first_use(raw, since, count)

    def _first_use(self, raw: bytes, since: float, count: int) -> bool:
        """Notes the use; False for a repetition, or for a count so far behind that it cannot be told from one."""
        known = self._seen.get(raw)
        if known is None:
            self._seen[raw] = (since, count, 1)
            while len(self._seen) > self._most_nonces:
                oldest = next(iter(self._seen))
                self._forgotten = max(self._forgotten, self._seen.pop(oldest)[0])
            return True
        since, highest, bits = known
        if count > highest:
            bits = ((bits << (count - highest)) | 1) & ((1 << _WINDOW) - 1) if count - highest < _WINDOW else 1
            self._seen[raw] = (since, count, bits)
            return True
        behind = highest - count
        if behind >= _WINDOW or bits >> behind & 1:
            return False
        self._seen[raw] = (since, highest, bits | 1 << behind)
        return True


def _count(text: str) -> int | None:
    """The value of nc, 1 to 8 hexadecimal digits, at least 1."""
    text = text.strip()
    if not 1 <= len(text) <= 8 or not all(c in "0123456789abcdefABCDEF" for c in text):
        return None
    return int(text, 16) or None


def _response(
    algorithm: str, secret_hash: str, params: Mapping[str, str], method: str, uri: str, qop: str, body: bytes
) -> str:
    nonce, cnonce = _wire(params["nonce"]), _wire(params.get("cnonce", ""))
    first = secret_hash.encode("utf-8", "surrogatepass")
    if algorithm.endswith("-sess"):
        first = _hash(algorithm, first, nonce, cnonce).encode()
    if qop == "auth-int":
        second = _hash(algorithm, method.encode(), _wire(uri), _hash(algorithm, body).encode())
    else:
        second = _hash(algorithm, method.encode(), _wire(uri))
    if qop:
        return _hash(algorithm, first, nonce, _wire(params.get("nc", "")), cnonce, qop.encode(), second.encode())
    return _hash(algorithm, first, nonce, second.encode())


class DigestClient:
    """The client half: answers challenges, then goes on with the same nonce and a growing count.

    algorithms: what may be used; a server that offers only others gets no answer.
    """

    __slots__ = ("_algorithm", "_algorithms", "_challenge", "_count", "_password", "_qop", "username")

    def __init__(self, username: str, password: str, *, algorithms: tuple[str, ...] = STRENGTH) -> None:
        self.username = username
        self._password = password
        self._algorithms = algorithms
        self._challenge: dict[str, str] | None = None
        self._algorithm = ""
        self._qop = ""
        self._count = 0

    def answer(
        self, www_authenticate: list[str], *, method: str, uri: str, body: bytes = b"", cnonce: str
    ) -> str | None:
        """The value of `Authorization` for the strongest Digest challenge; None where there is none that we speak.

        uri: the request target as on the request line. cnonce: fresh and unguessable. qop=auth is preferred to auth-int.
        """
        if not self.accept(www_authenticate):
            return None
        return self.preempt(method=method, uri=uri, body=body, cnonce=cnonce)

    def accept(self, www_authenticate: list[str]) -> bool:
        """Takes the strongest Digest challenge for `preempt`; False where there is none that we speak."""
        best: tuple[int, dict[str, str], str, str] | None = None
        for challenge in parse_challenges(www_authenticate):
            picked = self._usable(challenge)
            if picked is not None and (best is None or picked[0] < best[0]):
                best = picked
        if best is None:
            return False
        _, self._challenge, self._algorithm, self._qop = best
        self._count = 0
        return True

    def informed(self, authentication_info: str) -> None:
        """Takes the nonce that the server wants next, from the value of Authentication-Info; "" and anything else changes nothing."""
        if self._challenge is None or "nextnonce" not in authentication_info.lower():
            return
        for info in parse_challenges(["Info " + authentication_info]):
            if info.params.get("nextnonce"):
                self._challenge["nonce"] = info.params["nextnonce"]
                self._count = 0

    def preempt(self, *, method: str, uri: str, body: bytes = b"", cnonce: str) -> str | None:
        """The value of `Authorization` with the nonce of the last challenge and the next count; None before any challenge."""
        challenge = self._challenge
        if challenge is None:
            return None
        self._count += 1
        used = {"nonce": challenge["nonce"], "nc": f"{self._count:08x}", "cnonce": cnonce}
        base = ha1(self.username, challenge["realm"], self._password, self._algorithm)
        response = _response(self._algorithm, base, used, method, uri, self._qop, body)
        username = _wire(self.username).decode("latin-1")
        parts = [
            f'Digest username="{quoted(username)}"',
            f'realm="{quoted(challenge["realm"])}"',
            f'nonce="{quoted(challenge["nonce"])}"',
            f'uri="{quoted(uri)}"',
            f'response="{response}"',
        ]
        if "algorithm" in challenge:
            parts.append(f"algorithm={self._algorithm}")
        if self._qop:
            parts.append(f'qop={self._qop}, nc={used["nc"]}, cnonce="{quoted(cnonce)}"')
        elif self._algorithm.endswith("-sess"):
            parts.append(f'cnonce="{quoted(cnonce)}"')
        if "opaque" in challenge:
            parts.append(f'opaque="{quoted(challenge["opaque"])}"')
        return ", ".join(parts)

    def _usable(self, challenge: Challenge) -> tuple[int, dict[str, str], str, str] | None:
        params = challenge.params
        if challenge.scheme != "digest" or "nonce" not in params:
            return None
        algorithm = _CANONICAL.get(params.get("algorithm", "MD5").lower())
        if algorithm is None or algorithm not in self._algorithms:
            return None
        offered = [q.strip().lower() for q in params.get("qop", "").split(",") if q.strip()]
        qop = "auth" if "auth" in offered else "auth-int" if "auth-int" in offered else ""
        if offered and not qop:
            return None
        return STRENGTH.index(algorithm), {"realm": "", **params}, algorithm, qop


def says_stale(www_authenticate: list[str]) -> bool:
    """True where a Digest challenge says that only the nonce was too old."""
    return any(
        c.scheme == "digest" and c.params.get("stale", "").lower() == "true" for c in parse_challenges(www_authenticate)
    )
