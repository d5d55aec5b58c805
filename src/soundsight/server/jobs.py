"""What requests want of the engine: pictures of a sound, a morph, an embedding."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight import audio, film, picture
from soundsight.alignment import Alignment
from soundsight.audio import Clip
from soundsight.controls import Controls, inputs_of, told
from soundsight.hearing import Hearing
from soundsight.pipeline import AudioToImage
from soundsight.pipeline.prompted import Prompted
from soundsight.result import Heard
from soundsight.server.answers import end_line, line, picture_facts, sound_facts, whole_number, zipped
from soundsight.server.events import Events
from soundsight.server.options import MAX_IMAGES, ImageOptions, MorphOptions
from soundsight.server.problems import Problem
from soundsight.server.rows import NetworkRow, PromptedRow, Row

__all__ = ["EmbeddingJob", "ImagesJob", "MorphJob", "PictureJob", "RequestJob"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

_MAX_PIXELS = 1 << 24
"""Of all pictures of a request: one of 4096 by 4096, or 64 of 512 by 512."""
_MAX_SAMPLES_PER_S = 8 * 48_000
"""In all channels of a sound together: eight at 48 kHz, two at 192 kHz."""
_FILM_PER_S = 12.0


@dataclass(eq=False)
class RequestJob:
    """What all jobs have in common.

    Attributes:
        events: Where it says what it has to say.
        deadline: Of ``time.monotonic``.
        max_duration_s: Of a sound.
    """

    events: Events
    deadline: float
    max_duration_s: float
    is_cancelled: bool = field(default=False, init=False)
    began: float = field(default_factory=time.monotonic, init=False)

    def begin(self) -> list[Row]:
        """Hear, and say what is to be painted."""
        raise NotImplementedError

    def step(self, done: int, num_steps: int) -> None:
        """Most do not tell."""

    def take(self, row: Row, image_CHW: Float32 | None, heard_X: Float32 | None) -> None:
        """Nothing was asked to be painted."""
        raise AssertionError

    def hear(self, hearing: Hearing, sound: bytes, *, split: bool = False) -> list[Clip]:
        """Decode and hear a sound, within limits."""
        clip = audio.decode(
            sound,
            sample_rate_hz=hearing.sample_rate_hz,
            max_duration_s=self.max_duration_s,
            max_samples=round(self.max_duration_s * _MAX_SAMPLES_PER_S),
        )
        return hearing.hear(clip, split=split)

    def finish(self) -> None:
        """Say that it is done."""
        self.events.say(None)

    def fail(self, problem: Problem) -> None:
        """Say what is wrong."""
        self.events.say(problem)


@dataclass(eq=False)
class PictureJob(RequestJob):
    """Pictures of one sound; what becomes of them is for those derived from it."""

    pipe: AudioToImage
    sound: bytes
    options: ImageOptions
    clips: list[Clip] = field(default_factory=list, init=False)
    features: list[Float32] = field(default_factory=list, init=False)
    heard: list[Heard | None] = field(default_factory=list, init=False)

    def begin(self) -> list[Row]:
        """Hear, and say what is to be painted."""
        asked = Controls(**self.options.controls)  # type: ignore[typeddict-item]
        self.clips = self.hear(self.pipe, self.sound, split=self.options.split)
        self.sound = b""  # not needed any more, and pictures may take a while
        num = self.options.num_images
        if len(self.clips) * num > MAX_IMAGES:
            raise Problem(
                422,
                f"{len(self.clips)} parts with {num} pictures each; at most {MAX_IMAGES} pictures are made at once",
                title="Unusable option",
            )
        _check_pixels(self.pipe, len(self.clips) * num, self.options.size)
        if isinstance(self.pipe, Prompted):
            return self._begin_prompted(self.pipe, num)
        noise_MD = self.pipe.draw_noise(self.options.seed, num, asked)
        inputs, key = inputs_of(asked), _key(self.options.controls)
        self.features = list(self.pipe.extract(self.clips))
        return [
            NetworkRow(self.pipe.generator, features_FN, noise_MD[index], inputs, key, part, index)
            for part, features_FN in enumerate(self.features)
            for index in range(num)
        ]

    def _begin_prompted(self, pipe: Prompted, num_images: int) -> list[Row]:
        """What was heard is told at once, as the first picture may take a while."""
        options, said = self.options, pipe.say(self.clips[0])
        self.heard.append(None)
        self.on_sound(0, self.clips[0], None, None)
        return [
            PromptedRow(pipe, said, options.seed, options.size, options.controls, index) for index in range(num_images)
        ]

    def take(self, row: Row, image_CHW: Float32 | None, heard_X: Float32 | None) -> None:
        """A picture at the size that is asked for; the first of a part brings what was heard in it."""
        if image_CHW is None:
            raise Problem(422, "the model's safety checker withheld a picture; another seed may do", title="Withheld")
        if row.index == 0 and self.features:
            self.heard.append(None if heard_X is None else self.pipe.named(heard_X))
            self.on_sound(row.part, self.clips[row.part], self.features[row.part], self.heard[-1])
        self.on_image(row.part, row.index, _at_size(image_CHW, self.options.size))

    def on_sound(self, part: int, clip: Clip, features_FN: Float32 | None, heard: Heard | None) -> None:
        """A part of the sound was heard."""

    def on_image(self, part: int, index: int, image_HWC: UInt8) -> None:
        """A picture was made."""
        raise NotImplementedError

    def metadata(self, part: int, index: int) -> dict[str, str | float]:
        """Where a picture comes from and how it was made; the name of the sound is its sender's own business."""
        origin: dict[str, str | float] = {"model": self.pipe.full_name, "seed": self.options.seed, "index": index}
        return origin | told(self.options.controls) | ({"part": part + 1} if len(self.clips) > 1 else {})


