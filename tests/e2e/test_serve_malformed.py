"""A thousand malformed requests to a real server: each is answered in one line, and the server is as it was."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import numpy as np
import psutil
import pytest

from malformed import EXAMPLES, GROUPS, MAX_UPLOAD, SOUND, Case, Group, cases, request
from words import COMMAND, files

pytest.importorskip("fastapi")
websockets = pytest.importorskip("websockets.sync.client")

pytestmark = pytest.mark.slow

MAX_GROWTH_MB = 60
# What no answer may hold: where the server lives, or how it came to fail.
SECRETS = [str(EXAMPLES.parent), sys.prefix, "site-packages", "Traceback", 'File "', "/tmp/", "root:x:"]


# Who answers.


@dataclass
class Answer:
    status: int
    kind: str
    headers: dict[str, str]
    body: bytes


class Server:
    """A server in folders of its own."""

    def __init__(self, home: Path) -> None:
        self.folders = [home / "cwd", home / "tmp"]
        for folder in self.folders:
            folder.mkdir()
        self.log = home / "stderr"
        command = [COMMAND, "serve", "--port", "0", "--max-upload", str(MAX_UPLOAD / 1e6), "--max-seconds", "60"]
        with self.log.open("wb") as stderr:
            environment = os.environ | {"TMPDIR": str(self.folders[1])}
            self.process = subprocess.Popen(
                command, cwd=self.folders[0], env=environment, stdout=stderr, stderr=stderr, stdin=subprocess.DEVNULL
            )
        end = time.monotonic() + 30
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.02)
        self.port = int(found[1])
        self.secrets = [*SECRETS, str(home)]
        # Its models and its threads are there once they were asked for.
        for path in ("/v1/images?num_images=64", "/v1/embeddings", "/v1/images?format=json&size=512"):
            answer = self.ask(Case(request(path, SOUND)))
            assert answer is not None
            assert answer.status == 200
        self.rss_before_mb = self.rss_mb()

    def rss_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def ask(self, case: Case) -> Answer | None:
        """The answer; None where the connection ends without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as connection:
            # What is refused need not be read to its end.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(case.raw)
                if case.is_cut:
                    connection.shutdown(socket.SHUT_WR)
            answer = HTTPResponse(connection, method=case.raw.partition(b" ")[0].decode("latin-1"))
            try:
                answer.begin()
                found = Answer(answer.status, answer.headers.get_content_type(), dict(answer.headers), answer.read())
            except (HTTPException, ConnectionError):
                return None
            finally:
                answer.close()
        return found

    def complaint(self, case: Case) -> str:
        """What is wrong with the answer to a case; empty if nothing is."""
        try:
            answer = self.ask(case)
        except TimeoutError:
            return "no answer in 15 s"
        if answer is None:
            return "no answer" if case.is_http else ""
        if answer.status >= 500:
            return f"{answer.status}: {answer.body[:300]!r}"
        if case.is_http and case.statuses and answer.status not in case.statuses:
            return f"{answer.status}, not one of {case.statuses}: {answer.body[:300]!r}"
        if answer.kind.startswith(("text/plain", "application/")) or answer.status >= 400:
            told = answer.body.decode("utf-8", "replace") + str(answer.headers)
            if leaks := [secret for secret in self.secrets if secret in told and secret.encode() not in case.raw]:
                return f"it tells {leaks}: {told[:300]}"
        if answer.status < 400 or not case.is_http or case.raw.startswith(b"HEAD"):
            return ""
        return problem_with(answer)

    def good_answer(self) -> bytes:
        answer = self.ask(Case(request("/v1/images?seed=7", SOUND)))
        assert answer is not None
        assert (answer.status, answer.kind) == (200, "image/png")
        return answer.body


