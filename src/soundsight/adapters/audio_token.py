"""AudioToken: a sound becomes a few words that nobody wrote, in the middle of a written prompt.

Yariv et al., *AudioToken: Adaptation of Text-Conditioned Diffusion Models for Audio-to-Image Generation*, Interspeech
2023: an attentive pooling over a sound's tokens and an MLP give vectors in the space of a text encoder's input
embeddings, which take a place in «an image of …». The paper teaches them by the diffusion loss of the pictures; here
the frozen text encoder teaches them, by what it says of the class's own prompt, so that no picture is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from soundsight.adapters.mapper import Scale
from soundsight.conditioning import Conditioning

__all__ = ["Adapter", "Config", "Tell"]

Tell = Callable[[Tensor], Conditioning]
"""What a frozen text encoder says of a prompt with learned words (B, K, W) in it; gradients pass."""


class Config(BaseModel):
    """Options of the pooling and the MLP."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input_size: PositiveInt = 128
    """Width D of a token of the sound."""
    num_words: PositiveInt = 1
    """K, learned words in the prompt; one in the paper."""
    word_size: PositiveInt = 768
    """Width W of the text encoder's input embeddings: CLIP-L's."""
    word_length: Annotated[float, Field(gt=0)] = 0.4
    """Length of a word at the start, as of those that the text encoder knows: CLIP's are about 0.4 long."""
    width: PositiveInt = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    normalise: bool = False
    """Whether the training embeddings' mean and deviation are taken out of the inputs. Not in the paper."""


class Adapter(nn.Module):
    """Tokens of a sound → K words by attention → MLP → input embeddings of a text encoder.

    Args:
        config: Options.
        tell: What is said of a prompt with the words in it. Without it, ``words`` alone can be asked for.
    """

    hears: Literal["tokens"] = "tokens"

    def __init__(self, config: Config, tell: Tell | None = None) -> None:
        super().__init__()
        self.config, self.tell = config, tell
        self.inputs = Scale(config.input_size) if config.normalise else None
        self.enter = nn.Linear(config.input_size, config.width)
        # One learned question for each word.
        self.questions_KD = nn.Parameter(torch.randn(config.num_words, config.width) / config.width**0.5)
        self.speak = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, config.word_size),
        )
        self.scale = nn.Parameter(torch.tensor(config.word_length))

    @property
    def input_size(self) -> int:
        """Width D of the embeddings that it understands."""
        return self.config.input_size

    def fit(self, tokens_NLD: Tensor, pooled_ND: Tensor, wanted: Mapping[str, Tensor]) -> None:
        """Learn the scale of the training tokens, where the options ask for it."""
        if self.inputs is not None:
            self.inputs.fit(tokens_NLD.flatten(0, 1))

    def words(self, tokens_BLD: Tensor) -> Tensor:
        """Learned words (B, K, W), all of one learned length, for sounds of any number of tokens (B, L, D)."""
        x_BLD = tokens_BLD if self.inputs is None else self.inputs.remove(tokens_BLD)
        h_BLD = self.enter(x_BLD)
        near_BKL = self.questions_KD @ h_BLD.transpose(1, 2) / self.config.width**0.5
        heard_BKD = near_BKL.softmax(dim=-1) @ h_BLD
        return self.scale * nn.functional.normalize(self.speak(heard_BKD), dim=-1)

    def forward(self, tokens_BLD: Tensor, pooled_BD: Tensor) -> Conditioning:
        """What the text encoder says of the prompts with the words of B sounds in them.

        Args:
            tokens_BLD: (B, L, D), from a sound's start to its end.
            pooled_BD: (B, D), not listened to.
        """
        assert self.tell is not None, "a text encoder must tell what its words say"
        return self.tell(self.words(tokens_BLD))
