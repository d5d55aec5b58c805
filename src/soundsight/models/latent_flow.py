"""The flow in a small space of handwritings: noise becomes a code, and a writer that is told the label writes it out.

What ``flow`` does with pixels is done here with codes of some numbers, which an autoencoder learns beside it: the
painter moves noise to the code of a handwriting, in the same few steps and by the same objectives. Codes are all but
free to move, so that the painter sees each picture in many mixtures a step; and as the writer is told the label, and
strokes are its business, pictures are crisp and of their label after minutes of a processor.

The writer learns from codes with a little noise on them, so that a code that the painter misses by as much is still
written well (Ghosh et al., *From Variational to Deterministic Autoencoders*, 2020, section 3, with noise where they
penalise gradients). Codes have mean 0 and variance 1 by construction, in place of a KL term.

A painter of few steps misses by more, and always in the same places. So the reader is settled at a part of the
training, which leaves the painter a target that stands still; and from then on the writer learns from the painter's
own codes, too: an examiner tells it where what it writes is no digit of a person's, or another than was asked for.
"""

from __future__ import annotations

from typing import cast

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from soundsight.losses import adversarial
from soundsight.models import flow
from soundsight.models.codes import CodeNetwork, Reader, Writer
from soundsight.models.examiner import Examiner
from soundsight.models.layers import shifted

__all__ = ["Config", "System"]

_PENALTY_EVERY = 8
"""Steps, as in Karras et al., *Analyzing and Improving the Image Quality of StyleGAN*, 2020, section 4.1: the penalty
costs as much as all else of the step."""


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
    settled_after: PositiveInt = 2000
    """Steps of training after which the reader stays as it is, and the writer learns from the painter's codes."""
    legibility_weight: NonNegativeFloat = 10.0
    """Weight of the cross-entropy between what was asked for and what the examiner reads in what was written."""
    adversarial_weight: NonNegativeFloat = 3.0
    """Weight of the examiner's surprise at what was written."""
    r1: NonNegativeFloat = 0.2
    """Weight γ of the R1 gradient penalty on the examiner (Mescheder et al., 2018)."""


