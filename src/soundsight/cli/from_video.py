"""``soundsight datasets from-video``: pairs of picture and sound out of videos."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundsight.cli import examples, say, show
from soundsight.cli.quiet import quiet_libraries
from soundsight.errors import SoundsightError, require

if TYPE_CHECKING:
    from soundsight.datasets.from_video import Outcome, Watching

__all__ = ["EXAMPLES", "from_video"]

EXAMPLES = examples(
    "soundsight datasets from-video concert.mp4 -o pairs",
    "soundsight datasets from-video videos/ more/*.webm -o pairs --every 2 --window 0.96 --size 128",
    "soundsight datasets from-video lectures/ -o pairs --keyframes --every 10",
)
# Lines of errors shown, as by 'generate'.
_MANY = 20


def from_video(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO...", help="Files, or folders (searched to the bottom).")
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder for the pairs.")],
    every: Annotated[float, typer.Option(metavar="SECONDS", help="From one picture to the next, 0.04 or more.")] = 1.0,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", help="Sound around each picture, which is in its middle; 0.02 to 60.")
    ] = 1.0,
    size: Annotated[int, typer.Option(metavar="N", help="Pixels on a side, 16 to 1024.")] = 256,
    rate: Annotated[int, typer.Option(metavar="HZ", help="Sample rate of the sounds, 1000 to 192000.")] = 16000,
    format: Annotated[Literal["jpg", "png"], typer.Option(help="Kind of picture.")] = "jpg",  # noqa: A002
    keyframes: Annotated[
        bool, typer.Option("--keyframes", help="Key frames alone, those --every apart or more; much faster.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, metavar="N", help="Videos at a time.", show_default="one for each processor"),
    ] = None,
) -> None:
    """Make pairs of picture and sound out of videos.

    Of each video a folder with pictures, the middle of the frame as a square, and mono WAV sounds; DIR/pairs.csv
    lists all pairs in DIR (sound, image, clip, time_s). Times count from a video's first picture. A picture without a
    whole window of sound around it is left out.

    Stop and repeat the command at will: finished videos are left alone, and more can be added with the same options.

    Exit code: 0, or 1 if some videos could not be used, 2 if none could or something else is wrong.
    """
    if "-" in videos:
        raise SoundsightError("'-': videos are read from files, not from standard input; name a file or a folder")
    if not out:
        raise SoundsightError("--out is empty; name a folder for the pairs")
    require("av", "video", "datasets from-video")
    from soundsight.batch.sources import VIDEO_SUFFIXES, collect
    from soundsight.datasets.from_video import Settings, extract

    settings = Settings(every, window, size, rate, format, keyframes)
    sources = collect(videos, suffixes=VIDEO_SUFFIXES, kind="video")
    paths = [source.path for source in sources if source.path is not None and not source.error]
    summary = _Summary([source.error for source in sources if source.error])
    if not paths:
        summary.finish(Path(out))
    with quiet_libraries(), _bar(len(paths)) as watching:
        try:
            run = extract(paths, Path(out), settings, num_workers=workers, watching=watching)
            with closing(run) as outcomes:
                for outcome in outcomes:
                    summary.take(outcome)
        except KeyboardInterrupt:
            say("interrupted; the same command goes on")
            raise
    summary.finish(Path(out))


class _Summary:
    """Says what became of each video where there is no bar, and what of all at the end."""

    def __init__(self, errors: list[str]) -> None:
        self._errors = errors
        self._begun_s = time.monotonic()
        self._done: list[Outcome] = []

    def take(self, outcome: Outcome) -> None:
        """One more video."""
        if outcome.error:
            self._errors.append(outcome.error)
            return
        self._done.append(outcome)
        if not sys.stderr.isatty():
            say(f"{outcome.video}: {_count(outcome.num_pairs, 'pair')}{'' if outcome.is_new else ', finished before'}")

    def finish(self, out: Path) -> None:
        """The summary, the errors, and the exit code."""
        spent_s = time.monotonic() - self._begun_s
        if self._done:
            show(f"{_count(sum(d.num_pairs for d in self._done), 'pair')} of {_count(len(self._done), 'video')}")
        left_out: Counter[str] = Counter()
        for outcome in self._done:
            left_out.update(outcome.left_out)
        for reason, count in sorted(left_out.items()):
            show(f"left out: {_count(count, 'picture')} {reason}")
        if new := [outcome for outcome in self._done if outcome.is_new]:
            seconds = sum(outcome.duration_s for outcome in new)
            show(f"{seconds:,.0f} s of video in {spent_s:,.1f} s, {seconds / spent_s:,.0f} times real time")
        if len(new) < len(self._done):
            show(f"finished before: {_count(len(self._done) - len(new), 'video')}")
        if self._done:
            show(str(out / "pairs.csv"))
        for line in self._errors[:_MANY]:
            say(f"soundsight: error: {line}")
        if len(self._errors) > _MANY:
            say(f"soundsight: error: and {len(self._errors) - _MANY} more")
        if self._errors and self._done:
            say(f"soundsight: {len(self._errors)} of {len(self._errors) + len(self._done)} videos could not be used")
        if self._errors:
            raise typer.Exit(1 if self._done else 2)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@contextmanager
def _bar(num_videos: int) -> Iterator[Watching]:
    """A progress bar over all videos with the time left, on stderr; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    shares = [0.0] * num_videos
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Watching", total=num_videos)

        def watching(index: int, share: float) -> None:
            # A decoder says more often how far it is than anybody can see.
            if share - shares[index] > 0.002 or share == 1.0:
                progress.advance(task, share - shares[index])
                shares[index] = share

        yield watching
