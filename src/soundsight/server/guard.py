"""What stands before every route: who may call, how often, and the headers of every answer."""

from __future__ import annotations

import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soundsight.server.counters import Counters
from soundsight.server.engine import Engine
from soundsight.server.problems import MEDIA_TYPE, Problem
from soundsight.server.schemas import PATHS
from soundsight.server.settings import LOOPBACK, Settings

__all__ = ["Guard", "is_token"]

_CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_WELCOME = {
    "access-control-allow-headers": "authorization, content-type",
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-expose-headers": "x-seed, x-model, x-heard, retry-after",
    "cross-origin-resource-policy": "cross-origin",
    "vary": "Origin",
}
_CLOSED = ("/v1/", "/metrics")
_MAX_ADDRESSES = 10_000


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


# Once, and not for every answer.
_PRIVATE = _raw({**_HEADERS, "cache-control": "no-store"})
_PUBLIC = _raw({**_HEADERS, "cache-control": "no-cache"})


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: What is guarded.
        settings: Who may call.
        counters: Told of each answer.
        engine: Asked whether there is room.
    """

    def __init__(self, app: ASGIApp, settings: Settings, counters: Counters, engine: Engine) -> None:
        self._app, self._settings, self._counters, self._engine = app, settings, counters, engine
        self._calls: OrderedDict[str, tuple[float, float]] = OrderedDict()
        # A proxy in front may pass on its own name, which its owner has named as an origin.
        self._names = LOOPBACK | {settings.host} | {_host_of(origin.partition("://")[2]) for origin in settings.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # No part of a file is ever sent: they are small.
        scope["headers"] = [each for each in scope["headers"] if each[0] != b"range"]
        headers, path, began = Headers(scope=scope), str(scope["path"]), time.monotonic()
        status, has_begun = 500, False
        origin = headers.get("origin")

        async def answer(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                message["headers"] = [*message.get("headers", ()), *self._headers(path, origin)]
            await send(message)

        try:
            self._check(scope, headers, path)
        except Problem as problem:
            if scope["type"] == "websocket":
                await _refuse(receive, send)
            else:
                await _send(problem, answer)
                self._counters.answered(_route(scope), problem.status, time.monotonic() - began)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and origin is not None and "access-control-request-method" in headers:
            await answer({"type": "http.response.start", "status": 204, "headers": []})
            await answer({"type": "http.response.body", "body": b""})
            return
        try:
            await self._app(scope, receive, answer)
        except Exception:
            if has_begun:
                raise
            await _send(Problem(500, "the server failed; the fault is not in what was sent"), answer)
            raise
        finally:
            self._counters.answered(_route(scope), status, time.monotonic() - began)

    def _check(self, scope: Scope, headers: Headers, path: str) -> None:
        host = _host_of(headers.get("host", ""))
        # A page elsewhere may call its own name's address this machine (DNS rebinding): names are compared, too.
        if not self._settings.is_open and host not in self._names:
            raise Problem(403, "this server answers under localhost, 127.0.0.1, and names given with --origin")
        origin = headers.get("origin")
        if origin is not None and path.startswith(_CLOSED) and not self._is_welcome(origin, headers):
            raise Problem(403, "pages of other origins may not call; the server's owner can allow one with --origin")
        # A browser asks first whether it may ask, without a token; a WebSocket shows its token in the first message.
        preflight = scope["type"] == "http" and scope["method"] == "OPTIONS"
        if self._settings.token is not None and scope["type"] == "http" and path.startswith(_CLOSED) and not preflight:
            kind, _, token = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not is_token(token.strip(), self._settings):
                raise Problem(
                    401,
                    "a token is needed: Authorization: Bearer TOKEN",
                    headers={"WWW-Authenticate": 'Bearer realm="soundsight"'},
                )
        if self._settings.rate_per_minute is not None and path.startswith("/v1/") and not preflight:
            self._count(str((scope.get("client") or ("unknown",))[0]))
        if scope["type"] == "http" and scope["method"] == "POST" and path.startswith("/v1/"):
            self._engine.check()  # before a byte of the body is read

    def _is_welcome(self, origin: str, headers: Headers) -> bool:
        own = origin.partition("://")[2]  # not by urlsplit, which raises at half an IPv6 address
        return (own != "" and own == headers.get("host")) or origin in self._settings.origins

    def _count(self, address: str) -> None:
        """A bucket of so many calls for each address, filled evenly over a minute."""
        most = float(self._settings.rate_per_minute or 0)
        now = time.monotonic()
        left, last = self._calls.pop(address, (most, now))
        left = min(most, left + (now - last) * most / 60)
        # What is refused costs nothing: whoever asks too often is still let in when told to come back.
        self._calls[address] = (left if left < 1 else left - 1, now)
        while len(self._calls) > _MAX_ADDRESSES:
            self._calls.popitem(last=False)
        if left < 1:
            wait_s = int((1 - left) * 60 / most) + 1
            raise Problem(429, f"more than {most:g} requests a minute", headers={"Retry-After": str(wait_s)})

    def _headers(self, path: str, origin: str | None) -> list[tuple[bytes, bytes]]:
        common = _PRIVATE if path.startswith(_CLOSED) else _PUBLIC
        if origin is None or origin not in self._settings.origins:
            return common
        others = _raw({**_WELCOME, "access-control-allow-origin": origin})
        return [each for each in common if each[0] != b"cross-origin-resource-policy"] + others


def is_token(given: str, settings: Settings) -> bool:
    """Whether a text is the token; it takes as long whatever is wrong with it."""
    return settings.token is None or hmac.compare_digest(given.encode(), settings.token.encode())


def _host_of(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _route(scope: Scope) -> str:
    """A name for counting: that of the route, never what a caller made up."""
    path = scope["path"] if scope["path"] in PATHS else getattr(scope.get("route"), "path", None)
    return str(path) if path else "other"


async def _send(problem: Problem, send: Send) -> None:
    body = problem.body()
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
    await send({"type": "http.response.start", "status": problem.status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": body})


async def _refuse(receive: Receive, send: Send) -> None:
    """Refuse a WebSocket before it is one; the handshake is answered with 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": json.dumps("not allowed")})
