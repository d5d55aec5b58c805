"""ONNX Runtime beside PyTorch: difference and speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsight.export.convert import as_function
from soundsight.runtime import import_onnxruntime

__all__ = ["difference", "milliseconds", "onnx_runner", "torch_runner"]

Float32 = NDArray[np.float32]
Inputs = Mapping[str, Float32]
Run = Callable[[Inputs], list[Float32]]
"""Inputs to outputs, each (B, …)."""

# One, a size that no vector unit divides, and one larger than the batch that was traced.
_BATCH_SIZES = (1, 3, 64)


def onnx_runner(contents: bytes) -> Run:
    """Run an ONNX file on the CPU."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, too
    session = onnxruntime.InferenceSession(contents, sess_options=options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> list[Float32]:
        outputs: list[Float32] = session.run(None, dict(inputs))
        return outputs

    return run


def torch_runner(module: nn.Module) -> Run:
    """Run a system in PyTorch, in evaluation mode."""

    def run(inputs: Inputs) -> list[Float32]:
        with torch.inference_mode():
            outputs = as_function(module, inputs)(*(torch.from_numpy(array) for array in inputs.values()))
        return [output.numpy() for output in ((outputs,) if isinstance(outputs, Tensor) else outputs)]

    return run


def difference(run_onnx: Run, run_torch: Run, inputs: Inputs) -> float:
    """Largest difference of any output, in units of its largest value where that is above 1."""
    reference = run_torch(inputs)
    scales = [max(1.0, float(np.abs(array).max())) for array in reference]
    worst = [0.0]
    for size in _BATCH_SIZES:
        for start in range(0, len(reference[0]), size):
            found = run_onnx(_rows(inputs, start, size))
            for array, expected, scale in zip(found, reference, scales, strict=True):
                worst.append(float(np.abs(array - expected[start : start + size]).max()) / scale)
    return float(np.max(worst))


def milliseconds(run: Run, inputs: Inputs) -> float:
    """Median time of one picture, after the runs that warm up."""
    times_s = []
    for i in range(30):
        start_s = time.perf_counter()
        run(_rows(inputs, i, 1))
        times_s.append(time.perf_counter() - start_s)
    return float(np.median(times_s[5:]) * 1000)


def _rows(inputs: Inputs, start: int, size: int) -> Inputs:
    return {name: array[start : start + size] for name, array in inputs.items()}
