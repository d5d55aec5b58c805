"""One trial of a generator: pictures of test recordings, judged, and what needs no model judged in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight import noise
from soundsight.alignment import Alignment
from soundsight.controls import Controls, inputs_of
from soundsight.datasets.selection import labels_of
from soundsight.errors import DatasetError, ModelError
from soundsight.evaluation.baselines import images_of_labels, mean_image, nearest
from soundsight.evaluation.networks import Judge, draw_pictures
from soundsight.evaluation.protocol import Images, Sounds, load_images, load_sounds, pair, recipe_of
from soundsight.evaluation.report import Sample
from soundsight.folder import ModelFolder
from soundsight.metrics import diversity, feature_diversity
from soundsight.metrics.diversity import Spread
from soundsight.pipeline import AudioToImage

__all__ = [
    "SET_SIZE",
    "TEST_IMAGES",
    "TRAIN_IMAGES",
    "Fit",
    "Outcome",
    "Trial",
    "Watch",
    "baselines",
    "choose",
    "fit_of",
    "load_trial",
    "nearest_labels",
    "run",
    "samples_of",
]

UInt8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Watch = Callable[[int, int], None]
"""Told how many pictures of how many are done."""
Fit = Callable[[UInt8, Int64], Float32]
"""Pictures (B, C, H, W) and the rows of their test recordings (B,) to how well they fit, (B,) in [-1, 1]."""
TRAIN_IMAGES, TEST_IMAGES = "real training images", "real images"
SET_SIZE = 10_000
"""Most pictures that are compared as a set: as many as MNIST has test images; the work grows with the square."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What a model is tested on: P pairs of R test recordings and real test images.

    Attributes:
        images: Real images.
        sounds: Recordings and their split.
        features_RFN: (R, F, N) of the test recordings.
        rows_P: (P,) test recording of each pair.
        labels_P: (P,) label of each pair.
        images_P: (P,) test image of each pair.
        labels: Names of the L labels.
        seed: Of all that is drawn.
    """

    images: Images
    sounds: Sounds
    features_RFN: Float32
    rows_P: Int64
    labels_P: Int64
    images_P: Int64
    labels: tuple[str, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.labels_P)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a trial's P pairs.

    Attributes:
        decisions_P: (P,) label that the judge read.
        spread: Within-class pixel spread of the pictures that were read as their label: another digit is no
            handwriting. NaN where no label has two of them.
        feature_spread: The same in the judge's features.
        features_SD: (S, D) float32, the judge's features of the first S pictures, at most ``SET_SIZE``.
        fit: Mean cosine of picture and sound in the shared space of an alignment; None without one.
        kept: Some of the pictures, (C, H, W) uint8, by pair.
    """

    decisions_P: Int64
    spread: float
    feature_spread: float
    features_SD: Float32
    fit: float | None
    kept: dict[int, UInt8]


def load_trial(
    model: ModelFolder,
    pipe: AudioToImage,
    split: str | None,
    seed: int,
    root: Path,
    draws: int,
    max_pairs: int | None = None,
) -> Trial:
    """Read the data of a model's recipe and pair them, each pair ``draws`` times; at most ``max_pairs``, evenly.

    Raises:
        DatasetError, ModelError, UnknownNameError: As ``protocol`` says.
    """
    recipe = recipe_of(model)
    images, sounds = load_images(recipe, root), load_sounds(model, recipe, split, root)
    known = labels_of(recipe.data) or ()
    labels = model.labels or known
    if len(known) != len(labels):
        raise DatasetError(f"{model.path} was trained on {len(labels)} labels, its data have {len(known)}: other data")
    pairs = pair(recipe, images.test.labels, sounds.sounds.labels[sounds.split.test], seed)
    num = len(pairs.sounds)
    chosen = np.linspace(0, num - 1, min(num, max_pairs or num)).round().astype(np.int64)
    image_rows = pairs.images[chosen]
    return Trial(
        images=images,
        sounds=sounds,
        features_RFN=_features(pipe, sounds, sounds.split.test),
        rows_P=np.tile(pairs.sounds[chosen], draws),
        labels_P=np.tile(images.test.labels[image_rows], draws),
        images_P=np.tile(image_rows, draws),
        labels=labels,
        seed=seed,
    )


