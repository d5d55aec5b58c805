"""Audio reconstruction: what was heard can be told again from the picture."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["cycle"]


def cycle(told_BFN: Tensor, features_BFN: Tensor) -> Tensor:
    """Mean |A(G(a)) − a| over all elements: the features that a second network reads from the picture of a sound.

    A picture of the mean of all sounds tells nothing; this asks for one that does. It does not ask for a picture that
    looks real: beside other terms only, or the network writes the sound into it.

    Args:
        told_BFN: (B, F, N), read from the generated pictures.
        features_BFN: (B, F, N), what they were made from.

    Returns:
        A scalar ≥ 0.

    Source:
        Zhu et al., *Unpaired Image-to-Image Translation Using Cycle-Consistent Adversarial Networks*, 2017, equation 2,
        one way round.
    """
    return functional.l1_loss(told_BFN.float(), features_BFN.float())
