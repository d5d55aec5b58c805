"""Fidelity of pictures against scikit-image, by hand, on real frames, and against what should not pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from real_pictures import beach, film, photographs
from soundsight.losses import ssim as losses
from soundsight.metrics.fidelity import histogram_similarity, ms_ssim, mse, psnr, ssim
from soundsight.metrics.scene2025 import hss, ssim_of_made_range


def pictures(num: int = 3, channels: int = 3, side: int = 40, seed: int = 0) -> np.ndarray:
    """Pictures with structure: a few waves of random direction and phase, in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = sum(
        rng.normal(size=(num, channels, 1, 1)) * np.sin(2 * np.pi * (a * x + b * y) + rng.uniform(0, 6, (num, 1, 1, 1)))
        for a, b in rng.integers(-5, 6, (6, 2))
    )
    low, high = waves.min(axis=(1, 2, 3), keepdims=True), waves.max(axis=(1, 2, 3), keepdims=True)
    return (waves - low) / (high - low)


def noisy(images: np.ndarray, level: float, seed: int = 9) -> np.ndarray:
    return np.clip(images + level * np.random.default_rng(seed).normal(size=images.shape), 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_mse_and_psnr_are_those_of_scikit_image(channels):
    real = pictures(channels=channels)
    made = noisy(real, 0.2)
    np.testing.assert_allclose(mse(made, real), [((a - b) ** 2).mean() for a, b in zip(made, real, strict=True)])
    wanted = [peak_signal_noise_ratio(b, a, data_range=1) for a, b in zip(made, real, strict=True)]
    np.testing.assert_allclose(psnr(made, real), wanted)


def test_equal_pictures_have_an_infinite_ratio():
    assert np.isinf(psnr(pictures(), pictures())).all()


@pytest.mark.parametrize(("window", "size"), [("gaussian", 11), ("uniform", 7), ("uniform", 9)])
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 41)])
def test_ssim_is_that_of_scikit_image(window, size, channels, side):
    real = pictures(channels=channels, side=side)
    made = noisy(real, 0.15)
    options = {"gaussian_weights": True, "sigma": 1.5} if window == "gaussian" else {"win_size": size}
    edge = size // 2
    wanted = [
        structural_similarity(
            a, b, data_range=1, channel_axis=0, use_sample_covariance=False, full=True, **options
        )[1][:, edge:-edge, edge:-edge].mean()
        for a, b in zip(made, real, strict=True)
    ]  # fmt: skip
    assert 0.1 < np.mean(wanted) < 0.95
    np.testing.assert_allclose(ssim(made, real, size=size, window=window), wanted, atol=1e-9)


def test_scores_and_objectives_are_the_same_quantity():
    real = pictures(num=1, side=64)
    made = noisy(real, 0.1)
    as_tensors = torch.from_numpy(made).float(), torch.from_numpy(real).float()
    assert ssim(made, real)[0] == pytest.approx(1 - float(losses.ssim(*as_tensors)), abs=1e-5)
    assert ms_ssim(made, real)[0] == pytest.approx(1 - float(losses.ms_ssim(*as_tensors)), abs=1e-5)


def test_more_noise_scores_worse_everywhere():
    real = pictures(side=64)
    for score, better in ((ssim, 1), (ms_ssim, 1), (psnr, 1), (mse, -1), (histogram_similarity, 1)):
        values = [better * float(score(noisy(real, level), real).mean()) for level in (0.02, 0.1, 0.3, 1.0)]
        assert values == sorted(values, reverse=True), score.__name__


def test_every_picture_has_its_own_score():
    real = pictures(num=4)
    made = noisy(real, 0.2)
    for score in (mse, psnr, ssim, ms_ssim, histogram_similarity, ssim_of_made_range, hss):
        alone = np.concatenate([score(made[i : i + 1], real[i : i + 1]) for i in range(4)])
        np.testing.assert_allclose(score(made, real), alone, rtol=1e-9)


def test_histogram_similarity_of_a_stripe_by_hand():
    """A quarter of the values goes from black to white, and four of the twelve neighbours below each other differ."""
    real = np.zeros((1, 3, 4, 4))
    made = real.copy()
    made[0, :, 0] = 1.0
    assert histogram_similarity(made, real)[0] == pytest.approx(math.sqrt(3 / 4) * 2 / 3)


def test_histograms_of_black_and_white_have_nothing_in_common_and_those_of_a_mirrored_picture_all():
    real = pictures(num=1)
    assert histogram_similarity(np.ones((1, 3, 4, 4)), np.zeros((1, 3, 4, 4)))[0] == 0
    assert histogram_similarity(real[..., ::-1], real)[0] == pytest.approx(1)
    assert histogram_similarity(real[..., ::-1, :], real)[0] == pytest.approx(1)


