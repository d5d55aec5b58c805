"""Each sound from file to files, several side by side, results in order."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TypeVar

from soundsight.batch.sources import Source
from soundsight.controls import Controls
from soundsight.errors import AudioError, MissingExtraError, OutputError
from soundsight.files import replace_file
from soundsight.picture import Format
from soundsight.pipeline import AudioToImage, Heard, Pictures

__all__ = ["Doubt", "Outcome", "Settings", "Written", "run"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# What the name of one file can cause; anything else would go wrong for all of them.
_ABOUT_ONE_NAME = {errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL, errno.EILSEQ}
# A thread more than this brings nothing: Python's own share of the work runs one at a time.
_MAX_THREADS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """What to make of each sound.

    Attributes:
        out: Folder for the pictures; the file itself if ``is_file``; unused if ``keep``.
        suffix: Format of the files.
        num_images: Pictures of each sound.
        seed: Seed of the noise.
        size: Long side in pixels.
        split: Cut sounds at their silences.
        is_file: ``out`` is the one file to write.
        keep: Write nothing and return the pictures, for a sheet of all.
        controls: Guidance, steps and variation.
        strict: Make no picture of what is none of the model's labels, where the model can tell.
    """

    out: Path
    suffix: Format = "png"
    num_images: int = 1
    seed: int = 0
    size: int | None = None
    split: bool = True
    is_file: bool = False
    keep: bool = False
    controls: Controls = field(default_factory=Controls)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and what is in it.

    Attributes:
        path: The file.
        index: Which picture of the sound; None where all are in it.
        part: Which part of the sound; 0 for a whole one.
        heard: What the model took the sound for; None where it does not say.
    """

    path: Path
    index: int | None
    part: int
    heard: Heard | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is to be known of a part of a sound: it is none of the model's labels, or its pictures are black.

    Attributes:
        line: In words.
        part: Which part of the sound; 0 for a whole one.
        heard: What the model took it for; None where it does not say.
        refused: Whether there are no pictures of it for that.
    """

    line: str
    part: int
    heard: Heard | None
    refused: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a source: without ``error`` and files or pictures, all of it was refused."""

    source: Source
    files: tuple[Written, ...] = ()
    pictures: tuple[Pictures, ...] = ()
    milliseconds: float = 0.0
    error: str = ""
    doubts: tuple[Doubt, ...] = ()


def run(
    pipe: AudioToImage, sources: Sequence[Source], names: Sequence[PurePath], settings: Settings
) -> Generator[Outcome, None, None]:
    """Work on all sources; memory does not grow with their number.

    Args:
        pipe: The model.
        sources: The sounds.
        names: Where the pictures of each go, as ``plan`` says.
        settings: What to make of them.

    Yields:
        The outcome of each source, in order; a sound that cannot be used is one with an ``error``.

    Raises:
        OutputError: Nothing can be written any more.
        ModelError: The network failed.
    """
    # Where calls wait for each other, Ctrl-C ends the one in hand only if it is this thread's.
    most = min(_MAX_THREADS, _num_cores()) if pipe.in_parallel else 1
    yield from _side_by_side(lambda job: _work(pipe, *job, settings), list(zip(sources, names, strict=True)), most)


def _side_by_side(work: Callable[[Item], Result], items: Sequence[Item], most: int) -> Generator[Result, None, None]:
    """``map`` on threads: decoding, the network, scaling and encoding all let go of the interpreter."""
    num_threads = min(most, len(items))
    if num_threads < 2:
        yield from map(work, items)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(num_threads)
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            # A window, so that a hundred thousand results do not wait for a slow reader.
            if len(pending) >= 8 * num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Also after Ctrl-C: what is under way is finished, so that nothing half-written stays.
        pool.shutdown(wait=True, cancel_futures=True)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(pipe: AudioToImage, source: Source, name: PurePath, settings: Settings) -> Outcome:
    if source.error:
        return Outcome(source, error=source.error)
    start = time.perf_counter()
    doubts: list[Doubt] = []
    files: tuple[Written, ...] = ()
    kept: tuple[Pictures, ...] = ()
    try:
        parts = pipe.stream(
            source.path or sys.stdin.buffer.read(),
            settings.num_images,
            settings.seed,
            settings.size,
            split=settings.split,
            name=source.name,
            **settings.controls,
        )
        wanted = _doubt(parts, pipe, source, settings.strict, doubts)
        if settings.keep:
            kept = tuple(wanted)
        else:
            files = tuple(_write_all(wanted, source, name, settings))
    except MemoryError:
        return Outcome(source, error=f"{source.given}: not enough memory for it; cut it first")
    except (AudioError, MissingExtraError) as error:
        message = str(error).removeprefix("the given bytes: ").removeprefix("bytes: ")
        return Outcome(source, error=f"stdin: {message}" if source.path is None else message)
    except OSError as error:
        where = error.filename or settings.out
        if error.errno in _ABOUT_ONE_NAME:
            return Outcome(source, error=f"{source.given}: its picture cannot be written ({error.strerror})")
        raise OutputError(f"{where}: cannot be written ({error.strerror})") from error
    milliseconds = (time.perf_counter() - start) * 1000
    return Outcome(source, files, kept, milliseconds, doubts=tuple(doubts))


def _doubt(
    parts: Iterable[Pictures], pipe: AudioToImage, source: Source, strict: bool, doubts: list[Doubt]
) -> Iterator[Pictures]:
    """The same parts, and what there is to doubt; with ``strict`` none of those that are none of the model's labels."""
    known = pipe.folder.known
    for pictures in parts:
        heard = pictures.heard
        if heard is not None and not heard.is_known:
            part = f", part {pictures.part}" if pictures.part else ""
            line = f"{source.given}{part}: this does not sound like {known} (score {heard.outlier:.2f})"
            doubts.append(Doubt(line, pictures.part, heard, strict))
            if strict:
                continue
        if pictures.blackened:
            doubts.append(Doubt(f"{source.given}: {pictures.blackened}", pictures.part, heard))
        yield pictures


def _write_all(parts: Iterable[Pictures], source: Source, name: PurePath, settings: Settings) -> Iterator[Written]:
    for pictures in parts:
        if settings.is_file and pictures.part:
            raise AudioError(
                f"{source.given}: several utterances in it make several pictures, and {settings.out} is one file; "
                f"name a folder, or add {'' if settings.suffix == 'npy' else '--grid or '}--no-split"
            )
        for index, file_name in enumerate(pictures.file_names(name.name, settings.suffix)):
            path = settings.out if settings.is_file else settings.out / name.parent / file_name
            _write(path, pictures.encode(index, settings.suffix))
            yield Written(path, None if settings.suffix == "npy" else index, pictures.part, pictures.heard)


def _write(path: Path, data: bytes) -> None:
    try:
        replace_file(path, data)
    except FileNotFoundError:  # the first file in its folder
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
