"""A trained model as ONNX, checked against PyTorch on real inputs before it is saved."""

from soundsight.export.convert import to_onnx
from soundsight.export.exporter import ExportReport, export
from soundsight.training.weights import load_system

__all__ = ["ExportReport", "export", "load_system", "to_onnx"]