def problem_with(answer: Answer) -> str:
    """What is wrong with an error's form; empty if nothing is."""
    try:
        told = json.loads(answer.body)
    except ValueError:
        return f"{answer.status} {answer.kind}, no JSON: {answer.body[:200]!r}"
    if answer.kind != "application/problem+json" or told.get("status") != answer.status:
        return f"{answer.status} {answer.kind}, no problem: {told}"
    detail, title = told.get("detail"), told.get("title")
    if not isinstance(detail, str) or not isinstance(title, str) or not detail or len(detail) > 1000:
        return f"a detail that is none, or too long: {answer.body[:300]!r}"
    if not all(each.isprintable() for each in (detail, title)):
        return f"not one printable line: {detail!r}"
    if answer.headers.get("x-content-type-options") != "nosniff":
        return f"without the headers of every answer: {answer.headers}"
    return ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("serve"))
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGINT)
        try:
            running.process.wait(20)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()


@pytest.fixture(autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """Each test leaves the server as it was: alive, no larger, its folders empty, no fault in its log."""
    before, log_before = server.good_answer(), len(server.log.read_text())
    yield
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    assert server.good_answer() == before
    assert server.rss_mb() - server.rss_before_mb < MAX_GROWTH_MB
    assert [files(folder) for folder in server.folders] == [[], []]
    log = server.log.read_text()[log_before:]
    for fault in ("a request failed", "a live session failed", "Traceback"):
        assert fault not in log, log[-3000:]


# The tests.


def test_there_are_a_thousand() -> None:
    num_cases = {group.__name__: len(cases(group)) for group in GROUPS}
    assert sum(num_cases.values()) >= 1000, num_cases
    assert all(cases(group) == cases(group) for group in GROUPS)  # and the same ones next time


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_malformed_requests(group: Group, server: Server) -> None:
    asked = cases(group)
    with ThreadPoolExecutor(4) as pool:
        complaints = list(pool.map(server.complaint, asked))
    wrong = [
        f"{case.raw[:120]!r} … {complaint}" for case, complaint in zip(asked, complaints, strict=True) if complaint
    ]
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(asked)}:\n" + "\n".join(wrong[:30]), pytrace=False)


def test_slow_bodies_hold_up_nobody(server: Server) -> None:
    raw = request(body=SOUND)
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=15) for _ in range(100)]
    for i, connection in enumerate(slow):
        connection.sendall(raw[: 40 + 40 * i])
    began = time.monotonic()
    good = server.good_answer()
    assert time.monotonic() - began < 5
    for i, connection in enumerate(slow):
        if i % 2:  # half of them come to their end, the others go away
            connection.sendall(raw[40 + 40 * i :])
            answer = HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200
            assert answer.read()[:8] == good[:8]
            answer.close()
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def test_whoever_goes_before_the_answer_is_missed_by_nobody(server: Server) -> None:
    for i in range(40):
        with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
            connection.sendall(request("/v1/images?num_images=64&format=ndjson", SOUND))
            if i % 2:
                connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


START = {"type": "start", "sample_rate_hz": 16000}
STARTS: list[str | bytes] = [
    "", " ", "start", "null", "[]", "7", '"start"', "{", "{}", '{"type": "stop"}', '{"type": "start"}', "NaN", b"",
    b"\0\0",
    b"\xff" * 1000, "[" * 50_000, '{"a":' * 5000, "x" * 400_000, "\0", "\u202e",
    *(json.dumps({**START, "sample_rate_hz": rate}) for rate in (0, -1, 1, 7999, 192_001, 2**70, "x", None, [],
    True, 1.5, math.nan)),
    *(json.dumps({**START, name: value}) for name, value in (
        ("model", "../../etc/passwd"), ("model", ""), ("model", "lenet5"), ("model", 7), ("model", "x" * 5000),
        ("seed", -1),
        ("seed", 2**64), ("seed", "x"), ("size", 7), ("size", 4097), ("size", math.inf), ("variation", 3),
        ("variation", math.nan),
        ("guidance", -1), ("steps", 0), ("steps", 1e9), ("format", "png"), ("num_images", 5), ("token", 7),
        ("token", "x" * 5000),
        ("unknown", 1), ("type", "Start"), ("__proto__", {}), ("style", "/etc/passwd"))),
]  # fmt: skip
LATER: list[str | bytes] = [
    "", "x", "{}", "[]", "null", '{"type": "begin"}', json.dumps(START), "[" * 50_000, b"\0", b"\1\2\3",
    bytes(32_002),
    bytes(400_000), bytes(600_000), bytes(2_000_000), "x" * 600_000,
]  # fmt: skip