@dataclass(eq=False)
class ImagesJob(PictureJob):
    """``POST /v1/images`` in any format."""

    images: list[tuple[int, int, UInt8]] = field(default_factory=list, init=False)
    sounds: list[dict[str, Any]] = field(default_factory=list, init=False)

    def step(self, done: int, num_steps: int) -> None:
        """Tell how far the pictures in hand are."""
        if self.options.format == "ndjson":
            self.events.say(line({"type": "step", "done": done, "steps": num_steps}))

    def on_sound(self, part: int, clip: Clip, features_FN: Float32 | None, heard: Heard | None) -> None:
        """Tell what was heard, as it is heard or with the pictures."""
        if self.options.format not in ("json", "ndjson"):
            return
        facts = {"part": part, "num_parts": len(self.clips), **sound_facts(clip, features_FN, heard)}
        if self.options.format == "json":
            self.sounds.append(facts)
        else:
            self.events.say(line({"type": "sound", **facts}))

    def on_image(self, part: int, index: int, image_HWC: UInt8) -> None:
        """Send a picture, or keep it for the whole."""
        if self.options.format == "ndjson":
            self.events.say(line({"type": "image", **self._facts(part, index, image_HWC)}))
        else:
            self.images.append((part, index, image_HWC))

    def _facts(self, part: int, index: int, image_HWC: UInt8) -> dict[str, Any]:
        return picture_facts(part, index, image_HWC, self.metadata(part, index))

    def finish(self) -> None:
        """The end of the lines, or the whole answer."""
        self.images.sort(key=lambda image: image[:2])
        num = len(self.clips) * self.options.num_images
        if self.options.format == "ndjson":
            self.events.say(end_line(num, self.began))
        elif self.options.format == "json":
            whole = {
                "model": self.pipe.folder.name,
                "seed": whole_number(self.options.seed),
                "sounds": self.sounds,
                "images": [self._facts(*image) for image in self.images],
            }
            self.events.say(json.dumps(whole).encode())
        elif self.options.format == "zip":
            names = [f"picture_{i}.png" for i in range(num)]
            if len(self.clips) > 1:
                names = [f"picture-{part + 1}_{index}.png" for part, index, _ in self.images]
            self.events.say(zipped(names, [self._encoded(*image) for image in self.images]))
        else:
            self.events.say(self._sheet())
        super().finish()

    def _encoded(self, part: int, index: int, image_HWC: UInt8) -> bytes:
        return picture.encode(image_HWC, "png", self.metadata(part, index))

    def _sheet(self) -> bytes:
        suffix: picture.Format = {"jpeg": "jpg", "webp": "webp"}.get(self.options.format, "png")  # type: ignore[assignment]
        if len(self.images) == 1:
            return picture.encode(self.images[0][2], suffix, self.metadata(0, 0))
        rows: list[list[UInt8]] = [[] for _ in self.clips]
        for part, _, image_HWC in self.images:
            rows[part].append(image_HWC)
        height, width = rows[0][0].shape[:2]
        picture.grid_shape(len(rows), len(rows[0]), height, width, suffix)
        return picture.encode(picture.grid(rows), suffix, self.metadata(0, 0))


