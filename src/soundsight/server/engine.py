"""Threads that hear and paint: what waits is taken together, and many requests share a call of the network.

Each thread holds a few jobs at once. In each round it takes in what waits, paints one picture of each job in a single
call (Yu et al., *Orca*, 2022, call it continuous batching), and hands them on: a request for one picture does not wait
for the end of a request for sixty, and no picture waits for a timer.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import SoundsightError
from soundsight.server.problems import Problem, problem_of
from soundsight.server.rows import Row

__all__ = ["Engine", "Job", "late"]

Float32 = NDArray[np.float32]
_BEGIN_S = 0.05
_log = logging.getLogger("soundsight.server")


class Job(Protocol):
    """One request. All methods but ``fail`` are called from one thread of the engine, in this order."""

    deadline: float
    """Of ``time.monotonic``."""
    is_cancelled: bool
    """Nobody waits for it any more."""

    def begin(self) -> list[Row]:
        """Decode and hear; what has to be painted."""

    def step(self, done: int, num_steps: int) -> None:
        """So many steps of a picture that takes a while are done."""

    def take(self, row: Row, image_CHW: Float32 | None, heard_X: Float32 | None) -> None:
        """A picture is there, if it may be shown, and what its sound was taken for, where the network says."""

    def finish(self) -> None:
        """All pictures are there."""

    def fail(self, problem: Problem) -> None:
        """It ends here; from any thread."""


class _Unwanted(SoundsightError):  # noqa: N818 - nothing is wrong
    """Nobody waits any more for what is being painted."""


class _Active:
    """A job that a thread has begun, and what is left of it."""

    def __init__(self, job: Job, rows: list[Row]) -> None:
        self.job, self.rows = job, deque(rows)


class Engine:
    """A queue with an end, and threads that work on it.

    Args:
        threads: How many; ONNX Runtime itself takes one for each call.
        queue_size: Jobs that may wait.
        max_rows: Pictures in one call, and jobs that a thread holds at once.
        window_s: How long a thread that has nothing else to do waits for company before it paints.
        watch: Told how many pictures each call had.
        carry: Called when jobs may have said something: after they have begun, after a step, and after each round.
    """

    def __init__(
        self,
        threads: int,
        queue_size: int,
        max_rows: int = 16,
        window_s: float = 0.0,
        watch: Callable[[int], None] = lambda num_rows: None,
        carry: Callable[[], None] = lambda: None,
    ) -> None:
        self._carry = carry
        self._queue_size, self._max_rows, self._window_s, self._watch = queue_size, max_rows, window_s, watch
        self._waiting: deque[Job] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        self._num_active = 0
        self._seconds_per_job = 0.02
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{i}", daemon=True) for i in range(max(1, threads))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def num_waiting(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        """Jobs that are worked on."""
        return self._num_active

    def check_open(self) -> None:
        """Refuse everything once the end has begun.

        Raises:
            Problem: 503, the server is shutting down.
        """
        if self._is_closing:
            raise _closing()

    def check(self) -> None:
        """Refuse what there is no room for, before its body is read.

        Raises:
            Problem: 429, the queue is full; 503, the server is shutting down.
        """
        self.check_open()
        if len(self._waiting) >= self._queue_size:
            wait_s = self._queue_size * self._seconds_per_job / len(self._threads)
            raise Problem(
                429,
                f"{self._queue_size} requests wait already; try again later",
                headers={"Retry-After": str(min(60, max(1, math.ceil(wait_s))))},
            )

    def submit(self, job: Job) -> None:
        """Let a job wait its turn.

        Raises:
            Problem: As ``check``.
        """
        with self._wake:
            self.check()
            self._waiting.append(job)
            self._wake.notify()

    def close(self, timeout_s: float) -> None:
        """Finish what was taken in, and nothing else; what is left after ``timeout_s`` is told so."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._wake:
            left = list(self._waiting)
            self._waiting.clear()
        for job in left:
            job.fail(_closing())
        self._carry()

    def _work(self) -> None:
        active: list[_Active] = []
        busy_s = 0.0
        while (taken := self._take_in(active)) is not None:
            began = time.monotonic()
            num_ended = 0
            try:
                self._begin_some(taken, active)
                self._carry()  # before a picture that may take a minute
                self._round(active)
                num_ended = _drop_ended(active)
                self._carry()
            except Exception as error:  # a fault of ours: nobody is left waiting, and the thread lives on
                num_ended += len(active)
                for each in active:
                    _end(each, error)
                active.clear()
                self._carry()
            busy_s += time.monotonic() - began
            if num_ended:
                with self._wake:
                    self._num_active -= num_ended
                    self._seconds_per_job += 0.05 * (busy_s / num_ended - self._seconds_per_job)
                busy_s = 0.0

    def _begin_some(self, taken: list[Job], active: list[_Active]) -> None:
        """Begin jobs for a moment; the rest goes back, as long sounds should not hold up what is begun."""
        end = time.monotonic() + _BEGIN_S
        for number, job in enumerate(taken, start=1):
            active.append(_begin(job))
            if time.monotonic() > end and number < len(taken):
                with self._wake:
                    self._waiting.extendleft(reversed(taken[number:]))
                    self._num_active -= len(taken) - number
                    self._wake.notify()
                return

    def _take_in(self, active: list[_Active]) -> list[Job] | None:
        """Jobs to begin; None at the end. Waits only where there is nothing to go on with."""
        with self._wake:
            while not self._waiting and not active:
                if self._is_closing:
                    return None
                self._wake.wait()
            if not active and self._window_s and len(self._waiting) < self._max_rows and not self._is_closing:
                self._wake.wait(self._window_s)
            # The other threads want some, too.
            share = math.ceil(len(self._waiting) / len(self._threads))
            num = min(share, self._max_rows - len(active))
            taken = [self._waiting.popleft() for _ in range(max(0, num))]
            self._num_active += len(taken)
            if self._waiting:  # one that was woken may have found another at work on it
                self._wake.notify()
            return taken

    def _round(self, active: list[_Active]) -> None:
        """Paint one picture of each job whose pictures go together, in one call."""
        first = next((each.rows[0] for each in active if each.rows), None)
        if first is None:
            return
        chosen: list[tuple[_Active, Row]] = []
        most = min(self._max_rows, first.most)
        # A lone job fills the call with its own pictures, but the very first, which somebody waits for.
        depth = 1 if len(active) > 1 or first.index == 0 else max(1, self._max_rows // 2)
        for each in active:
            for row in islice(each.rows, depth):
                if len(chosen) < most and row.kind == first.kind:
                    chosen.append((each, row))
        there = list({id(each): each for each, _ in chosen}.values())  # a lone job has several rows in it
        try:
            called = first.paint([row for _, row in chosen], self._watching([each.job for each in there]))
        except _Unwanted:  # each is told why where jobs are ended
            return
        except Exception as error:
            for each in there:
                _end(each, error)
            return
        self._watch(len(chosen))
        for (each, row), image_CHW, heard_X in zip(chosen, called.images, called.heard, strict=True):
            if not each.rows:  # it failed at an earlier picture of this call
                continue
            each.rows.popleft()
            try:
                each.job.take(row, image_CHW, heard_X)
            except Exception as error:
                _end(each, error)
        # Whoever was served goes to the end, so that jobs beyond one call's size take turns.
        served = {id(each) for each, _ in chosen}
        active.sort(key=lambda each: id(each) in served)

    def _watching(self, jobs: list[Job]) -> Callable[[int, int], None]:
        """What a call that takes a while tells of its steps; it is given up where nobody waits for it."""

        def watch(done: int, num_steps: int) -> None:
            wanted = [job for job in jobs if not job.is_cancelled and time.monotonic() <= job.deadline]
            if not wanted:
                raise _Unwanted
            for job in wanted:
                job.step(done, num_steps)
            self._carry()

        return watch


def _drop_ended(active: list[_Active]) -> int:
    """End the jobs that have nothing left, or whose time is over; how many there were."""
    now = time.monotonic()
    for each in active:
        if each.job.is_cancelled:
            each.rows.clear()
        elif each.rows and now > each.job.deadline:
            _end(each, late())
        elif not each.rows:
            try:
                each.job.finish()
            except Exception as error:
                _end(each, error)
    before = len(active)
    active[:] = [each for each in active if each.rows]
    return before - len(active)


def _begin(job: Job) -> _Active:
    """A job that was heard; what cannot be is told so and has nothing left."""
    begun = _Active(job, [])
    if job.is_cancelled:
        return begun
    if time.monotonic() > job.deadline:
        _end(begun, late())
        return begun
    try:
        rows = job.begin()
    except Exception as error:
        _end(begun, error)
        return begun
    if not job.is_cancelled:  # meanwhile
        begun.rows.extend(rows)
    return begun


def _end(each: _Active, error: Exception) -> None:
    problem = problem_of(error)
    if problem.status >= 500 and not isinstance(error, Problem):
        _log.error("a request failed", exc_info=error)
    each.rows.clear()
    each.job.is_cancelled = True
    each.job.fail(problem)


def _closing() -> Problem:
    return Problem(503, "the server is shutting down", headers={"Retry-After": "5"})


def late() -> Problem:
    """What is told where a deadline has passed."""
    return Problem(503, "the request took longer than its deadline", headers={"Retry-After": "1"})
