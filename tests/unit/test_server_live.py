"""The WebSocket: a stream of samples in, pictures of its words out, and a reason where it ends."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")

from onnx_models import generator_bytes, write_generator
from served import EXAMPLES, SEVEN, TestClient, check_told, connect, decoded, engine_of, serving
from soundsight import AudioToImage, audio
from soundsight.server import live
from soundsight.server.engine import Engine
from soundsight.server.problems import Problem
from soundsight.server.speech import Listener

START = {"type": "start", "sample_rate_hz": 22_050}
STOP = {"type": "stop"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving() as made:
        yield made


def _stream(name: str = "phone-number.wav", after_s: float = 0.5) -> tuple[np.ndarray, int]:
    """A recording between silences, as 16-bit numbers."""
    samples_T, rate_hz = soundfile.read(EXAMPLES / name, dtype="int16")
    return np.concatenate(
        [np.zeros(rate_hz // 2, np.int16), samples_T, np.zeros(round(after_s * rate_hz), np.int16)]
    ), rate_hz


def _pieces(samples_T: np.ndarray, size: int) -> list[bytes]:
    return [samples_T[i : i + size].astype("<i2").tobytes() for i in range(0, len(samples_T), size)]


def _until_end(socket: Any) -> tuple[list[dict[str, Any]], int]:
    """What is sent, and the code with which the connection is closed."""
    told = []
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            return told, message["code"]
        told.append(json.loads(message["text"]))


def _session(
    client: TestClient, start: Any, *messages: Any, headers: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], int]:
    """A connection in which all of this is sent, JSON as text."""
    with connect(client, headers) as socket:
        for message in (start, *messages):
            if isinstance(message, bytes):
                socket.send_bytes(message)
            else:
                socket.send_text(message if isinstance(message, str) else json.dumps(message))
        return _until_end(socket)


def _check_refused(told: list[dict[str, Any]], status: int, *words: str) -> None:
    assert told[-1]["type"] == "problem"
    assert [each["type"] for each in told].count("problem") == 1
    check_told(told[-1] | {"type": "about:blank"}, status, *words)


@pytest.mark.parametrize("piece_s", [0.05, 0.4, 1.0])
def test_a_picture_for_each_word(client: TestClient, piece_s: float) -> None:
    """As the library makes of the samples that the listener finds."""
    samples_T, rate_hz = _stream()
    pieces = _pieces(samples_T, round(piece_s * rate_hz))
    start = START | {"seed": str(2**64 - 1), "size": 56, "variation": 0.5}
    told, code = _session(client, start, *pieces, STOP)
    assert (told[0], told[-1], code) == ({"type": "ready"}, {"type": "end"}, 1000)
    assert {each["type"] for each in told[1:-1]} <= {"level", "image"}
    images = [each for each in told if each["type"] == "image"]
    assert [each["index"] for each in images] == sorted(each["index"] for each in images)
    finals = [each for each in images if each["final"]]
    assert [each["index"] for each in finals] == list(range(7))
    for index in range(7):  # the last of a word is the final one
        assert [each["final"] for each in images if each["index"] == index][-1] is True
    listener, pipe = Listener(rate_hz), AudioToImage.from_pretrained("digits")
    floats = [np.frombuffer(piece, "<i2").astype(np.float32) / 32768 for piece in pieces]
    words = [speech for piece in floats for speech in listener.hear(piece) if speech.has_ended]
    for image, word in zip(finals, words, strict=True):
        clip = audio.from_array(word.samples, rate_hz, target_rate_hz=pipe.sample_rate_hz)
        expected = pipe(clip, 1, 2**64 - 1, 56, variation=0.5).array[0, ..., 0]
        assert np.abs(decoded(image).astype(int) - expected).max() <= 1
        heard = pipe.recognise(pipe.extract([pipe.hear(clip)[0]])[0])
        assert heard is not None
        assert image["heard"] == heard.to_json()


def test_levels_and_growing_pictures(client: TestClient) -> None:
    """In the time of speech: a level at most every tenth of a second, and pictures before the word has ended."""
    samples_T, rate_hz = _stream("seven.wav")
    pieces = _pieces(samples_T, rate_hz // 20)
    told: list[dict[str, Any]] = []
    with connect(client) as socket:
        socket.send_json(START)
        assert socket.receive_json() == {"type": "ready"}
        began = time.monotonic()

        def listen() -> None:
            told.extend(_until_end(socket)[0])

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        for piece in pieces:
            socket.send_bytes(piece)
            time.sleep(0.03)
        spoken_s = time.monotonic() - began
        socket.send_json(STOP)
        listening.join(20)
    levels = [message for message in told if message["type"] == "level"]
    assert 5 <= len(levels) <= spoken_s / 0.1 + 2
    assert levels[0] == {"type": "level", "db": -100.0, "speaking": False}
    assert any(level["speaking"] for level in levels)
    assert all(-100 <= level["db"] <= 0 for level in levels)
    images = [message for message in told if message["type"] == "image"]
    assert [image["final"] for image in images][-1] is True
    assert [image["final"] for image in images].count(True) == 1
    assert 2 <= len(images) <= spoken_s / 0.12 + 3


def test_what_is_heard_is_told(tmp_path: Any) -> None:
    folder = write_generator(tmp_path / "toy", generator_bytes(quiet=-1.0))
    samples_T, rate_hz = _stream("seven.wav")
    with serving(models=("digits", str(folder))) as client:
        told, code = _session(client, START | {"model": "toy"}, *_pieces(samples_T, rate_hz), STOP)
    assert code == 1000
    assert [each["heard"] for each in told if each["type"] == "image" and each["final"]] == [
        {"label": "7", "confidence": 1.0, "outlier": 0.0}
    ]


def test_nothing_said(client: TestClient) -> None:
    told, code = _session(client, START, bytes(44_100), b"", STOP)
    assert (code, told[0], told[-1]) == (1000, {"type": "ready"}, {"type": "end"})
    assert "image" not in {each["type"] for each in told}
    assert _session(client, START, STOP) == ([{"type": "ready"}, {"type": "end"}], 1000)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 96_000, 192_000])
def test_a_second_at_any_rate(client: TestClient, rate_hz: int) -> None:
    told, code = _session(client, START | {"sample_rate_hz": rate_hz}, bytes(2 * rate_hz), STOP)
    assert (told[-1], code) == ({"type": "end"}, 1000)
    told, code = _session(client, START | {"sample_rate_hz": rate_hz}, bytes(2 * rate_hz + 2), STOP)
    _check_refused(told, 413, "second")
    assert code == 1009


@pytest.mark.parametrize(
    ("start", "word"),
    [
        ("", "first message"),
        ("hello", "first message"),
        ("[1]", "first message"),
        ("null", "first message"),
        (b"\x00\x00", "first message"),
        ({"type": "stop"}, "type"),
        ({"type": "start"}, "sample_rate_hz"),
        (START | {"sample_rate_hz": 7_999}, "sample_rate_hz"),
        (START | {"sample_rate_hz": 192_001}, "sample_rate_hz"),
        (START | {"sample_rate_hz": "x"}, "sample_rate_hz"),
        (START | {"sample_rate_hz": None}, "sample_rate_hz"),
        (START | {"seed": -1}, "seed"),
        (START | {"seed": 2**64}, "seed"),
        (START | {"size": 4096}, "size"),
        (START | {"variation": 3}, "variation"),
        (START | {"nope": 1}, "nope"),
        (START | {"model": "nope"}, "model"),
        (START | {"model": "../../etc"}, "model"),
        (START | {"guidance": 21}, "guidance"),
        (START | {"steps": 0}, "steps"),
        ('{"type":"start","sample_rate_hz":8000,"token":"\\ud800"}', ""),
        ("[" * 100_000, ""),
    ],
)
def test_a_start_that_does_not_fit(client: TestClient, start: Any, word: str) -> None:
    told, code = _session(client, start)
    _check_refused(told, 422, word)
    assert (len(told), code) == (1, 1008)


@pytest.mark.parametrize("asked", [{"guidance": 2}, {"steps": 5}])
def test_a_model_that_draws_at_once_takes_no_steps(tmp_path: Any, asked: dict[str, Any]) -> None:
    folder = write_generator(tmp_path / "toy", generator_bytes())
    with serving(models=("digits", str(folder))) as client:
        told, code = _session(client, START | {"model": "toy"} | asked)
        _check_refused(told, 422, next(iter(asked)))
        assert (len(told), code) == (1, 1008)
        assert _session(client, START | asked, STOP)[1] == 1000


@pytest.mark.parametrize("message", ["", "stop", '{"type":"start"}', "[]", '{"type":"stop","more":1}', START])
def test_400_other_texts(client: TestClient, message: Any) -> None:
    told, code = _session(client, START, bytes(100), message)
    _check_refused(told, 400, "stop")
    assert code == 1008


@pytest.mark.parametrize("stop", ['{"type":"stop"}', '{ "type" : "stop" }', '{\n"type": "stop"\n}\n'])
def test_the_stop_is_json(client: TestClient, stop: str) -> None:
    assert _session(client, START, stop)[1] == 1000


def test_400_half_a_sample(client: TestClient) -> None:
    told, code = _session(client, START, bytes(101))
    _check_refused(told, 400, "half a sample")
    assert code == 1008


def test_the_token_is_in_the_first_message() -> None:
    with serving(token="secret") as client:
        for start in (START, START | {"token": ""}, START | {"token": "secre"}, START | {"token": None}):
            told, code = _session(client, start, headers={"authorization": "Bearer secret"})
            _check_refused(told, 401, "token")
            assert code == 1008
        assert _session(client, START | {"token": "secret"}, STOP)[1] == 1000


def test_no_answer_for_too_long(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_SILENCE_S", 0.1)
    for messages in ((), (bytes(100),)):
        with connect(client) as socket:
            if messages:
                socket.send_json(START)
            for message in messages:
                socket.send_bytes(message)
            told, code = _until_end(socket)
        _check_refused(told, 408, "too long")
        assert code == 1008


def test_a_session_has_an_end(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for one who goes on and on, and one who says nothing."""
    monkeypatch.setattr(live, "_SESSION_S", 0.2)
    for is_talking in (True, False):
        with connect(client) as socket:
            socket.send_json(START)
            for _ in range(20 if is_talking else 0):
                socket.send_bytes(bytes(2000))
                time.sleep(0.015)
            told, code = _until_end(socket)
        assert (told[-1], code) == ({"type": "end"}, 1000)


