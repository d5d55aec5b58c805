"""CLAP, sounds and texts in one space, through ``transformers``: 512 numbers for a sound of up to 10 s.

Wu et al., *Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation*,
ICASSP 2023. Only the half that hears is loaded. The front end of ``transformers`` picks a part of a longer sound by
chance, and in the models with fusion a sound that it calls longer; here neither happens: a longer sound is heard in
windows of 10 s, evenly spread, and an embedding depends on its sound alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from soundsight.audio import Clip
from soundsight.encoders.embedding import Embedding, identity_of, pool
from soundsight.errors import ModelError, require
from soundsight.folder import MAX_WEIGHT_BYTES
from soundsight.foreign import line, quiet

if TYPE_CHECKING:
    from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor

__all__ = ["Clap", "load", "windows"]

Float32 = NDArray[np.float32]

RATE_HZ = 48_000
_CONFIG, _FRONT_END, _WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_FILES = (_CONFIG, _FRONT_END, _WEIGHTS)
_MAX_CONFIG_BYTES = 1 << 20
_MAX_WINDOW_S = 60
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# Size and licence, as their pages on the hub say.
_KNOWN = {"laion/clap-htsat-fused": "614 MB, Apache-2.0", "laion/clap-htsat-unfused": "615 MB, Apache-2.0"}
# What decides, beside the weights and their shapes, what becomes of a sound.
_HEARING = (
    *("feature_size", "sampling_rate", "hop_length", "max_length_s", "fft_window_size", "frequency_min"),
    *("frequency_max", "truncation", "padding"),
)
_NETWORK = (
    *("window_size", "num_mel_bins", "spec_size", "patch_stride", "num_attention_heads", "hidden_act"),
    *("projection_hidden_act", "layer_norm_eps", "enable_fusion", "fusion_type", "flatten_patch_embeds"),
)


class Clap:
    """CLAP with its weights: one token for a sound of up to 10 s, one for each window of a longer one.

    Args:
        model: The half that hears, with its weights.
        front_end: What prepares a sound for it.
    """

    name = "clap"
    sample_rate_hz = RATE_HZ

    def __init__(self, model: ClapAudioModelWithProjection, front_end: ClapFeatureExtractor) -> None:
        self._model, self._front_end = model.eval().requires_grad_(False), front_end
        self.size: int = model.config.projection_dim
        self.identity = identity_of(
            {
                "encoder": self.name,
                **{f"hearing.{key}": getattr(front_end, key) for key in _HEARING},
                **{f"network.{key}": getattr(model.config, key) for key in _NETWORK},
            },
            {name: tensor.numpy() for name, tensor in model.state_dict().items()},
        )

    def encode(self, clips: Sequence[Clip]) -> list[Embedding]:
        """An embedding of each clip at 48,000 Hz: tokens (L, D) of length 1, and their mean, scaled to length 1.

        Raises:
            ModelError: The weights give numbers that are not finite.
        """
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Clip) -> Embedding:
        assert clip.sample_rate_hz == self.sample_rate_hz, "resample before encoding"
        parts = windows(clip.samples, self._front_end.nb_max_samples)
        tokens_LD = np.concatenate([self._token(part_T) for part_T in parts])
        if not np.isfinite(tokens_LD).all():
            raise ModelError("CLAP: its weights make no finite numbers of this sound; are they the right ones?")
        return Embedding(tokens_LD, pool(tokens_LD))

    def _token(self, samples_T: Float32) -> Float32:
        """What the network says of at most 10 s: (1, D), of length 1."""
        heard = self._front_end(samples_T, sampling_rate=self.sample_rate_hz, return_tensors="np")
        mel_1CNF = torch.from_numpy(np.asarray(heard["input_features"], np.float32))
        with torch.inference_mode():
            # No window is longer than what the network hears at once, whatever the front end may have drawn.
            said = self._model(input_features=mel_1CNF, is_longer=torch.zeros(1, 1, dtype=torch.bool))
        return _unit(said.audio_embeds.numpy())


def windows(samples_T: Float32, length: int) -> list[Float32]:
    """As few parts of ``length`` samples as cover a sound, evenly spread from its start to its end.

    They overlap where the sound is no multiple of their length. A sound that is not longer is its own only part.
    """
    num = math.ceil(len(samples_T) / length)
    if num <= 1:
        return [samples_T]
    spare = len(samples_T) - length
    return [samples_T[i * spare // (num - 1) :][:length] for i in range(num)]


def _unit(vectors: Float32) -> Float32:
    """Vectors (..., D) scaled to length 1; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.finfo(np.float32).tiny), np.float32)


