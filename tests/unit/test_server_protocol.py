"""What a client may take its time for, and what not: heads, bodies that nobody reads, answers that it does not take."""

from __future__ import annotations

import asyncio
import json
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


NUM_LARGE = 1 << 24  # more than a system keeps for a connection


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    """Without reading the body, as where a request is refused."""
    assert len(scope["headers"]) < 5
    if scope["path"] == "/late":
        await asyncio.sleep(1.5)
    body = bytes(NUM_LARGE) if scope["path"] == "/large" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(protocol, "_HEAD_S", 0.3)
    monkeypatch.setattr(protocol, "_BODY_S", 1.0)
    monkeypatch.setattr(protocol, "_READ_S", 0.3)
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


def test_a_head_that_is_too_large_and_whole(address: tuple[str, int]) -> None:
    with closing(socket.create_connection(address)) as connection:
        connection.sendall(HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n")
        head, _, body = _until_closed(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json")
        assert json.loads(body)["detail"] == "the head of the request is too large"


@pytest.mark.parametrize("request_", [b"nonsense\r\n\r\n", HEAD + b"Content-Length: -5\r\n\r\n"])
def test_400_is_a_problem(address: tuple[str, int], request_: bytes) -> None:
    """Also on a connection that was used before."""
    for before in (b"", HEAD + b"Content-Length: 0\r\n\r\n"):
        with closing(socket.create_connection(address)) as connection:
            if before:
                connection.sendall(before)
                _check_ok(connection)
            connection.sendall(request_)
            told = json.loads(_until_closed(connection).partition(b"\r\n\r\n")[2])
            assert (told["status"], told["detail"]) == (400, "this is no request in HTTP")


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def test_what_follows_a_body_is_not_kept(address: tuple[str, int]) -> None:
    """A few trailers are passed over, here more than the application lets pass as headers; not so without an end."""
    with closing(socket.create_connection(address)) as connection:
        for _ in range(2):
            connection.sendall(CHUNKED + b"2\r\nhi\r\n0\r\n" + b"a: b\r\n" * 100 + b"\r\n")
            _check_ok(connection)
    for piece in (b"a: b\r\n" * 1000, b"a" * 6000, b"b: " + b"a" * 6000):
        with closing(socket.create_connection(address)) as connection:
            sent = 0
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(CHUNKED + b"0\r\n")
                for _ in range(1000):
                    connection.sendall(piece)
                    sent += len(piece)
                    time.sleep(0.001)
            assert sent < 2_000_000
            _until_closed(connection)


def test_a_body_in_small_pieces_is_no_head(address: tuple[str, int]) -> None:
    with closing(socket.create_connection(address)) as connection:
        connection.sendall(CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
        _check_ok(connection)
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        _check_ok(connection)


def test_a_body_that_nobody_reads_has_an_end(address: tuple[str, int]) -> None:
    with closing(socket.create_connection(address)) as connection, suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(HEAD + b"Content-Length: 400000\r\n\r\n")
        _check_ok(connection)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            connection.sendall(b"a")
            time.sleep(0.05)
        raise AssertionError("still open")


def test_who_waits_for_an_answer_is_not_hurried(address: tuple[str, int]) -> None:
    """The server does not read the second request's body before the first is answered."""
    late = b"POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    with closing(socket.create_connection(address)) as connection:
        connection.sendall(late + HEAD + b"Content-Length: 4\r\n\r\nab")
        connection.settimeout(10)
        answers = b""
        while answers.count(b"\r\n\r\nok") < 2:
            piece = connection.recv(1 << 16)
            assert piece, answers
            answers += piece
        connection.sendall(b"cd" + HEAD + b"Content-Length: 0\r\n\r\n")
        _check_ok(connection)


def test_an_answer_that_is_not_taken_is_given_up(address: tuple[str, int]) -> None:
    """One that is taken slowly is not."""
    with closing(socket.create_connection(address)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        assert len(_until_closed(connection)) < NUM_LARGE
    with closing(socket.create_connection(address)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        taken = 0
        while piece := connection.recv(1 << 20):
            taken += len(piece)
            time.sleep(0.05)
        assert taken > NUM_LARGE


def test_a_large_body_is_no_head(address: tuple[str, int]) -> None:
    """However long it takes, and on a connection that is used again."""
    with closing(socket.create_connection(address)) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"Content-Length: 400000\r\n\r\n")
            for _ in range(4):
                connection.sendall(bytes(100_000))
                time.sleep(0.1)
            _check_ok(connection)
