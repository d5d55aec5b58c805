"""``soundsight generate --mix``: one picture of several sounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsight.cli import show
from soundsight.errors import OutputError

if TYPE_CHECKING:
    from soundsight.pipeline import Pictures

__all__ = ["parse", "save"]


def parse(sounds: list[str]) -> tuple[list[str], list[float]]:
    """``three.wav:0.7`` as a path and a weight; 1 where there is none."""
    paths, weights = [], []
    for sound in sounds:
        path, _, weight = sound.rpartition(":")
        try:
            weights.append(float(weight) if path else 1.0)
        except ValueError:  # the name has a colon, and no weight
            path = ""
            weights.append(1.0)
        paths.append(path or sound)
    return paths, weights


def save(
    pictures: Pictures, sounds: list[str], out: Path, suffix: Any, is_file: bool, grid: bool, as_json: bool
) -> None:
    """Write the pictures of a mixture and say where.

    Raises:
        OutputError: They cannot be written.
    """
    from soundsight.files import replace_file
    from soundsight.picture import encode
    from soundsight.picture import grid as sheet

    stem = "+".join(Path(sound).stem for sound in sounds)[:200]
    if grid:
        files = {out if is_file else out / f"{stem}.{suffix}": encode(sheet([list(pictures.array)]), suffix, {})}
    else:
        names = [out] if is_file else [out / name for name in pictures.file_names(stem, suffix)]
        files = {name: pictures.encode(i, suffix) for i, name in enumerate(names)}
    for path, data in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
        if as_json:
            origin = {"sounds": sounds, "seed": pictures.seed, "model": pictures.model}
            show(json.dumps({"path": str(path), **origin}))
    if not as_json:
        show(str(next(iter(files))) if len(files) == 1 else f"{len(files)} files in {out}")
