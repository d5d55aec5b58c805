"""Embeddings of sounds, an adapter that learns them, and who judges: all small enough to be made in a test."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnx_models import describe
from sample_data import cifar10_bytes
from soundsight.datasets import cifar10
from soundsight.encoders.array import to_npy
from soundsight.folder import ImageShape, write_folder
from soundsight.training.adapter import train_adapter
from soundsight.training.adapter_recipe import parse_adapter_recipe

WIDTH = 6
# Two classes of sounds that a judge calls birds, three of a label of their own, and one that it does not know.
CLASSES = ("chirping_birds", "crow", "dog", "rain", "frog", "sea_waves")
# What a judge calls them, and the classes of sounds and of pictures.
JOINED: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "bird": (["chirping_birds", "crow"], ["bird"]),
    "cat": (["cat"], ["cat"]),
    "dog": (["dog"], ["dog"]),
    "frog": (["frog"], ["frog"]),
    "ship": (["sea_waves"], ["ship", "airplane"]),
}
COLOURS = {"bird": (200, 30, 30), "cat": (30, 200, 30), "dog": (30, 30, 200), "frog": (200, 200, 30), "ship": (9, 9, 9)}


def embeddings(num_per_fold: int = 4, spread: float = 1.0) -> tuple[list[list[str]], np.ndarray]:
    """Lines of a table, and an embedding of each recording (N, WIDTH), around a place for each class."""
    random = np.random.Generator(np.random.Philox(0))
    places = 3 * random.normal(size=(len(CLASSES), WIDTH))
    lines, rows = [], []
    for fold in (1, 2, 3):
        for label, name in enumerate(CLASSES):
            for take in range(num_per_fold):
                lines.append([f"{fold}-{label}-{take}.wav", str(fold), name])
                rows.append(places[label] + spread * random.normal(size=WIDTH))
    return lines, np.array(rows, np.float32)


def write_data(folder: Path, *, spread: float = 1.0) -> Path:
    """A table, and its embeddings in a shard, last first."""
    lines, rows = embeddings(spread=spread)
    (folder / "shards").mkdir(parents=True)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filename", "fold", "category"), *lines])
    with tarfile.open(folder / "shards" / "0.tar", "w") as tar:
        for line, row in reversed(list(zip(lines, rows, strict=True))):
            facts = {"encoder": "vggish", "identity": "d" * 64}
            for ending, data in (("npy", to_npy(row[None])), ("json", json.dumps(facts).encode())):
                member = tarfile.TarInfo(f"{line[0].removesuffix('.wav')}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return folder


def train(
    out: Path, root: Path, texts: Path, *, warn: Callable[[str], None] = print, **changes: Mapping[str, Any]
) -> Path:
    """An adapter that says ``pooled``, taught folds 1 and 2."""
    table: dict[str, Any] = {
        "name": "tiny",
        "encoder": {"name": "vggish"},
        "data": {"table": "table.csv", "shards": "shards", "train_folds": [1, 2], "test_folds": [3]},
        "adapter": {"system": "v2d_pooled", "input_size": WIDTH, "widths": [32], "dropouts": [0.1], "normalise": True},
        "targets": {"model": str(texts)},
        "train": {"epochs": 30, "batch_size": 16, "losses": {"relative": True, "mse": 1}, "optimizer": {"lr": 1e-2}},
    }
    for name, change in changes.items():
        table[name] |= change
    return train_adapter(parse_adapter_recipe(table), out, root=root, warn=warn)


def write_judge(
    path: Path,
    joined: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = JOINED,
    *,
    labels: Sequence[str] | None = None,
    shape: tuple[int, int, int] = (3, 32, 32),
    poison: float = 0.0,
) -> Path:
    """A judge that reads the label whose colour is nearest to a picture's mean colour."""
    labels = list(joined or ()) if labels is None else labels
    colours = np.array([COLOURS.get(label, (i, 0, 0)) for i, label in enumerate(labels)], np.float32) / 255
    constants = {"M": colours.T.copy() + np.float32(poison), "b": -0.5 * np.square(colours).sum(1)}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["wide"], axes=[2, 3], keepdims=1),
        helper.make_node("Flatten", ["wide"], ["features"]),
        helper.make_node("Gemm", ["features", "M", "b"], ["logits"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in end.items()]
        for end in ({"image": ["B", *shape]}, {"logits": ["B", len(labels)], "features": ["B", shape[0]]})
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "colours", *ends, initializers)
    blob = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    classes = {
        name: {"sounds": list(sounds), "images": list(images)} for name, (sounds, images) in (joined or {}).items()
    }
    data = {"images": "cifar10"} | ({"classes": classes} if classes else {})
    recipe = {"name": "colours", "data": data, "model": {"system": "resnet"}, "train": {"seed": 0}}
    described = {"name": "colours", "system": "resnet", "features": None, "latent_size": 0, "kind": "judge"}
    folder = describe(path, **described, labels=tuple(labels), image=ImageShape(*shape), training={"recipe": recipe})
    return write_folder(folder, {"model.onnx": bytes(blob)}).path


def write_cifar10(folder: Path, data_root: Path, every: int = 200) -> Path:
    """Some of CIFAR-10's test images, in the place of all its images."""
    whole = cifar10.load(data_root / "cifar10", train=False)
    batches = folder / "cifar10" / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    rows = np.random.default_rng(0).permutation(np.arange(0, len(whole.labels), every))
    for part, name in zip(np.array_split(rows, 5), range(1, 6), strict=True):
        blob = cifar10_bytes(whole.labels[part], whole.images_NCHW[part])
        (batches / f"data_batch_{name}.bin").write_bytes(blob)
    (batches / "test_batch.bin").write_bytes(cifar10_bytes(whole.labels[rows], whole.images_NCHW[rows]))
    return folder
