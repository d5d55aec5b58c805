"""What a model says it heard: is it right, in noise too, as sure as it should be, and what does it not know?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsight import audio
from soundsight.audio import Clip
from soundsight.batch import collect
from soundsight.errors import AudioError, SoundsightError
from soundsight.evaluation.report import Baseline, Score
from soundsight.evaluation.trial import Trial
from soundsight.metrics.calibration import expected_calibration_error
from soundsight.metrics.detection import auroc
from soundsight.pipeline import AudioToImage

__all__ = ["MARGIN_S", "NOTHING_ELSE", "Surroundings", "hearing_scores", "in_noise"]

Int64 = NDArray[np.int64]

MARGIN_S = 0.25
"""Of noise before and after a noisy recording: nobody begins to speak as the recording begins."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else there is to hear.

    Attributes:
        outliers: Files or folders of sounds that are none of the labels; cut at their silences, as in use.
        noise: Files or folders of noise that is mixed to the test recordings.
        snrs_db: Signal-to-noise ratios at which it is.
    """

    outliers: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    snrs_db: tuple[float, ...] = (20.0, 10.0)


NOTHING_ELSE = Surroundings()


def hearing_scores(pipe: AudioToImage, tested: Trial, near_R: Int64, around: Surroundings) -> tuple[Score, ...]:
    """Scores of what is heard in the test recordings; none for a model that does not say.

    Args:
        pipe: The model.
        tested: What it is tested on.
        near_R: (R,) label of the nearest training recording, the baseline.
        around: Other sounds.

    Raises:
        SoundsightError: Other sounds are given, and the model does not say what it hears.
        AudioError: None of them can be used.
    """
    if not pipe.generator.listens:
        if around.outliers or around.noise:
            raise SoundsightError(f"'{pipe.folder.name}' does not say what it hears: leave out --outliers and --noise")
        return ()
    rows = tested.sounds.split.test
    labels_R = tested.sounds.sounds.labels[rows]
    heard_RX = pipe.generator.listen(tested.features_RFN)
    right_R = heard_RX[:, :-1].argmax(axis=1) == labels_R
    confidence_R = heard_RX[:, :-1].max(axis=1)
    accuracy = float(right_R.mean())
    chance, near = Baseline("chance", 1 / len(tested.labels)), float((near_R == labels_R).mean())
    scores = [
        _score("heard_accuracy", "Heard", accuracy, chance, Baseline("nearest recording", near)),
        _score(
            "calibration_error",
            "Calibration error",
            expected_calibration_error(confidence_R.clip(0, 1), right_R),
            Baseline("always sure", 1 - accuracy),
            lower=True,
        ),
    ]
    if around.noise:
        clips = tested.sounds.sounds.load(rows, sample_rate_hz=pipe.sample_rate_hz)
        noises = _load(pipe, around.noise, split=False)
        for snr_db in around.snrs_db:
            noisy = in_noise(clips, noises, snr_db, np.random.Generator(np.random.Philox([tested.seed, 7])))
            found_R = pipe.generator.listen(pipe.extract(noisy))[:, :-1].argmax(axis=1)
            value = float((found_R == labels_R).mean())
            scores.append(_score(f"accuracy_{snr_db:g}db", f"At {snr_db:g} dB SNR", value, chance))
    if around.outliers:
        outliers_KX = pipe.generator.listen(pipe.extract(_load(pipe, around.outliers, split=True)))
        value = auroc(heard_RX[:, -1], outliers_KX[:, -1])
        scores.append(_score("outlier_auroc", "Outliers (AUROC)", value, Baseline("chance", 0.5)))
        for name, title, share in (
            ("outliers_known", "Outliers told", float((outliers_KX[:, -1] > 0.5).mean())),
            ("digits_refused", "Known sounds refused", float((heard_RX[:, -1] > 0.5).mean())),
        ):
            scores.append(_score(name, title, share, lower=name == "digits_refused"))
    return tuple(scores)


def in_noise(clips: Sequence[Clip], noises: Sequence[Clip], snr_db: float, rng: np.random.Generator) -> list[Clip]:
    """Each clip in a random stretch of a random noise, conditioned as every sound is.

    The ratio is that of the mean powers of the clip and of the noise under it.

    Args:
        clips: Conditioned recordings.
        noises: Longer than a clip with its margins, or repeated.
        snr_db: Signal-to-noise ratio.
        rng: Source of what is drawn.
    """
    noisy = []
    for clip in clips:
        margin = int(MARGIN_S * clip.sample_rate_hz)
        voice_T = np.pad(clip.samples, margin)
        noise_T = noises[int(rng.integers(len(noises)))].samples
        repeats = -(-len(voice_T) // len(noise_T)) + 1
        start = int(rng.integers(len(noise_T)))
        noise_T = np.tile(noise_T, repeats)[start : start + len(voice_T)]
        power, noise_power = float(np.mean(clip.samples**2)), float(np.mean(noise_T**2))
        gain = np.sqrt(power / max(noise_power, 1e-12) / 10 ** (snr_db / 10))
        noisy.append(audio.condition(Clip((voice_T + gain * noise_T).astype(np.float32), clip.sample_rate_hz)))
    return noisy


def _load(pipe: AudioToImage, paths: Sequence[str], *, split: bool) -> list[Clip]:
    """Every sound that can be used in files and folders."""
    clips, errors = [], []
    for source in collect(paths):
        if source.path is None or source.error:
            errors.append(source.error or "standard input is no folder of sounds")
            continue
        try:
            clips += pipe.hear(source.path, split=split)
        except AudioError as error:
            errors.append(str(error))
    if not clips:
        raise AudioError(errors[0] if errors else f"{', '.join(paths)}: no sounds in it")
    return clips


def _score(name: str, title: str, value: float, *baselines: Baseline, lower: bool = False) -> Score:
    return Score(name, title, value, None, baselines, lower_is_better=lower, table="hearing")
