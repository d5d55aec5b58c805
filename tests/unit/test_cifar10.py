"""CIFAR-10 in its layouts: files made by the formats' descriptions, the real images, and damage."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from file_server import Served, serve
from sample_data import cifar10_bytes, write_cifar10
from soundsight.datasets import cifar10
from soundsight.datasets.download import fetch
from soundsight.errors import DatasetError

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def jpeg(colour: tuple[int, int, int] = (0, 0, 0), size: tuple[int, int] = (32, 32), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def colour_of(label: int, number: int) -> tuple[int, int, int]:
    """One for each image of the samples, far enough apart for JPEG."""
    return 20 * label + 30, 200 - 20 * label, 60 * number + 20


def sample(part: str, per_class: int) -> dict[str, bytes]:
    """Names and contents of a part."""
    return {
        f"{part}/{name}/{number:04}.jpg": jpeg(colour_of(label, number))
        for label, name in enumerate(CLASSES)
        for number in range(per_class)
    }


def write_folders(folder: Path, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def write_tar(path: Path, files: dict[str, bytes], *, seed: int = 0) -> None:
    """An archive whose members come in any order."""
    names = np.random.default_rng(seed).permutation(list(files)).tolist()
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))


def write_both(folder: Path, *, packed: bool, change: Callable[[dict[str, bytes]], None] = lambda _: None) -> None:
    """Three training images and one test image of each class; ``change`` damages the training part."""
    train, test = sample("train", 3), sample("test", 1)
    change(train)
    if packed:
        write_tar(folder / "train.tar", train)
        write_tar(folder / "test.tar", test)
    else:
        write_folders(folder, train | test)


@pytest.mark.parametrize("packed", [True, False])
def test_jpeg_files_come_by_class_and_number_with_red_first(tmp_path, packed):
    write_both(tmp_path, packed=packed)
    for train, per_class in ((True, 3), (False, 1)):
        images = cifar10.load(tmp_path, train=train)
        assert images.images_NCHW.shape == (10 * per_class, 3, 32, 32)
        assert images.labels.tolist() == np.repeat(np.arange(10), per_class).tolist()
        expected = np.array([colour_of(label, number) for label in range(10) for number in range(per_class)])
        # One colour all over: JPEG changes it by rounding alone.
        gap = images.images_NCHW.astype(int) - expected[:, :, None, None]
        assert np.abs(gap).max() <= 4


def test_ten_comes_after_nine(tmp_path):
    files = {f"train/cat/{number}.jpg": jpeg((20 * number, 0, 0)) for number in (10, 9, 2)}
    write_tar(tmp_path / "train.tar", files)
    write_tar(tmp_path / "test.tar", sample("test", 1))
    reds = cifar10.load(tmp_path, train=True).images_NCHW[:, 0].mean(axis=(1, 2))
    assert reds.tolist() == sorted(reds.tolist())


def test_the_order_in_the_archive_does_not_matter_nor_how_it_is_packed(tmp_path):
    seen = []
    for seed in (0, 1):
        write_tar(tmp_path / "train.tar", sample("train", 3), seed=seed)
        write_tar(tmp_path / "test.tar", sample("test", 1), seed=seed)
        seen.append(cifar10.load(tmp_path, train=True))
    write_folders(tmp_path / "folders", sample("train", 3) | sample("test", 1))
    seen.append(cifar10.load(tmp_path / "folders", train=True))
    for other in seen[1:]:
        np.testing.assert_array_equal(seen[0].images_NCHW, other.images_NCHW)
        np.testing.assert_array_equal(seen[0].labels, other.labels)


def test_the_binary_version_is_read_byte_for_byte(tmp_path):
    written = write_cifar10(tmp_path)
    for part, (labels, pictures) in written.items():
        images = cifar10.load(tmp_path, train=part == "train")
        for label in range(10):
            # In the order in which the files have them, over all batches.
            np.testing.assert_array_equal(images.images_NCHW[images.labels == label], pictures[labels == label])
        assert (np.diff(images.labels) >= 0).all()
        assert len(images) == len(labels)


def test_a_complete_layout_is_taken_before_one_that_was_begun(tmp_path):
    write_both(tmp_path, packed=True)
    (tmp_path / "cifar-10-batches-bin").mkdir()
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin"
    batch.write_bytes(cifar10_bytes([0], np.zeros((1, 3, 32, 32), np.uint8)))
    assert len(cifar10.load(tmp_path, train=True)) == 30
    assert cifar10.is_here(tmp_path)
    (tmp_path / "test.tar").unlink()
    assert not cifar10.is_here(tmp_path)
    with pytest.raises(DatasetError, match=r"no cifar-10-batches-bin/data_batch_2\.bin .*prepare cifar10"):
        cifar10.load(tmp_path, train=True)
    batch.unlink()
    with pytest.raises(DatasetError, match=r"no test\.tar"):
        cifar10.load(tmp_path, train=True)
    write_cifar10(tmp_path)
    assert len(cifar10.load(tmp_path, train=True)) == 100, "the official version goes first"


def test_nothing_is_written(tmp_path):
    write_both(tmp_path, packed=True)
    before = sorted(tmp_path.rglob("*"))
    cifar10.load(tmp_path, train=True)
    assert sorted(tmp_path.rglob("*")) == before


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_the_version_for_python_is_never_read(tmp_path):
    folder = tmp_path / "set" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    with pytest.raises(DatasetError, match="no images"):
        cifar10.load(tmp_path / "set", train=True)
    assert not (tmp_path / "harm").exists()


def put(name: str, body: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.__setitem__(name, body)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("train/bird/0001.jpg", jpeg()[:-40]), "train/bird/0001.jpg is no JPEG, or a damaged one"),
        (put("train/bird/0001.jpg", b""), "train/bird/0001.jpg is no JPEG"),
        (put("train/bird/0001.jpg", b"GIF89a" + bytes(50)), "train/bird/0001.jpg is no JPEG"),
        (put("train/bird/0001.jpg", bytes(2**20 + 1)), "train/bird/0001.jpg has 1048577 bytes"),
        (put("train/bird/0001.jpg", jpeg(size=(33, 32))), "train/bird/0001.jpg is 33×32 RGB, expected 32×32 RGB"),
        (put("train/bird/0001.jpg", jpeg(mode="L")), "train/bird/0001.jpg is 32×32 L, expected 32×32 RGB"),
        (put("train/bird/1.jpg", jpeg()), "image 1 of bird is there twice"),
        (put("train/plane/0001.jpg", jpeg()), "train/plane/0001.jpg is not named"),
        (put("train/bird/eagle.jpg", jpeg()), "train/bird/eagle.jpg is not named"),
        (dict.clear, "holds no train/"),
    ],
)
def test_damage_is_one_line_that_names_the_image(tmp_path, packed, change, message):
    write_both(tmp_path, packed=packed, change=change)
    (tmp_path / "train").mkdir(exist_ok=True)
    with pytest.raises(DatasetError) as caught:
        cifar10.load(tmp_path, train=True)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    report = cifar10.check(tmp_path)
    assert not report.ok
    assert report.corrupt == (str(caught.value),)


@pytest.mark.parametrize("packed", [True, False])
def test_what_desktops_leave_behind_is_passed_over(tmp_path, packed):
    strange = {"train/bird/._0001.jpg": b"x", "train/bird/.DS_Store": b"x", "train/cat/Thumbs.db": b"x"}
    write_both(tmp_path, packed=packed, change=lambda files: files.update(strange))
    assert len(cifar10.load(tmp_path, train=True)) == 30


def test_links_in_an_archive_are_not_followed(tmp_path):
    write_both(tmp_path, packed=True)
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    with tarfile.open(tmp_path / "train.tar", "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("train/bird/0009.jpg")
            link.type, link.linkname = kind, "../../secret.jpg"
            tar.addfile(link)
    assert len(cifar10.load(tmp_path, train=True)) == 30


def test_no_cut_of_an_archive_passes_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "_PER_CLASS", {"train": 3, "test": 1})
    write_both(tmp_path, packed=True)
    assert cifar10.check(tmp_path).ok
    whole = (tmp_path / "train.tar").read_bytes()
    # The last image ends before the zeros that close the archive.
    end = len(whole.rstrip(b"\0"))
    for length in np.random.default_rng(0).integers(0, end, 30).tolist():
        (tmp_path / "train.tar").write_bytes(whole[:length])
        report = cifar10.check(tmp_path)
        assert not report.ok, length
        # Cut within an image, or between two: then there are too few.
        assert any("train.tar" in line for line in report.corrupt) or any("train:" in line for line in report.problems)


@pytest.mark.parametrize("body", [b"", b"no archive" * 100, gzip.compress(bytes(2048), mtime=0)])
def test_what_is_no_archive_is_refused(tmp_path, body):
    write_both(tmp_path, packed=True)
    (tmp_path / "train.tar").write_bytes(body)
    with pytest.raises(DatasetError, match=r"train\.tar: not a tar archive, or damaged"):
        cifar10.load(tmp_path, train=True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "0 bytes, expected records of 3073"),
        (bytes(3072), "3072 bytes, expected records"),
        (bytes(3 * 3073 + 1), "9220 bytes, expected records"),
        (b"\x0a" + bytes(3072), "label 10, expected 0 to 9"),
    ],
)
def test_damaged_batches_are_refused(tmp_path, body, message):
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(body)
    with pytest.raises(DatasetError, match=rf"data_batch_3\.bin: {message}"):
        cifar10.load(tmp_path, train=True)
    assert len(cifar10.load(tmp_path, train=False)) == 20


def test_a_huge_file_is_refused_unread(tmp_path):
    write_cifar10(tmp_path)
    with (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").open("wb") as file:
        file.truncate(2**30 + 1)  # sparse: no disk is used
    with pytest.raises(DatasetError, match="more than the limit"):
        cifar10.load(tmp_path, train=False)


def test_check_counts_what_is_there(tmp_path):
    write_cifar10(tmp_path)
    report = cifar10.check(tmp_path)
    assert report.num_items == 120
    assert report.classes == dict.fromkeys(CLASSES, 12)
    assert report.formats == {"32×32 colour, 8 bit": 120}
    assert not report.ok
    assert len(report.problems) == 20, "no class has its 5,000 and 1,000 images"
    assert "train: 10 images of airplane, expected 5000" in report.problems


def test_what_is_downloaded_is_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    written = write_cifar10(tmp_path / "source")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "source" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    (file,) = cifar10.INFO.files
    with serve() as server:
        server.files["cifar.tar.gz"] = Served(buffer.getvalue())
        info = replace(cifar10.INFO, files=(replace(file, urls=(server.url("cifar.tar.gz"),), md5=None),))
        fetch(info, tmp_path / "set")
        assert cifar10.is_here(tmp_path / "set")
        assert len(cifar10.load(tmp_path / "set", train=True)) == len(written["train"][0])
        wrong = replace(cifar10.INFO, files=(replace(file, urls=(server.url("cifar.tar.gz"),)),))
        with pytest.raises(DatasetError, match="wrong checksum"):
            fetch(wrong, tmp_path / "other")


@pytest.fixture(scope="module")
def real(data_root):
    return {part: cifar10.load(data_root / "cifar10", train=part == "train") for part in ("train", "test")}


def test_the_published_numbers(real):
    for part, per_class in (("train", 5000), ("test", 1000)):
        assert np.bincount(real[part].labels).tolist() == [per_class] * 10
        assert real[part].images_NCHW.shape == (10 * per_class, 3, 32, 32)
        # Mean of each channel, which every recipe for CIFAR-10 takes away: red, green, blue.
        mean_C = real[part].images_NCHW.mean(axis=(0, 2, 3)) / 255
        np.testing.assert_allclose(mean_C, (0.4914, 0.4822, 0.4465), atol=0.005)
    mean_C = real["train"].images_NCHW.mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(mean_C, (0.4914, 0.4822, 0.4465), atol=0.0005)


def test_rows_are_the_files_of_their_names(real, data_root):
    with tarfile.open(data_root / "cifar10" / "test.tar") as tar:
        for row in np.random.default_rng(0).choice(10_000, 50, replace=False).tolist():
            file = tar.extractfile(f"test/{CLASSES[row // 1000]}/{row % 1000:04}.jpg")
            assert file is not None
            expected = np.asarray(Image.open(file))
            np.testing.assert_array_equal(real["test"].images_NCHW[row], np.moveaxis(expected, 2, 0))
            assert real["test"].labels[row] == row // 1000


def test_blue_above_and_ships_on_water(real):
    """Channels are where they belong: the upper rows of airplanes are sky, frogs are not."""
    train = real["train"]
    sky = {
        name: train.images_NCHW[train.labels == CLASSES.index(name)][:, :, :8].mean(axis=(0, 2, 3))
        for name in ("airplane", "ship", "frog")
    }
    for name in ("airplane", "ship"):
        red, _, blue = sky[name]
        assert blue > red + 10, name
    assert sky["frog"][0] > sky["frog"][2]