def test_1013_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    samples_T, rate_hz = _stream("seven.wav")
    begun, go = threading.Semaphore(0), threading.Event()
    extract = AudioToImage.extract

    def waiting(pipe: AudioToImage, clips: Any) -> Any:
        begun.release()
        assert go.wait(20)
        return extract(pipe, clips)

    monkeypatch.setattr(AudioToImage, "extract", waiting)
    with serving(queue_size=1, threads=1) as client:
        threads = [
            threading.Thread(target=client.post, args=("/v1/images",), kwargs={"content": SEVEN}, daemon=True)
            for _ in "12"
        ]
        threads[0].start()
        assert begun.acquire(timeout=20)
        threads[1].start()
        end = time.monotonic() + 20
        while engine_of(client).num_waiting < 1:
            assert time.monotonic() < end
            time.sleep(0.005)
        told, code = _session(client, START, *_pieces(samples_T, rate_hz), STOP)
        go.set()
        _check_refused(told, 429, "wait")
        assert code == 1013
        for thread in threads:
            thread.join(20)
        engine_of(client).close(5)
        told, code = _session(client, START, *_pieces(samples_T, rate_hz), STOP)
        _check_refused(told, 503, "shutting down")
        assert code == 1013


def test_1013_where_too_many_speak() -> None:
    with serving(queue_size=1) as client:
        with connect(client) as socket:
            socket.send_json(START)
            assert socket.receive_json() == {"type": "ready"}
            told, code = _session(client, START)
            _check_refused(told, 429, "too many")
            assert code == 1013
        assert _session(client, START, STOP)[1] == 1000


