"""Metrics against scikit-learn and plain formulas, and the values that must come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score
from sklearn.metrics import confusion_matrix as reference_confusion

from soundsight.datasets import mnist
from soundsight.metrics import accuracy, diversity, feature_diversity


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def test_accuracy_equals_scikit_learn() -> None:
    logits_BL, labels_B = rng().normal(size=(997, 10)), rng(1).integers(0, 10, 997)
    logits_BL[np.arange(997), labels_B] += 2  # right more often than by chance
    metric = accuracy.Metric(10)
    metric.update(logits_BL, labels_B)
    decisions_B = logits_BL.argmax(1)
    assert metric.compute() == pytest.approx(accuracy_score(labels_B, decisions_B), abs=1e-12)
    np.testing.assert_array_equal(metric.confusion_LL, reference_confusion(labels_B, decisions_B))
    expected_L = recall_score(labels_B, decisions_B, average=None)
    np.testing.assert_allclose(accuracy.per_class(metric.confusion_LL), expected_L)


def test_confusion_has_the_label_in_the_row_and_the_decision_in_the_column() -> None:
    confusion = accuracy.confusion_matrix([3], [1], 4)
    assert confusion[3, 1] == 1
    assert confusion.sum() == 1


def test_accuracy_of_known_decisions() -> None:
    labels_B = np.arange(10)
    right, wrong = accuracy.Metric(10), accuracy.Metric(10)
    right.update(np.eye(10), labels_B)
    wrong.update(np.roll(np.eye(10), 1, axis=1), labels_B)
    assert (right.compute(), wrong.compute()) == (1.0, 0.0)


def test_a_label_that_did_not_occur_has_no_recall() -> None:
    recall_L = accuracy.per_class(accuracy.confusion_matrix([0, 0], [0, 1], 3))
    assert recall_L[0] == 0.5
    assert np.isnan(recall_L[1:]).all()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), [0, 1], "must be"),
        (np.full((1, 10), np.nan), [0], "NaN"),
        (np.zeros((1, 10)), [10], "0 to 9"),
        (np.zeros((1, 10)), [-1], "0 to 9"),
        (np.zeros((1, 10)), [0.5], "whole"),
        (np.zeros((2, 10)), [0], "1 labels, but 2"),
    ],
)
def test_accuracy_refuses_what_it_cannot_score(logits: np.ndarray, labels: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        accuracy.Metric(10).update(logits, labels)


def test_spread_equals_the_plain_formula() -> None:
    images_BCHW, labels_B = rng().random((300, 1, 5, 4)), rng(1).integers(0, 7, 300)
    plain = np.mean([images_BCHW[labels_B == label].std(axis=0).mean() for label in range(7)])
    assert diversity.spread(images_BCHW, labels_B) == pytest.approx(plain, rel=1e-12)


def test_spread_of_one_picture_per_label_is_0_and_of_black_and_white_is_one_half() -> None:
    labels_B = np.repeat(np.arange(10), 20)
    same = rng().random((10, 1, 28, 28)).astype(np.float32)[labels_B]
    assert diversity.spread(same, labels_B) == pytest.approx(0, abs=1e-12)
    halves = np.broadcast_to((np.arange(200) % 2).reshape(-1, 1, 1, 1), (200, 1, 3, 3)).astype(np.float32)
    assert diversity.spread(halves, labels_B) == 0.5


def test_spread_ignores_differences_between_labels() -> None:
    labels_B = np.repeat([0, 1], 50)
    images = rng().random((100, 1, 6, 6)) / 2
    shifted = images + 0.5 * labels_B.reshape(-1, 1, 1, 1)
    assert diversity.spread(shifted, labels_B) == pytest.approx(diversity.spread(images, labels_B), rel=1e-9)


def test_spread_scales_with_contrast() -> None:
    labels_B = rng(1).integers(0, 3, 90)
    images = rng().random((90, 3, 6, 6))
    assert diversity.spread(images / 4, labels_B) == pytest.approx(diversity.spread(images, labels_B) / 4, rel=1e-9)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 28, 28)), [0, 1], "must be"),
        (np.zeros((2, 1, 4, 4)), [0], "must be"),
        (np.full((1, 1, 4, 4), 1.5), [0], r"\[0, 1\]"),
        (np.full((1, 1, 4, 4), np.nan), [0], r"\[0, 1\]"),
        (np.zeros((1, 1, 4, 4)), [2], "from 0 to 1"),
    ],
)
def test_spread_refuses_what_it_cannot_score(images: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diversity.Metric(2).update(images, labels)


def test_spread_of_labels_with_one_picture_each_is_no_number() -> None:
    with pytest.raises(ValueError, match="two pictures"):
        diversity.spread(np.zeros((3, 1, 2, 2)), [0, 1, 2])


def test_spread_of_real_test_images_is_the_published_yardstick(data_root: Path) -> None:
    test = mnist.load(data_root / "mnist", train=False)
    assert diversity.spread(test.images_NCHW / 255.0, test.labels) == pytest.approx(0.156, abs=0.0005)


def test_feature_diversity_is_the_mean_standard_deviation_within_classes() -> None:
    features_BD, labels_B = rng(4).normal(3, 2, (500, 7)), rng(5).integers(0, 4, 500)
    metric = feature_diversity.Metric(6)  # two labels without a picture
    metric.update(features_BD, labels_B)
    plain = np.mean([features_BD[labels_B == label].std(axis=0) for label in range(4)])
    assert metric.compute() == pytest.approx(plain, rel=1e-12)


def test_feature_diversity_ignores_where_a_class_lies_and_follows_the_scale() -> None:
    features_BD, labels_B = rng(6).normal(size=(80, 5)), rng(7).integers(0, 3, 80)

    def value(features: np.ndarray) -> float:
        metric = feature_diversity.Metric(3)
        metric.update(features, labels_B)
        return metric.compute()

    assert value(features_BD + 9.0 * labels_B[:, None]) == pytest.approx(value(features_BD), rel=1e-9)
    assert value(-3 * features_BD) == pytest.approx(3 * value(features_BD), rel=1e-9)
    assert value(np.eye(3)[labels_B]) == 0


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((2, 3, 4)), [0, 1], "must be"),
        (np.full((2, 3), np.inf), [0, 1], "finite"),
        (np.zeros((2, 3)), [0, 2], "0 to 1"),
        (np.zeros((2, 3)), [0], "must be"),
    ],
)
def test_feature_diversity_refuses(features: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feature_diversity.Metric(2).update(features, labels)
