"""From noise to a digit in a few steps: what is said decides the digit, the noise decides the handwriting.

A listener hears the word; a small U-Net, steered by what was heard, carries noise to a picture along the straight paths
of rectified flow (Liu, Gong & Liu, *Flow Straight and Fast*, 2023) or a diffusion's (``losses.noise_prediction``).
One network takes few steps as well as many: it is told the length of the step, and learns to take long ones from the
averaged weights (``shortcuts``).

As in the conditional VAE the sound reaches the painter as a distribution over labels, and in training the painter is
given the pair's label. A share of the labels is left out, so that the same network also paints any digit, and the
difference guides (Ho & Salimans, *Classifier-Free Diffusion Guidance*, 2022, equation 6): in use, at two evaluations a
step; or in training, where the difference that the averaged weights see is added to what is learned, and use needs one
(Tang, Bao, Chen & Guo, *Diffusion Models without Classifier-free Guidance*, 2025).

The listener has one output more than there are labels, for sounds that are none of them; it learns from such sounds,
where a recipe has them (Hendrycks, Mazeika & Dietterich, *Deep Anomaly Detection with Outlier Exposure*, 2019, with the
class of its own that they compare with).
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional

from soundsight.losses import noise_prediction
from soundsight.losses.noise_prediction import Objective, Sampling
from soundsight.metrics.calibration import temperature
from soundsight.models import shortcuts
from soundsight.models.layers import Listener
from soundsight.models.painter import Painter
from soundsight.models.samplers import schedule
from soundsight.models.unet import UNet

__all__ = ["Config", "System"]

_DEVIATION = 0.616
"""Of MNIST's pixels in [-1, 1]."""
_LAST_OF_EPSILON = 0.992
"""With epsilon the mixture's last moments before noise say nothing about the picture."""


class Config(BaseModel):
    """Options of the flow."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    objective: Objective = "flow"
    times: Sampling = "uniform"
    """How often each time is trained. Few steps ask at both ends, which ``logit-normal`` hardly trains."""
    gamma: NonNegativeFloat = 0.0
    """Of the min-SNR weighting; 0 weighs all times alike."""
    widths: tuple[PositiveInt, ...] = Field(default=(48, 96), min_length=1, max_length=2)
    """Channels of the U-Net's levels, at 14 and at 7 pixels."""
    steering_size: PositiveInt = 128
    unlabelled: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pictures whose label is left out in training."""
    guided: float = Field(default=0.0, ge=0, lt=1)
    """Share of the label's difference that is learned: one evaluation is as sure as guidance 1 / (1 − share) of two."""
    guided_after: NonNegativeInt = 0
    """Steps of training before that: what a label changes must be known first."""
    shortcuts: float = Field(default=0.25, ge=0, lt=1)
    """Share of the pictures that train long steps; 0 for a plain flow. For ``objective = "flow"`` only."""
    shortcuts_after: NonNegativeInt = 1000
    """Steps of training before any of them: a flow that knows nothing yet has nothing to teach."""
    steps: PositiveInt = 4
    """Steps in use."""
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
        if not self.unlabelled and (self.guided or self.guidance != 1):
            raise ValueError("guidance is the difference to pictures without a label: unlabelled must be more than 0")
        return self


