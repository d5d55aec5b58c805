"""A generator and a judge fitted in closed form to real data: good enough to be judged, computable by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnx_models import describe
from soundsight.datasets import fsdd, mnist
from soundsight.datasets.splits import make_split
from soundsight.features import logmel
from soundsight.folder import write_folder

FLOAT = TensorProto.FLOAT
LATENT = 8
SHARPNESS = 30.0


def recipe(split: str = "random", **data: Any) -> dict[str, Any]:
    """What a training writes into ``training``."""
    data = {"sounds": "fsdd", "images": "mnist", "split": split, **data}
    return {"recipe": {"name": "fitted", "data": data, "model": {"system": "aivae"}, "train": {"seed": 0}}}


def ridge(features_RFN: np.ndarray, labels_R: np.ndarray) -> np.ndarray:
    """(F·N + 1, 10) weights of a linear classifier, least squares with a small penalty."""
    x = np.c_[features_RFN.reshape(len(features_RFN), -1), np.ones(len(features_RFN))].astype(np.float64)
    gram = x @ x.T + 30 * np.eye(len(x))
    return x.T @ np.linalg.solve(gram, np.eye(10)[labels_R])


def generator_bytes(weights_XL: np.ndarray, means_LX: np.ndarray) -> bytes:
    """image = clip(softmax(sharpness · classifier) · mean images + noise · faint patterns)."""
    patterns = np.random.default_rng(0).normal(0, 0.05, (LATENT, means_LX.shape[1]))
    constants = {
        "W": (SHARPNESS * weights_XL[:-1]).astype(np.float32),
        "b": (SHARPNESS * weights_XL[-1]).astype(np.float32),
        "M": means_LX.astype(np.float32),
        "P": patterns.astype(np.float32),
        "zero": np.float32(0),
        "one": np.float32(1),
        "to": np.array([-1, 1, 28, 28], np.int64),
    }
    nodes = [
        helper.make_node("Flatten", ["features"], ["flat"]),
        helper.make_node("Gemm", ["flat", "W", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"]),
        helper.make_node("MatMul", ["shares", "M"], ["mean"]),
        helper.make_node("MatMul", ["noise", "P"], ["pattern"]),
        helper.make_node("Add", ["mean", "pattern"], ["sum"]),
        helper.make_node("Clip", ["sum", "zero", "one"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "to"], ["image"]),
    ]
    ends = {"features": ["B", 48, 48], "noise": ["B", LATENT]}, {"image": ["B", 1, 28, 28]}
    return _model(nodes, *ends, constants)


def judge_bytes(means_LX: np.ndarray) -> bytes:
    """The nearest mean image: logits = image · mean − |mean|² / 2."""
    constants = {
        "M": means_LX.T.astype(np.float32),
        "b": (-0.5 * np.square(means_LX).sum(1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Flatten", ["image"], ["features"]),
        helper.make_node("Gemm", ["features", "M", "b"], ["logits"]),
    ]
    return _model(nodes, {"image": ["B", 1, 28, 28]}, {"logits": ["B", 10], "features": ["B", 784]}, constants)


def _model(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any]) -> bytes:
    ends = [[helper.make_tensor_value_info(n, FLOAT, s) for n, s in end.items()] for end in (inputs, outputs)]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "fitted", *ends, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def mean_images(root: Path) -> np.ndarray:
    """(10, 784) in [0, 1], of the training images."""
    train = mnist.load(root / "mnist", train=True)
    return np.stack([train.images_NCHW[train.labels == d].mean(0).ravel() for d in range(10)]) / 255


def write_models(root: Path, out: Path) -> tuple[Path, Path]:
    """A generator fitted to the random split of FSDD, and a judge; returns their folders."""
    sounds, means = fsdd.load(root / "fsdd"), mean_images(root)
    rows = make_split(sounds, "random", seed=0).train
    features = logmel.extract(sounds.load(rows, sample_rate_hz=8000), logmel.Config())
    blob = generator_bytes(ridge(features, sounds.labels[rows]), means)
    training = {**recipe(), "train_recordings": 1800, "test_recordings": 200}
    generator = describe(out / "fitted", name="fitted", latent_size=LATENT, training=training)
    judge = describe(
        out / "means",
        name="means",
        system="lenet5",
        features=None,
        latent_size=0,
        training=recipe(sounds=None),
        kind="judge",
    )
    return (
        write_folder(generator, {"model.onnx": blob}).path,
        write_folder(judge, {"model.onnx": judge_bytes(means)}).path,
    )
