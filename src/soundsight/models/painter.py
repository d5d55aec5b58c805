"""The network of a flow: its answer for a mixture, steered by time, length of the step and label."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from soundsight.losses import noise_prediction
from soundsight.losses.noise_prediction import Objective
from soundsight.models.unet import sinusoids

__all__ = ["Painter"]

_TIME_SIZE = 64


class Painter(nn.Module):
    """Mixture (B, C, H, W), time and length of the step (B,), label distribution (B, L) → answer (B, C, H, W).

    Args:
        objective: What the answer means.
        network: Mixture of unit scale and steering (B, ``steering_size``) to what is missing at unit scale.
        deviation: Standard deviation of what noise is carried to.
        steering_size: As the network has it.
        num_labels: L.
    """

    def __init__(
        self, objective: Objective, network: nn.Module, deviation: float, steering_size: int, num_labels: int
    ) -> None:
        super().__init__()
        self.objective, self.deviation = objective, deviation
        self.clock = nn.Sequential(
            nn.Linear(2 * _TIME_SIZE, steering_size), nn.SiLU(), nn.Linear(steering_size, steering_size)
        )
        self.label = nn.Linear(num_labels, steering_size, bias=False)
        # One of ten inputs is 1: at the usual scale it would be drowned by the 128 of the clock.
        nn.init.normal_(self.label.weight)
        self.network = network

    def forward(self, mixed_BCHW: Tensor, time_B: Tensor, length_B: Tensor, label_BL: Tensor) -> Tensor:
        """The answer (B, C, H, W)."""
        waves = (sinusoids(time_B, _TIME_SIZE, 4.0, 0.1), sinusoids(length_B, _TIME_SIZE, 4.0, 0.5))
        clock_BW = torch.cat(waves, dim=1)
        steering_BE = functional.silu(self.clock(clock_BW) + self.label(label_BL))
        factors = noise_prediction.preconditioning(time_B, self.objective, self.deviation)
        scale_B111, skip_B111, out_B111 = (factor_B[:, None, None, None] for factor_B in factors)
        answer: Tensor = skip_B111 * mixed_BCHW + out_B111 * self.network(scale_B111 * mixed_BCHW, steering_BE).float()
        return answer
