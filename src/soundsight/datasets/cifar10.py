"""CIFAR-10: 50,000 + 10,000 small photographs of ten classes, 32×32 in colour (Krizhevsky, 2009).

Two layouts are read: the official binary version, ``cifar-10-batches-bin/``; and one JPEG file for each image,
``{train,test}/{class}/{n}.jpg``, in folders or in ``train.tar`` and ``test.tar``, which are not unpacked. The official
version for Python is pickle, which can run any program when it is read, and is never read here.

About 3 % of the test images look nearly like a training image (Barz & Denzler, 2020, *Do we train on test data?*).
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.check import Report, check_images
from soundsight.datasets.info import DatasetInfo, RemoteFile, absent
from soundsight.datasets.types import ImageSet
from soundsight.errors import DatasetError

__all__ = ["INFO", "check", "is_here", "load"]

# The name of each file, and its content or where that is.
Files = Sequence[tuple[str, memoryview | Path]]

INFO = DatasetInfo(
    name="cifar10",
    kind="image",
    title="CIFAR-10",
    licence="none stated; to be cited as Krizhevsky (2009)",
    attribution="Alex Krizhevsky, Vinod Nair and Geoffrey Hinton",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    files=(
        RemoteFile(
            path="cifar-10-binary.tar.gz",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            # As stated on the homepage.
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            max_bytes=256 * 2**20,
            unpack=True,
            max_unpacked_bytes=256 * 2**20,
            max_unpacked_files=100,
        ),
    ),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)

_SIDE = 32
# One byte of label, then 1,024 of red, of green and of blue, row by row.
_RECORD_BYTES = 1 + 3 * _SIDE**2
_PER_CLASS = {"train": 5_000, "test": 1_000}
_BATCHES = {
    "train": tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("cifar-10-batches-bin/test_batch.bin",),
}
# What each layout needs; the official one, which nothing was lost of, first.
_LAYOUTS = ((*_BATCHES["train"], *_BATCHES["test"]), ("train.tar", "test.tar"), ("train", "test"))
# No file that belongs here is near these; a forged one must not take the machine's memory.
_MAX_BYTES = 2**30
_MAX_JPEG_BYTES = 2**20
# Images that a thread decodes before it asks for more.
_CHUNK = 500


def load(folder: Path, *, train: bool) -> ImageSet:
    """Read the training or the test images, in seconds: nothing is written, and no cache is kept.

    Args:
        folder: Folder with one of the layouts; the first that is complete is taken.
        train: The 50,000 training images, else the 10,000 test images.

    Returns:
        Images (N, 3, 32, 32) uint8 with labels 0 to 9, sorted by class, and within a class by the number of the file;
        those of the binary version in the order in which they come.

    Raises:
        DatasetError: A file is missing, damaged, or not what its name says.
    """
    folder, part = Path(folder), "train" if train else "test"
    layout = _layout(folder)
    if _BATCHES[part][0] in layout:
        return _read_batches([folder / name for name in _BATCHES[part]])
    if f"{part}.tar" in layout:
        return _decode(folder / f"{part}.tar", _in_tar(folder / f"{part}.tar"), part)
    paths = sorted((folder / part).glob("*/*"))
    return _decode(folder, [(path.relative_to(folder).as_posix(), path) for path in paths if path.is_file()], part)


def check(folder: Path) -> Report:
    """Decode every image, count them, and look for images that occur twice."""
    folder = Path(folder)
    _layout(folder)
    try:
        parts = {part: load(folder, train=part == "train") for part in _PER_CLASS}
    except DatasetError as error:
        return Report(INFO.name, INFO.kind, folder, corrupt=(str(error),))
    problems = [
        f"{part}: {count} images of {name}, expected {_PER_CLASS[part]}"
        for part, images in parts.items()
        for name, count in zip(INFO.classes, np.bincount(images.labels, minlength=10), strict=True)
        if count != _PER_CLASS[part]
    ]
    return check_images(INFO, folder, parts, problems=problems)


def is_here(folder: Path) -> bool:
    """Whether the files of one layout are there; what is in them is not looked at."""
    try:
        _layout(Path(folder))
    except DatasetError:
        return False
    return True


def _layout(folder: Path) -> tuple[str, ...]:
    """The names of the first complete layout; an error names what the first that was begun lacks."""
    for layout in _LAYOUTS:
        if all((folder / name).exists() for name in layout):
            return layout
    for layout in _LAYOUTS:
        lacking = [name for name in layout if not (folder / name).exists()]
        if len(lacking) < len(layout):
            raise absent(INFO.name, folder, f"no {lacking[0]}")
    raise absent(INFO.name, folder, "no images")


def _read_batches(paths: list[Path]) -> ImageSet:
    """The official binary version."""
    batches = []
    for path in paths:
        content = np.frombuffer(_read(path), np.uint8)
        if not len(content) or len(content) % _RECORD_BYTES:
            raise DatasetError(f"{path}: {len(content)} bytes, expected records of {_RECORD_BYTES}; is it cut short?")
        batches.append(content.reshape(-1, _RECORD_BYTES))
        if (label := batches[-1][:, 0].max()) >= len(INFO.classes):
            raise DatasetError(f"{path}: label {label}, expected 0 to {len(INFO.classes) - 1}")
    records = np.concatenate(batches)
    records = records[np.argsort(records[:, 0], kind="stable")]
    # Without the labels in between: what hashes or sums images expects them in one piece.
    images_NCHW = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, _SIDE, _SIDE)
    return ImageSet(images_NCHW, records[:, 0].astype(np.int64))


def _in_tar(path: Path) -> list[tuple[str, memoryview]]:
    """Names and contents of the plain files in a tar archive."""
    content = _read(path)
    view = memoryview(content)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            members = [member for member in tar if member.isreg() and not member.issparse()]
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DatasetError(f"{path}: not a tar archive, or damaged: {error}") from error
    return [(member.name, view[member.offset_data : member.offset_data + member.size]) for member in members]


def _decode(where: Path, files: Files, part: str) -> ImageSet:
    """Decode JPEG files on several threads, as Pillow lets go of the interpreter.

    Args:
        where: The archive or the folder, for messages.
        files: Those named ``{part}/{class}/{n}.jpg`` are images.
        part: ``train`` or ``test``.
    """
    rows = sorted(_places(where, files, part), key=lambda row: row[:2])
    if not rows:
        raise DatasetError(f"{where}: holds no {part}/{{class}}/{{n}}.jpg; get the data set again")
    for (label, number, *_), (*place, name, _) in pairwise(rows):
        if place == [label, number]:
            raise DatasetError(f"{where}: image {number} of {INFO.classes[label]} is there twice (again as {name})")
    images_NCHW = np.empty((len(rows), 3, _SIDE, _SIDE), np.uint8)

    def fill(start: int) -> None:
        for row in range(start, min(start + _CHUNK, len(rows))):
            *_, name, source = rows[row]
            images_NCHW[row] = _picture(where, name, source)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # A list, so that what a thread raised is raised here.
        list(pool.map(fill, range(0, len(rows), _CHUNK)))
    return ImageSet(images_NCHW, np.array([label for label, *_ in rows], np.int64))


def _places(where: Path, files: Files, part: str) -> Iterator[tuple[int, int, str, memoryview | Path]]:
    """Label, number, name and source of each JPEG file."""
    pattern = re.compile(rf"(?:\./)?{part}/({'|'.join(INFO.classes)})/(\d{{1,6}})\.jpg")
    for name, source in files:
        # Hidden files are what archivers and desktops leave behind ("._0000.jpg").
        if not name.endswith(".jpg") or name.rpartition("/")[2].startswith("."):
            continue
        match = pattern.fullmatch(name)
        if match is None:
            raise DatasetError(
                f"{where}: {name} is not named {part}/{{class}}/{{n}}.jpg with a class of CIFAR-10; leave it out"
            )
        yield INFO.classes.index(match[1]), int(match[2]), name, source


def _picture(where: Path, name: str, source: memoryview | Path) -> NDArray[np.uint8]:
    """(3, 32, 32) uint8."""
    from PIL import Image

    num_bytes = source.stat().st_size if isinstance(source, Path) else len(source)
    if num_bytes > _MAX_JPEG_BYTES:
        raise DatasetError(f"{where}: {name} has {num_bytes} bytes, expected a JPEG of {_SIDE}×{_SIDE}; is it another?")
    try:
        with Image.open(io.BytesIO(_read(source)), formats=("JPEG",)) as image:
            if image.size == (_SIDE, _SIDE) and image.mode == "RGB":
                return np.asarray(image).transpose(2, 0, 1)
            came = f"{image.width}×{image.height} {image.mode}"
    except Exception as error:  # decoders of damaged files raise whatever they come upon
        raise DatasetError(f"{where}: {name} is no JPEG, or a damaged one; get the data set again") from error
    raise DatasetError(f"{where}: {name} is {came}, expected {_SIDE}×{_SIDE} RGB")


def _read(source: memoryview | Path) -> bytes:
    if not isinstance(source, Path):
        return bytes(source)
    try:
        if (num_bytes := source.stat().st_size) > _MAX_BYTES:
            raise DatasetError(f"{source}: {num_bytes} bytes, more than the limit of {_MAX_BYTES}; get it again")
        return source.read_bytes()
    except OSError as error:
        raise DatasetError(f"{source}: cannot be read ({error.strerror})") from error