class System(nn.Module):
    """The flow as a trainable system: its listener and its painter have nothing in common but the label."""

    phases: tuple[str, ...] = ("listener", "painter")
    features_shape = (48, 48)
    image_shape = (1, 28, 28)
    latent_size = 28 * 28
    calibrated = "listener"
    # What noise is carried to: pictures as they are, from −1 to 1.
    place_shape = image_shape
    deviation = _DEVIATION
    limit = 1.0

    def __init__(self, config: Config, num_labels: int = 10) -> None:
        super().__init__()
        self.config = config
        self.num_labels = num_labels
        self.listener = Listener(config.listener_widths, config.dropout, num_labels + 1)
        # Divides the labels' logits where they are told as probabilities: below 1 is surer.
        self.listener.register_buffer("temperature", torch.ones(()))
        network = self._network(config)
        self.painter = Painter(config.objective, network, self.deviation, config.steering_size, num_labels)
        self._followed: list[System] = []

    @staticmethod
    def _network(config: Config) -> nn.Module:
        """What answers (B, ``place_shape``) for a mixture and steering (B, ``steering_size``)."""
        return UNet(1, config.widths, config.steering_size)

    def _examples(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What is painted (E, ``place_shape``), noise of that shape, and labels (E, L)."""
        label_BL = functional.one_hot(batch["label"], self.num_labels).float()
        return 2 * batch["image"] - 1, batch["noise"].reshape(-1, *self.place_shape), label_BL

    def _shown(self, place_BX: Tensor, label_BL: Tensor) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] of what is painted."""
        return (0.5 + 0.5 * place_BX).clamp(0, 1)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The listener's or the painter's."""
        return list((self.listener if phase == "listener" else self.painter).parameters())

    def follow(self, average: System) -> None:
        """Take the targets of long steps from averaged weights: those of one step are noisy teachers."""
        self._followed = [average]  # in a list it is no part of this module

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """The cross-entropy of what is heard; or noise prediction and shortcuts.

        Args:
            phase: ``"listener"`` or ``"painter"``.
            batch: ``features`` (B, 48, 48) and ``image`` (B, 1, 28, 28), both in [0, 1], ``label`` (B,), ``noise``
                (B, 784); ``outliers`` (O, 48, 48) where the data have them.
            step: Optimiser steps taken so far; the first ones train no long steps.
        """
        return {"heard": self._hearing_loss(batch)} if phase == "listener" else self._painting_losses(batch, step)

    def _painting_losses(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        image_BCHW, noise_BCHW, label_BL = self._examples(batch)
        size, device = len(image_BCHW), image_BCHW.device
        label_BL = label_BL * (torch.rand(size, 1) >= self.config.unlabelled).to(device)
        time_B = noise_prediction.times(torch.randn(size), self.config.times).to(device)
        length_B = torch.zeros(size, device=device)
        mixed_BCHW = noise_prediction.mix(image_BCHW, noise_BCHW, time_B, self.config.objective)
        wanted_BCHW = noise_prediction.target(image_BCHW, noise_BCHW, time_B, self.config.objective)
        num_long = round(self.config.shortcuts * size) if step >= self.config.shortcuts_after else 0
        rows, rest = slice(0, num_long), slice(num_long, None)
        if self.config.guided and step >= self.config.guided_after:
            difference_BCHW = self._difference(mixed_BCHW[rest], time_B[rest], label_BL[rest])
            wanted_BCHW = torch.cat([wanted_BCHW[rows], wanted_BCHW[rest] + self.config.guided * difference_BCHW])
        if num_long:
            time_B[rows], length_B[rows] = (x.to(device) for x in shortcuts.draw(num_long))
            mixed_BCHW[rows] = noise_prediction.mix(image_BCHW[rows], noise_BCHW[rows], time_B[rows], "flow")
            teach = partial(self._teach, label_BL[rows])
            wanted_BCHW[rows] = shortcuts.target(teach, mixed_BCHW[rows], time_B[rows], length_B[rows], self.limit)
        answer_BCHW = self.painter(mixed_BCHW, time_B, length_B, label_BL)
        seen_BCHW, _ = noise_prediction.recover(answer_BCHW, mixed_BCHW, time_B, self.config.objective)
        # What was painted without a label has nothing to do with the sound, and a long step's answer is no picture.
        painted_B = label_BL.sum(dim=1) > 0
        painted_B[rows] = False
        self._leave(batch, seen_BCHW, painted_B)
        error_B = (answer_BCHW - wanted_BCHW).square().flatten(1).mean(dim=1)
        weight_B = noise_prediction.weights(time_B, self.config.objective, self.config.gamma)
        losses = {"noise_prediction": (weight_B * error_B)[num_long:].sum() / size}
        if num_long:
            losses["shortcut"] = error_B[:num_long].sum() / size
        return losses

    def _leave(self, batch: dict[str, Tensor], seen_BCHW: Tensor, painted_B: Tensor) -> None:
        """Leave the pictures that were made, for teachers; the real one in place of what is none."""
        made_BCHW = self._shown(seen_BCHW, torch.empty(0))
        batch["made"] = torch.where(painted_B[:, None, None, None], made_BCHW, batch["image"])

    def _hearing_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy over the labels and «none of them», the last."""
        features_BFN, wanted_B = batch["features"], batch["label"]
        if "outliers" in batch:
            features_BFN = torch.cat([features_BFN, batch["outliers"]])
            wanted_B = torch.cat([wanted_B, wanted_B.new_full((len(batch["outliers"]),), self.num_labels)])
        logits_BX = self.listener(features_BFN).float()
        return functional.cross_entropy(logits_BX, wanted_B, label_smoothing=self.config.label_smoothing)

    def _difference(self, mixed_BCHW: Tensor, time_B: Tensor, label_BL: Tensor) -> Tensor:
        """What the label changes in the flow's own answer (B, 1, 28, 28); nothing where it is left out."""
        size, none_BL = len(mixed_BCHW), torch.zeros_like(label_BL)
        both_X = (mixed_BCHW.repeat(2, 1, 1, 1), time_B.repeat(2), torch.zeros_like(time_B).repeat(2))
        answer_XCHW = self._teach(torch.cat([label_BL, none_BL]), *both_X)
        return answer_XCHW[:size] - answer_XCHW[size:]

    @torch.no_grad()
    def _teach(self, label_BL: Tensor, mixed_BCHW: Tensor, time_B: Tensor, length_B: Tensor) -> Tensor:
        """The answer of the averaged weights, or of its own before there are any, with running statistics."""
        painter = self._followed[0].painter if self._followed else self.painter
        learns = painter.training
        painter.eval()  # a batch's own statistics would let one row's target depend on the others
        answer_BCHW: Tensor = painter(mixed_BCHW, time_B, length_B, label_BL)
        painter.train(learns)
        return answer_BCHW

    @property
    def controls(self) -> dict[str, Tensor]:
        """What ``generate`` takes beside features and noise, with its defaults.

        - ``times`` (S + 1,): where to stop on the way from noise to picture; falling, the last one 0.
        - ``weights`` (1,) = [1] for the network's own answer, or (2,) = [g, 1 − g] for guidance g.
        - ``given`` (1 or B, L), ``share`` (): paint so much of this label distribution, the rest of what is heard.
        """
        first = _LAST_OF_EPSILON if self.config.objective == "epsilon" else 1.0
        guidance = self.config.guidance
        return {
            "times": torch.tensor(schedule(self.config.steps, first)),
            "weights": torch.tensor([1.0] if guidance == 1 else [guidance, 1 - guidance]),
            "given": torch.zeros(1, self.num_labels),
            "share": torch.zeros(()),
        }

    def listen(self, features_BFN: Tensor) -> Tensor:
        """What is heard in features (B, 48, 48): (B, L + 1).

        How likely each label is, if it is one of them, calibrated; and last how likely it is none, as learned.
        """
        logits_BX = self.listener(features_BFN)
        labels_BL = (logits_BX[:, : self.num_labels] / self.listener.temperature).softmax(dim=1)
        return torch.cat([labels_BL, logits_BX.softmax(dim=1)[:, self.num_labels :]], dim=1)

    @torch.no_grad()
    def calibrate(self, features_BFN: Tensor, labels_B: Tensor) -> None:
        """Set how sure ``listen`` is by features (B, 48, 48) of speakers it does not know, and their labels (B,)."""
        logits_BL = self.listener(features_BFN)[:, : self.num_labels].float()
        cast(Tensor, self.listener.temperature).fill_(temperature(logits_BL.cpu().numpy(), labels_B.cpu().numpy()))

    def decide(self, features_BFN: Tensor) -> Tensor:
        """The label distribution (B, L) that is painted for features (B, 48, 48)."""
        logits_BL = self.listener(features_BFN)[:, : self.num_labels]
        painted_BL: Tensor = (self.config.sharpness * logits_BL).softmax(dim=1)
        return painted_BL

    def generate(self, features_BFN: Tensor, noise_BD: Tensor, *controls: Tensor, **named: Tensor) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] from features and noise (B, 784); ``draw`` says what else it takes."""
        return self.draw(features_BFN, noise_BD, *controls, **named)[0]

    def draw(
        self,
        features_BFN: Tensor,
        noise_BD: Tensor,
        times: Tensor | None = None,
        weights: Tensor | None = None,
        given: Tensor | None = None,
        share: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pictures (B, 1, 28, 28) in [0, 1], and where the path ended, (B, 784), in units of the noise.

        ``times``, ``weights``, ``given`` and ``share`` are explained by ``controls``, and default to what it says.
        With ``times`` that rise from 0 to 1 the path goes back: given a picture x in [0, 1] as 2x − 1, in units of the
        noise, it ends at the noise that the picture comes from (Song, Meng & Ermon, 2021, section 4.3).
        """
        defaults = {name: value.to(noise_BD.device) for name, value in self.controls.items()}
        times = defaults["times"] if times is None else times
        weights = defaults["weights"] if weights is None else weights
        given = defaults["given"] if given is None else given
        share = defaults["share"] if share is None else share
        label_BL = share * given + (1 - share) * self.decide(features_BFN)
        mixed_BX = self.travel(label_BL, noise_BD, times, weights)
        return self._shown(mixed_BX, label_BL), mixed_BX.flatten(1) / self.config.variation

    def paint(self, label_BL: Tensor, noise_BD: Tensor, times_S: Tensor, weights_K: Tensor) -> Tensor:
        """Pictures (B, 1, 28, 28) in [0, 1] of label distributions (B, L)."""
        return self._shown(self.travel(label_BL, noise_BD, times_S, weights_K), label_BL)

    def travel(self, label_BL: Tensor, noise_BD: Tensor, times_S: Tensor, weights_K: Tensor) -> Tensor:
        """Mixtures (B, ``place_shape``) at the last of the times, by ``ddim``: Euler's on straight paths."""
        mixed_BCHW = self.config.variation * noise_BD.reshape(-1, *self.place_shape)
        if self.config.objective == "epsilon":
            times_S = times_S.clamp(max=_LAST_OF_EPSILON)

        # Back to noise there are no shortcuts: they were not trained that way.
        lengths_S = (
            shortcuts.told(times_S[:-1] - times_S[1:]) if self.config.shortcuts else torch.zeros_like(times_S[1:])
        )

        def advance(i: Tensor, mixed_BCHW: Tensor) -> tuple[Tensor, Tensor]:
            now_1, then_1 = (torch.index_select(times_S, 0, k.reshape(1)) for k in (i, i + 1))
            length_1 = torch.index_select(lengths_S, 0, i.reshape(1))
            picture_BCHW, seen_BCHW = self.see(mixed_BCHW, now_1, length_1, label_BL, weights_K)
            signal_1, level_1 = noise_prediction.levels(then_1, self.config.objective)
            return i + 1, signal_1 * picture_BCHW + level_1 * seen_BCHW

        i = torch.zeros((), dtype=torch.int64, device=times_S.device)
        if torch.compiler.is_exporting():  # one loop in the exported network, for any number of steps
            _, mixed_BCHW = while_loop(  # type: ignore[no-untyped-call]
                lambda i, _: i < len(times_S) - 1, advance, (i, mixed_BCHW)
            )
        else:
            for _ in range(len(times_S) - 1):
                i, mixed_BCHW = advance(i, mixed_BCHW)
        return mixed_BCHW

    def see(
        self, mixed_BCHW: Tensor, time_1: Tensor, length_1: Tensor, label_BL: Tensor, weights_K: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Picture and noise that the network sees in mixtures at one time, for a step of one length."""
        num = len(weights_K)
        # The label for the first weight, none for the second.
        labelled_K = torch.arange(num, device=label_BL.device) == 0
        labels_XL = (labelled_K[:, None, None] * label_BL).flatten(0, 1)
        told_X, length_X = (x.expand(len(labels_XL)) for x in (time_1, length_1))
        answer_KBCHW = self.painter(mixed_BCHW.repeat(num, 1, 1, 1), told_X, length_X, labels_XL)
        answer_KBCHW = answer_KBCHW.reshape(num, -1, *self.place_shape)
        answer_BCHW = (weights_K.reshape(-1, 1, 1, 1, 1) * answer_KBCHW).sum(dim=0)
        picture_BCHW, noise_BCHW = noise_prediction.recover(answer_BCHW, mixed_BCHW, time_1, self.config.objective)
        if self.config.objective == "epsilon":  # near noise its picture is a small difference, much enlarged
            picture_BCHW = picture_BCHW.clamp(-self.limit, self.limit)
            implied_BCHW = noise_prediction.noise_of(picture_BCHW, mixed_BCHW, time_1.clamp(min=1e-3), "epsilon")
            noise_BCHW = torch.where(time_1 > 1e-3, implied_BCHW, noise_BCHW)  # a picture has no noise of its own
        return picture_BCHW, noise_BCHW
