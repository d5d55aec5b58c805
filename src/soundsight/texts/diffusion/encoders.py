"""What the text encoders of a Stable Diffusion say of prompts, and of prompts with a learned word in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError, SoundsightError
from soundsight.texts import Unread, unread_end
from soundsight.texts.diffusion.families import Family

__all__ = ["PLACEHOLDER", "DiffusionTexts"]

PLACEHOLDER = "{label}"
# Of a T5; a CLIP's is in its tokenizer.
T5_LENGTH = 256
# As many prompts are read at once; T5's tokens of 8 are 34 MB.
_BATCH = 8


class DiffusionTexts:
    """Frozen text encoders, and what cuts texts for them.

    Args:
        family: Of which model.
        encoders: By the names of its parts; at least one.
        tokenizers: Theirs.
        device: Where they are run; it is asked each time, as an offloaded model has no place of its own.

    Raises:
        ModelError: A tokenizer is not that of its text encoder.
    """

    name = "diffusion"

    def __init__(
        self,
        family: Family,
        encoders: Mapping[str, Any],
        tokenizers: Mapping[str, Any],
        device: Callable[[], torch.device] = lambda: torch.device("cpu"),
    ) -> None:
        self._family, self._device = family, device
        # By the part of a conditioning that they say, in the family's order.
        self._encoders = {part: encoders[name] for name, part in family.parts.items() if name in encoders}
        self._tokenizers = {part: tokenizers[name] for name, part in family.parts.items() if name in encoders}
        for part in self._encoders:
            self._check(part)

    @property
    def widths(self) -> dict[str, int]:
        """Width of the tokens that are said of each part."""
        return {part: int(encoder.config.hidden_size) for part, encoder in self._encoders.items()}

    @property
    def token_width(self) -> int:
        """Width W of a learned word: the widths of CLIP-L's and CLIP-G's input embeddings, together."""
        return sum(width for part, width in self.widths.items() if part != "t5")

    @cached_property
    def identity(self) -> str:
        """SHA-256 of all that an embedding depends on: weights, their precision, and how texts are cut."""
        content = hashlib.sha256(f"{self._family.name} {self._family.layer}".encode())
        for part, encoder in self._encoders.items():
            cutting = json.loads(self._tokenizers[part].backend_tokenizer.to_str())
            # What the last call left there.
            cutting = {key: value for key, value in cutting.items() if key not in ("padding", "truncation")}
            options = {key: str(getattr(encoder.config, key, None)) for key in ("hidden_act", "eos_token_id")}
            content.update(f"\n{part} {json.dumps([cutting, options], sort_keys=True)}".encode())
            for name, tensor in sorted(encoder.state_dict().items()):
                content.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return content.hexdigest()

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """What they say of B prompts, in the parts that they have, as the model's own pipeline has it.

        The start of a text counts that is longer than 77 tokens, of T5 256.

        Returns:
            Tokens (B, 77, D) of each CLIP and (B, 256, D) of T5; ``pooled`` of Stable Diffusion 3 where both CLIPs are
            there, of XL from CLIP-G, of 1.5 never.
        """
        assert prompts, "nothing to encode"
        told = [self._encode(list(prompts[i : i + _BATCH])) for i in range(0, len(prompts), _BATCH)]
        return Conditioning(**{part: torch.cat([each.parts[part] for each in told]) for part in told[0].parts})

    def unread(self, prompt: str) -> list[Unread]:
        """The end of a text that is too long for some of them, by the part that does not say it."""
        ends = [
            Unread(part, self._length(part), unread_end(self._tokenizers[part], prompt, self._length(part)))
            for part in self._encoders
        ]
        return [end for end in ends if end.rest]

    def encode_with_tokens(self, template: str, tokens_BKW: Tensor) -> Conditioning:
        """What the CLIPs say of a prompt in which K learned input embeddings stand in place of a word.

        Gradients reach ``tokens_BKW``. T5 is not asked, so that a backbone takes its own.

        Args:
            template: A prompt with one ``{label}``, a word of its own: ``an image of {label}``.
            tokens_BKW: (B, K, W), at the scale of the input embeddings. W is ``token_width``, with CLIP-L's columns
                first; or CLIP-L's width alone, and nothing else is said.

        Raises:
            SoundsightError: The template has no such place, or is too long.
            ModelError: W does not fit, or no CLIP is there.
        """
        if template.count(PLACEHOLDER) != 1:
            raise SoundsightError(f"the template {template!r:.100} needs one {PLACEHOLDER}, where the sound stands")
        widths = {part: width for part, width in self.widths.items() if part != "t5"}
        if tokens_BKW.shape[-1] == widths.get("clip_l"):
            widths = {"clip_l": widths["clip_l"]}
        if tokens_BKW.ndim != 3 or not widths or tokens_BKW.shape[-1] != sum(widths.values()):
            raise ModelError(
                f"learned tokens of shape {tuple(tokens_BKW.shape)}; these text encoders read (B, K, "
                f"{self.token_width}): {', '.join(f'{part} {width}' for part, width in widths.items()) or 'no CLIP'}"
            )
        said: dict[str, tuple[Tensor, Tensor | None]] = {}
        for part, own_BKW in zip(widths, torch.split(tokens_BKW, list(widths.values()), dim=2), strict=True):
            ids_BL, start = self._with_gap(part, template, own_BKW)
            with _placed(self._encoders[part].get_input_embeddings(), own_BKW, start):
                said[part] = self._read(part, ids_BL)
        return self._joined(said)

    def _encode(self, prompts: list[str]) -> Conditioning:
        return self._joined({part: self._read(part, self._cut(part, prompts)) for part in self._encoders})

    def _joined(self, said: Mapping[str, tuple[Tensor, Tensor | None]]) -> Conditioning:
        """Tokens as they are, and the pooled vector that the family has."""
        pooled = [vector for _, vector in said.values() if vector is not None]
        wanted = sum("CLIPTextModelWithProjection" in classes for classes in self._family.encoders.values())
        tokens = {part: tokens for part, (tokens, _) in said.items()}
        return Conditioning(pooled=torch.cat(pooled, dim=-1) if wanted and len(pooled) == wanted else None, **tokens)

    def _check(self, part: str) -> None:
        """Refuse a tokenizer with numbers or places that its text encoder does not have."""
        config, tokenizer = self._encoders[part].config, self._tokenizers[part]
        if len(tokenizer) > config.vocab_size:
            raise ModelError(
                f"the tokenizer of {part} knows {len(tokenizer):,} tokens, and its text encoder {config.vocab_size:,}; "
                "take both from one model"
            )
        if not isinstance(tokenizer.model_max_length, int):
            raise ModelError(
                f"the tokenizer of {part} cuts texts at {tokenizer.model_max_length!r:.60}, which is no number"
            )
        places = getattr(config, "max_position_embeddings", None)
        if places is not None and tokenizer.model_max_length > places:
            raise ModelError(
                f"the tokenizer of {part} cuts texts at {tokenizer.model_max_length:,} tokens, and its text encoder "
                f"reads {places}; take both from one model"
            )

    def _length(self, part: str) -> int:
        """How many tokens it reads, marks of start and end among them."""
        return T5_LENGTH if part == "t5" else int(self._tokenizers[part].model_max_length)

    def _cut(self, part: str, prompts: list[str]) -> Tensor:
        """Token numbers (B, L) of whole length."""
        cut = self._tokenizers[part](
            prompts, padding="max_length", max_length=self._length(part), truncation=True, return_tensors="pt"
        )
        ids_BL: Tensor = cut.input_ids
        return ids_BL

    def _with_gap(self, part: str, template: str, tokens_BKW: Tensor) -> tuple[Tensor, int]:
        """Token numbers (B, L) of a template with K places to be filled, and the first of these."""
        tokenizer = self._tokenizers[part]
        before, after = (
            tokenizer(text.strip(), add_special_tokens=False).input_ids for text in template.split(PLACEHOLDER)
        )
        num, length = tokens_BKW.shape[1], tokenizer.model_max_length
        if (needed := len(before) + num + len(after) + 2) > length:
            raise SoundsightError(f"the template {template!r:.100} takes {needed} tokens; {part} reads {length}")
        # The start's number holds the places: it is never taken for the end, at which CLIP pools.
        start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        ids = [start, *before, *[start] * num, *after, end]
        ids += [tokenizer.pad_token_id] * (length - len(ids))
        return torch.tensor(ids).expand(len(tokens_BKW), -1), 1 + len(before)

    def _read(self, part: str, ids_BL: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, L, D) of one encoder, and its pooled vector (B, P) where it has one."""
        encoder, ids_BL = self._encoders[part], ids_BL.to(self._device())
        if part == "t5":
            return encoder(ids_BL)[0], None
        said = encoder(ids_BL, output_hidden_states=True)
        layer = self._family.layer
        return said.last_hidden_state if layer is None else said.hidden_states[layer], said.get("text_embeds")


@contextmanager
def _placed(embedding: torch.nn.Module, tokens_BKW: Tensor, start: int) -> Iterator[None]:
    """While this lasts, ``tokens_BKW`` stand where the embeddings of K tokens would, from ``start``."""

    def replace(_module: torch.nn.Module, _arguments: object, found_BLW: Tensor) -> Tensor:
        own_BKW = tokens_BKW.to(found_BLW)
        return torch.cat([found_BLW[:, :start], own_BKW, found_BLW[:, start + own_BKW.shape[1] :]], dim=1)

    hook = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()
