"""Requests and answers: one connection each, what came checked before it is used, what went wrong in one line."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from soundsight._version import __version__
from soundsight.errors import SoundsightError

__all__ = ["ServerError", "Transport"]

_JSON, _LINES, _PROBLEM = "application/json", "application/x-ndjson", "application/problem+json"
# What is kept in memory: of a stream, of a line of it (a picture of 4096 by 4096 pixels in colour just fits), of other
# answers, which are small, and of an error, which is short.
_MAX_STREAM_BYTES = 1 << 30
_MAX_LINE_BYTES = 1 << 27
_MAX_JSON_BYTES = 1 << 24
_MAX_PROBLEM_BYTES = 1 << 16
# A server that asks for more patience than this is not waited for.
_MAX_WAIT_S = 60.0


class ServerError(SoundsightError):
    """The server refused, failed, or could not be reached.

    Attributes:
        status: Its HTTP status; None where no answer came.
        problem: What it said, as in RFC 9457; empty where it said nothing of the kind.
        retry_after_s: In how many seconds to try again, where it said so.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        problem: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})
        self.retry_after_s = retry_after_s


class Transport:
    """The way to one server.

    Args:
        url: As for ``Client``; the others, too.
        token: As for ``Client``.
        timeout_s: As for ``Client``.
        retries: As for ``Client``.

    Raises:
        SoundsightError: As for ``Client``.
    """

    def __init__(self, url: str, token: str | None, timeout_s: float, retries: int) -> None:
        self._parts = _checked(url)
        self.url = url.rstrip("/")
        if token is not None and not (token and token.isascii() and token.isprintable() and token == token.strip()):
            raise SoundsightError("the token is none: expected printable ASCII characters without spaces around them")
        if not 0 < timeout_s < float("inf") or retries < 0:
            raise SoundsightError(f"timeout_s is {timeout_s} and retries {retries}; expected a time and a count")
        self._token, self._timeout_s, self._retries = token, timeout_s, retries

    def json(self, method: str, path: str, body: bytes = b"", content_type: str | None = None) -> dict[str, Any]:
        """The JSON object that a request is answered with.

        Raises:
            ServerError: It is answered with something else, or not at all.
        """
        with self._answer(method, path, body, content_type, _JSON) as answer:
            data = answer.read(_MAX_JSON_BYTES + 1)
        if len(data) > _MAX_JSON_BYTES:
            raise self.strange(f"more than {_MAX_JSON_BYTES:,} bytes")
        return self._object(data)

    def lines(self, path: str, body: bytes, content_type: str) -> Iterator[dict[str, Any]]:
        """The JSON objects, a line each, that a request is answered with, up to the one that says it is the end.

        Raises:
            ServerError: As for ``json``; also where a line tells a problem, or there is no end.
        """
        left = _MAX_STREAM_BYTES
        with self._answer("POST", path, body, content_type, _LINES) as answer:
            # A line without an end, and no line at all: the connection broke.
            while (line := answer.readline(min(_MAX_LINE_BYTES, left) + 1)).endswith(b"\n"):
                left -= len(line)
                told = self._object(line)
                if told.get("type") == "end":
                    return
                if told.get("type") == "problem":
                    status = told.get("status")
                    raise self._told(status if isinstance(status, int) else answer.status, told)
                yield told
        if len(line) > min(_MAX_LINE_BYTES, left):
            raise self.strange("more than is kept in memory; ask for fewer or smaller pictures", answer.status)
        raise self.strange("a stream that breaks off in the middle", answer.status)

    def strange(self, what: str, status: int | None = 200) -> ServerError:
        """The error for an answer that no server of this kind gives."""
        return ServerError(f"{self.url} answered with {_one_line(what)}", status)

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes, content_type: str | None, expected: str
    ) -> Iterator[HTTPResponse]:
        """A good answer of the kind expected, tried again as often as was asked for; closed in the end."""
        for left in range(self._retries, -1, -1):
            connection = self._connection()
            try:
                answer = self._send(connection, method, path, body, content_type)
                with answer:
                    if answer.status == 200 and answer.headers.get_content_type() == expected:
                        yield answer
                        return
                    error = self._refusal(answer)
            except (OSError, HTTPException) as cause:
                raise self._unreachable(cause) from cause
            finally:
                connection.close()
            wait_s = 1.0 if error.retry_after_s is None else error.retry_after_s
            if left == 0 or error.status not in (429, 503) or wait_s > _MAX_WAIT_S:
                raise error
            time.sleep(wait_s)

    def _connection(self) -> HTTPConnection:
        """Not yet open; proxies that the environment names are not asked, for a token would pass through them."""
        kind, usual = (HTTPSConnection, 443) if self._parts.scheme == "https" else (HTTPConnection, 80)
        return kind(self._parts.hostname or "", self._parts.port or usual, timeout=self._timeout_s)

    def _send(
        self, connection: HTTPConnection, method: str, path: str, body: bytes, content_type: str | None
    ) -> HTTPResponse:
        headers = {"Connection": "close", "User-Agent": f"soundsight/{__version__}"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        connection.connect()
        # A server that refuses a body need not read it to the end: what it said may be there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, self._parts.path.rstrip("/") + path, body or None, headers)
        return connection.getresponse()

    def _refusal(self, answer: HTTPResponse) -> ServerError:
        """The error for an answer that is not the one expected."""
        kind = answer.headers.get_content_type()
        if answer.status == 200:
            return self.strange(f"{kind}: is that a soundsight server?")
        if 300 <= answer.status < 400:
            return self.strange("a redirection, which is not followed: give the address itself", answer.status)
        problem = self._object(answer.read(_MAX_PROBLEM_BYTES), answer.status) if kind == _PROBLEM else {}
        told = answer.headers.get("Retry-After", "").strip()
        return self._told(answer.status, problem, float(told) if told.isdecimal() and len(told) < 10 else None)

    def _told(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> ServerError:
        detail = problem.get("detail") or problem.get("title") or "no reason given"
        return ServerError(f"{self.url} answered {status}: {_one_line(detail)}", status, problem, retry_after_s)

    def _unreachable(self, error: Exception) -> ServerError:
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return ServerError(f"no soundsight server at {self.url}; start one: soundsight serve")
        if isinstance(error, TimeoutError):
            return ServerError(f"{self.url} did not answer within {self._timeout_s:g} s")
        return ServerError(f"{self.url} broke off ({_one_line(error) or type(error).__name__})")

    def _object(self, data: bytes, status: int = 200) -> dict[str, Any]:
        try:
            told = json.loads(data, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise self.strange("what is no JSON", status) from error
        if not isinstance(told, dict):
            raise self.strange("JSON that is no object", status)
        return told


def _checked(url: str) -> SplitResult:
    """The parts of an address that a server can have."""
    mistake = SoundsightError(f"{url!r:.200} is no address of a server; expected one like http://127.0.0.1:8000")
    if not isinstance(url, str) or not (url.isascii() and url.isprintable()) or " " in url:
        raise mistake
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise mistake from error
    if "@" in parts.netloc:  # it would end up in logs, and in what is printed here
        raise SoundsightError("the address of a server holds no name or password; give a token")
    if not known or parts.query or parts.fragment:
        raise mistake
    return parts


def _one_line(told: object) -> str:
    """What a server said, fit to be printed."""
    line = " ".join(str(told).split())[:500]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
