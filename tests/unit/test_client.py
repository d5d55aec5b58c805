"""The client against a small server of the test's own, which answers as told, also wrongly."""

from __future__ import annotations

import base64
import io
import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from soundsight.client import Client, Picture, ServerError, transport
from soundsight.client import client as calls
from soundsight.errors import AudioError, ImageError, OutputError, SoundsightError

LINES, JSON, PROBLEM = "application/x-ndjson", "application/json", "application/problem+json"


@dataclass
class Answer:
    """``chunks`` are sent one by one; with ``is_cut`` more is promised than comes."""

    status: int = 200
    kind: str = JSON
    chunks: list[bytes] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False
    in_chunks: bool = False
    pause_s: float = 0.0


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def route(self) -> str:
        return urlsplit(self.path).path

    @property
    def options(self) -> dict[str, str]:
        parsed = parse_qs(urlsplit(self.path).query, strict_parsing=True, keep_blank_values=True)
        assert all(len(values) == 1 for values in parsed.values())
        return {name: values[0] for name, values in parsed.items()}


@dataclass
class Fake:
    url: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def client(self, **options: object) -> Client:
        return Client(self.url, timeout_s=5, **options)

    def will_tell(self, told: object, **changes: object) -> None:
        self.answers.append(Answer(chunks=[json.dumps(told).encode()], **changes))

    def will_stream(self, *lines: object, **changes: object) -> None:
        self.answers.append(Answer(kind=LINES, chunks=[json.dumps(line).encode() + b"\n" for line in lines], **changes))

    def will_refuse(self, status: int, detail: str, **headers: str) -> None:
        problem = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
        self.will_tell(problem, status=status, kind=PROBLEM, headers=headers)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        fake: Fake = self.server.fake
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fake.requests.append(Request(self.command, self.path, dict(self.headers), body))
        self.close_connection = True
        with suppress(OSError):
            self.send(fake, fake.answers.pop(0))

    do_POST = do_GET

    def send(self, fake: Fake, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        if answer.in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(sum(map(len, answer.chunks)) + (10 if answer.is_cut else 0)))
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for chunk in answer.chunks:
            if answer.pause_s and fake.stop.wait(answer.pause_s):
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if answer.in_chunks else chunk)
            self.wfile.flush()
        if answer.in_chunks and not answer.is_cut:
            self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def fake() -> Iterator[Fake]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = False
    server = Fake(f"http://127.0.0.1:{http.server_port}")
    http.fake = server
    thread = threading.Thread(target=lambda: http.serve_forever(0.01))
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept."""
    told: list[float] = []
    monkeypatch.setattr(transport.time, "sleep", told.append)
    return told


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (28, 28), level).save(buffer, "PNG")
    return buffer.getvalue()


def sound_line(part: int = 0, heard: dict | None = None) -> dict:
    return {"type": "sound", "part": part, "num_parts": 1, "duration_s": 0.6, "peaks": [0, 1], "heard": heard}


def image_line(index: int, part: int = 0, **changes: object) -> dict:
    coded = base64.b64encode(png(index)).decode()
    return {"type": "image", "part": part, "index": index, "width": 28, "height": 28, "png": coded} | changes


END = {"type": "end", "num_images": 2, "seconds": 0.02}
SEVEN = {"label": "7", "confidence": 0.98, "outlier": 0.01}


def refused(call: Callable[[], object]) -> ServerError:
    with pytest.raises(ServerError) as caught:
        call()
    assert str(caught.value).isprintable()
    return caught.value


# What is sent.


def test_the_sound_is_the_body_and_the_options_are_the_query(fake: Fake) -> None:
    fake.will_stream(sound_line(heard=SEVEN), image_line(0), image_line(1), END)
    pictures = fake.client().images(b"RIFF", 2, 2**64 - 1, 112, "digits & more", variation=0.5, guidance=2.0, steps=8)
    assert [(p.index, p.part, p.png, p.heard) for p in pictures] == [(i, 0, png(i), SEVEN) for i in range(2)]
    (request,) = fake.requests
    assert (request.method, request.route, request.body) == ("POST", "/v1/images", b"RIFF")
    assert request.headers["Content-Type"] == "application/octet-stream"
    assert request.options == {
        "num_images": "2", "seed": "18446744073709551615", "size": "112", "model": "digits & more", "split": "false",
        "variation": "0.5", "guidance": "2.0", "steps": "8", "format": "ndjson",
    }  # fmt: skip


def test_what_is_left_out_is_left_to_the_server(fake: Fake) -> None:
    fake.will_stream(sound_line(), image_line(0), END)
    (picture,) = fake.client().images(b"RIFF")
    assert picture.heard is None
    assert fake.requests[0].options == {"num_images": "1", "seed": "0", "split": "false", "format": "ndjson"}


def test_a_sound_is_a_path_or_bytes_or_an_open_file(fake: Fake, tmp_path) -> None:
    path = tmp_path / "seven.wav"
    path.write_bytes(b"RIFF and more")
    with path.open("rb") as file:
        for sound in (path, str(path), file, b"RIFF and more"):
            fake.will_stream(END)
            assert fake.client().images(sound) == []
    assert [request.body for request in fake.requests] == [b"RIFF and more"] * 4


def test_parts_come_with_what_was_heard_in_each(fake: Fake) -> None:
    fake.will_stream(sound_line(0, SEVEN), image_line(0), sound_line(1), image_line(0, 1), {"type": "news"}, END)
    pictures = fake.client().images(b"RIFF", split=True)
    assert [(p.part, p.heard) for p in pictures] == [(0, SEVEN), (1, None)]
    assert fake.requests[0].options["split"] == "true"


def test_two_sounds_are_a_form_that_others_can_read(fake: Fake) -> None:
    frames = [image_line(i, place=i / 2) for i in range(3)]
    fake.will_stream(*frames, END)
    first, second = b"RIFF\r\n--", bytes(range(256))
    pictures = fake.client().morph(first, io.BytesIO(second), 3, seed=5, variation=1)
    assert [(p.index, p.place, p.image.getpixel((0, 0))) for p in pictures] == [(0, 0, 0), (1, 0.5, 1), (2, 1, 2)]
    (request,) = fake.requests
    assert request.route == "/v1/morphs"
    assert request.options == {"num_frames": "3", "seed": "5", "variation": "1", "format": "ndjson"}
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + request.body).get_payload()
    assert [part.get_param("name", header="Content-Disposition") for part in parts] == ["first", "second"]
    assert first in request.body
    assert second in request.body


def test_an_embedding_is_an_array(fake: Fake) -> None:
    fake.will_tell({"model": "alignment", "size": 2, "embedding": [0.6, -0.8]})
    fake.will_tell({"model": "other", "size": 1, "embedding": [1]})
    embedding = fake.client().embeddings(b"RIFF")
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, [0.6, -0.8], rtol=1e-6)
    fake.client().embeddings(b"RIFF", model="other")
    assert [request.path for request in fake.requests] == ["/v1/embeddings", "/v1/embeddings?model=other"]


def test_models_and_readiness(fake: Fake) -> None:
    fake.will_tell({"models": [{"name": "digits", "default": True}]})
    fake.will_tell({"status": "ok", "version": "1"})
    fake.will_refuse(503, "the server is ending")
    fake.will_tell([], kind="text/html")
    assert [model["name"] for model in fake.client().models()] == ["digits"]
    assert [fake.client().is_ready() for _ in range(3)] == [True, False, False]


def test_a_path_in_front_and_a_token_go_along(fake: Fake) -> None:
    fake.will_tell({"models": []})
    fake.will_tell({"models": []})
    Client(f"{fake.url}/sight/", token="s3cret and more", timeout_s=5).models()
    fake.client().models()
    assert fake.requests[0].path == "/sight/v1/models"
    assert fake.requests[0].headers["Authorization"] == "Bearer s3cret and more"
    assert "Authorization" not in fake.requests[1].headers


def test_the_token_is_not_shown() -> None:
    client = Client("http://localhost:1", token="s3cret")
    assert repr(client) == "Client('http://localhost:1')"


# What comes back.


def test_a_stream_is_read_as_it_comes(fake: Fake) -> None:
    fake.will_stream(sound_line(), image_line(0), image_line(1), END, pause_s=0.15, in_chunks=True)
    began = time.monotonic()
    pictures = fake.client().stream(b"RIFF", 2)
    times = [time.monotonic() - began for _ in pictures]
    assert len(times) == 2
    assert times[1] - times[0] > 0.05  # they did not wait for each other


def test_a_stream_can_be_left(fake: Fake) -> None:
    fake.will_stream(image_line(0), image_line(1), END, in_chunks=True)
    pictures = fake.client().stream(b"RIFF", 2)
    assert next(pictures).index == 0
    pictures.close()  # an open connection would be a warning, and those are errors here
    assert list(pictures) == []


def test_nothing_is_sent_before_the_first_picture_is_asked_for(fake: Fake) -> None:
    fake.client().stream(b"RIFF")
    assert fake.requests == []


@pytest.mark.parametrize("in_chunks", [True, False])
@pytest.mark.parametrize("ending", [b"", b'{"type": "image", "index"', b'{"type": "end"}'])
def test_a_stream_that_breaks_off_says_so_after_what_came(fake: Fake, in_chunks: bool, ending: bytes) -> None:
    fake.will_stream(sound_line(), image_line(0), is_cut=True, in_chunks=in_chunks)
    fake.answers[0].chunks += [ending] if ending else []  # an empty chunk would be an end
    pictures = fake.client().stream(b"RIFF", 2)
    assert next(pictures).index == 0
    assert "breaks off" in str(refused(lambda: next(pictures)))


def test_a_problem_in_the_middle_is_told(fake: Fake) -> None:
    problem = {"type": "problem", "title": "Late", "status": 503, "detail": "the deadline of 10 s passed"}
    fake.will_stream(image_line(0), problem)
    pictures = fake.client().stream(b"RIFF", 2)
    next(pictures)
    error = refused(lambda: next(pictures))
    assert (error.status, str(error)) == (503, f"{fake.url} answered 503: the deadline of 10 s passed")
    assert error.problem == problem


@pytest.mark.parametrize(
    "line",
    [
        image_line(0) | {"png": "%%%"},
        image_line(0) | {"png": base64.b64encode(b"GIF89a").decode()},
        image_line(0) | {"png": None},
        {"type": "image", "index": 0},
        image_line(0) | {"index": "0"},
        image_line(0) | {"part": [0]},
        image_line(0) | {"place": "here"},
        sound_line() | {"part": {}},
        [],
        7,
    ],
)
def test_lines_that_are_not_what_they_should_be(fake: Fake, line: object) -> None:
    fake.will_stream(line, END)
    assert refused(lambda: fake.client().images(b"RIFF")).status == 200


@pytest.mark.parametrize("text", [b"<html>\n", b"\xff\xfe\n", b'{"type": NaN}\n', b"\n", b"[" * 100_000 + b"\n"])
def test_lines_that_are_no_json(fake: Fake, text: bytes) -> None:
    fake.answers.append(Answer(kind=LINES, chunks=[text]))
    assert "no JSON" in str(refused(lambda: fake.client().images(b"RIFF")))


@pytest.mark.parametrize(
    "told", [{}, {"models": {}}, {"models": [1]}, [], "models", {"models": None}], ids=lambda told: json.dumps(told)
)
def test_models_that_are_none(fake: Fake, told: object) -> None:
    fake.will_tell(told)
    assert refused(fake.client().models).status == 200


@pytest.mark.parametrize("found", [None, [], "12", ["1"], [[1.0]], [math.nan], [1e39], [10**400], {"0": 1}])
def test_embeddings_that_are_none(fake: Fake, found: object) -> None:
    fake.will_tell({"embedding": found})
    refused(lambda: fake.client().embeddings(b"RIFF"))


@pytest.mark.parametrize("kind", ["text/html", "application/json", "image/png", "text/plain; charset=x"])
def test_another_kind_of_answer_is_no_stream(fake: Fake, kind: str) -> None:
    fake.will_stream(image_line(0), END, headers={})
    fake.answers[0].kind = kind
    assert "is that a soundsight server?" in str(refused(lambda: fake.client().images(b"RIFF")))


def test_huge_answers_are_left(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MAX_JSON_BYTES", 1000)
    monkeypatch.setattr(transport, "_MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(transport, "_MAX_STREAM_BYTES", 2500)
    fake.will_tell({"models": ["x" * 1000]})
    assert "1,000 bytes" in str(refused(fake.client().models))
    fake.will_stream(sound_line() | {"x": "x" * 1000}, END)
    assert "kept in memory" in str(refused(lambda: fake.client().images(b"RIFF")))
    fake.will_stream(*[sound_line() | {"x": "x" * 800}] * 3, END)
    assert "kept in memory" in str(refused(lambda: fake.client().images(b"RIFF")))
    fake.will_stream(*[sound_line() | {"x": "x" * 700}] * 3, END)
    assert fake.client().images(b"RIFF") == []


# Problems.


def test_a_problem_is_an_error_with_its_detail(fake: Fake) -> None:
    fake.will_refuse(422, "seed is -1;\nexpected\x1b[31m a whole number\u202e")
    error = refused(lambda: fake.client().images(b"RIFF", seed=-1))
    assert isinstance(error, SoundsightError)
    assert error.status == 422
    assert error.problem["title"] == "Refused"
    assert error.retry_after_s is None
    assert str(error) == rf"{fake.url} answered 422: seed is -1; expected\x1b[31m a whole number\u202e"


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<h1>Bad gateway</h1>"), (PROBLEM, b"{}"), (PROBLEM, b'{"detail": ""}')]
)
def test_an_error_without_a_reason(fake: Fake, kind: str, body: bytes) -> None:
    fake.answers.append(Answer(502, kind, [body]))
    error = refused(fake.client().models)
    assert (error.status, str(error)) == (502, f"{fake.url} answered 502: no reason given")


@pytest.mark.parametrize("body", [b"[]", b"<h1>", b'"x"', b'{"detail": "' + b"x" * 2**17 + b'"}'])
def test_a_problem_that_is_none_keeps_its_status(fake: Fake, body: bytes) -> None:
    fake.answers.append(Answer(500, PROBLEM, [body]))
    assert refused(fake.client().models).status == 500


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirection_is_followed(fake: Fake, status: int) -> None:
    elsewhere = f"{fake.url}/elsewhere"
    fake.answers.append(Answer(status, headers={"Location": elsewhere}))
    assert "not followed" in str(refused(fake.client(token="s3cret").models))
    assert len(fake.requests) == 1


# Trying again.


def test_nothing_is_tried_again_unless_it_is_asked_for(fake: Fake, waits: list[float]) -> None:
    fake.will_refuse(429, "busy", Retry_After="3")
    assert refused(fake.client().models).retry_after_s == 3
    assert waits == []


def test_a_busy_server_is_asked_again_after_the_time_it_wants(fake: Fake, waits: list[float]) -> None:
    fake.will_refuse(429, "busy", Retry_After="3")
    fake.will_refuse(503, "late")
    fake.will_stream(image_line(0), END)
    (picture,) = fake.client(retries=2).images(io.BytesIO(b"RIFF"))
    assert picture.png == png(0)
    assert waits == [3, 1]
    assert [request.body for request in fake.requests] == [b"RIFF"] * 3


def test_after_the_last_try_the_problem_is_told(fake: Fake, waits: list[float]) -> None:
    for _ in range(3):
        fake.will_refuse(429, "busy", Retry_After="0")
    assert refused(fake.client(retries=2).models).status == 429
    assert waits == [0, 0]


@pytest.mark.parametrize(("status", "after"), [(422, "1"), (500, "1"), (429, "3600"), (503, "61")])
def test_some_answers_are_final(fake: Fake, waits: list[float], status: int, after: str) -> None:
    fake.will_refuse(status, "no", Retry_After=after)
    assert refused(fake.client(retries=5).models).status == status
    assert waits == []


@pytest.mark.parametrize("after", ["soon", "-1", "1.5", "9" * 400, "Wed, 21 Oct 2015 07:28:00 GMT", "²"])
def test_a_strange_time_to_wait_is_none(fake: Fake, after: str) -> None:
    fake.will_refuse(429, "busy", Retry_After=after)
    assert refused(fake.client().models).retry_after_s is None


# Nobody there.


def test_no_server_is_one_clear_line() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"  # bound, so that nobody else listens there
        client = Client(url)
        error = refused(lambda: client.images(b"RIFF"))
        assert str(error) == f"no soundsight server at {url}; start one: soundsight serve"
        assert error.status is None
        assert not client.is_ready()


def test_silence_ends(fake: Fake) -> None:
    fake.will_tell({"models": []}, pause_s=5)
    error = refused(Client(fake.url, timeout_s=0.1).models)
    assert "within 0.1 s" in str(error)
    fake.will_stream(image_line(0), END, pause_s=5)
    assert "within 0.1 s" in str(refused(lambda: Client(fake.url, timeout_s=0.1).images(b"RIFF")))


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y"])
def test_something_else_that_listens(reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=speak)
        thread.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=5)
        error = refused(client.models)
        thread.join()
    assert client.url in str(error)


def test_a_refusal_is_read_even_where_the_body_was_not() -> None:
    """A server may answer 413 and close while megabytes are still to come."""
    problem = json.dumps({"status": 413, "detail": "too large"}).encode()
    head = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\nContent-Length: "
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head + str(len(problem)).encode() + b"\r\n\r\n" + problem)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):  # a polite server reads on for a while, so that its answer is not lost
                    pass

        thread = threading.Thread(target=speak)
        thread.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=5)
        error = refused(lambda: client.images(bytes(1 << 23)))
        thread.join()
    assert (error.status, error.problem["detail"]) == (413, "too large")


# Mistakes of the caller.


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost:8000", "127.0.0.1:8000", "ftp://localhost", "file:///etc/passwd", "ws://localhost", "http://",
        "http://:80", "http://localhost:0", "http://localhost:99999", "http://localhost:x", "http://[::1",
        "http://localhost/?a=1", "http://localhost/#x", "http://local host", "http://localhost/\r\nX: y",
        "javascript:1", "http://" + "a" * 70 + ".de", "http://a..b", "http://über.de", None, b"http://localhost", 8000,
    ],
)  # fmt: skip
def test_addresses_that_are_none(url: object) -> None:
    with pytest.raises(SoundsightError, match="no address of a server") as caught:
        Client(url)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("url", ["http://me:secret@localhost", "https://me@localhost"])
def test_no_password_in_an_address(url: str) -> None:
    with pytest.raises(SoundsightError, match="no name or password") as caught:
        Client(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", " ", "a ", "a\r\nX: y", "schlüssel", "a\n"])
def test_tokens_that_are_none(token: str) -> None:
    with pytest.raises(SoundsightError, match="token"):
        Client(token=token)


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"timeout_s": math.nan}, {"timeout_s": -1}, {"retries": -1}])
def test_numbers_that_are_none(options: dict) -> None:
    with pytest.raises(SoundsightError, match="timeout_s"):
        Client(**options)


@pytest.mark.parametrize("url", ["http://[::1]:8000", "https://example.org", "HTTP://LOCALHOST", "http://a.b:1/c/d"])
def test_addresses_that_are_some(url: str) -> None:
    assert Client(url + "/").url == url


def test_sounds_that_are_none(fake: Fake, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = fake.client()
    for path, reason in ((tmp_path / "none.wav", "No such file"), (tmp_path, "directory"), ("a\0b", "null")):
        with pytest.raises(AudioError, match=reason):
            client.images(path)
    for sound in (io.StringIO("RIFF"), 7, None, ["a.wav"], bytearray(b"RIFF")):
        with pytest.raises(AudioError, match="a path, bytes or an open binary file"):
            client.images(sound)
    monkeypatch.setattr(calls, "_MAX_SOUND_BYTES", 10)
    for sound in (bytes(11), io.BytesIO(bytes(11))):
        with pytest.raises(AudioError, match="more than 10 bytes"):
            client.embeddings(sound)
    assert fake.requests == []


def test_controls_that_are_none(fake: Fake) -> None:
    with pytest.raises(TypeError, match="there is no control 'format'; known: variation, guidance, steps"):
        fake.client().images(b"RIFF", format="png")
    with pytest.raises(TypeError, match="style"):
        fake.client().morph(b"RIFF", b"RIFF", style="x.png")
    assert fake.requests == []


# Pictures.


def test_a_picture_is_saved_as_it_came(tmp_path) -> None:
    picture = Picture(0, 0, png(7))
    path = picture.save(tmp_path / "seven.png")
    assert path.read_bytes() == picture.png
    assert (picture.image.mode, picture.image.size, picture.image.getpixel((3, 3))) == ("L", (28, 28), 7)
    assert "PNG" not in repr(picture)


def test_a_picture_that_cannot_be_saved(tmp_path) -> None:
    with pytest.raises(OutputError, match=r"ends in \.png"):
        Picture(0, 0, png(7)).save(tmp_path / "seven.jpg")
    with pytest.raises(OutputError, match="cannot be written"):
        Picture(0, 0, png(7)).save(tmp_path / "none" / "seven.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", png(7)[:50], b"GIF89a" + bytes(20)])
def test_a_damaged_picture(data: bytes) -> None:
    with pytest.raises(ImageError, match="picture 3: a damaged PNG"):
        _ = Picture(3, 0, data).image


def test_importing_the_client_loads_nothing_heavy() -> None:
    code = "import sys, soundsight.client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "http" in loaded
    assert set(loaded) & {"numpy", "PIL", "onnxruntime", "pydantic", "fastapi", "soundfile", "torch", "rich"} == set()
