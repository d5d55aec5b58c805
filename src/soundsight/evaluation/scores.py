"""Decisions and features of a judge to numbers, each beside its baselines."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.types import SoundSet
from soundsight.evaluation.protocol import recipe_of
from soundsight.evaluation.published import published
from soundsight.evaluation.report import Baseline, Group, Score
from soundsight.evaluation.trial import TEST_IMAGES, TRAIN_IMAGES, Outcome, Trial
from soundsight.folder import ModelFolder
from soundsight.metrics import accuracy
from soundsight.metrics.frechet import frechet_distance
from soundsight.metrics.kernel import kernel_distance
from soundsight.metrics.neighbours import Reference

__all__ = ["all_scores", "by_label", "by_name", "by_speaker", "clustered_error", "mean_over_recordings"]

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


_NEIGHBOURS = 5


def all_scores(model: ModelFolder, tested: Trial, outcome: Outcome, others: dict[str, Outcome]) -> tuple[Score, ...]:
    """Every score of a trial with its baselines.

    Args:
        model: The model that was tested.
        tested: What it was tested on.
        outcome: What came of it.
        others: What came of the baselines.
    """
    return (
        *_accuracies(model, tested, outcome, others),
        *_diversities(outcome, others),
        *_fits(outcome, others),
        *_comparisons(outcome, others),
    )


def _accuracies(model: ModelFolder, tested: Trial, outcome: Outcome, others: dict[str, Outcome]) -> tuple[Score, Score]:
    chance = Baseline("chance", 1 / len(tested.labels))

    def right(o: Outcome) -> Bool:
        right_P: Bool = o.decisions_P == tested.labels_P
        return right_P

    def by_picture(o: Outcome) -> float:
        return float(right(o).mean())

    def by_recording(o: Outcome) -> float:
        return mean_over_recordings(right(o), tested.rows_P)

    sounds = tested.sounds
    pairing = recipe_of(model).data.pairing
    paper = published(model.system, model.model, sounds.data.name, pairing, sounds.split.name, "accuracy")
    return (
        Score(
            "accuracy",
            "Accuracy over pictures",
            by_picture(outcome),
            clustered_error(right(outcome), _clusters(tested)),
            (chance, *_beside(by_picture, others)),
            # What the paper measured is a test; where the model has heard the recordings, this is none.
            None if sounds.num_heard else paper,
        ),
        Score(
            "recording_accuracy",
            "Accuracy over recordings",
            by_recording(outcome),
            None,
            (chance, *_beside(by_recording, others)),
        ),
    )


def _clusters(tested: Trial) -> Int64:
    """(P,) which source each pair's recording is of: takes of one source clip succeed or fail together."""
    clips = tested.sounds.sounds.source_clips
    if clips is None:
        return tested.rows_P
    _, clip_R = np.unique(np.array(clips), return_inverse=True)
    clip_P: Int64 = clip_R[tested.sounds.split.test[tested.rows_P]]
    return clip_P


def _diversities(outcome: Outcome, others: dict[str, Outcome]) -> tuple[Score, Score]:
    def spread(o: Outcome) -> float:
        return o.spread / others[TEST_IMAGES].spread

    def feature_spread(o: Outcome) -> float:
        return o.feature_spread / others[TEST_IMAGES].feature_spread

    return (
        Score("diversity", "Diversity in pixels", spread(outcome), None, _beside(spread, others)),
        Score(
            "feature_diversity",
            "Diversity in features",
            feature_spread(outcome),
            None,
            _beside(feature_spread, others),
        ),
    )


def _fits(outcome: Outcome, others: dict[str, Outcome]) -> tuple[Score, ...]:
    """How well the pictures fit their sounds, in an alignment's space."""
    if outcome.fit is None:
        return ()

    def fit(o: Outcome) -> float:
        return math.nan if o.fit is None else o.fit

    return (Score("alignment", "Alignment", outcome.fit, None, _beside(fit, others)),)


