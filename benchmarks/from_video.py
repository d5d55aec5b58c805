"""Pairs out of a video: ``soundsight datasets from-video`` against the ``ffmpeg`` command, in turns.

    python benchmarks/from_video.py [--video FILE] [--loops 10] [--repeats 5]

Both take a frame a second of the same video, its middle as 256 by 256 pixels, as JPEG, and its sound, mono at 16 kHz,
in WAV files of one second. The video is repeated, so that the start of a process, which is counted, does not decide.
Each measurement is a process of its own, and the median of the paired ratios counts. Three settings: one video; four
videos in one call, against ffmpeg four times one after the other, with all the threads it takes; and key frames alone.
Prints a table on stderr and one line of JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("soundsight")), "datasets", "from-video"]
SQUARE = "crop='min(iw,ih)':'min(iw,ih)',scale=256:256"
SOUND = ["-map", "0:a:0", "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "-f", "segment", "-segment_time", "1"]
# What the project promises.
MIN_RATIO, MIN_KEYFRAMES_SPEED = 0.8, 100.0


def seconds(commands: list[list[str]]) -> float:
    """Wall time of processes, one after the other."""
    start = time.perf_counter()
    for command in commands:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return time.perf_counter() - start


def ours(videos: list[Path], folder: Path, *options: str) -> float:
    """Ours in one call, into a new folder."""
    wall_s = seconds([[*COMMAND, *map(str, videos), "-o", str(folder), *options]])
    shutil.rmtree(folder)
    return wall_s


def theirs(videos: list[Path], folder: Path, *, keyframes: bool = False) -> float:
    """The ffmpeg command for each video."""
    folder.mkdir()
    select = ["-fps_mode", "vfr", "-vf", SQUARE] if keyframes else ["-vf", f"fps=1,{SQUARE}"]
    commands = []
    for i, video in enumerate(videos):
        out = str(folder / f"{i}-%06d")
        reading = [*(["-skip_frame", "nokey"] if keyframes else []), "-i", str(video)]
        pictures = ["-map", "0:v:0", *select, "-q:v", "2", f"{out}.jpg"]
        commands.append(["ffmpeg", "-v", "error", *reading, *pictures, *SOUND, f"{out}.wav"])
    wall_s = seconds(commands)
    shutil.rmtree(folder)
    return wall_s


def lengthened(video: Path, loops: int, folder: Path) -> tuple[Path, float]:
    """The video that many times over, without coding it anew, and its length in seconds."""
    long = folder / f"long{video.suffix}"
    repeat = ["ffmpeg", "-v", "error", "-stream_loop", str(loops - 1), "-i", str(video), "-c", "copy", str(long)]
    subprocess.run(repeat, stdin=subprocess.DEVNULL, check=True)
    probe = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(long)]
    return long, float(subprocess.run(probe, capture_output=True, text=True, check=True).stdout)


def run(video: Path, loops: int, repeats: int, scratch: Path) -> dict[str, float]:
    long, duration_s = lengthened(video, loops, scratch)
    four = [scratch / f"{i}{video.suffix}" for i in range(4)]
    for path in four:
        path.symlink_to(long)
    found: dict[str, float] = {"duration_s": duration_s, "num_cores": len(os.sched_getaffinity(0))}
    settings = {"one": ([long], False), "four": (four, False), "keyframes": ([long], True)}
    for name, (videos, keyframes) in settings.items():
        options = ["--keyframes"] if keyframes else []
        times = [
            (
                ours(videos, scratch / "ours", *options),
                theirs(videos, scratch / "theirs", keyframes=keyframes),
            )
            for _ in range(repeats)
        ]
        found[f"{name}_ratio"] = statistics.median(their_s / our_s for our_s, their_s in times)
        found[f"{name}_speed"] = len(videos) * duration_s / statistics.median(our_s for our_s, _ in times)
        found[f"{name}_ffmpeg_speed"] = len(videos) * duration_s / statistics.median(their_s for _, their_s in times)
    return found


def report(found: dict[str, float]) -> None:
    print(f"{'':12} {'soundsight':>12} {'ffmpeg':>12} {'ratio':>7}   (times real time)", file=sys.stderr)
    for name in ("one", "four", "keyframes"):
        speeds = f"{found[f'{name}_speed']:12.1f} {found[f'{name}_ffmpeg_speed']:12.1f}"
        print(f"{name:12} {speeds} {found[f'{name}_ratio']:7.2f}", file=sys.stderr)
    print(
        f"wanted: {MIN_RATIO:g} of ffmpeg's speed for one; {MIN_KEYFRAMES_SPEED:g} times real time for keyframes",
        file=sys.stderr,
    )


def main() -> None:
    repo = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("SOUNDSIGHT_DATA", repo.parent / "shared" / "data")) / "video"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=next(iter(sorted(data.glob("*.mp4"))), None))
    parser.add_argument("--loops", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.video is None:
        raise SystemExit(f"no video in {data}; name one with --video")
    if shutil.which("ffmpeg") is None:
        raise SystemExit("the ffmpeg command is not installed")
    with tempfile.TemporaryDirectory() as scratch:
        found = run(options.video, options.loops, options.repeats, Path(scratch))
    report(found)
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))
    kept = found["one_ratio"] >= MIN_RATIO and found["keyframes_speed"] >= MIN_KEYFRAMES_SPEED
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()
