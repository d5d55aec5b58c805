"""A sentence encoder of BERT's kind: one vector for a prompt, the mean of its words.

Reimers & Gurevych, *Sentence-BERT*, EMNLP 2019, section 3. It paints nothing, but is small: with it an adapter can be
trained and measured where no text-to-image model is. Read is a folder as sentence-transformers leaves it, through
``transformers``: ``config.json``, ``model.safetensors`` and the tokenizer's files; ``modules.json`` and
``1_Pooling/config.json``, where they are there, say how words become a vector.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError, require
from soundsight.folder import MAX_WEIGHT_BYTES
from soundsight.foreign import line, quiet
from soundsight.texts import Unread, unread_end

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Sentence", "load"]

_CONFIG, _WEIGHTS, _MODULES, _POOLING = "config.json", "model.safetensors", "modules.json", "1_Pooling/config.json"
_TOKENIZERS = ("tokenizer.json", "vocab.txt")
# Networks that read a whole prompt at once and give a vector for each word, without code of their own.
_KINDS = ("albert", "bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
_STEPS = ("Transformer", "Pooling", "Normalize")
_MEAN, _CLS = "pooling_mode_mean_tokens", "pooling_mode_cls_token"
_MAX_CONFIG_BYTES = 1 << 20
_MAX_TOKENIZER_BYTES = 64 << 20
_MAX_WORDS = 512
_BATCH = 64


class Sentence:
    """A sentence encoder with its weights.

    Args:
        model: The network.
        tokenizer: What cuts a prompt into words.
        pooling: ``mean`` over the words, or ``cls``, the vector of the first.
        has_unit_length: Whether vectors are scaled to length 1.
        identity: As ``TextEncoder`` has it.
    """

    name = "sentence"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pooling: str,
        has_unit_length: bool,
        identity: str,
    ) -> None:
        self._model, self._tokenizer = model.eval().requires_grad_(False), tokenizer
        self._pooling, self._has_unit_length = pooling, has_unit_length
        self.identity = identity

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """A vector for each of B prompts: ``pooled`` (B, P) float32 alone.

        Raises:
            ModelError: There is no prompt, or the weights give numbers that are not finite.
        """
        if not prompts:
            raise ModelError("no prompts to encode; expected at least one")
        parts = [self._encode(list(prompts[first : first + _BATCH])) for first in range(0, len(prompts), _BATCH)]
        pooled_BP = torch.cat(parts)
        if not bool(pooled_BP.isfinite().all()):
            raise ModelError("the sentence encoder makes no finite numbers of the prompts; are its weights whole?")
        return Conditioning(pooled=pooled_BP)

    def unread(self, prompt: str) -> list[Unread]:
        """The end of a text that is too long."""
        rest = unread_end(self._tokenizer, prompt, self._length)
        return [Unread("the sentence encoder", self._length, rest)] if rest else []

    @property
    def _length(self) -> int:
        return min(_MAX_WORDS, int(getattr(self._model.config, "max_position_embeddings", _MAX_WORDS)))

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> Tensor:
        words = self._tokenizer(prompts, padding=True, truncation=True, max_length=self._length, return_tensors="pt")
        words_BLD = self._model(**words).last_hidden_state.float()
        if self._pooling == "cls":
            pooled_BD = words_BLD[:, 0]
        else:
            mask_BL1 = words["attention_mask"][..., None].to(words_BLD)
            pooled_BD = (words_BLD * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1)
        return functional.normalize(pooled_BD) if self._has_unit_length else pooled_BD


def load(source: str | Path) -> Sentence:
    """A sentence encoder from a folder; nothing is downloaded, and no code of the folder is run.

    Where nothing says how words become a vector, it is their mean, scaled to length 1.

    Args:
        source: The folder.

    Raises:
        MissingExtraError: ``transformers`` is not installed.
        ModelError: It is absent, incomplete, a pickle, of another kind, or pools in another way.
    """
    require("transformers", "sd3", "the text encoder 'sentence'")
    folder = Path(source)
    _check(folder)
    pooling, has_unit_length = _pooling(folder)
    from transformers import AutoModel, AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model, report = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # whatever becomes of a folder that may hold anything
        raise ModelError(f"{folder}: cannot be loaded as a sentence encoder ({line(error)})") from error
    # BERT's own pooler is not used; sentence encoders are often saved without it.
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")):
        raise ModelError(f"{folder}: {_WEIGHTS} lacks the tensor '{missing[0]}'; is the folder whole?")
    identity = _identity(folder, model, pooling, has_unit_length)
    return Sentence(model, tokenizer, pooling=pooling, has_unit_length=has_unit_length, identity=identity)


def _check(folder: Path) -> None:
    """Refuse a folder that lacks a file, or of another kind of network, before ``transformers`` reads it."""
    try:
        is_folder = folder.is_dir()
    except (OSError, ValueError):  # too long, or with a zero byte: no path at all
        is_folder = False
    if not is_folder:
        raise ModelError(f"{str(folder)!r:.200}: no such folder; expected one with a sentence encoder in it")
    if not (folder / _WEIGHTS).is_file() and any(folder.glob("*.bin")):
        raise ModelError(
            f"{folder}: there is no {_WEIGHTS} in it, and pickles are not read; convert them once, by "
            f"transformers.AutoModel.from_pretrained({str(folder)!r}, use_safetensors=False).save_pretrained(…)"
        )
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: there is no {name} in it; expected {_CONFIG}, {_WEIGHTS} and a tokenizer")
    tokenizers = [name for name in _TOKENIZERS if (folder / name).is_file()]
    if not tokenizers:
        raise ModelError(f"{folder}: there is no tokenizer in it; expected {' or '.join(_TOKENIZERS)}")
    for name, most in ((_WEIGHTS, MAX_WEIGHT_BYTES), *((name, _MAX_TOKENIZER_BYTES) for name in tokenizers)):
        if (folder / name).stat().st_size > most:
            raise ModelError(f"{folder / name}: larger than {most >> 20:,} MiB, the most that is loaded")
    config = _read_json(folder / _CONFIG)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in _KINDS:
        raise ModelError(f"{folder / _CONFIG}: model_type is {kind!r:.60}; expected one of {', '.join(_KINDS)}")


def _pooling(folder: Path) -> tuple[str, bool]:
    """How the vectors of words become one, ``mean`` or ``cls``; and whether that is scaled to length 1."""
    has_unit_length = True
    if (folder / _MODULES).is_file():
        modules = _read_json(folder / _MODULES)
        entries = modules if isinstance(modules, list) else [None]
        types = [str(entry.get("type")) if isinstance(entry, dict) else "nothing" for entry in entries]
        steps = tuple(name.rpartition(".")[2] for name in types)
        if steps not in (_STEPS, _STEPS[:2]):
            raise ModelError(
                f"{folder / _MODULES}: the steps are {', '.join(types) or 'none'!s:.200}; expected {', '.join(_STEPS)}"
            )
        has_unit_length = steps == _STEPS
    if not (folder / _POOLING).is_file():
        return "mean", has_unit_length
    modes = _read_json(folder / _POOLING)
    chosen = [key for key, value in modes.items() if value is True] if isinstance(modes, dict) else []
    chosen = [key for key in chosen if key.startswith("pooling_mode_")]
    if chosen not in ([_MEAN], [_CLS]):
        raise ModelError(
            f"{folder / _POOLING}: pools by {', '.join(chosen) or 'nothing'!s:.200}; expected {_MEAN} or {_CLS} alone"
        )
    return ("mean" if chosen == [_MEAN] else "cls"), has_unit_length


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ModelError(f"{path}: larger than {_MAX_CONFIG_BYTES >> 20} MiB, the most that is read")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON ({line(error)})") from error


def _identity(folder: Path, model: PreTrainedModel, pooling: str, has_unit_length: bool) -> str:
    """SHA-256 of the weights, of how they are used, and of the words that the tokenizer knows."""
    import hashlib

    config = _read_json(folder / _CONFIG)
    # What says where the network came from changes nothing in what it says.
    used = {key: value for key, value in config.items() if key not in ("_name_or_path", "transformers_version")}
    content = hashlib.sha256(json.dumps([used, pooling, has_unit_length], sort_keys=True).encode())
    for name in _TOKENIZERS:
        if (folder / name).is_file():
            content.update(f"\n{name}\n".encode() + (folder / name).read_bytes())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith("pooler."):
            array = tensor.contiguous().numpy()
            content.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
            content.update(array.data)
    return content.hexdigest()