class System(flow.System):
    """The flow with an autoencoder between codes and pictures."""

    deviation = 1.0
    # No code of a picture is so far out; what a teacher believes may be.
    limit = 6.0
    for_training = ("examiner",)
    config: Config

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__(config, num_labels)
        self.latent_size = config.latent_size
        self.place_shape = (config.latent_size, 1, 1)
        coarse, middle, _ = config.widths
        self.reader = Reader((middle, coarse), config.code_width, config.latent_size)
        self.writer = Writer(config.widths, config.code_width, config.latent_size, num_labels)
        self.phases = ("listener", "painter", "autoencoder")
        if config.legibility_weight or config.adversarial_weight:
            self.examiner = Examiner(num_labels)
            self.phases = ("listener", "painter", "examiner", "autoencoder")

    @staticmethod
    def _network(config: flow.Config) -> nn.Module:
        ours = cast(Config, config)
        return CodeNetwork(ours.latent_size, ours.painter_width, ours.painter_blocks, ours.steering_size)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The listener's, the painter's, the examiner's, or reader's and writer's."""
        if phase == "autoencoder":
            return [*self.reader.parameters(), *self.writer.parameters()]
        return list(self.examiner.parameters()) if phase == "examiner" else super().parameters_of(phase)

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """As ``flow``'s, in codes; and the examiner's and the writer's.

        The squared error of what is written again is summed over a picture's pixels.

        Args:
            phase: ``"listener"``, ``"painter"``, ``"examiner"``, or ``"autoencoder"``, which is judged by what the
                examiner was shown.
            batch: As ``flow``'s; ``noise`` (B, D). The first of the last two leaves its pictures for the other.
            step: Optimiser steps taken so far.
        """
        if phase in ("listener", "painter"):
            return super().losses(phase, batch, step)
        if "made" not in batch:
            self._write(batch, step)
        return self._examiner_losses(batch, step) if phase == "examiner" else self._writer_losses(batch)

    def _write(self, batch: dict[str, Tensor], step: int) -> None:
        """Leave in the batch what is written again, and once settled what is written from the painter's codes."""
        if step == self.config.settled_after and self._followed:
            self.reader.load_state_dict(cast(System, self._followed[0]).reader.state_dict())
        settled = step >= self.config.settled_after
        code_BD = self._codes(batch["image"]) if settled else self.reader(batch["image"])
        device, size = code_BD.device, len(code_BD)
        code_XD = code_BD + self.config.jitter * torch.randn(code_BD.shape).to(device)
        label_X = batch["label"]
        if settled and "examiner" in self.phases:
            asked_B = torch.randint(self.num_labels, (size,)).to(device)
            code_XD = torch.cat([code_XD, self._painted_codes(asked_B)])
            label_X = torch.cat([label_X, asked_B])
        label_XL = functional.one_hot(label_X, self.num_labels).float()
        written_XCHW = torch.sigmoid(self.writer(code_XD, label_XL).float())
        batch["made"] = written_XCHW[:size]
        if len(label_X) > size:
            batch |= {"painted": written_XCHW[size:], "asked": label_X[size:], "asked_labels": label_XL[size:]}

    @torch.no_grad()
    def _painted_codes(self, asked_B: Tensor) -> Tensor:
        """Codes (B, D) of the averaged painter, with as many steps as in use."""
        system = self._followed[0] if self._followed else self
        noise_BD = torch.randn(len(asked_B), self.latent_size).to(asked_B.device)
        told = {name: value.to(asked_B.device) for name, value in self.controls.items()}
        label_BL = functional.one_hot(asked_B, self.num_labels).float()
        return system.travel(label_BL, noise_BD, told["times"], told["weights"]).flatten(1)

    def _examiner_losses(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        self.examiner.requires_grad_(True)
        image_BCHW = batch["image"]
        # By a pixel either way, or it would know the training pictures by heart.
        read_BL = self.examiner.read(shifted(image_BCHW, 1))
        losses = {"read": functional.cross_entropy(read_BL, batch["label"])}
        if "painted" in batch and self.config.adversarial_weight:
            penalised = bool(self.config.r1) and step % _PENALTY_EVERY == 0
            image_BCHW = image_BCHW.detach().requires_grad_(penalised)
            label_BL = functional.one_hot(batch["label"], self.num_labels).float()
            real_B = self.examiner.is_real(image_BCHW, label_BL)
            painted_B = self.examiner.is_real(batch["painted"].detach(), batch["asked_labels"])
            losses["adversarial"] = adversarial.discriminator(real_B, painted_B)
            if penalised:
                losses["r1"] = _PENALTY_EVERY * self.config.r1 * adversarial.gradient_penalty(real_B, image_BCHW)
        return losses

    def _writer_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {"reconstruction": (batch["made"] - batch["image"]).square().flatten(1).sum(dim=1).mean()}
        if "painted" in batch:
            # Its weights' gradients would be computed and thrown away.
            self.examiner.requires_grad_(False)
            if self.config.legibility_weight:
                read_BL = self.examiner.read(batch["painted"])
                losses["legibility"] = self.config.legibility_weight * functional.cross_entropy(read_BL, batch["asked"])
            if self.config.adversarial_weight:
                real_B = self.examiner.is_real(batch["painted"], batch["asked_labels"])
                losses["adversarial"] = self.config.adversarial_weight * adversarial.non_saturating(real_B)
        return losses

    @torch.no_grad()
    def _codes(self, image_BCHW: Tensor) -> Tensor:
        """Codes (B, D) of the averaged reader, which those of use are: the other one still moves."""
        reader = cast(System, self._followed[0]).reader if self._followed else self.reader
        learns = reader.training
        code_BD: Tensor = reader.eval()(image_BCHW)
        reader.train(learns)
        return code_BD

    @torch.no_grad()
    def _examples(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        code_BD = self._codes(batch["image"])
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