def _comparisons(outcome: Outcome, others: dict[str, Outcome]) -> tuple[Score, ...]:
    """The pictures as a set, in the judge's features, against the real test images."""
    reference_SD = others[TEST_IMAGES].features_SD
    if len(reference_SD) <= _NEIGHBOURS:
        return ()
    # Compared with themselves the test images would be perfect; training images show what real ones reach.
    others = {name: o for name, o in others.items() if name != TEST_IMAGES}
    reference = Reference(reference_SD, _NEIGHBOURS)
    around = {id(o): reference.compare(o.features_SD) for o in (outcome, *others.values())}

    def score(name: str, title: str, value: Callable[[Outcome], float], *, lower: bool = False) -> Score:
        return Score(name, title, value(outcome), None, _beside(value, others), lower_is_better=lower, table="set")

    return (
        score(
            "frechet",
            "Fréchet distance",
            lambda o: frechet_distance(o.features_SD, reference_SD),
            lower=True,
        ),
        score(
            "kernel",
            "Kernel distance",
            lambda o: kernel_distance(o.features_SD, reference_SD),
            lower=True,
        ),
        score("precision", "Precision", lambda o: around[id(o)].precision),
        score("recall", "Recall", lambda o: around[id(o)].recall),
        score("density", "Density", lambda o: around[id(o)].density),
        score("coverage", "Coverage", lambda o: around[id(o)].coverage),
    )


def _beside(value: Callable[[Outcome], float], others: dict[str, Outcome]) -> tuple[Baseline, ...]:
    return tuple(Baseline(name, value(o), ceiling=name in (TRAIN_IMAGES, TEST_IMAGES)) for name, o in others.items())


def mean_over_recordings(right_P: Bool, rows_P: Int64) -> float:
    """Accuracy of each recording, averaged: each counts once, however many pictures were drawn from it.

    Args:
        right_P: (P,) whether each picture was read as its label; P at least 1.
        rows_P: (P,) its recording.
    """
    _, recording_P = np.unique(rows_P, return_inverse=True)
    return float((np.bincount(recording_P, right_P) / np.bincount(recording_P)).mean())


def clustered_error(right_P: Bool, rows_P: Int64) -> float | None:
    """Standard error of an accuracy whose pictures share recordings.

    Pictures of one recording succeed or fail together; counted one by one, they would promise a precision that is not
    there. Linearised variance of a ratio over clusters (Cochran, *Sampling Techniques*, 1977, section 9.8).

    Args:
        right_P: (P,) whether each picture was read as its label.
        rows_P: (P,) its recording.

    Returns:
        The standard error; None where there is but one recording.
    """
    _, cluster_P = np.unique(rows_P, return_inverse=True)
    residual_C = np.bincount(cluster_P, right_P - right_P.mean())
    num_clusters = len(residual_C)
    if num_clusters < 2:
        return None
    variance = np.square(residual_C).sum() * num_clusters / (num_clusters - 1)
    return float(np.sqrt(variance) / len(right_P))


def by_label(labels: tuple[str, ...], confusion_LL: Int64) -> tuple[Group, ...]:
    """Accuracy of each label."""
    recall_L = accuracy.per_class(confusion_LL)
    counts_L = confusion_LL.sum(axis=1)
    return tuple(Group(*row) for row in zip(labels, recall_L.tolist(), counts_L.tolist(), strict=True))


def by_speaker(sounds: SoundSet, rows_P: Int64, right_P: Bool) -> tuple[Group, ...]:
    """Accuracy of each speaker of the recordings in ``rows_P``; nothing where the data set names no speakers."""
    return () if sounds.speakers is None else by_name(np.array(sounds.speakers)[rows_P], right_P)


def by_name(names_P: NDArray[np.str_], right_P: Bool) -> tuple[Group, ...]:
    """Accuracy of each name, sorted by name."""
    names, group_P, counts = np.unique(names_P, return_inverse=True, return_counts=True)
    right = np.bincount(group_P, right_P, len(names)) / counts
    return tuple(Group(*row) for row in zip(names.tolist(), right.tolist(), counts.tolist(), strict=True))
