"""A generator in PyTorch, with the interface of the one in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import ModelError
from soundsight.export.compare import torch_runner
from soundsight.export.weights import load_system
from soundsight.folder import check_kind

__all__ = ["TorchGenerator"]

Float32 = NDArray[np.float32]


class TorchGenerator:
    """The network of a model folder without ``model.onnx``; called like ``soundsight.generator.Generator``.

    Args:
        path: A folder with ``model.safetensors``.

    Raises:
        ModelError: The folder is damaged, or holds no generator.
    """

    def __init__(self, path: Path) -> None:
        self.folder, module = load_system(path)
        check_kind(self.folder, "generator")
        self._run = torch_runner(module)

    def __call__(self, features_BFN: Float32, noise_BD: Float32) -> Float32:
        """Pictures (B, C, H, W) in [0, 1] of features (B, F, N) and noise (B, D)."""
        inputs = {"features": np.ascontiguousarray(features_BFN)}
        if self.folder.latent_size:
            inputs["noise"] = noise_BD
        try:
            images_BCHW = self._run(inputs)[0]
        except RuntimeError as error:  # PyTorch's only class for a shape that does not fit
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.folder.path}: the features do not fit the network ({reason})") from error
        return images_BCHW
