"""Cold start, memory and throughput of ``soundsight generate``.

    python benchmarks/generate.py [--model NAME|FOLDER] [--sounds FOLDER] [--repeats 9] [--num-files 1000]

A cold start is a new process for one recording, against a process that imports what has to be imported. The two take
turns, so that both see the same machine, and the median of the ratios counts. Prints a table on stderr and one line of
JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = Path(sys.executable).with_name("soundsight")
IMPORTS = "import numpy, onnxruntime, soundfile, PIL.Image"
# What the project promises.
MAX_RATIO, MAX_PEAK_MB, MIN_FILES_PER_S = 2.0, 200.0, 200.0


def measure(arguments: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of a process."""
    start = time.perf_counter()
    # As installed: with compiled modules, which this variable would keep from being written.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments[:4])} … ended with {process.returncode}")
    return wall_s, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def find_sounds(folder: Path) -> list[Path]:
    sounds = sorted(folder.rglob("*.wav"))
    if not sounds:
        raise SystemExit(f"{folder}: no .wav in it; name a folder with --sounds")
    return sounds


def copies(sounds: list[Path], num_files: int, folder: Path) -> Path:
    """A folder of that many recordings, repeated where there are fewer."""
    folder.mkdir()
    for i in range(num_files):
        (folder / f"{i:06}.wav").symlink_to(sounds[i % len(sounds)].resolve())
    return folder


def run(model: str, sounds: list[Path], repeats: int, num_files: int, scratch: Path) -> dict[str, float]:
    generate = [str(COMMAND), "generate", "--model", model]
    one = [*generate, str(sounds[0]), "-o", str(scratch / "one")]
    baseline = [sys.executable, "-c", IMPORTS]
    measure(one), measure(baseline)  # the first run of each reads the files from the disk
    pairs = [(measure(one), measure(baseline)) for _ in range(repeats)]
    many = [*generate, str(copies(sounds, num_files, scratch / "in")), "-o", str(scratch / "many")]
    batches = [measure(many) for _ in range(3)]
    return {
        "cold_start_s": statistics.median(ours[0] for ours, _ in pairs),
        "imports_s": statistics.median(theirs[0] for _, theirs in pairs),
        "cold_start_ratio": statistics.median(ours[0] / theirs[0] for ours, theirs in pairs),
        "peak_mb": max(ours[1] for ours, _ in pairs),
        "files_per_s": num_files / statistics.median(wall_s for wall_s, _ in batches),
        "batch_peak_mb": max(peak for _, peak in batches),
        "num_files": num_files,
        "num_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    }


def report(found: dict[str, float]) -> None:
    rows = [
        ("cold start, one recording", f"{found['cold_start_s'] * 1000:.0f} ms", ""),
        (f"python -c '{IMPORTS}'", f"{found['imports_s'] * 1000:.0f} ms", ""),
        ("ratio", f"{found['cold_start_ratio']:.2f}", f"at most {MAX_RATIO:g}"),
        ("peak memory, one recording", f"{found['peak_mb']:.0f} MB", f"at most {MAX_PEAK_MB:g}"),
        (f"{found['num_files']:,} at once", f"{found['files_per_s']:.0f} files/s", f"at least {MIN_FILES_PER_S:g}"),
        ("peak memory, all of them", f"{found['batch_peak_mb']:.0f} MB", ""),
    ]  # fmt: skip
    for name, value, promise in rows:
        print(f"{name:62} {value:>12}  {promise}", file=sys.stderr)


def main() -> None:
    repo = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("SOUNDSIGHT_DATA", repo.parent / "shared" / "data")) / "fsdd"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--sounds", type=Path, default=data if data.is_dir() else repo / "examples")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--num-files", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = run(options.model, find_sounds(options.sounds), options.repeats, options.num_files, Path(scratch))
    report(found)
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))
    small = found["cold_start_ratio"] <= MAX_RATIO and found["peak_mb"] <= MAX_PEAK_MB
    raise SystemExit(0 if small and found["files_per_s"] >= MIN_FILES_PER_S else 1)


if __name__ == "__main__":
    main()
