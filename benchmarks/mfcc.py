"""Cepstral coefficients: ours in a batch and one at a time against librosa, on 1-second 16 kHz clips, side by side.

Usage: python benchmarks/mfcc.py [--num-clips 64] [--rounds 7]

Each measurement is a process of its own, in turn, as in logmel.py, which says why. Two settings: as installed, with the
threads that each takes by itself, and one thread each. Most of librosa's time goes into making the mel filters anew at
every call. ``librosa, filters kept`` is what a user can do about it by hand; nothing is promised against that.
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
BATCH, SINGLE, LIBROSA, LIBROSA_KEPT = "soundsight", "soundsight, singly", "librosa", "librosa, filters kept"
SIDES = (BATCH, SINGLE, LIBROSA, LIBROSA_KEPT)


def clip_seconds(side: str, num_clips: int) -> float:
    """Median time per clip of one side, after a first call that fills its caches."""
    from soundsight.features import mfcc

    config = mfcc.Config()
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, config.sample_rate_hz).astype(np.float32) for _ in range(num_clips)]
    work = _ours(sounds, config, side) if side in (BATCH, SINGLE) else _theirs(sounds, config, side)
    work()
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) / num_clips


def _ours(sounds: list[Any], config: Any, side: str) -> Callable[[], object]:
    from soundsight.audio import Clip
    from soundsight.features import mfcc

    clips = [Clip(sound, config.sample_rate_hz) for sound in sounds]
    if side == BATCH:
        return lambda: mfcc.extract(clips, config)
    return lambda: [mfcc.extract([clip], config) for clip in clips]


def _theirs(sounds: list[Any], config: Any, side: str) -> Callable[[], object]:
    """The same eight windows; the zeros after the second are put there beforehand, which is in librosa's favour."""
    import librosa

    padded = [np.pad(sound, (0, config.window - config.hop)) for sound in sounds]
    spectra = {"n_fft": config.window, "hop_length": config.hop, "center": False}
    filters_FK = librosa.filters.mel(sr=config.sample_rate_hz, n_fft=config.window, n_mels=config.bands)

    def whole(samples_T: Any) -> object:
        return librosa.feature.mfcc(
            y=samples_T, sr=config.sample_rate_hz, n_mfcc=config.coefficients, n_mels=config.bands, **spectra
        )

    def with_filters_kept(samples_T: Any) -> object:
        mel_FN = filters_FK @ np.abs(librosa.stft(samples_T, **spectra)) ** 2
        return librosa.feature.mfcc(S=librosa.power_to_db(mel_FN), n_mfcc=config.coefficients)

    one = whole if side == LIBROSA else with_filters_kept
    return lambda: [one(samples_T) for samples_T in padded]


def measure(side: str, options: argparse.Namespace, one_thread: bool) -> float:
    """``clip_seconds`` in a new process."""
    command = [sys.executable, __file__, "--side", side, "--num-clips", str(options.num_clips)]
    threads = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if one_thread}
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def compare(options: argparse.Namespace, one_thread: bool) -> float:
    """All in turn; prints medians and returns the lower median ratio of what is promised."""
    rounds = [{side: measure(side, options, one_thread) for side in SIDES} for _ in range(options.rounds)]
    for side in SIDES:
        print(f"  {side:<24}{statistics.median(times[side] for times in rounds) * 1e6:8.1f} µs per clip")
    promised = [ratio(rounds, LIBROSA, ours, f"wanted {TARGET:g}") for ours in (BATCH, SINGLE)]
    ratio(rounds, LIBROSA_KEPT, BATCH, "nothing promised")
    return min(promised)


def ratio(rounds: list[dict[str, float]], theirs: str, ours: str, wanted: str) -> float:
    """Median of the paired ratios, printed."""
    ratios = sorted(times[theirs] / times[ours] for times in rounds)
    median = statistics.median(ratios)
    spread = f"median of {len(ratios)}; {ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"  {theirs} / {ours}: {median:.2f} ({spread}); {wanted}")
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
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
