"""Training data as resident tensors: an epoch is a permutation, a batch a lookup; no worker, no copy of pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from soundsight import registry
from soundsight.config import Augment, Recipe
from soundsight.datasets import augment, outliers, voices
from soundsight.datasets.info import data_root
from soundsight.datasets.pairing import many_to_one, one_to_one
from soundsight.datasets.splits import Split, make_split
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, RecipeError
from soundsight.training.system import System

__all__ = [
    "TrainingData",
    "all_options",
    "check_shapes",
    "front_end",
    "load_calibration_data",
    "load_training_data",
    "stream",
]


def stream(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """A generator that depends on nothing but its arguments, so that a resumed run draws what it would have drawn."""
    key = int.from_bytes(purpose.encode()[:8].ljust(8, b"\0"), "little")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, key, index])))


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Pairs ready to be looked up.

    Attributes:
        images_NCHW: (N, C, H, W) uint8.
        labels_N: (N,) int64.
        features_RKFN: (R, K, F, N) float32, K versions of each recording; None where no sound is read.
        sounds_P: (P,) int64, recording of each pair; None where no sound is read.
        images_P: (P,) int64, image of each pair.
        outliers_OKFN: (O, K, F, N) float32, K versions of each sound that is no digit; None where there are none.
        augment: Masks drawn for each batch.
        latent_size: D of the noise.
        seed: Of everything drawn.
        facts: What is worth noting in the model's config.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    features_RKFN: Tensor | None
    sounds_P: Tensor | None
    images_P: Tensor
    outliers_OKFN: Tensor | None
    augment: Augment
    latent_size: int
    seed: int
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images_P)

    def to(self, device: torch.device) -> TrainingData:
        """The same data on another device."""
        moved = {
            name: value.to(device)
            for name in ("images_NCHW", "labels_N", "features_RKFN", "sounds_P", "images_P", "outliers_OKFN")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def order(self, epoch: int) -> Tensor:
        """(P,) the pairs in the order of an epoch."""
        return torch.from_numpy(stream(self.seed, "order", epoch).permutation(len(self)))

    def batch(self, rows_B: Tensor, step: int) -> dict[str, Tensor]:
        """``image`` (B, C, H, W) in [0, 1] and ``label`` (B,); with sound ``features`` (B, F, N), ``noise`` (B, D) too.

        Where there are sounds that are no digit, ``outliers`` are a quarter as many, (B / 4, F, N).

        Args:
            rows_B: Pairs, on the CPU.
            step: Seeds what is drawn: versions of recordings, masks, noise.
        """
        device = self.images_NCHW.device
        rows_B = rows_B.to(device)
        images_B = self.images_P[rows_B]
        batch = {"image": self.images_NCHW[images_B].float() / 255, "label": self.labels_N[images_B]}
        if self.features_RKFN is None or self.sounds_P is None:
            return batch
        generator = torch.Generator().manual_seed(int(stream(self.seed, "batch", step).integers(2**63)))
        version_B = torch.randint(self.features_RKFN.shape[1], (len(rows_B),), generator=generator).to(device)
        features_BFN = self.features_RKFN[self.sounds_P[rows_B], version_B]
        batch["features"] = _mask(features_BFN, self.augment, generator)
        batch["noise"] = torch.randn(len(rows_B), self.latent_size, generator=generator).to(device)
        if self.outliers_OKFN is not None:
            num, num_versions = self.outliers_OKFN.shape[:2]
            size = max(1, len(rows_B) // 4)
            which_B = torch.randint(num, (size,), generator=generator).to(device)
            version_B = torch.randint(num_versions, (size,), generator=generator).to(device)
            batch["outliers"] = _mask(self.outliers_OKFN[which_B, version_B], self.augment, generator)
        return batch


def load_training_data(recipe: Recipe, latent_size: int, root: Path | None = None) -> TrainingData:
    """Read, split, pair, augment and extract as a recipe says.

    Raises:
        DatasetError: Data are absent or do not fit together.
        RecipeError: A front end's option does not fit.
        UnknownNameError: No such data set, front end, split or speaker.
    """
    root = data_root() if root is None else root
    images = _data_set(recipe.data.images, "image").load(root / recipe.data.images, train=True)
    data = TrainingData(
        images_NCHW=torch.from_numpy(images.images_NHW)[:, None],
        labels_N=torch.from_numpy(images.labels),
        features_RKFN=None,
        sounds_P=None,
        images_P=torch.arange(len(images))[: recipe.data.max_pairs],
        outliers_OKFN=None,
        augment=recipe.data.augment,
        latent_size=latent_size,
        seed=recipe.train.seed,
        facts={"pairs": min(len(images), recipe.data.max_pairs or len(images))},
    )
    if recipe.data.sounds is None:
        return data
    sounds: SoundSet = _data_set(recipe.data.sounds, "sound").load(root / recipe.data.sounds)
    split = make_split(sounds, recipe.data.split, seed=recipe.train.seed)
    features_RKFN, labels_R = _sound_features(recipe, sounds, split)
    pair = {"many-to-one": many_to_one, "one-to-one": one_to_one}[recipe.data.pairing]
    pairs = pair(images.labels, labels_R, stream(recipe.train.seed, "pairing"))
    return replace(
        data,
        features_RKFN=torch.from_numpy(features_RKFN),
        sounds_P=torch.from_numpy(pairs.sounds)[: recipe.data.max_pairs],
        images_P=torch.from_numpy(pairs.images)[: recipe.data.max_pairs],
        outliers_OKFN=_outlier_features(recipe),
        facts={
            "pairs": min(len(pairs), recipe.data.max_pairs or len(pairs)),
            "train_recordings": len(split.train),
            "test_recordings": len(split.test),
            "synthetic_recordings": len(labels_R) - len(split.train),
        },
    )


def _data_set(name: str, kind: str) -> Any:
    component = registry.find("datasets", name)
    if component.INFO.kind != kind:
        known = [other for other in registry.names("datasets") if registry.find("datasets", other).INFO.kind == kind]
        raise RecipeError(
            f"recipe key 'data.{kind}s': {name} is a data set of {component.INFO.kind}s; known here: {', '.join(known)}"
        )
    return component


def _sound_features(
    recipe: Recipe, sounds: SoundSet, split: Split
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Features (R, K, F, N) and labels (R,) of the training recordings and of the synthetic voices."""
    extract, options = front_end(recipe.features)
    clips = sounds.load(split.train, sample_rate_hz=options.sample_rate_hz)
    labels_R = sounds.labels[split.train]
    rng = stream(recipe.train.seed, "augment")
    if recipe.data.voices:
        _check_digits(recipe, "voices")
        spoken = voices.speak(
            voices.draw(recipe.data.voices, stream(recipe.train.seed, "voices")),
            voices.DIGIT_WORDS,
            sample_rate_hz=options.sample_rate_hz,
        )
        clips += [clip for row in spoken for clip in row]
        labels_R = np.concatenate([labels_R, np.tile(np.arange(len(voices.DIGIT_WORDS)), len(spoken))])
    versions = augment.copies(clips, recipe.data.augment, rng)
    features_XFN = extract([clip for row in versions for clip in row], options)
    return features_XFN.reshape(len(clips), -1, *features_XFN.shape[1:]), labels_R


