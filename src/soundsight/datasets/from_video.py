"""Pairs of picture and sound out of videos: frames, and the sound around each of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from soundsight.datasets.clips import Settings, make_clip
from soundsight.datasets.footage import Footage, Note
from soundsight.errors import AudioError, DatasetError, OutputError, require
from soundsight.files import alone

__all__ = ["Outcome", "Settings", "Watching", "extract"]

# Told the position of a video and how much of it is done, from 0 to 1; called from several threads.
Watching = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a video.

    Attributes:
        video: The file.
        clip: Its name in the folder.
        num_pairs: Pairs made of it.
        duration_s: How long its pictures play.
        left_out: How many pictures have no pair, by reason.
        is_new: Whether it was worked on now, and not before.
        error: Why it cannot be used, in one line; nothing of it is kept.
    """

    video: Path
    clip: str
    num_pairs: int = 0
    duration_s: float = 0.0
    left_out: dict[str, int] = field(default_factory=dict)
    is_new: bool = True
    error: str = ""


def extract(
    videos: Sequence[Path],
    folder: Path,
    settings: Settings,
    *,
    num_workers: int | None = None,
    watching: Watching | None = None,
) -> Generator[Outcome, None, None]:
    """Make pairs of videos, several side by side; what is finished in the folder already is left alone.

    At the end ``folder/pairs.csv`` lists every pair in the folder, by clip and time. A run that was stopped, even by a
    kill, goes on where it was when it is begun again, and ends with the same files.

    Args:
        videos: Files; one that is named twice is taken once.
        folder: Where to; made if need be.
        settings: The same for all that is in the folder.
        num_workers: Videos worked on at a time; by default one for each processor.
        watching: Called as the work goes on.

    Yields:
        The outcome of each video, in order; a video that cannot be used is one with an ``error``.

    Raises:
        DatasetError: The folder holds something else, or pairs made with other settings.
        OutputError: Nothing can be written any more.
        MissingExtraError: PyAV is not installed.
    """
    require("av", "video", "making pairs of videos")
    unique: dict[str, Path] = {}
    for video in videos:
        unique.setdefault(os.path.abspath(video), video)  # noqa: PTH100 - links are not followed
    videos = list(unique.values())
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_workers = min(num_workers or num_cores, max(1, len(videos)))
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    # What another one has not finished looks like what a killed one has left.
    with alone(folder, "makes pairs in"):
        footage = Footage(folder, settings.options)
        names = footage.names(videos)
        maker = _Maker(footage, settings, max(1, num_cores // num_workers), watching or (lambda *_: None))
        yield from maker.run(videos, names, num_workers)
        try:
            footage.close(settings.suffix)
        except OSError as error:
            raise OutputError(f"{footage.table}: cannot be written ({error.strerror})") from error


class _Maker:
    """Makes clips on threads: decoding, resampling, scaling and encoding all let go of the interpreter."""

    def __init__(self, footage: Footage, settings: Settings, num_threads: int, watching: Watching) -> None:
        self._footage, self._settings = footage, settings
        self._num_threads, self._watching = num_threads, watching
        self._stop = threading.Event()

    def run(self, videos: Sequence[Path], names: Sequence[str], num_workers: int) -> Generator[Outcome, None, None]:
        """The outcomes, in order."""
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(num_workers)
        try:
            jobs = zip(range(len(videos)), videos, names, strict=True)
            for future in [pool.submit(self._work, *job) for job in jobs]:
                yield future.result()
        finally:
            # Also after Ctrl-C: what is under way stops at its next frame, and leaves nothing.
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, index: int, video: Path, name: str) -> Outcome:
        try:
            is_new = not self._footage.is_finished(name, video)
            note = self._make(index, video, name) if is_new else self._footage.notes[name]
        except MemoryError:
            return Outcome(video, name, error=f"{video}: not enough memory for it")
        except (AudioError, DatasetError) as error:
            return Outcome(video, name, error=str(error))
        except OSError as error:
            if error.filename == str(video):
                return Outcome(video, name, error=f"{video}: cannot be read ({error.strerror})")
            where = error.filename or self._footage.folder
            raise OutputError(f"{where}: cannot be written ({error.strerror})") from error
        self._watching(index, 1.0)
        return Outcome(video, name, len(note.times_ms), note.duration_s, dict(note.left_out), is_new)

    def _make(self, index: int, video: Path, name: str) -> Note:
        with self._footage.clip(name) as unfinished:
            note = make_clip(
                video,
                unfinished,
                self._settings,
                num_threads=self._num_threads,
                watch=partial(self._watching, index),
                stop=self._stop,
            )
            self._footage.finish(name, unfinished, note)
        return note
