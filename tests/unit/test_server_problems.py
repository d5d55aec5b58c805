"""What goes wrong, in every way that the contract names: one line as RFC 9457 has it, and never the inside."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")

from onnx_models import generator_bytes, write_generator
from served import LINES, PHONE, PROBLEM, SEVEN, TestClient, call, check_problem, check_told, lines, serving
from sounds import encoded
from soundsight.server import uploads

POSTS = ["/v1/images", "/v1/embeddings", "/v1/morphs"]
MAX_BYTES = 300_000


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(max_upload_bytes=MAX_BYTES, max_images=16, broken=True) as made:
        yield made


# Requests.


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/v1/nothing"), ("GET", "/static/none.js")])
def test_404(client: TestClient, method: str, path: str) -> None:
    check_problem(client.request(method, path), 404)


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%00"])
def test_nothing_beside_the_page_is_served(client: TestClient, path: str) -> None:
    check_problem(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in POSTS),
        ("DELETE", "/v1/images"),
        ("POST", "/v1/models"),
        ("PUT", "/"),
        ("POST", "/static/index.html"),
        ("BREW", "/v1/images"),
        ("OPTIONS", "/v1/images"),
    ],
)
def test_405(client: TestClient, method: str, path: str) -> None:
    check_problem(client.request(method, path), 405, method)


def test_400_a_broken_form(client: TestClient) -> None:
    for path in POSTS:
        for kind, body in (
            ("multipart/form-data", b"no boundary"),
            ("multipart/form-data; boundary=x", b"nothing of the kind"),
            ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n'),
            ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: audio/wav\r\n\r\nno name\r\n--x--\r\n"),
        ):
            answer = client.post(path, content=body, headers={"content-type": kind})
            # A form that ends early has no part that is whole.
            assert answer.status_code in (400, 422), (path, kind, body)
            check_problem(answer, answer.status_code)
    answer = client.post("/v1/images", content=b"x", headers={"content-type": "multipart/form-data"})
    check_problem(answer, 400, "form is broken")


def test_400_too_many_parts(client: TestClient) -> None:
    check_problem(client.post("/v1/images", files=[("file", SEVEN[:999])] * 2), 400)
    fields = {f"field{i}": "1" for i in range(100)}
    check_problem(client.post("/v1/images", files={"file": SEVEN}, data=fields), 400)
    check_problem(client.post("/v1/images", files={"file": SEVEN}, data={"seed": "1" * 100_000}), 400)


def _told(sent: list[Any]) -> tuple[int, dict[str, Any]]:
    assert dict(sent[0]["headers"])[b"content-type"] == PROBLEM.encode()
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_408_a_slow_body(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "BODY_S", 0.1)
    sent = call(client, [{"type": "http.request", "body": SEVEN[:100], "more_body": True}])
    status, told = _told(sent)
    assert status == 408
    check_told(told, 408, "0.1 s")
    assert dict(sent[0]["headers"])[b"connection"] == b"close"


def test_400_a_body_that_ends_early(client: TestClient) -> None:
    messages = [{"type": "http.request", "body": SEVEN[:100], "more_body": True}, {"type": "http.disconnect"}]
    status, told = _told(call(client, messages))
    check_told(told, status)
    assert status == 400


@pytest.mark.parametrize("path", POSTS)
def test_413_by_what_is_declared(client: TestClient, path: str) -> None:
    """Before a byte of it is read."""
    headers = {"content-length": str(MAX_BYTES + 1)}
    if path == "/v1/morphs":
        headers["content-type"] = "multipart/form-data; boundary=x"

    def body() -> Iterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    check_problem(client.post(path, content=body(), headers=headers), 413, "0.3 MB")
    check_problem(client.post(path, content=body(), headers=headers | {"content-length": "9" * 4000}), 413)


def test_413_by_what_comes(client: TestClient) -> None:
    num_read = 0

    async def count() -> None:
        nonlocal num_read
        num_read += 1

    piece = {"type": "http.request", "body": bytes(100_000), "more_body": True}
    status, told = _told(call(client, [part for _ in range(50) for part in (count, piece)]))  # type: ignore[misc]
    check_told(told, status, "0.3 MB")
    assert (status, num_read) == (413, 4)


def test_the_most_that_is_taken_is_taken(client: TestClient) -> None:
    """Bytes to the limit reach the decoder, which says what it makes of them."""
    check_problem(client.post("/v1/images", content=bytes(MAX_BYTES)), 422)
    check_problem(client.post("/v1/images", content=bytes(MAX_BYTES + 1)), 413)


@pytest.mark.parametrize("kind", ["text/html", "application/json", "image/png", "nonsense", "multipart/mixed"])
def test_415(client: TestClient, kind: str) -> None:
    for path in POSTS:
        check_problem(client.post(path, content=SEVEN, headers={"content-type": kind}), 415, kind)
    check_problem(client.post("/v1/morphs", content=SEVEN, headers={"content-type": "audio/wav"}), 415)


# Sounds and options.


@pytest.mark.parametrize(
    "sound",
    [b"", b"R", b"nothing that sounds" * 50, SEVEN[:60], encoded(np.zeros(16_000), 16_000), encoded(np.ones(9), 8_000)],
    ids=["empty", "a byte", "text", "cut", "silent", "short"],
)
def test_422_sounds(client: TestClient, sound: bytes) -> None:
    for path in ("/v1/images", "/v1/embeddings"):
        for form in (False, True):
            answer = client.post(path, files={"file": sound}) if form else client.post(path, content=sound)
            told = check_problem(answer, 422)
            assert told["title"] == "Unusable sound"
    for one, other in ((SEVEN, sound), (sound, SEVEN)):
        check_problem(client.post("/v1/morphs", files={"first": one, "second": other}), 422)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ("num_images=0", "num_images"),
        ("num_images=17", "num_images"),
        ("num_images=2000", "num_images"),
        ("num_images=x", "num_images"),
        ("num_images=", "num_images"),
        ("seed=-1", "seed"),
        ("seed=18446744073709551616", "seed"),
        ("seed=1.5", "seed"),
        ("seed=" + "9" * 5000, "seed"),
        ("size=7", "size"),
        ("size=4097", "size"),
        ("format=bmp", "format"),
        ("format=PNG", "format"),
        ("split=perhaps", "split"),
        ("variation=2.1", "variation"),
        ("variation=nan", "variation"),
        ("variation=inf", "variation"),
        ("model=nope", "model"),
        ("model=", "model"),
        ("model=../../etc/passwd", "model"),
        ("model=%2Fwork", "model"),
        ("nope=1", "nope"),
        ("seed=1&seed=1", "seed"),
    ],
)
def test_422_options(client: TestClient, options: str, field: str) -> None:
    told = check_problem(client.post(f"/v1/images?{options}", content=SEVEN), 422, field)
    assert [each["field"] for each in told["errors"]] == [field]
    name, _, value = options.partition("&")[0].partition("=")
    if field != "nope" and "&" not in options and "%" not in value:
        told = check_problem(client.post("/v1/images", data={name: value}, files={"file": SEVEN}), 422, field)
    check_problem(client.post("/v1/images?seed=1", data={"seed": "1"}, files={"file": SEVEN}), 422, "seed", "once")


def test_422_every_wrong_option_is_told(client: TestClient) -> None:
    told = check_problem(client.post("/v1/images?seed=-1&size=1&format=x", content=SEVEN), 422, "2 more")
    assert {each["field"] for each in told["errors"]} == {"seed", "size", "format"}
    told = check_problem(client.post("/v1/images?" + "&".join(f"x{i}=1" for i in range(500)), content=SEVEN), 422)
    assert 0 < len(told["errors"]) <= 20


@pytest.mark.parametrize("path", ["/v1/images", "/v1/morphs"])
@pytest.mark.parametrize("control", ["guidance=3", "steps=10"])
def test_422_controls_that_the_model_does_not_have(tmp_path: Any, path: str, control: str) -> None:
    files = {"file": SEVEN} if path == "/v1/images" else {"first": SEVEN, "second": SEVEN}
    with serving(models=(str(write_generator(tmp_path / "toy", generator_bytes())), "digits")) as client:
        check_problem(client.post(f"{path}?{control}", files=files), 422, control.partition("=")[0])
        assert client.post(f"{path}?{control}&model=digits", files=files).status_code == 200


def test_422_more_pixels_than_there_is_memory_for(client: TestClient) -> None:
    check_problem(client.post("/v1/images?num_images=16&size=4096", content=SEVEN), 422, "too many")
    check_problem(client.post("/v1/morphs?num_frames=64&size=4096", files={"first": SEVEN, "second": SEVEN}), 422)
    check_problem(client.post("/v1/images?num_images=3&size=4096&split=1", content=PHONE), 422)


def test_422_forms_without_their_sounds(client: TestClient) -> None:
    check_problem(client.post("/v1/images", files={"other": SEVEN}), 422, "'other'", "file")
    check_problem(client.post("/v1/images", files={"file": b""}), 422, "empty")
    check_problem(client.post("/v1/morphs", files={"first": SEVEN}), 422, "'second'", "missing")
    check_problem(client.post("/v1/images", data={"file": "text"}, files={"x": b""}), 422)


def test_a_sound_that_is_far_longer_than_its_bytes(client: TestClient) -> None:
    """Three hours of silence with a click, in a file of FLAC: refused before they are decoded."""
    rate_hz, hours = 8_000, 3
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate_hz, 1, format="FLAC", subtype="PCM_16") as file:
        file.write(np.ones(10, np.float32) / 2)
        for _ in range(hours * 60):
            file.write(np.zeros(60 * rate_hz, np.int16))
    sound = buffer.getvalue()
    assert len(sound) < MAX_BYTES
    for options in ("", "?split=true"):
        tracemalloc.start()
        began = time.monotonic()
        answer = client.post(f"/v1/images{options}", content=sound)
        seconds, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        check_problem(answer, 422, "60")
        assert seconds < 3
        assert peak < 32 << 20  # a minute is 2 MB of samples


def test_a_sound_of_many_channels_at_a_high_rate(client: TestClient) -> None:
    """Less than a minute, and few bytes, but 157 million samples."""
    rate_hz, channels = 655_350, 8
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate_hz, channels, format="FLAC", subtype="PCM_16") as file:
        file.write(np.full((10, channels), 0.5))
        for _ in range(30):
            file.write(np.zeros((rate_hz, channels), np.int16))
    sound = buffer.getvalue()
    assert len(sound) < 4 * MAX_BYTES
    with serving() as large:
        began = time.monotonic()
        check_problem(large.post("/v1/images", content=sound), 422, "fewer channels")
        assert time.monotonic() - began < 1.5


def test_the_line_in_the_middle(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem after the first lines is the last line."""
    from soundsight.server.jobs import ImagesJob

    take = ImagesJob.take

    def breaks(job: ImagesJob, row: Any, *answers: Any) -> None:
        if row.index == 2:
            raise RuntimeError("/secret")
        take(job, row, *answers)

    monkeypatch.setattr(ImagesJob, "take", breaks)
    answer = client.post("/v1/images?format=ndjson&num_images=4", content=SEVEN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, LINES)
    told = lines(answer.content)
    assert [each["type"] for each in told] == ["sound", "image", "image", "problem"]
    assert (told[-1]["status"], "secret" in str(told)) == (500, False)
    check_problem(client.post("/v1/images?format=zip&num_images=4", content=SEVEN), 500)


def test_a_broken_form_is_told_to_its_sender_alone(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Not to the log, which would have a byte of it."""
    headers = {"content-type": "multipart/form-data; boundary=x"}
    check_problem(client.post("/v1/images", content=SEVEN, headers=headers), 400, "form is broken")
    assert not caplog.records


@pytest.mark.parametrize(
    ("method", "path", "breaking"),
    [("POST", "/v1/images", "server.images.parse"), ("GET", "/v1/models", "server.serving.Serving.describe")],
)
def test_500_says_nothing_of_the_inside(
    method: str,
    path: str,
    breaking: str,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its owner finds it in the log, once."""

    def breaks(*_: Any) -> None:
        raise RuntimeError("/secret/file.py")

    monkeypatch.setattr(f"soundsight.{breaking}", breaks)
    answer = client.request(method, path, content=SEVEN)
    check_problem(answer, 500)
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["/secret/file.py"]
