"""What a model says it heard: is it right, in noise too, as sure as it should be, and what does it not know?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight import audio
from soundsight.audio import Clip
from soundsight.batch import collect
from soundsight.errors import AudioError, MissingExtraError, SoundsightError
from soundsight.evaluation.report import Baseline, Score
from soundsight.evaluation.trial import Trial
from soundsight.metrics.calibration import expected_calibration_error
from soundsight.metrics.detection import auroc
from soundsight.pipeline import AudioToImage

__all__ = ["MARGIN_S", "NOTHING_ELSE", "Surroundings", "hearing_scores", "in_noise"]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

MARGIN_S = 0.25
"""Of noise before and after a noisy recording: nobody begins to speak as the recording begins."""
_MAX_DRAWS = 100
_MOST_NOISES = 8
_SILENCE = 1e-8
"""Mean power, -80 dB: below is what digital recorders leave, and no noise."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else there is to hear.

    Attributes:
        outliers: Files or folders of sounds that are none of the labels; cut at their silences, as in use.
        noise: Files or folders of noise that is mixed to the test recordings: to each of them several, one by one, all
            of them where they are few.
        snrs_db: Signal-to-noise ratios at which it is, -40 to 100, each once.

    Raises:
        SoundsightError: A ratio is out of range, or comes twice.
    """

    outliers: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    snrs_db: tuple[float, ...] = (20.0, 10.0)

    def __post_init__(self) -> None:
        for snr_db in self.snrs_db:
            if not (math.isfinite(snr_db) and -40 <= snr_db <= 100):
                raise SoundsightError(f"a signal-to-noise ratio is -40 to 100 dB, not {snr_db:g}")
        if len(set(self.snrs_db)) < len(self.snrs_db):
            raise SoundsightError("a signal-to-noise ratio is given twice")


NOTHING_ELSE = Surroundings()


def hearing_scores(
    pipe: AudioToImage, tested: Trial, near_R: Int64, around: Surroundings
) -> tuple[tuple[Score, ...], list[str]]:
    """Scores of what is heard in the test recordings, and what to know of them; none for a model that does not say.

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
        return (), []
    notes: list[str] = []
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
        clips = tested.sounds.sounds.load(rows, sample_rate_hz=pipe.sample_rate_hz, prepare=pipe.prepare)
        # Not trimmed: what is steady would be cut away, and a bang be taken for the background.
        noises = _load(around.noise, lambda path: [audio.decode(path, sample_rate_hz=pipe.sample_rate_hz)], notes)
        for snr_db in around.snrs_db:
            scores += _noisy_scores(pipe, clips, labels_R, noises, snr_db, tested.seed, chance)
    if around.outliers:
        outliers = _load(around.outliers, lambda path: pipe.hear(path, split=True), notes)
        outliers_KX = pipe.generator.listen(pipe.extract(outliers))
        value = auroc(heard_RX[:, -1], outliers_KX[:, -1])
        scores.append(_score("outlier_auroc", "Outliers (AUROC)", value, Baseline("chance", 0.5)))
        for name, title, share in (
            ("outliers_known", "Outliers told", float((outliers_KX[:, -1] > 0.5).mean())),
            ("digits_refused", "Known sounds refused", float((heard_RX[:, -1] > 0.5).mean())),
        ):
            scores.append(_score(name, title, share, lower=name == "digits_refused"))
    return tuple(scores), notes


