"""Noise prediction: how a picture is mixed with noise, what a network is asked for, and what its answer says.

Three objectives behind one interface. Time t runs from 0, the picture x, to 1, noise ε; the mixture is α(t) x + σ(t) ε.

- ``epsilon``: the network answers with ε (Ho, Jain & Abbeel, *Denoising Diffusion Probabilistic Models*, 2020, equation
  14), on the cosine schedule α = cos(πt/2), σ = sin(πt/2) of Nichol & Dhariwal, 2021, equation 17, without its offset.
- ``v``: with α ε − σ x, on the same schedule (Salimans & Ho, *Progressive Distillation*, 2022, appendix D).
- ``flow``: rectified flow, with ε − x on the straight path α = 1 − t, σ = t (Liu, Gong & Liu, *Flow Straight and Fast*,
  2023, equation 1, time reversed).

Pictures and noise here are tensors (B, …) of any shape, nominally of unit scale; times are (B,) in [0, 1].
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "Objective",
    "Sampling",
    "levels",
    "loss",
    "mix",
    "noise_of",
    "preconditioning",
    "recover",
    "slopes",
    "target",
    "times",
    "weights",
]

Objective = Literal["epsilon", "v", "flow"]
Sampling = Literal["uniform", "logit-normal"]


def levels(time: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """α(t) and σ(t), each of the shape of ``time``."""
    if objective == "flow":
        return 1 - time, time
    return torch.cos(0.5 * math.pi * time), torch.sin(0.5 * math.pi * time)


def slopes(time: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """dα/dt and dσ/dt, each of the shape of ``time``."""
    if objective == "flow":
        return -torch.ones_like(time), torch.ones_like(time)
    quarter = 0.5 * math.pi
    return -quarter * torch.sin(quarter * time), quarter * torch.cos(quarter * time)


def mix(image_BX: Tensor, noise_BX: Tensor, time_B: Tensor, objective: Objective) -> Tensor:
    """The picture at time t on its way to noise, α x + σ ε, (B, …)."""
    signal_B, noise_B = levels(time_B, objective)
    return _rows(signal_B, image_BX) * image_BX + _rows(noise_B, image_BX) * noise_BX


def target(image_BX: Tensor, noise_BX: Tensor, time_B: Tensor, objective: Objective) -> Tensor:
    """What the network should answer, (B, …)."""
    if objective == "epsilon":
        return noise_BX
    if objective == "flow":
        return noise_BX - image_BX
    signal_B, noise_B = levels(time_B, objective)
    return _rows(signal_B, image_BX) * noise_BX - _rows(noise_B, image_BX) * image_BX


def recover(output_BX: Tensor, mixed_BX: Tensor, time_B: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """The picture and the noise that an answer means, each (B, …): the inverse of ``mix`` and ``target``.

    With ``epsilon`` at t = 1, where the mixture holds no picture, the answer says nothing about it: infinite.
    """
    signal_B, noise_B = levels(time_B, objective)
    signal, noise = _rows(signal_B, output_BX), _rows(noise_B, output_BX)
    if objective == "epsilon":
        return (mixed_BX - noise * output_BX) / signal, output_BX
    if objective == "flow":
        return mixed_BX - noise * output_BX, mixed_BX + signal * output_BX
    return signal * mixed_BX - noise * output_BX, noise * mixed_BX + signal * output_BX


def noise_of(image_BX: Tensor, mixed_BX: Tensor, time_B: Tensor, objective: Objective) -> Tensor:
    """The noise of a mixture whose picture is known, (B, …); at t = 0 there is none: infinite."""
    signal_B, noise_B = levels(time_B, objective)
    return (mixed_BX - _rows(signal_B, mixed_BX) * image_BX) / _rows(noise_B, mixed_BX)


def preconditioning(time: Tensor, objective: Objective, deviation: float) -> tuple[Tensor, Tensor, Tensor]:
    """Factors c_in, c_skip and c_out around a network of unit scale, each of the shape of ``time``.

    c_skip · mixture + c_out · network(c_in · mixture) is the answer: the best linear guess from the mixture, and what
    is missing from it, which has unit variance. So near t = 0 the network is asked for the noise and near t = 1 for
    the picture, whatever the objective.

    Args:
        time: Times in [0, 1].
        objective: What the answer means.
        deviation: Standard deviation of the pictures.

    Source:
        Karras, Aittala, Aila & Laine, *Elucidating the Design Space of Diffusion-Based Generative Models*, 2022,
        equation 7 and appendix B.6, derived in the same way for the paths and targets here.
    """
    signal, noise = levels(time, objective)
    if objective == "flow":
        of_picture, of_noise = -torch.ones_like(time), torch.ones_like(time)
    elif objective == "v":
        of_picture, of_noise = -noise, signal
    else:
        of_picture, of_noise = torch.zeros_like(time), torch.ones_like(time)
    variance = deviation**2 * signal.square() + noise.square()
    skip = (deviation**2 * of_picture * signal + of_noise * noise) / variance
    out = deviation * (of_picture * noise - of_noise * signal).abs() / variance.sqrt()
    return variance.rsqrt(), skip, out


def loss(
    output_BX: Tensor, image_BX: Tensor, noise_BX: Tensor, time_B: Tensor, objective: Objective, gamma: float = 0.0
) -> Tensor:
    """Mean squared error of the answer, averaged over B and all elements; a scalar ≥ 0.

    Args:
        output_BX: The network's answer to ``mix(image_BX, noise_BX, time_B, objective)``.
        image_BX: Pictures.
        noise_BX: Noise from N(0, I).
        time_B: (B,) in [0, 1].
        objective: What the answer means.
        gamma: Of ``weights``.
    """
    error_BX = (output_BX.float() - target(image_BX, noise_BX, time_B, objective)).square()
    mean: Tensor = (weights(time_B, objective, gamma) * error_BX.flatten(1).mean(dim=1)).mean()
    return mean


def weights(time_B: Tensor, objective: Objective, gamma: float) -> Tensor:
    """Weight of each time in the loss, (B,): min(SNR, γ) as seen by the picture's error, or 1 where γ is 0.

    Source:
        Hang et al., *Efficient Diffusion Training via Min-SNR Weighting Strategy*, 2023, section 3.4; the weight of
        ``flow`` follows from ‖x̂ − x‖ = σ ‖û − u‖ as theirs for v does.
    """
    if gamma <= 0:
        return torch.ones_like(time_B)
    signal_B, noise_B = levels(time_B, objective)
    # min(SNR, γ) σ², written so that it is finite where σ is 0.
    capped_B = torch.minimum(signal_B.square(), gamma * noise_B.square())
    return capped_B / signal_B.square().clamp_min(1e-12) if objective == "epsilon" else capped_B


def times(normal_B: Tensor, sampling: Sampling) -> Tensor:
    """Times at which to train, (B,) in (0, 1), from as many draws of N(0, 1).

    ``uniform``, or ``logit-normal``, which comes to the middle more often (Esser et al., *Scaling Rectified Flow
    Transformers*, 2024, equation 19, with mean 0 and deviation 1).
    """
    if sampling == "uniform":
        uniform_B: Tensor = torch.special.ndtr(normal_B)
        return uniform_B
    return torch.sigmoid(normal_B)


def _rows(values_B: Tensor, like_BX: Tensor) -> Tensor:
    """(B,) as (B, 1, …, 1), to be multiplied with ``like_BX``."""
    return values_B.reshape(-1, *[1] * (like_BX.ndim - 1))
