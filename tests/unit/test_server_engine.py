"""The engine: whatever runs beside, every request gets its own pictures, in order, and a failure stays with its owner."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from soundsight.errors import AudioError, ModelError
from soundsight.server.engine import Engine, Row
from soundsight.server.problems import Problem

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

    def together(self, features_BFN: np.ndarray, noise_BD: np.ndarray, inputs: Any) -> np.ndarray:
        given = inputs.get("steps", np.zeros(1, np.float32))
        self.inputs.append(float(given[0]))
        self.calls.append([(float(f[0, 0]), float(n[0])) for f, n in zip(features_BFN, noise_BD, strict=True)])
        self.begun.release()
        assert self._go.acquire(timeout=LONG_S)
        if (noise_BD < 0).any():
            raise ModelError("/secret/folder: the network cannot be run")
        told = [features_BFN[:, 0, 0], noise_BD[:, 0], np.broadcast_to(given, len(noise_BD))]
        return np.stack(told, axis=1).astype(np.float32)[:, None, None, :]


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
            Row(self.painter, features, np.array([self.noise(i)], np.float32), inputs, self.key, 0, i)  # type: ignore[arg-type]
            for i in range(self.num_images)
        ]

    def take(self, row: Row, image_CHW: np.ndarray) -> None:
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


def _busy(made: Engine, painter: Painter, num_images: int = 1) -> Job:
    """A job that is being painted, in a call that is held."""
    job = Job(painter, 999, num_images)
    made.submit(job)
    painter.wait()
    return job


@pytest.mark.parametrize("max_rows", [1, 2, 4, 16])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_job_gets_its_own_pictures_in_order(threads: int, max_rows: int) -> None:
    rng = random.Random(100 * threads + max_rows)
    counted: list[int] = []
    for _ in range(4):
        painters = [Painter(), Painter()]
        jobs = [
            Job(rng.choice(painters), number, rng.randint(1, 20), steps=rng.randint(0, 2))
            for number in range(rng.randint(1, 40))
        ]
        counted.clear()
        with engine(threads, max_rows=max_rows, watch=counted.append) as made:
            for job in jobs:
                made.submit(job)
                if rng.random() < 0.1:
                    rng.choice(jobs).ended.wait(0.002)  # some come when others are half done
            for job in jobs:
                job.check()
        calls = [call for painter in painters for call in painter.calls]
        assert sorted(counted) == sorted(len(call) for call in calls)
        assert sum(counted) == sum(job.num_images for job in jobs)
        assert max(counted) <= max_rows
        assert (made.num_waiting, made.num_active) == (0, 0)


def test_what_waits_shares_calls() -> None:
    painter = Painter(held=True)
    with engine(max_rows=16) as made:
        first = _busy(made, painter)
        jobs = [Job(painter, number, 3) for number in range(16)]
        for job in jobs:
            made.submit(job)
        assert (made.num_active, made.num_waiting) == (1, 16)
        painter.let()
        for job in (first, *jobs):
            job.check()
    assert [len(call) for call in painter.calls] == [1, 16, 16, 16]
    assert all({noise for _, noise in call} == {i} for i, call in enumerate(painter.calls[1:]))


def test_a_lone_job_has_its_first_picture_alone_and_the_rest_in_few_calls() -> None:
    painter = Painter()
    with engine(max_rows=16) as made:
        job = Job(painter, 1, 65)
        made.submit(job)
        job.check()
    assert len(painter.calls[0]) == 1
    assert len(painter.calls) <= 10


def test_more_jobs_than_a_call_holds_take_turns() -> None:
    """Nobody is far ahead of the others while these wait."""
    painter = Painter()
    with engine(max_rows=4, queue_size=64) as made:
        jobs = [Job(painter, number, 6) for number in range(4)]
        for job in jobs:
            made.submit(job)
        for job in jobs:
            job.check()
    num_painted = dict.fromkeys(range(4), 0)
    for call in painter.calls:
        for number, _ in call:
            num_painted[int(number)] += 1
        waiting = [count for count in num_painted.values() if 0 < count < 6]
        assert not waiting or max(num_painted.values()) - min(waiting) <= 6
    assert set(num_painted.values()) == {6}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("max_rows", [2, 16])
def test_one_picture_does_not_wait_for_two_hundred(threads: int, max_rows: int) -> None:
    painter = Painter(held=True)
    with engine(threads, max_rows=max_rows) as made:
        long = _busy(made, painter, 200)
        short = Job(painter, 1)
        made.submit(short)
        for _ in range(3):  # the call that is under way, and two more
            painter.let(1)
        short.check()
        assert len(long.pictures) < 20
        painter.let()
        long.check()


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_of_other_keys_or_networks_never_share_a_call(threads: int) -> None:
    rng = random.Random(threads)
    painters = [Painter(held=True), Painter(held=True)]
    kind_of = {}
    with engine(threads, max_rows=16) as made:
        jobs = []
        for number in range(40):
            which, steps = rng.randrange(2), rng.randrange(3)
            kind_of[number] = (which, steps)
            jobs.append(Job(painters[which], number, rng.randint(1, 5), steps=steps))
            made.submit(jobs[-1])
        for painter in painters:
            painter.let()
        for job in jobs:
            job.check()
    for which, painter in enumerate(painters):
        assert painter.calls
        for call, steps in zip(painter.calls, painter.inputs, strict=True):
            assert {kind_of[int(number)] for number, _ in call} == {(which, steps)}
        assert max(len(call) for call in painter.calls) > 1


def test_a_full_queue_is_told_when_to_come_back() -> None:
    painter = Painter(held=True)
    with engine(queue_size=3) as made:
        jobs = [_busy(made, painter)]
        for number in range(3):
            jobs.append(Job(painter, number))
            made.submit(jobs[-1])
        late = Job(painter, 9)
        for refused in (lambda: made.submit(late), made.check):
            with pytest.raises(Problem) as caught:
                refused()
            assert caught.value.status == 429
            assert caught.value.headers["Retry-After"].isdecimal()
            assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
        made.check_open()
        painter.let()
        for job in jobs:
            job.check()
        assert not late.has_begun
        made.submit(late)
        late.check()


def test_a_deadline_that_passes_while_waiting() -> None:
    painter = Painter(held=True)
    with engine() as made:
        first, late, later = _busy(made, painter), Job(painter, 1), Job(painter, 2)
        late.deadline = time.monotonic()
        made.submit(late)
        made.submit(later)
        painter.let()
        first.check()
        later.check()
        assert late.wait().problem is not None
    assert late.problem.status == 503
    assert int(late.problem.headers["Retry-After"]) >= 1
    assert not late.has_begun
    assert late.num_ends == 1


def test_a_deadline_that_passes_in_the_middle() -> None:
    painter = Painter(held=True)
    with engine() as made:
        job, other = _busy(made, painter, 50), Job(painter, 1, 5)
        made.submit(other)
        job.deadline = time.monotonic() - 1
        painter.let()
        other.check()
        assert job.wait().problem is not None
    assert (job.problem.status, len(job.pictures), job.num_ends) == (503, 1, 1)
    assert int(job.problem.headers["Retry-After"]) >= 1


def test_the_last_picture_counts_even_if_it_is_late() -> None:
    painter = Painter(held=True)
    with engine() as made:
        job = _busy(made, painter)
        job.deadline = time.monotonic() - 1
        painter.let()
        job.check()


def test_what_nobody_waits_for_is_not_painted() -> None:
    painter = Painter(held=True)
    with engine() as made:
        half, never, other = _busy(made, painter, 50), Job(painter, 1, 50), Job(painter, 2)
        for job in (never, other):
            made.submit(job)
        never.is_cancelled = half.is_cancelled = True
        painter.let()
        other.check()
    assert not never.has_begun
    assert sum(len(call) for call in painter.calls) == 2
    assert (half.num_ends, never.num_ends) == (0, 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("/secret/folder is broken"), 500),
        (MemoryError(), 500),
        (ModelError("/secret/folder: damaged"), 500),
        (AudioError("the given bytes: silent"), 422),
        (Problem(418, "a teapot"), 418),
    ],
)
@pytest.mark.parametrize("where", ["begin", "take", "finish"])
def test_a_failure_stays_with_its_job(where: str, error: Exception, status: int) -> None:
    painter = Painter(held=True)
    with engine() as made:
        first = _busy(made, painter)
        jobs = [Job(painter, number, 3, breaks={where: error} if number == 2 else None) for number in range(5)]
        for job in jobs:
            made.submit(job)
        painter.let()
        for job in (first, *jobs[:2], *jobs[3:]):
            job.check()
        broken = jobs[2].wait()
        assert broken.problem is not None
        assert (broken.problem.status, broken.num_ends) == (status, 1)
        assert "secret" not in broken.problem.body().decode()
        after = Job(painter, 7, 2)
        made.submit(after)
        after.check()
    assert made.num_active == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failed_call_fails_those_whose_pictures_were_in_it(threads: int) -> None:
    painter = Painter(held=True)
    with engine(threads) as made:
        good = [Job(painter, number, 4, steps=1) for number in range(4)]
        bad = Job(painter, 8, 4, steps=2, noise=lambda i: -1.0 if i == 2 else i)
        for job in (*good, bad):
            made.submit(job)
        painter.let()
        for job in good:
            job.check()
        assert bad.wait().problem is not None
        assert (bad.problem.status, bad.num_ends) == (500, 1)
        assert [index for index, _ in bad.pictures] in ([0], [0, 1])
        assert "secret" not in bad.problem.body().decode()
        after = [Job(painter, number, 2, steps=2) for number in range(6)]
        for job in after:
            made.submit(job)
        for job in after:
            job.check()


def test_the_end_finishes_what_was_taken_in_and_refuses_the_rest() -> None:
    painter = Painter(held=True)
    made = Engine(2, 100)
    jobs = [Job(painter, number, 5) for number in range(20)]
    for job in jobs:
        made.submit(job)
    closing = threading.Thread(target=made.close, args=(LONG_S,))
    closing.start()
    until = time.monotonic() + LONG_S
    refused: list[Problem] = []
    while not refused and time.monotonic() < until:
        try:
            made.check_open()
        except Problem as problem:
            refused.append(problem)
    late = Job(painter, 99)
    with pytest.raises(Problem) as caught:
        made.submit(late)
    assert [each.status for each in (*refused, caught.value)] == [503, 503]
    assert int(caught.value.headers["Retry-After"]) >= 1
    painter.let()
    closing.join(LONG_S)
    assert not closing.is_alive()
    for job in jobs:
        assert job.ended.is_set()
        job.check()
    assert not late.has_begun
    made.close(0)  # twice is once


def test_an_end_that_takes_too_long_tells_those_who_wait() -> None:
    painter = Painter(held=True)
    made = Engine(1, 100)
    active, waiting = _busy(made, painter), [Job(painter, number) for number in range(3)]
    for job in waiting:
        made.submit(job)
    made.close(0.05)
    for job in waiting:
        assert job.wait().problem is not None
        assert (job.problem.status, job.num_ends, job.has_begun) == (503, 1, False)
    painter.let()
    active.check()


def test_a_window_waits_for_company() -> None:
    painter = Painter()
    with engine(window_s=0.3) as made:
        began = time.monotonic()
        alone = Job(painter, 0)
        made.submit(alone)
        alone.check()
        assert time.monotonic() - began >= 0.29
    with engine(window_s=0.5) as made:
        jobs = [Job(painter, number) for number in (1, 2)]
        for job in jobs:
            made.submit(job)
        for job in jobs:
            job.check()
    assert [len(call) for call in painter.calls] == [1, 2]


def test_no_window_where_there_is_nothing_to_wait_for() -> None:
    """A call that is full, and the end."""
    painter = Painter()
    with engine(max_rows=1, window_s=LONG_S) as made:
        job = Job(painter, 0, 3)
        made.submit(job)
        assert job.ended.wait(LONG_S / 2)
        job.check()
    made = Engine(1, 10, window_s=LONG_S)
    job = Job(painter, 1)
    made.submit(job)
    made.close(LONG_S / 2)
    job.check()
