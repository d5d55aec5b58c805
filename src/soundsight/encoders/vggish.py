"""VGGish, as AudioSet was published with: 128 numbers for every 0.96 s of sound.

Hershey et al., *CNN Architectures for Large-Scale Audio Classification*, ICASSP 2017, and the code that AudioSet was
published with (github.com/tensorflow/models, research/audioset/vggish): VGG's configuration A without its last block,
on log-mel patches 96×64, with an embedding of 128 in place of the classifier. The tensors are named as in the PyTorch
port that is in wide use (github.com/harritaylor/torchvggish), whose weights are those of AudioSet: ``features.N`` are
the convolutions, ``embeddings.N`` the three layers behind them.

What was published differs in two places. AudioSet's code of 2017 and the PyTorch port have a ReLU behind the last
layer, AudioSet's code since 2020 has none; the port rounds to the nearest of 256 steps, AudioSet's code rounds down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsight.audio import Clip
from soundsight.encoders.embedding import Embedding, identity_of, pool
from soundsight.encoders.weights import read_pca, read_tensors
from soundsight.errors import ModelError
from soundsight.features import vggish

__all__ = ["SIZE", "Config", "Network", "Pca", "Vggish", "load", "quantised"]

Float32 = NDArray[np.float32]
Output = Literal["raw", "pca", "quantised"]
Rounding = Literal["nearest", "down"]
Precision = Literal["fp32", "bf16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

SIZE = 128
_CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")
_WIDTHS = (6 * 4 * 512, 4096, 4096, SIZE)  # 96×64 is 6×4 behind four pools
# The whitened embedding is clipped there, as published.
_LIMIT = 2.0
_STEPS = 255
# Patches at a time: 10 s of sound; the first layer's activations then take 16 MB.
_BLOCK_PATCHES = 10


@dataclass(frozen=True, slots=True)
class Config:
    """Options of VGGish.

    Attributes:
        output: What the network says (``raw``), that whitened by the published PCA and clipped to [-2, 2] (``pca``), or
            that in 256 steps (``quantised``), as AudioSet's and V2D's (2025) embeddings are.
        relu: Whether the embedding goes through a ReLU: in the PyTorch port and in AudioSet's code of 2017 it does.
        rounding: To the nearest step, as the PyTorch port does, or down, as AudioSet's code.
        precision: Of the network. With ``bf16`` it takes half of the time and memory where the CPU has instructions for
            it, and many times the time where it has not; embeddings then differ by some thousandths.
    """

    output: Output = "raw"
    relu: bool = True
    rounding: Rounding = "nearest"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for name, known in (("output", Output), ("rounding", Rounding), ("precision", Precision)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, not {getattr(self, name)!r:.60}")
        if not isinstance(self.relu, bool):
            raise ValueError(f"relu must be true or false, not {self.relu!r:.60}")  # noqa: TRY004


class Network(nn.Module):
    """Six convolutions and three linear layers, named as in the published PyTorch port.

    Args:
        relu: Whether the embedding itself goes through a ReLU.
    """

    def __init__(self, *, relu: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for channels in _CHANNELS:
            if isinstance(channels, int):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        linear = [nn.Linear(*sizes) for sizes in pairwise(_WIDTHS)]
        behind: list[nn.Module] = [nn.ReLU(), nn.ReLU(), nn.ReLU() if relu else nn.Identity()]
        self.embeddings = nn.Sequential(*(layer for pair in zip(linear, behind, strict=True) for layer in pair))

    def forward(self, mel_PNF: Tensor) -> Tensor:
        """Log-mel patches (P, 96, 64) to embeddings (P, 128)."""
        # Channels last is quicker on a CPU, and the order in which TensorFlow flattens: height, width, channels.
        hidden = self.features(mel_PNF[:, None].to(memory_format=torch.channels_last))  # (P, 512, 6, 4)
        embedding_PD: Tensor = self.embeddings(hidden.permute(0, 2, 3, 1).flatten(1))
        return embedding_PD


class Pca:
    """The published PCA, which whitens the embeddings, too.

    Args:
        vectors_DD: (128, 128) float32, an eigenvector in each row.
        means_D: (128,) float32.
    """

    def __init__(self, vectors_DD: Float32, means_D: Float32) -> None:
        self.vectors_DD, self.means_D = vectors_DD, means_D

    def apply(self, tokens_LD: Float32) -> Float32:
        """Embeddings (L, 128) to whitened ones (L, 128), clipped to [-2, 2]."""
        whitened_LD = (tokens_LD - self.means_D) @ self.vectors_DD.T
        return np.asarray(np.clip(whitened_LD, -_LIMIT, _LIMIT), np.float32)


def quantised(whitened_LD: Float32, rounding: Rounding) -> Float32:
    """Whitened embeddings (L, 128) in [-2, 2] to whole numbers in [0, 255], as AudioSet's embeddings were published.

    >>> quantised(np.array([[-2, 0, 2]], np.float32), "down").tolist()
    [[0.0, 127.0, 255.0]]
    """
    scaled_LD = (whitened_LD + _LIMIT) * (_STEPS / (2 * _LIMIT))
    # Halves go to the even neighbour, as in PyTorch.
    return np.asarray(np.rint(scaled_LD) if rounding == "nearest" else np.floor(scaled_LD), np.float32)


class Vggish:
    """VGGish with its weights: one token for each 0.96 s, and their mean for the whole sound.

    Frames lie wholly within a clip, so a token needs 0.975 s of it, and what is left at the end is not heard. A clip
    too short for one token is filled up with zeros at its end (``features.vggish.patches``).

    Args:
        network: With its weights, and the ReLU that the options say; it is taken over.
        pca: The published PCA; needed for all outputs but ``raw``.
        config: Options.

    Raises:
        ModelError: The output needs a PCA, and there is none.
    """

    name = "vggish"
    size = SIZE
    sample_rate_hz = vggish.Config().sample_rate_hz

    def __init__(self, network: Network, pca: Pca | None = None, config: Config | None = None) -> None:
        self._config = config = Config() if config is None else config
        self._pca = None if config.output == "raw" else pca
        if config.output != "raw" and pca is None:
            raise ModelError(
                f"VGGish: the output '{config.output}' needs the PCA that AudioSet was published with; "
                "name its vggish_pca_params.npz in the option 'pca', or choose the output 'raw'"
            )
        arrays = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
        if self._pca is not None:
            arrays |= {"pca_eigen_vectors": self._pca.vectors_DD, "pca_means": self._pca.means_D}
        self.identity = identity_of({"encoder": self.name, **asdict(config)}, arrays)
        self._network = network.eval().requires_grad_(False).to(_DTYPES[config.precision])
        self._network.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, clips: Sequence[Clip]) -> list[Embedding]:
        """An embedding of each clip at 16,000 Hz, nominally in [-1, 1]: tokens (L, 128) and their mean.

        Raises:
            ModelError: The weights give numbers that are not finite.
        """
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Clip) -> Embedding:
        mel_PNF = torch.from_numpy(vggish.patches(clip, vggish.Config()).copy())  # what comes may be a view
        mel_PNF = mel_PNF.to(_DTYPES[self._config.precision])
        with torch.inference_mode():
            embeddings = [self._network(block) for block in torch.split(mel_PNF, _BLOCK_PATCHES)]
        tokens_LD = torch.cat(embeddings).float().numpy()
        if not np.isfinite(tokens_LD).all():
            raise ModelError("VGGish: its weights make no finite numbers of this sound; are they the right ones?")
        if self._pca is not None:
            tokens_LD = self._pca.apply(tokens_LD)
        if self._config.output == "quantised":
            tokens_LD = quantised(tokens_LD, self._config.rounding)
        return Embedding(tokens_LD, pool(tokens_LD))


def load(weights: str | Path, *, pca: str | Path | None = None, **options: Any) -> Vggish:
    """VGGish with the weights in a safetensors file.

    Args:
        weights: The file: the tensors of the published PyTorch port, by their names.
        pca: AudioSet's ``vggish_pca_params.npz``, or a safetensors file with its two arrays; unless ``weights`` holds
            them, as ``pproc.pca_eigen_vectors`` and ``pproc.pca_means``.
        options: Of ``Config``.

    Raises:
        ModelError: A file is absent, no safetensors, or not VGGish; the message names the tensor.
        ValueError: An option that does not fit.
    """
    config = Config(**options)
    path = Path(weights)
    with torch.device("meta"):
        network = Network(relu=config.relu)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors, arrays = read_tensors(path, shapes, "VGGish as torchvggish names it")
    network.load_state_dict(tensors, assign=True)
    if pca is not None:
        arrays = read_pca(Path(pca), SIZE)
    return Vggish(network, Pca(arrays["pca_eigen_vectors"], arrays["pca_means"]) if arrays else None, config)
