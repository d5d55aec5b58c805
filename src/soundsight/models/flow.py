"""From noise to a digit in a few steps: what is said decides the digit, the noise decides the handwriting.

A listener hears the word; a small U-Net, steered by what was heard, carries noise to a picture along the straight paths
of rectified flow (Liu, Gong & Liu, *Flow Straight and Fast*, 2023) or a diffusion's (``losses.noise_prediction``).
One network takes few steps as well as many: it is told the length of the step, and its long steps are trained to go
where two of its own half as long go (Frans, Hafner, Levine & Abbeel, *One Step Diffusion via Shortcut Models*, 2024,
equations 4 and 5).

As in the conditional VAE the sound reaches the painter as a distribution over labels, and in training the painter is
given the pair's label. A share of the labels is left out, so that the same network also paints any digit, and the
difference guides (Ho & Salimans, *Classifier-Free Diffusion Guidance*, 2022, equation 6).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from soundsight.losses import noise_prediction
from soundsight.losses.noise_prediction import Objective, Sampling
from soundsight.models.layers import Listener
from soundsight.models.samplers import SAMPLERS, schedule
from soundsight.models.unet import UNet, sinusoids

__all__ = ["Config", "System"]

_NUM_LENGTHS = 6
"""Steps are trained whose length is 1, ½, ¼ and so on; half of the shortest is the flow itself."""
_TIME_SIZE = 64


class Config(BaseModel):
    """Options of the flow."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    objective: Objective = "flow"
    times: Sampling = "logit-normal"
    """How often each time is trained."""
    gamma: NonNegativeFloat = 0.0
    """Of the min-SNR weighting; 0 weighs all times alike."""
    widths: tuple[PositiveInt, ...] = (48, 96)
    """Channels of the U-Net's levels."""
    steering_size: PositiveInt = 128
    unlabelled: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pictures whose label is left out in training."""
    shortcuts: float = Field(default=0.25, ge=0, lt=1)
    """Share of the pictures that train long steps; 0 for a plain flow. For ``objective = "flow"`` only."""
    steps: PositiveInt = 4
    """Steps in use."""
    sampler: Literal["ddim", "dpm-solver++", "euler", "heun"] = "euler"
    guidance: NonNegativeFloat = 1.0
    """In use: 1 is the network's own answer for the label, at one evaluation a step; more, at two, is surer of it."""
    variation: PositiveFloat = 1.0
    """Scale of the noise in use."""
    listener_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 96, 128)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, le=1)
    sharpness: PositiveFloat = 3.0
    """Factor on the heard logits in use: more makes the picture more decided."""

    @model_validator(mode="after")
    def _straight(self) -> Config:
        if self.shortcuts and self.objective != "flow":
            raise ValueError("shortcuts go along straight paths: objective must be 'flow', or shortcuts 0")
        return self


class Painter(nn.Module):
    """Mixture (B, 1, 28, 28), time and length of the step (B,), label distribution (B, L) → answer (B, 1, 28, 28)."""

    def __init__(self, widths: tuple[int, ...], steering_size: int, num_labels: int) -> None:
        super().__init__()
        self.clock = nn.Sequential(
            nn.Linear(2 * _TIME_SIZE, steering_size), nn.SiLU(), nn.Linear(steering_size, steering_size)
        )
        self.label = nn.Linear(num_labels, steering_size, bias=False)
        # One of ten inputs is 1: at the usual scale it would be drowned by the 128 of the clock.
        nn.init.normal_(self.label.weight)
        self.unet = UNet(1, widths, steering_size)

    def forward(self, mixed_BCHW: Tensor, time_B: Tensor, length_B: Tensor, label_BL: Tensor) -> Tensor:
        clock_BW = torch.cat([sinusoids(x, _TIME_SIZE, 4.0, 0.02) for x in (time_B, length_B)], dim=1)
        steering_BE = functional.silu(self.clock(clock_BW) + self.label(label_BL))
        answer: Tensor = self.unet(mixed_BCHW, steering_BE)
        return answer


