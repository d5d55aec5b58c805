"""The IDX reader against files made by the format's description, and against the published numbers of MNIST."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from sample_data import idx_bytes, write_mnist
from soundsight.datasets import mnist
from soundsight.errors import DatasetError


@pytest.mark.parametrize("shape", [(0,), (7,), (1, 1, 1), (5, 3, 2), (2, 28, 28)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_arrays_survive_the_format(tmp_path, shape, suffix):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    body = idx_bytes(array)
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(body, mtime=0) if suffix else body)
    read = mnist.read_idx(path, num_dimensions=len(shape))
    np.testing.assert_array_equal(read, array)
    assert read.flags.writeable


GOOD = idx_bytes(np.zeros((2, 3, 4), np.uint8))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "starts with nothing"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x01" + GOOD[1:], "not an IDX file"),
        (b"\0\0\x0d" + GOOD[3:], "not an IDX file"),  # floats
        (b"\0\0\x08\x01" + GOOD[4:], "not an IDX file"),  # another number of dimensions
        (GOOD[:10], "ends within its header"),
        (GOOD[:-1], "only 23"),
        (GOOD[:16], "only 0"),
        (GOOD + b"\0", "there are more"),
        (GOOD[:4] + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "more than the limit"),
        (GOOD[:4] + struct.pack(">3I", 2**31, 2**31, 4), "more than the limit"),  # 2**64: zero in 64 bits
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_damaged_files_are_refused_in_one_line(tmp_path, body, reason, compress):
    path = tmp_path / ("file.gz" if compress else "file")
    path.write_bytes(gzip.compress(body, mtime=0) if compress else body)
    with pytest.raises(DatasetError, match=reason) as caught:
        mnist.read_idx(path, num_dimensions=3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\x08\x03", gzip.compress(GOOD, mtime=0)[:-9], gzip.compress(GOOD, mtime=0)[:12]]
)
def test_damaged_gzip_is_refused(tmp_path, body):
    (tmp_path / "file.gz").write_bytes(body)
    with pytest.raises(DatasetError, match=r"file\.gz"):
        mnist.read_idx(tmp_path / "file.gz", num_dimensions=3)


@pytest.mark.parametrize("plain", [True, False])
def test_plain_and_gzip_files_are_read_alike(tmp_path, plain):
    write_mnist(tmp_path, plain=plain)
    train, test = mnist.load(tmp_path, train=True), mnist.load(tmp_path, train=False)
    assert (len(train), len(test)) == (40, 20)
    np.testing.assert_array_equal(train.labels, np.arange(40) % 10)
    # The generator of the sample, run again: images come in their order, rows before columns.
    expected = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(train.images_NCHW, expected[:, None])


def test_other_spelling_of_the_names(tmp_path):
    write_mnist(tmp_path, plain=True)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(mnist.load(tmp_path, train=True)) == 40


def put(folder: Path, name: str, array: np.ndarray) -> None:
    (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array.astype(np.uint8))))


def test_files_that_do_not_fit_each_other(tmp_path):
    write_mnist(tmp_path)
    put(tmp_path, "train-labels-idx1-ubyte", np.zeros(41))
    with pytest.raises(DatasetError, match="40 images, but 41 labels"):
        mnist.load(tmp_path, train=True)
    put(tmp_path, "train-labels-idx1-ubyte", np.full(40, 10))
    with pytest.raises(DatasetError, match="label 10, expected 0 to 9"):
        mnist.load(tmp_path, train=True)
    put(tmp_path, "train-images-idx3-ubyte", np.zeros((40, 28, 27)))
    with pytest.raises(DatasetError, match="28×27, expected 28×28"):
        mnist.load(tmp_path, train=True)


def test_the_published_numbers(data_root):
    train = mnist.load(data_root / "mnist", train=True)
    test = mnist.load(data_root / "mnist", train=False)
    assert train.images_NCHW.shape == (60_000, 1, 28, 28)
    assert test.images_NCHW.shape == (10_000, 1, 28, 28)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The constants that every recipe for MNIST normalises with.
    assert train.images_NCHW.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert train.images_NCHW.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_check_accepts_the_published_files(data_root):
    report = mnist.check(data_root / "mnist")
    assert report.ok
    assert report.num_items == 70_000
    assert report.duplicates == ()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_check_finds_one_flipped_bit(data_root, tmp_path, name):
    for path in (data_root / "mnist").glob("*.gz"):
        (tmp_path / path.name).symlink_to(path)
    content = bytearray(gzip.decompress((tmp_path / f"{name}.gz").read_bytes()))
    content[5000] ^= 1
    (tmp_path / f"{name}.gz").unlink()
    (tmp_path / name).write_bytes(content)
    report = mnist.check(tmp_path)
    assert not report.ok
    assert len(report.problems) == 1
    assert name in report.problems[0]
    assert report.num_items == 70_000, "the rest of the report is there all the same"
    (tmp_path / name).write_bytes(content[:-1])
    assert "only" in mnist.check(tmp_path).corrupt[0]


def test_check_says_where_a_gzip_is_damaged(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-3])
    report = mnist.check(tmp_path)
    assert not report.ok
    assert path.name in report.corrupt[0]
