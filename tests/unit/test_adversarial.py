"""Adversarial terms against binary cross-entropy, known values and gradients by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from soundsight.losses.adversarial import discriminator, gradient_penalty, non_saturating, saturating
from soundsight.losses.reconstruction import gaussian


def logits(seed: int, num: int = 64) -> torch.Tensor:
    return 3 * torch.randn(num, generator=torch.Generator().manual_seed(seed))


def test_the_discriminator_learns_binary_cross_entropy():
    real, made = logits(0), logits(1)
    wanted = functional.binary_cross_entropy(torch.sigmoid(real), torch.ones(64)) + functional.binary_cross_entropy(
        torch.sigmoid(made), torch.zeros(64)
    )
    torch.testing.assert_close(discriminator(real, made), wanted)


def test_an_undecided_discriminator_loses_two_log_two():
    zero = torch.zeros(5)
    assert float(discriminator(zero, zero)) == pytest.approx(2 * math.log(2))
    assert float(non_saturating(zero)) == pytest.approx(math.log(2))
    assert float(saturating(zero)) == pytest.approx(-math.log(2))


def test_the_saturating_game_is_zero_sum():
    """What the generator minimises is what the discriminator maximises, in what depends on the generator."""
    real, made = logits(2), logits(3)
    of_real = discriminator(real, torch.full((1,), -torch.inf))
    torch.testing.assert_close(saturating(made), -(discriminator(real, made) - of_real))


def test_both_generator_losses_push_the_same_way_and_one_vanishes_where_the_discriminator_is_sure():
    for value, sure in ((-12.0, True), (0.0, False), (12.0, False)):
        gradients = []
        for loss in (saturating, non_saturating):
            logit = torch.tensor([value], requires_grad=True)
            loss(logit).backward()
            gradients.append(float(logit.grad))
        share = 1 / (1 + math.exp(-value))  # D(G)
        assert gradients == pytest.approx([-share, share - 1], rel=1e-4)
        assert max(gradients) < 0
        assert (abs(gradients[0]) < 1e-4 < abs(gradients[1])) == sure


def test_extreme_logits_stay_finite():
    for value in (-1e4, 1e4):
        extreme = torch.full((3,), value)
        assert all(torch.isfinite(x) for x in (discriminator(extreme, extreme), saturating(extreme)))


def test_the_gradient_penalty_of_a_linear_discriminator_is_half_its_squared_weights():
    weights, pictures = torch.randn(1, 2, 4, 4), torch.rand(5, 2, 4, 4, requires_grad=True)
    weights.requires_grad_()
    penalty = gradient_penalty((pictures * weights).sum(dim=(1, 2, 3)), pictures)
    torch.testing.assert_close(penalty, 0.5 * weights.detach().square().sum())
    penalty.backward()
    torch.testing.assert_close(weights.grad, weights.detach())


def test_the_gradient_penalty_by_finite_differences():
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    pictures = torch.rand(3, 1, 3, 3, dtype=torch.float64)
    step, squares = 1e-6, torch.zeros(3, dtype=torch.float64)
    for i in range(9):
        change = torch.zeros(9, dtype=torch.float64)
        change[i] = step
        change = change.view(1, 1, 3, 3)
        with torch.no_grad():
            squares += ((judge(pictures + change) - judge(pictures - change)) / (2 * step)).flatten().square()
    seen = pictures.requires_grad_()
    assert float(gradient_penalty(judge(seen), seen).detach()) == pytest.approx(float(0.5 * squares.mean()), rel=1e-5)


def test_gaussian_is_half_the_squared_distance():
    made, target = torch.rand(4, 1, 5, 6), torch.rand(4, 1, 5, 6)
    wanted = 0.5 * torch.cdist(made.flatten(1)[:, None], target.flatten(1)[:, None]).square().mean()
    torch.testing.assert_close(gaussian(made, target), wanted)
    assert float(gaussian(made, made)) == 0
    unit = torch.distributions.Normal(made, 1.0)
    likelihood = -unit.log_prob(target).flatten(1).sum(dim=1).mean() - 15 * math.log(2 * math.pi)
    torch.testing.assert_close(gaussian(made, target), likelihood, rtol=1e-4, atol=1e-4)
