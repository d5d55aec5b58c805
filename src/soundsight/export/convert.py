"""A PyTorch system to the bytes of an ONNX file."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsight.errors import ModelError

__all__ = ["as_function", "to_onnx"]

Float32 = NDArray[np.float32]

# Known to ONNX Runtime 1.20, the oldest that soundsight takes.
_OPSET = 20
# What the first axis of an alignment's ends counts: sounds and pictures need not be as many.
_SOUNDS, _IMAGES = "num_sounds", "num_images"
# Smaller ones are biases and constants: little to save, and rounding them is felt most.
_LEAST_HALVED = 256
_OF_ALIGNMENT = {"features": _SOUNDS, "sound_embedding": _SOUNDS, "image": _IMAGES, "image_embedding": _IMAGES}


class _Generator(nn.Module):
    """``generate`` as ``forward``; beside the picture what was heard and more, where a system says it."""

    def __init__(self, system: nn.Module) -> None:
        super().__init__()
        self.system: Any = system

    def forward(self, features: Tensor, noise: Tensor | None = None, *controls: Tensor) -> Tensor | tuple[Tensor, ...]:
        noise = features.new_zeros(len(features), 0) if noise is None else noise
        if not hasattr(self.system, "listen"):
            image: Tensor = self.system.generate(features, noise, *controls)
            return image
        image, end = self.system.draw(features, noise, *controls)
        return image, self.system.listen(features), self.system.decide(features), end


def as_function(module: nn.Module, inputs: Iterable[str]) -> nn.Module:
    """A module whose ``forward`` takes ``inputs``: a generator's ``generate``; a judge or an alignment as it is."""
    return module.eval() if "image" in inputs else _Generator(module).eval()


def _outputs(module: nn.Module, inputs: Iterable[str]) -> list[str]:
    """Names of what comes out."""
    if "image" not in inputs:
        return ["image", "heard", "painted", "end"] if hasattr(module, "listen") else ["image"]
    return ["sound_embedding", "image_embedding"] if "features" in inputs else ["logits", "features"]


def to_onnx(module: nn.Module, examples: Mapping[str, Float32], *, half: bool = False) -> bytes:
    """An ONNX file of a system in evaluation mode.

    Args:
        module: A generator, a judge or an alignment.
        examples: An array for each input, of which two items are read: ``features`` (B, F, N) and, where the system
            takes it, ``noise`` (B, D) for a generator; ``image`` (B, C, H, W) for a judge; ``features`` and ``image``,
            each with a batch size of its own, for an alignment.
        half: Store weights in 16 bits: half the size. They are computed with in 32 as ever.

    Returns:
        The file: batch size free, batch normalisation folded, without names of files and lines of source. A
        generator's output is ``image``, and where the system listens ``heard`` (B, L + 1), ``painted`` (B, L) and
        ``end`` (B, D); a judge's are ``logits`` and ``features``; an alignment's ``sound_embedding`` and
        ``image_embedding``. A system's ``controls`` are inputs that may be left out.

    Raises:
        ModelError: A weight is too large for 16 bits.
    """
    controls: dict[str, Tensor] = getattr(module, "controls", {})
    # Sizes that shall be free must not be 1 in the example.
    traced = {
        name: value.repeat(2, *[1] * (value.ndim - 1)) if value.ndim else value for name, value in controls.items()
    }
    inputs = {name: torch.from_numpy(array[:2]) for name, array in examples.items()} | traced
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            as_function(module, examples),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=_outputs(module, examples),
            opset_version=_OPSET,
            dynamo=True,
            dynamic_shapes=_free_sizes(examples, controls),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    if half:
        _halve(proto.graph)
    for name, value in controls.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value.numpy(), name))
    batches = _OF_ALIGNMENT if {"features", "image"} <= examples.keys() else {}
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = (
                    f"num_{value.name}" if value.name in controls else batches.get(value.name, "batch")
                )
    proto.graph.name = "model"
    onnx.checker.check_model(proto, full_check=True)
    contents: bytes = proto.SerializeToString(deterministic=True)
    return contents


def _free_sizes(examples: Mapping[str, Float32], controls: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """The first axis of all inputs is free; what is one number has none."""
    free = {0: torch.export.Dim.DYNAMIC}
    nested = (tuple(free if value.ndim else None for value in controls.values()),) if controls else ()
    return (*(free for _ in examples), *nested)


def _halve(graph: Any) -> None:
    """Store large tensors of 32-bit floats in 16 bits, each with a cast before it is used."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) < _LEAST_HALVED:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not np.abs(values).max() <= np.finfo(np.float16).max:
            raise ModelError(f"a weight of {np.abs(values).max():g} is too large for 16 bits; export it in 32")
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _strip(message: Any) -> None:
    """Remove what the exporter notes about the source: file names, lines of code, names of classes."""
    for field in ("metadata_props", "doc_string"):
        if field in message.DESCRIPTOR.fields_by_name:
            message.ClearField(field)
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                _strip(item)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what PyTorch's exporter says about itself: operators of packages that are not here, deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
