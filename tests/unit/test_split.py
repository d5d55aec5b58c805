"""Cutting a recording of several digits: as many clips as were said, each whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soundsight.audio import Clip, condition, decode, split_at_silences

RATE_HZ = 8000


@pytest.fixture(scope="module")
def fsdd(data_root: Path) -> dict[str, Clip]:
    return {p.stem: decode(p, sample_rate_hz=RATE_HZ) for p in sorted((data_root / "fsdd").rglob("*.wav"))}


def test_no_single_digit_is_split(fsdd: dict[str, Clip]) -> None:
    split = [name for name, clip in fsdd.items() if len(split_at_silences(clip)) != 1]
    assert split == []
    split = [name for name, clip in fsdd.items() if len(split_at_silences(condition(clip))) != 1]
    assert split == []


def test_one_utterance_comes_back_as_it_is(fsdd: dict[str, Clip]) -> None:
    clip = fsdd["6_jackson_0"]
    assert split_at_silences(clip) == [clip]


@pytest.mark.parametrize("gap_s", [0.05, 0.1, 0.15])
def test_the_stop_inside_a_word_does_not_split_it(gap_s: float) -> None:
    rng = np.random.default_rng(0)
    vowel = 0.3 * np.sin(2 * np.pi * 200 * np.arange(2400) / RATE_HZ)
    end = 0.1 * rng.uniform(-1, 1, 1600)
    samples = np.concatenate([np.zeros(4000), vowel, np.zeros(round(gap_s * RATE_HZ)), end, np.zeros(4000)])
    assert len(split_at_silences(Clip(samples.astype(np.float32), RATE_HZ))) == 1


def test_silence_and_nothing_are_one_clip() -> None:
    for samples in (np.zeros(0, np.float32), np.zeros(50, np.float32), np.zeros(80_000, np.float32)):
        assert len(split_at_silences(Clip(samples, RATE_HZ))) == 1


def joined(
    fsdd: dict[str, Clip], speaker: str, rng: np.random.Generator, noise: np.ndarray | None = None
) -> tuple[Clip, list[tuple[int, int]]]:
    """Two to eight digits by one speaker with pauses of 0.3 to 1 s, and where each begins and ends."""
    names = rng.choice([name for name in fsdd if f"_{speaker}_" in name], rng.integers(2, 9), replace=False)
    parts, places, length = [], [], 0
    for name in names:
        pause = np.zeros(round(RATE_HZ * rng.uniform(0.3, 1)), np.float32)
        parts += [pause, fsdd[name].samples]
        places.append((length + len(pause), length + len(pause) + len(parts[-1])))
        length = places[-1][1]
    samples = np.concatenate([*parts, pause])
    if noise is not None:
        start = rng.integers(0, len(noise) - len(samples))
        part = noise[start : start + len(samples)]
        samples += part * (samples.std() / part.std() * 10 ** (-30 / 20))
    return Clip(samples, RATE_HZ), places


def place(part: Clip, whole: Clip) -> tuple[int, int]:
    first = (part.samples.ctypes.data - whole.samples.ctypes.data) // 4
    return first, first + len(part.samples)


@pytest.mark.parametrize("noise_name", [None, "white_noise"])
def test_as_many_clips_as_digits_each_whole(data_root: Path, fsdd: dict[str, Clip], noise_name: str | None) -> None:
    rng = np.random.default_rng(7)
    noise = None
    if noise_name is not None:
        noise = decode(data_root / "background_noise" / f"{noise_name}.wav", sample_rate_hz=RATE_HZ).samples
    num_right, num_trials = 0, 0
    for speaker in ("jackson", "nicolas", "theo", "yweweler"):
        for _ in range(30):
            num_trials += 1
            whole, digits = joined(fsdd, speaker, rng, noise)
            parts = split_at_silences(whole)
            if len(parts) != len(digits):
                continue
            num_right += 1
            ends = 0
            for part, (first, end) in zip(parts, digits, strict=True):
                at, to = place(part, whole)
                assert at >= ends, "clips overlap"
                ends = to
                # No more than a quarter of a second of pause, and nearly all of what was said.
                assert at >= first - 2000
                assert to <= end + 2000
                said = np.square(whole.samples[first:end], dtype=np.float64)
                inside = said[max(at - first, 0) : to - first].sum()
                assert inside > 0.9 * said.sum()
    assert num_right >= 0.97 * num_trials


def test_a_click_and_a_breath_are_left_out(fsdd: dict[str, Clip]) -> None:
    rng = np.random.default_rng(1)
    pause = np.zeros(6000, np.float32)
    click = np.array([0.5, -0.5] * 4, np.float32)
    breath = (1e-4 * rng.standard_normal(4000)).astype(np.float32)
    digits = [fsdd["1_jackson_0"].samples, fsdd["4_jackson_1"].samples]
    samples = np.concatenate([pause, click, pause, digits[0], pause, breath, pause, digits[1], pause])
    parts = split_at_silences(Clip(samples, RATE_HZ))
    assert len(parts) == 2
    for part, digit in zip(parts, digits, strict=True):
        assert part.samples.max() == digit.max()


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_other_rates_give_the_same_count(fsdd: dict[str, Clip], rate_hz: int) -> None:
    import soxr

    whole, digits = joined(fsdd, "jackson", np.random.default_rng(3))
    other = Clip(soxr.resample(whole.samples, RATE_HZ, rate_hz), rate_hz)
    assert len(split_at_silences(other)) == len(digits)
