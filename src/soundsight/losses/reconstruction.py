"""Reconstruction terms: minus the log-likelihood of a picture under the decoder's output."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["bernoulli", "gaussian"]


def bernoulli(logits_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
    """−log p(i|f) with a Bernoulli per pixel, summed over pixels and averaged over B, in nats.

    Args:
        logits_BCHW: Decoder output before the sigmoid, (B, C, H, W).
        image_BCHW: Target in [0, 1], same shape; grey values count as probabilities.

    Returns:
        A scalar, at least the summed entropy of the target.

    Source:
        First term of equation (3) of Żelaszczyk & Mańdziuk, 2021. The paper does not print the distribution nor
        whether pixels are summed; this is the reading of Kingma & Welling, 2014, appendix C.1.
    """
    loss = functional.binary_cross_entropy_with_logits(logits_BCHW.float(), image_BCHW.float(), reduction="sum")
    return loss / len(image_BCHW)


def gaussian(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """½ ‖target − image‖², summed over pixels and averaged over B: a Gaussian's −log p(i|f), its constant left out.

    Args:
        image_BCHW: Decoder output in [0, 1], (B, C, H, W).
        target_BCHW: Target in [0, 1], same shape.

    Returns:
        A scalar ≥ 0, 0 for equal pictures.

    Source:
        The other usual reading of the first term of equation (3) of Żelaszczyk & Mańdziuk, 2021, with unit variance.
    """
    return 0.5 * functional.mse_loss(image_BCHW.float(), target_BCHW.float(), reduction="sum") / len(target_BCHW)
