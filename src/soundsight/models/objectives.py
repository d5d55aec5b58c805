"""What systems that translate sounds to pictures are asked for: the weight of each objective, and their options."""

from __future__ import annotations

from typing import Literal, Self

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

from soundsight.losses import adversarial

__all__ = ["Options", "Weights"]


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
    unlike: float = Field(0.0, ge=0.0, le=0.5)
    """Share of a batch whose sounds are, in training, replaced by such as nobody recorded: x + a (y - z) of three
    sounds of the batch, with a from [½, 1]. Their pictures stay, so that a sound unlike those that trained gets the
    mean of all pictures and not any one of them. For data without labels; ours."""
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
        for name in ("info_nce", "margin", "cycle", "cohesion"):
            if self.unlike and getattr(self.losses, name):
                raise ValueError(f"unlike takes sounds apart, and the objective {name} needs them whole: choose one")
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
