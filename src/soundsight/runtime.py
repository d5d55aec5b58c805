"""ONNX Runtime, loaded so that it reports to nobody."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["import_onnxruntime"]


def import_onnxruntime() -> Any:
    """The package ``onnxruntime``.

    On import it would write a note of this machine and program into the home directory and look for a host to send it
    to, unless a variable says otherwise; switching it off afterwards is too late.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
