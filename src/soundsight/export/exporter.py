"""Load, convert, compare, save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from soundsight import audio, noise, registry
from soundsight.audio import Clip
from soundsight.config import DataConfig, explain
from soundsight.datasets.info import data_root
from soundsight.datasets.selection import images_of, pairs_of
from soundsight.datasets.sketch import sketch
from soundsight.errors import AudioError, DatasetError, ModelError, OutputError, RecipeError
from soundsight.export.compare import difference, milliseconds, onnx_runner, torch_runner
from soundsight.export.convert import to_onnx
from soundsight.files import replace_file
from soundsight.folder import ModelFolder, read_folder, write_folder
from soundsight.models.layers import count_parameters
from soundsight.training.loading import FrontEnd, front_end
from soundsight.training.weights import load_system

__all__ = ["HALF_TOLERANCE", "TOLERANCE", "ExportReport", "export"]

Float32 = NDArray[np.float32]

ONNX = "model.onnx"
TOLERANCE = 1e-4
"""Largest difference from PyTorch in a picture of [0, 1]; for other outputs, in units of their largest value."""
HALF_TOLERANCE = 0.01
"""The same with weights of 16 bits: two and a half of the 256 levels that a picture is saved in."""
_NUM_INPUTS = 64


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and how it compares with PyTorch.

    Attributes:
        path: The ONNX file.
        num_bytes: Its size.
        num_parameters: Of the parts that are exported.
        inputs: What both were run on.
        num_inputs: How many of them.
        max_difference: Largest absolute difference of an output over all batch sizes; see ``TOLERANCE``.
        allowed: What that may be.
        onnx_ms: Milliseconds per picture with ONNX Runtime, one by one.
        torch_ms: The same with PyTorch.
    """

    path: Path
    num_bytes: int
    num_parameters: int
    inputs: str
    num_inputs: int
    max_difference: float
    allowed: float
    onnx_ms: float
    torch_ms: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"path": str(self.path)}


def export(
    folder: str | Path,
    *,
    out: Path | None = None,
    sounds: Sequence[Path] | None = None,
    data: Path | None = None,
    half: bool = False,
) -> ExportReport:
    """Convert a model folder's PyTorch weights to ONNX, check the result, and save it.

    Args:
        folder: Model folder with ``model.safetensors``.
        out: Where to: a name that ends in ``.onnx`` for the file alone, else a folder that becomes a model folder
            without PyTorch weights. None adds ``model.onnx`` to ``folder`` and its hash to the config.
        sounds: Recordings to check on; None takes those of the data set that the model was trained on.
        data: Folder of the data sets; None is ``data_root()``.
        half: Store weights in 16 bits: half the size, as fast, and not quite the same pictures.

    Returns:
        What was written.

    Raises:
        ModelError: The folder is damaged, its tensors are not the system's or too large for 16 bits, or ONNX and
            PyTorch disagree.
        DatasetError: There is nothing real to check on.
        AudioError: One of ``sounds`` cannot be used.
        OutputError: The result cannot be written.
    """
    model, module = load_system(folder)
    inputs, what = _inputs(model, sounds, data_root() if data is None else data)
    try:
        contents = to_onnx(module, inputs, half=half)
    except ModelError as error:
        raise ModelError(f"{model.path}: {error}") from error
    allowed = HALF_TOLERANCE if half else TOLERANCE
    run_onnx, run_torch = onnx_runner(contents), torch_runner(module)
    gap = difference(run_onnx, run_torch, inputs)
    if not gap <= allowed:  # NaN included
        raise ModelError(f"{model.path}: ONNX and PyTorch differ by {gap:.2g} (allowed {allowed:g}); not saved")
    return ExportReport(
        path=_save(model, contents, out),
        num_bytes=len(contents),
        num_parameters=count_parameters(module, in_use=True),
        inputs=what,
        num_inputs=_NUM_INPUTS,
        max_difference=gap,
        allowed=allowed,
        onnx_ms=milliseconds(run_onnx, inputs),
        torch_ms=milliseconds(run_torch, inputs),
    )


