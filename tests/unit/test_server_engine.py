"""The engine: whatever runs beside, every request gets its own pictures, in order, and soon."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from engine_jobs import LONG_S, Job, Painter, busy, engine
from soundsight.server.engine import Engine
from soundsight.server.rows import Called, Row, Watch


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
        first = busy(made, painter)
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
        long = busy(made, painter, 200)
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


class _Slow:
    """A picture that tells of each of its steps; each call waits for the next."""

    part, index, kind, most = 0, 0, "slow", 2

    def __init__(self, index: int, num_steps: int, sizes: list[int], go: threading.Semaphore) -> None:
        self.index, self._num_steps, self._sizes, self._go = index, num_steps, sizes, go

    def paint(self, rows: Sequence[_Slow], watch: Watch) -> Called:
        self._sizes.append(len(rows))
        for step in range(self._num_steps):
            assert self._go.acquire(timeout=LONG_S)
            watch(step + 1, self._num_steps)
        return Called([np.full((1, 1, 3), row.index, np.float32) for row in rows], [None] * len(rows))


class _SlowJob(Job):
    def __init__(self, num_images: int, num_steps: int = 3) -> None:
        super().__init__(Painter(), 0, num_images)
        self.sizes, self.go, self.num_steps = list[int](), threading.Semaphore(0), num_steps

    def begin(self) -> list[Row]:
        return [_Slow(i, self.num_steps, self.sizes, self.go) for i in range(self.num_images)]


def test_steps_are_told_as_they_are_done_and_calls_have_the_size_that_rows_ask_for() -> None:
    carried = threading.Semaphore(0)
    with engine(carry=carried.release) as made:
        job = _SlowJob(6)
        made.submit(job)
        assert carried.acquire(timeout=LONG_S)  # what it said when it began, before any step
        assert not job.steps_told
        job.go.release()
        assert carried.acquire(timeout=LONG_S)
        assert job.steps_told == [(1, 3)]
        job.go.release(100)
        job.wait()
    assert job.sizes == [1, 2, 2, 1]  # the very first alone, as somebody waits for it
    assert job.steps_told == [(1, 3), (2, 3), (3, 3)] * 4
    assert [index for index, _ in job.pictures] == list(range(6))


@pytest.mark.parametrize("is_late", [False, True])
def test_a_call_that_nobody_waits_for_ends_at_its_next_step(is_late: bool) -> None:
    carried = threading.Semaphore(0)
    with engine(carry=carried.release) as made:
        job = _SlowJob(2, num_steps=1000)
        made.submit(job)
        job.go.release()
        for _ in range(2):
            assert carried.acquire(timeout=LONG_S)
        if is_late:
            job.deadline = time.monotonic() - 1
        else:
            job.is_cancelled = True
        job.go.release()
        other = Job(Painter(), 1)
        made.submit(other)
        other.check()
    assert (len(job.steps_told), job.pictures) == (1, [])
    if is_late:
        assert job.problem is not None
        assert job.problem.status == 503


def test_a_call_goes_on_while_one_of_its_jobs_is_waited_for() -> None:
    go, sizes = threading.Semaphore(0), list[int]()
    jobs = [_SlowJob(1), _SlowJob(1)]
    for job in jobs:
        job.go, job.sizes = go, sizes
    painter = Painter(held=True)
    with engine() as made:
        first = busy(made, painter)
        for job in jobs:
            made.submit(job)
        painter.let()
        first.check()
        go.release()
        end = time.monotonic() + LONG_S
        while not all(job.steps_told for job in jobs):
            assert time.monotonic() < end
            time.sleep(0.005)
        jobs[0].is_cancelled = True
        go.release(100)
        jobs[1].wait()
    assert sizes == [2]
    assert (len(jobs[0].steps_told), len(jobs[1].steps_told)) == (1, 3)
    assert len(jobs[1].pictures) == 1
