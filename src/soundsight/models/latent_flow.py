"""The flow in a small space of handwritings: noise becomes a code, and a writer that is told the label writes it out.

What ``flow`` does with pixels is done here with codes of some numbers, which an autoencoder learns beside it: the
painter moves noise to the code of a handwriting, in the same few steps and by the same objectives. Codes are all but
free to move, so that the painter sees each picture in many mixtures a step; and as the writer is told the label, and
strokes are its business, pictures are crisp and of their label after minutes of a processor.

The writer learns from codes with a little noise on them, so that a code that the painter misses by as much is still
written well (Ghosh et al., *From Variational to Deterministic Autoencoders*, 2020, section 3, with noise where they
penalise gradients). Codes have mean 0 and variance 1 by construction, in place of a KL term.
"""

from __future__ import annotations

from typing import cast

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from soundsight.models import flow
from soundsight.models.codes import CodeNetwork, Reader, Writer

__all__ = ["Config", "System"]


class Config(flow.Config):
    """Options of the flow in a latent space; those of ``flow`` mean the same."""

    latent_size: PositiveInt = 32
    """Numbers of a code, and of the noise that it is made from."""
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 32, 16)
    """Channels of the writer at 7, 14 and 28 pixels; the reader's are the first two, the other way round."""
    code_width: PositiveInt = 128
    """Of the layers next to the code."""
    painter_width: PositiveInt = 256
    painter_blocks: PositiveInt = 6
    jitter: NonNegativeFloat = 0.1
    """Deviation of the noise on the codes that the writer learns from; theirs is 1."""
    draws: PositiveInt = 8
    """Mixtures of each picture's code that the painter sees in a step."""


class System(flow.System):
    """The flow with an autoencoder between codes and pictures."""

    phases = ("listener", "painter", "autoencoder")
    deviation = 1.0
    # No code of a picture is so far out; what a teacher believes may be.
    limit = 6.0
    config: Config

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__(config, num_labels)
        self.latent_size = config.latent_size
        self.place_shape = (config.latent_size, 1, 1)
        coarse, middle, _ = config.widths
        self.reader = Reader((middle, coarse), config.code_width, config.latent_size)
        self.writer = Writer(config.widths, config.code_width, config.latent_size, num_labels)

    @staticmethod
    def _network(config: flow.Config) -> nn.Module:
        ours = cast(Config, config)
        return CodeNetwork(ours.latent_size, ours.painter_width, ours.painter_blocks, ours.steering_size)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The listener's, the painter's, or reader's and writer's."""
        if phase == "autoencoder":
            return [*self.reader.parameters(), *self.writer.parameters()]
        return super().parameters_of(phase)

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """As ``flow``'s, in codes; and the squared error of what is written again, summed over a picture's pixels.

        Args:
            phase: ``"listener"``, ``"painter"`` or ``"autoencoder"``.
            batch: As ``flow``'s; ``noise`` (B, D).
            step: Optimiser steps taken so far.
        """
        if phase != "autoencoder":
            return super().losses(phase, batch, step)
        code_BD = self.reader(batch["image"])
        jittered_BD = code_BD + self.config.jitter * torch.randn(code_BD.shape).to(code_BD.device)
        label_BL = functional.one_hot(batch["label"], self.num_labels).float()
        batch["made"] = torch.sigmoid(self.writer(jittered_BD, label_BL).float())
        return {"reconstruction": (batch["made"] - batch["image"]).square().flatten(1).sum(dim=1).mean()}

    @torch.no_grad()
    def _examples(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Codes of the averaged reader, which those of use are: the other one still moves."""
        reader = cast(System, self._followed[0]).reader if self._followed else self.reader
        learns = reader.training
        code_BD = reader.eval()(batch["image"])
        reader.train(learns)
        label_BL = functional.one_hot(batch["label"], self.num_labels).float()
        more = self.config.draws - 1
        noise_ED = torch.cat([batch["noise"], torch.randn(more * len(code_BD), self.latent_size).to(code_BD.device)])
        code_ED = code_BD.repeat(more + 1, 1)
        return code_ED[:, :, None, None], noise_ED[:, :, None, None], label_BL.repeat(more + 1, 1)

    def _leave(self, batch: dict[str, Tensor], seen_BCHW: Tensor, painted_B: Tensor) -> None:
        """Nothing: the writer's pictures are what teachers see."""

    def _shown(self, place_BX: Tensor, label_BL: Tensor) -> Tensor:
        return torch.sigmoid(self.writer(place_BX.flatten(1), label_BL))

    @property
    def controls(self) -> dict[str, Tensor]:
        """As ``flow``'s, and a picture whose code is taken in place of the noise.

        - ``page`` (1 or B, 1, 28, 28) in [0, 1], ``read`` (): begin with so much of its code. With ``times`` that rise
          from 0 to 1 the path ends at the noise that its handwriting comes from.
        """
        return super().controls | {"page": torch.zeros(1, *self.image_shape), "read": torch.zeros(())}

    def draw(
        self,
        features_BFN: Tensor,
        noise_BD: Tensor,
        times: Tensor | None = None,
        weights: Tensor | None = None,
        given: Tensor | None = None,
        share: Tensor | None = None,
        page: Tensor | None = None,
        read: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pictures (B, 1, 28, 28) in [0, 1], and where the path ended, (B, D), in units of the noise."""
        if page is not None and read is not None:
            code_BD = self.reader(page) / self.config.variation
            noise_BD = noise_BD + read * (code_BD - noise_BD)
        return super().draw(features_BFN, noise_BD, times, weights, given, share)