def load(weights: str | Path, *, download: bool = False, revision: str | None = None) -> Clap:
    """CLAP from a folder, or from a hub by its name.

    Args:
        weights: A folder with ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``, or a name such
            as ``laion/clap-htsat-fused``; a folder of that name wins.
        download: Get it from the hub where it is not in its cache yet; otherwise nothing is fetched.
        revision: Branch, tag or commit on the hub.

    Raises:
        MissingExtraError: ``transformers`` is not installed.
        ModelError: It is absent, a pickle, or not CLAP.
    """
    require("transformers", "sd3", "the encoder 'clap'")
    folder = _find(str(weights), download, revision)
    _check(folder, str(weights))
    from transformers import ClapAudioModelWithProjection, ClapConfig, ClapFeatureExtractor

    try:
        with quiet():
            config = ClapConfig.from_pretrained(folder, local_files_only=True).audio_config
            front_end = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
            model, report = ClapAudioModelWithProjection.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever becomes of a folder that may hold anything
        raise ModelError(f"{folder}: cannot be loaded as CLAP ({line(error)})") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{folder}: {_WEIGHTS} lacks the tensor '{missing[0]}'; it is no CLAP as {_CONFIG} has it")
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ModelError(f"{folder}: tensor '{name}' in {_WEIGHTS} holds NaN or infinity")
    _check_front_end(folder, front_end, config)
    return Clap(model, front_end)


def _find(source: str, download: bool, revision: str | None) -> Path:
    """The folder that a folder or a hub's name stands for."""
    try:
        if Path(source).is_dir():
            return Path(source)
    except (OSError, ValueError):  # too long, or with a zero byte: no path at all
        pass
    if not _HUB_NAME.fullmatch(source):
        raise ModelError(f"{source!r:.200}: no such folder, nor a name on the hub; expected 'owner/name' or a folder")
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            return Path(
                snapshot_download(source, revision=revision, allow_patterns=list(_FILES), local_files_only=not download)
            )
    except Exception as error:  # no network, no such name, no permission, no room: the hub's errors have no common kind
        about = f" ({_KNOWN[source]})" if source in _KNOWN else ""
        tried = f"could not be downloaded ({line(error)})" if download else "is not on this machine"
        at = f" --revision {revision}" if revision else ""
        raise ModelError(
            f"{source}{about} {tried}; get it once by 'hf download {source} {' '.join(_FILES)}{at}', "
            "or name a folder with these files"
        ) from error


def _check(folder: Path, source: str) -> None:
    """Refuse a folder that lacks a file, or of another model, before ``transformers`` reads it."""
    # Of a name on the hub pickles are not fetched: what has a config and no weights has its weights in one.
    is_pickled = any(folder.glob("*.bin")) or (Path(source) != folder and (folder / _CONFIG).is_file())
    if not (folder / _WEIGHTS).is_file() and is_pickled:
        target = str(folder) if Path(source) == folder else "clap"
        raise ModelError(
            f"{source}: there is no {_WEIGHTS} in it, and pickles are not read; convert them once, by "
            f"transformers.ClapModel.from_pretrained({source!r}, use_safetensors=False).save_pretrained({target!r})"
            + ("" if Path(source) == folder else f", and put its {_FRONT_END} there")
        )
    limits = {_CONFIG: _MAX_CONFIG_BYTES, _FRONT_END: _MAX_CONFIG_BYTES, _WEIGHTS: MAX_WEIGHT_BYTES}
    for name, max_bytes in limits.items():
        if not (folder / name).is_file():
            raise ModelError(f"{source}: there is no {name} in it; expected {', '.join(_FILES)}")
        if (folder / name).stat().st_size > max_bytes:
            raise ModelError(f"{folder / name}: larger than {max_bytes >> 20:,} MiB, the most that is loaded")
    try:
        config = json.loads((folder / _CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / _CONFIG}: not valid JSON ({line(error)})") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "clap":
        raise ModelError(f"{folder / _CONFIG}: model_type is {kind!r:.60}; expected 'clap'")


def _check_front_end(folder: Path, front_end: ClapFeatureExtractor, config: Any) -> None:
    """Refuse a front end that is not the network's."""
    expected: dict[str, tuple[Any, ...]] = {
        "sampling_rate": (RATE_HZ,),
        "feature_size": (config.num_mel_bins,),
        "truncation": ("fusion",) if config.enable_fusion else ("rand_trunc",),
        "padding": ("repeatpad", "repeat", "pad"),
    }
    for key, allowed in expected.items():
        if (value := getattr(front_end, key)) not in allowed:
            wanted = " or ".join(map(repr, allowed))
            raise ModelError(f"{folder / _FRONT_END}: {key} is {value!r:.60}; this CLAP needs {wanted}")
    if not 0 < front_end.max_length_s <= _MAX_WINDOW_S:
        raise ModelError(
            f"{folder / _FRONT_END}: max_length_s is {front_end.max_length_s!r:.60}; expected 1 to {_MAX_WINDOW_S}"
        )
