"""What a text-to-image backbone is told in place of a text, in the parts in which text encoders give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Conditioning"]


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """Some or all of what the text encoders of a Stable Diffusion 3 say of B prompts; float, any scale.

    Attributes:
        pooled: (B, P), a whole prompt in one vector: for Stable Diffusion 3 CLIP-L's 768 numbers, then CLIP-G's 1280.
        clip_l: (B, L, 768), tokens of CLIP-L, the last hidden layer but one; L may be less than the encoder's 77.
        clip_g: (B, L, 1280), tokens of CLIP-G, likewise.
        t5: (B, L, 4096), tokens of T5.

    Smaller encoders of the same layout have other widths. A part that is None is not said: a backbone takes its own of
    an empty prompt, or zeros where it has no text encoder.

    Source:
        Esser et al., *Scaling Rectified Flow Transformers for High-Resolution Image Synthesis*, 2024, section 4 and
        appendix B.3: how the parts are joined.
    """

    pooled: Tensor | None = None
    clip_l: Tensor | None = None
    clip_g: Tensor | None = None
    t5: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = {len(part) for part in self.parts.values()}
        assert len(sizes) <= 1, f"parts of different numbers of prompts: {sizes}"
        assert all(part.ndim == (2 if name == "pooled" else 3) for name, part in self.parts.items())

    @property
    def parts(self) -> dict[str, Tensor]:
        """Those that are said, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: part for name, part in found.items() if part is not None}

    @classmethod
    def joined(cls, said: Sequence[Conditioning]) -> Conditioning:
        """Of all prompts, one after the other; each has the same parts, of the same length."""
        import torch

        return cls(**{name: torch.cat([each.parts[name] for each in said]) for name in said[0].parts})