def load_calibration_data(recipe: Recipe) -> tuple[Tensor, Tensor] | None:
    """Features (R, F, N) and labels (R,) of synthetic speakers that are not trained on; None without any.

    They speak with the same programs, as other voices or with another pace and pitch, and are changed once each where
    recordings are for training, by noise and rooms.

    Raises:
        DatasetError: They cannot be spoken, or the recipe's sounds have other classes.
    """
    if not recipe.data.calibration_voices:
        return None
    _check_digits(recipe, "calibration_voices")
    extract, options = front_end(recipe.features)
    num_trained, num = recipe.data.voices, recipe.data.calibration_voices
    # Those that training hears come first.
    speakers = voices.draw(num_trained + num, stream(recipe.train.seed, "voices"))[num_trained:]
    spoken = voices.speak(speakers, voices.DIGIT_WORDS, sample_rate_hz=options.sample_rate_hz)
    once = recipe.data.augment.model_copy(update={"copies": min(recipe.data.augment.copies, 1)})
    versions = augment.copies([clip for row in spoken for clip in row], once, stream(recipe.train.seed, "calibration"))
    features_RFN = extract([clip for (clip,) in versions], options)
    return torch.from_numpy(features_RFN), torch.arange(len(voices.DIGIT_WORDS)).repeat(num)


