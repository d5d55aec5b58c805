"""From the parts of a conditioning to what a pipeline of ``diffusers`` is given in place of a text.

Esser et al., *Scaling Rectified Flow Transformers for High-Resolution Image Synthesis*, 2024, section 4 and appendix
B.3; Podell et al., *SDXL*, 2023, section 2.1; the pipelines' ``encode_prompt``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError
from soundsight.texts.diffusion.families import Family

__all__ = ["Layout", "Told", "blend", "layout_of"]

CLIP_LENGTH, T5_LENGTH = 77, 256
# CLIP-L's share of the pooled vector: 768 of 2048 numbers.
_CLIP_L_SHARE = 768 / 2048


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What a pipeline is given.

    Attributes:
        tokens_BLD: Its ``prompt_embeds``.
        pooled_BP: Its ``pooled_prompt_embeds``; None where it has none.
    """

    tokens_BLD: Tensor
    pooled_BP: Tensor | None

    def rows(self, chosen: Sequence[int]) -> Told:
        """Some of the rows, each as often as it is named."""
        places = list(chosen)
        return Told(self.tokens_BLD[places], None if self.pooled_BP is None else self.pooled_BP[places])

    def followed_by(self, other: Told) -> Told:
        """These rows, then those of the other."""
        pooled = [each.pooled_BP for each in (self, other) if each.pooled_BP is not None]
        return Told(torch.cat([self.tokens_BLD, other.tokens_BLD]), torch.cat(pooled) if pooled else None)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one backbone wants its parts.

    Attributes:
        family: What it is called.
        widths: Part of a conditioning that it hears to the width of its tokens; none where it hears ``pooled`` alone
            and was taught beside one token of zeros.
        token_width: Width D of all tokens; those of the CLIPs stand side by side, and zeros fill the rest.
        pooled: Width P of its pooled vector; 0 where it hears none.
        pooled_whole: Width of one that holds it at its end: Stable Diffusion XL's is CLIP-G's part of version 3's.
    """

    family: str
    widths: Mapping[str, int]
    token_width: int
    pooled: int
    pooled_whole: int

    def check(self, said: Conditioning) -> None:
        """Refuse what this backbone cannot be told.

        Raises:
            ModelError: A size does not fit, a number is not finite, or nothing of it is heard.
        """
        for name, part in said.parts.items():
            if name == "pooled" and self.pooled:
                if part.shape[1] not in (self.pooled, self.pooled_whole):
                    raise ModelError(
                        f"the adapter's pooled embedding has {part.shape[1]} numbers and {self.family} here takes "
                        f"{self.pooled_whole}; choose an adapter that was trained for this backbone"
                    )
            elif name in self.widths:
                self._check_tokens(name, part)
            if not part.isfinite().all():
                raise ModelError(f"the adapter's {name} holds NaN or infinity; train it again, or choose another")
        heard = [*self.widths, *(["pooled"] if self.pooled else [])]
        if said.parts and not set(heard) & set(said.parts):
            raise ModelError(
                f"the adapter says {' and '.join(said.parts)}, and {self.family} hears {', '.join(heard)}; choose an "
                "adapter that was trained for this backbone"
            )

    def _check_tokens(self, name: str, part_BLD: Tensor) -> None:
        (_, length, width), longest = part_BLD.shape, T5_LENGTH if name == "t5" else CLIP_LENGTH
        if width != self.widths[name]:
            raise ModelError(
                f"the adapter's tokens of {name} are {width} wide and {self.family} here takes {self.widths[name]}; "
                "choose an adapter that was trained for this backbone"
            )
        if not 1 <= length <= longest:
            raise ModelError(f"the adapter says {length} tokens of {name}; {self.family} hears 1 to {longest}")

    def heard(self, said: Conditioning) -> Conditioning:
        """What is heard of it, tokens filled up with zeros to the length of a text's, ``pooled`` cut to what counts."""
        parts = {
            name: pad(part, (0, 0, 0, (T5_LENGTH if name == "t5" else CLIP_LENGTH) - part.shape[1]))
            for name, part in said.parts.items()
            if name in self.widths
        }
        if said.pooled is not None and self.pooled:
            parts["pooled"] = said.pooled[:, -self.pooled :]
        return Conditioning(**parts)

    def join(self, said: Conditioning, num: int, device: torch.device, dtype: torch.dtype) -> Told:
        """``num`` prompts as the pipeline takes them; what is not said is zeros.

        Args:
            said: As ``heard`` gives it; one row serves all, as do ``num``.
            num: Number of rows.
            device: Where the pipeline wants them.
            dtype: And in which precision.
        """

        def part_of(name: str, *shape: int) -> Tensor:
            part = said.parts.get(name, torch.zeros(1, *shape))
            return part.detach().to(device, dtype).expand(num, *part.shape[1:])

        clips = [part_of(name, CLIP_LENGTH, self.widths[name]) for name in ("clip_l", "clip_g") if name in self.widths]
        tokens_BLD = torch.cat(clips, dim=-1) if clips else part_of("", 1, self.token_width)
        if "t5" in self.widths:
            tokens_BLD = pad(tokens_BLD, (0, self.token_width - tokens_BLD.shape[-1]))
            tokens_BLD = torch.cat([tokens_BLD, part_of("t5", T5_LENGTH, self.token_width)], dim=-2)
        return Told(tokens_BLD, part_of("pooled", self.pooled) if self.pooled else None)


