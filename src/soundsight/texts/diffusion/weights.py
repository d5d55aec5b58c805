"""Files of weights, before they are loaded: which there are, whether they are whole, how many numbers they hold."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from soundsight.errors import ModelError

__all__ = ["count_weights", "find_weights", "hashes_of", "read_json"]

_MAX_JSON_BYTES = 16 << 20
# The format's own limit.
_MAX_HEADER_BYTES = 100_000_000
_VARIANTS = (None, "fp16")


def find_weights(folder: Path) -> tuple[list[Path], str | None]:
    """The safetensors of one part of a model, and their variant, ``fp16`` where there is nothing else.

    Raises:
        ModelError: There are none, or not all that the index of shards names.
    """
    for variant in _VARIANTS:
        for stem in ("diffusion_pytorch_model", "model"):
            infix = f".{variant}" if variant else ""
            single = folder / f"{stem}{infix}.safetensors"
            if single.is_file():
                return [single], variant
            index = folder / f"{stem}.safetensors.index{infix}.json"
            if index.is_file():
                return _shards(index), variant
    if pickles := sorted(path.name for path in folder.glob("*.bin")):
        raise ModelError(f"{folder}: {pickles[0]} is a pickle, which is not read; get the safetensors of this model")
    raise ModelError(f"{folder}: there are no safetensors in it; the download is partial, get the rest")


def _shards(index: Path) -> list[Path]:
    """The files that an index of shards names, once they are all there."""
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise ModelError(f"{index}: 'weight_map' names no files; expected an index of safetensors")
    names = sorted(set(named.values()))
    for name in names:
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise ModelError(f"{index}: names {name!r:.80}; expected safetensors beside it")
        if not (index.parent / name).is_file():
            raise ModelError(
                f"{index.parent}: {name} is missing, which {index.name} names; the download is partial, get the rest"
            )
    return [index.parent / name for name in names]


def count_weights(path: Path) -> int:
    """Number of weights in a safetensors file, by its header alone.

    Raises:
        ModelError: It is no such file, or not the whole of it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise ModelError(f"{path}: no safetensors file, or cut short ({size:,} bytes); get it again")
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0)
        number = int(sum(math.prod(entry["shape"]) for entry in tensors))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: no safetensors file, its header is damaged; get it again") from error
    if end != size:
        raise ModelError(f"{path}: {size:,} bytes of the {end:,} that its header announces; get it again")
    return number


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file.

    Raises:
        ModelError: It is absent, too large, or something else.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ModelError(f"{path}: larger than {_MAX_JSON_BYTES >> 20} MiB, the most that is read")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON ({' '.join(str(error).split()):.100})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected an object, not {type(content).__name__}")
    return content


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 in hexadecimal digits of every file of weights, by its path below the folder."""
    return {path.relative_to(folder).as_posix(): _hash(path) for path in sorted(folder.glob("*/*.safetensors"))}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
