"""Log-mel spectrograms: ours in a batch against librosa clip by clip, on 1-second 8 kHz clips, side by side.

Usage: python benchmarks/logmel.py [--num-clips 256] [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import librosa
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from soundsight.audio import Clip
from soundsight.features import logmel
from soundsight.features.logmel import Config, extract

Float32 = NDArray[np.float32]
TARGET = 5.0


def librosa_levels(samples_T: Float32, config: Config) -> Float32:
    """Mel spectrogram in decibels below its peak, (F, N); not resized, which is in librosa's favour."""
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


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-clips", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    config = Config()
    sounds = [rng.normal(0, 0.1, config.sample_rate_hz).astype(np.float32) for _ in range(options.num_clips)]
    clips = [Clip(sound, config.sample_rate_hz) for sound in sounds]

    def ours() -> object:
        return extract(clips, config)

    def theirs() -> object:
        return [librosa_levels(sound, config) for sound in sounds]

    print("as installed, with the threads that each takes by itself")
    reached = compare(ours, theirs, options.num_clips, options.rounds)
    print("one thread each")
    logmel._MAX_THREADS = 1
    with threadpool_limits(1):
        compare(ours, theirs, options.num_clips, options.rounds)
    raise SystemExit(0 if reached >= TARGET else 1)


def compare(ours: Callable[[], object], theirs: Callable[[], object], num_clips: int, rounds: int) -> float:
    """Time both alternately, print medians, return the median ratio."""
    ours(), theirs()  # the first call of each fills its caches
    # Alternating, so that whatever else the machine does falls on both.
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    ratios = sorted(b / a for a, b in pairs)
    for name, times in (("soundsight", [a for a, _ in pairs]), ("librosa", [b for _, b in pairs])):
        print(f"  {name:<12}{statistics.median(times) / num_clips * 1e6:8.1f} µs per clip (median of {rounds})")
    median = statistics.median(ratios)
    print(f"  ratio       {median:8.2f} (median; {ratios[0]:.2f} to {ratios[-1]:.2f}), wanted: at least {TARGET:g}")
    return median


if __name__ == "__main__":
    main()
