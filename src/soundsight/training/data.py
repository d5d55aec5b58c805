"""Training data as resident tensors: an epoch is a permutation, a batch a lookup; no worker, no copy of pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from soundsight.config import Augment
from soundsight.errors import RecipeError
from soundsight.training.system import System

__all__ = ["TrainingData", "check_shapes", "stream"]


_TENSORS = (
    *("images_NCHW", "labels_N", "features_RKFN", "sounds_P", "images_P"),
    *("outliers_OKFN", "next_P", "outlier_labels_O"),
)


def stream(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """A generator that depends on nothing but its arguments, so that a resumed run draws what it would have drawn."""
    key = int.from_bytes(purpose.encode()[:8].ljust(8, b"\0"), "little")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, key, index])))


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Pairs ready to be looked up.

    Attributes:
        images_NCHW: (N, C, H, W) uint8.
        labels_N: (N,) int64.
        features_RKFN: (R, K, F, N) float32, K versions of each recording; None where no sound is read.
        sounds_P: (P,) int64, recording of each pair; None where no sound is read.
        images_P: (P,) int64, image of each pair.
        outliers_OKFN: (O, K, F, N) float32, K versions of each sound that is none of the labels; None where there are
            none.
        augment: Masks drawn for each batch.
        silence: What is put in place of what is masked.
        latent_size: D of the noise.
        seed: Of everything drawn.
        facts: What is worth noting in the model's config.
        next_P: (P,) pair that follows each in its clip, itself where none does; None where nobody looks ahead.
        outlier_labels_O: (O,) int64, what they are, from 0; None where nobody knows or asks.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    features_RKFN: Tensor | None
    sounds_P: Tensor | None
    images_P: Tensor
    outliers_OKFN: Tensor | None
    augment: Augment
    silence: float
    latent_size: int
    seed: int
    facts: dict[str, Any]
    next_P: Tensor | None = None
    outlier_labels_O: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images_P)

    def to(self, device: torch.device) -> TrainingData:
        """The same data on another device."""
        moved = {name: value.to(device) for name in _TENSORS if (value := getattr(self, name)) is not None}
        return replace(self, **moved)

    def order(self, epoch: int) -> Tensor:
        """(P,) the pairs in the order of an epoch."""
        return torch.from_numpy(stream(self.seed, "order", epoch).permutation(len(self)))

    def batch(self, rows_B: Tensor, step: int) -> dict[str, Tensor]:
        """``image`` (B, C, H, W) in [0, 1] and ``label`` (B,); with sound ``features`` (B, F, N), ``noise`` (B, D) too.

        Where there are sounds that are none of the labels, ``outliers`` are a quarter as many, (B / 4, F, N), and
        ``outlier_labels`` (B / 4,) what they are, where that is known. For systems that look ahead, ``next_image`` and
        ``next_features`` are of the pair that follows in its clip.

        Args:
            rows_B: Pairs, on the CPU.
            step: Seeds what is drawn: versions of recordings, masks, noise.
        """
        device = self.images_NCHW.device
        rows_B = rows_B.to(device)
        images_B = self.images_P[rows_B]
        batch = {"image": self.images_NCHW[images_B].float() / 255, "label": self.labels_N[images_B]}
        if self.features_RKFN is None or self.sounds_P is None:
            return batch
        generator = torch.Generator().manual_seed(int(stream(self.seed, "batch", step).integers(2**63)))
        version_B = torch.randint(self.features_RKFN.shape[1], (len(rows_B),), generator=generator).to(device)
        features_BFN = self.features_RKFN[self.sounds_P[rows_B], version_B]
        batch["features"] = _mask(features_BFN, self.augment, self.silence, generator)
        batch["noise"] = torch.randn(len(rows_B), self.latent_size, generator=generator).to(device)
        if self.outliers_OKFN is not None:
            num, num_versions = self.outliers_OKFN.shape[:2]
            size = max(1, len(rows_B) // 4)
            which_B = torch.randint(num, (size,), generator=generator).to(device)
            version_B = torch.randint(num_versions, (size,), generator=generator).to(device)
            outliers_BFN = self.outliers_OKFN[which_B, version_B]
            batch["outliers"] = _mask(outliers_BFN, self.augment, self.silence, generator)
            if self.outlier_labels_O is not None:
                batch["outlier_labels"] = self.outlier_labels_O[which_B]
        if self.next_P is not None:
            next_B = self.next_P[rows_B]
            batch["next_image"] = self.images_NCHW[self.images_P[next_B]].float() / 255
            batch["next_features"] = self.features_RKFN[self.sounds_P[next_B], 0]
        return batch


def check_shapes(system: System, data: TrainingData) -> None:
    """Refuse data that the system cannot read.

    Raises:
        RecipeError: Pictures or features have another shape than the system's.
    """
    image_shape = tuple(data.images_NCHW.shape[1:])
    if image_shape != system.image_shape:
        raise RecipeError(f"the system makes pictures {system.image_shape}, the data set has {image_shape}")
    features_shape = None if data.features_RKFN is None else tuple(data.features_RKFN.shape[2:])
    if features_shape != system.features_shape:
        raise RecipeError(f"the system reads features {system.features_shape}, the recipe gives {features_shape}")
    known = int(getattr(system, "num_other_labels", 0))
    given = 0 if data.outlier_labels_O is None else int(data.outlier_labels_O.max()) + 1
    if known != given:
        raise RecipeError(
            f"'model.other_labels' is {known}, and 'data.others' gives sounds of {given} other classes; "
            + (f"set model.other_labels={given}" if given else "set data.others=true, or model.other_labels=0")
        )


def _mask(features_BFN: Tensor, config: Augment, silence: float, generator: torch.Generator) -> Tensor:
    """Silence one band of bins and one stretch of frames per item (SpecAugment, Park et al., 2019)."""
    num_items, num_bins, num_frames = features_BFN.shape
    for share, length, axis in ((config.frequency_mask, num_bins, 1), (config.time_mask, num_frames, 2)):
        if share:
            width_B1 = torch.rand(num_items, 1, generator=generator) * share * length
            start_B1 = torch.rand(num_items, 1, generator=generator) * (length - width_B1)
            places = torch.arange(length)[None]
            hidden = ((places >= start_B1) & (places < start_B1 + width_B1)).to(features_BFN.device)
            features_BFN = features_BFN.masked_fill(hidden.unsqueeze(3 - axis), silence)
    return features_BFN