def layout_of(pipeline: Any, family: Family, name: str, *, is_ours: bool = False) -> Layout:
    """How a loaded pipeline wants its parts; of a text encoder that it lacks the width is derived.

    Args:
        pipeline: Of ``diffusers``.
        family: Which.
        name: What the user calls it.
        is_ours: Trained by ``training.backbone``, on ``pooled`` and one token of zeros. Zeros in the length of a text,
            which Stable Diffusion 3 was taught beside a missing encoder, would be 333 tokens in its attention's mean.

    Raises:
        ModelError: Its parts do not fit each other.
    """
    encoders = {part: getattr(pipeline, encoder, None) for encoder, part in family.parts.items()}
    own = {part: int(encoder.config.hidden_size) for part, encoder in encoders.items() if encoder is not None}
    if family.network == "transformer":
        config = pipeline.transformer.config
        pooled, width = config.pooled_projection_dim, config.joint_attention_dim
        # As published, a CLIP's tokens are as wide as its part of the pooled vector.
        clip_l = own.get("clip_l", round(pooled * _CLIP_L_SHARE))
        widths = {"clip_l": clip_l, "clip_g": own.get("clip_g", pooled - clip_l), "t5": own.get("t5", width)}
        fits = widths["clip_l"] + widths["clip_g"] <= width == widths["t5"]
        whole, widths = pooled, {} if is_ours else widths
    else:
        config, width = pipeline.unet.config, int(pipeline.unet.config.cross_attention_dim)
        pooled = 0
        if "clip_g" in encoders:  # beside the pooled vector, six sizes of the picture are added to the time
            pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        clip_g = own.get("clip_g", pooled)
        widths = {"clip_l": own.get("clip_l", width - clip_g), **({"clip_g": clip_g} if clip_g else {})}
        fits = sum(widths.values()) == width
        whole = pooled and widths["clip_l"] + pooled
    if not fits:
        raise ModelError(f"{name}: its text encoders say {widths}, and its {family.network} hears tokens {width} wide")
    return Layout(family.name, widths, width, pooled, whole)


def blend(sound: Conditioning, text: Conditioning, share: float) -> Conditioning:
    """Between what a sound and what a text says: where both say a part, ``share`` of it is the text's, in [0, 1].

    A part that only one of them says is that one's. Both have a text's length, or a row that serves all.
    """
    parts = {**text.parts, **sound.parts}
    if share > 0:  # at 0 the sound stays as it is to the bit
        for name in text.parts.keys() & sound.parts.keys():
            own = sound.parts[name].float()
            parts[name] = torch.lerp(own, text.parts[name].to(own), share)
    num = max((len(part) for part in parts.values()), default=0)
    return Conditioning(**{name: part.expand(num, *part.shape[1:]) for name, part in parts.items()})
