"""An adapter of random weights, as its training leaves it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

import tiny_backbones
import tiny_clap
from soundsight import adapters, encoders
from soundsight.folder import ModelFolder, write_folder
from soundsight.manifest import NO_PICTURE

__all__ = ["options_of", "write_adapter"]


def write_adapter(path: Path, encoder: Any, *, pooled_size: int = tiny_backbones.POOLED, **facts: Any) -> Path:
    """A mapper of random weights, as its training leaves it."""
    torch.manual_seed(0)
    options = {"input_size": encoder.size, "pooled_size": pooled_size, "widths": [16], "dropouts": [0.3]}
    module = adapters.build("v2d_clap", options)
    folder = ModelFolder(
        path=path,
        name="toy",
        system="v2d_clap",
        kind="adapter",
        features={"name": encoder.name, "size": encoder.size, "identity": encoder.identity},
        latent_size=0,
        image=NO_PICTURE,
        labels=("dog", "rain"),
        model=module.config.model_dump(mode="json"),
        target={
            "name": "diffusion",
            "identity": None,
            "sizes": {"pooled": [pooled_size]},
            "template": "an image of {label}",
        },
    )
    folder = replace(folder, **facts)
    write_folder(folder, {"model.safetensors": save(module.state_dict())})
    return path


def options_of(folder: Path) -> dict[str, Path]:
    """A tiny encoder, adapter and backbone, as options of a command name them."""
    clap = tiny_clap.write(folder / "clap")
    return {
        "--model": write_adapter(folder / "toy", encoders.load("clap", clap)),
        "--encoder": clap,
        "--backbone": tiny_backbones.write(folder / "sd3", "sd3"),
    }