def _noisy_scores(
    pipe: AudioToImage,
    clips: Sequence[Clip],
    labels_R: Int64,
    noises: Sequence[Clip],
    snr_db: float,
    seed: int,
    chance: Baseline,
) -> list[Score]:
    """What is heard where each recording is in a stretch of several noises, of every one if there are few."""
    rng, num = np.random.Generator(np.random.Philox([seed, 7])), min(len(noises), _MOST_NOISES)
    which_RM = np.stack([rng.permutation(len(noises))[:num] for _ in clips])
    heard_MRX = [
        pipe.generator.listen(
            pipe.extract(
                [in_noise([clip], [noises[i]], snr_db, rng)[0] for clip, i in zip(clips, which_R, strict=True)]
            )
        )
        for which_R in which_RM.T
    ]
    heard_NX, labels_N = np.concatenate(heard_MRX), np.tile(labels_R, num)
    right_N = heard_NX[:, :-1].argmax(axis=1) == labels_N
    sure_N = heard_NX[:, :-1].max(axis=1).clip(0, 1)
    name, title, accuracy = f"{snr_db:g}db", f"at {snr_db:g} dB SNR", float(right_N.mean())
    return [
        _score(f"accuracy_{name}", f"At {snr_db:g} dB SNR", accuracy, chance),
        _score(
            f"calibration_error_{name}",
            f"Calibration error {title}",
            expected_calibration_error(sure_N, right_N),
            Baseline("always sure", 1 - accuracy),
            lower=True,
        ),
        _score(
            f"digits_refused_{name}", f"Known sounds refused {title}", float((heard_NX[:, -1] > 0.5).mean()), lower=True
        ),
    ]


def in_noise(clips: Sequence[Clip], noises: Sequence[Clip], snr_db: float, rng: np.random.Generator) -> list[Clip]:
    """Each clip in a random stretch of a random noise, conditioned as every sound is.

    The ratio is that of the mean powers of the clip and of the noise under it.

    Args:
        clips: Conditioned recordings.
        noises: Longer than a clip with its margins, or repeated.
        snr_db: Signal-to-noise ratio.
        rng: Source of what is drawn.

    Raises:
        AudioError: The noise is silent.
    """
    noisy = []
    for clip in clips:
        margin = int(MARGIN_S * clip.sample_rate_hz)
        voice_T = np.pad(clip.samples, margin)
        noise_T, noise_power = _stretch(noises, len(clip.samples), margin, rng)
        power = float(np.mean(clip.samples**2))
        gain = np.sqrt(power / noise_power / 10 ** (snr_db / 10))
        noisy.append(audio.condition(Clip((voice_T + gain * noise_T).astype(np.float32), clip.sample_rate_hz)))
    return noisy


def _stretch(noises: Sequence[Clip], num_samples: int, margin: int, rng: np.random.Generator) -> tuple[Float32, float]:
    """A random stretch with margins, and its mean power without them; silent ones are drawn again."""
    for _ in range(_MAX_DRAWS):
        noise_T = noises[int(rng.integers(len(noises)))].samples
        start, wanted = int(rng.integers(len(noise_T))), num_samples + 2 * margin
        stretch_T = np.resize(np.roll(noise_T, -start), wanted) if len(noise_T) < start + wanted else noise_T[start:]
        stretch_T = stretch_T[:wanted]
        power = float(np.mean(stretch_T[margin : margin + num_samples] ** 2))
        if power > _SILENCE:
            return stretch_T, power
    raise AudioError(f"noise: {_MAX_DRAWS} stretches of it were silent; choose other recordings")


def _load(paths: Sequence[str], read: Callable[[Path], list[Clip]], notes: list[str]) -> list[Clip]:
    """Every sound that can be used in files and folders; of the others a line in ``notes``."""
    clips: list[Clip] = []
    errors = []
    sources = collect(paths)
    for source in sources:
        try:
            if source.path is None or source.error:
                errors.append(source.error or "standard input is no folder of sounds")
            else:
                clips += read(source.path)
        except (AudioError, MissingExtraError) as error:
            errors.append(str(error))
    if not clips:
        raise AudioError(errors[0] if errors else f"{', '.join(paths)}: no sounds in it")
    if errors:
        notes.append(f"{len(errors)} of {len(sources)} sounds in {', '.join(paths)} could not be used: {errors[0]}")
    return clips


def _score(name: str, title: str, value: float, *baselines: Baseline, lower: bool = False) -> Score:
    return Score(name, title, value, None, baselines, lower_is_better=lower, table="hearing")
