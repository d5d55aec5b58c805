"""How far what an adapter says of a sound is from what a text encoder says of its prompt.

A part is (B, W), one vector for a prompt, or (B, L, W), a vector for each of its tokens. Cosines are taken of the W
numbers of a vector and averaged over the L tokens.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["combined", "cosine", "cosines", "info_nce", "mse"]


def mse(said: Tensor, wanted: Tensor) -> Tensor:
    """Mean (said − wanted)² over all elements.

    Args:
        said: (B, W) or (B, L, W), any scale.
        wanted: Of the same shape.

    Returns:
        A scalar ≥ 0. The best constant is the mean of the targets, which leaves their variance.

    Source:
        V2D, 2025: one of its two terms.
    """
    assert said.shape == wanted.shape
    return functional.mse_loss(said.float(), wanted.float())


def cosine(said: Tensor, wanted: Tensor) -> Tensor:
    """1 − cos(said, wanted), averaged over vectors; arguments as for ``mse``.

    Returns:
        A scalar from 0, all point the same way, to 2. Lengths do not matter; a vector of length 0 counts as 1.

    Source:
        V2D, 2025: the other term. It reports the cosine itself, which is 1 minus this.
    """
    assert said.shape == wanted.shape
    return 1 - functional.cosine_similarity(said.float(), wanted.float(), dim=-1).mean()


def combined(said: Tensor, wanted: Tensor, *, mse_weight: float = 0.3, cosine_weight: float = 0.7) -> Tensor:
    """``mse_weight`` · ``mse`` + ``cosine_weight`` · ``cosine``; arguments as for ``mse``.

    Returns:
        A scalar ≥ 0.

    Source:
        V2D, 2025, «combined loss of MSE and cosine»; its weights are not printed. Its numbers are of three kinds. The
        main model's (combined 0.225, MSE 0.31, cosine 0.81) fit 0.3 and 0.7 within their rounding, and not the plain
        sum, 0.50. Novelty 1's (0.9863, 0.5342, 0.5479) are the plain sum to the last digit. Novelties 2 and 3 (0.4360
        and 0.2311, cosine 0.5640 and 0.7689) are the cosine term alone, to the last digit. The default is the main
        model's.
    """
    return mse_weight * mse(said, wanted) + cosine_weight * cosine(said, wanted)


def info_nce(said: Tensor, prompts: Tensor, wanted_BC: Tensor, temperature: float, smoothing: float = 0.0) -> Tensor:
    """Which of all class prompts is meant: cross-entropy of softmax(cos(said, prompt) / temperature), in nats.

    Unlike InfoNCE within a batch, every class is told apart from all others at each step.

    Args:
        said: (B, W) or (B, L, W), any scale.
        prompts: (C, W) or (C, L, W), what the text encoder says of each class.
        wanted_BC: (B, C), shares of the classes; each row sums to 1. Sounds that were mixed have several.
        temperature: Above 0; small is strict.
        smoothing: Share of the wanted distribution that is spread over all classes, 0 to 1.

    Returns:
        A scalar ≥ 0; log C where nothing is told apart. As cosines are at most 1, it cannot fall below
        log(1 + (C − 1) exp(−2 / temperature)).

    Source:
        van den Oord, Li & Vinyals, *Representation Learning with Contrastive Predictive Coding*, 2018, equation 4, with
        the prompts as the set to choose from; as a classifier Radford et al., *Learning Transferable Visual Models from
        Natural Language Supervision*, 2021, section 3.1.2.
    """
    assert temperature > 0
    return functional.cross_entropy(cosines(said, prompts) / temperature, wanted_BC.float(), label_smoothing=smoothing)


def cosines(said: Tensor, prompts: Tensor) -> Tensor:
    """The cosine of each of B items with each of C prompts, averaged over tokens: (B, C) in [-1, 1].

    Args:
        said: (B, W) or (B, L, W), any scale.
        prompts: (C, W) or (C, L, W).
    """
    assert said.shape[1:] == prompts.shape[1:]
    num_tokens = said.shape[1] if said.ndim == 3 else 1
    said_BK, prompts_CK = (functional.normalize(part.float(), dim=-1).flatten(1) for part in (said, prompts))
    return said_BK @ prompts_CK.T / num_tokens
