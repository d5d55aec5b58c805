"""From a sound to a scene by any mixture of objectives: what the systems of the survey have in common.

An encoder makes a code of a sound, a generator a picture of the code; beside them, where their objectives weigh more
than 0, a discriminator, a network that tells the sound again from the picture, a head that names the code, and two that
bring sounds and pictures into one space. Surveys name these systems by their encoder and their objectives and print no
more of them; generator and discriminator are ours.

Pictures are in [-1, 1] inside and in [0, 1] outside.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from soundsight.losses import adversarial, contrastive, reconstruction
from soundsight.losses import ssim as similarity
from soundsight.losses.balance import balanced
from soundsight.losses.cohesion import cohesion
from soundsight.losses.cycle import cycle
from soundsight.losses.kl import free_bits, warmup
from soundsight.models.layers import reparameterise
from soundsight.models.objectives import Options
from soundsight.models.pictures import Judge, Space, Teller, Transposed, Upsampling

__all__ = ["Translator"]

_R1_EVERY = 8
"""Steps, as in Karras et al., *Analyzing and Improving the Image Quality of StyleGAN*, 2020, section 4.1."""


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
        if config.unlike and self._has_labels:
            raise ValueError("unlike is for data without labels: those of labels have data.others")
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
            if self.config.unlike:
                batch["features"] = _unlike(batch["features"], self.config.unlike)
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


def _unlike(features_BFN: Tensor, share: float) -> Tensor:
    """The same, but for the first sounds, which become such as nobody recorded."""
    size = len(features_BFN)
    count = round(share * size)
    # Drawn on the CPU, so that a resumed training draws the same wherever it runs.
    sound_U, near_U, far_U = torch.randint(size, (3, count)).to(features_BFN.device)
    # Never near 0: what is near to a known sound keeps its picture.
    part_U11 = 0.5 + 0.5 * torch.rand(count, 1, 1).to(features_BFN)
    unlike_UFN = features_BFN[sound_U] + part_U11 * (features_BFN[near_U] - features_BFN[far_U])
    return torch.cat([unlike_UFN, features_BFN[count:]])


def _outside(picture_BCHW: Tensor) -> Tensor:
    """From (-1, 1) to [0, 1]."""
    return (0.5 * picture_BCHW.float() + 0.5).clamp(0, 1)
