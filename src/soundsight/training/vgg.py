"""A VGG that somebody else trained, read from a safetensors file with torchvision's names; torchvision is not needed.

Simonyan & Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2015, table 1: convolutions
3×3, each with a ReLU (in the ``_bn`` variants with a batch norm between), in blocks with a max-pool 2×2 between them.
torchvision numbers all of these in one sequence, ``features.0``, ``features.1``, …, so that the numbers of those that
have weights tell where the others stand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from soundsight.errors import ModelError, RecipeError
from soundsight.folder import MAX_WEIGHT_BYTES
from soundsight.registry import unknown

__all__ = ["Vgg", "load_vgg"]

# What all VGGs of torchvision were trained with but VGG16_Weights.IMAGENET1K_FEATURES: mean and standard deviation of
# the red, green and blue of ImageNet's pictures in [0, 1] (documented at torchvision.models.VGG16_Weights).
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

MAX_HEADER_BYTES = 1 << 20  # VGG-19 with batch norms needs 12 kB
MAX_CHANNELS = 4096  # the largest VGG has 512
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
# What stands behind the features, as torchvision and as timm name it.
_REST = ("classifier.", "pre_logits.", "head.")
_NAME = re.compile(r"features\.(0|[1-9]\d{0,2})\.(weight|bias|running_mean|running_var|num_batches_tracked)")


class Vgg(nn.Module):
    """The features of a VGG up to the deepest layer that is wanted, frozen.

    Args:
        features: Convolutions, batch norms, ReLUs and max-pools in torchvision's order.
        layers: Names of the ReLUs whose activations are wanted, ``relu3_2`` behind the second convolution of the third
            block; none for the last of each of the first four blocks. Those are ``relu1_2``, ``relu2_2``, ``relu3_3``
            and ``relu4_3`` of VGG-16, which Johnson, Alahi & Fei-Fei, *Perceptual Losses for Real-Time Style Transfer*,
            2016, section 4.1, take.

    Raises:
        RecipeError: A layer is named twice, or the network has no such layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: nn.Sequential, layers: Sequence[str] = ()) -> None:
        super().__init__()
        known = _relus(features)
        if len(set(layers)) < len(layers):
            raise RecipeError("recipe key 'perceptual.layers' names a layer twice")
        for name in layers:
            if name not in known:
                raise RecipeError(f"recipe key 'perceptual.layers': {unknown('layers', name, list(known))}")
        last = [list(names)[-1] for _, names in groupby(known, key=lambda name: name.partition("_")[0])]
        self.places = {known[name] for name in layers or last[:4]}
        """Of the wanted layers, among ``features``."""
        self.features = nn.Sequential(*list(features)[: max(self.places) + 1])
        self.smallest = 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in self.features)
        """Side of the smallest pictures of which the deepest layer sees at least one place, in pixels."""
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])
        self.eval().requires_grad_(False)

    def layers_of(self, image_BCHW: Tensor) -> list[Tensor]:
        """Activations (B, D, H', W') of the wanted layers at pictures (B, 1 or 3, H, W) in [0, 1], from fine to coarse.

        Grey pictures are shown as colour pictures with three equal channels.
        """
        hidden = (image_BCHW - self.mean) / self.deviation  # (B, 3, H, W) of either
        layers = []
        for place, layer in enumerate(self.features):
            hidden = layer(hidden)
            if place in self.places:
                layers.append(hidden)
        return layers


def load_vgg(path: Path, layers: Sequence[str] = ()) -> tuple[Vgg, str]:
    """The VGG in a safetensors file, and the file's SHA-256.

    Args:
        path: The file: ``features.N.weight`` and ``.bias``, of any number of convolutions and channels. What classifies
            behind them is not read.
        layers: As for ``Vgg``.

    Raises:
        ModelError: No such file, no safetensors, or not the features of a VGG; the message names the tensor.
        RecipeError: A layer is named twice, or the network has no such layer.
    """
    _check_file(path)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if not name.startswith(_REST)]  # noqa: SIM118
            if foreign := [name for name in names if not _NAME.fullmatch(name)]:
                raise ModelError(f"{path}: the tensor {foreign[0]!r:.80} is of no VGG as torchvision names its tensors")
            # Batches are counted for training alone, and older files have no such tensor.
            tensors = {name: file.get_tensor(name) for name in names if not name.endswith("num_batches_tracked")}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    features = _build(path, tensors)
    _fill(path, features, tensors)
    return Vgg(features, layers), sha256


