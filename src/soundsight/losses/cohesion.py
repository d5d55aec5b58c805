"""Frame-to-frame cohesion: pictures that follow each other change as the real ones do."""

from __future__ import annotations

from torch import Tensor

__all__ = ["cohesion"]


def cohesion(image_BSCHW: Tensor, target_BSCHW: Tensor) -> Tensor:
    """Mean |(xₛ₊₁ − xₛ) − (yₛ₊₁ − yₛ)|: the change from frame to frame, compared with the real change.

    Each frame alone may be near its target and the sequence still flicker; this sees the flicker alone: a constant
    added to all frames costs nothing.

    Args:
        image_BSCHW: Generated sequences, (B, S, C, H, W), S ≥ 2 in order of time.
        target_BSCHW: Real ones of the same shape.

    Returns:
        A scalar ≥ 0, at most twice the range.

    Raises:
        ValueError: There is no second frame.

    Source:
        Named as future work by Vuruma, *Generating Images from Audio*, 2025; the first-order term of temporal losses
        such as Mathieu, Couprie & LeCun, *Deep Multi-Scale Video Prediction Beyond Mean Square Error*, 2016, section
        3.3, in time in place of space.
    """
    if image_BSCHW.shape[1] < 2:
        raise ValueError(f"a sequence has at least 2 frames, not {image_BSCHW.shape[1]}")
    made = image_BSCHW[:, 1:].float() - image_BSCHW[:, :-1].float()
    real = target_BSCHW[:, 1:].float() - target_BSCHW[:, :-1].float()
    return (made - real).abs().mean()
