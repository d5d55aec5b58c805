"""How long the default model takes.

    python benchmarks/painter.py [--model NAME|FOLDER] [--sounds FOLDER] [--repeats 50]

On one core, warm: a recording in memory to one picture, in turns with the network alone on the same sound. On two
cores: 256 recordings to 256 pictures, front end included. Prints a table on stderr and one line of JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from soundsight import AudioToImage, audio

# What the project promises.
MAX_MS, MIN_PICTURES_PER_S = 30.0, 400.0
BATCH = 256


def on_cores(num: int) -> None:
    """Keep this process on so many cores, where the system lets it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(CORES)[:num])


CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def clips_of(folder: Path, num: int) -> list[tuple[np.ndarray, int]]:
    """Recordings as they are, evenly out of a folder."""
    files = sorted(folder.rglob("*.wav"))
    if not files:
        raise SystemExit(f"{folder}: no .wav in it; name a folder with --sounds")
    chosen = [files[int(i)] for i in np.linspace(0, len(files) - 1, num)]
    decoded = [audio.decode(path, sample_rate_hz=8000) for path in chosen]
    return [(clip.samples, clip.sample_rate_hz) for clip in decoded]


def run(model: str, sounds: Path, repeats: int) -> dict[str, float]:
    clips = clips_of(sounds, BATCH)
    on_cores(1)
    pipe = AudioToImage.from_pretrained(model)
    heard = pipe.extract(pipe.hear(clips[0], split=False))
    pipe(clips[0]), pipe.from_features(heard)
    pairs = [
        (seconds(lambda i=i: pipe(clips[i % BATCH])), seconds(lambda: pipe.from_features(heard)))
        for i in range(repeats)
    ]
    on_cores(2)
    both = AudioToImage.from_pretrained(model, threads=2)

    def batch() -> int:
        features = both.extract([both.hear(clip, split=False)[0] for clip in clips])
        return len(both.from_features(features))

    batch()
    batches = [seconds(batch) for _ in range(5)]
    return {
        "one_ms": 1000 * statistics.median(whole for whole, _ in pairs),
        "network_ms": 1000 * statistics.median(network for _, network in pairs),
        "ratio": statistics.median(whole / network for whole, network in pairs),
        "pictures_per_s": BATCH / statistics.median(batches),
        "num_cores": min(2, len(CORES)),
    }


def report(found: dict[str, float]) -> None:
    rows = [
        ("a recording to a picture, one core", f"{found['one_ms']:.1f} ms", f"at most {MAX_MS:g} ms"),
        ("the network alone, on the same sound", f"{found['network_ms']:.1f} ms", ""),
        ("ratio", f"{found['ratio']:.2f}", ""),
        (
            f"{BATCH} recordings to pictures, {found['num_cores']:.0f} cores",
            f"{found['pictures_per_s']:.0f}/s",
            f"at least {MIN_PICTURES_PER_S:g}/s",
        ),
    ]
    for name, value, promise in rows:
        print(f"{name:45} {value:>12}  {promise}", file=sys.stderr)


def main() -> None:
    repo = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("SOUNDSIGHT_DATA", repo.parent / "shared" / "data")) / "fsdd"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--sounds", type=Path, default=data if data.is_dir() else repo / "examples")
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    found = run(options.model, options.sounds, options.repeats)
    report(found)
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))
    kept = found["one_ms"] <= MAX_MS and found["pictures_per_s"] >= MIN_PICTURES_PER_S
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()