def _inputs(model: ModelFolder, sounds: Sequence[Path] | None, root: Path) -> tuple[dict[str, Float32], str]:
    """Real inputs of a model, and what they are."""
    data = model.training.get("recipe", {}).get("data", {})
    inputs, what = {}, []
    if model.features is not None:
        inputs["features"], name = _features(model.path, model.features, sounds, data, root)
        what.append(name)
    if model.latent_size:
        inputs["noise"] = noise.draw(0, _NUM_INPUTS, model.latent_size)
    if model.kind != "generator":
        images_BCHW, name = _images(model, data, root)
        inputs["image"] = images_BCHW.astype(np.float32) / np.float32(255)
        what.append(name)
    return inputs, " and ".join(what)


def _images(model: ModelFolder, data: dict[str, Any], root: Path) -> tuple[NDArray[np.uint8], str]:
    """Real pictures (B, C, H, W), and what they are."""
    config = _data_config(model.path, data)
    if config.pairs is None:
        return images_of(config, root, train=False).images_NCHW[:_NUM_INPUTS], f"test images of {config.images}"
    pairs = pairs_of(config, root)
    images_BCHW = pairs.load_images(_evenly(len(pairs)), model.image.height)
    return sketch(images_BCHW) if config.target == "sketch" else images_BCHW, f"pictures of {config.pairs}"


def _evenly(num: int) -> NDArray[np.int64]:
    """Rows of ``num``, spread over them."""
    return np.linspace(0, num - 1, _NUM_INPUTS).round().astype(np.int64)


def _data_config(path: Path, data: dict[str, Any]) -> DataConfig:
    """What a model was trained on, as its folder says."""
    try:
        return DataConfig.model_validate(data)
    except ValidationError as error:
        raise ModelError(
            f"{path}: training.recipe in config.json: {explain(error, DataConfig, prefix='data')}"
        ) from error


def _recording(path: Path, front: FrontEnd) -> Clip:
    clip = audio.decode(path, sample_rate_hz=front.options.sample_rate_hz)
    try:
        return front.prepare(clip)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error


def _features(
    path: Path, features: dict[str, Any], sounds: Sequence[Path] | None, data: dict[str, Any], root: Path
) -> tuple[Float32, str]:
    """Features (B, F, N) of real recordings, and what these are."""
    try:
        front = front_end(features)
    except RecipeError as error:
        raise ModelError(f"{path}: {str(error).replace('in the recipe', 'in config.json')}") from error
    if sounds is not None:
        clips = [_recording(sound, front) for sound in sounds]
        what = "the recordings given"
    elif data.get("pairs"):
        pairs = pairs_of(_data_config(path, data), root)
        rows = _evenly(len(pairs))
        what = f"pairs of {data['pairs']}"
        if pairs.features_PFN is not None:
            return pairs.features_PFN[rows], what
        clips = pairs.load_sounds(rows, front.options.sample_rate_hz, front.prepare)
    else:
        what, clips = _recordings(data.get("sounds"), root, front)
    if not clips:
        raise DatasetError("export checks the result on real recordings, and none were given")
    return front.extract([clips[i % len(clips)] for i in range(_NUM_INPUTS)], front.options), what


def _recordings(name: str | None, root: Path, front: FrontEnd) -> tuple[str, list[audio.Clip]]:
    """Recordings of the data set that a model was trained on, spread over it."""
    hint = "name some to check the export on: --sounds FILE"
    if name is None:
        raise DatasetError(f"the model does not say what recordings it was trained on; {hint}")
    try:
        recordings = registry.find("datasets", name).load(root / name)
        rows = _evenly(len(recordings))
        rate_hz = front.options.sample_rate_hz
        return f"recordings of {name}", recordings.load(rows, sample_rate_hz=rate_hz, prepare=front.prepare)
    except DatasetError as error:
        raise DatasetError(f"{error}; or {hint}") from error


def _save(model: ModelFolder, contents: bytes, out: Path | None) -> Path:
    """Write the file where ``out`` says; returns its path."""
    if out is None:
        kept: dict[str, bytes | Path] = {name: model.path / name for name in model.weights}
        return write_folder(model, {**kept, ONNX: contents}).path / ONNX
    if out.suffix == ".onnx":
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            replace_file(out, contents)
        except OSError as error:
            raise OutputError(f"{out}: cannot be written ({error.strerror})") from error
        return out
    if (out / "config.json").exists() and read_folder(out, verify=False).weights.keys() - {ONNX}:
        raise OutputError(f"{out}: a model folder with other weights; choose a new folder")
    return write_folder(replace(model, path=out), {ONNX: contents}).path / ONNX
