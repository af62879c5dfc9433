"""Which devices may come in: by Digest or Basic.

Devices are checked before their message is parsed. What is stored of a password is a hash.
"""

import hmac
from collections.abc import Callable
from secrets import token_hex
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from homeport.acs.config import AcsSettings
from homeport.acs.records import CredentialRecord, GroupLogin
from homeport.acs.services.devices import REALM, credential
from homeport.acs.services.peers import ASK_WITHIN, Peers, Word
from homeport.acs.storage.interface import Store
from homeport.http.auth import basic_challenge, basic_credentials
from homeport.http.digest import DigestAuthority, NonceUse, ha1


class Login(Struct, frozen=True):
    """What became of a device's credentials.

    credential: the one it proved to know; None where it gave none. refused: it gave wrong ones. stale: only the nonce was too old.
    username: who it says it is where it is refused, as it came; reason: why, both for the log and never for the device.
    certificate: the common name of the client certificate that it showed in place of a password.
    old: by the password of a group that another one has replaced.
    use: what has to be asked of the process whose nonce it is, before it opens. spare: that could not be asked.
    wrong: the name or the password is, as where somebody guesses. braked: and too often, so that it is told to come back later.
    """

    credential: CredentialRecord | None = None
    refused: bool = False
    stale: bool = False
    reason: str = ""
    username: str = ""
    certificate: str = ""
    old: bool = False
    wrong: bool = False
    braked: bool = False
    use: NonceUse | None = None
    spare: bool = False

    @property
    def trusted(self) -> bool:
        """Whether the device has proved that it may come in."""
        return self.credential is not None or bool(self.certificate)


NO_LOGIN: Final = Login()


class Claim(Struct, frozen=True):
    """Who somebody says that he is. found: what is stored of that login. password: as Basic gives it. refused: why it is not looked at."""

    username: str = ""
    found: CredentialRecord | None = None
    password: str | None = None
    refused: str = ""


