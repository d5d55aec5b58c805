"""The head of a request: one that is too large, or that never ends, is not kept."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("httptools")

from soundsight.server import protocol  # noqa: E402

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    """Without reading the body, as where a request is refused."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(protocol, "_HEAD_S", 0.3)
    server = uvicorn.Server(uvicorn.Config(_answers, http=protocol.Protocol, lifespan="off", log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        thread.join(20)


def _until_closed(connection: socket.socket) -> bytes:
    """What is answered until the server closes the connection."""
    connection.settimeout(10)
    answer = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


def _check_ok(connection: socket.socket) -> None:
    connection.settimeout(10)
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        piece = connection.recv(1 << 16)
        assert piece, answer
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("start", [b"", HEAD, b"\r\n", b"POST / HT"])
def test_a_head_that_never_ends(address: tuple[str, int], start: bytes) -> None:
    """Also the second one of a connection, and one that comes byte by byte."""
    with closing(socket.create_connection(address)) as connection:
        connection.sendall(start)
        assert _until_closed(connection) == b""
    if start:
        with closing(socket.create_connection(address)) as connection:
            connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
            _check_ok(connection)
            connection.sendall(start)
            assert _until_closed(connection) == b""
    with closing(socket.create_connection(address)) as connection, suppress(BrokenPipeError, ConnectionResetError):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            connection.sendall(b"\r\n")
            time.sleep(0.05)
        raise AssertionError("still open")


@pytest.mark.parametrize("piece", [b"X: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
def test_a_head_that_is_too_large(address: tuple[str, int], piece: bytes) -> None:
    """Of many fields, or of one without an end."""
    with closing(socket.create_connection(address)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(HEAD + b"X: ")
            for _ in range(1000):
                connection.sendall(piece)
        assert _until_closed(connection)[:12] in (b"HTTP/1.1 400", b"")


def test_a_large_body_is_no_head(address: tuple[str, int]) -> None:
    """However long it takes, and on a connection that is used again."""
    with closing(socket.create_connection(address)) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"Content-Length: 400000\r\n\r\n")
            for _ in range(4):
                connection.sendall(bytes(100_000))
                time.sleep(0.1)
            _check_ok(connection)
