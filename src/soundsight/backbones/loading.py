"""From a name on the hub, or a folder in the layout of ``diffusers``, to a ``Backbone``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

import torch

from soundsight.backbones import memory
from soundsight.backbones.backbone import Backbone
from soundsight.backbones.card import check_weights, words_of
from soundsight.backbones.memory import Offload, Plan, Precision
from soundsight.errors import ModelError, SoundsightError, require
from soundsight.foreign import line, quiet
from soundsight.texts.diffusion.folder import Folder, find, load_plain, load_weights, read
from soundsight.texts.diffusion.weights import read_json

__all__ = ["load"]

_TYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load(
    name_or_folder: str | Path,
    *,
    precision: Precision = "fp32",
    offload: Offload = "none",
    attention_slicing: bool = False,
    vae_slicing: bool = False,
    vae_tiling: bool = False,
    without: Collection[str] = (),
    revision: str | None = None,
    download: bool = False,
) -> Backbone:
    """A frozen Stable Diffusion 3, 3.5, XL or 1.5, on the GPU where there is one.

    Only safetensors are read, and no code but that of ``diffusers`` and ``transformers`` is run.

    Args:
        name_or_folder: Such as ``stabilityai/stable-diffusion-3-medium-diffusers``, from the hub's cache, or a folder
            with ``model_index.json``; a folder of that name wins.
        precision: Of weights and work; ``fp16`` needs a GPU.
        offload: ``model`` keeps one part at a time on the GPU, ``sequential`` one layer: less memory, more time.
        attention_slicing: Attention in two steps: less memory, a little slower. Stable Diffusion XL and 1.5 have it.
        vae_slicing: Decode one picture at a time.
        vae_tiling: Decode a picture tile by tile.
        without: Text encoders to leave out, such as ``text_encoder_3``; they need not be there.
        revision: Branch, tag or commit on the hub.
        download: Get it from the hub where it is not in its cache yet; otherwise nothing is fetched.

    Raises:
        MissingExtraError: ``diffusers``, ``transformers`` or ``accelerate`` is not installed.
        SoundsightError: An option that there is not.
        ModelError: It is absent, partial, damaged, of another kind, or too large for this machine.
    """
    for module in ("diffusers", "transformers", "accelerate"):
        require(module, "sd3", "a frozen text-to-image model")
    on_gpu = torch.cuda.is_available()
    _check_options(precision, offload, on_gpu=on_gpu)
    path = find(name_or_folder, download=download, revision=revision)
    folder = read(path, name=str(name_or_folder), without=without)
    if unknown := sorted(set(without) - set(folder.family.encoders)):
        raise SoundsightError(f"cannot leave out {unknown[0]!r}; expected {', '.join(folder.family.encoders)}")
    check_weights(path)
    words = words_of(path)
    names = [name for name in folder.parts if name not in without]
    plan = _plan(folder, names, precision, offload, on_gpu=on_gpu, is_tiled=vae_tiling)
    memory.check(plan, folder.name)
    pipeline = _build(folder, names, _TYPES[precision], "cuda" if on_gpu and offload == "none" else "cpu")
    if attention_slicing:
        pipeline.enable_attention_slicing()
    if vae_slicing:
        pipeline.vae.enable_slicing()
    if vae_tiling:
        pipeline.vae.enable_tiling()
    _place(pipeline, offload, on_gpu=on_gpu)
    return Backbone(pipeline, folder.family, folder.name, words)


def _check_options(precision: str, offload: str, *, on_gpu: bool) -> None:
    for name, value, allowed in (
        ("precision", precision, get_args(Precision)),
        ("offload", offload, get_args(Offload)),
    ):
        if value not in allowed:
            raise SoundsightError(f"{name} is {value!r:.60}; expected {', '.join(allowed)}")
    if not on_gpu and precision == "fp16":
        raise SoundsightError("precision fp16 needs a GPU, and there is none; expected fp32 or bf16")
    if not on_gpu and offload != "none":
        raise SoundsightError(f"offload {offload} moves parts off a GPU, and there is none; leave it 'none'")


def _plan(
    folder: Folder, names: Collection[str], precision: Precision, offload: Offload, *, on_gpu: bool, is_tiled: bool
) -> Plan:
    """What a picture of the usual size takes; sizes that config.json does not have are those of Stable Diffusion 3."""
    vae = read_json(folder.parts["vae"].folder / "config.json")
    network = read_json(folder.parts[folder.family.network].folder / "config.json")
    widths = _numbers(vae, "block_out_channels", [128, 256, 512, 512])
    scale = 2 ** (len(widths) - 1)
    side = _numbers(network, "sample_size", [128])[0] * scale
    if is_tiled:
        side = min(side, _numbers(vae, "sample_size", [512])[0])
    weights = {name: folder.parts[name].num_weights for name in names}
    return Plan(weights, side * side, widths[0], precision, offload, on_gpu)


def _numbers(config: Mapping[str, Any], key: str, usual: list[int]) -> list[int]:
    """One or more whole numbers in a config that may hold anything."""
    value = config.get(key)
    found = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int)]
    return found if found and all(0 < each < 1 << 16 for each in found) else usual


def _build(folder: Folder, names: Collection[str], dtype: torch.dtype, device: str) -> Any:
    """The pipeline of ``diffusers``, with None for every part that is not there.

    Each part leaves for the device before the next is read, so that the main memory holds one at a time.
    """
    import diffusers

    plain = {tokenizer: encoder for encoder, (tokenizer, _) in folder.family.tokenizers.items()}
    parts: dict[str, Any] = dict.fromkeys([*folder.family.encoders, *plain])
    for name in names:
        if name in plain and plain[name] not in names:
            continue
        has_weights = folder.parts[name].num_weights > 0
        parts[name] = load_weights(folder, name, dtype).to(device) if has_weights else load_plain(folder, name)
    if folder.family.is_checked:
        parts = {"safety_checker": None, "feature_extractor": None, **parts}
    try:
        with quiet("diffusers"):
            return getattr(diffusers, folder.class_name)(**parts, **folder.flags)
    except Exception as error:  # parts that a folder puts together as it likes
        raise ModelError(f"{folder.path}: its parts make no {folder.family.name} ({line(error)})") from error


def _place(pipeline: Any, offload: Offload, *, on_gpu: bool) -> None:
    with quiet("diffusers"):
        if offload == "model":
            pipeline.enable_model_cpu_offload()
        elif offload == "sequential":
            pipeline.enable_sequential_cpu_offload()
        elif on_gpu:
            pipeline.to("cuda")
