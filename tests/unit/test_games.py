"""Hinge, least squares and Wasserstein by hand; the penalty and the matching that go with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from soundsight.losses.adversarial import GAMES, feature_matching, interpolation_penalty


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("game", "real", "made", "of_discriminator", "of_generator"),
    [
        ("hinge", 0.0, 0.0, 2.0, 0.0),
        ("hinge", 1.0, -1.0, 0.0, 1.0),
        ("hinge", 5.0, -0.5, 0.5, 0.5),
        ("hinge", -1.0, 2.0, 5.0, -2.0),
        ("least-squares", 1.0, 0.0, 0.0, 0.5),
        ("least-squares", 0.5, 0.5, 0.25, 0.125),
        ("least-squares", 0.0, 1.0, 1.0, 0.0),
        ("wasserstein", 2.0, -3.0, -5.0, 3.0),
        ("saturating", 0.0, 0.0, 2 * math.log(2), -math.log(2)),
        ("non-saturating", 0.0, 0.0, 2 * math.log(2), math.log(2)),
    ],
)
def test_known_values(game, real, made, of_discriminator, of_generator):
    sides = GAMES[game]
    answers = torch.full((2, 1, 3, 3), real), torch.full((2, 1, 3, 3), made)
    assert float(sides.discriminator(*answers)) == pytest.approx(of_discriminator, abs=1e-6)
    assert float(sides.generator(answers[1])) == pytest.approx(of_generator, abs=1e-6)


@pytest.mark.parametrize("game", sorted(GAMES))
def test_the_sides_pull_against_each_other(game):
    """Raising the answer to a made picture is what the generator wants and the discriminator does not."""
    made = torch.tensor([0.3], requires_grad=True)
    real = torch.tensor([0.2], requires_grad=True)
    sides = GAMES[game]
    for_generator = torch.autograd.grad(sides.generator(made), made)[0]
    of_real, of_made = torch.autograd.grad(sides.discriminator(real, made), (real, made))
    assert float(for_generator) < 0 < float(of_made)
    assert float(of_real) < 0


def test_the_best_answer_of_least_squares_is_the_share_of_real_pictures():
    """Mao et al., equation 5, with targets 0 and 1: D = p / (p + q)."""
    answer = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([answer], lr=0.2)
    for _ in range(200):
        loss = GAMES["least-squares"].discriminator(answer.expand(3), answer.expand(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(answer.detach()) == pytest.approx(0.5, abs=1e-4)


def test_the_penalty_of_a_linear_discriminator_is_that_of_its_slope():
    weights = torch.randn(1, 3, 4, 4, generator=seeded(0)).requires_grad_()
    real, made = torch.rand(6, 3, 4, 4, generator=seeded(1)), torch.rand(6, 3, 4, 4, generator=seeded(2))
    share = torch.rand(6, generator=seeded(3))

    def answer(pictures):
        return (pictures * weights).sum(dim=(1, 2, 3))

    penalty = interpolation_penalty(answer, real, made, share)
    length = weights.detach().norm()
    torch.testing.assert_close(penalty.detach(), (length - 1).square())
    (slope,) = torch.autograd.grad(penalty, weights)
    torch.testing.assert_close(slope, 2 * (length - 1) * weights.detach() / length)


def test_the_penalty_looks_between_the_pictures():
    """A discriminator that is steep on one side only: the share decides where it is asked."""
    real, made = torch.full((2, 1, 2, 2), 1.0), torch.full((2, 1, 2, 2), -1.0)

    def answer(pictures):
        return torch.relu(pictures).sum(dim=(1, 2, 3), keepdim=True)

    for share, slope in ((torch.tensor([0.9, 0.9]), 2.0), (torch.tensor([0.1, 0.1]), 0.0)):
        assert interpolation_penalty(answer, real, made, share).item() == pytest.approx((slope - 1) ** 2)


def test_answers_of_patches_are_averaged():
    """The same slope, whether told once or by each of nine patches."""
    real, made = torch.rand(4, 1, 6, 6, generator=seeded(4)), torch.rand(4, 1, 6, 6, generator=seeded(5))
    once = interpolation_penalty(lambda x: x.sum(dim=(1, 2, 3)), real, made, torch.full((4,), 0.5))
    patches = interpolation_penalty(
        lambda x: x.sum(dim=(1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 1, 3, 3), real, made, torch.full((4,), 0.5)
    )
    torch.testing.assert_close(patches, once)


def test_no_gradient_of_the_penalty_reaches_the_generator():
    made = torch.rand(2, 1, 3, 3, requires_grad=True)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 1))
    penalty = interpolation_penalty(judge, torch.rand(2, 1, 3, 3), made, torch.rand(2))
    assert torch.autograd.grad(penalty, made, allow_unused=True)[0] is None


def test_feature_matching_is_the_mean_difference_of_each_layer():
    real = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 5)]
    made = [torch.full((2, 3, 4, 4), 0.5), torch.full((2, 5), -2.0)]
    assert float(feature_matching(real, made)) == pytest.approx((0.5 + 2.0) / 2)
    assert float(feature_matching(made, made)) == 0


def test_feature_matching_moves_the_made_side_alone():
    real, made = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    loss = feature_matching([real], [made])
    assert torch.autograd.grad(loss, real, allow_unused=True, retain_graph=True)[0] is None
    torch.testing.assert_close(torch.autograd.grad(loss, made)[0], torch.full((2, 3), 1 / 6))


@pytest.mark.parametrize(("real", "made"), [([], []), ([torch.zeros(1)], [])])
def test_feature_matching_needs_layers(real, made):
    with pytest.raises(ValueError, match="as many on both sides"):
        feature_matching(real, made)
