"""Noise prediction and its samplers: laws, published special cases, and a distribution whose answer is known."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from soundsight.losses import noise_prediction
from soundsight.losses.noise_prediction import Objective, levels, mix, recover, slopes, target
from soundsight.models.samplers import SAMPLERS, Denoise, ddim, euler, schedule

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
MEAN, DEVIATION = 0.7, 0.3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_path_leads_from_the_picture_to_noise(objective):
    image, noise = normal(3, 1, 4, 4), normal(3, 1, 4, 4, seed=1)
    torch.testing.assert_close(mix(image, noise, torch.zeros(3), objective), image)
    torch.testing.assert_close(mix(image, noise, torch.ones(3), objective), noise, atol=1e-6, rtol=0)
    time = torch.linspace(0, 1, 101, dtype=torch.float64)
    signal, level = levels(time, objective)
    assert (signal.diff() < 0).all()
    assert (level.diff() > 0).all()
    if objective != "flow":
        torch.testing.assert_close(signal**2 + level**2, torch.ones_like(time))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_slopes_are_the_derivatives_of_levels(objective):
    time = torch.linspace(0.05, 0.95, 7, dtype=torch.float64, requires_grad=True)
    for value, slope in zip(levels(time, objective), slopes(time, objective), strict=True):
        (derivative,) = torch.autograd.grad(value.sum(), time)
        torch.testing.assert_close(derivative, slope)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_right_answer_says_picture_and_noise(objective):
    image, noise, time = normal(5, 2, 3, 3), normal(5, 2, 3, 3, seed=1), torch.tensor([0.01, 0.2, 0.5, 0.8, 0.99])
    mixed = mix(image, noise, time, objective)
    answer = target(image, noise, time, objective)
    found = recover(answer, mixed, time, objective)
    torch.testing.assert_close(found[0], image)
    torch.testing.assert_close(found[1], noise)
    assert float(noise_prediction.loss(answer, image, noise, time, objective)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("time", [0.02, 0.3, 0.7, 0.99])
def test_preconditioned_the_network_is_asked_for_what_is_missing_at_unit_scale(objective, time):
    image, noise = DEVIATION * normal(400_000), normal(400_000, seed=1)
    told = torch.tensor([time], dtype=torch.float64)
    scale, skip, out = (float(x) for x in noise_prediction.preconditioning(told, objective, DEVIATION))
    mixed, answer = (f(image[None], noise[None], told, objective)[0] for f in (mix, target))
    seen, asked = scale * mixed, (answer - skip * mixed) / out
    assert float(seen.std()) == pytest.approx(1, abs=0.01)
    assert float(asked.std()) == pytest.approx(1, abs=0.01)
    assert float((seen * asked).mean()) == pytest.approx(0, abs=0.01), "the linear guess leaves no linear rest"


def test_targets_as_published():
    image, noise, time = normal(4, 6), normal(4, 6, seed=1), torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    angle = 0.5 * math.pi * time[:, None]
    torch.testing.assert_close(target(image, noise, time, "epsilon"), noise)
    torch.testing.assert_close(target(image, noise, time, "v"), angle.cos() * noise - angle.sin() * image)
    torch.testing.assert_close(target(image, noise, time, "flow"), noise - image)


@pytest.mark.parametrize("objective", ["v", "flow"])
def test_v_and_flow_are_the_velocity_along_the_path(objective):
    """dx_t/dt at fixed picture and noise: of the flow itself, of v up to the length π/2 of the quarter circle."""
    image, noise = normal(2, 5), normal(2, 5, seed=1)
    time = torch.tensor([0.3, 0.6], dtype=torch.float64)
    ahead, behind = mix(image, noise, time + 1e-6, objective), mix(image, noise, time - 1e-6, objective)
    velocity = (ahead - behind) / 2e-6
    length = 0.5 * math.pi if objective == "v" else 1.0
    torch.testing.assert_close(velocity, length * target(image, noise, time, objective), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_min_snr_makes_the_error_of_the_picture_weigh_min_snr_gamma(objective):
    """Hang et al., 2023: with any objective the loss is min(SNR, γ) ‖x̂ − x‖²."""
    image, noise, time = normal(6, 8), normal(6, 8, seed=1), torch.linspace(0.05, 0.95, 6, dtype=torch.float64)
    answer = target(image, noise, time, objective) + 0.1 * normal(6, 8, seed=2)
    seen, _ = recover(answer, mix(image, noise, time, objective), time, objective)
    signal, level = levels(time, objective)
    wanted = ((signal / level).square().clamp_max(5.0) * (seen - image).square().mean(1)).mean()
    found = noise_prediction.loss(answer.float(), image, noise, time, objective, gamma=5.0)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_unweighted_the_loss_is_the_mean_squared_error():
    image, noise, time = normal(6, 8), normal(6, 8, seed=1), torch.rand(6)
    answer = normal(6, 8, seed=2)
    expected = torch.nn.functional.mse_loss(answer, noise)
    assert float(noise_prediction.loss(answer, image, noise, time, "epsilon")) == pytest.approx(float(expected))
    assert torch.isfinite(noise_prediction.weights(torch.tensor([0.0, 1.0]), "flow", 5.0)).all()
    assert torch.isfinite(noise_prediction.weights(torch.tensor([0.0, 1.0]), "epsilon", 5.0)).all()


def test_times_are_spread_as_they_say():
    draws = normal(100_000)
    uniform, centred = (noise_prediction.times(draws, sampling) for sampling in ("uniform", "logit-normal"))
    for times in (uniform, centred):
        assert 0 < float(times.min()) < float(times.max()) < 1
    torch.testing.assert_close(
        torch.histc(uniform, 10, 0, 1) / 1e5, torch.full((10,), 0.1, dtype=torch.float64), atol=0.005, rtol=0
    )
    assert float(((centred > 0.25) & (centred < 0.75)).double().mean()) == pytest.approx(
        math.erf(math.log(3) / math.sqrt(2)), abs=0.005
    )


def ideal(objective: Objective) -> Denoise:
    """The best denoiser of pictures from N(MEAN, DEVIATION²): the mean of the picture given the mixture."""

    def denoise(mixed: Tensor, time: float) -> tuple[Tensor, Tensor]:
        signal, level = levels(torch.tensor(time, dtype=torch.float64), objective)
        variance = signal**2 * DEVIATION**2 + level**2
        image = MEAN + signal * DEVIATION**2 / variance * (mixed - signal * MEAN)
        return image, (mixed - signal * image) / level

    return denoise


def exact(noise: Tensor, time: float, objective: Objective) -> Tensor:
    """Where the solution through ``noise`` is at a time: it stays as many deviations away from the mean."""
    signal, level = levels(torch.tensor(time, dtype=torch.float64), objective)
    return signal * MEAN + torch.sqrt(signal**2 * DEVIATION**2 + level**2) * noise


def error(sampler: str, objective: Objective, num_steps: int, first: float, last: float) -> float:
    """Largest distance from the exact solution."""
    noise = normal(50)
    times = [first + (last - first) * i / num_steps for i in range(num_steps + 1)]
    found = SAMPLERS[sampler](ideal(objective), exact(noise, first, objective), times, objective)
    return float((found - exact(noise, last, objective)).abs().max())


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_sampler_reaches_the_distribution_of_the_data(sampler, objective):
    first = 0.999 if objective == "epsilon" else 1.0
    assert error(sampler, objective, 400, first, 0.0) < 0.01
    assert error(sampler, objective, 400, first, 0.0) < 0.2 * error(sampler, objective, 20, first, 0.0)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpm-solver++", 2)])
def test_a_sampler_has_the_order_that_it_says(sampler, order):
    """Half the step, 2 to the order less error; away from both ends, where log(α / σ) is finite."""
    for objective in OBJECTIVES:
        errors = [error(sampler, objective, num_steps, 0.9, 0.1) for num_steps in (160, 320, 640)]
        for coarse, fine in pairwise(errors):
            assert coarse / fine == pytest.approx(2**order, rel=0.15), (objective, errors)


def test_on_the_straight_path_ddim_is_euler():
    noise = normal(9)
    for num_steps in (1, 3, 8):
        times = schedule(num_steps)
        torch.testing.assert_close(
            ddim(ideal("flow"), noise, times, "flow"), euler(ideal("flow"), noise, times, "flow"), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize(
    ("sampler", "objective"),
    [*((s, "flow") for s in SAMPLERS), *((s, o) for s in ("ddim", "dpm-solver++") for o in ("epsilon", "v"))],
)
def test_one_picture_alone_is_reached_in_any_number_of_steps(sampler, objective):
    """If there is one picture only, x̂ is that picture at every time, and the path to it straight or a solver's own."""
    picture = normal(2, 3)

    def denoise(mixed: Tensor, time: float) -> tuple[Tensor, Tensor]:
        signal, level = levels(torch.tensor(time, dtype=torch.float64), objective)
        return picture, (mixed - signal * picture) / level

    for num_steps in (1, 2, 5):
        found = SAMPLERS[sampler](denoise, normal(2, 3, seed=1), schedule(num_steps), objective)
        torch.testing.assert_close(found, picture, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("sampler", "cost"), [("ddim", 5), ("euler", 5), ("heun", 9), ("dpm-solver++", 5)])
def test_number_of_evaluations(sampler, cost):
    asked: list[float] = []

    def denoise(mixed: Tensor, time: float) -> tuple[Tensor, Tensor]:
        asked.append(time)
        return ideal("flow")(mixed, time)

    SAMPLERS[sampler](denoise, normal(3), schedule(5), "flow")
    assert len(asked) == cost
    assert min(asked) > 0, "at time 0 there is nothing left to remove"


def test_schedule():
    assert schedule(4) == [1, 0.75, 0.5, 0.25, 0]
    assert schedule(2, 0.9) == pytest.approx([0.9, 0.45, 0])
    with pytest.raises(ValueError, match="at least 1, not 0"):
        schedule(0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_reach_the_answer_only_where_it_is_wrong(objective: Any):
    image, noise, time = normal(2, 4), normal(2, 4, seed=1), torch.tensor([0.3, 0.7])
    answer = target(image, noise, time, objective).clone()
    answer[0] += 1
    answer.requires_grad_(True)
    noise_prediction.loss(answer, image, noise, time, objective).backward()
    assert answer.grad is not None
    assert (answer.grad[0] > 0).all()
    torch.testing.assert_close(answer.grad[1], torch.zeros(4, dtype=torch.float64), atol=1e-6, rtol=0)
