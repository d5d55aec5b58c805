"""What is measured of a model's hearing: noise at the ratio that it says, and scores that a stub shows to be right."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from soundsight.audio import Clip
from soundsight.datasets import fsdd
from soundsight.errors import AudioError, SoundsightError
from soundsight.evaluation import hearing
from soundsight.evaluation.hearing import MARGIN_S, NOTHING_ELSE, Surroundings, hearing_scores, in_noise

RATE = 8000


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -10.0])
def test_noise_is_mixed_at_its_ratio(snr_db, monkeypatch):
    monkeypatch.setattr(hearing.audio, "condition", lambda clip: clip)
    voice = np.sin(np.arange(RATE)).astype(np.float32)
    noises = [Clip(np.random.default_rng(1).normal(0, 3, 5 * RATE).astype(np.float32), RATE)]
    (noisy,) = in_noise([Clip(voice, RATE)], noises, snr_db, np.random.default_rng(0))
    margin = int(MARGIN_S * RATE)
    assert len(noisy.samples) == RATE + 2 * margin
    noise = noisy.samples - np.pad(voice, margin)
    assert 10 * np.log10(np.mean(voice**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.1)
    assert np.abs(noise[:margin]).max() > 0, "nobody begins to speak as the recording begins"


def test_the_ratio_is_that_of_the_noise_under_the_voice(monkeypatch):
    """Noise that swells outside of it does not make the mixture cleaner than it says."""
    monkeypatch.setattr(hearing.audio, "condition", lambda clip: clip)
    rng = np.random.default_rng(0)
    voice = np.sin(np.arange(RATE)).astype(np.float32)
    swelling = (rng.normal(size=20 * RATE) * np.exp(3 * np.sin(np.arange(20 * RATE) / RATE))).astype(np.float32)
    margin = int(MARGIN_S * RATE)
    for noisy in in_noise([Clip(voice, RATE)] * 20, [Clip(swelling, RATE)], 10, rng):
        noise = noisy.samples[margin:-margin] - voice
        assert 10 * np.log10(np.mean(voice**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)


def test_silence_is_no_noise(monkeypatch):
    monkeypatch.setattr(hearing.audio, "condition", lambda clip: clip)
    clips = [Clip(np.ones(100, np.float32), RATE)] * 10
    half = np.concatenate([np.zeros(9000), np.random.default_rng(0).normal(size=20_000)]).astype(np.float32)
    noisy = in_noise(clips, [Clip(half, RATE)], 10, np.random.default_rng(0))
    assert all(np.abs(clip.samples - np.median(clip.samples)).max() > 0 for clip in noisy)
    with pytest.raises(AudioError, match="silent"):
        in_noise(clips, [Clip(np.full(999, 1e-6, np.float32), RATE)], 10, np.random.default_rng(0))


@pytest.mark.parametrize("snrs_db", [(4000.0,), (float("nan"),), (float("-inf"),), (10.0, 10.0)])
def test_ratios_that_are_none_are_refused(snrs_db):
    with pytest.raises(SoundsightError, match="signal-to-noise"):
        Surroundings(snrs_db=snrs_db)


def test_a_short_noise_is_repeated_and_the_draw_is_the_seeds(monkeypatch):
    monkeypatch.setattr(hearing.audio, "condition", lambda clip: clip)
    clips = [Clip(np.ones(900, np.float32), RATE)] * 3
    noises = [Clip(np.random.default_rng(i).normal(size=100).astype(np.float32), RATE) for i in range(2)]
    one, two, other = (in_noise(clips, noises, 10, np.random.default_rng(seed)) for seed in (0, 0, 1))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
    assert any(not np.array_equal(a.samples, b.samples) for a, b in zip(one, other, strict=True))


class Pipe:
    """Hears the label that is written in the features, with a confidence; the features of a file are its length."""

    sample_rate_hz = RATE

    def __init__(self, listens: bool = True) -> None:
        self.folder = SimpleNamespace(name="stub")
        self.generator = SimpleNamespace(listens=listens, listen=self.listen)

    def prepare(self, clip: Clip) -> Clip:
        return clip

    def listen(self, features: np.ndarray) -> np.ndarray:
        heard = np.full((len(features), 4), 0.1)
        for row, (label, confidence, outlier) in zip(heard, features, strict=True):
            row[int(label)], row[3] = confidence, outlier
        return heard

    def hear(self, path: Path, *, split: bool) -> list[Clip]:
        if not path.exists() or path.stat().st_size == 0:
            raise AudioError(f"{path}: absent or empty")
        return [Clip(np.ones(10, np.float32), RATE)] * (2 if split else 1)

    def extract(self, clips: list[Clip]) -> np.ndarray:
        return np.array([[0, 0.9, 0.95]] * len(clips))


def trial(features: list[list[float]], labels: list[int]) -> Any:
    sounds = SimpleNamespace(
        labels=np.array(labels),
        load=lambda rows, sample_rate_hz, prepare: [Clip(np.ones(10, np.float32), RATE)] * len(rows),
    )
    split = SimpleNamespace(test=np.arange(len(labels)))
    return SimpleNamespace(
        features_RFN=np.array(features),
        labels=("0", "1", "2"),
        seed=0,
        sounds=SimpleNamespace(sounds=sounds, split=split),
    )


TRIAL = ([[0, 0.9, 0.1], [1, 0.9, 0.2], [2, 0.9, 0.6], [1, 0.9, 0.1]], [0, 1, 2, 2])


def test_scores_of_what_is_heard():
    found, notes = hearing_scores(Pipe(), trial(*TRIAL), np.array([0, 1, 0, 0]), NOTHING_ELSE)
    assert notes == []
    scores = {s.name: s for s in found}
    assert set(scores) == {"heard_accuracy", "calibration_error"}
    assert scores["heard_accuracy"].value == 0.75
    assert {b.name: b.value for b in scores["heard_accuracy"].baselines} == {
        "chance": pytest.approx(1 / 3),
        "nearest recording": 0.5,
    }
    assert scores["calibration_error"].value == pytest.approx(0.15)
    assert scores["calibration_error"].lower_is_better
    assert {s.table for s in scores.values()} == {"hearing"}


def test_scores_among_other_sounds(tmp_path):
    for name in ("dog.wav", "rain.wav"):
        soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    (tmp_path / "empty.wav").touch()
    around = Surroundings((str(tmp_path),), (str(tmp_path),), (10.0,))
    found, notes = hearing_scores(Pipe(), trial(*TRIAL), np.array([0, 1, 0, 0]), around)
    scores = {s.name: s.value for s in found}
    assert [note.split(" could")[0] for note in notes] == [f"1 of 3 sounds in {tmp_path}"] * 2
    assert scores["outlier_auroc"] == 1
    assert scores["outliers_known"] == 1
    assert scores["digits_refused"] == 0.25
    assert scores["accuracy_10db"] == 0.25, "what is heard is that of the noisy features, always 0"
    assert scores["calibration_error_10db"] == pytest.approx(0.65), "sure by 0.9 and right by a quarter"
    assert scores["digits_refused_10db"] == 1


def test_other_sounds_need_a_model_that_says_what_it_hears(tmp_path):
    deaf = Pipe(listens=False)
    assert hearing_scores(deaf, trial(*TRIAL), np.zeros(4), NOTHING_ELSE) == ((), [])
    with pytest.raises(SoundsightError, match="does not say what it hears"):
        hearing_scores(deaf, trial(*TRIAL), np.zeros(4), Surroundings(("x",)))
    (tmp_path / "empty.wav").touch()
    for nothing in (tmp_path / "empty.wav", tmp_path / "absent.wav"):
        with pytest.raises(AudioError):
            hearing_scores(Pipe(), trial(*TRIAL), np.zeros(4), Surroundings((str(nothing),)))


def test_a_real_digit_in_real_noise_stays_a_clip(data_root):
    clips = fsdd.load(data_root / "fsdd").load([0, 500], sample_rate_hz=RATE)
    noise, rate = soundfile.read(data_root / "background_noise" / "running_tap.wav", dtype="float32")
    noisy = in_noise(clips, [Clip(noise[: 5 * rate], rate)], 10, np.random.default_rng(0))
    for clip, clean in zip(noisy, clips, strict=True):
        assert np.isfinite(clip.samples).all()
        assert len(clip.samples) > 0.3 * len(clean.samples), "trimmed to what stands out of the noise, not to nothing"


@pytest.mark.parametrize(("num", "each"), [(3, 3), (11, 8)])
def test_each_recording_is_heard_in_several_noises_and_in_all_where_they_are_few(num, each, tmp_path, monkeypatch):
    for i in range(num):
        soundfile.write(tmp_path / f"{i}.wav", np.full(RATE, 0.05 * (i + 1)), RATE, subtype="FLOAT")
    heard = []

    def mixed(clips, noises, snr_db, rng):
        heard.extend((id(clip), round(float(noise.samples[0]), 3)) for clip in clips for noise in noises)
        return clips

    monkeypatch.setattr(hearing, "in_noise", mixed)
    many = trial([[0, 0.9, 0.1]] * 5, [0] * 5)
    many.sounds.sounds.load = lambda rows, **_: [Clip(np.ones(10, np.float32), RATE) for _ in rows]
    hearing_scores(Pipe(), many, np.zeros(5), Surroundings((), (str(tmp_path),), (10.0,)))
    assert len(heard) == len(set(heard)) == 5 * each
    if num == each:
        assert len({noise for _, noise in heard}) == num
