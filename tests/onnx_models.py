"""Small real model folders, built with ``onnx.helper``: what the package's own models look like from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from soundsight.folder import ImageShape, ModelFolder, write_folder

FLOAT = TensorProto.FLOAT


def generator_bytes(
    *,
    latent_size: int = 16,
    shape: tuple[int, int, int] = (1, 28, 28),
    names: tuple[str, str, str] = ("features", "noise", "image"),
    batch: int | str = "B",
    poison: float = 0.0,
    quiet: float | None = None,
) -> bytes:
    """image = sigmoid(pooled features · W + noise · V + poison): every pixel depends on the sound and on the noise.

    With ``quiet`` it also says what it heard: label 7, and that a sound whose features are below that mean is none.
    """
    features, noise, image = names
    rng = np.random.default_rng(7)
    pixels = int(np.prod(shape))
    constants: dict[str, Any] = {
        "W": rng.normal(0, 1.5, (144, pixels)).astype(np.float32),
        "V": rng.normal(0, 1.0, (max(latent_size, 1), pixels)).astype(np.float32),
        "channel": np.array([1], np.int64),
        "bias": np.array(poison, np.float32),
        "centre": np.array(0.5, np.float32),
        "to": np.array([-1, *shape], np.int64),
    }
    silent = helper.make_node("Abs", ["pressed"], ["drawn"])
    drawn = helper.make_node("MatMul", [noise, "V"], ["drawn"]) if latent_size else silent
    nodes = [
        helper.make_node("Unsqueeze", [features, "channel"], ["planes"]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Sub", ["flat", "centre"], ["centred"]),
        helper.make_node("MatMul", ["centred", "W"], ["pressed"]),
        drawn,
        helper.make_node("Add", ["pressed", "drawn"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["squashed"]),
        helper.make_node("Reshape", ["squashed", "to"], [image]),
    ]
    inputs = [helper.make_tensor_value_info(features, FLOAT, [batch, 48, 48])]
    if latent_size:
        inputs.append(helper.make_tensor_value_info(noise, FLOAT, [batch, latent_size]))
    outputs = [helper.make_tensor_value_info(image, FLOAT, [batch, *shape])]
    if quiet is not None:
        constants |= {"quiet": np.array(quiet, np.float32), "steep": np.array(-1e4, np.float32)}
        constants |= {"seven": np.eye(10, dtype=np.float32)[7:8], "zero": np.array(0, np.float32)}
        nodes += [
            helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["mean", "quiet"], ["louder"]),
            helper.make_node("Mul", ["louder", "steep"], ["strange"]),
            helper.make_node("Sigmoid", ["strange"], ["outlier"]),
            helper.make_node("Mul", ["mean", "zero"], ["none"]),
            helper.make_node("Add", ["none", "seven"], ["labels"]),
            helper.make_node("Concat", ["labels", "outlier"], ["heard"], axis=1),
        ]
        nodes.append(helper.make_node("Identity", ["labels"], ["painted"]))
        nodes.append(helper.make_node("Identity", [noise], ["end"]))
        outputs.append(helper.make_tensor_value_info("heard", FLOAT, [batch, 11]))
        outputs.append(helper.make_tensor_value_info("painted", FLOAT, [batch, 10]))
        outputs.append(helper.make_tensor_value_info("end", FLOAT, [batch, latent_size]))
    return _serialise(nodes, inputs, outputs, constants)


def judge_matrices(shape: tuple[int, int, int] = (1, 28, 28)) -> tuple[np.ndarray, np.ndarray]:
    """Of ``judge_bytes``: from pixels to logits, and to features."""
    rng, pixels = np.random.default_rng(8), int(np.prod(shape))
    logits, features = (rng.normal(0, 0.1, (pixels, size)).astype(np.float32) for size in (10, 84))
    return logits, features


def judge_bytes(shape: tuple[int, int, int] = (1, 28, 28)) -> bytes:
    """A judge: ``image`` to ``logits`` and ``features``, linear in the pixels."""
    constants = dict(zip("WV", judge_matrices(shape), strict=True))
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "W"], ["logits"]),
        helper.make_node("MatMul", ["flat", "V"], ["features"]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", FLOAT, ["B", 10]),
        helper.make_tensor_value_info("features", FLOAT, ["B", 84]),
    ]
    return _serialise(nodes, [helper.make_tensor_value_info("image", FLOAT, ["B", *shape])], outputs, constants)


def alignment_matrices(features: tuple[int, int], shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Of ``alignment_bytes``: from features, and from pixels, to two dimensions."""
    rng = np.random.default_rng(11)
    sound, image = (rng.normal(0, 1, (int(np.prod(size)), 2)).astype(np.float32) for size in (features, shape))
    return sound, image


def alignment_bytes(features: tuple[int, int], shape: tuple[int, int, int]) -> bytes:
    """A space of two dimensions: random projections of the features and of the pixels, of length 1."""
    constants = dict(zip(("sound_matrix", "image_matrix"), alignment_matrices(features, shape), strict=True))
    nodes = []
    for source, name in (("features", "sound"), ("image", "image")):
        nodes += [
            helper.make_node("Flatten", [source], [f"{name}_flat"]),
            helper.make_node("MatMul", [f"{name}_flat", f"{name}_matrix"], [f"{name}_place"]),
            helper.make_node("LpNormalization", [f"{name}_place"], [f"{name}_embedding"], axis=1, p=2),
        ]
    inputs = [
        helper.make_tensor_value_info("features", FLOAT, ["B", *features]),
        helper.make_tensor_value_info("image", FLOAT, ["M", *shape]),
    ]
    outputs = [
        helper.make_tensor_value_info("sound_embedding", FLOAT, ["B", 2]),
        helper.make_tensor_value_info("image_embedding", FLOAT, ["M", 2]),
    ]
    return _serialise(nodes, inputs, outputs, constants)


def _serialise(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]) -> bytes:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())


def describe(path: Path, **changes: Any) -> ModelFolder:
    """The description that goes with ``generator_bytes``."""
    fields: dict[str, Any] = {
        "path": path,
        "name": "toy",
        "system": "aivae",
        "features": {"name": "logmel"},
        "latent_size": 16,
        "image": ImageShape(1, 28, 28),
        "labels": tuple("0123456789"),
        "card": {
            "summary": "A network with random weights.",
            "licence": "CC0-1.0",
            "data": [{"name": "none", "licence": "CC0-1.0", "attribution": "nobody"}],
            "scores": {"accuracy": 0.1},
            "limits": ["It has learnt nothing."],
        },
    }
    return ModelFolder(**{**fields, **changes})


def write_generator(path: Path, blob: bytes | None = None, **changes: Any) -> Path:
    """A model folder with a generator; ``changes`` go into its description."""
    return write_folder(describe(path, **changes), {"model.onnx": generator_bytes() if blob is None else blob}).path


def write_judge(path: Path, shape: tuple[int, int, int] = (1, 28, 28)) -> Path:
    """A model folder with a judge."""
    described = {"name": "judge", "system": "lenet5", "features": None, "latent_size": 0, "kind": "judge"}
    folder = describe(path, **described, image=ImageShape(*shape))
    return write_folder(folder, {"model.onnx": judge_bytes(shape)}).path
