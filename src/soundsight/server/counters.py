"""What ``GET /metrics`` counts: requests, times, pictures, the queue. Nothing of what was sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from soundsight.server.engine import Engine

__all__ = ["MEDIA_TYPE", "Counters"]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Counters:
    """The counters of one server; of all its workers where these share a folder."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._requests = Counter("soundsight_requests", "Requests answered.", ["route", "status"], registry=own)
        self._seconds = Histogram(
            "soundsight_request_seconds",
            "From a request's head to its answer's end.",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        self._images = Counter("soundsight_images", "Pictures painted.", registry=own)
        self._rows = Histogram(
            "soundsight_images_per_call",
            "Pictures in a call of the network.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=own,
        )
        self._waiting = Gauge("soundsight_waiting", "Requests that wait.", registry=own, multiprocess_mode="livesum")
        self._speaking = Gauge("soundsight_live", "Live sessions.", registry=own, multiprocess_mode="livesum")
        self._active = Gauge("soundsight_active", "Requests worked on.", registry=own, multiprocess_mode="livesum")

    def watch(self, engines: Sequence[Engine]) -> None:
        """Read the queues' length when it is asked for; workers write it down at each request."""
        self._engines = engines
        if _SHARED not in os.environ:
            self._waiting.set_function(lambda: sum(engine.num_waiting for engine in engines))
            self._active.set_function(lambda: sum(engine.num_active for engine in engines))

    def painted(self, num_images: int) -> None:
        """A call of the network is done."""
        self._images.inc(num_images)
        self._rows.observe(num_images)

    def speaking(self, num_sessions: int) -> None:
        """A live session has begun or ended."""
        self._speaking.set(num_sessions)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request is answered."""
        if (own := self._children.get((route, status))) is None:
            own = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._children[route, status] = own
        own[0].inc()
        own[1].observe(seconds)
        if _SHARED in os.environ:
            self._waiting.set(sum(engine.num_waiting for engine in self._engines))
            self._active.set(sum(engine.num_active for engine in self._engines))

    def page(self) -> bytes:
        """All of it, in the text format of Prometheus."""
        if _SHARED not in os.environ:
            return generate_latest(self._registry)
        self._forget_the_dead()
        together = CollectorRegistry()
        _Workers(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _forget_the_dead(self) -> None:
        """What a worker had in hand when it was killed is in nobody's hand any more; what it had counted stays."""
        for file in Path(os.environ[_SHARED]).glob("gauge_live*.db"):
            if not _is_alive(int(file.stem.rpartition("_")[2])):
                file.unlink(missing_ok=True)


class _Workers(MultiProcessCollector):
    """What all workers have counted, but for the files that one of them has just made and not yet given their size."""

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in Path(os.environ[_SHARED]).glob("*.db") if _size(file)]
        return self.merge(files)  # type: ignore[no-any-return, no-untyped-call]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # another worker has just forgotten it
        return 0


def _is_alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere the question would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