def _check_file(path: Path) -> None:
    """Refuse what is no safetensors file before anything of it is read into memory."""
    try:
        if not path.is_file():
            raise ModelError(f"{path}: there is no such file")
        if path.stat().st_size > MAX_WEIGHT_BYTES:
            raise ModelError(f"{path}: larger than {MAX_WEIGHT_BYTES >> 30} GiB, the most that is loaded")
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix.lower() != ".safetensors":
        raise ModelError(
            f"{path}: a VGG is read from safetensors alone; convert PyTorch's own once, by safetensors.torch.save_file("
            f"torch.load({path.name!r}, weights_only=True), {path.stem + '.safetensors'!r})"
        )
    if header_bytes > MAX_HEADER_BYTES:  # as the first bytes of other formats say
        raise ModelError(f"{path}: no safetensors, for all its name; PyTorch's own must be converted, not renamed")


def _build(path: Path, tensors: dict[str, Tensor]) -> nn.Sequential:
    """The layers that the numbers of the tensors imply, without memory for their weights."""
    numbers = {int(name.split(".")[1]) for name in tensors if name.endswith(".weight")}
    norms = {int(name.split(".")[1]) for name in tensors if ".running_" in name}
    layers: list[nn.Module] = []
    channels = 3
    for number in sorted(numbers - norms):
        name = f"features.{number}.weight"
        if layers and number == len(layers) + 1:
            layers.append(nn.MaxPool2d(2))
        if number != len(layers):
            expected = f"{len(layers)} or {len(layers) + 1}" if layers else "0"
            raise ModelError(f"{path}: '{name}' stands where a VGG has none: its next convolution is number {expected}")
        shape = tuple(tensors[name].shape)
        if shape[1:] != (channels, 3, 3) or not 1 <= shape[0] <= MAX_CHANNELS:
            raise ModelError(
                f"{path}: tensor '{name}' is {shape}; a VGG has (1 to {MAX_CHANNELS}, {channels}, 3, 3) there"
            )
        with torch.device("meta"):
            layers.append(nn.Conv2d(channels, shape[0], 3, padding=1))
            if norms:
                layers.append(nn.BatchNorm2d(shape[0]))
        layers.append(nn.ReLU())
        channels = shape[0]
    if not layers:
        raise ModelError(f"{path}: there is no 'features.0.weight' in it; expected a VGG as torchvision names it")
    return nn.Sequential(*layers)


def _fill(path: Path, features: nn.Sequential, tensors: dict[str, Tensor]) -> None:
    """Put the tensors into the layers, as float32, once they are exactly those that the layers have."""
    expected = {f"features.{key}": tensor for key, tensor in features.state_dict().items()}
    counts = {name: torch.tensor(0) for name in expected if name.endswith("num_batches_tracked")}
    for name in sorted(tensors.keys() ^ (expected.keys() - counts.keys())):
        fault = "lacks the tensor" if name in expected else "has a surplus tensor"
        raise ModelError(f"{path}: {fault} '{name}'; it is no VGG as torchvision names its tensors")
    filled = counts
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{path}: tensor '{name}' is {tuple(tensor.shape)}; a VGG has {tuple(expected[name].shape)} there"
            )
        if tensor.dtype not in _FLOATS:
            raise ModelError(f"{path}: tensor '{name}' holds {tensor.dtype}; expected floats of 16, 32 or 64 bits")
        # A copy: the file may change or vanish while the network is in use.
        filled[name] = tensor.to(torch.float32, copy=True)
        if not filled[name].isfinite().all():
            raise ModelError(f"{path}: tensor '{name}' holds NaN or infinity")
        if name.endswith("running_var") and filled[name].min() < 0:
            raise ModelError(f"{path}: tensor '{name}' holds a negative number; it is a variance")
    features.load_state_dict({name.removeprefix("features."): tensor for name, tensor in filled.items()}, assign=True)


def _relus(features: nn.Sequential) -> dict[str, int]:
    """Place of each ReLU among the features, by its name."""
    places, block, number = {}, 1, 0
    for place, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.ReLU):
            number += 1
            places[f"relu{block}_{number}"] = place
    return places
