"""Who looks at a written digit: is it a person's, and which digit is it?

A conditional discriminator (Miyato & Koyama, *cGANs with Projection Discriminator*, 2018, equation 3) and a classifier
(Odena, Olah & Shlens, *Conditional Image Synthesis with Auxiliary Classifier GANs*, 2017, section 3), which here learns
from real pictures alone: one that also learned from a writer's could come to terms with it.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Examiner"]

_HIDDEN = 128
_SLOPE = 0.2


class Examiner(nn.Module):
    """Pictures (B, 1, 28, 28) in [0, 1] → answers, each by convolutions of its own.

    Args:
        num_labels: L.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.looks, self.reads = _convolutions(), _convolutions()
        self.real = nn.Linear(_HIDDEN, 1)
        self.fitting = nn.Linear(num_labels, _HIDDEN, bias=False)
        self.label = nn.Linear(_HIDDEN, num_labels)

    def is_real(self, image_BCHW: Tensor, label_BL: Tensor) -> Tensor:
        """Logits (B,) of «a real picture of this label», for label distributions (B, L)."""
        seen_BH = self.looks(2 * image_BCHW - 1)
        fit_B = (self.fitting(label_BL) * seen_BH).sum(dim=1) / _HIDDEN**0.5
        logits_B: Tensor = (self.real(seen_BH)[:, 0] + fit_B).float()
        return logits_B

    def read(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B, L) of the labels."""
        logits_BL: Tensor = self.label(self.reads(2 * image_BCHW - 1)).float()
        return logits_BL


def _convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),  # (B, 32, 14, 14)
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),  # (B, 64, 7, 7)
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Flatten(),
        nn.Linear(64 * 7**2, _HIDDEN),
        nn.LeakyReLU(_SLOPE),
    )
