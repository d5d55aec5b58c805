"""A network and jobs for the engine's tests, which say what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from soundsight.errors import ModelError
from soundsight.server.engine import Engine
from soundsight.server.problems import Problem
from soundsight.server.rows import NetworkRow, Row

LONG_S = 20.0
"""Only reached where a test fails."""


class Painter:
    """A network: a picture says which features, which noise and which inputs it was painted from.

    Held, each call waits until it is let go, so that a test knows what came before what.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.calls: list[list[tuple[float, float]]] = []
        self.inputs: list[float] = []
        self.begun = threading.Semaphore(0)
        self._go = threading.Semaphore(0 if held else 10**6)

    def let(self, num_calls: int = 10**6) -> None:
        self._go.release(num_calls)

    def wait(self) -> None:
        assert self.begun.acquire(timeout=LONG_S)

    def together(self, features_BFN: np.ndarray, noise_BD: np.ndarray, inputs: Any) -> tuple[np.ndarray, None]:
        given = inputs.get("steps", np.zeros(1, np.float32))
        self.inputs.append(float(given[0]))
        self.calls.append([(float(f[0, 0]), float(n[0])) for f, n in zip(features_BFN, noise_BD, strict=True)])
        self.begun.release()
        assert self._go.acquire(timeout=LONG_S)
        if (noise_BD < 0).any():
            raise ModelError("/secret/folder: the network cannot be run")
        told = [features_BFN[:, 0, 0], noise_BD[:, 0], np.broadcast_to(given, len(noise_BD))]
        return np.stack(told, axis=1).astype(np.float32)[:, None, None, :], None


class Job:
    """A request for pictures that keeps what happens to it, and breaks where it is told to."""

    def __init__(
        self,
        painter: Painter,
        number: int,
        num_images: int = 1,
        *,
        steps: int = 0,
        key: Hashable = None,
        breaks: dict[str, Exception] | None = None,
        noise: Callable[[int], float] = float,
    ) -> None:
        self.painter, self.number, self.num_images, self.noise = painter, number, num_images, noise
        self.steps, self.key = steps, steps if key is None else key
        self.breaks = breaks or {}
        self.deadline, self.is_cancelled = time.monotonic() + LONG_S, False
        self.steps_told: list[tuple[int, int]] = []
        self.has_begun, self.pictures = False, list[tuple[int, list[float]]]()
        self.problem: Problem | None = None
        self.ended, self.num_ends = threading.Event(), 0

    def _break(self, where: str) -> None:
        if where in self.breaks:
            raise self.breaks[where]

    def begin(self) -> list[Row]:
        assert not self.has_begun
        self.has_begun = True
        self._break("begin")
        features = np.full((2, 3), self.number, np.float32)
        inputs = {"steps": np.array([self.steps], np.float32)}
        return [
            NetworkRow(self.painter, features, np.array([self.noise(i)], np.float32), inputs, self.key, 0, i)  # type: ignore[arg-type]
            for i in range(self.num_images)
        ]

    def step(self, done: int, num_steps: int) -> None:
        self.steps_told.append((done, num_steps))

    def take(self, row: Row, image_CHW: np.ndarray | None, heard_X: np.ndarray | None) -> None:
        assert heard_X is None
        assert not self.ended.is_set()
        if len(self.pictures) == 1:
            self._break("take")
        self.pictures.append((row.index, image_CHW.ravel().tolist()))

    def finish(self) -> None:
        self._break("finish")
        self._end(None)

    def fail(self, problem: Problem) -> None:
        self._end(problem)

    def _end(self, problem: Problem | None) -> None:
        self.num_ends += 1
        self.problem = problem
        self.ended.set()

    def wait(self) -> Job:
        assert self.ended.wait(LONG_S)
        return self

    def check(self) -> None:
        """It ended once, with its own pictures and no others, in order."""
        self.wait()
        assert (self.problem, self.num_ends) == (None, 1)
        assert self.pictures == [(i, [self.number, i, self.steps]) for i in range(self.num_images)]


@contextmanager
def engine(threads: int = 1, queue_size: int = 1000, **options: Any) -> Iterator[Engine]:
    made = Engine(threads, queue_size, **options)
    try:
        yield made
    finally:
        made.close(LONG_S)


def busy(made: Engine, painter: Painter, num_images: int = 1) -> Job:
    """A job that is being painted, in a call that is held."""
    job = Job(painter, 999, num_images)
    made.submit(job)
    painter.wait()
    return job
