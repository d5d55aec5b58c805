"""What draws and what judges, from ONNX or from PyTorch weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np
from numpy.typing import NDArray

from soundsight.alignment import Alignment
from soundsight.errors import ModelError, UnknownNameError
from soundsight.folder import ModelFolder, check_kind, read_folder, resolve, verify_weights
from soundsight.generator import WEIGHTS, Generator, open_session
from soundsight.pipeline import AudioToImage

__all__ = [
    "Judge",
    "Viewer",
    "draw_pictures",
    "engine",
    "find_judge",
    "load_alignment",
    "load_judge",
    "load_pipeline",
    "load_reader",
    "load_space",
    "load_viewer",
]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Judge = Callable[[UInt8], tuple[Float32, Float32]]
"""Pictures (B, C, H, W) uint8 to logits (B, L) and the features that they are made of (B, D)."""
Viewer = Callable[[UInt8], Float32]
"""Pictures (B, C, H, W) uint8 to features (B, D)."""

_BATCH = 250


def engine(model: ModelFolder) -> str:
    """What runs a model, with its version."""
    name = "onnxruntime" if WEIGHTS in model.weights else "torch"
    return f"{name} {version(name)}"


def load_pipeline(model: ModelFolder) -> AudioToImage:
    """The pipeline of a generator: ONNX where the folder has it, else PyTorch.

    Raises:
        ModelError: The folder holds no generator that runs.
        MissingExtraError: It holds PyTorch weights only, and PyTorch is not installed.
    """
    if WEIGHTS in model.weights:
        return AudioToImage(Generator(model))
    from soundsight.errors import require

    require("torch", "train", f"{model.path} has no {WEIGHTS}, and evaluation with PyTorch weights")
    from soundsight.export.generator import TorchGenerator

    # Called in the same way; the pipeline asks for no more than that.
    return AudioToImage(cast(Generator, TorchGenerator(model.path)))


def draw_pictures(
    pipe: AudioToImage,
    features_RFN: Float32,
    rows_P: NDArray[np.int64],
    noise_PD: Float32,
    inputs: Mapping[str, Float32] = MappingProxyType({}),
) -> Iterator[UInt8]:
    """Pictures of P pairs, in order, in batches: (B, C, H, W) uint8, the levels that a file would keep.

    Args:
        pipe: The model.
        features_RFN: Features of the recordings.
        rows_P: Recording of each pair.
        noise_PD: Noise of each pair.
        inputs: Of the network's controls.
    """

    def draw(start: int) -> UInt8:
        rows = rows_P[start : start + _BATCH]
        images_BCHW = pipe.generator(features_RFN[rows], noise_PD[start : start + _BATCH], inputs)
        return (images_BCHW * np.float32(255) + np.float32(0.5)).astype(np.uint8)

    # ONNX Runtime lets go of the interpreter's lock; PyTorch brings its own threads.
    workers = (os.cpu_count() or 1) if type(pipe.generator) is Generator else 1
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(draw, range(0, len(rows_P), _BATCH))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def load_judge(
    name_or_folder: str | Path, num_labels: int, image_shape: tuple[int, int, int]
) -> tuple[ModelFolder, Judge]:
    """A classifier of pictures.

    Raises:
        UnknownNameError: There is no such model.
        ModelError: It is no judge, or it judges other pictures or other labels.
    """
    model = find_judge(name_or_folder)
    shape = _shape(model)
    if shape != image_shape:
        raise ModelError(f"the judge {model.path} reads pictures of {shape}, the model makes {image_shape}")
    if len(model.labels or ()) != num_labels:
        raise ModelError(
            f"the judge {model.path} knows {len(model.labels or ())} labels, the model's data {num_labels}"
        )
    return model, _run(model)


def load_reader(name_or_folder: str | Path, image_shape: tuple[int, int, int]) -> tuple[ModelFolder, Judge]:
    """A judge, whatever its labels; it sees pictures that are a whole number of times too large small.

    Raises:
        UnknownNameError: There is no such model.
        ModelError: It is no judge, or such pictures do not become those that it reads.
    """
    model = find_judge(name_or_folder)
    shrink = _shrinker(_shape(model), image_shape, f"the judge {model.path} reads")
    run = _run(model)
    return model, lambda images_BCHW: run(shrink(images_BCHW))


def _shrinker(shape: tuple[int, int, int], image_shape: tuple[int, int, int], who: str) -> Callable[[UInt8], UInt8]:
    """From pictures to those of a shape that is a whole number of times smaller, by means of blocks of pixels."""
    channels, height, width = shape
    factor = max(1, image_shape[1] // height)
    if (channels, factor * height, factor * width) != image_shape:
        raise ModelError(
            f"{who} pictures of {shape}, these are {image_shape}; others must have as many channels, and sides that "
            "are the same whole number of times as long"
        )

    def shrink(images_BCHW: UInt8) -> UInt8:
        blocks = images_BCHW.reshape(len(images_BCHW), channels, height, factor, width, factor)
        small_BCHW: UInt8 = np.rint(blocks.mean(axis=(3, 5))).astype(np.uint8)
        return small_BCHW

    return shrink


def load_viewer(name_or_folder: str | Path, image_shape: tuple[int, int, int]) -> tuple[ModelFolder, Viewer]:
    """The features of a judge; arguments and errors as for ``load_reader``."""
    model, read = load_reader(name_or_folder, image_shape)

    def view(images_BCHW: UInt8) -> Float32:
        features_BD = read(images_BCHW)[1]
        if not np.isfinite(features_BD).all():
            raise ModelError(f"{model.path}: the judge's features hold NaN or infinity")
        return features_BD

    return model, view


def load_alignment(name_or_folder: str | Path | None, image_shape: tuple[int, int, int]) -> Alignment | None:
    """A space of sounds and pictures; None for None, or for pictures of another shape than it knows.

    Raises:
        UnknownNameError, ModelError: There is no such model, or it is no alignment.
    """
    if name_or_folder is None:
        return None
    space = Alignment.from_pretrained(name_or_folder, threads=os.cpu_count() or 1)
    return space if _shape(space.folder) == image_shape else None


def load_space(name_or_folder: str | Path, image_shape: tuple[int, int, int]) -> tuple[Alignment, Viewer]:
    """A space of sounds and pictures, and the places in it of pictures, which may be a whole number of times too large.

    Raises:
        UnknownNameError, ModelError: There is no such model, it is no alignment, or knows other pictures.
    """
    space = Alignment.from_pretrained(name_or_folder, threads=os.cpu_count() or 1)
    shrink = _shrinker(_shape(space.folder), image_shape, f"the alignment {space.folder.path} sees")
    return space, lambda images_BCHW: space.embed_images(shrink(images_BCHW).astype(np.float32) / np.float32(255))


def find_judge(name_or_folder: str | Path) -> ModelFolder:
    """A judge's folder, its weights unread.

    Raises:
        UnknownNameError: There is no such model.
        ModelError: It is no judge.
    """
    try:
        folder = resolve(name_or_folder)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"no judge '{name_or_folder}'; train one with 'soundsight train lenet5' and name its folder with --judge"
        ) from error
    model = read_folder(folder, verify=False)
    check_kind(model, "judge")
    return model


def _shape(model: ModelFolder) -> tuple[int, int, int]:
    return model.image.channels, model.image.height, model.image.width


def _run(model: ModelFolder) -> Judge:
    return _run_onnx(model) if WEIGHTS in model.weights else _run_torch(model)


def _run_onnx(model: ModelFolder) -> Judge:
    verify_weights(model, [WEIGHTS])
    session = open_session(model, os.cpu_count() or 1)

    def judge(images_BCHW: UInt8) -> tuple[Float32, Float32]:
        batches = np.split(images_BCHW, range(_BATCH, len(images_BCHW), _BATCH))
        try:
            answers = [
                session.run(["logits", "features"], {"image": batch.astype(np.float32) / np.float32(255)})
                for batch in batches
            ]
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{model.path}: {WEIGHTS} cannot be run as a judge ({reason})") from error
        logits_BL, features_BD = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        return logits_BL, features_BD

    return judge


def _run_torch(model: ModelFolder) -> Judge:
    from soundsight.errors import require

    require("torch", "train", f"the judge {model.path} has no {WEIGHTS}, and PyTorch weights")
    from soundsight.export.compare import torch_runner
    from soundsight.training.weights import load_system

    run = torch_runner(load_system(model.path)[1])

    def judge(images_BCHW: UInt8) -> tuple[Float32, Float32]:
        logits_BL, features_BD = run({"image": images_BCHW.astype(np.float32) / np.float32(255)})
        return logits_BL, features_BD

    return judge
