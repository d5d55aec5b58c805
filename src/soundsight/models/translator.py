"""From a sound to a scene by any mixture of objectives: what the systems of the survey have in common.

An encoder makes a code of a sound, a generator a picture of the code; beside them, where their objectives weigh more
than 0, a discriminator, a network that tells the sound again from the picture, a head that names the code, and two that
bring sounds and pictures into one space. Surveys name these systems by their encoder and their objectives and print no
more of them; generator and discriminator are ours.

Pictures are in [-1, 1] inside and in [0, 1] outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor, nn
from torch.nn import functional

from soundsight.losses import adversarial, contrastive, reconstruction
from soundsight.losses import ssim as similarity
from soundsight.losses.balance import balanced
from soundsight.losses.cohesion import cohesion
from soundsight.losses.cycle import cycle
from soundsight.losses.kl import free_bits, warmup
from soundsight.models.layers import reparameterise
from soundsight.models.pictures import Judge, Space, Teller, Transposed, Upsampling

__all__ = ["Options", "Translator", "Weights"]

_R1_EVERY = 8
"""Steps, as in Karras et al., *Analyzing and Improving the Image Quality of StyleGAN*, 2020, section 4.1."""


class Weights(BaseModel):
    """How much each objective weighs; 0 leaves it out. Pictures are compared in [-1, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    l1: NonNegativeFloat = 0.0
    l2: NonNegativeFloat = 0.0
    huber: NonNegativeFloat = 0.0
    ssim: NonNegativeFloat = 0.0
    ms_ssim: NonNegativeFloat = 0.0
    adversarial: NonNegativeFloat = 0.0
    feature_matching: NonNegativeFloat = 0.0
    legibility: NonNegativeFloat = 0.0
    """The discriminator also learns to read the label from real pictures, and reads those that are made (Odena, Olah &
    Shlens, *Conditional Image Synthesis with Auxiliary Classifier GANs*, 2017, section 3); for data with labels."""
    kl: NonNegativeFloat = 0.0
    """For a code that is drawn (``variational``)."""
    info_nce: NonNegativeFloat = 0.0
    """Sounds and real pictures in one space, which the code is asked to know; of one label all belong together."""
    margin: NonNegativeFloat = 0.0
    """The same with a margin: each sound beside its own picture and beside another one."""
    recognition: NonNegativeFloat = 0.0
    """The label is told from the code, by cross-entropy: pictures teach hearing slowly; for data with labels."""
    cycle: NonNegativeFloat = 0.0
    """The features are told again from the picture."""
    cohesion: NonNegativeFloat = 0.0
    """The picture of the next moment differs from this one as the real one does; for pairs with clips and times."""

    @property
    def needs_judge(self) -> bool:
        """Whether there is a discriminator."""
        return self.adversarial > 0 or self.feature_matching > 0 or self.legibility > 0

    @property
    def needs_space(self) -> bool:
        """Whether sounds and pictures are brought into one space."""
        return self.info_nce > 0 or self.margin > 0


class Options(BaseModel):
    """Options of every system of this kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    image_size: Literal[16, 32, 64, 128, 256] = 32
    image_channels: Literal[1, 3] = 3
    code_size: PositiveInt = 128
    latent_size: NonNegativeInt = 0
    """Noise beside the code; with ``variational`` the code itself is drawn, and this is its size."""
    variational: bool = False
    decoder: Literal["transposed", "upsampling"] = "upsampling"
    channels: tuple[PositiveInt, ...] = (256, 128, 64, 32)
    """Of the decoder ``transposed``: one less than the times that the picture doubles from one pixel."""
    width: PositiveInt = 32
    """Channels of the largest picture of the decoder ``upsampling``."""
    judge_width: PositiveInt = 32
    """Channels of the discriminator's first layer."""
    losses: Weights = Weights(l2=1.0)
    game: adversarial.Game = "non-saturating"
    gradient_penalty: NonNegativeFloat = 0.0
    """Weight of the penalty on the discriminator's slope between real and generated pictures."""
    r1: NonNegativeFloat = 0.0
    """Weight γ of the penalty on its slope at real pictures (Mescheder et al., 2018), taken every eighth step."""
    spectral_norm: bool = True
    judge_layers: PositiveInt = 3
    told: Literal["code", "label"] = "code"
    """What the generator is told: the code of the sound, or the label, in training the pair's and in use what is
    recognised, as shares of all labels. A code tells recordings of a label apart, too, and a generator takes that for
    its noise: each recording then has one picture."""
    other_labels: NonNegativeInt = 0
    """Of sounds that are told from the code, too, and never painted (``data.others``)."""
    huber_delta: PositiveFloat = 0.1
    margin: PositiveFloat = 1.0
    temperature: PositiveFloat = 0.1
    free_bits: NonNegativeFloat = 0.0
    kl_warmup_steps: NonNegativeInt = 0
    balance: bool = False
    """Weights are shares of the gradient at the picture, for the objectives that depend on it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        doublings = len(self.channels) + 1
        if self.decoder == "transposed" and 2**doublings != self.image_size:
            raise ValueError(
                f"channels of {doublings - 1} layers and the last make pictures of {2**doublings} pixels, "
                f"not image_size {self.image_size}"
            )
        if self.losses.kl and not self.variational:
            raise ValueError("the objective kl needs variational: this code is not drawn")
        if self.variational and not self.latent_size:
            raise ValueError("variational needs a latent_size above 0")
        for name in ("gradient_penalty", "r1"):
            if getattr(self, name) and not self.losses.needs_judge:
                raise ValueError(f"{name} is of a discriminator: it needs the objective adversarial")
        by_label = self.told == "label"
        if by_label and self.variational:
            raise ValueError("told='label' leaves out the code that variational draws: choose one")
        for objective, given in (
            ("kl", {"free_bits": self.free_bits, "kl_warmup_steps": self.kl_warmup_steps}),
            ("recognition", {"other_labels": self.other_labels, "told='label'": by_label}),
        ):
            for name, value in given.items():
                if value and not getattr(self.losses, objective):
                    raise ValueError(f"{name} is of the objective {objective}, which weighs 0")
        return self


class Translator(nn.Module):
    """A system with any of the objectives: the discriminator's phase, where there is one, then the generator's.

    Args:
        config: Options.
        encoder: Features (B, F, N) → (B, ``code_size``), or twice as many where the code is drawn.
        features_shape: (F, N).
        num_labels: Of the data; with more than one, sounds and pictures of a label belong together, and it is the
            label that the discriminator compares with the picture. Else it is the code.

    Raises:
        ValueError: An objective is of labels, and there are none.
    """

    def __init__(
        self, config: Options, encoder: nn.Module, features_shape: tuple[int, int], num_labels: int = 1
    ) -> None:
        super().__init__()
        self.config, self.features_shape = config, features_shape
        self._num_labels, self._has_labels = num_labels, num_labels > 1
        for name in ("legibility", "recognition"):
            if getattr(config.losses, name) and not self._has_labels:
                raise ValueError(f"the objective {name} is of labels, and these data have none")
        channels, size = config.image_channels, config.image_size
        self.image_shape = (channels, size, size)
        self.latent_size = config.latent_size
        self.num_other_labels = config.other_labels
        self.encoder = encoder
        # What the generator is given: the code that is drawn, or the code or label and the noise beside it.
        told = num_labels if config.told == "label" else config.code_size
        given = self.latent_size if config.variational else told + self.latent_size
        if config.decoder == "transposed":
            self.generator: nn.Module = Transposed(given, config.channels, channels)
        else:
            self.generator = Upsampling(given, config.width, size, channels)
        self.judge = self.space = self.teller = self.namer = None
        self.for_training = ("judge", "space", "teller", *(() if config.told == "label" else ("namer",)))
        known = self.latent_size if config.variational else config.code_size
        if config.losses.needs_judge:
            asked = num_labels if self._has_labels else known
            read = num_labels if config.losses.legibility else 0
            self.judge = Judge(channels, config.judge_width, config.judge_layers, asked, config.spectral_norm, read)
        if config.losses.needs_space:
            self.space = Space(known, channels)
        if config.losses.recognition:
            self.namer = nn.Linear(known, num_labels + config.other_labels)
        if config.losses.cycle:
            self.teller = Teller(channels, features_shape)
        self.phases = ("discriminator", "generator") if self.judge is not None else ("generator",)
        self.looks_ahead = config.losses.cohesion > 0

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The discriminator's, or all others."""
        own = {id(p) for p in self.judge.parameters()} if self.judge is not None else set()
        return [p for p in self.parameters() if (id(p) in own) == (phase == "discriminator")]

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Named terms whose sum the phase minimises, weighted as ``config.losses`` says.

        Args:
            phase: ``"discriminator"``, then ``"generator"``, which judges the pictures that the first was shown.
            batch: ``features`` (B, F, N), ``image`` (B, C, S, S) in [0, 1], ``noise`` (B, ``latent_size``); ``label``
                (B,) where there are several; with ``other_labels`` sounds ``outliers`` (O, F, N) and their
                ``outlier_labels`` (O,); where the system ``looks_ahead``, ``next_features`` and ``next_image``.
            step: Optimiser steps taken so far, for the KL warm-up and the penalty that is not taken in every step.
        """
        if "picture" not in batch:
            batch |= self._translate(batch["features"], batch["noise"], batch.get("outliers"), batch.get("label"))
        real_BCHW = 2 * batch["image"] - 1
        if phase == "discriminator":
            return self._discriminator_losses(real_BCHW, batch, step)
        batch["made"] = _outside(batch["picture"])
        terms = self._picture_losses(real_BCHW, batch)
        weights = self.config.losses
        if self.config.balance:
            shares = {name: getattr(weights, name) for name in terms}
            terms = balanced(terms, shares, batch["picture"])
        else:
            terms = {name: getattr(weights, name) * term for name, term in terms.items()}
        return terms | self._code_losses(real_BCHW, batch, step)

    def _translate(
        self, features_BFN: Tensor, noise_BD: Tensor, others_OFN: Tensor | None = None, label_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What is heard and painted; in training with other sounds, and with labels where there are some."""
        if others_OFN is None:
            others_OFN = features_BFN[:0]
        # Together: batch norm would else learn two kinds of batches, and know neither in use.
        code_XK = self.encoder(torch.cat([features_BFN, others_OFN]))
        code_BK, others_OK = code_XK.split([len(features_BFN), len(others_OFN)])
        if self.config.variational:
            mean_BD, log_variance_BD = code_BK.chunk(2, dim=1)
            made_BCHW = self.generator(reparameterise(mean_BD, log_variance_BD, noise_BD))
            others_OD = others_OK.chunk(2, dim=1)[0]
            return {"code": mean_BD, "other_code": others_OD, "log_variance": log_variance_BD, "picture": made_BCHW}
        told_BD = self._named(code_BK, label_B) if self.config.told == "label" else code_BK
        made_BCHW = self.generator(torch.cat([told_BD, noise_BD], dim=1))
        return {"code": code_BK, "other_code": others_OK, "picture": made_BCHW}

    def _named(self, code_BK: Tensor, label_B: Tensor | None) -> Tensor:
        """(B, L) the label, or how much of each label the code is."""
        if label_B is not None:
            return functional.one_hot(label_B, self._num_labels).float()
        assert self.namer is not None
        shares_BL: Tensor = self.namer(code_BK)[:, : self._num_labels].float().softmax(dim=1)
        return shares_BL

    def _discriminator_losses(self, real_BCHW: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        assert self.judge is not None
        judge = self.judge.requires_grad_(True)
        made_BCHW, told_BD = batch["picture"].detach().float(), self._told(batch)
        sides, weights = adversarial.GAMES[self.config.game], self.config.losses
        penalised = bool(self.config.r1) and step % _R1_EVERY == 0
        real_BCHW = real_BCHW.detach().requires_grad_(penalised)
        answers, seen = judge(real_BCHW, told_BD)
        terms = {"adversarial": sides.discriminator(answers, judge(made_BCHW, told_BD)[0])}
        if weights.legibility:
            terms["legibility"] = weights.legibility * functional.cross_entropy(judge.read(seen), batch["label"])
        if penalised:
            answers_B = answers.float().flatten(1).mean(dim=1)
            terms["r1"] = _R1_EVERY * self.config.r1 * adversarial.gradient_penalty(answers_B, real_BCHW)
        if self.config.gradient_penalty:
            # Drawn on the CPU, so that a resumed training draws the same wherever it runs.
            share_B = torch.rand(len(real_BCHW)).to(real_BCHW.device)
            penalty = adversarial.interpolation_penalty(lambda x: judge(x, told_BD)[0], real_BCHW, made_BCHW, share_B)
            terms["penalty"] = self.config.gradient_penalty * penalty
        return terms

    def _told(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, D) what the discriminator is told that the picture shows: the label, where there are labels."""
        if self._has_labels:
            return functional.one_hot(batch["label"], self._num_labels).float()
        return batch["code"].detach()

    def _picture_losses(self, real_BCHW: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms that depend on the picture, not yet weighted."""
        made_BCHW, weights = batch["picture"].float(), self.config.losses
        pairs: dict[str, Callable[[], Tensor]] = {
            "l1": lambda: reconstruction.l1(made_BCHW, real_BCHW),
            "l2": lambda: reconstruction.l2(made_BCHW, real_BCHW),
            "huber": lambda: reconstruction.huber(made_BCHW, real_BCHW, self.config.huber_delta),
            "ssim": lambda: similarity.ssim(made_BCHW, real_BCHW, 2.0),
            "ms_ssim": lambda: similarity.ms_ssim(made_BCHW, real_BCHW, 2.0),
        }
        terms = {name: compute() for name, compute in pairs.items() if getattr(weights, name)}
        if self.judge is not None:
            # Its weights' gradients would be computed and thrown away.
            judge, told_BD = self.judge.requires_grad_(False), self._told(batch)
            answers, made_layers = judge(made_BCHW, told_BD)
            if weights.adversarial:
                terms["adversarial"] = adversarial.GAMES[self.config.game].generator(answers)
            if weights.feature_matching:
                terms["feature_matching"] = adversarial.feature_matching(judge(real_BCHW, told_BD)[1], made_layers)
            if weights.legibility:
                terms["legibility"] = functional.cross_entropy(judge.read(made_layers), batch["label"])
        if self.teller is not None:
            terms["cycle"] = cycle(self.teller(made_BCHW), batch["features"])
        if weights.cohesion:
            next_BCHW = self._translate(batch["next_features"], batch["noise"])["picture"].float()
            real_BSCHW = torch.stack([real_BCHW, 2 * batch["next_image"] - 1], dim=1)
            terms["cohesion"] = cohesion(torch.stack([made_BCHW, next_BCHW], dim=1), real_BSCHW)
        return terms

    def _code_losses(self, real_BCHW: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Terms that the code alone has, weighted."""
        weights, terms = self.config.losses, {}
        if self.config.variational and weights.kl:
            weight = weights.kl * warmup(step, self.config.kl_warmup_steps)
            terms["kl"] = weight * free_bits(batch["code"], batch["log_variance"], self.config.free_bits)
        if self.namer is not None:
            codes, labels = [batch["code"]], [batch["label"]]
            if self.num_other_labels:
                codes.append(batch["other_code"])
                labels.append(self._num_labels + batch["outlier_labels"])
            recognition = functional.cross_entropy(self.namer(torch.cat(codes)).float(), torch.cat(labels))
            terms["recognition"] = weights.recognition * recognition
        if self.space is not None:
            sound_BD, image_BD = self.space(batch["code"], real_BCHW)
            # Where labels pair them, any picture of a bark is one of this bark.
            kinds_B = batch["label"] if self._has_labels else torch.arange(len(sound_BD), device=sound_BD.device)
            if weights.info_nce:
                agreement = contrastive.info_nce(sound_BD, image_BD, self.config.temperature, kinds_B)
                terms["info_nce"] = weights.info_nce * agreement
            if weights.margin:
                # Each beside its own picture, and beside that of its neighbour in the batch.
                pairs = torch.cat([sound_BD, sound_BD]), torch.cat([image_BD, image_BD.roll(1, dims=0)])
                together_B = torch.cat([torch.ones_like(kinds_B), (kinds_B == kinds_B.roll(1)).to(kinds_B)])
                terms["margin"] = weights.margin * contrastive.margin(*pairs, together_B, self.config.margin)
        return terms

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        """Pictures (B, C, S, S) in [0, 1] from features (B, F, N) and noise (B, ``latent_size``)."""
        return _outside(self._translate(features_BFN, noise_BD)["picture"])


def _outside(picture_BCHW: Tensor) -> Tensor:
    """From (-1, 1) to [0, 1]."""
    return (0.5 * picture_BCHW.float() + 0.5).clamp(0, 1)
