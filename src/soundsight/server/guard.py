"""What stands before every route: who may call, how often, and the headers of every answer."""

from __future__ import annotations

import hmac
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soundsight.server.counters import Counters
from soundsight.server.engine import Engine
from soundsight.server.problems import MEDIA_TYPE, Problem, problem_of
from soundsight.server.settings import LOOPBACK, Settings

__all__ = ["Guard", "address_of", "is_token"]

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
_ROUTES = {f"/v1/{name}" for name in ("images", "morphs", "embeddings", "live", "models", "examples")}
_ROUTES |= {"/", "/healthz", "/metrics", "/openapi.json"}
_log = logging.getLogger("soundsight.server")


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
        direct: By their paths, what answers ``POST`` past the application's layers, which take time of the event loop.
            They raise what is to be told.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        counters: Counters,
        engine: Engine,
        direct: Mapping[str, Callable[[Request], Awaitable[Response]]],
    ) -> None:
        self._app, self._settings, self._counters, self._engine = app, settings, counters, engine
        self._direct = direct
        self._calls: OrderedDict[str, tuple[float, float]] = OrderedDict()
        # A proxy in front may pass on its own name, which its owner has named as an origin.
        self._names = (
            LOOPBACK | {settings.host.lower()} | {_host_of(origin.partition("://")[2]) for origin in settings.origins}
        )
        if settings.is_open:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # No part of a file is ever sent: they are small.
        scope["headers"] = [each for each in scope["headers"] if each[0] != b"range"]
        headers, path, began = Headers(scope=scope), str(scope["path"]), time.monotonic()
        status, is_whole = 0, False
        origin = headers.get("origin")

        async def answer(message: Message) -> None:
            nonlocal status, is_whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers(path, origin)]
            elif message["type"] == "http.response.body":
                is_whole = not message.get("more_body", False)
            await send(message)

        try:
            self._check(scope, headers, path)
        except Problem as problem:
            if scope["type"] == "websocket":
                await _refuse(problem, scope, receive, send)
            else:
                await _send(problem, answer)
            self._counters.answered(_route(scope), problem.status, time.monotonic() - began)
            return
        if scope["type"] == "websocket":
            await self._live(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and origin is not None and "access-control-request-method" in headers:
            await answer({"type": "http.response.start", "status": 204, "headers": []})
            await answer({"type": "http.response.body", "body": b""})
            return
        direct = self._direct.get(path) if scope["method"] == "POST" else None
        try:
            if direct is None:
                await self._app(scope, receive, answer)
            else:
                response = await direct(Request(scope, receive))
                await response(scope, receive, answer)
        except Exception as error:
            told = problem_of(error)
            if told is not error and told.status >= 500:
                _log.error("a request failed", exc_info=error)
            if not status:
                await _send(told, answer)
            elif not is_whole:  # the connection is cut, so that half an answer does not look like a whole one
                raise
        finally:
            self._counters.answered(_route(scope), status or 500, time.monotonic() - began)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            _log.error("a live session failed", exc_info=error)
            raise

    def _check(self, scope: Scope, headers: Headers, path: str) -> None:
        if scope["type"] == "websocket" and path != "/v1/live":
            raise Problem(404, "there is nothing here")
        host = _host_of(headers.get("host", ""))
        # A page elsewhere may call its own name's address this machine (DNS rebinding): names are compared, too.
        if not self._answers_to(host):
            raise Problem(
                403, "this server answers under localhost, not under that name; its owner can allow one with --origin"
            )
        origin = headers.get("origin")
        if origin is not None and path.startswith(_CLOSED) and not self._is_welcome(origin, headers):
            raise Problem(403, "pages of other origins may not call; the server's owner can allow one with --origin")
        # A browser asks first whether it may ask, without a token; a WebSocket shows its token in the first message.
        preflight = scope["type"] == "http" and scope["method"] == "OPTIONS"
        is_known = preflight or scope["type"] == "websocket" or self._has_token(headers) or not path.startswith(_CLOSED)
        # Also whoever has no token, so that nobody guesses it at leisure.
        if self._settings.rate_per_minute is not None and not preflight and (path.startswith("/v1/") or not is_known):
            self._count(address_of(scope))
        if not is_known:
            raise Problem(
                401,
                "a token is needed: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": 'Bearer realm="soundsight"'},
            )
        if scope["type"] == "http" and scope["method"] == "POST" and path.startswith("/v1/"):
            self._engine.check()  # before a byte of the body is read

    def _has_token(self, headers: Headers) -> bool:
        if self._settings.token is None:
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and is_token(token.strip(), self._settings)

    def _answers_to(self, host: str) -> bool:
        if host in self._names:
            return True
        # Whoever must show a token is no page that came by another name; and an address as such is nobody's name.
        return self._settings.is_open and (self._settings.token is not None or _is_address(host))

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


def address_of(scope: Scope) -> str:
    """Where a request comes from, as far as the connection says."""
    return str((scope.get("client") or ("unknown",))[0])


def is_token(given: str, settings: Settings) -> bool:
    """Whether a text is the token; it takes as long whatever is wrong with it."""
    return settings.token is None or hmac.compare_digest(given.encode(), settings.token.encode())


def _host_of(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _route(scope: Scope) -> str:
    """A name for counting: that of the route, never what a caller made up."""
    return str(scope["path"]) if scope["path"] in _ROUTES else "other"


async def _send(problem: Problem, send: Send) -> None:
    body = problem.body()
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
    await send({"type": "http.response.start", "status": problem.status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": body})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket before it is one: the handshake is answered as any other request."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return

    async def answer(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await _send(problem, answer)
