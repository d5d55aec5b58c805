"""Contrastive agreement of two modalities: what belongs together is near, what does not is far."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["info_nce", "margin"]


def info_nce(sound_BD: Tensor, image_BD: Tensor, temperature: Tensor | float, labels_B: Tensor | None = None) -> Tensor:
    """Audio–visual consistency: symmetric InfoNCE over the pairs of a batch, in nats.

    Each sound must find its picture among those of the batch, and each picture its sound. Embeddings are compared by
    their cosine. Where labels are given, all items of one label belong together, and what is found is spread evenly
    over them; without, two sounds of one word would be told to be far from each other's pictures.

    Args:
        sound_BD: (B, D), any scale.
        image_BD: (B, D), any scale; row i belongs to row i of ``sound_BD``.
        temperature: Above 0; small is strict. 0.07 is usual; may be learned.
        labels_B: (B,) int64.

    Returns:
        A scalar ≥ 0; log B where nothing is told apart and there are no labels. Its floor with labels is the mean
        entropy of the even spread.

    Source:
        van den Oord, Li & Vinyals, *Representation Learning with Contrastive Predictive Coding*, 2018, equation 4, both
        ways as in Radford et al., *Learning Transferable Visual Models from Natural Language Supervision*, 2021, figure
        3; with labels Khosla et al., *Supervised Contrastive Learning*, 2020, equation 2.
    """
    cosines_BB = functional.normalize(sound_BD.float()) @ functional.normalize(image_BD.float()).T
    logits_BB = cosines_BB / temperature
    if labels_B is None:
        wanted_BB = torch.eye(len(logits_BB), device=logits_BB.device)
    else:
        together_BB = (labels_B[:, None] == labels_B).float()
        wanted_BB = together_BB / together_BB.sum(dim=1, keepdim=True)
    return 0.5 * (functional.cross_entropy(logits_BB, wanted_BB) + functional.cross_entropy(logits_BB.T, wanted_BB))


def margin(sound_BD: Tensor, image_BD: Tensor, together_B: Tensor, least: float = 1.0) -> Tensor:
    """Contrastive with a margin: y D² + (1 − y) max(0, m − D)², averaged over pairs.

    D is the Euclidean distance of a sound and a picture.

    Args:
        sound_BD: (B, D), any scale.
        image_BD: (B, D); row i is compared with row i of ``sound_BD``.
        together_B: (B,), y: 1 where they belong together, 0 where not.
        least: m > 0, the distance that strangers should keep.

    Returns:
        A scalar ≥ 0; 0 where pairs coincide and strangers are ``least`` apart.

    Source:
        Hadsell, Chopra & LeCun, *Dimensionality Reduction by Learning an Invariant Mapping*, 2006, equation 4, without
        its factor of ½.
    """
    squared_B = (sound_BD.float() - image_BD.float()).square().sum(dim=1)
    # The root has no gradient at 0, where strangers coincide: there the smallest distance stands in.
    distance_B = squared_B.clamp(min=1e-12).sqrt()
    apart_B = functional.relu(least - distance_B).square()
    return torch.where(together_B > 0.5, squared_B, apart_B).mean()
