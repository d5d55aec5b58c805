"""From noise to a picture: solvers of the probability-flow equation, as plain functions.

Each takes ``denoise``, which answers a mixture (B, …) at a time t with the picture x̂ and the noise ε̂ that it sees in
it; ``noise``, the mixture at the first time; and the ``times`` to stop at, falling, usually to 0. All of them work on
every path of ``losses.noise_prediction``, and all are loops without branches on data, so that they can be exported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from soundsight.losses.noise_prediction import Objective, levels, slopes

__all__ = ["SAMPLERS", "Denoise", "Sampler", "ddim", "dpm_solver", "euler", "heun", "schedule"]

Denoise = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""Mixture and time to x̂ and ε̂."""
Sampler = Callable[[Denoise, Tensor, Sequence[float], Objective], Tensor]


def schedule(num_steps: int, first: float = 1.0) -> list[float]:
    """``num_steps`` + 1 times, evenly from ``first`` down to 0."""
    if num_steps < 1:
        raise ValueError(f"the number of steps must be at least 1, not {num_steps}")
    return [first * (1 - i / num_steps) for i in range(num_steps)] + [0.0]


def ddim(denoise: Denoise, noise: Tensor, times: Sequence[float], objective: Objective) -> Tensor:
    """One evaluation a step (Song, Meng & Ermon, *Denoising Diffusion Implicit Models*, 2021, equation 12, σ = 0)."""
    mixed = noise
    for now, then in pairwise(times):
        image, seen = denoise(mixed, now)
        signal, level = _levels(then, objective)
        mixed = signal * image + level * seen
    return mixed


def euler(denoise: Denoise, noise: Tensor, times: Sequence[float], objective: Objective) -> Tensor:
    """One evaluation a step, along dx/dt = α′x̂ + σ′ε̂ (Song et al., *Score-Based Generative Modeling*, 2021, eq. 13).

    On the straight path it is ``ddim``.
    """
    mixed = noise
    for now, then in pairwise(times):
        mixed = mixed + (then - now) * _velocity(denoise, mixed, now, objective)
    return mixed


def heun(denoise: Denoise, noise: Tensor, times: Sequence[float], objective: Objective) -> Tensor:
    """Two evaluations a step, one in the last (Karras et al., *Elucidating the Design Space*, 2022, algorithm 1)."""
    mixed = noise
    for now, then in pairwise(times):
        velocity = _velocity(denoise, mixed, now, objective)
        ahead = mixed + (then - now) * velocity
        if then > 0:
            velocity = 0.5 * (velocity + _velocity(denoise, ahead, then, objective))
        mixed = mixed + (then - now) * velocity
    return mixed


def dpm_solver(denoise: Denoise, noise: Tensor, times: Sequence[float], objective: Objective) -> Tensor:
    """One evaluation a step, second order but at the ends: DPM-Solver++(2M) (Lu et al., 2022, algorithm 2)."""
    mixed, before, step_before = noise, None, math.inf
    for now, then in pairwise(times):
        image, _ = denoise(mixed, now)
        (signal, level), (wanted_signal, wanted_level) = _levels(now, objective), _levels(then, objective)
        step = _half_log_snr(wanted_signal, wanted_level) - _half_log_snr(signal, level)
        ahead = image
        if before is not None and math.isfinite(step) and math.isfinite(step_before):
            ahead = image + 0.5 * step / step_before * (image - before)
        # α (1 − e^(−h)), written so that it is finite where a level is 0.
        ratio = wanted_level / level
        mixed = ratio * mixed + (wanted_signal - ratio * signal) * ahead
        before, step_before = image, step
    return mixed


SAMPLERS: dict[str, Sampler] = {"ddim": ddim, "dpm-solver++": dpm_solver, "euler": euler, "heun": heun}
"""By the name that recipes and options use."""


def _velocity(denoise: Denoise, mixed: Tensor, time: float, objective: Objective) -> Tensor:
    image, noise = denoise(mixed, time)
    signal, level = (float(value) for value in slopes(torch.tensor(time, dtype=torch.float64), objective))
    return signal * image + level * noise


def _levels(time: float, objective: Objective) -> tuple[float, float]:
    signal, level = levels(torch.tensor(time, dtype=torch.float64), objective)
    return float(signal), float(level)


def _half_log_snr(signal: float, level: float) -> float:
    """λ = log(α / σ)."""
    if level <= 0:
        return math.inf
    return math.log(signal / level) if signal > 0 else -math.inf
