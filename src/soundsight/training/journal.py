"""What a training leaves to read: ``metrics.jsonl``, sample grids, and TensorBoard's curves through accelerate."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from soundsight.files import replace_file

__all__ = ["Journal", "sheet"]


class Journal:
    """Appends one JSON object per line; lines beyond the step that a resumed run starts from are dropped.

    Args:
        folder: Where ``metrics.jsonl`` and ``samples/`` live.
        resume_step: Steps that are kept; 0 starts a new file.
    """

    def __init__(self, folder: Path, resume_step: int) -> None:
        self._samples = folder / "samples"
        self._path = folder / "metrics.jsonl"
        kept = []
        if resume_step and self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:  # the last line of a run that was killed while writing it
                    continue
                if entry["step"] <= resume_step:
                    kept.append(line)
        replace_file(self._path, "".join(f"{line}\n" for line in kept).encode())

    def write(self, **entry: Any) -> None:
        """Add one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def picture(self, name: str, rows: NDArray[np.float32]) -> None:
        """Save pictures (rows, columns, C, H, W) in [0, 1] as one sheet below ``samples/``."""
        buffer = io.BytesIO()
        sheet(rows).save(buffer, format="PNG")
        self._samples.mkdir(exist_ok=True)
        replace_file(self._samples / name, buffer.getvalue())


def sheet(rows: NDArray[np.float32], gap: int = 2) -> Image.Image:
    """Pictures (rows, columns, C, H, W) in [0, 1] side by side, ``gap`` grey pixels between them."""
    num_rows, num_columns, channels, height, width = rows.shape
    canvas = np.full((num_rows * (height + gap) - gap, num_columns * (width + gap) - gap, channels), 128, np.uint8)
    for r, row in enumerate(rows):
        for c, picture_CHW in enumerate(row):
            y, x = r * (height + gap), c * (width + gap)
            canvas[y : y + height, x : x + width] = (
                np.rint(255 * picture_CHW.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
            )
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