def _check_digits(recipe: Recipe, key: str) -> None:
    """Refuse synthetic voices where the recordings say something else."""
    if len(_data_set(recipe.data.sounds or "", "sound").INFO.classes) != len(voices.DIGIT_WORDS):
        raise DatasetError(
            f"data.{key} speaks the ten digits, {recipe.data.sounds} has other classes; set data.{key}=0"
        )


def _outlier_features(recipe: Recipe) -> Tensor | None:
    """Features (O, K, F, N) of sounds that are no digit, changed as the recordings are."""
    if not recipe.data.outliers:
        return None
    extract, options = front_end(recipe.features)
    rng = stream(recipe.train.seed, "outliers")
    num_words = recipe.data.outliers // 2
    clips = outliers.words(num_words, rng, sample_rate_hz=options.sample_rate_hz)
    clips += outliers.sounds(recipe.data.outliers - num_words, rng, sample_rate_hz=options.sample_rate_hz)
    versions = augment.copies(clips, recipe.data.augment, rng)
    features_XFN = extract([clip for row in versions for clip in row], options)
    return torch.from_numpy(features_XFN.reshape(len(clips), -1, *features_XFN.shape[1:]))


def front_end(features: dict[str, Any]) -> tuple[Any, Any]:
    """The ``extract`` function and the options that a recipe's ``[features]`` names.

    Raises:
        RecipeError: An option that the front end does not know, or a value that does not fit.
        UnknownNameError: No such front end.
    """
    options = dict(features)
    name = options.pop("name", "logmel")
    if not isinstance(name, str):
        raise RecipeError(f"recipe key 'features.name': expected a name, not {name!r}")
    component = registry.find("features", name)
    known = sorted(component.Config.__dataclass_fields__)
    for key in options:
        if key not in known:
            raise RecipeError(f"unknown key 'features.{key}' in the recipe; known here: {', '.join(['name', *known])}")
    try:
        return component.extract, component.Config(**options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"recipe key 'features': {error}") from error


def all_options(features: dict[str, Any]) -> dict[str, Any]:
    """A recipe's ``[features]`` with those options that it leaves at their defaults: these may change one day."""
    return {"name": features.get("name", "logmel"), **asdict(front_end(features)[1])}


def check_shapes(system: System, data: TrainingData) -> None:
    """Refuse data that the system cannot read.

    Raises:
        RecipeError: Pictures or features have another shape than the system's.
    """
    image_shape = tuple(data.images_NCHW.shape[1:])
    if image_shape != system.image_shape:
        raise RecipeError(f"the system makes pictures {system.image_shape}, the data set has {image_shape}")
    features_shape = None if data.features_RKFN is None else tuple(data.features_RKFN.shape[2:])
    if features_shape != system.features_shape:
        raise RecipeError(f"the system reads features {system.features_shape}, the recipe gives {features_shape}")


def _mask(features_BFN: Tensor, config: Augment, generator: torch.Generator) -> Tensor:
    """Silence one band of bins and one stretch of frames per item (SpecAugment, Park et al., 2019)."""
    num_items, num_bins, num_frames = features_BFN.shape
    for share, length, axis in ((config.frequency_mask, num_bins, 1), (config.time_mask, num_frames, 2)):
        if share:
            width_B1 = torch.rand(num_items, 1, generator=generator) * share * length
            start_B1 = torch.rand(num_items, 1, generator=generator) * (length - width_B1)
            places = torch.arange(length)[None]
            hidden = ((places >= start_B1) & (places < start_B1 + width_B1)).to(features_BFN.device)
            features_BFN = features_BFN.masked_fill(hidden.unsqueeze(3 - axis), 0)
    return features_BFN
