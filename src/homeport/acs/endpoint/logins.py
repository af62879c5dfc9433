"""What a device's login proves, and what it is told where it proves nothing; who guesses is slowed down.

Source: TR-069a6 3.4.4; RFC 7616, 7617.
"""

from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace

from homeport.acs.auth import NO_LOGIN, Claim, CpeAuth, Login
from homeport.acs.endpoint.claims import claimed_id
from homeport.acs.endpoint.exchange import HttpReply, HttpRequest, busy, plain
from homeport.acs.records import DeviceState
from homeport.acs.services.brake import Lane, LoginBrake
from homeport.acs.services.hub import Hub

BRAKED_AGAIN: Final = 60.0
"""Seconds after which it is told again that logins are slowed down; each that fails before is told by itself."""

_log = structlog.get_logger("homeport.acs.cwmp")


class Logins:
    """Checks logins, and asks for them. clock: monotonic seconds."""

    def __init__(self, hub: Hub, auth: CpeAuth, brake: LoginBrake, clock: Callable[[], float]) -> None:
        self._hub = hub
        self._auth = auth
        self._brake = brake
        self._clock = clock
        self._braked_told = float("-inf")

    async def check(self, request: HttpRequest, body: bytes) -> Login:
        """What the request's Authorization proves; where many have failed lately, only when it is its turn.

        body: as it was before it was compressed.
        """
        brake, auth, header, stats = self._brake, self._auth, request.authorization, self._hub.stats
        if not header:
            return NO_LOGIN
        claim = await auth.claim(header, secure=request.secure)
        lane, waited = None, False
        if brake.engaged:
            lane = await self._lane(request, claim, body)
            wait = brake.turn(lane)
            if wait is None:
                stats.logins_held += 1
                stats.logins_unread += 1
                await brake.delay(request.host, request.port)
                return Login(refused=True, braked=True, username=claim.username)
            if wait:
                waited = True
                stats.logins_held += 1
                if not await brake.hold(request.host, request.port, wait):
                    brake.forgive(lane)
                    return Login(refused=True, braked=True, username=claim.username)
        # From here to the count nothing is waited for: however many come at once, each is counted before the next is looked at.
        login = auth.prove(claim, header, method=request.method, uri=request.target, body=request.body)
        if login.wrong:
            stats.login_failures += 1
            if not waited:
                brake.failed(lane or brake.lane(request.host, claim.username))
            return replace(login, braked=waited)
        if waited and lane is not None:
            brake.forgive(lane)
        return login if login.use is None else await auth.confirm(login)

    async def _lane(self, request: HttpRequest, claim: Claim, body: bytes) -> Lane:
        """What this login is counted by while many fail: a known device at its own place is not kept out by others."""
        found = claim.found
        if found is not None:
            device = found.device or claimed_id(body)
            record = await self._hub.store.device(device) if device else None
            if record is not None and record.state is DeviceState.APPROVED:
                shared = "" if found.device else device
                return self._brake.lane(request.host, claim.username, known_at=record.address, device=shared)
        return self._brake.lane(request.host, claim.username)

    def challenge(self, request: HttpRequest, login: Login = NO_LOGIN) -> HttpReply:
        """The answer that asks for a login, or for another than this one."""
        if login.braked:
            now = self._clock()
            if now >= self._braked_told + BRAKED_AGAIN:
                self._braked_told = now
                _log.warning("many logins fail, and are slowed down", user=login.username[:128], peer=request.host)
            return busy("too many logins have failed")
        self._hub.stats.unauthorized += 1
        if login.refused and not login.stale:
            _log.warning("a login failed", user=login.username[:128], peer=request.host, reason=login.reason)
        offered = self._auth.challenges(secure=request.secure, stale=login.stale, spare=login.spare)
        return plain(401, "log in", *((b"WWW-Authenticate", c.encode("latin-1", "replace")) for c in offered))
