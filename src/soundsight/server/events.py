"""From the engine's threads to the event loop: what jobs say, in the order said."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from soundsight.server.problems import Problem

__all__ = ["Events", "Post"]


Said = bytes | Problem | None


class Post:
    """Carries what jobs say to their listeners when it is told to: to wake a loop costs as much as a little job.

    Each listener has its own event loop; usually it is one and the same.
    """

    def __init__(self) -> None:
        self._bag: deque[tuple[Events, Said]] = deque()
        self._lock = threading.Lock()

    def add(self, events: Events, what: Said) -> None:
        """Hand something over, from any thread."""
        self._bag.append((events, what))

    def carry(self) -> None:
        """Bring all there is to its listeners; from any thread."""
        # One thread at a time: what another took out before comes before, or an end would overtake its answer.
        with self._lock:
            letters: dict[asyncio.AbstractEventLoop, list[tuple[Events, Said]]] = {}
            while self._bag:
                events, what = self._bag.popleft()
                letters.setdefault(events.loop, []).append((events, what))
            for loop, some in letters.items():
                # The loop may have ended, and with it whoever listened.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(_deliver, some)


def _deliver(letters: Iterable[tuple[Events, Said]]) -> None:
    for events, what in letters:
        events.receive(what)


class Events:
    """What one job says; made where it is listened to.

    Args:
        post: What carries it.
    """

    def __init__(self, post: Post) -> None:
        self.loop = asyncio.get_running_loop()
        self._post = post
        self._said: deque[Said] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def say(self, what: Said) -> None:
        """Bytes of an answer, a problem that ends it, or None for its end; from any thread, until the next round."""
        self._post.add(self, what)

    def receive(self, what: Said) -> None:
        """Take what was said; in the event loop."""
        self._said.append(what)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Said:
        """The next thing said; one listener at a time."""
        while not self._said:
            self._waiter = self.loop.create_future()
            await self._waiter
        return self._said.popleft()
