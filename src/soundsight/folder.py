"""A model is a folder: ``config.json`` with the hashes of the weights beside it. Nothing in it is ever executed.

Reading is strict: what is not understood, missing, changed or unaccounted for is refused, in one line that says which.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from soundsight.errors import ModelError, OutputError, UnknownNameError
from soundsight.files import replace_file
from soundsight.manifest import CONFIG, FORMAT_VERSION, WEIGHT_SUFFIXES, ImageShape, Kind, ModelFolder, parse

__all__ = [
    "CONFIG",
    "FORMAT_VERSION",
    "ImageShape",
    "ModelFolder",
    "check_free",
    "check_kind",
    "pretrained_names",
    "read_folder",
    "resolve",
    "verify_weights",
    "write_folder",
]

MAX_CONFIG_BYTES = 1 << 20
# A protobuf, and so an ONNX file, cannot be larger.
MAX_WEIGHT_BYTES = (1 << 31) - 1
_DOES: dict[Kind, str] = {
    "generator": "makes pictures from sounds",
    "judge": "judges pictures",
    "alignment": "tells how well pictures fit sounds",
    "adapter": "tells a text-to-image model what is heard",
}
_PRETRAINED = Path(__file__).parent / "pretrained"
_RECIPES = Path(__file__).parent / "recipes"


def pretrained_names() -> list[str]:
    """Names of the models that come with the package, sorted."""
    return sorted(path.parent.name for path in _PRETRAINED.glob(f"*/{CONFIG}"))


def resolve(name_or_folder: str | Path) -> Path:
    """Folder of a model that is given by its name or as a folder.

    A name of ``pretrained_names`` wins over a folder of that name; ``./digits`` is always the folder.

    Raises:
        UnknownNameError: Neither a known name nor a folder.
    """
    if isinstance(name_or_folder, str) and name_or_folder in pretrained_names():
        return _PRETRAINED / name_or_folder
    path = Path(name_or_folder)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError):  # too long, or with a zero byte: no path at all
        is_folder = is_there = False
    if is_folder:
        return path
    if is_there:
        raise ModelError(f"{path}: a model is a folder with {CONFIG} in it, and this is a file")
    name = str(name_or_folder)
    if name in {path.stem for path in _RECIPES.glob("*.toml")}:
        raise UnknownNameError(
            f"'{name}' is a recipe, and no weights of it come with the package: 'soundsight train {name}' makes them, "
            "and says what is next"
        )
    from soundsight.registry import unknown

    raise UnknownNameError(f"{unknown('models', name, pretrained_names())}; or name a model folder")


def read_folder(path: str | Path, *, verify: bool = True) -> ModelFolder:
    """Read and check a model folder.

    Args:
        path: The folder.
        verify: Compare the hash of every file of weights. A caller that loads only some of them sets it to False and
            calls ``verify_weights`` for these.

    Returns:
        Its description.

    Raises:
        ModelError: The folder is not a model that this version understands, or not the one that was saved.
    """
    path = Path(path)
    config = _load_config(path)
    folder = parse(path, config)
    try:
        present = {entry.name for entry in path.iterdir() if entry.suffix.lower() in WEIGHT_SUFFIXES}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if surplus := sorted(present - set(folder.weights)):
        raise ModelError(f"{path}: {surplus[0]} is not listed in {CONFIG}, nobody vouches for it; remove it")
    for name in folder.weights:
        if not (path / name).is_file():
            raise ModelError(f"{path}: {name} is missing; take the folder from its source again")
        if (path / name).stat().st_size > MAX_WEIGHT_BYTES:
            raise ModelError(f"{path}: {name} is larger than {MAX_WEIGHT_BYTES >> 30} GiB, the most that is loaded")
    if verify:
        verify_weights(folder, folder.weights)
    return folder


def check_kind(folder: ModelFolder, kind: Kind) -> None:
    """Refuse a model that does something else than what it is wanted for.

    Raises:
        ModelError: It is not of this kind.
    """
    if folder.kind != kind:
        article = "an" if kind[0] == "a" else "a"
        raise ModelError(f"{folder.path}: '{folder.name}' {_DOES[folder.kind]}; choose {article} {kind}")


def verify_weights(folder: ModelFolder, names: Iterable[str]) -> None:
    """Compare files of weights with the hashes in the config.

    Raises:
        ModelError: A file is not what was saved.
    """
    for name in names:
        try:
            with (folder.path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{folder.path}: {name} cannot be read ({error.strerror})") from error
        if found != folder.weights[name]:
            raise ModelError(
                f"{folder.path}: {name} is not the file that {CONFIG} describes (SHA-256 {found[:12]}…, expected "
                f"{folder.weights[name][:12]}…); take the folder from its source again"
            )


def write_folder(folder: ModelFolder, weights: Mapping[str, bytes | Path]) -> ModelFolder:
    """Save a model; the hashes are computed here.

    Every file is written under a temporary name and renamed when it is complete, ``config.json`` last. Other files in
    the folder (the training's state, its metrics) stay; those weights that the former model's ``config.json`` names go.

    Args:
        folder: Its description; ``weights`` in it is ignored.
        weights: File name to contents, or to the file to copy.

    Returns:
        The description with its hashes.

    Raises:
        ModelError: The description is not one that ``read_folder`` would accept.
        OutputError: The folder cannot be written, or holds files that would be taken for weights of this model.
    """
    check_free(folder.path, weights.keys())
    former = _former_weights(folder.path)
    try:
        blobs = {name: data if isinstance(data, bytes) else data.read_bytes() for name, data in weights.items()}
        hashes = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
        config = replace(folder, weights=hashes).config()
        saved = parse(folder.path, config)
        folder.path.mkdir(parents=True, exist_ok=True)
        for name, blob in blobs.items():
            replace_file(folder.path / name, blob)
        replace_file(folder.path / CONFIG, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
        for name in former - blobs.keys():
            (folder.path / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder.path}: the model cannot be saved ({error.strerror})") from error
    return saved


def _former_weights(path: Path) -> set[str]:
    """Names of the files of the model that a folder holds so far."""
    try:
        config = json.loads((path / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return set()
    named = config.get("weights") if isinstance(config, dict) else None
    # Only what lies in the folder itself: a name from a file must not reach elsewhere.
    return {name for name in named or () if isinstance(name, str) and name == Path(name).name}


def _weight_files(path: Path) -> set[str]:
    """Names of the files in a folder that look like weights."""
    try:
        return {entry.name for entry in path.iterdir() if entry.suffix.lower() in WEIGHT_SUFFIXES}
    except OSError:  # there is no such folder yet; whether it can be made shows soon
        return set()


def check_free(path: Path, names: Collection[str]) -> None:
    """Refuse a folder with files that would be taken for weights of a model that is written there.

    Args:
        path: The folder; it may not exist yet.
        names: Files that the model will have.

    Raises:
        OutputError: There are such files, and the model that is there now does not name them.
    """
    foreign = sorted(_weight_files(path) - _former_weights(path) - set(names))
    if foreign:
        raise OutputError(f"{path}: holds {', '.join(foreign)}, which is not of the model; choose another folder")


def _load_config(path: Path) -> dict[str, Any]:
    """``config.json`` as a dict, from a file that may hold anything."""
    file = path / CONFIG
    try:
        if not file.is_file():
            raise ModelError(f"{path}: no model, there is no {CONFIG} in it")
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(f"{file}: larger than {MAX_CONFIG_BYTES >> 20} MiB, this is no description of a model")
        config = json.loads(file.read_bytes(), parse_constant=_no_constant, object_pairs_hook=_unique)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # a wrong encoding is a ValueError, too
        raise ModelError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file}: expected an object, not {type(config).__name__}")
    return config


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)
