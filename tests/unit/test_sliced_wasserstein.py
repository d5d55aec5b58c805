"""Sliced Wasserstein distance of pictures: its pyramid against SciPy's filters, its distance against SciPy's, laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve
from scipy.special import gamma
from scipy.stats import wasserstein_distance

from soundsight.metrics.sliced_wasserstein import Reference, laplacian_pyramid, sliced_wasserstein


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def pictures(num: int = 12, channels: int = 3, side: int = 32, seed: int = 0, most: float = 4) -> np.ndarray:
    """A few waves of random direction and phase in each, at most ``most`` to a side, in [0.2, 0.8]."""
    random = rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = np.zeros((num, channels, side, side))
    for _ in range(5):
        a, b = random.uniform(-most, most, (2, num, 1, 1, 1))
        waves += random.uniform(0.3, 1, (num, channels, 1, 1)) * np.sin(
            2 * np.pi * (a * x + b * y) + random.uniform(0, 6, (num, 1, 1, 1))
        )
    return 0.5 + 0.3 * waves / np.abs(waves).max(axis=(1, 2, 3), keepdims=True)


def noisy(images: np.ndarray, level: float) -> np.ndarray:
    return np.clip(images + level * rng(9).normal(size=images.shape), 0, 1)


@pytest.mark.parametrize("sides", [(32, 32), (31, 48)])
def test_the_pyramid_is_that_of_scipys_filters(sides):
    line = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(line, line)[None, None]
    images = rng().random((2, 3, *sides))
    wanted, fine = [], images
    for _ in range(2):
        coarse = convolve(fine, kernel, mode="mirror")[:, :, ::2, ::2]
        spread = np.zeros_like(fine)
        spread[:, :, ::2, ::2] = coarse
        wanted.append(fine - convolve(spread, 4 * kernel, mode="mirror"))
        fine = coarse
    for found, level in zip(laplacian_pyramid(images.astype(np.float32), 3), [*wanted, fine], strict=True):
        np.testing.assert_allclose(found, level, atol=1e-6)


def test_a_pyramid_holds_the_whole_picture():
    """A flat picture is nowhere but in what is left at the end."""
    *fine, last = laplacian_pyramid(np.full((1, 3, 64, 64), 0.7, np.float32), 3)
    assert all(np.abs(level).max() < 1e-6 for level in fine)
    np.testing.assert_allclose(last, 0.7, atol=1e-6)
    assert last.shape == (1, 3, 16, 16)


@pytest.mark.parametrize(("side", "num"), [(7, 1), (16, 1), (28, 1), (30, 1), (31, 2), (32, 2), (64, 3), (256, 5)])
def test_levels_go_down_to_16_pixels(side, num):
    images = rng().random((1, 1, side, side), np.float32)
    assert sliced_wasserstein(images, images, rng()).shape == (num,)


def test_the_distance_is_the_mean_of_scipys_over_directions():
    """Pictures of 7 by 7 have a single patch: the sets of patches are the sets of pictures."""
    first, second = rng(1).random((9, 3, 7, 7)) ** 3, rng(2).random((9, 3, 7, 7))
    first[:, 0] *= 0.2

    def normalised(images: np.ndarray) -> np.ndarray:
        centred = images - images.mean(axis=(0, 2, 3), keepdims=True)
        return (centred / images.std(axis=(0, 2, 3), keepdims=True)).reshape(len(images), -1)

    directions = rng(3).normal(size=(4000, 147))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wanted = np.mean([wasserstein_distance(normalised(first) @ d, normalised(second) @ d) for d in directions])
    # 512 other directions were drawn.
    assert sliced_wasserstein(first, second, rng())[0] == pytest.approx(wanted, rel=0.05)


def test_the_distance_from_flat_pictures_is_known():
    """Flat patches lie at 0; a patch of variance 1 has length 7, of which a random direction sees E|u₁| of 49."""
    pattern = rng(4).choice([0.2, 0.4], (7, 7))
    pattern -= pattern.mean() - 0.5
    real = np.stack([pattern, 1 - pattern])[:, None]
    wanted = 7 * gamma(49 / 2) / (np.sqrt(np.pi) * gamma(50 / 2))
    assert sliced_wasserstein(np.full_like(real, 0.3), real, rng())[0] == pytest.approx(wanted, rel=0.08)


def test_equal_sets_are_at_no_distance_and_either_may_be_first():
    first, second = pictures(seed=1), noisy(pictures(seed=2), 0.1)
    assert (sliced_wasserstein(first, first, rng()) == 0).all()
    there, back = sliced_wasserstein(first, second, rng(5)), sliced_wasserstein(second, first, rng(5))
    np.testing.assert_array_equal(there, back)
    assert (there > 0).all()


def test_more_noise_is_farther_at_every_level():
    real = pictures(side=64)
    reference = Reference(real, rng())
    found = np.array([reference.compare(noisy(real, level)) for level in (0.01, 0.05, 0.2, 0.8)])
    assert (np.diff(found, axis=0) > 0).all()
    # Noise is fine: the finest level sees it first.
    assert (np.diff(found[:2], axis=1) < 0).all()


def test_another_sample_is_nearer_than_another_distribution():
    reference = Reference(pictures(40), rng())
    same = reference.compare(pictures(40, seed=1)).mean()
    mean = np.broadcast_to(pictures(40).mean(axis=0), (40, 3, 32, 32))
    assert same < 0.5 * reference.compare(pictures(40, seed=1, most=8)).mean()
    assert same < 0.5 * reference.compare(mean).mean()
    assert same < 0.5 * reference.compare(rng(7).random(mean.shape)).mean()


def test_brightness_and_contrast_are_not_seen():
    real = pictures()
    gain_C11, lift_C11 = np.array([[0.2, 0.6, 0.9], [0.7, 0.1, 0.0]])[:, :, None, None]
    assert sliced_wasserstein(lift_C11 + gain_C11 * real, real, rng()).max() < 1e-4


def test_levels_of_256_are_read_as_they_are():
    levels = np.rint(255 * pictures()).astype(np.uint8)
    other = np.rint(255 * pictures(seed=3)).astype(np.uint8)
    from_levels = sliced_wasserstein(levels, other, rng())
    np.testing.assert_allclose(from_levels, sliced_wasserstein(levels / 255, other / 255, rng()), rtol=1e-5)
    # Flat is flat in either, whatever rounding leaves of it.
    flat, lighter = (np.full((2, 3, 64, 64), value, np.uint8) for value in (113, 201))
    assert (sliced_wasserstein(flat, lighter, rng()) == 0).all()


def test_what_is_drawn_matters_little_and_the_same_seed_not_at_all():
    first, second = pictures(40, seed=1), noisy(pictures(40, seed=2), 0.1)
    found = [sliced_wasserstein(first, second, rng(seed)).mean() for seed in (0, 0, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert found == pytest.approx([np.mean(found)] * 4, rel=0.1)


def test_a_set_of_one_flat_picture_has_a_distance():
    flat = np.full((1, 3, 32, 32), 0.5)
    assert np.isfinite(sliced_wasserstein(flat, pictures(1), rng())).all()
    assert (sliced_wasserstein(flat, np.zeros_like(flat), rng()) == 0).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 16)), r"\(N, C, H, W\)"),
        (np.zeros((0, 3, 16, 16)), r"\(N, C, H, W\)"),
        (np.zeros((2, 3, 16, 6)), "at least 7"),
        (np.full((2, 3, 16, 16), 1.5), r"in \[0, 1\]"),
        (np.full((2, 3, 16, 16), np.nan), r"in \[0, 1\]"),
        (np.zeros((3, 3, 16, 16)), "as the reference"),
        (np.zeros((2, 1, 16, 16)), "as the reference"),
    ],
)
def test_what_cannot_be_compared_is_refused(images, message):
    reference = Reference(np.zeros((2, 3, 16, 16)), rng())
    with pytest.raises(ValueError, match=message):
        reference.compare(images)
