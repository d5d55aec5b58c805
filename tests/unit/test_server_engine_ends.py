"""The engine where something ends: a queue that is full, a deadline, a client who left, a failure, the server."""

from __future__ import annotations

import threading
import time

import pytest

from engine_jobs import LONG_S, Job, Painter, busy, engine
from soundsight.errors import AudioError, ModelError
from soundsight.server.engine import Engine
from soundsight.server.problems import Problem


def test_a_full_queue_is_told_when_to_come_back() -> None:
    painter = Painter(held=True)
    with engine(queue_size=3) as made:
        jobs = [busy(made, painter)]
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
        first, late, later = busy(made, painter), Job(painter, 1), Job(painter, 2)
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
        job, other = busy(made, painter, 50), Job(painter, 1, 5)
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
        job = busy(made, painter)
        job.deadline = time.monotonic() - 1
        painter.let()
        job.check()


def test_what_nobody_waits_for_is_not_painted() -> None:
    painter = Painter(held=True)
    with engine() as made:
        half, never, other = busy(made, painter, 50), Job(painter, 1, 50), Job(painter, 2)
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
        first = busy(made, painter)
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
    active, waiting = busy(made, painter), [Job(painter, number) for number in range(3)]
    for job in waiting:
        made.submit(job)
    made.close(0.05)
    for job in waiting:
        assert job.wait().problem is not None
        assert (job.problem.status, job.num_ends, job.has_begun) == (503, 1, False)
    painter.let()
    active.check()


def test_a_fault_of_the_engine_itself_leaves_nobody_waiting() -> None:
    """Counting is outside of every job: where it fails, the jobs of that round are told, and the next are served."""
    faults = [RuntimeError("counters")]

    def watch(num_rows: int) -> None:
        if faults:
            raise faults.pop()

    painter = Painter()
    with engine(watch=watch) as made:
        first, second = Job(painter, 1), Job(painter, 2)
        made.submit(first)
        problem = first.wait().problem
        assert problem is not None
        assert (problem.status, "counters" in problem.detail) == (500, False)
        made.submit(second)
        second.check()
    assert made.num_active == 0
