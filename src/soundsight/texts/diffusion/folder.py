"""A text-to-image model as a folder in the layout of ``diffusers``: found, checked, and its parts loaded one by one."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsight.errors import ModelError
from soundsight.foreign import line, quiet
from soundsight.texts.diffusion.families import FAMILIES, KNOWN, Family
from soundsight.texts.diffusion.weights import count_weights, find_weights, read_json

if TYPE_CHECKING:
    import torch

__all__ = ["Folder", "Part", "find", "load_plain", "load_weights", "read"]

INDEX = "model_index.json"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# In the root of some repositories lie checkpoints of other programs, and half precision beside single in many.
_FETCHED = (INDEX, "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors")
_LEFT_OUT = ("*.fp16*", "*.non_ema*", "text_encoders/*")
_CHECKER = "StableDiffusionSafetyChecker"
# What a tokenizer cannot do without, and the forms that its vocabulary may have.
_CUTTING = "tokenizer_config.json"
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
_PLAIN = {
    "feature_extractor": (
        "CLIPImageProcessor",
        "CLIPImageProcessorFast",
        "CLIPImageProcessorPil",
        "CLIPFeatureExtractor",
    )
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a model.

    Attributes:
        folder: Where it lies.
        class_name: Its class, one of those that the family allows.
        variant: ``fp16`` where it is only there in half precision.
        num_weights: How many numbers its files hold; 0 for a part without weights.
    """

    folder: Path
    class_name: str
    variant: str | None = None
    num_weights: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """A model's folder, after it has been checked.

    Attributes:
        path: Where it is.
        name: What the user called it.
        family: What it is.
        class_name: Of its pipeline.
        parts: Those that are there, by name.
        flags: Settings for the pipeline.
    """

    path: Path
    name: str
    family: Family
    class_name: str
    parts: Mapping[str, Part]
    flags: Mapping[str, bool]


def find(source: str | Path, *, download: bool = False, revision: str | None = None) -> Path:
    """The folder that a folder or a hub's name stands for; nothing is fetched unless it is asked for.

    Raises:
        ModelError: There is none, or the download failed; the line says what to get, how large it is, where it goes.
    """
    name = str(source)
    try:
        if Path(name).is_dir():
            return Path(name)
    except (OSError, ValueError):  # too long, or with a zero byte: no path at all
        pass
    if not _HUB_NAME.fullmatch(name):
        raise ModelError(f"{name!r:.200}: no such folder, nor a name on the hub; expected 'owner/name' or a folder")
    from huggingface_hub import constants, snapshot_download

    options: dict[str, Any] = {"allow_patterns": list(_FETCHED), "ignore_patterns": list(_LEFT_OUT)}
    try:
        with quiet("diffusers"):
            return Path(snapshot_download(name, revision=revision, local_files_only=not download, **options))
    except Exception as error:  # no network, no such name, no permission, no room: the hub's errors have no common kind
        about = f" ({KNOWN[name]})" if name in KNOWN else ""
        tried = f"could not be downloaded ({line(error)})" if download else "is not on this machine"
        at = f" --revision {revision}" if revision else ""
        patterns = "".join(f' --include "{pattern}"' for pattern in _FETCHED)
        patterns += "".join(f' --exclude "{pattern}"' for pattern in _LEFT_OUT)
        raise ModelError(
            f"{name}{about} {tried}; get it once by 'hf download {name}{at}{patterns}', which puts it into "
            f"{constants.HF_HUB_CACHE}, or name a folder; 'soundsight generate --model digits' works without it"
        ) from error


def read(
    path: Path, *, name: str | None = None, wanted: Collection[str] | None = None, without: Collection[str] = ()
) -> Folder:
    """What a folder holds.

    Args:
        path: The folder.
        name: What the user called it, for messages.
        wanted: The only parts to look at; None for all.
        without: Text encoders that may be absent, though they are announced.

    Raises:
        ModelError: It is another thing, brings code of its own, or lacks a part or a file of one.
    """
    if not (path / INDEX).is_file():
        raise ModelError(f"{path}: there is no {INDEX} in it; expected a model in the layout of diffusers")
    index = read_json(path / INDEX)
    family = _family(path, index)
    parts: dict[str, Part] = {}
    for part in family.networks:
        if wanted is None or part in wanted:
            parts[part] = _read_part(path, index, part, "diffusers", family.networks[part])
    for encoder, classes in family.encoders.items():
        is_wanted = (wanted is None or encoder in wanted) and encoder not in without
        if is_wanted and index.get(encoder) not in (None, [None, None]):
            if not (path / encoder).is_dir():  # silence would be another picture, and nobody would know why
                raise ModelError(
                    f"{path}: the folder '{encoder}' is missing; the download is partial, get the rest, or do without "
                    f"this text encoder: --without {encoder}, and in a training targets.without=['{encoder}']"
                )
            parts[encoder] = _read_part(path, index, encoder, "transformers", classes)
            tokenizer, allowed = family.tokenizers[encoder]
            parts[tokenizer] = _read_plain(path, index, tokenizer, "transformers", allowed)
            _check_tokenizer(path / tokenizer)
    if wanted is None:
        parts["scheduler"] = _read_plain(path, index, "scheduler", "diffusers", None)
        if family.is_checked and index.get("safety_checker") not in (None, [None, None]):
            parts["safety_checker"] = _read_part(path, index, "safety_checker", "stable_diffusion", (_CHECKER,))
            parts["feature_extractor"] = _read_plain(
                path, index, "feature_extractor", "transformers", _PLAIN["feature_extractor"]
            )
    flags = {flag: index[flag] for flag in family.flags if isinstance(index.get(flag), bool)}
    return Folder(path, name or str(path), family, index["_class_name"], parts, flags)


