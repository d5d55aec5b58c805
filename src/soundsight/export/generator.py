"""A generator in PyTorch, with the interface of the one in ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundsight.errors import ModelError
from soundsight.folder import check_kind
from soundsight.training.weights import load_system

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
        self.folder, self._module = load_system(path)
        check_kind(self.folder, "generator")
        self.controls: frozenset[str] = frozenset(getattr(self._module, "controls", ()))
        self.listens = hasattr(self._module, "listen")

    def __call__(
        self, features_BFN: Float32, noise_BD: Float32, controls: Mapping[str, Float32] = MappingProxyType({})
    ) -> Float32:
        """Pictures (B, C, H, W) in [0, 1] of features (B, F, N) and noise (B, D); ``controls`` as for ``Generator``."""
        inputs = {name: torch.from_numpy(np.asarray(value)) for name, value in controls.items()}
        return self._run("generate", features_BFN, torch.from_numpy(noise_BD), **inputs)

    def listen(self, features_BFN: Float32, answer: Literal["heard", "painted"] = "heard") -> Float32:
        """What is heard, as ``Generator.listen`` says it."""
        return self._run("listen" if answer == "heard" else "decide", features_BFN)

    def invert(self, images_BCHW: Float32, num_steps: int = 50) -> Float32:
        """The noise that pictures come from, as ``Generator.invert`` says it."""
        raise ModelError(f"{self.folder.path}: a style needs model.onnx; make one: soundsight export")

    def _run(self, method: str, features_BFN: Float32, *inputs: Tensor, **more: Tensor) -> Float32:
        try:
            with torch.inference_mode():
                found: Tensor = getattr(self._module, method)(
                    torch.from_numpy(np.ascontiguousarray(features_BFN)), *inputs, **more
                )
        except RuntimeError as error:  # PyTorch's only class for a shape that does not fit
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.folder.path}: the features do not fit the network ({reason})") from error
        return found.numpy()
