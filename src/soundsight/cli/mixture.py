"""``soundsight generate --mix``: one picture of several sounds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsight.cli import say, show
from soundsight.cli.quiet import quiet_libraries
from soundsight.errors import OutputError, SoundsightError

if TYPE_CHECKING:
    from soundsight.batch import Settings
    from soundsight.pipeline import AudioToImage, Heard, Pictures

__all__ = ["examine", "heard_json", "make", "parse", "save"]


def parse(sounds: list[str]) -> tuple[list[str], list[float]]:
    """``three.wav:0.7`` as a path and a weight; 1 where there is none, or where a file is called so."""
    paths, weights = [], []
    for sound in sounds:
        path, _, weight = ("", "", "") if os.path.isfile(sound) else sound.rpartition(":")  # noqa: PTH113 - never raises
        try:
            weights.append(float(weight) if path else 1.0)
        except ValueError:  # the name has a colon, and no weight
            path = ""
            weights.append(1.0)
        paths.append(path or sound)
    return paths, weights


def make(
    pipe: AudioToImage,
    sounds: list[str],
    weights: list[float],
    settings: Settings,
) -> tuple[Pictures, list[Heard | None]]:
    """The pictures of a mixture, and what each sound was taken for.

    Of each sound that the model does not know there is a warning, or an error with ``strict``.

    Raises:
        SoundsightError: A sound or a weight cannot be used.
    """
    with quiet_libraries():
        heard = examine(pipe, sounds, split=settings.split, strict=settings.strict)
        made = pipe.mix(sounds, weights, settings.num_images, settings.seed, settings.size, **settings.controls)
        return made, heard


def examine(pipe: AudioToImage, sounds: list[str], *, split: bool = True, strict: bool = False) -> list[Heard | None]:
    """What the model takes each sound for; it warns of what it does not know, or refuses it with ``strict``.

    Recordings of several utterances are refused.

    Raises:
        SoundsightError: A sound cannot be used.
    """
    every = []
    for sound in sounds:
        if sound == "-":
            raise SoundsightError("'-' cannot be mixed or morphed: both are of files")
        if split and (num := len(pipe.hear(sound, split=True))) > 1:
            raise SoundsightError(f"{sound}: {num} utterances in it, and one is wanted; cut it first")
        heard = pipe.listen(sound)
        if heard is not None and not heard.is_known:
            line = f"{sound}: this does not sound like {pipe.folder.known} (score {heard.outlier:.2f})"
            if strict:
                raise SoundsightError(line)
            say(f"soundsight: warning: {line}")
        every.append(heard)
    return every


def heard_json(heard: list[Heard | None]) -> dict[str, Any]:
    """What the sounds were taken for, where the model says it."""
    known = [one.to_json() for one in heard if one is not None]
    return {"heard": known} if known else {}


def save(
    pictures: Pictures,
    sounds: list[str],
    weights: list[float],
    heard: list[Heard | None],
    settings: Settings,
    grid: bool,
    as_json: bool,
) -> None:
    """Write the pictures of a mixture and say where.

    Raises:
        OutputError: They cannot be written.
    """
    from soundsight.blending import shares_of
    from soundsight.files import replace_file
    from soundsight.picture import encode
    from soundsight.picture import grid as sheet

    out, suffix = settings.out, settings.suffix
    stem = "+".join(Path(sound).stem for sound in sounds)[:200]
    if grid:
        origin = {name: value for name, value in pictures.metadata(0).items() if name != "index"}
        path = out if settings.is_file else out / f"{stem}.{suffix}"
        files = {path: encode(sheet([list(pictures.array)]), suffix, origin)}
    else:
        names = [out] if settings.is_file else [out / name for name in pictures.file_names(stem, suffix)]
        files = {name: pictures.encode(i, suffix) for i, name in enumerate(names)}
    for i, (path, data) in enumerate(files.items()):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
        if as_json:
            shares = [round(float(share), 6) for share in shares_of(weights, len(sounds))]
            told: dict[str, Any] = {"sounds": sounds, "weights": shares, **heard_json(heard), "path": str(path)}
            told |= {"index": None if grid or suffix == "npy" else i, "seed": pictures.seed, "model": pictures.model}
            told |= pictures.turned
            show(json.dumps(told))
    if pictures.blackened:
        say(f"soundsight: warning: {pictures.blackened}")
    if not as_json:
        show(str(next(iter(files))) if len(files) == 1 else f"{len(files)} files in {out}")
