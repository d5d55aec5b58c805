"""What makes pictures from a code, what tells real ones from them, and what hears them: parts of what paints scenes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Judge", "Space", "Teller", "Transposed", "Upsampling"]


class Transposed(nn.Module):
    """Code (B, D) → picture (B, C, S, S) in (-1, 1) by transposed convolutions 4×4 of stride 2, from one pixel on.

    Vuruma, *Generating Images from Audio*, 2025, with channels 256, 128, 64, 32, 16, 8, 4: batch norm and
    LeakyReLU(0.2) behind all but the last, tanh behind that. The side is 2 to the number of layers.

    Args:
        code_size: D.
        channels: Of all layers but the last.
        image_channels: C.
    """

    def __init__(self, code_size: int, channels: tuple[int, ...], image_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((code_size, *channels), (*channels, image_channels), strict=True):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers[:-2], nn.Tanh())

    def forward(self, code_BD: Tensor) -> Tensor:
        """Pictures (B, C, S, S) in (-1, 1)."""
        picture: Tensor = self.layers(code_BD[:, :, None, None])
        return picture


class Upsampling(nn.Module):
    """Code (B, D) → picture (B, C, S, S) in (-1, 1): larger by repeating pixels, then convolutions with a shortcut.

    A transposed convolution of 4×4 and stride 2 leaves a grain at every scale; repeating and convolving does not
    (Odena, Dumoulin & Olah, *Deconvolution and Checkerboard Artifacts*, 2016). The code also scales and shifts the
    channels of every size, so that it need not be carried through all of them (Karras et al., *A Style-Based Generator
    Architecture*, 2019, section 2).

    Args:
        code_size: D.
        width: Channels of the largest picture; each smaller size has twice as many, up to 256.
        size: S, a power of two from 16 on.
        image_channels: C.
    """

    def __init__(self, code_size: int, width: int, size: int, image_channels: int) -> None:
        super().__init__()
        num = int(math.log2(size)) - 2  # from 4 × 4
        widths = [min(256, width * 2 ** (num - i)) for i in range(num + 1)]
        self.start = nn.Linear(code_size, widths[0] * 16)
        self.stages = nn.ModuleList(_Stage(a, b, code_size) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], image_channels, 3, padding=1)

    def forward(self, code_BD: Tensor) -> Tensor:
        """Pictures (B, C, S, S) in (-1, 1)."""
        maps_BCHW = self.start(code_BD).unflatten(1, (-1, 4, 4))
        for stage in self.stages:
            maps_BCHW = stage(maps_BCHW, code_BD)
        return torch.tanh(self.last(functional.leaky_relu(maps_BCHW, 0.2)))


class _Stage(nn.Module):
    """Twice the size, (B, C, H, W) → (B, C', 2H, 2W)."""

    def __init__(self, before: int, after: int, code_size: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(before, affine=False), nn.BatchNorm2d(after, affine=False)])
        self.styles = nn.ModuleList([nn.Linear(code_size, 2 * before), nn.Linear(code_size, 2 * after)])
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, maps_BCHW: Tensor, code_BD: Tensor) -> Tensor:
        # The first convolution before the picture grows: a quarter of the work.
        hidden = self.first(self._style(0, maps_BCHW, code_BD))
        hidden = functional.interpolate(self._style(1, hidden, code_BD), scale_factor=2.0, mode="nearest")
        hidden = self.second(hidden)
        larger_BCHW: Tensor = hidden + functional.interpolate(
            self.shortcut(maps_BCHW), scale_factor=2.0, mode="nearest"
        )
        return larger_BCHW

    def _style(self, i: int, maps_BCHW: Tensor, code_BD: Tensor) -> Tensor:
        gain_BC, shift_BC = self.styles[i](code_BD)[:, :, None, None].chunk(2, dim=1)
        styled: Tensor = functional.leaky_relu(self.norms[i](maps_BCHW) * (1 + gain_BC) + shift_BC, 0.2)
        return styled


class Judge(nn.Module):
    """Picture (B, C, H, W) in [-1, 1] and what it should show (B, D) → an answer for each patch, (B, 1, H', W').

    Patches as in Isola et al., *Image-to-Image Translation with Conditional Adversarial Networks*, 2017, section 3.2.2;
    what it should show, a label or the code of a sound, is compared with what is seen as in Miyato & Koyama, *cGANs
    with Projection Discriminator*, 2018, equation 4.

    Args:
        image_channels: C.
        width: Channels of the first layer; each further one has twice as many, up to 256.
        num_layers: Each halves the picture.
        told_size: D.
        spectral: Bound the Lipschitz constant of every layer.
        num_labels: L, of the pictures that it also reads; 0 for a judge that does not.
    """

    def __init__(
        self, image_channels: int, width: int, num_layers: int, told_size: int, spectral: bool, num_labels: int = 0
    ) -> None:
        super().__init__()
        norm: Callable[[nn.Module], nn.Module] = spectral_norm if spectral else nn.Identity()
        widths = [min(256, width * 2**i) for i in range(num_layers)]
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(a, b, 4, stride=2, padding=1))
            for a, b in zip((image_channels, *widths), widths, strict=False)
        )
        self.look = norm(nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.listen = norm(nn.Linear(told_size, widths[-1]))
        self.label = nn.Linear(widths[-1], num_labels) if num_labels else None

    def forward(self, image_BCHW: Tensor, told_BD: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The answers (B, 1, H', W'), and the activations of every layer."""
        seen = []
        for layer in self.layers:
            image_BCHW = functional.leaky_relu(layer(image_BCHW), 0.2)
            seen.append(image_BCHW)
        fits_B1HW = (image_BCHW * self.listen(told_BD)[:, :, None, None]).sum(dim=1, keepdim=True)
        return self.look(image_BCHW) + fits_B1HW, seen

    def read(self, seen: list[Tensor]) -> Tensor:
        """Logits (B, L) of the label, from the activations of every layer."""
        assert self.label is not None
        logits_BL: Tensor = self.label(seen[-1].float().mean(dim=(2, 3)))
        return logits_BL


class Space(nn.Module):
    """The code of a sound (B, K) and a picture (B, C, S, S) → two embeddings (B, 64)."""

    def __init__(self, code_size: int, image_channels: int) -> None:
        super().__init__()
        self.of_code = nn.Linear(code_size, 64)
        self.of_image = nn.Sequential(
            nn.AdaptiveAvgPool2d(32),
            *(nn.Conv2d(image_channels, 32, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Flatten(), nn.Linear(64 * 8 * 8, 64)),
        )

    def forward(self, code_BK: Tensor, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings, of length 1."""
        embeddings = self.of_code(code_BK), self.of_image(image_BCHW)
        return tuple(functional.normalize(e.float()) for e in embeddings)  # type: ignore[return-value]


class Teller(nn.Module):
    """A picture (B, C, S, S) → the features of its sound (B, F, N)."""

    def __init__(self, image_channels: int, features_shape: tuple[int, int]) -> None:
        super().__init__()
        self.features_shape = features_shape
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(32),
            *(nn.Conv2d(image_channels, 32, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Flatten(), nn.Linear(64 * 8 * 8, features_shape[0] * features_shape[1])),
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """The features."""
        features_BFN: Tensor = self.layers(image_BCHW).unflatten(1, self.features_shape)
        return features_BFN
