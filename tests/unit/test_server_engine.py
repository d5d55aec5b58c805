"""The engine: whatever runs beside, every request gets its own pictures, in order, and soon."""

from __future__ import annotations

import random
import time

import pytest

from engine_jobs import LONG_S, Job, Painter, busy, engine
from soundsight.server.engine import Engine


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
