"""What jobs say reaches who listens in the order said, whichever thread carries it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

pytest.importorskip("fastapi")

from soundsight.server.events import Events, Post


class _SlowLoop:
    """An event loop as a thread sees it that is stopped, the first time, just before it hands something over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.reached, self.go = threading.Event(), threading.Event()
        self.create_future = loop.create_future

    def call_soon_threadsafe(self, function: Any, *arguments: Any) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self.go.wait(20)
        self._loop.call_soon_threadsafe(function, *arguments)


def test_an_end_does_not_overtake_its_answer() -> None:
    """One thread carries another one's words, and is slow; meanwhile that one says its last."""

    async def listen() -> list[Any]:
        post = Post()
        events = Events(post)
        slow = _SlowLoop(events.loop)
        events.loop = slow  # type: ignore[assignment]

        def speak() -> None:
            events.say(None)
            post.carry()

        events.say(b"all of it")
        carrying, speaking = threading.Thread(target=post.carry), threading.Thread(target=speak)
        carrying.start()
        assert await asyncio.to_thread(slow.reached.wait, 20)
        speaking.start()
        await asyncio.to_thread(speaking.join, 0.2)
        slow.go.set()
        said = [await asyncio.wait_for(events.next(), 20) for _ in range(2)]
        for thread in (carrying, speaking):
            await asyncio.to_thread(thread.join, 20)
        return said

    assert asyncio.run(listen()) == [b"all of it", None]
