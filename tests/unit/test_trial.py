"""What a trial makes of decisions: whose pictures count as handwriting, and what they are measured by."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from soundsight.datasets.types import ImageSet
from soundsight.evaluation import trial
from soundsight.evaluation.scores import _comparisons, _diversities
from soundsight.evaluation.trial import TEST_IMAGES, Trial
from soundsight.metrics.diversity import spread

LABELS = 2
WIDE = 40


def judge(images_BCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads in the first pixel whether the picture is bright; its features are four other pixels."""
    bright_B = images_BCHW[:, 0, 0, 0].astype(np.float32) - 127.5
    return np.stack([-bright_B, bright_B], axis=1), images_BCHW[:, 0, 1].astype(np.float32)


def pictures(labels_B: np.ndarray, seed: int, wide: int = WIDE) -> np.ndarray:
    """(B, 4, 4) of which the judge reads the labels; the rest is handwriting, as varied as ``wide``."""
    rng = np.random.default_rng(seed)
    images_BHW = 100 + rng.integers(-wide, wide + 1, (len(labels_B), 4, 4))
    images_BHW[:, 0, 0] = np.where(labels_B == 1, 255, 0)
    return images_BHW.astype(np.uint8)


def trial_of(num_paired: int, draws: int = 1) -> Trial:
    """A hundred real test images of each label, of which some are paired, each so often."""
    labels_N = np.repeat(np.arange(LABELS), 100)
    images: Any = SimpleNamespace(
        train=ImageSet(pictures(labels_N, 1)[:, None], labels_N),
        test=ImageSet(pictures(labels_N, 2)[:, None], labels_N),
    )
    chosen = np.concatenate([np.arange(num_paired), 100 + np.arange(num_paired)])
    images_P = np.tile(chosen, draws)
    return Trial(
        images=images,
        sounds=SimpleNamespace(),  # type: ignore[arg-type]
        features_RFN=np.zeros((LABELS, 1, 1), np.float32),
        rows_P=labels_N[images_P],
        labels_P=labels_N[images_P],
        images_P=images_P,
        labels=("dark", "bright"),
        seed=0,
    )


def pipe_of(images_PHW: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(trial, "draw_pictures", lambda *args: iter([images_PHW[:7, None], images_PHW[7:, None]]))
    return SimpleNamespace(folder=SimpleNamespace(latent_size=1))


def test_a_picture_of_another_digit_is_no_handwriting(monkeypatch):
    tested = trial_of(30)
    shown = pictures(tested.labels_P, 3, wide=5)
    honest = trial.run(pipe_of(shown, monkeypatch), judge, tested, [])
    wrong = shown.copy()
    wrong[::3] = pictures(1 - tested.labels_P[::3], 4, wide=100)
    erring = trial.run(pipe_of(wrong, monkeypatch), judge, tested, [])
    assert (erring.decisions_P != tested.labels_P).sum() == 20
    assert erring.spread == pytest.approx(honest.spread, rel=0.2), "errors are no variety"
    keep = np.arange(60) % 3 != 0
    assert erring.spread == pytest.approx(spread(wrong[keep][:, None] / 255, tested.labels_P[keep]), rel=1e-5)
    assert erring.feature_spread == pytest.approx(honest.feature_spread, rel=0.3)


def test_where_nothing_was_read_right_there_is_no_diversity(monkeypatch):
    tested = trial_of(5)
    outcome = trial.run(pipe_of(pictures(1 - tested.labels_P, 3), monkeypatch), judge, tested, [])
    assert math.isnan(outcome.spread)
    assert math.isnan(outcome.feature_spread)
    others = trial.baselines(judge, tested, np.arange(LABELS))
    assert all(math.isnan(score.value) for score in _diversities(outcome, others))


@pytest.mark.parametrize(("num_paired", "draws"), [(100, 1), (10, 1), (10, 20)])
def test_the_yardstick_is_all_real_test_images_whatever_was_paired(num_paired, draws):
    tested = trial_of(num_paired, draws)
    real = trial.baselines(judge, tested, np.arange(LABELS))[TEST_IMAGES]
    test = tested.images.test
    assert len(real.decisions_P) == len(tested)
    assert (real.decisions_P == tested.labels_P).all()
    assert real.spread == pytest.approx(spread(test.images_NCHW / 255, test.labels))
    assert len(np.unique(real.features_SD, axis=0)) == len(real.features_SD) == 200, "no image stands there twice"


def test_pictures_as_good_as_real_ones_score_alike_however_often_they_are_drawn(monkeypatch):
    """Of one distribution: with real images repeated every ball around them would shrink to nothing."""
    found = []
    for draws in (1, 20):
        tested = trial_of(10, draws)
        others = trial.baselines(judge, tested, np.arange(LABELS))
        outcome = trial.run(pipe_of(pictures(tested.labels_P, 5), monkeypatch), judge, tested, [])
        found.append(
            {score.name: score.value for score in (*_diversities(outcome, others), *_comparisons(outcome, others))}
        )
    for name in ("diversity", "feature_diversity", "precision", "density"):
        assert found[0][name] == pytest.approx(found[1][name], rel=0.25), name
        assert found[1][name] > 0.7
