"""A frozen text-to-image model that paints what a sound says; ``diffusers``' own pipeline does the painting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from soundsight import noise
from soundsight.backbones import memory
from soundsight.backbones.card import Words
from soundsight.backbones.joining import Layout, Told, blend, layout_of
from soundsight.backbones.layers import Turn
from soundsight.backbones.regions import Region, check_places, mask_of, painted_by_regions
from soundsight.backbones.settings import check_settings, sides_of
from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError, SoundsightError, TooLargeError
from soundsight.foreign import line, quiet
from soundsight.texts.diffusion.encoders import DiffusionTexts
from soundsight.texts.diffusion.families import Family

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backbone", "Painting"]

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]

_REMEMBERED = 16
# U-Nets' pipelines want whole blocks of 8 pixels, whatever their autoencoder scales by.
_BLOCK = 8
# Of latents, where a config does not say it: Stable Diffusion XL's.
_USUAL_SIDE = 128


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """What came of it.

    Attributes:
        images_NCHW: (N, 3, H, W) float32 in [0, 1].
        withheld: Rows that the model's safety checker has made black; tell it, where there are any.
    """

    images_NCHW: Float32
    withheld: tuple[int, ...] = ()


class Backbone:
    """A pipeline of ``diffusers`` that is told by sounds.

    Args:
        pipeline: A Stable Diffusion 3, XL or 1.5 with its weights; its text encoders may be None.
        family: Which.
        name: What the user calls it, for messages.
        words: Whose words it was taught, where that is known and its text encoders are not there to say it.

    Raises:
        ModelError: The parts of the pipeline do not fit each other.
    """

    def __init__(self, pipeline: Any, family: Family, name: str, words: Words | None = None) -> None:
        self.pipeline, self.family, self.name, self.words = pipeline, family, name, words
        self.layout: Layout = layout_of(pipeline, family, name, is_ours=words is not None)
        pipeline.set_progress_bar_config(disable=True)
        here = [part for part in family.encoders if getattr(pipeline, part, None) is not None]
        self.texts = DiffusionTexts(
            family,
            {part: getattr(pipeline, part) for part in here},
            {part: getattr(pipeline, family.tokenizers[part][0]) for part in here},
            device=lambda: pipeline._execution_device,
        )
        self._read: dict[str, Conditioning] = {}

    @property
    def default_size(self) -> int:
        """Side in pixels of the square pictures that it was made for."""
        side = self._network.config.sample_size  # one number, one for each side, or none
        side = min(side, default=None) if isinstance(side, list | tuple) else side
        return int(side if isinstance(side, int) else _USUAL_SIDE) * int(self.pipeline.vae_scale_factor)

    @property
    def size_step(self) -> int:
        """Sides of pictures are multiples of this."""
        scale = int(self.pipeline.vae_scale_factor)
        if self.family.network == "transformer":
            return scale * int(self._network.config.patch_size)
        return math.lcm(_BLOCK, scale)

    @property
    def max_size(self) -> int | None:
        """Longest side in pixels, where it knows one: a transformer has so many places on a side."""
        places = getattr(self._network.config, "pos_embed_max_size", None)
        return int(places) * self.size_step if places else None

    @property
    def _network(self) -> Any:
        return getattr(self.pipeline, self.family.network)

    def check(self, conditioning: Conditioning) -> None:
        """Refuse what this backbone cannot be told, before a minute is spent.

        Raises:
            ModelError: A size does not fit, a number is not finite, or nothing of it is heard.
        """
        self.layout.check(conditioning)

    def read_with_words(self, template: str, words_BKW: Tensor) -> Conditioning:
        """What this model's own CLIPs say of a prompt with K learned words in it.

        Args:
            template: A prompt with one ``{label}``, where the words go.
            words_BKW: (B, K, W), as ``DiffusionTexts.encode_with_tokens`` takes them.

        Raises:
            SoundsightError: There is nobody to read it, or the template has no such place.
            ModelError: W does not fit.
        """
        if not self.texts.widths:
            raise SoundsightError(f"{self.name} has no text encoder to read {template!r:.60}; choose a whole model")
        with quiet("diffusers"):
            return self.texts.encode_with_tokens(template, words_BKW)

    def paint(
        self,
        conditioning: Conditioning,
        *,
        num_images: int = 1,
        seed: int = 0,
        rows: Sequence[int] | None = None,
        size: int | tuple[int, int] | None = None,
        steps: int = 28,
        guidance: float = 7.0,
        prompt: str = "",
        negative: str = "",
        share: float = 0.0,
        turn: Turn | None = None,
        regions: Sequence[Region] = (),
        callback: Progress | None = None,
    ) -> Painting:
        """Pictures of what B sounds say.

        What they do not say is this model's own text encoders' for the prompt, or zeros where it has none.

        Args:
            conditioning: Of B sounds, on any device.
            num_images: Of each sound, 1 to 1000. Picture i of every sound starts from the same noise, which the seed
                and i decide, not the batch.
            seed: 0 to 2**64 - 1.
            rows: Noise of its own for each of B sounds, with one picture of each: that of picture ``rows[b]``.
            size: Side in pixels, or height and width; multiples of ``size_step``. None is ``default_size``.
            steps: 1 to 1000.
            guidance: How closely the words are followed, 0 to 100; from 0 to 1 is without guidance.
            prompt: A text beside the sound.
            negative: A text that says what not to paint.
            share: Of the text in what both say, 0 to 1: 0 is the sound alone, 1 the text alone.
            turn: Another sound, which takes over after a share of the steps.
            regions: Other sounds, each with a place of its own; the rest is painted as ``conditioning`` says.
            callback: Called with the number of steps that are done, and of all.

        Returns:
            B·num_images pictures, a sound's one after the other.

        Raises:
            SoundsightError: A setting is out of range, places overlap, or there is nobody to read a text.
            ModelError: Sizes do not fit, memory ran out, or the weights make no finite numbers.
        """
        check_settings(num_images, seed, steps, guidance, share, prompt)
        size = self.default_size if size is None else size
        height, width = sides_of(size, self.size_step, self.max_size, self.name)
        boxes = check_places([region.place for region in regions])
        num = max((len(part) for part in conditioning.parts.values()), default=1)

        def told_by(said: Conditioning) -> Told:
            if strange := {len(part) for part in said.parts.values()} - {1, num}:
                raise SoundsightError(f"a layer of {strange.pop()} sounds over {num}; expected one, or as many")
            return self._tell(said, prompt, share, num)

        told = told_by(conditioning)
        # Which noise each sound's pictures start from.
        rows = list(range(num_images)) * num if rows is None else [int(row) for row in rows]
        assert len(rows) == num * num_images, "a row for each sound, and one picture of each"
        masks = [mask_of(box, *self._latent_shape(height, width)[1:]) for box in boxes]
        there = [(mask, told_by(region.conditioning)) for mask, region in zip(masks, regions, strict=True)]
        later = told_by(turn.conditioning) if turn is not None else None
        if turn is not None and later is not None and round(turn.after * steps) == 0:
            told, later = later, None
        groups = self._groups(len(rows), height, width)

        def painted(group: range, watch: Progress | None) -> Painting:
            sounds = [i // num_images for i in group]
            own = [rows[i] for i in group]
            words, words_later = told.rows(sounds), later and later.rows(sounds)
            avoided = self._avoided(negative, words) if guidance > 1 else None
            with ExitStack() as stack:
                if there:
                    others = [(mask, words.rows(sounds)) for mask, words in there]
                    stack.enter_context(painted_by_regions(self._network, others, len(group)))
                return self._run(
                    _arguments(words, avoided),
                    height=height,
                    width=width,
                    num_inference_steps=steps,
                    guidance_scale=guidance,
                    latents=self._latents(seed, own, height, width),
                    generator=_generators(seed, own),
                    callback_on_step_end=self._at_step_end(words_later, avoided, turn.after if turn else 1.0, watch),
                    callback_on_step_end_tensor_inputs=list(self._changed) if later else ["latents"],
                )

        parts = [painted(group, _part_of(callback, i, len(groups))) for i, group in enumerate(groups)]
        withheld = [group[i] for group, part in zip(groups, parts, strict=True) for i in part.withheld]
        return Painting(np.concatenate([part.images_NCHW for part in parts]), tuple(withheld))

    def _groups(self, num: int, height: int, width: int) -> list[range]:
        """Which pictures are painted at once; memory for them is asked for before a minute is spent.

        How many does not depend on what is free, so that a seed's pictures are the same to the bit.
        """
        vae = self.pipeline.vae
        size = memory.num_together(height, width)
        is_tiled = getattr(vae, "use_tiling", False)
        longest = max(height, width)
        small = int(getattr(vae, "tile_sample_min_size", 0) or longest)
        tile = small if is_tiled else longest
        is_upcast = vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
        is_one_by_one = getattr(vae, "use_slicing", False)
        together = 1 if is_one_by_one else min(size, num)
        pixels = together * min(height, tile) * min(width, tile)
        helping = "paint a smaller one" if together == 1 else "paint fewer, or load the model with vae_slicing"
        if small < longest and not is_tiled:
            helping += ", or load the model with vae_tiling" if together == 1 else " and vae_tiling"
        memory.check_work(
            f"{self.name}: {together} picture{'' if together == 1 else 's'} of {height} x {width}",
            pixels * int(vae.config.block_out_channels[0]) * (4 if is_upcast else vae.dtype.itemsize),
            on_gpu=self.pipeline._execution_device.type == "cuda",
            helping=helping,
        )
        return [range(first, min(first + size, num)) for first in range(0, num, size)]

    @property
    def _changed(self) -> tuple[str, ...]:
        """What the pipeline calls the words while it paints."""
        if self.family.network == "transformer":
            return "prompt_embeds", "pooled_prompt_embeds"
        return ("prompt_embeds", "add_text_embeds") if self.layout.pooled else ("prompt_embeds",)

    def _run(self, words: dict[str, Tensor], **settings: Any) -> Painting:
        try:
            with quiet("diffusers"):
                found = self.pipeline(**words, **settings, output_type="np")
        except torch.OutOfMemoryError as error:
            raise TooLargeError(
                f"{self.name}: the GPU's memory ran out; paint fewer or smaller pictures at once, or load it with "
                "another offload, with vae_slicing or with vae_tiling"
            ) from error
        except SoundsightError:  # of whoever watches; a whole call takes its parts off the GPU at its end
            self.pipeline.maybe_free_model_hooks()
            raise
        except Exception as error:  # parts that a folder puts together as it likes
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                raise TooLargeError(
                    f"{self.name}: the memory ran out; paint fewer or smaller pictures at once, or load it with "
                    "vae_slicing, vae_tiling or precision bf16"
                ) from error
            raise ModelError(f"{self.name}: it cannot paint ({line(error)})") from error
        images_NCHW = np.ascontiguousarray(found.images.transpose(0, 3, 1, 2), np.float32)
        if not np.isfinite(images_NCHW).all():
            raise ModelError(f"{self.name}: its weights make no finite numbers; precision bf16 or fp32 may")
        flags = getattr(found, "nsfw_content_detected", None) or []
        return Painting(images_NCHW, tuple(i for i, is_withheld in enumerate(flags) if is_withheld))

    def _tell(self, said: Conditioning, prompt: str, share: float, num: int) -> Told:
        """``num`` rows of words, in the model's precision, where it wants them."""
        self.layout.check(said)
        words = blend(self.layout.heard(said), self._text(prompt), share)
        return self.layout.join(words, num, self.pipeline._execution_device, self._network.dtype)

    def _avoided(self, negative: str, like: Told) -> Told:
        """What guidance leads away from; Stable Diffusion XL takes zeros for no text."""
        if not negative and getattr(self.pipeline.config, "force_zeros_for_empty_prompt", False):
            pooled_BP = None if like.pooled_BP is None else torch.zeros_like(like.pooled_BP)
            return Told(torch.zeros_like(like.tokens_BLD), pooled_BP)
        place = like.tokens_BLD.device, like.tokens_BLD.dtype
        return self.layout.join(self._text(negative), len(like.tokens_BLD), *place)

    def _text(self, text: str) -> Conditioning:
        """What the model's own text encoders say of a text; nothing where it has none."""
        if not self.texts.widths:
            if text:
                raise SoundsightError(f"{self.name} has no text encoder to read {text!r:.60}; leave the text out")
            return Conditioning()
        if text not in self._read:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            with quiet("diffusers"):
                self._read[text] = self.layout.heard(self.texts.encode([text]))
        return self._read[text]

    def _latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        scale = int(self.pipeline.vae_scale_factor)
        return int(self._network.config.in_channels), height // scale, width // scale

    def _latents(self, seed: int, rows: Sequence[int], height: int, width: int) -> Tensor:
        """Unit noise (N, C, h, w): the pipelines scale it as their schedulers want."""
        shape = self._latent_shape(height, width)
        drawn = {row: torch.from_numpy(noise.draw(seed, 1, math.prod(shape), first=row)) for row in set(rows)}
        return torch.cat([drawn[row] for row in rows]).view(-1, *shape).to(self._network.dtype)

    def _at_step_end(
        self, later: Told | None, avoided: Told | None, after: float, callback: Progress | None
    ) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
        def at_step_end(pipeline: Any, step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            num = int(pipeline.num_timesteps)
            if callback is not None:
                callback(step + 1, num)
            if later is None or step + 1 != max(1, round(after * num)):
                return {}
            words = later if avoided is None else avoided.followed_by(later)
            return dict(zip(self._changed, (words.tokens_BLD, words.pooled_BP), strict=False))

        return at_step_end


def _arguments(told: Told, avoided: Told | None) -> dict[str, Tensor]:
    """Words as a pipeline's call takes them."""
    words = {"prompt_embeds": told.tokens_BLD, "pooled_prompt_embeds": told.pooled_BP}
    if avoided is not None:
        words |= {"negative_prompt_embeds": avoided.tokens_BLD, "negative_pooled_prompt_embeds": avoided.pooled_BP}
    return {name: tensor for name, tensor in words.items() if tensor is not None}


def _part_of(callback: Progress | None, index: int, num: int) -> Progress | None:
    """Steps of one of ``num`` groups as steps of all."""
    if callback is None:
        return None
    return lambda done, total: callback(index * total + done, num * total)


def _generators(seed: int, rows: Sequence[int]) -> list[torch.Generator]:
    """Where a scheduler draws noise on the way, each picture from its own: the batch changes nothing."""
    seeds = [int(np.random.SeedSequence([seed, row]).generate_state(1, np.uint64)[0]) for row in rows]
    return [torch.Generator("cpu").manual_seed(own) for own in seeds]