def _features(pipe: AudioToImage, sounds: Sounds, rows: Int64) -> Float32:
    clips = sounds.sounds.load(rows, sample_rate_hz=pipe.sample_rate_hz, prepare=pipe.prepare)
    return pipe.extract(clips)


def choose(trial: Trial, num_samples: int) -> list[int]:
    """Random pairs, ``num_samples`` of each label where it has so many, label by label."""
    rng = _rng(trial.seed, 1)
    rows = [np.flatnonzero(trial.labels_P == label) for label in np.unique(trial.labels_P)]
    return [int(i) for row in rows for i in rng.permutation(row)[:num_samples]]


def fit_of(space: Alignment, trial: Trial) -> Fit:
    """How well pictures fit the trial's sounds, as an alignment says.

    Raises:
        DatasetError, AudioError: A recording cannot be read.
    """
    rows, rate_hz = trial.sounds.split.test, space.sample_rate_hz
    clips = trial.sounds.sounds.load(rows, sample_rate_hz=rate_hz, prepare=space.prepare)
    sound_RD = space.embed_sounds(space.extract(clips))

    def fit(images_BCHW: UInt8, rows_B: Int64) -> Float32:
        image_BD = space.embed_images(images_BCHW.astype(np.float32) / np.float32(255))
        cosine_B: Float32 = (image_BD * sound_RD[rows_B]).sum(axis=1)
        return cosine_B

    return fit


def run(
    pipe: AudioToImage,
    judge: Judge,
    trial: Trial,
    keep: list[int],
    fit: Fit | None = None,
    watch: Watch | None = None,
    controls: Controls | None = None,
) -> Outcome:
    """Draw a picture of each pair with its own noise, and judge it as it would be saved, in 256 levels.

    Args:
        pipe: The model.
        judge: The judge.
        trial: The pairs.
        keep: Pairs whose pictures are kept.
        fit: From ``fit_of``.
        watch: Called after each batch.
        controls: ``guidance``, ``steps`` and ``variation``, as ``controls.check`` lets them through.

    Raises:
        ModelError: A network failed.
    """
    controls = controls or {}
    noise_PD = noise.draw(trial.seed, len(trial), pipe.folder.latent_size)
    noise_PD *= np.float32(controls.get("variation", 1))
    pixels, features = diversity.Metric(len(trial.labels)), feature_diversity.Metric(len(trial.labels))
    decisions, seen, done = [], [], 0
    fits: list[float] = []
    kept: dict[int, UInt8] = {}
    for images_BCHW in draw_pictures(pipe, trial.features_RFN, trial.rows_P, noise_PD, inputs_of(controls)):
        after = done + len(images_BCHW)
        decisions_B, features_BD = _decide(judge, images_BCHW)
        decisions.append(decisions_B)
        seen.append(features_BD[: max(SET_SIZE - done, 0)])
        fits += [] if fit is None else fit(images_BCHW, trial.rows_P[done:after]).tolist()
        right_B = decisions_B == trial.labels_P[done:after]
        pixels.update(images_BCHW[right_B] / np.float32(255), trial.labels_P[done:after][right_B])
        features.update(features_BD[right_B], trial.labels_P[done:after][right_B])
        kept |= {i: images_BCHW[i - done] for i in keep if done <= i < after}
        done = after
        if watch is not None:
            watch(done, len(trial))
    return Outcome(
        np.concatenate(decisions),
        _computed(pixels),
        _computed(features),
        np.concatenate(seen),
        float(np.mean(fits)) if fits else None,
        kept,
    )


def nearest_labels(pipe: AudioToImage, trial: Trial) -> Int64:
    """(R,) label of the training recording that is nearest to each test recording."""
    sounds = trial.sounds
    near_R = nearest(trial.features_RFN, _features(pipe, sounds, sounds.split.train))
    return sounds.sounds.labels[sounds.split.train][near_R]