@dataclass(eq=False)
class MorphJob(RequestJob):
    """``POST /v1/morphs``: pictures from one sound to another."""

    pipe: AudioToImage
    first: bytes
    second: bytes
    options: MorphOptions
    frames: list[UInt8] = field(default_factory=list, init=False)

    def begin(self) -> list[Row]:
        """Hear both sounds, and say what is to be painted on the way."""
        options = self.options
        _check_pixels(self.pipe, options.num_frames, options.size)
        heard = [self.hear(self.pipe, sound) for sound in (self.first, self.second)]
        self.first = self.second = b""
        features_2FN = np.concatenate([self.pipe.extract(clips) for clips in heard])
        asked = Controls(**options.controls)  # type: ignore[typeddict-item]
        rows: list[Row] = []
        for i, step in enumerate(self.pipe.way(features_2FN, options.num_frames, options.seed, asked)):
            features_1FN, noise_1D, inputs = step
            # What is painted is an input of some networks: then each frame is a call of its own.
            key = id(inputs) if "given" in inputs else _key(options.controls)
            rows.append(NetworkRow(self.pipe.generator, features_1FN[0], noise_1D[0], inputs, key, 0, i))
        return rows

    def take(self, row: Row, image_CHW: Float32 | None, heard_X: Float32 | None) -> None:
        """Send a frame, or keep it for the whole."""
        assert image_CHW is not None, "networks of ours withhold nothing"
        image_HWC = _at_size(image_CHW, self.options.size)
        if self.options.format == "ndjson":
            facts = picture_facts(0, row.index, image_HWC, self._origin(row.index))
            place = round(row.index / (self.options.num_frames - 1), 6)
            self.events.say(line({"type": "image", **facts, "place": place}))
        else:
            self.frames.append(image_HWC)

    def finish(self) -> None:
        """The end of the lines, or the whole answer."""
        if self.options.format == "gif":
            self.events.say(film.encode_gif(np.stack(self.frames), _FILM_PER_S, self._origin()))
        elif self.options.format == "zip":
            files = [picture.encode(image_HWC, "png", self._origin(i)) for i, image_HWC in enumerate(self.frames)]
            self.events.say(zipped([f"frame_{i:02}.png" for i in range(len(files))], files))
        else:
            self.events.say(end_line(self.options.num_frames, self.began))
        super().finish()

    def _origin(self, index: int | None = None) -> dict[str, str | float]:
        origin: dict[str, str | float] = {"model": self.pipe.folder.name, "seed": self.options.seed}
        return origin | told(self.options.controls) | ({} if index is None else {"index": index})


@dataclass(eq=False)
class EmbeddingJob(RequestJob):
    """``POST /v1/embeddings``: where a sound lies in the space that sounds and pictures share."""

    alignment: Callable[[], Alignment]
    sound: bytes

    def begin(self) -> list[Row]:
        """Hear and embed."""
        space = self.alignment()
        place_1D = space.embed_sounds(space.extract(self.hear(space, self.sound)))
        told = {"model": space.folder.name, "size": place_1D.shape[1], "embedding": place_1D[0].tolist()}
        self.events.say(json.dumps(told).encode())
        return []


def _check_pixels(pipe: AudioToImage, num_images: int, size: int | None) -> None:
    shape = pipe.folder.image
    longest = max(shape.height, shape.width)
    pixels = shape.height * shape.width * ((size or longest) / longest) ** 2
    if num_images * pixels > _MAX_PIXELS:
        raise Problem(
            422,
            f"{num_images} pictures of {size or longest} pixels are too many at once; ask for fewer or smaller ones",
            title="Unusable option",
        )


def _at_size(image_CHW: Float32, size: int | None) -> UInt8:
    return picture.to_uint8(image_CHW if size is None else picture.resize(image_CHW, size))


def _key(controls: Mapping[str, Any]) -> Hashable:
    """What rows must have in common to be painted in one call; the variation is in their noise."""
    return tuple((name, controls.get(name)) for name in ("guidance", "steps"))