class CpeAuth:
    """Checks the logins of devices. secret: for nonces, shared by all processes of this ACS. peers: the others, None where there are none.

    Every nonce is used once, at whichever process: one of another is asked for there. A nonce of a process that has ended is stale.
    """

    def __init__(
        self,
        store: Store,
        settings: AcsSettings,
        secret: bytes,
        clock: Callable[[], float],
        peers: Peers | None = None,
    ) -> None:
        self._store = store
        self._peers = peers
        self.ask_within = ASK_WITHIN
        if peers is not None:
            peers.serve("nonce", self._asked)
        self._clock = clock
        self._basic_over_http = settings.basic_over_http
        self._digest = DigestAuthority(
            secret, REALM, rfc2069="once", here=(peers.node if peers is not None else "") or token_hex(4)
        )
        self._shared: CredentialRecord | None = None
        if settings.cpe_username:
            self._shared = credential(settings.cpe_username, settings.cpe_password)

    def challenges(self, *, secure: bool, stale: bool = False, spare: bool = False) -> list[str]:
        """Values for WWW-Authenticate. Digest comes first: several clients only look at the first challenge.

        spare: the process that made the device's last nonce could not be asked; so that this one opens wherever it is brought.
        """
        offered = self._digest.challenges(self._clock(), stale=stale, spare=spare)
        if secure or self._basic_over_http:
            offered.append(basic_challenge(REALM))
        return offered

    async def claim(self, header: str, *, secure: bool) -> Claim:
        """Who the Authorization header says that it is, and what is stored of that login. Raises StoreUnavailable."""
        basic = basic_credentials(header)
        if basic is not None:
            if not (secure or self._basic_over_http):
                return Claim(refused="Basic without TLS")
            username, password = basic
            return Claim(username, await self._credential(username), password)
        given = self._digest.username_of(header)
        if given is None:
            return Claim(refused="neither Digest nor Basic")
        return Claim(given, await self._credential(given))

    def prove(self, claim: Claim, header: str, *, method: str, uri: str, body: bytes) -> Login:
        """What the header proves of its claim: at once, so that nobody's guesses overtake each other."""
        if claim.refused:
            return Login(refused=True, reason=claim.refused)
        username, found, before = claim.username, claim.found, self._before(claim.found)
        if claim.password is not None:
            given = ha1(username, REALM, claim.password, "SHA-256")
            if hmac.compare_digest(found.ha1_sha256 if found is not None else "", given) and found is not None:
                return _opened(found)
            if found is None or before is None or not hmac.compare_digest(before.old_sha256, given):
                return _refused(username, found, "wrong username or password")
            return _opened(found, old=True)
        hashes = {"MD5": found.ha1_md5, "SHA-256": found.ha1_sha256} if found is not None else None
        verdict = self._digest.verify(header, method=method, uri=uri, ha1=hashes, now=self._clock(), body=body)
        if verdict.ok and found is not None:
            return _opened(found, use=verdict.use)
        if found is None or before is None or verdict.stale:
            return _refused(username, found, verdict.reason, stale=verdict.stale)
        hashes = {"MD5": before.old_md5, "SHA-256": before.old_sha256}
        verdict = self._digest.verify(header, method=method, uri=uri, ha1=hashes, now=self._clock(), body=body)
        if not verdict.ok:
            return _refused(username, found, verdict.reason, stale=verdict.stale)
        return _opened(found, old=True, use=verdict.use)

    async def confirm(self, login: Login) -> Login:
        """The login with a nonce of another process, after that was asked: stale where the nonce was used, or nobody knows.

        A device that meets another process with every message comes in with one more challenge at most: a nonce that it got because
        nobody could be asked opens, if nobody can be asked again. Raises StoreUnavailable.
        """
        use, known = login.use, None
        if use is None:
            return login
        if self._peers is not None:
            word = {"nonce": use.nonce, "count": use.count}
            known = await self._peers.ask(use.issuer, "nonce", within=self.ask_within, **word)
            if known is True or (known is None and use.spare):
                return replace(login, use=None)
        reason = (
            "the nonce was used at another process"
            if known is False
            else "the process whose nonce it is does not answer"
        )
        username = login.credential.username if login.credential is not None else ""
        return Login(refused=True, stale=True, reason=reason, username=username, spare=known is None)

    async def _asked(self, word: Word) -> bool:
        return self._digest.first_use_of(str(word.get("nonce", "")), int(word.get("count", 0)), self._clock())

    async def check(self, header: str | None, *, method: str, uri: str, body: bytes, secure: bool) -> Login:
        """What the Authorization header proves. header: its value, None where there is none."""
        if not header:
            return NO_LOGIN
        claim = await self.claim(header, secure=secure)
        return await self.confirm(self.prove(claim, header, method=method, uri=uri, body=body))

    def _before(self, found: CredentialRecord | None) -> GroupLogin | None:
        """The group whose password before the present one still opens."""
        if found is None or found.group is None or found.group.old_until <= self._clock():
            return None
        return found.group

    async def _credential(self, username: str) -> CredentialRecord | None:
        if self._shared is not None and username == self._shared.username:
            return self._shared
        if "\0" in username:
            return None  # which PostgreSQL's texts cannot hold, so that no login has it
        return await self._store.credential(username)


def _refused(username: str, found: CredentialRecord | None, reason: str, *, stale: bool = False) -> Login:
    """The log may tell a wrong name from a wrong password, which the device must not be told."""
    wrong = reason == "wrong username or password"
    if wrong:
        reason = "nobody has this user name" if found is None else "the password is wrong"
    return Login(refused=True, stale=stale, reason=reason, username=username, wrong=wrong)


def _opened(found: CredentialRecord, *, old: bool = False, use: NonceUse | None = None) -> Login:
    if found.group is not None and not found.group.enabled:
        reason = f"the login of the group {found.group.name!r} is switched off"
        return Login(refused=True, reason=reason, username=found.username)
    return Login(found, old=old, use=use)
