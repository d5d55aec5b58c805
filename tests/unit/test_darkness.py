"""Dark where the real picture is dark: against scikit-learn's κ, by hand, on real pictures, and what cannot pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from real_pictures import beach, film, photographs
from soundsight.metrics.darkness import DARK, agreement, dark_agreement, pooled_kappa


def patches(num: int = 3, channels: int = 3, side: int = 24, seed: int = 0) -> np.ndarray:
    """Squares of 4 pixels of any colour, dark ones more often than others."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.random((num, channels, side // 4, side // 4)) ** 3, np.ones((4, 4)))


def brightness(image_CHW: np.ndarray) -> np.ndarray:
    return image_CHW[0] if len(image_CHW) == 1 else 0.299 * image_CHW[0] + 0.587 * image_CHW[1] + 0.114 * image_CHW[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_of_one_picture_it_is_scikit_learns_kappa(channels):
    real, made = patches(num=4, channels=channels), patches(num=4, channels=channels, seed=1)
    made[:, :, :12] = real[:, :, :12]
    for a, b in zip(made, real, strict=True):
        wanted = cohen_kappa_score((brightness(a) < DARK).ravel(), (brightness(b) < DARK).ravel())
        assert 0.1 < wanted < 0.9
        assert dark_agreement(a[None], b[None]) == pytest.approx(wanted)


def test_pictures_are_pooled_by_how_much_they_could_disagree():
    """κ of each weighed by one less its agreement by chance is the pooled one."""
    real, made = patches(num=5), np.roll(patches(num=5), 2, axis=3)
    kappas = [dark_agreement(made[i : i + 1], real[i : i + 1]) for i in range(5)]
    weights = 1 - agreement(made, real)[:, 1]
    assert np.ptp(weights) > 0.02
    assert dark_agreement(made, real) == pytest.approx(np.average(kappas, weights=weights))


def test_by_hand():
    """Two of four pixels are dark; one of them is found, and one that is not is made dark."""
    real = np.array([[[[0.0, 0.1], [0.85, 0.9]]]])
    assert dark_agreement(np.array([[[[0.0, 0.5], [0.5, 0.9]]]]), real) == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))
    assert dark_agreement(np.array([[[[0.0, 0.5], [0.1, 0.9]]]]), real) == 0
    assert dark_agreement(1 - real, real) == -1
    assert dark_agreement(real, real) == 1


def test_dark_is_what_looks_dark():
    """Pure blue is dark to the eye, pure green is not; what is at the limit is not dark, in one channel or in three."""
    colours = np.zeros((1, 3, 2, 2))
    colours[0, 2, 0], colours[0, 1, 1] = 1, 1
    wanted = np.array([[[[0.0, 0.0], [1.0, 1.0]]]])
    assert dark_agreement(colours, np.repeat(wanted, 3, axis=1)) == 1
    for channels in (1, 3):
        at_the_limit = np.repeat(np.where(wanted == 0, 0.1, DARK), channels, axis=1)
        assert dark_agreement(at_the_limit, np.repeat(wanted, channels, axis=1)) == 1


@pytest.mark.parametrize("level", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_a_picture_of_one_value_is_worth_nothing_exactly(level):
    real = patches(num=7)
    real[0], real[1] = 0.01, 0.9  # dark everywhere, and nowhere
    assert dark_agreement(np.full_like(real, level), real) == pytest.approx(0, abs=1e-12)


def test_a_black_picture_that_comes_out_grey_costs_and_one_that_comes_out_black_gains_nothing():
    real = patches(num=2)
    real[1] = 0.0
    half = real.copy()
    half[0, :, :12] = 0.5
    grey, black = half.copy(), half
    grey[1] = 0.4
    alone = dark_agreement(half[:1], real[:1])
    assert dark_agreement(black, real) == pytest.approx(alone)
    assert dark_agreement(grey, real) < alone - 0.1


def test_where_nothing_or_all_is_dark_there_is_no_score():
    for level in (0.0, 0.5):
        real = np.full((2, 3, 4, 4), level)
        assert math.isnan(dark_agreement(real, real))
        assert math.isnan(dark_agreement(patches(num=2, side=4), real))


def test_batches_and_order_do_not_matter():
    real, made = patches(num=5), patches(num=5, seed=2)
    parts = [agreement(made[i], real[i]) for i in (slice(0, 2), slice(2, 5))]
    assert pooled_kappa(np.concatenate(parts[::-1])) == pytest.approx(dark_agreement(made, real), abs=1e-12)


def test_both_sides_count_alike_and_mirrors_change_nothing():
    real, made = patches(num=3), np.roll(patches(num=3), 3, axis=2)
    value = dark_agreement(made, real)
    assert dark_agreement(real, made) == pytest.approx(value)
    assert dark_agreement(made[..., ::-1], real[..., ::-1]) == pytest.approx(value)
    assert dark_agreement(made.repeat(2, axis=2), real.repeat(2, axis=2)) == pytest.approx(value)


@pytest.mark.parametrize("source", [film, beach, photographs])
def test_on_real_pictures_what_does_not_know_where_it_is_dark_is_at_nothing(source, data_root):
    _, test = source(data_root)
    rng = np.random.default_rng(0)
    real = test / 255
    noise = rng.integers(0, 256, real.shape) / 255
    flat = real.reshape(*real.shape[:2], -1)
    shuffled = np.stack([picture[:, rng.permutation(flat.shape[2])] for picture in flat]).reshape(real.shape)
    for grey in (0, 51, 128, 255):
        assert dark_agreement(np.full_like(real, grey / 255), real) == pytest.approx(0, abs=1e-12)
    assert abs(dark_agreement(noise, real)) < 0.01
    assert abs(dark_agreement(shuffled, real)) < 0.01
    # What is washed out has lost most of it, what is blurred a part, and what is a little darker a part, too.
    assert dark_agreement(0.2 + 0.8 * real, real) == pytest.approx(0, abs=1e-12)
    blurred = (real + np.roll(real, 1, axis=2) + np.roll(real, 1, axis=3) + np.roll(real, (1, 1), axis=(2, 3))) / 4
    assert 0.3 < dark_agreement(blurred, real) < 0.95
    assert 0.3 < dark_agreement(0.9 * real, real) < 0.95


def test_what_cannot_be_compared_is_refused():
    real = patches(num=1)
    with pytest.raises(ValueError, match="alike"):
        dark_agreement(real, real[:, :1])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        dark_agreement(2 * real - 1, real)
