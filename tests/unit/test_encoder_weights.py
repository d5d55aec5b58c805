"""Weights and PCA of VGGish from files that may hold anything: what is read, and what is refused in one line."""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from soundsight.encoders.array import to_npy
from soundsight.encoders.vggish import load
from soundsight.encoders.weights import read_pca, read_tensors
from soundsight.errors import ModelError

SMALL = {"features.0.weight": (2, 1, 3, 3), "features.0.bias": (2,)}


def small(**changes: Tensor | None) -> dict[str, Tensor]:
    given = {name: torch.ones(shape) for name, shape in SMALL.items()} | changes
    return {name: tensor for name, tensor in given.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"features.0.bias": None}, "lacks the tensor 'features.0.bias'; it is no VGGish"),
        ({"features.0.bias": torch.ones(3)}, r"tensor 'features.0.bias' is \(3,\); VGGish has \(2,\) there"),
        ({"features.0.bias": torch.tensor([1, math.nan])}, "'features.0.bias' holds NaN"),
        ({"features.0.bias": torch.ones(2, dtype=torch.int8)}, "'features.0.bias' holds torch.int8"),
        ({"features.1.bias": torch.ones(2)}, "the tensor 'features.1.bias' is not of VGGish"),
        ({"x\x1b[2J": torch.ones(2)}, r"the tensor 'x\\x1b\[2J' is not of VGGish"),
        ({"pproc.pca_means": torch.ones(2)}, "lacks the array 'pca_eigen_vectors'"),
        ({"pproc.pca_means": torch.ones(3), "pproc.pca_eigen_vectors": torch.ones(2, 2)}, r"'pca_means' is \(3,\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(changes: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = tmp_path / "vggish.safetensors"
    save_file(small(), path)
    assert read_tensors(path, SMALL, "VGGish")[0].keys() == SMALL.keys()
    save_file(small(**changes), path)
    with pytest.raises(ModelError, match=fault) as caught:
        read_tensors(path, SMALL, "VGGish")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    save_file({name: tensor.half() / 3 for name, tensor in small().items()}, tmp_path / "a.safetensors")
    read, _ = read_tensors(tmp_path / "a.safetensors", SMALL, "VGGish")
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    assert float(read["features.0.bias"][0]) == float(torch.tensor(1 / 3).half())


@pytest.mark.parametrize("content", [b"", b"no weights, a text\n", b"\x02\0\0\0\0\0\0\0{}", bytes([255] * 64)])
def test_a_file_that_is_no_safetensors_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vggish.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be read|no safetensors, for all its name|lacks the tensor") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere.safetensors", "nowhere.pth", "x" * 300 + ".safetensors"):
        with pytest.raises(ModelError, match=r"there is no such file|cannot be read"):
            load(tmp_path / name)


def test_a_pickle_is_refused_by_a_line_that_converts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(small(), tmp_path / "vggish-10086976.pth")
    with pytest.raises(ModelError, match="read from safetensors alone") as caught:
        load(tmp_path / "vggish-10086976.pth")
    told = re.search(r"by (safetensors\.torch\.save_file\(.*\))$", str(caught.value))
    assert told is not None
    monkeypatch.chdir(tmp_path)
    eval(told[1], {"safetensors": __import__("safetensors.torch"), "torch": torch})
    read, _ = read_tensors(tmp_path / "vggish-10086976.safetensors", SMALL, "VGGish")
    assert torch.equal(read["features.0.bias"], torch.ones(2))
    (tmp_path / "vggish-10086976.pth").rename(tmp_path / "renamed.safetensors")
    with pytest.raises(ModelError, match="must be converted, not renamed"):
        load(tmp_path / "renamed.safetensors")


@pytest.mark.parametrize("kind", ["npz", "compressed", "safetensors"])
def test_a_pca_is_read_as_it_was_published(kind: str, tmp_path: Path) -> None:
    """AudioSet's archive holds doubles; means are a column in some files and a row in others."""
    rng = np.random.default_rng(3)
    arrays = {"pca_eigen_vectors": rng.standard_normal((8, 8)), "pca_means": rng.standard_normal((8, 1))}
    path = tmp_path / f"pca.{'safetensors' if kind == 'safetensors' else 'npz'}"
    if kind == "safetensors":
        save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, **arrays)
    found = read_pca(path, 8)
    np.testing.assert_array_equal(found["pca_eigen_vectors"], arrays["pca_eigen_vectors"].astype(np.float32))
    np.testing.assert_array_equal(found["pca_means"], arrays["pca_means"][:, 0].astype(np.float32))


def broken_npz(path: Path, kind: str) -> None:
    good: dict[str, Any] = {"pca_eigen_vectors": np.eye(8), "pca_means": np.zeros(8)}
    changed: dict[str, Any] = {
        "lacking": {"pca_means": None},
        "shape": {"pca_means": np.zeros(7)},
        "whole": {"pca_means": np.zeros(8, np.int64)},
        "nan": {"pca_eigen_vectors": np.full((8, 8), np.nan)},
        "pickle": {"pca_means": np.array([{}] * 8)},
        "bomb": {"pca_means": np.zeros(1 << 20)},
    }.get(kind, {})
    np.savez_compressed(path, **{name: array for name, array in (good | changed).items() if array is not None})
    if kind == "text":
        path.write_text("no archive")
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    if kind == "lies":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("pca_means.npy", to_npy(np.zeros(8))[:-8])


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("lacking", "lacks the array 'pca_means'"),
        ("shape", r"array 'pca_means' is \(7,\) float64; the PCA has \(8, 1\) floats there"),
        ("whole", r"array 'pca_means' is \(8,\) int64"),
        ("nan", "array 'pca_eigen_vectors' holds NaN"),
        ("pickle", "cannot be read .*no real numbers"),
        ("bomb", "the array 'pca_means' is too large"),
        ("text", "cannot be read"),
        ("cut", "cannot be read"),
        ("lies", "cannot be read .*announces 64 bytes, and 56 follow"),
    ],
)
def test_a_pca_that_is_none_is_refused(kind: str, fault: str, tmp_path: Path) -> None:
    broken_npz(tmp_path / "pca.npz", kind)
    with pytest.raises(ModelError, match=fault) as caught:
        read_pca(tmp_path / "pca.npz", 8)
    assert "\n" not in str(caught.value)


def test_the_ports_own_pca_is_refused_by_where_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "vggish_pca_params-970ea276.pth").write_bytes(b"\x80\x02}")
    with pytest.raises(ModelError, match=r"read from AudioSet's vggish_pca_params.npz .* get the former from https://"):
        read_pca(tmp_path / "vggish_pca_params-970ea276.pth", 128)
