"""More than there is room or time for, and clients who do not wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from served import SEVEN, TestClient, call, check_problem, engine_of, serving
from soundsight.generator import Generator
from soundsight.pipeline import AudioToImage

POSTS = ["/v1/images", "/v1/embeddings", "/v1/morphs"]


class _Held:
    """A network that waits to be let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        extract = AudioToImage.extract

        def waiting(pipe: AudioToImage, clips: Any) -> Any:
            self.begun.release()
            assert self.go.wait(20)
            return extract(pipe, clips)

        monkeypatch.setattr(AudioToImage, "extract", waiting)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Held]:
    made = _Held(monkeypatch)
    yield made
    made.go.set()


def _later(client: TestClient, answers: list[Any], **options: Any) -> threading.Thread:
    """A request that waits for its answer in a thread of its own."""
    thread = threading.Thread(
        target=lambda: answers.append(client.post("/v1/images", params=options, content=SEVEN)), daemon=True
    )
    thread.start()
    return thread


def _wait_for(what: Any) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_429_and_503(held: _Held) -> None:
    """One is worked on, one waits, a third is sent away; then the end finishes the two and takes no more."""
    with serving(queue_size=1, threads=1) as client:
        answers: list[Any] = []
        threads = [_later(client, answers)]
        assert held.begun.acquire(timeout=20)
        threads.append(_later(client, answers))
        _wait_for(lambda: engine_of(client).num_waiting == 1)
        for path in POSTS:  # before the body is looked at
            check_problem(client.post(path, content=b"no sound"), 429, "1 requests")
        assert client.get("/healthz").status_code == 200
        closing = threading.Thread(target=engine_of(client).close, args=(20,))
        closing.start()
        _wait_for(lambda: client.get("/healthz").status_code != 200)
        check_problem(client.get("/healthz"), 503, "shutting down")
        for path in POSTS:
            check_problem(client.post(path, content=SEVEN), 503, "shutting down")
        held.go.set()
        for thread in (*threads, closing):
            thread.join(20)
        assert [answer.status_code for answer in answers] == [200, 200]


def test_503_after_the_deadline(held: _Held) -> None:
    with serving(deadline_s=0.1, threads=1) as client:
        answers: list[Any] = []
        threads = [_later(client, answers, num_images=4)]
        assert held.begun.acquire(timeout=20)
        threads.append(_later(client, answers))
        _wait_for(lambda: engine_of(client).num_waiting == 1)
        time.sleep(0.15)
        held.go.set()
        for thread in threads:
            thread.join(20)
        for answer in answers:
            check_problem(answer, 503, "deadline")
        assert len(answers) == 2


def test_503_at_the_deadline_where_no_thread_is_free_to_say_so(held: _Held) -> None:
    with serving(deadline_s=0.1, threads=1) as client:
        for _ in range(2):  # one that is heard for too long, and one that waits for it
            check_problem(client.post("/v1/images", content=SEVEN), 503, "deadline")
        held.go.set()


@pytest.mark.parametrize("form", ["png", "ndjson"])
def test_a_client_that_leaves_is_not_painted_for(form: str, monkeypatch: pytest.MonkeyPatch, held: _Held) -> None:
    counted: list[int] = []
    together = Generator.together
    monkeypatch.setattr(Generator, "together", lambda own, *args: counted.append(1) or together(own, *args))

    async def is_heard() -> None:
        while not held.begun.acquire(blocking=False):
            await asyncio.sleep(0.005)

    with serving(threads=1) as client:
        body = {"type": "http.request", "body": SEVEN, "more_body": False}
        messages: list[Any] = [body, is_heard, {"type": "http.disconnect"}]
        sent = call(client, messages, query=f"num_images=64&format={form}")
        assert sent[0]["status"] == 499
        held.go.set()
        _wait_for(lambda: engine_of(client).num_active == 0)
        assert counted == []
        assert client.post("/v1/images", content=SEVEN).status_code == 200
