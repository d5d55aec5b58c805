"""Any sound to a picture of a frozen text-to-image model: an encoder hears, an adapter says it, the backbone paints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from soundsight.audio import Clip
from soundsight.blending import shares_of
from soundsight.conditioning import Conditioning
from soundsight.controls import OF_BACKBONES, Controls, told
from soundsight.controls import check as check_controls
from soundsight.errors import SoundsightError
from soundsight.folder import ImageShape, ModelFolder
from soundsight.hearing import Audio, sound_name, stem_of
from soundsight.pipeline.audio_to_image import AudioToImage
from soundsight.result import Heard, Pictures

if TYPE_CHECKING:
    from soundsight.backbones.backbone import Backbone
    from soundsight.encoders import Encoder
    from soundsight.encoders.recalled import Recalled

__all__ = ["Prompted"]

# Inputs of networks that turn as a backbone's guidance and steps do.
_INPUTS = frozenset(("weights", "times")) | OF_BACKBONES
# A backbone paints pictures up to so many times its own size, if it can; larger ones, and sizes between its steps, are
# scaled.
_MAX_GROWTH = 2


class Prompted(AudioToImage):
    """An adapter in front of a frozen text-to-image model; called as any other pipeline.

    Calls from several threads at once wait for each other.

    Args:
        folder: The adapter's.
        adapter: With its weights.
        encoder: What hears for it, or what it once heard.
        backbone: What paints.

    Raises:
        ModelError: The adapter was trained for another encoder, or for other words than the backbone's.
    """

    in_parallel = False

    def __init__(self, folder: ModelFolder, adapter: Any, encoder: Encoder | Recalled, backbone: Backbone) -> None:
        from soundsight.adapters import check_encoder, check_words

        check_encoder(folder, name=encoder.name, size=encoder.size, identity=encoder.identity)
        if backbone.words is not None:
            check_words(folder, **backbone.words._asdict(), backbone=backbone.name)
        side = backbone.default_size
        self.folder = replace(folder, image=ImageShape(3, side, side))
        self.adapter, self.encoder, self.backbone = adapter, encoder, backbone
        self.on_step: Callable[[int, int], None] | None = None
        """Called while a picture is made, with the number of steps that are done, and of all."""
        self._lock = Lock()

    @property
    def sample_rate_hz(self) -> int:
        """Rate that the encoder listens at."""
        return self.encoder.sample_rate_hz

    @property
    def full_name(self) -> str:
        """The adapter's name and the backbone's."""
        return f"{self.folder.name} + {Path(self.backbone.name).name}"

    @property
    def listens(self) -> bool:
        """False: an adapter does not say what it takes a sound for."""
        return False

    def hear(self, sound: Audio, *, split: bool = False) -> list[Clip]:
        """Decode a sound; however long it is, it is one, as the encoder listens to all of it.

        Raises:
            AudioError: It cannot be read or used.
        """
        return [self._decode(sound)]

    def say(self, sound: Audio) -> Conditioning:
        """What the backbone is told of one sound, in place of a text.

        Raises:
            AudioError: The sound cannot be read or used.
            ModelError: The encoder failed.
            DatasetError: Of embeddings that were computed before, there is none of this sound.
        """
        return self._say(sound, self._decode(sound))

    def listen(self, sound: Audio) -> Heard | None:
        """None, as it does not say."""
        return None

    def paint(
        self,
        said: Sequence[Conditioning],
        rows: Sequence[int],
        seed: int = 0,
        size: int | None = None,
        *,
        on_step: Callable[[int, int], None] | None = None,
        **controls: Unpack[Controls],
    ) -> list[NDArray[np.float32] | None]:
        """A picture of each of several sounds in one call, as each has it when it is painted alone.

        Args:
            said: What the backbone is told of each, as ``say`` returns it.
            rows: The number of each picture among those of its sound, which decides its noise with the seed.
            seed: As for calling.
            size: Long side in pixels, of what the backbone paints; it may paint smaller ones, which are to be scaled.
            on_step: Called with the number of steps that are done, and of all.
            **controls: As for ``stream``, but no loudness to follow.

        Returns:
            (C, H, W) in [0, 1] for each; None where the backbone's safety checker withheld it.

        Raises:
            As for calling.
        """
        settings = self._settings(self.check(controls), [])
        with self._lock:
            painting = self.backbone.paint(
                Conditioning.joined(said), rows=rows, seed=seed, size=self._side(size), callback=on_step, **settings
            )
        return [None if i in painting.withheld else image for i, image in enumerate(painting.images_NCHW)]

    def num_together(self, size: int | None) -> int:
        """How many pictures of a size the backbone paints at once."""
        from soundsight.backbones import memory

        return memory.num_together(self._side(size), self._side(size))

    def stream(
        self,
        sound: Audio,
        num_images: int = 1,
        seed: int = 0,
        size: int | None = None,
        *,
        split: bool = True,
        name: str | None = None,
        **controls: Unpack[Controls],
    ) -> Iterator[Pictures]:
        """The pictures of a sound, which is never cut.

        Args:
            sound: As for calling; the others, too.
            num_images: As for calling.
            seed: As for calling.
            size: As for calling.
            split: Makes no difference here.
            name: What the sound is called, where that is not the name of its file.
            **controls: Guidance, steps, and those of text-to-image models.

        Yields:
            The pictures.
        """
        self.check_numbers(num_images, seed, size)
        self.check(controls)
        clip = self._decode(sound)
        yield self._paint(
            self._say(sound, clip), [clip], name or sound_name(sound), "", num_images, seed, size, controls
        )

    def mix(
        self,
        sounds: Sequence[Audio],
        weights: Sequence[float],
        num_images: int = 1,
        seed: int = 0,
        size: int | None = None,
        **controls: Unpack[Controls],
    ) -> Pictures:
        """Pictures of several sounds at once: the weighted mean of what they say.

        Args:
            sounds: Two or more.
            weights: One for each, above 0; they are divided by their sum.
            num_images: As for calling; the others, too.
            seed: As for calling.
            size: As for calling.
            **controls: As for ``stream``.

        Returns:
            ``Pictures`` whose ``sound`` names all of them.

        Raises:
            As for calling; SoundsightError also for weights that are not above 0 or not as many.
        """
        from soundsight.backbones.layers import mix

        shares = shares_of(weights, len(sounds))
        self.check_numbers(num_images, seed, size)
        self.check(controls)
        clips = [self._decode(sound) for sound in sounds]
        said = [self._say(*pair) for pair in zip(sounds, clips, strict=True)]
        mixed = mix(said, [float(weight) for weight in weights])
        names = " + ".join(f"{share:.2g} {sound_name(sound)}" for sound, share in zip(sounds, shares, strict=True))
        return self._paint(mixed, clips, names, stem_of(sounds, "+"), num_images, seed, size, controls)

    def morph(
        self,
        first: Audio,
        second: Audio,
        num_frames: int = 32,
        seed: int = 0,
        size: int | None = None,
        **controls: Unpack[Controls],
    ) -> Pictures:
        """Refused: between two sounds a backbone of this size would paint for hours.

        Raises:
            SoundsightError: Always.
        """
        raise SoundsightError(f"the model '{self.folder.name}' makes no films; mix two sounds with --mix instead")

    def check(self, controls: Mapping[str, Any]) -> Controls:
        """The controls as they came, where the backbone has them and every number is in range.

        Raises:
            TypeError: No such control.
            SoundsightError: A number is out of range, or a backbone has no such control.
        """
        checked = check_controls(controls, _INPUTS, self.folder)
        if controls.get("text_share") and not controls.get("prompt"):
            raise SoundsightError("a share for a text needs a text: give a prompt")
        if controls.get("follow_loudness") and "guidance" in controls:
            raise SoundsightError("guidance is what the loudness says: leave one of the two out")
        if controls.get("negative") and not controls.get("guidance", math.inf) > 1:
            raise SoundsightError("nothing leads away from a negative prompt without guidance: choose one above 1")
        for name in ("prompt", "negative") if not self.backbone.texts.widths else ():
            if text := controls.get(name):
                told = Path(self.backbone.name).name  # a server's folders are its own business
                raise SoundsightError(f"{told} has no text encoder to read {text!r:.60}; leave the text out")
        return checked

    def unread(self, controls: Mapping[str, Any]) -> list[str]:
        """A line for each text among the controls that is too long for the backbone's text encoders."""
        from soundsight.texts import unread_line

        asked = ((what, str(controls.get(what) or "")) for what in ("prompt", "negative"))
        lines = [unread_line(self.backbone.texts, [text], what) for what, text in asked if text]
        return [line for line in lines if line]

    def _say(self, sound: Audio, clip: Clip) -> Conditioning:
        import torch

        from soundsight.encoders.recalled import Recalled

        with self._lock, torch.inference_mode():
            if isinstance(self.encoder, Recalled):
                embedding = self.encoder.find(sound)
            else:
                (embedding,) = self.encoder.encode([clip])
            tokens_1LD, pooled_1D = (torch.from_numpy(x)[None] for x in (embedding.tokens_LD, embedding.pooled_D))
            said: Conditioning = self.adapter(tokens_1LD, pooled_1D)
        self.backbone.check(said)
        return said

    def _paint(
        self,
        said: Conditioning,
        clips: Sequence[Clip],
        name: str,
        stem: str,
        num_images: int,
        seed: int,
        size: int | None,
        controls: Controls,
    ) -> Pictures:
        settings = self._settings(controls, clips)
        with self._lock:
            painting = self.backbone.paint(
                said,
                num_images=int(num_images),
                seed=int(seed),
                size=self._side(size),
                callback=self.on_step,
                **settings,
            )
        images, turned = self._scale(painting.images_NCHW, size), told(controls)
        return Pictures(images, int(seed), self.full_name, name, stem=stem, turned=turned, withheld=painting.withheld)

    def _side(self, size: int | None) -> int:
        """Of the pictures that the backbone paints where these are wanted."""
        own, step = self.backbone.default_size, self.backbone.size_step
        most = min(_MAX_GROWTH * own, self.backbone.max_size or math.inf)
        return own if size is None or size > most else max(step, int(size) // step * step)

    def _settings(self, controls: Controls, clips: Sequence[Clip]) -> dict[str, Any]:
        """What the backbone is asked beside the sound."""
        from soundsight.backbones.layers import Turn, guidance_of_level
        from soundsight.backbones.regions import Region

        asked = cast("dict[str, Any]", dict(controls))
        settings: dict[str, Any] = {
            name: asked[name] for name in ("guidance", "steps", "prompt", "negative") if name in asked
        }
        settings["share"] = float(asked.get("text_share", 0.0))
        if asked.get("follow_loudness"):
            settings["guidance"] = guidance_of_level(max(_level_db(clip.samples) for clip in clips))
        if "then" in asked:
            sound, after = asked["then"]
            settings["turn"] = Turn(self.say(sound), float(after))
        settings["regions"] = [Region(self.say(sound), place) for sound, place in asked.get("places", ())]
        return settings


def _level_db(samples_T: NDArray[np.float32]) -> float:
    """RMS in dB of full scale; minus infinity for silence."""
    square = float(np.mean(np.square(samples_T, dtype=np.float64)))
    return 10 * math.log10(square) if square > 0 else -math.inf