def last_words(socket: object) -> tuple[list[str], int | None]:
    """All messages until the end, and the code that it ends with."""
    from websockets.exceptions import ConnectionClosed

    told = []
    while True:
        try:
            told.append(socket.recv(timeout=10))
        except ConnectionClosed as closed:
            return told, None if closed.rcvd is None else closed.rcvd.code


def check_end(told: list[str], code: int | None, server: Server) -> None:
    assert code in (1002, 1003, 1007, 1008, 1009), (code, told[-1:])
    for message in told:
        assert not any(secret in message for secret in server.secrets)
    if code == 1008:
        problem = json.loads(told[-1])
        assert problem["type"] == "problem", problem
        assert problem["detail"].isprintable(), problem
        assert len(problem["detail"]) < 1000


@pytest.mark.parametrize("number", range(len(STARTS)))
def test_first_messages_of_a_live_session(number: int, server: Server) -> None:
    with websockets.connect(f"ws://127.0.0.1:{server.port}/v1/live", compression=None) as socket:
        socket.send(STARTS[number])
        check_end(*last_words(socket), server)


@pytest.mark.parametrize("number", range(len(LATER)))
def test_later_messages_of_a_live_session(number: int, server: Server) -> None:
    from websockets.exceptions import ConnectionClosed

    with websockets.connect(f"ws://127.0.0.1:{server.port}/v1/live", compression=None) as socket:
        socket.send(json.dumps(START))
        assert json.loads(socket.recv(timeout=10)) == {"type": "ready"}
        socket.send(bytes(3200))
        with suppress(ConnectionClosed):  # it is told off in the middle of a message that is too large
            socket.send(LATER[number])
        check_end(*last_words(socket), server)


def frames(rng: np.random.Generator) -> list[bytes]:
    """What is no WebSocket: bad UTF-8, unmasked, reserved bits, lying lengths, control frames too long, noise."""
    mask = b"\1\2\3\4"

    def masked(first: int, data: bytes, length: int | None = None) -> bytes:
        size = len(data) if length is None else length
        head = bytes([first, 0x80 | size]) if size < 126 else bytes([first, 0xFF]) + size.to_bytes(8, "big")
        return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))

    broken = [masked(0x81, b"\xff\xfe"), b"\x81\x05hello", masked(0xF1, b"x"), masked(0x83, b"x"), masked(0x80, b"x")]
    broken += [masked(0x82, b"x", 2**63), masked(0x82, b"x", 2**63 - 1), masked(0x09, b"x"), masked(0x89, bytes(200))]
    broken += [
        masked(0x88, b"\1"),
        masked(0x88, b"\3\xe7"),
        masked(0x88, b"\3\xe8\xff"),
        b"\x81",
        b"GET / HTTP/1.1\r\n\r\n",
    ]
    return broken + [rng.integers(0, 256, 200, np.uint8).tobytes() for _ in range(20)]


@pytest.mark.parametrize("path", ["/v1/live", "/v1/images", "/v1/nothing", "/", "/static/x"])
def test_what_is_no_websocket(path: str, server: Server) -> None:
    upgrade = (
        ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )  # fmt: skip
    for frame in frames(np.random.default_rng(3)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
            connection.sendall(request(path, b"", "GET", *upgrade))
            head = connection.recv(65536)
            expected = (b"HTTP/1.1 101",) if path == "/v1/live" else (b"HTTP/1.1 403", b"HTTP/1.1 404")
            assert head.startswith(expected), head
            with suppress(OSError):  # it may have gone already
                connection.sendall(frame)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass


@pytest.mark.parametrize(
    ("name", "value"), [("Origin", "http://evil.example"), ("Host", "evil.example"), ("Sec-WebSocket-Key", "x"),
                        ("Sec-WebSocket-Version", "99"), ("Upgrade", "x"), ("Sec-WebSocket-Protocol", "\x7f")]
)  # fmt: skip
def test_a_handshake_that_is_refused(name: str, value: str, server: Server) -> None:
    usual = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    answer = server.ask(Case(request("/v1/live", b"", "GET", *(usual | {name: value}).items())))
    assert answer is not None
    assert 400 <= answer.status < 500
