"""Weights that somebody else trained, from files that may hold anything: safetensors, or NumPy's own archive."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from soundsight.encoders.array import parse_npy
from soundsight.errors import ModelError
from soundsight.folder import MAX_WEIGHT_BYTES

__all__ = ["read_pca", "read_tensors"]

Float32 = NDArray[np.float32]

MAX_HEADER_BYTES = 1 << 20
MAX_PCA_BYTES = 1 << 20  # 128×128 doubles and 128 more take 132 kB
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_PCA = ("pca_eigen_vectors", "pca_means")
# As the published PyTorch port names its post-processing.
_PREFIX = "pproc."


def read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], what: str
) -> tuple[dict[str, Tensor], dict[str, Float32]]:
    """The tensors of a network, and the PCA if it is in the same file.

    Args:
        path: A safetensors file.
        shapes: Name to shape of each tensor that must be there, and of no other but the PCA's.
        what: The network, as it is called in messages.

    Returns:
        Name to tensor, float32, on the CPU, copied; and what ``read_pca`` returns, empty if there is none.

    Raises:
        ModelError: No such file, no safetensors, or another network's; the message names the tensor.
    """
    _check_safetensors(path)
    tensors = _load(path, {*shapes, *(_PREFIX + name for name in _PCA)}, what)
    pca = {name: tensors.pop(_PREFIX + name) for name in _PCA if _PREFIX + name in tensors}
    for name in sorted(shapes.keys() - tensors.keys()):
        raise ModelError(f"{path}: lacks the tensor '{name}'; it is no {what}")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ModelError(f"{path}: tensor '{name}' is {tuple(tensor.shape)}; {what} has {shapes[name]} there")
    if not pca:
        return tensors, {}
    size = list(shapes.values())[-1][0]  # of the last layer's bias
    return tensors, _checked_pca(path, {name: tensor.numpy() for name, tensor in pca.items()}, size)


def read_pca(path: Path, size: int) -> dict[str, Float32]:
    """The PCA that AudioSet was published with.

    Args:
        path: AudioSet's ``vggish_pca_params.npz``, or the same two arrays as safetensors.
        size: Width D of the embeddings.

    Returns:
        ``pca_eigen_vectors`` (D, D), an eigenvector in each row, and ``pca_means`` (D,).

    Raises:
        ModelError: No such file, another format, or not these arrays.
    """
    if path.suffix.lower() == ".safetensors":
        _check_safetensors(path)
        tensors = _load(path, set(_PCA), "PCA of VGGish")
        return _checked_pca(path, {name: tensor.numpy() for name, tensor in tensors.items()}, size)
    _check_there(path, MAX_PCA_BYTES)
    if path.suffix.lower() != ".npz":
        raise ModelError(
            f"{path}: a PCA is read from AudioSet's vggish_pca_params.npz or from safetensors; get the former from "
            "https://storage.googleapis.com/audioset/vggish_pca_params.npz"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {item.filename.removesuffix(".npy"): item.file_size for item in archive.infolist()}
            if too_large := [name for name in _PCA if sizes.get(name, 0) > MAX_PCA_BYTES]:
                raise ModelError(f"{path}: the array '{too_large[0]}' is too large for a PCA of {size} numbers")
            arrays = {name: parse_npy(archive.read(f"{name}.npy")) for name in _PCA if name in sizes}
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    return _checked_pca(path, arrays, size)


def _check_there(path: Path, max_bytes: int) -> None:
    try:
        if not path.is_file():
            raise ModelError(
                f"{path}: {'a folder; weights are one file' if path.is_dir() else 'there is no such file'}"
            )
        if path.stat().st_size > max_bytes:
            raise ModelError(f"{path}: larger than {max_bytes >> 20:,} MiB, the most that is loaded")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def _check_safetensors(path: Path) -> None:
    """Refuse what is no safetensors file before anything of it is read into memory."""
    _check_there(path, MAX_WEIGHT_BYTES)
    if path.suffix.lower() != ".safetensors":
        raise ModelError(
            f"{path}: weights are read from safetensors alone; convert PyTorch's own once, by "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), {path.stem + '.safetensors'!r})"
        )
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if header_bytes > MAX_HEADER_BYTES:  # as the first bytes of other formats say
        raise ModelError(f"{path}: no safetensors, for all its name; PyTorch's own must be converted, not renamed")


def _load(path: Path, known: set[str], what: str) -> dict[str, Tensor]:
    """All tensors of a file as float32, if it has no others but the known ones."""
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name not in known:
                    raise ModelError(f"{path}: the tensor {name!r:.80} is not of {what}")
                tensor = file.get_tensor(name)
                if tensor.dtype not in _FLOATS:
                    raise ModelError(
                        f"{path}: tensor '{name}' holds {tensor.dtype}; expected floats of 16, 32 or 64 bits"
                    )
                # A copy: the file may change or vanish while the network is in use.
                tensors[name] = tensor.to(torch.float32, copy=True)
                if not tensors[name].isfinite().all():
                    raise ModelError(f"{path}: tensor '{name}' holds NaN or infinity")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    return tensors


def _checked_pca(path: Path, arrays: Mapping[str, NDArray[np.generic]], size: int) -> dict[str, Float32]:
    """The two arrays, once they are what they should be."""
    shapes: dict[str, list[tuple[int, ...]]] = {"pca_eigen_vectors": [(size, size)], "pca_means": [(size,), (size, 1)]}
    for name in _PCA:
        if name not in arrays:
            raise ModelError(f"{path}: lacks the array '{name}'; it is no PCA of VGGish")
        array = arrays[name]
        if array.shape not in shapes[name] or array.dtype.kind != "f":
            raise ModelError(
                f"{path}: array '{name}' is {array.shape} {array.dtype}; the PCA has {shapes[name][-1]} floats there"
            )
        if not np.isfinite(array).all():
            raise ModelError(f"{path}: array '{name}' holds NaN or infinity")
    vectors_DD, means_D = (np.array(arrays[name], np.float32) for name in _PCA)
    return {"pca_eigen_vectors": vectors_DD, "pca_means": means_D.reshape(size)}
