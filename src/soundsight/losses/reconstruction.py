"""Reconstruction terms: how far a picture is from the real one, pixel by pixel, and minus its log-likelihood."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["bernoulli", "gaussian", "huber", "l1", "l2"]


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


def l1(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Mean |image − target| over all elements: its best constant is the median, so that edges stay sharper than L2's.

    Args:
        image_BCHW: Generated pictures, (B, C, H, W), any range.
        target_BCHW: Real ones of the same shape and range.

    Returns:
        A scalar ≥ 0, at most the range.

    Source:
        Isola et al., *Image-to-Image Translation with Conditional Adversarial Networks*, 2017, equation 3.
    """
    return functional.l1_loss(image_BCHW.float(), target_BCHW.float())


def l2(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Mean (image − target)² over all elements, its best constant the mean; arguments as for ``l1``.

    Returns:
        A scalar ≥ 0, at most the squared range.

    Source:
        The loss of Vuruma, *Generating Images from Audio*, 2025, there times the batch size.
    """
    return functional.mse_loss(image_BCHW.float(), target_BCHW.float())


def huber(image_BCHW: Tensor, target_BCHW: Tensor, delta: float = 0.1) -> Tensor:
    """Squared where the difference d is small, straight where it is large, averaged over all elements.

    ½ d² for |d| ≤ δ, else δ (|d| − ½ δ); arguments as for ``l1``.

    Args:
        image_BCHW: Generated pictures.
        target_BCHW: Real ones.
        delta: δ > 0, in the range of the pictures.

    Returns:
        A scalar ≥ 0.

    Source:
        Huber, *Robust Estimation of a Location Parameter*, 1964, section 2.
    """
    return functional.huber_loss(image_BCHW.float(), target_BCHW.float(), delta=delta)
