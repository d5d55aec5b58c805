"""Processes side by side that hear recordings, each with the encoder in it once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.records import Record, read_sound
from soundsight.encoders.embedding import Encoder
from soundsight.errors import ModelError, SoundsightError

__all__ = ["Heard", "Load", "Nature", "Workers"]

Float32 = NDArray[np.float32]
Load = Callable[[], Encoder]
"""Makes the encoder; it is called in each process, so it must be a module's function, or a partial of one."""

# Recordings sent at a time: enough to make the sending cheap, few enough to stop soon.
_CHUNK = 4
# Chunks under way or waiting for each process.
_AHEAD = 3
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Nature(NamedTuple):
    """What is to be known of an encoder where it is not loaded; as ``Encoder`` has it."""

    name: str
    identity: str
    size: int


class Heard(NamedTuple):
    """What became of a recording.

    Attributes:
        record: Which one.
        tokens_LD: Its embedding, (L, D) float32; None if it could not be heard.
        duration_s: Length of what was heard.
        spent_s: Time that it took.
        fault: Why it could not be heard, in one line.
    """

    record: Record
    tokens_LD: Float32 | None
    duration_s: float
    spent_s: float
    fault: str


class Workers:
    """Some processes with an encoder; to be used in a ``with``.

    What an encoder makes of a recording depends on neither its neighbours nor the number of processes: each recording
    is encoded alone, by one thread.

    Args:
        load: Makes the encoder.
        num: Of processes, 1 or more.

    Attributes:
        num: Of processes.
        nature: Of the encoder.

    Raises:
        SoundsightError: The encoder cannot be loaded, as ``load`` says.
    """

    def __init__(self, load: Load, num: int) -> None:
        assert num >= 1
        self.num = num
        # A fork would take over the locks of other threads, and the half of what PyTorch holds.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(num, mp_context=context, initializer=_begin, initargs=(load,))
        self._threads = ExitStack()
        self._threads.enter_context(_one_thread())
        try:
            with _told():
                self.nature = self._pool.submit(_nature).result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, when they have done what they are at."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._threads.close()

    def hear(self, records: Iterable[Record]) -> Iterator[Heard]:
        """Encode recordings, in their order; one that cannot be heard is said to be so, and does not stop the rest.

        Raises:
            ModelError: A process has died, or its weights are no longer those of the others.
        """
        chunks = iter(_chunks(iter(records)))
        waiting: deque[Future[list[Heard]]] = deque()
        with _told():
            while True:
                for chunk in islice(chunks, self.num * _AHEAD - len(waiting)):
                    waiting.append(self._submit(chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()

    def _submit(self, chunk: list[Record]) -> Future[list[Heard]]:
        try:
            return self._pool.submit(_hear, chunk, self.nature.identity)
        except OSError as error:  # one has died while another was begun: the pool is closed under its hands
            raise BrokenProcessPool from error


def _chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    while chunk := list(islice(records, _CHUNK)):
        yield chunk


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise ModelError(
            "a process with the encoder has died; was there not enough memory? Take fewer workers; what is finished "
            "is kept"
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started meanwhile compute with one thread each, whatever library they load.

    The pool starts them one by one, as work comes in. With more threads than processors, PyTorch's wait for one
    another in a busy loop, and take many times as long.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# What follows runs in the processes.

_load: Load | None = None


def _begin(load: Load) -> None:
    """First of all in each process."""
    global _load
    _load = load
    # Ctrl-C goes to all processes of a terminal; the first of them ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@cache
def _encoder() -> Encoder:
    assert _load is not None
    return _load()


def _nature() -> Nature:
    encoder = _encoder()
    return Nature(encoder.name, encoder.identity, encoder.size)


def _hear(records: Sequence[Record], identity: str) -> list[Heard]:
    if _encoder().identity != identity:
        raise ModelError("the encoder's weights have changed while they were in use; begin again")
    return [_hear_one(record, _encoder()) for record in records]


def _hear_one(record: Record, encoder: Encoder) -> Heard:
    began = time.perf_counter()
    try:
        clip = read_sound(record, encoder.sample_rate_hz)
        (embedding,) = encoder.encode([clip])
    except MemoryError:
        return Heard(record, None, 0.0, 0.0, f"{record.path}: not enough memory for it")
    except SoundsightError as error:
        return Heard(record, None, 0.0, 0.0, _located(record, str(error)))
    return Heard(record, embedding.tokens_LD, clip.duration_s, time.perf_counter() - began, "")


def _located(record: Record, fault: str) -> str:
    """What an encoder says of samples does not name their file."""
    return fault if str(record.path) in fault else f"{record.path}: {fault}"