def test_a_picture_of_half_a_word_may_be_left_out(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the queue is full while somebody speaks; the next one may find room."""
    samples_T, rate_hz = _stream("seven.wav")
    submit, refused = Engine.submit, []

    def full(own: Engine, job: Any) -> None:
        if not job.is_final:
            refused.append(job)
            raise Problem(429, "full")
        submit(own, job)

    monkeypatch.setattr(Engine, "submit", full)
    told, code = _session(client, START, *_pieces(samples_T, rate_hz // 10), STOP)
    assert refused
    assert [each["final"] for each in told if each["type"] == "image"] == [True]
    assert (told[-1], code) == ({"type": "end"}, 1000)


def test_nobody_is_heard_much_faster_than_they_speak(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_AHEAD_S", 0.5)
    began = time.monotonic()
    assert _session(client, START, *[bytes(2 * 22_050)] * 2, STOP)[1] == 1000
    assert 1.4 <= time.monotonic() - began < 10


@pytest.mark.parametrize("when", ["first", "later"])
def test_a_failure_is_told(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the network, in any picture: one problem, and the code of a server's fault."""
    from soundsight.generator import Generator

    counted: list[int] = []
    together = Generator.together

    def breaks(own: Generator, *arguments: Any) -> Any:
        counted.append(1)
        if when == "first" or len(counted) > 1:
            raise RuntimeError("/secret")
        return together(own, *arguments)

    monkeypatch.setattr(Generator, "together", breaks)
    samples_T, rate_hz = _stream()
    with serving() as client:
        told, code = _session(client, START, *_pieces(samples_T, rate_hz // 10), STOP)
    _check_refused(told, 500)
    assert (code, "secret" in str(told)) == (1011, False)


def test_who_leaves_in_the_middle_leaves_nothing(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    samples_T, rate_hz = _stream()
    with caplog.at_level(logging.WARNING):
        for num in (3, 6, 9, 12):
            with connect(client) as socket:
                socket.send_json(START)
                for piece in _pieces(samples_T, rate_hz // 10)[:num]:
                    socket.send_bytes(piece)
        end = time.monotonic() + 20
        while engine_of(client).num_active + engine_of(client).num_waiting:
            assert time.monotonic() < end
            time.sleep(0.005)
        gc.collect()
    assert caplog.records == []
    assert _session(client, START, STOP)[1] == 1000
