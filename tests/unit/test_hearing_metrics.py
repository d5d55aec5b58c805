"""AUROC and calibration: known values, scikit-learn, a plain loop, and what they must refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score

from soundsight.metrics.calibration import expected_calibration_error, temperature
from soundsight.metrics.detection import auroc

SCORES = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auroc_is_scikit_learns(inliers, outliers):
    wanted = roc_auc_score([0] * len(inliers) + [1] * len(outliers), inliers + outliers)
    assert auroc(inliers, outliers) == pytest.approx(wanted)
    assert auroc(outliers, inliers) == pytest.approx(1 - wanted)


def test_auroc_of_scores_that_say_all_or_nothing():
    assert auroc([0, 1], [2, 3]) == 1
    assert auroc([0.5] * 9, [0.5] * 4) == 0.5


@pytest.mark.parametrize(
    ("inliers", "outliers"), [([], [1]), ([1], []), ([[1]], [1]), ([np.nan], [1]), ([1], [np.inf])]
)
def test_auroc_refuses_what_are_no_scores(inliers, outliers):
    with pytest.raises(ValueError, match="scores"):
        auroc(inliers, outliers)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
def test_calibration_is_a_plain_loops(items, num_bins):
    total = 0.0
    for k in range(num_bins):
        inside = [(c, r) for c, r in items if k / num_bins < c <= (k + 1) / num_bins or (k == 0 and c == 0)]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(r for _, r in inside) / len(inside)
            total += len(inside) / len(items) * abs(confidence - accuracy)
    found = expected_calibration_error([c for c, _ in items], [r for _, r in items], num_bins)
    edges = {round(c * num_bins) for c, _ in items if abs(c * num_bins - round(c * num_bins)) < 1e-9}
    if not edges - {0}:  # on the edge of two bins, rounding decides
        assert found == pytest.approx(total, abs=1e-9)


def test_calibration_of_those_who_know_what_they_know():
    assert expected_calibration_error([1, 1], [True, True]) == 0
    assert expected_calibration_error([1, 1], [False, False]) == 1
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    assert expected_calibration_error(confidence, rng.random(200_000) < confidence) < 0.01
    assert expected_calibration_error(np.full(1000, 0.9), np.arange(1000) < 600) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("confidence", "right"), [([], []), ([0.5], [True, False]), ([1.1], [True]), ([np.nan], [True]), ([0.5], [1])]
)
def test_calibration_refuses_what_is_none(confidence, right):
    with pytest.raises(ValueError, match="confidence"):
        expected_calibration_error(confidence, right)


def test_temperature_undoes_what_made_logits_too_sure():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 5))
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (share.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    for factor in (0.2, 1.0, 7.0):
        assert temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)
        assert temperature(factor * logits + 100 * rng.normal(size=(20_000, 1)), labels) == pytest.approx(
            factor, rel=0.05
        ), "a softmax does not see what all its logits share"


def test_temperature_is_the_minimum_that_scipy_finds():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(300, 4)), rng.integers(4, size=300)
    logits[np.arange(300), labels] += 1.5

    wanted_NL = np.full((300, 4), 1 / 301 / 4)
    wanted_NL[np.arange(300), labels] += 300 / 301

    def cost(log_value):
        scaled = logits / np.exp(log_value)
        return -(wanted_NL * (scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))).sum(axis=1).mean()

    wanted = np.exp(minimize_scalar(cost, bounds=(-4, 4), method="bounded").x)
    assert temperature(logits, labels) == pytest.approx(wanted, rel=0.02)


def test_those_who_did_not_err_yet_are_as_sure_as_they_can_know():
    """One in N + 1 is taken to be labelled at random: of four labels, three are mistakes."""
    for num in (3, 40, 4000):
        logits, labels = 5 * np.eye(4)[np.arange(num) % 4], np.arange(num) % 4
        right = np.exp(logits / temperature(logits, labels))[0]
        assert 1 - right.max() / right.sum() == pytest.approx(0.75 / (num + 1), rel=0.2)


def test_those_who_always_err_are_told_to_doubt():
    assert temperature(np.eye(3), [1, 2, 0]) == pytest.approx(50)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([], []),
        ([1.0], [0]),
        ([[1.0, 2.0]], [2]),
        ([[1.0, 2.0]], [-1]),
        ([[1.0, 2.0]], [0.0]),
        ([[1.0, 2.0]], [0, 1]),
        ([[1.0, np.nan]], [0]),
    ],
)
def test_temperature_refuses_what_does_not_fit(logits, labels):
    with pytest.raises(ValueError, match="logits"):
        temperature(logits, labels)