class System(nn.Module):
    """The flow as a trainable system: one phase."""

    phases = ("flow",)
    features_shape = (48, 48)
    image_shape = (1, 28, 28)
    latent_size = 28 * 28

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.config = config
        self.num_labels = num_labels
        self.listener = Listener(config.listener_widths, config.dropout, num_labels)
        self.painter = Painter(config.widths, config.steering_size, num_labels)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """All parameters: there is one phase."""
        return list(self.parameters())

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Noise prediction, shortcuts, and the cross-entropy of what is heard.

        Args:
            phase: Always ``"flow"``.
            batch: ``features`` (B, 48, 48) and ``image`` (B, 1, 28, 28), both in [0, 1], ``label`` (B,), ``noise``
                (B, 784).
            step: Not used.
        """
        logits_BL = self.listener(batch["features"]).float()
        heard = functional.cross_entropy(logits_BL, batch["label"], label_smoothing=self.config.label_smoothing)
        image_BCHW = 2 * batch["image"] - 1
        noise_BCHW = batch["noise"].reshape(-1, *self.image_shape)
        label_BL = functional.one_hot(batch["label"], self.num_labels).float()
        size, device = len(image_BCHW), image_BCHW.device
        label_BL = label_BL * (torch.rand(size, 1) >= self.config.unlabelled).to(device)
        time_B = noise_prediction.times(torch.randn(size), self.config.times).to(device)
        length_B = torch.zeros(size, device=device)
        mixed_BCHW = noise_prediction.mix(image_BCHW, noise_BCHW, time_B, self.config.objective)
        wanted_BCHW = noise_prediction.target(image_BCHW, noise_BCHW, time_B, self.config.objective)
        num_long = round(self.config.shortcuts * size)
        if num_long:
            rows = slice(0, num_long)
            time_B[rows], length_B[rows] = (x.to(device) for x in _draw_steps(num_long))
            mixed_BCHW[rows] = noise_prediction.mix(image_BCHW[rows], noise_BCHW[rows], time_B[rows], "flow")
            wanted_BCHW[rows] = self._two_halves(mixed_BCHW[rows], time_B[rows], length_B[rows], label_BL[rows])
        answer_BCHW = self.painter(mixed_BCHW, time_B, length_B, label_BL).float()
        error_B = (answer_BCHW - wanted_BCHW).square().flatten(1).mean(dim=1)
        weight_B = noise_prediction.weights(time_B, self.config.objective, self.config.gamma)
        losses = {"noise_prediction": (weight_B * error_B)[num_long:].sum() / size, "heard": heard}
        if num_long:
            losses["shortcut"] = error_B[:num_long].sum() / size
        return losses

    @torch.no_grad()
    def _two_halves(self, mixed_BCHW: Tensor, time_B: Tensor, length_B: Tensor, label_BL: Tensor) -> Tensor:
        """The mean of the answers along two steps half as long (Frans et al., equation 4)."""
        half_B = length_B / 2
        # The shortest are the flow's own.
        told_B = torch.where(length_B > 1.5 * 0.5 ** (_NUM_LENGTHS - 1), half_B, torch.zeros_like(half_B))
        first_BCHW = self.painter(mixed_BCHW, time_B, told_B, label_BL).float()
        there_BCHW = mixed_BCHW - half_B[:, None, None, None] * first_BCHW
        second_BCHW = self.painter(there_BCHW, time_B - half_B, told_B, label_BL).float()
        mean_BCHW: Tensor = 0.5 * (first_BCHW + second_BCHW)
        return mean_BCHW

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] from features and noise (B, 784)."""
        label_BL = (self.config.sharpness * self.listener(features_BFN)).softmax(dim=1)
        return self.paint(label_BL, noise_BD, self.config.steps, self.config.guidance, self.config.sampler)

    def paint(self, label_BL: Tensor, noise_BD: Tensor, steps: int, guidance: float, sampler: str) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] of label distributions (B, L)."""
        objective = self.config.objective
        length = 1 / steps if self.config.shortcuts else 0.0

        def denoise(mixed_BCHW: Tensor, time: float) -> tuple[Tensor, Tensor]:
            time_B = torch.full_like(mixed_BCHW[:, 0, 0, 0], time)
            length_B = torch.full_like(time_B, length)
            answer = self.painter(mixed_BCHW, time_B, length_B, label_BL)
            if guidance != 1:
                free = self.painter(mixed_BCHW, time_B, length_B, torch.zeros_like(label_BL))
                answer = free + guidance * (answer - free)
            picture, noise = noise_prediction.recover(answer, mixed_BCHW, time_B, objective)
            if objective == "epsilon":  # near noise its picture is a small difference, much enlarged
                picture = picture.clamp(-1, 1)
                noise = noise_prediction.noise_of(picture, mixed_BCHW, time_B, objective)
            return picture, noise

        # With epsilon the last moment of the path says nothing about the picture.
        times = schedule(steps, 0.992 if objective == "epsilon" else 1.0)
        noise_BCHW = self.config.variation * noise_BD.reshape(-1, *self.image_shape)
        picture = SAMPLERS[sampler](denoise, noise_BCHW, times, objective)
        return (0.5 + 0.5 * picture).clamp(0, 1)


def _draw_steps(num: int) -> tuple[Tensor, Tensor]:
    """Times at which steps begin and their lengths 2^−k, (num,) each; a step begins at a multiple of its length."""
    length_B = 0.5 ** torch.randint(_NUM_LENGTHS, (num,)).float()
    time_B = length_B * (1 + torch.floor(torch.rand(num) / length_B))
    return time_B, length_B
