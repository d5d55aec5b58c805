"""``soundsight serve`` in a process of its own, asked over the wire, and stopped."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

pytest.importorskip("fastapi")

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from serve_process import READY, Server, served
from served import EXAMPLES, SEVEN, decoded, lines, pixels, unzipped
from soundsight import __version__
from soundsight.evaluation.networks import load_judge
from words import files

pytestmark = pytest.mark.slow
RESET = struct.pack("ii", 1, 0)  # a connection that ends so is reset
UPGRADE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("server")) as made:
        yield made
        # Whatever the tests did: nothing was said but the one line, and no file was written.
        assert made.stop() in (0, -signal.SIGTERM)
        assert READY.fullmatch(made.log.read_text()), made.log.read_text()
        assert files(made.cwd) == files(made.tmp) == []


def _frame(kind: int, content: bytes) -> bytes:
    """A message of a WebSocket, under a mask of zeros."""
    return struct.pack(">BBH4x", 0x80 | kind, 0x80 | 126, len(content)) + content


# One that runs.


def test_the_page_and_its_files(server: Server) -> None:
    status, headers, page = server.ask("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "server" not in headers
    found = {name.decode() for name in re.findall(rb'(?:src|href)="(/?static/[^"]+)"', page)}
    assert found
    for name in found:
        status, headers, content = server.ask("/" + name.lstrip("/"))
        assert (status, bool(content)) == (200, True), name
        assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(server.ask("/healthz")[2]) == {"status": "ok", "version": __version__}
    assert json.loads(server.ask("/openapi.json")[2])["info"]["version"] == __version__


def test_digits_over_the_wire_are_read_as_digits(server: Server) -> None:
    """By a judge that has never heard them; chance is one in ten."""
    judge = load_judge("lenet5", 10, (1, 28, 28))[1]
    num_right = 0
    for label, name in enumerate(DIGITS):
        sound = (EXAMPLES / f"{name}.wav").read_bytes()
        status, _, content = server.ask("/v1/images?format=zip&num_images=4", sound)
        assert status == 200
        logits = np.asarray(judge(np.stack(list(unzipped(content).values()))[:, None])[0])
        num_right += int((logits.argmax(1) == label).sum())
    assert num_right >= 36
    sheet = pixels(server.ask("/v1/images?num_images=4", SEVEN)[2])
    assert sheet.shape[1] > 4 * 28


def test_lines_come_one_by_one(server: Server) -> None:
    """The first picture is there before the last is made."""
    with closing(HTTPConnection(server.host, server.port, timeout=60)) as connection:
        connection.request("POST", "/v1/images?format=ndjson&num_images=64&size=500", SEVEN)
        answer = connection.getresponse()
        assert answer.headers["transfer-encoding"] == "chunked"
        began, content, times_s = time.monotonic(), b"", []
        while line := answer.readline():
            content += line
            times_s.append(time.monotonic() - began)
    told = lines(content)
    assert [each["type"] for each in told] == ["sound", *["image"] * 64, "end"]
    assert times_s[1] < times_s[-1] / 3
    assert told[-1]["seconds"] <= 10


def test_nothing_is_listened_on_but_this_machine_alone(server: Server) -> None:
    connections = psutil.Process(server.process.pid).net_connections("all")
    listening = [each.laddr for each in connections if each.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", server.port)]
    assert not [each for each in connections if each.raddr and each.laddr.port != server.port]  # it calls nobody


def test_live_over_the_wire(server: Server) -> None:
    samples_T, rate_hz = soundfile.read(EXAMPLES / "seven.wav", dtype="int16")
    quiet_T = np.zeros(rate_hz // 2, np.int16)
    whole = np.concatenate([quiet_T, samples_T, quiet_T]).astype("<i2").tobytes()
    with connect(f"ws://{server.host}:{server.port}/v1/live", max_size=None) as live:
        live.send(json.dumps({"type": "start", "sample_rate_hz": rate_hz, "size": 28}))
        assert json.loads(live.recv()) == {"type": "ready"}
        for i in range(0, len(whole), 4000):
            live.send(whole[i : i + 4000])
        live.send('{"type": "stop"}')
        told = [json.loads(message) for message in live]
        assert live.protocol.close_code == 1000
    finals = [each for each in told if each["type"] == "image" and each["final"]]
    judge = load_judge("lenet5", 10, (1, 28, 28))[1]
    assert [int(np.asarray(judge(decoded(each)[None, None])[0]).argmax()) for each in finals] == [7]
    with connect(f"ws://{server.host}:{server.port}/v1/live") as live:
        live.send(json.dumps({"type": "start", "sample_rate_hz": 192_000}))
        live.recv()
        live.send(bytes(1 << 20))
        with pytest.raises(ConnectionClosedError):
            live.recv()
        assert live.protocol.close_code == 1009


def test_clients_that_vanish_leave_no_trace(server: Server) -> None:
    """In a request, in an answer, in a word: the log stays as it was (the fixture looks), and others are answered."""
    head = b"POST /v1/images?format=%s&num_images=64 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    for form in (b"ndjson", b"png"):
        for size, wait_s in ((100, 0.0), (len(SEVEN), 0.0), (len(SEVEN), 0.03)):
            with socket.create_connection((server.host, server.port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.sendall(head % (form, len(SEVEN)) + SEVEN[:size])
                time.sleep(wait_s)
    samples_T, rate_hz = soundfile.read(EXAMPLES / "phone-number.wav", dtype="int16")
    start = json.dumps({"type": "start", "sample_rate_hz": rate_hz}).encode()
    for num_samples in (rate_hz // 2, rate_hz, 2 * rate_hz):
        with socket.create_connection((server.host, server.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.sendall(UPGRADE + _frame(1, start))
            for i in range(0, num_samples, 2000):
                connection.sendall(_frame(2, samples_T[i : i + 2000].astype("<i2").tobytes()))
                time.sleep(0.01)
    end = time.monotonic() + 20
    while server.count("soundsight_active") + server.count("soundsight_waiting"):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert server.ask("/v1/images", SEVEN)[0] == 200


# The end.


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_end_answers_what_was_accepted(tmp_path: Path, workers: str) -> None:
    num = 10
    with served(tmp_path, "--deadline", "60", "--queue", "100", "--workers", workers) as server:
        answers: list[tuple[int, bytes]] = []

        def ask() -> None:
            status, _, content = server.ask("/v1/images?format=zip&num_images=64&size=300", SEVEN)
            answers.append((status, content))

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(num)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 30
        while server.count("soundsight_images_total") < 5 * num:  # by then all have come
            assert time.monotonic() < end
            time.sleep(0.01)
        assert len(answers) < num, "too fast to see anything"
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        last = time.monotonic()
        assert server.process.wait(30) in (0, -signal.SIGTERM)
        assert time.monotonic() - last < 5
        assert [status for status, _ in answers] == [200] * num
        assert all(len(unzipped(content)) == 64 for _, content in answers)
        with pytest.raises(ConnectionRefusedError):
            server.ask("/healthz")
        assert READY.fullmatch(server.log.read_text())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c(tmp_path: Path, workers: str) -> None:
    """Also with a connection that is open and says nothing."""
    with served(tmp_path, "--workers", workers) as server:
        children = psutil.Process(server.process.pid).children(recursive=True)
        with socket.create_connection((server.host, server.port)):
            assert server.ask("/healthz")[0] == 200
            assert server.stop(signal.SIGINT) in (0, 130, -signal.SIGINT)
        assert READY.fullmatch(server.log.read_text()), server.log.read_text()
        assert not psutil.wait_procs(children, 10)[1]
        assert files(server.tmp) == []


@pytest.mark.parametrize("pause_s", [0, 0.1, 0.2, 0.4, 1])
def test_workers_end_with_the_process_that_was_killed(tmp_path: Path, pause_s: float) -> None:
    """They would keep the port and serve on, with nobody to end them; one of them may be starting still."""
    with served(tmp_path, "--workers", "2") as server:
        time.sleep(pause_s)
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert server.ask("/v1/images", SEVEN)[0] == 200
        server.process.kill()
        assert not psutil.wait_procs(children, 20)[1]
        with pytest.raises(ConnectionRefusedError):
            server.ask("/healthz")
        assert READY.fullmatch(server.log.read_text()), server.log.read_text()


def test_workers_share_the_work_and_their_counters(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        assert len(psutil.Process(server.process.pid).children()) >= 2
        answers = [server.ask(f"/v1/images?seed={i}&num_images=3", SEVEN) for i in range(30)]
        assert {status for status, _, _ in answers} == {200}
        one, other = (server.ask("/v1/images?seed=5&num_images=3", SEVEN)[2] for _ in range(2))
        assert one == other == answers[5][2]
        assert server.count("soundsight_images_total") == 32 * 3
        posts = [server.count("soundsight_requests_total") for _ in range(3)]
        # A request is counted once it is answered; the other worker may have been asked by then.
        assert 32 <= posts[0] <= posts[1] <= posts[2] <= posts[0] + 3
        _kill_the_workers(server)
        assert server.count("soundsight_images_total") == 32 * 3
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop() in (0, -signal.SIGTERM)
        assert not psutil.wait_procs(children, 10)[1]
        assert READY.fullmatch(server.log.read_text()), server.log.read_text()
        assert files(server.tmp) == []


def _kill_the_workers(server: Server) -> None:
    """As for want of memory, in the middle of something: others take their place, and nothing is counted for ever."""
    with connect(f"ws://{server.host}:{server.port}/v1/live") as live:
        live.send(json.dumps({"type": "start", "sample_rate_hz": 8000}))
        live.recv()
        assert server.count("soundsight_live") == 1
        for child in psutil.Process(server.process.pid).children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
    end = time.monotonic() + 30
    while True:
        with suppress(OSError):
            if server.count("soundsight_live") == 0:
                return
        assert time.monotonic() < end
        time.sleep(0.1)
