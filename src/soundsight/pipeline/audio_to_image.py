"""From sounds to pictures by a model that paints by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from soundsight import picture
from soundsight.blending import shares_of, turn
from soundsight.controls import MAX_NUM_IMAGES, Controls, check_numbers, check_whole, inputs_of, told
from soundsight.controls import check as check_controls
from soundsight.errors import ModelError
from soundsight.folder import read_folder, resolve
from soundsight.generator import Generator
from soundsight.hearing import Audio, Hearing, sound_name, stem_of
from soundsight.pipeline.style import Styles
from soundsight.result import Heard, Pictures

if TYPE_CHECKING:
    from soundsight.encoders import Encoder

__all__ = ["MAX_NUM_IMAGES", "Audio", "AudioToImage", "Controls", "Heard", "Pictures"]


class AudioToImage(Hearing):
    """A model with its front end, ready to turn sounds into pictures.

    Calls from several threads at once are safe.

    Args:
        generator: The network of a model folder.

    Raises:
        ModelError: The folder's front end has options that do not fit it.
        UnknownNameError: It names a front end that is not installed.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator.folder)
        self.generator = generator
        self._styles = Styles(generator)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "digits",
        *,
        threads: int = 1,
        backbone: str | Path | None = None,
        encoder: str | Path | Encoder | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AudioToImage:
        """Load a model.

        Args:
            name_or_folder: A model of the package (``soundsight models list``), or a model folder.
            threads: Threads that work on one picture; more than one pays for networks of many megabytes only.
            backbone: For adapters: the text-to-image model that paints, by its name on the hub or as a folder.
            encoder: For adapters: weights of the encoder that hears, or it, or embeddings from before (.npy, shards).
            encoder_options: For adapters: what else ``encoders.load`` takes, such as ``pca`` for VGGish.
            **options: For adapters: ``precision``, ``offload`` and others of ``backbones.load``.

        Returns:
            The pipeline.

        Raises:
            UnknownNameError: There is no such model.
            MissingExtraError: An adapter needs an extra that is not installed.
            ModelError: The folder is damaged, or holds neither a generator nor an adapter; an adapter without what it
                needs, or another model with it.
        """
        folder = read_folder(resolve(name_or_folder), verify=False)
        if folder.kind == "adapter":
            from soundsight.pipeline import loading

            return loading.load(folder, backbone, encoder, encoder_options or {}, options)
        if backbone is not None or encoder is not None or encoder_options or options:
            raise ModelError(f"the model '{folder.name}' paints by itself: it takes no backbone, encoder or options")
        return cls(Generator(folder, threads))

    # fmt: off
    @overload
    def __call__(self, audio: list[Audio], num_images: int = 1, seed: int = 0, size: int | None = None,
                 *, split: Literal[False] = False, **controls: Unpack[Controls]) -> list[Pictures]: ...
    @overload
    def __call__(self, audio: list[Audio], num_images: int = 1, seed: int = 0, size: int | None = None,
                 *, split: Literal[True], **controls: Unpack[Controls]) -> list[list[Pictures]]: ...
    @overload
    def __call__(self, audio: Audio, num_images: int = 1, seed: int = 0, size: int | None = None,
                 *, split: Literal[False] = False, **controls: Unpack[Controls]) -> Pictures: ...
    @overload
    def __call__(self, audio: Audio, num_images: int = 1, seed: int = 0, size: int | None = None,
                 *, split: Literal[True], **controls: Unpack[Controls]) -> list[Pictures]: ...
    # fmt: on
    def __call__(
        self,
        audio: Audio | list[Audio],
        num_images: int = 1,
        seed: int = 0,
        size: int | None = None,
        *,
        split: bool = False,
        **controls: Unpack[Controls],
    ) -> Pictures | list[Pictures] | list[list[Pictures]]:
        """Turn one sound, or a list of sounds, into pictures.

        The same sound and seed give the same pictures, bit by bit, whatever else is asked for beside them.

        Args:
            audio: A sound, or a list of sounds.
            num_images: Pictures of each sound, 1 to 1000; they differ in their noise.
            seed: 0 to 2**64 - 1.
            size: Long side of the pictures, 8 to 4096 pixels; the model's own size if None.
            split: Cut each sound at its silences, for recordings of several digits.
            **controls: ``guidance``, ``steps``, ``variation`` and ``style``, where the model has them; see
                ``Controls``.

        Returns:
            ``Pictures`` for a sound, or one for each of its parts in a list with ``split``; a list of these for a list.

        Raises:
            AudioError: A sound cannot be read or used.
            ImageError: The picture of a style cannot be read.
            ModelError: The network failed.
            SoundsightError: A number is out of range.
        """
        if isinstance(audio, list):
            return [self(sound, num_images, seed, size, split=split, **controls) for sound in audio]  # type: ignore[call-overload]
        parts = list(self.stream(audio, num_images, seed, size, split=split, **controls))
        return parts if split else parts[0]

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
        """Like calling, one part of a sound at a time: what an hour of speech needs.

        Args:
            sound: As for calling; the others, too.
            num_images: As for calling.
            seed: As for calling.
            size: As for calling.
            split: As for calling.
            name: What the sound is called, where that is not the name of its file.
            **controls: As for calling.

        Yields:
            The pictures of each part.
        """
        clips = self.hear(sound, split=split)
        for i, clip in enumerate(clips):
            features_1FN = self.extract([clip])
            names = [name or sound_name(sound)]
            pictures = self.from_features(features_1FN, num_images, seed, size, sounds=names, **controls)[0]
            yield replace(pictures, part=i + 1) if len(clips) > 1 else pictures

    def from_features(
        self,
        features_BFN: NDArray[np.float32],
        num_images: int = 1,
        seed: int = 0,
        size: int | None = None,
        *,
        sounds: Iterable[str] | None = None,
        **controls: Unpack[Controls],
    ) -> list[Pictures]:
        """Pictures from features that were computed before.

        Args:
            features_BFN: (B, F, N) float32 from the model's front end.
            num_images: As above.
            seed: As above.
            size: As above.
            sounds: B names; ``features`` if None.
            **controls: As above.

        Returns:
            B ``Pictures``.

        Raises:
            ModelError: The features do not fit the network.
            SoundsightError: A number is out of range.
        """
        self.check_numbers(num_images, seed, size)
        self.check(controls)
        noise_MD = self.draw_noise(seed, num_images, controls)
        names = ["features"] * len(features_BFN) if sounds is None else list(sounds)
        results = []
        painted = self.generator.paint(np.asarray(features_BFN, np.float32), noise_MD, inputs_of(controls))
        for name, (images_MCHW, heard_X) in zip(names, painted, strict=True):
            images, heard = self._scale(images_MCHW, size), None if heard_X is None else self.named(heard_X)
            results.append(Pictures(images, int(seed), self.folder.name, name, heard=heard, turned=told(controls)))
        return results

    def mix(
        self,
        sounds: Sequence[Audio],
        weights: Sequence[float],
        num_images: int = 1,
        seed: int = 0,
        size: int | None = None,
        **controls: Unpack[Controls],
    ) -> Pictures:
        """Pictures of several sounds at once.

        Where the network paints a distribution over labels, those of the sounds are mixed; where it does not, the
        sounds' features are, which is rarely pretty.

        Args:
            sounds: Two or more.
            weights: One for each, 0 or more; they are divided by their sum.
            num_images: As for calling; the others, too.
            seed: As for calling.
            size: As for calling.
            **controls: As for calling.

        Returns:
            ``Pictures`` whose ``sound`` names all of them.

        Raises:
            As for calling; SoundsightError also for weights that are negative, not finite, all 0 or not as many.
        """
        shares = shares_of(weights, len(sounds))
        self.check_numbers(num_images, seed, size)
        self.check(controls)
        features_SFN = np.concatenate([self.extract(self.hear(sound)) for sound in sounds])
        features_1FN, blend = self._blend(features_SFN, shares)
        noise_MD = self.draw_noise(seed, num_images, controls)
        repeated = np.broadcast_to(features_1FN, (int(num_images), *features_1FN.shape[1:]))
        images = self._scale(self.generator(repeated, noise_MD, {**inputs_of(controls), **blend}), size)
        names = " + ".join(f"{share:.2g} {sound_name(sound)}" for sound, share in zip(sounds, shares, strict=True))
        return Pictures(images, int(seed), self.folder.name, names, stem=stem_of(sounds, "+"), turned=told(controls))

    def morph(
        self,
        first: Audio,
        second: Audio,
        num_frames: int = 32,
        seed: int = 0,
        size: int | None = None,
        **controls: Unpack[Controls],
    ) -> Pictures:
        """Pictures on the way from one sound to another, in what is painted and in the handwriting.

        The first is ``pipe(first, seed=seed)``; the last is the second of ``pipe(second, num_images=2, seed=seed)``. In
        between the noise turns from one to the other at its length, as straight lines leave where noise is to be found
        (Shoemake, *Animating Rotation with Quaternion Curves*, 1985, section 3.3).

        Args:
            first: A sound.
            second: A sound, or the same one: then the handwriting alone changes.
            num_frames: 2 to 1000.
            seed: As for calling; the others, too.
            size: As for calling.
            **controls: As for calling.

        Returns:
            ``Pictures``, one for each frame.

        Raises:
            As for calling.
        """
        check_whole("num_frames", num_frames, 2, MAX_NUM_IMAGES)
        self.check_numbers(num_frames, seed, size)
        self.check(controls)
        features_2FN = np.concatenate([self.extract(self.hear(sound)) for sound in (first, second)])
        frames = [self.generator(*step) for step in self.way(features_2FN, num_frames, seed, controls)]
        names, images = f"{sound_name(first)} to {sound_name(second)}", self._scale(np.concatenate(frames), size)
        stem = stem_of([first, second], "-to-")
        return Pictures(images, int(seed), self.folder.name, names, stem=stem, turned=told(controls))

    def way(
        self, features_2FN: NDArray[np.float32], num_frames: int, seed: int, controls: Controls
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], dict[str, NDArray[np.float32]]]]:
        """Of each frame of ``morph`` the features (1, F, N), the noise (1, D) and further inputs of the network."""
        first_D, second_D = self.draw_noise(seed, 2, controls)
        inputs = inputs_of(controls)
        for place in np.linspace(0, 1, int(num_frames)):
            features_1FN, blend = self._blend(features_2FN, np.array([1 - place, place]))
            yield features_1FN, turn(first_D, second_D, float(place))[None], {**inputs, **blend}

    def _blend(
        self, features_SFN: NDArray[np.float32], shares_S: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Features (1, F, N) and the network's inputs with which it paints several sounds at once."""
        if not {"given", "share"} <= self.generator.controls:
            return np.tensordot(shares_S, features_SFN, 1)[None].astype(np.float32), {}
        painted_SL = self.generator.listen(features_SFN, "painted")
        given_1L = (shares_S @ painted_SL)[None].astype(np.float32)
        return features_SFN[:1], {"given": given_1L, "share": np.array(1, np.float32)}

    @property
    def listens(self) -> bool:
        """Whether the model says what it takes a sound for."""
        return self.generator.listens

    def listen(self, sound: Audio) -> Heard | None:
        """What the model takes a sound for, without a picture; None where it does not say.

        Raises:
            AudioError: The sound cannot be read or used.
            ModelError: The network failed.
        """
        return self.recognise(self.extract(self.hear(sound))[0])

    def recognise(self, features_FN: NDArray[np.float32]) -> Heard | None:
        """What the model takes features for; None where it does not say."""
        return self.named(self.generator.listen(features_FN[None])[0]) if self.listens else None

    def named(self, heard_X: NDArray[np.float32]) -> Heard:
        """An answer (L + 1,) of ``Generator.listen`` in the model's words."""
        *labels_L, outlier = heard_X.tolist()
        best = int(np.argmax(labels_L))
        return Heard((self.folder.labels or ())[best], labels_L[best], outlier)

    def draw_noise(self, seed: int, num_images: int, controls: Controls) -> NDArray[np.float32]:
        """The noise (num_images, D) that pictures of a seed are painted from, with their variation and style."""
        return self._styles.draw(seed, num_images, controls)

    def check_numbers(self, num_images: int, seed: int, size: int | None) -> None:
        """As ``controls.check_numbers``, for pictures of this model."""
        check_numbers(num_images, seed, size, self.folder.image)

    def _scale(self, images_MCHW: NDArray[np.float32], size: int | None) -> NDArray[np.uint8]:
        """(M, H, W, C) uint8 at the size wanted."""
        return np.stack(
            [picture.to_uint8(image if size is None else picture.resize(image, size)) for image in images_MCHW]
        )

    def check(self, controls: Mapping[str, Any]) -> Controls:
        """The controls as they came, where the model has them and every number is in range.

        Raises:
            TypeError: No such control.
            SoundsightError: A number is out of range, or the model cannot do this.
        """
        return check_controls(controls, self.generator.controls, self.folder)
