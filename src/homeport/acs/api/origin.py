"""ASGI middleware: whose address a request has, where it comes through a proxy that the operator trusts.

Without it all who come through the proxy would be one in the audit log, and one guesser would have all of them wait at the login.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from homeport.http.forwarded import TrustedProxies


class Forwarded:
    """Believes X-Forwarded-For from the proxies, and from nobody else."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["client"] and self._proxies.trusts(scope["client"][0]):
            told = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
            host, port = self._proxies.origin(",".join(told))
            if host:
                scope = {**scope, "client": (host, port)}
        await self._app(scope, receive, send)
