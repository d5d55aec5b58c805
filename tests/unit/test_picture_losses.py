"""Losses between pictures: against scikit-image, by hand, by their gradients, and by what they should prefer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional

from soundsight.losses.balance import balanced
from soundsight.losses.cohesion import cohesion
from soundsight.losses.contrastive import margin
from soundsight.losses.cycle import cycle
from soundsight.losses.kl import free_bits, kl_divergence
from soundsight.losses.perceptual import perceptual
from soundsight.losses.reconstruction import huber, l1, l2
from soundsight.losses.ssim import MS_WEIGHTS, ms_ssim, ssim


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(num: int, channels: int, side: int, seed: int = 0) -> torch.Tensor:
    """Pictures with structure: noise, blurred and stretched over [0, 1]."""
    noise = functional.avg_pool2d(rand(num, channels, side + 8, side + 8, seed=seed), 9, stride=1)
    low, high = noise.amin(dim=(1, 2, 3), keepdim=True), noise.amax(dim=(1, 2, 3), keepdim=True)
    return (noise - low) / (high - low)


def test_l1_l2_and_huber_by_hand():
    image, target = torch.tensor([[[[0.0, 0.5], [1.0, 0.2]]]]), torch.tensor([[[[0.0, 0.0], [0.0, 0.25]]]])
    assert float(l1(image, target)) == pytest.approx((0.5 + 1 + 0.05) / 4)
    assert float(l2(image, target)) == pytest.approx((0.25 + 1 + 0.0025) / 4)
    assert float(huber(image, target, 0.1)) == pytest.approx((0.1 * 0.45 + 0.1 * 0.95 + 0.5 * 0.0025) / 4)


def test_the_best_constant_is_the_median_for_l1_and_the_mean_for_l2():
    target = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.4]).view(5, 1, 1, 1)
    constants = torch.linspace(0, 1, 101)
    best = [
        float(constants[torch.stack([loss(c.expand(5, 1, 1, 1), target) for c in constants]).argmin()])
        for loss in (l1, l2)
    ]
    assert best == pytest.approx([0.0, 0.28], abs=0.006)


@pytest.mark.parametrize(("size", "window"), [(11, "gaussian"), (7, "uniform"), (15, "uniform")])
@pytest.mark.parametrize(("channels", "side", "data_range"), [(1, 28, 1.0), (3, 33, 2.0)])
def test_ssim_is_that_of_scikit_image(size, window, channels, side, data_range):
    image = smooth(2, channels, side, 0) * data_range
    target = (0.7 * image + 0.3 * data_range * rand(2, channels, side, side, seed=1)).clamp(0, data_range)
    wanted = []
    for x, y in zip(image.double().numpy(), target.double().numpy(), strict=True):
        _, full = structural_similarity(
            np.moveaxis(x, 0, -1),
            np.moveaxis(y, 0, -1),
            data_range=data_range,
            channel_axis=-1,
            gaussian_weights=window == "gaussian",
            sigma=1.5,
            win_size=None if window == "gaussian" else size,
            use_sample_covariance=False,
            full=True,
        )
        edge = size // 2
        wanted.append(full[edge:-edge, edge:-edge].mean())
    assert 0.1 < np.mean(wanted) < 0.9
    assert 1 - float(ssim(image, target, data_range, size, window)) == pytest.approx(np.mean(wanted), abs=2e-5)


def test_ssim_of_flat_pictures_is_that_of_their_brightness():
    """No structure on either side: (2ab + C₁) / (a² + b² + C₁), by hand."""
    a, b = 0.2, 0.8
    wanted = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    flat = torch.full((1, 1, 20, 20), a), torch.full((1, 1, 20, 20), b)
    assert 1 - float(ssim(*flat)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("loss", [ssim, ms_ssim])
def test_structure_is_0_for_equal_pictures_and_grows_with_noise(loss):
    target = smooth(2, 3, 64, 2)
    noise = rand(2, 3, 64, 64, seed=3) - 0.5
    values = [float(loss((target + level * noise).clamp(0, 1), target)) for level in (0.0, 0.1, 0.3, 1.0)]
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert values == sorted(values)
    assert values[-1] - values[0] > 0.3
    assert float(loss(target.flip(0), target)) == pytest.approx(float(loss(target, target.flip(0))), abs=1e-6)


def test_ms_ssim_joins_the_scales_by_their_weights():
    """Two scales by hand: contrast of the fine one, all of the coarse one; weights divided by their sum."""
    from soundsight.losses.ssim import structure

    image, target = smooth(1, 1, 24, 4), smooth(1, 1, 24, 5)
    image = 0.6 * target + 0.4 * image
    fine = structure(image, target, 1.0, 11, "gaussian")[1].mean()
    coarse = structure(functional.avg_pool2d(image, 2), functional.avg_pool2d(target, 2), 1.0, 11, "gaussian")[0].mean()
    first, second = (weight / sum(MS_WEIGHTS[:2]) for weight in MS_WEIGHTS[:2])
    assert 1 - float(ms_ssim(image, target)) == pytest.approx(float(fine**first * coarse**second), rel=1e-5)
    assert sum(MS_WEIGHTS) == pytest.approx(1, abs=1e-3)


def test_structure_that_is_turned_round_leaves_a_gradient_that_is_a_number():
    target = smooth(1, 1, 48, 6)
    image = (1 - target).requires_grad_()
    loss = ms_ssim(image, target)
    loss.backward()
    assert float(loss.detach()) > 0.9
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize("size", [10, 33, 0, -1])
def test_a_window_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match="window"):
        ssim(rand(1, 1, 32, 32), rand(1, 1, 32, 32), size=size)


def test_pictures_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        ssim(rand(1, 1, 32, 32), rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: l1(x, y),
        lambda x, y: l2(x, y),
        lambda x, y: huber(x, y),
        lambda x, y: ssim(x, y, size=5),
        lambda x, y: ms_ssim(x, y, size=5),
        lambda x, y: perceptual([x], [y]),
        lambda x, y: cohesion(x.unflatten(0, (1, 2)), y.unflatten(0, (1, 2))),
    ],
)
def test_gradients_lead_to_the_target(loss):
    """A step along minus the gradient lowers the loss as a finite difference says it should."""
    image, target = smooth(2, 2, 16, 7).requires_grad_(), smooth(2, 2, 16, 8)
    value = loss(image, target)
    (gradient,) = torch.autograd.grad(value, image)
    step = 1e-2 / float(gradient.norm())
    change = float(loss(image.detach() - step * gradient, target) - value.detach())
    assert change == pytest.approx(-step * float(gradient.square().sum()), rel=0.3)


def test_perceptual_by_hand():
    """At one place unit vectors at right angles are √2 apart, at the other they are equal whatever their length."""
    made = torch.tensor([[[[1.0, 2.0]], [[0.0, 2.0]]]])
    real = torch.tensor([[[[0.0, 5.0]], [[3.0, 5.0]]]])
    assert float(perceptual([made], [real])) == pytest.approx((2 + 0) / 2)
    assert float(perceptual([made, made], [real, made])) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="as many on both sides"):
        perceptual([], [])


def test_cohesion_sees_flicker_and_no_constant():
    target = smooth(6, 1, 8, 9).unflatten(0, (2, 3))
    assert float(cohesion(target + 0.3, target)) == pytest.approx(0, abs=1e-6)
    flicker = torch.tensor([0.0, 0.2, 0.0]).view(1, 3, 1, 1, 1)
    assert float(cohesion(target + flicker, target)) == pytest.approx(0.2, rel=1e-5)
    with pytest.raises(ValueError, match="at least 2 frames"):
        cohesion(target[:, :1], target[:, :1])


def test_the_cycle_is_the_mean_absolute_difference():
    told, features = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.5, 0.0]]])
    assert float(cycle(told, features)) == pytest.approx(0.75)


def test_the_margin_by_hand():
    sound, image = torch.zeros(4, 2), torch.tensor([[0.3, 0.4], [0.3, 0.4], [3.0, 4.0], [0.0, 0.0]])
    together = torch.tensor([1.0, 0.0, 0.0, 0.0])
    wanted = (0.25 + 0.25 + 0 + 1) / 4
    assert float(margin(sound, image, together)) == pytest.approx(wanted, abs=1e-5)
    assert float(margin(sound[:1], image[:1], together[:1], 9.0)) == pytest.approx(0.25)


def test_the_margin_pulls_pairs_and_pushes_strangers_up_to_the_margin():
    sound = torch.tensor([[0.5, 0.0], [0.5, 0.0], [2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    margin(sound, torch.zeros(4, 2), torch.tensor([1.0, 0.0, 0.0, 0.0])).backward()
    towards = sound.grad[:, 0]
    assert towards[0] > 0 > towards[1]
    assert towards[2] == 0
    assert torch.isfinite(sound.grad).all()


def test_free_bits_are_free():
    mean = torch.tensor([[2.0, 0.1, 0.0], [-2.0, 0.1, 0.0]], requires_grad=True)
    log_variance = torch.zeros(2, 3)
    assert free_bits(mean, log_variance, 0.5).item() == pytest.approx(2.0 + 0.5 + 0.5)
    free_bits(mean, log_variance, 0.5).backward()
    assert (mean.grad[:, 0] != 0).all()
    assert (mean.grad[:, 1:] == 0).all()


def test_no_free_bits_are_the_divergence():
    mean, log_variance = rand(5, 4) * 2 - 1, rand(5, 4, seed=1) - 0.5
    torch.testing.assert_close(free_bits(mean, log_variance, 0.0), kl_divergence(mean, log_variance))


def test_balanced_terms_pull_in_the_ratio_of_their_weights():
    picture = rand(2, 3, 4).requires_grad_()
    terms = {"small": 1e-4 * picture.square().mean(), "large": 1e3 * picture.sum(), "middle": picture.abs().mean()}
    weights = {"small": 3.0, "large": 1.0, "middle": 0.5}

    def lengths(terms):
        pulls = {name: torch.autograd.grad(term, picture, retain_graph=True)[0] for name, term in terms.items()}
        return {name: float(pull.norm()) for name, pull in pulls.items()}

    before = lengths(terms)
    scaled = balanced(terms, weights, picture)
    after = lengths(scaled)
    assert list(scaled) == list(terms)
    mean = sum(weights[name] * before[name] for name in terms) / 4.5
    for name, weight in weights.items():
        assert after[name] == pytest.approx(weight / 4.5 * mean, rel=1e-4)


def test_a_term_without_a_pull_is_weighted_only():
    picture = rand(2, 3).requires_grad_()
    terms = {"flat": 0 * picture.sum() + 7.0, "apart": torch.tensor(2.0, requires_grad=True), "real": picture.sum()}
    scaled = balanced(terms, dict.fromkeys(terms, 3.0), picture)
    assert float(scaled["flat"].detach()) == 21.0
    assert float(scaled["apart"].detach()) == 6.0
    assert all(math.isfinite(float(term.detach())) for term in scaled.values())
