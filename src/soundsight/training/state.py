"""Checkpoints that survive a kill at any moment: written beside, then renamed; tensors as safetensors, no pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from soundsight.errors import ModelError, OutputError
from soundsight.training.average import Average

__all__ = ["load_state", "save_state"]

_FORMAT = 1
_FILE = "state.safetensors"


def save_state(
    folder: Path,
    module: nn.Module,
    average: Average | None,
    optimizers: dict[str, torch.optim.Optimizer],
    progress: dict[str, Any],
) -> None:
    """Write one file with weights, average, moments and progress; the previous one stays until it is complete.

    Raises:
        OutputError: The folder cannot be written, for example because the disk is full.
    """
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.module.state_dict().items()}
    for phase, optimizer in optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{phase}.{index}.{name}": value for name, value in moments.items()}
    metadata = {"format": str(_FORMAT), "progress": json.dumps(progress)}
    temporary = folder / f".{_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        _sync(temporary)
        temporary.replace(folder / _FILE)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot save the training state in {folder}: {error}") from error


def load_state(
    folder: Path,
    module: nn.Module,
    average: Average | None,
    optimizers: dict[str, torch.optim.Optimizer],
) -> dict[str, Any] | None:
    """Put a saved state into the objects given; returns its progress, or None when there is none.

    Raises:
        ModelError: The file is damaged, or belongs to another network or recipe.
    """
    path = folder / _FILE
    # Of a run that was killed while saving: our temporary file, and the one that safetensors writes on the way to it.
    for unfinished in [*folder.glob(f".{_FILE}.*"), *folder.glob(".tmp*")]:
        unfinished.unlink(missing_ok=True)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != str(_FORMAT):
            raise ModelError(
                f"{path} has training state format {metadata.get('format')}, this soundsight reads {_FORMAT}"
            )
        module.load_state_dict(_part(tensors, "model."))
        if average is not None:
            average.module.load_state_dict(_part(tensors, "average."))
        for phase, optimizer in optimizers.items():
            _load_moments(optimizer, _part(tensors, f"optimizer.{phase}."))
        saved = json.loads(metadata["progress"])
        progress: dict[str, Any] = saved | {"step": int(saved["step"]), "seconds": float(saved["seconds"])}
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, OSError) as error:
        # PyTorch's first line names the class alone; the second says what does not fit.
        detail = " ".join(" ".join(str(error).splitlines()[:2]).split())[:200]
        raise ModelError(f"{path} cannot be resumed: {detail}; train anew in another folder") from error
    return progress


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state["state"] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        # The fused update walks through memory: moments must lie as their weights do (channels last, for example).
        laid = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state["state"].setdefault(int(index), {})[name] = laid
    optimizer.load_state_dict(state)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