def baselines(judge: Judge, trial: Trial, near_R: Int64, fit: Fit | None = None) -> dict[str, Outcome]:
    """What a constant picture, the nearest training recording and real images score.

    The constant is the mean training image. The nearest recording, by the Euclidean distance of features, answers with
    a random training image of its label. Real training images of the right labels show how far apart two samples of
    real handwriting are. All real test images are what pictures are compared with, whichever of them were paired.

    Args:
        judge: The judge.
        trial: The pairs.
        near_R: From ``nearest_labels``.
        fit: From ``fit_of``.
    """
    images = trial.images
    constant_1CHW = mean_image(images.train.images_NCHW)[None]
    constant_1, constant_1D = _decide(judge, constant_1CHW)
    size = min(len(trial), SET_SIZE)
    near_P = near_R[trial.rows_P]
    shown_P = images_of_labels(near_P, images.train.labels, _rng(trial.seed, 2))
    others_P = images_of_labels(trial.labels_P, images.train.labels, _rng(trial.seed, 3))
    shown, others = (images.train.images_NCHW[rows_P] for rows_P in (shown_P, others_P))
    constant_fit = None
    if fit is not None:
        each_RCHW = np.repeat(constant_1CHW, len(trial.features_RFN), axis=0)
        constant_fit = float(fit(each_RCHW, np.arange(len(each_RCHW)))[trial.rows_P].mean())
    return {
        "constant picture": Outcome(
            np.repeat(constant_1, len(trial)), 0.0, 0.0, np.repeat(constant_1D, size, axis=0), constant_fit, {}
        ),
        "nearest recording": _outcome(judge, shown, trial, fit),
        TRAIN_IMAGES: _outcome(judge, others, trial, fit),
        TEST_IMAGES: _real(judge, trial, fit),
    }


def _outcome(judge: Judge, images_PCHW: UInt8, trial: Trial, fit: Fit | None) -> Outcome:
    """What comes of pictures that are there already."""
    decisions_P, features_PD = _decide(judge, images_PCHW)
    spreads = _spreads(images_PCHW, features_PD, decisions_P, trial.labels_P)
    fitting = None if fit is None else float(fit(images_PCHW, trial.rows_P).mean())
    return Outcome(decisions_P, *spreads, features_PD[:SET_SIZE], fitting, {})


def _real(judge: Judge, trial: Trial, fit: Fit | None) -> Outcome:
    """What comes of real test images: the paired ones are read, all of them are the yardstick."""
    images_NCHW, labels_N = trial.images.test.images_NCHW, trial.images.test.labels
    decisions_N, features_ND = _decide(judge, images_NCHW)
    spreads = _spreads(images_NCHW, features_ND, decisions_N, labels_N)
    fitting = None if fit is None else float(fit(images_NCHW[trial.images_P], trial.rows_P).mean())
    return Outcome(decisions_N[trial.images_P], *spreads, features_ND[:SET_SIZE], fitting, {})


def _spreads(images_PCHW: UInt8, features_PD: Float32, decisions_P: Int64, labels_P: Int64) -> tuple[float, float]:
    """Within-class spread in pixels and in features of the pictures that were read as their label."""
    right_P, num_labels = decisions_P == labels_P, int(labels_P.max()) + 1
    pixels, features = diversity.Metric(num_labels), feature_diversity.Metric(num_labels)
    pixels.update(images_PCHW[right_P] / 255, labels_P[right_P])
    features.update(features_PD[right_P], labels_P[right_P])
    return _computed(pixels), _computed(features)


def _computed(metric: Spread) -> float:
    try:
        return metric.compute()
    except ValueError:  # too few were read right
        return math.nan


def samples_of(trial: Trial, outcome: Outcome, rows: list[int]) -> tuple[Sample, ...]:
    """The pictures of some pairs, with what they are."""
    paths = trial.sounds.sounds.paths
    return tuple(
        Sample(
            np.ascontiguousarray(np.moveaxis(outcome.kept[i], 0, 2)),
            trial.labels[trial.labels_P[i]],
            trial.labels[outcome.decisions_P[i]],
            paths[trial.sounds.split.test[trial.rows_P[i]]].stem,
        )
        for i in rows
    )


def _decide(judge: Judge, images_BCHW: UInt8) -> tuple[Int64, Float32]:
    """Labels that the judge reads (B,), and its features (B, D)."""
    logits_BL, features_BD = judge(images_BCHW)
    if not (np.isfinite(logits_BL).all() and np.isfinite(features_BD).all()):
        raise ModelError("the judge's answers hold NaN or infinity")
    decisions_B: Int64 = logits_BL.argmax(axis=1)
    return decisions_B, features_BD


def _rng(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose])))
