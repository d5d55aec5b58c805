"""MNIST: 60,000 + 10,000 handwritten digits, 28×28 grey, in four IDX files (LeCun, Cortes & Burges, 1998)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.check import Report, check_images, content_md5
from soundsight.datasets.info import DatasetInfo, RemoteFile, absent
from soundsight.datasets.types import ImageSet
from soundsight.errors import DatasetError

__all__ = ["INFO", "check", "load", "read_idx"]

_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)

# MD5 of the unpacked files: mirrors compress them differently.
_CONTENT_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

INFO = DatasetInfo(
    name="mnist",
    kind="image",
    title="MNIST database of handwritten digits",
    licence="CC BY-SA 3.0",
    attribution="Yann LeCun, Corinna Cortes and Christopher J. C. Burges",
    homepage="http://yann.lecun.com/exdb/mnist/",
    files=tuple(
        RemoteFile(
            path=f"{name}.gz",
            urls=tuple(f"{mirror}{name}.gz" for mirror in _MIRRORS),
            content_md5=md5,
            max_bytes=64 * 2**20,
            max_unpacked_bytes=64 * 2**20,
        )
        for name, md5 in _CONTENT_MD5.items()
    ),
    classes=tuple(str(digit) for digit in range(10)),
)

_SIDE = 28
_UINT8 = 0x08
# No IDX file that this package reads is near this; a forged header must not reserve the machine's memory.
_MAX_BYTES = 2**30


def load(folder: Path, *, train: bool) -> ImageSet:
    """Read the training or the test images.

    Args:
        folder: Folder with the IDX files, plain or ``.gz``.
        train: The 60,000 training images, else the 10,000 test images.

    Returns:
        Images (N, 1, 28, 28) uint8, ink 255 on black 0, with labels 0 to 9.

    Raises:
        DatasetError: A file is missing, damaged, or not what its name says.
    """
    part = "train" if train else "t10k"
    images_path = _find(Path(folder), f"{part}-images-idx3-ubyte")
    labels_path = _find(Path(folder), f"{part}-labels-idx1-ubyte")
    images = read_idx(images_path, num_dimensions=3)
    labels = read_idx(labels_path, num_dimensions=1)
    if images.shape[1:] != (_SIDE, _SIDE):
        raise DatasetError(f"{images_path}: images of {images.shape[1]}×{images.shape[2]}, expected {_SIDE}×{_SIDE}")
    if len(images) != len(labels):
        raise DatasetError(f"{images_path}: {len(images)} images, but {len(labels)} labels in {labels_path.name}")
    if len(labels) and labels.max() > 9:
        raise DatasetError(f"{labels_path}: label {labels.max()}, expected 0 to 9")
    return ImageSet(images.reshape(-1, 1, _SIDE, _SIDE), labels.astype(np.int64))


def check(folder: Path) -> Report:
    """Look at every byte: checksums of the unpacked files, then counts, damage and images that occur twice."""
    found = [_find(Path(folder), name) for name in _CONTENT_MD5]
    changed = []
    try:
        for path, md5 in zip(found, _CONTENT_MD5.values(), strict=True):
            if (came := content_md5(path)) != md5:
                changed.append(f"{path.name}: not the published file (MD5 of its content is {came}, not {md5})")
        parts = {"train": load(folder, train=True), "test": load(folder, train=False)}
    except DatasetError as error:
        return Report(INFO.name, INFO.kind, Path(folder), corrupt=(str(error),), problems=tuple(changed))
    return check_images(INFO, Path(folder), parts, problems=changed)


def read_idx(path: Path, *, num_dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip by its ``.gz``.

    Args:
        path: The file.
        num_dimensions: What its header must say.

    Returns:
        Array of the header's shape, uint8.

    Raises:
        DatasetError: Wrong magic number, type or dimensions; or more or fewer bytes than the header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _parse_idx(stream, path, num_dimensions)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _parse_idx(stream: BinaryIO, path: Path, num_dimensions: int) -> NDArray[np.uint8]:
    header = stream.read(4 + 4 * num_dimensions)
    wanted = bytes((0, 0, _UINT8, num_dimensions))
    if header[:4] != wanted:
        raise DatasetError(
            f"{path}: not an IDX file of {num_dimensions}-dimensional bytes: "
            f"starts with {header[:4].hex() or 'nothing'}, expected {wanted.hex()}"
        )
    if len(header) < 4 + 4 * num_dimensions:
        raise DatasetError(f"{path}: ends within its header")
    shape = [int(size) for size in np.frombuffer(header, ">u4", offset=4)]
    size = 1
    for length in shape:
        size *= length  # Python's own integers: the product of forged sizes cannot overflow
    if size > _MAX_BYTES:
        raise DatasetError(f"{path}: its header says {size} bytes, more than the limit of {_MAX_BYTES}")
    body = stream.read(size)
    if len(body) < size or stream.read(1):
        came = f"only {len(body)}" if len(body) < size else "more"
        raise DatasetError(f"{path}: its header says {size} bytes of data, but there are {came}")
    # A copy, since an array over `bytes` cannot be written to.
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


def _find(folder: Path, name: str) -> Path:
    """The file ``name`` or ``name.gz``; some mirrors write ``-idx3`` as ``.idx3``."""
    for candidate in (name, name.replace("-idx", ".idx")):
        for path in (folder / candidate, folder / f"{candidate}.gz"):
            if path.is_file():
                return path
    raise absent(INFO.name, folder, f"no {name}(.gz)")