def _family(path: Path, index: dict[str, Any]) -> Family:
    kind = index.get("_class_name")
    if isinstance(kind, str) and kind in FAMILIES:
        return FAMILIES[kind]
    known = ", ".join(f"{name} ({family.name})" for name, family in FAMILIES.items())
    raise ModelError(f"{path / INDEX}: _class_name is {kind!r:.80}; expected one of {known}")


def _class_of(path: Path, index: dict[str, Any], part: str, library: str, allowed: tuple[str, ...] | None) -> str:
    """The class of a part, once it is one that may be built."""
    entry = index.get(part)
    if entry in (None, [None, None]):
        raise ModelError(f"{path / INDEX}: names no '{part}', without which this model cannot paint")
    found = entry[1] if isinstance(entry, list) and len(entry) == 2 and entry[0] == library else None
    is_known = found in allowed if allowed else isinstance(found, str) and re.fullmatch(r"[A-Za-z0-9]+Scheduler", found)
    if not is_known:
        expected = " or ".join(allowed) if allowed else "one of its schedulers"
        raise ModelError(
            f"{path / INDEX}: '{part}' is {entry!r:.100}; expected {expected} of {library}, as no other code is run"
        )
    if not (path / part).is_dir():
        raise ModelError(f"{path}: the folder '{part}' is missing; the download is partial, get the rest")
    return str(found)


def _read_plain(path: Path, index: dict[str, Any], part: str, library: str, allowed: tuple[str, ...] | None) -> Part:
    return Part(path / part, _class_of(path, index, part, library, allowed))


def _check_tokenizer(folder: Path) -> None:
    """Refuse one that lacks a file: it would be built nevertheless, and cut texts into nothing."""
    here = {path.name for path in folder.iterdir()}
    if _CUTTING not in here:
        raise ModelError(f"{folder}: {_CUTTING} is missing; the download is partial, get the rest")
    if not any(here.issuperset(files) for files in _VOCABULARIES):
        expected = ", or ".join(" and ".join(files) for files in _VOCABULARIES)
        raise ModelError(f"{folder}: the vocabulary is missing, {expected}; the download is partial, get the rest")


def _read_part(path: Path, index: dict[str, Any], part: str, library: str, allowed: tuple[str, ...]) -> Part:
    class_name = _class_of(path, index, part, library, allowed)
    if not (path / part / "config.json").is_file():
        raise ModelError(f"{path / part}: config.json is missing; the download is partial, get the rest")
    read_json(path / part / "config.json")
    files, variant = find_weights(path / part)
    return Part(path / part, class_name, variant, sum(count_weights(file) for file in files))


def load_weights(folder: Folder, name: str, dtype: torch.dtype) -> Any:
    """A part with weights, in this precision, frozen.

    Raises:
        ModelError: It cannot be loaded, or some of its weights are not in its files.
    """
    part = folder.parts[name]
    is_diffusers = name in folder.family.networks
    precision = {"torch_dtype": dtype} if is_diffusers else {"dtype": dtype}
    try:
        with quiet("diffusers"):
            model, report = _class(part.class_name, is_diffusers=is_diffusers).from_pretrained(
                part.folder,
                variant=part.variant,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **precision,
            )
    except Exception as error:  # whatever becomes of a folder that may hold anything
        raise ModelError(f"{part.folder}: cannot be loaded as {part.class_name} ({line(error)})") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{part.folder}: the weights lack the tensor '{missing[0]}' that config.json asks for")
    return model.eval().requires_grad_(requires_grad=False)


def load_plain(folder: Folder, name: str) -> Any:
    """A part without weights: a tokenizer, a scheduler.

    Raises:
        ModelError: It cannot be loaded.
    """
    part = folder.parts[name]
    try:
        with quiet("diffusers"):
            found = _class(part.class_name, is_diffusers=name == "scheduler")
            return found.from_pretrained(part.folder, local_files_only=True)
    except Exception as error:  # as above
        raise ModelError(f"{part.folder}: cannot be loaded as {part.class_name} ({line(error)})") from error


def _class(name: str, *, is_diffusers: bool) -> Any:
    if name == _CHECKER:
        from diffusers.pipelines.stable_diffusion import safety_checker

        return safety_checker.StableDiffusionSafetyChecker
    import diffusers
    import transformers

    return getattr(diffusers if is_diffusers else transformers, name)