@pytest.mark.parametrize("channels", [1, 3])
def test_histogram_similarity_is_the_product_of_scipys_distances(channels):
    real = np.rint(255 * pictures(num=2, channels=channels)) / 255
    made = np.rint(255 * noisy(real, 0.2)) / 255

    def moved(kind, longest: float = 1.0) -> np.ndarray:
        apart = [
            [wasserstein_distance(kind(a, c).ravel(), kind(b, c).ravel()) for c in range(channels)]
            for a, b in zip(made, real, strict=True)
        ]
        return np.mean(apart, axis=1) / longest

    values = moved(lambda x, c: x[c])
    hues = moved(lambda x, c: x[c] - x[c - 1], longest=2)
    right = moved(lambda x, c: np.abs(x[c, :, 1:] - x[c, :, :-1]))
    below = moved(lambda x, c: np.abs(x[c, 1:] - x[c, :-1]))
    wanted = np.sqrt((1 - values) * (1 - hues)) * (1 - right) * (1 - below)
    assert 0.3 < wanted.min() < wanted.max() < 0.95
    np.testing.assert_allclose(histogram_similarity(made, real), wanted)


def test_hues_count():
    """Red and green in equal parts, and yellow and black: each channel alone has the same values and neighbours."""
    real = np.zeros((1, 3, 4, 4))
    real[0, 0, :2], real[0, 1, 2:] = 1.0, 1.0
    swapped = np.zeros((1, 3, 4, 4))
    swapped[0, :2, :2] = 1.0
    # Red less green is 1 and -1 as often, and 0 everywhere: half of the longest way, in one of three differences.
    assert histogram_similarity(swapped, real)[0] == pytest.approx(math.sqrt(1 - 1 / 6))


def test_a_grey_picture_is_as_like_in_three_equal_channels():
    real = pictures(num=2, channels=1)
    made = noisy(real, 0.2)
    three = (np.repeat(x, 3, axis=1) for x in (made, real))
    np.testing.assert_allclose(histogram_similarity(*three), histogram_similarity(made, real))


def test_neighbours_count():
    """Stripes one pixel wide have the values of a half-black picture, and none of its neighbours."""
    real = np.zeros((1, 1, 8, 8))
    real[..., 4:] = 1.0
    stripes = np.zeros((1, 1, 8, 8))
    stripes[..., ::2] = 1.0
    # Of seven pairs in a row the halves have one step, from black to white; in the stripes all are steps.
    assert histogram_similarity(stripes, real)[0] == pytest.approx(1 / 7)


@pytest.mark.parametrize("source", [film, beach, photographs])
def test_neither_noise_nor_shuffled_pixels_pass_the_histogram_on_real_pictures(source, data_root):
    """Histograms of whole colours did let noise pass on the film, and know no order of the pixels."""
    train, test = source(data_root)
    rng = np.random.default_rng(0)
    real = test / 255
    mean = np.broadcast_to(np.rint(train.mean(axis=0)) / 255, real.shape)
    noise = rng.integers(0, 256, real.shape) / 255
    flat = real.reshape(*real.shape[:2], -1)
    shuffled = np.stack([picture[:, rng.permutation(flat.shape[2])] for picture in flat]).reshape(real.shape)
    of_mean = histogram_similarity(mean, real)
    assert (histogram_similarity(noise, real) < of_mean).all()
    assert histogram_similarity(shuffled, real).mean() < of_mean.mean() - 0.03


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_does_not_pass_the_histogram_and_passes_the_published_one(channels):
    """What the paper's score could not see: pictures against noise that is even over all values."""
    real = pictures(num=4, channels=channels, side=64) ** 2
    noise = np.random.default_rng(1).random(real.shape)
    assert (hss(noise, real) > 0.99).all()
    assert (histogram_similarity(noise, real) < 0.55).all()
    shifted = np.roll(real, 5, axis=3)
    assert (histogram_similarity(shifted, real) > 0.95).all()


def test_the_published_ssim_is_scikit_images_with_the_range_of_the_made_picture():
    real = pictures()
    made = 0.3 + 0.4 * noisy(real, 0.1)
    wanted = [
        structural_similarity(2 * a - 1, 2 * b - 1, data_range=2 * (a.max() - a.min()), channel_axis=0)
        for a, b in zip(made, real, strict=True)
    ]
    np.testing.assert_allclose(ssim_of_made_range(made, real), wanted, atol=1e-9)


def test_a_picture_of_one_value_has_a_published_score():
    flat = np.full((1, 3, 16, 16), 0.5)
    assert np.isfinite(ssim_of_made_range(flat, pictures(num=1, side=16))).all()
    assert ssim_of_made_range(flat, flat)[0] == pytest.approx(1)


def test_the_published_histograms_agree_with_numpys_correlation():
    real = pictures()
    made = noisy(real, 0.3)
    wanted = []
    for a, b in zip(2 * made - 1, 2 * real - 1, strict=True):
        counts = [[np.histogram(c, 256, (0, 256))[0] for c in picture] for picture in (a, b)]
        wanted.append(np.mean([np.corrcoef(p, q)[0, 1] for p, q in zip(*counts, strict=True)]))
    np.testing.assert_allclose(hss(made, real), wanted)


@pytest.mark.parametrize("score", [mse, psnr, ssim, ms_ssim, histogram_similarity, hss, ssim_of_made_range])
def test_what_cannot_be_compared_is_refused(score):
    real = pictures(num=1)
    with pytest.raises(ValueError, match="alike"):
        score(real, real[:, :1])
    with pytest.raises(ValueError, match="alike"):
        score(real[0], real[0])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        score(2 * real - 1, real)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        score(real, np.full_like(real, np.nan))


@pytest.mark.parametrize("size", [10, 41, 0])
def test_a_window_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match="window"):
        ssim(pictures(), pictures(), size=size)
