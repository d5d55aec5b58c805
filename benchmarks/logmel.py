"""Log-mel spectrograms: ours in a batch against librosa clip by clip, on 1-second 8 kHz clips, side by side.

Usage: python benchmarks/logmel.py [--num-clips 256] [--rounds 7]

Each measurement is a process of its own, the two in turn: inside one process the threads of the linear algebra go on
spinning for some 20 ms after a call, and take a core from whoever comes next. Two settings: as installed, with the
threads that each takes by itself, and one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TARGET = 5.0
REPETITIONS = 9


def clip_seconds(side: str, num_clips: int) -> float:
    """Median time per clip of one side, after a first call that fills its caches."""
    from soundsight.features import logmel

    config = logmel.Config()
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, config.sample_rate_hz).astype(np.float32) for _ in range(num_clips)]
    work = _ours(sounds, config) if side == "soundsight" else _theirs(sounds, config)
    work()
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) / num_clips


def _ours(sounds: list[Any], config: Any) -> Callable[[], object]:
    from soundsight.audio import Clip
    from soundsight.features import logmel

    clips = [Clip(sound, config.sample_rate_hz) for sound in sounds]
    return lambda: logmel.extract(clips, config)


def _theirs(sounds: list[Any], config: Any) -> Callable[[], object]:
    """Mel spectrograms in decibels below their peak; not resized, which is in librosa's favour."""
    import librosa

    def one(samples_T: Any) -> object:
        mel_FN = librosa.feature.melspectrogram(
            y=samples_T,
            sr=config.sample_rate_hz,
            n_fft=config.window,
            hop_length=config.hop,
            pad_mode="constant",
            n_mels=config.bins,
            fmin=config.low_hz,
            fmax=config.high_hz,
        )
        return librosa.power_to_db(mel_FN, ref=np.max, top_db=config.top_db)

    return lambda: [one(sound) for sound in sounds]


def measure(side: str, options: argparse.Namespace, one_thread: bool) -> float:
    """``clip_seconds`` in a new process."""
    command = [sys.executable, __file__, "--side", side, "--num-clips", str(options.num_clips)]
    threads = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if one_thread}
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def compare(options: argparse.Namespace, one_thread: bool) -> float:
    """Both in turn; prints medians and returns the median ratio."""
    pairs = [
        tuple(measure(side, options, one_thread) for side in ("soundsight", "librosa")) for _ in range(options.rounds)
    ]
    ratios = sorted(librosa / ours for ours, librosa in pairs)
    for name, times in zip(("soundsight", "librosa"), zip(*pairs, strict=True), strict=True):
        print(f"  {name:<12}{statistics.median(times) * 1e6:8.1f} µs per clip")
    median = statistics.median(ratios)
    print(f"  ratio       {median:8.2f} (median of {len(ratios)}; {ratios[0]:.2f} to {ratios[-1]:.2f}); wanted 5")
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-clips", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", choices=["soundsight", "librosa"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(clip_seconds(options.side, options.num_clips))
        return
    print("as installed, with the threads that each takes by itself")
    reached = compare(options, one_thread=False)
    print("one thread each")
    alone = compare(options, one_thread=True)
    raise SystemExit(0 if min(reached, alone) >= TARGET else 1)


if __name__ == "__main__":
    main()
