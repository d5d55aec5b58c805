"""From a recipe to training data: read, split, pair, augment, extract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundsight import registry
from soundsight.audio import Clip
from soundsight.config import Augment, Recipe
from soundsight.datasets import augment, outliers, voices
from soundsight.datasets.info import data_root
from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.pair_splits import split_pairs
from soundsight.datasets.pairing import many_to_one, one_to_one
from soundsight.datasets.selection import images_of, labels_of, others_of, pairs_of, sounds_of
from soundsight.datasets.sketch import sketch
from soundsight.datasets.splits import Split, make_split
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, RecipeError
from soundsight.training.data import TrainingData, stream

__all__ = ["FrontEnd", "all_options", "front_end", "load_calibration_data", "load_training_data"]


_SKIPPED = 3
_OUTLIER_COPIES = 3
_DIGITS = tuple(str(digit) for digit in range(len(voices.DIGIT_WORDS)))


class FrontEnd(NamedTuple):
    """What hears, ready to be used.

    Attributes:
        extract: Clips and options to features (B, F, N).
        options: Its ``Config``.
        prepare: A recording as it is heard.
        silence: What stands for nothing heard; None where no number does.
    """

    extract: Callable[[Sequence[Clip], Any], NDArray[np.float32]]
    options: Any
    prepare: Callable[[Clip], Clip]
    silence: float | None

    def versions(self, rows: Sequence[Sequence[Clip]]) -> NDArray[np.float32]:
        """Features (R, K, F, N) of K clips each of R sounds."""
        features_XFN = self.extract([clip for row in rows for clip in row], self.options)
        return features_XFN.reshape(len(rows), -1, *features_XFN.shape[1:])


def load_training_data(
    recipe: Recipe, latent_size: int, root: Path | None = None, *, image_size: int = 256, looks_ahead: bool = False
) -> TrainingData:
    """Read, split, pair, augment and extract as a recipe says.

    Args:
        recipe: The experiment.
        latent_size: D of the noise.
        root: Folder of the data sets.
        image_size: Side of the pictures of pairs; labelled images have a size of their own.
        looks_ahead: Say which pair follows each.

    Raises:
        DatasetError: Data are absent or do not fit together.
        RecipeError: A front end's option does not fit.
        UnknownNameError: No such data set, class, front end, split or speaker.
    """
    root = data_root() if root is None else root
    if recipe.data.pairs is not None:
        return _load_pairs(recipe, latent_size, root, image_size, looks_ahead)
    if recipe.data.only:
        raise RecipeError("recipe key 'data.only' chooses pairs; of labelled sounds and images 'data.classes' does")
    if looks_ahead:
        raise RecipeError("recipe key 'model.losses.cohesion' compares moments of a clip: it needs 'data.pairs'")
    labels_of(recipe.data)  # that sounds and images have the same classes
    images = images_of(recipe.data, root, train=True)
    data = TrainingData(
        images_NCHW=torch.from_numpy(images.images_NCHW),
        labels_N=torch.from_numpy(images.labels),
        features_RKFN=None,
        sounds_P=None,
        images_P=torch.from_numpy(_few(len(images), recipe.data.max_pairs)),
        outliers_OKFN=None,
        augment=recipe.data.augment,
        silence=0.0,
        latent_size=latent_size,
        seed=recipe.train.seed,
        facts={"pairs": min(len(images), recipe.data.max_pairs or len(images))},
    )
    if recipe.data.sounds is None:
        return data
    front = front_end(recipe.features)
    sounds = sounds_of(recipe.data, root)
    split = make_split(sounds, recipe.data.split, seed=recipe.train.seed)
    clips, labels_R = _spoken(recipe, front, sounds, split)
    changed = augment.copies(clips, recipe.data.augment, stream(recipe.train.seed, "augment"), front.prepare)
    others = _others(recipe, front, root, sounds, split)
    pair = {"many-to-one": many_to_one, "one-to-one": one_to_one}[recipe.data.pairing]
    pairs = pair(images.labels, labels_R, stream(recipe.train.seed, "pairing"))
    few_P = _few(len(pairs), recipe.data.max_pairs)
    return replace(
        data,
        features_RKFN=torch.from_numpy(front.versions(changed)),
        sounds_P=torch.from_numpy(pairs.sounds[few_P]),
        images_P=torch.from_numpy(pairs.images[few_P]),
        outliers_OKFN=_outlier_features(recipe, front, clips) if others is None else others[0],
        outlier_labels_O=None if others is None else others[1],
        silence=_silence(front, recipe.data.augment),
        facts={
            "pairs": min(len(pairs), recipe.data.max_pairs or len(pairs)),
            "train_recordings": len(split.train),
            "test_recordings": len(split.test),
            "synthetic_recordings": len(labels_R) - len(split.train),
            **({} if others is None else {"other_recordings": len(others[1])}),
        },
    )


def _load_pairs(recipe: Recipe, latent_size: int, root: Path, image_size: int, looks_ahead: bool) -> TrainingData:
    """Pictures with the sounds of their own moment."""
    for key, unfit in (
        ("sounds", recipe.data.sounds is not None),
        ("classes", bool(recipe.data.classes)),
        ("voices", recipe.data.voices > 0),
        ("outliers", recipe.data.outliers > 0),
        ("others", recipe.data.others),
    ):
        if unfit:
            raise RecipeError(f"recipe key 'data.{key}' is for labelled sounds; leave it out beside 'data.pairs'")
    pairs = pairs_of(recipe.data, root)
    split = split_pairs(pairs, recipe.data.split, seed=recipe.train.seed)
    rows = split.train[_few(len(split.train), recipe.data.max_pairs)]
    front = front_end(recipe.features)
    features_RKFN = _pair_features(recipe, front, pairs, rows)
    images_NCHW = pairs.load_images(rows, image_size)
    places = torch.arange(len(rows))
    return TrainingData(
        images_NCHW=torch.from_numpy(sketch(images_NCHW) if recipe.data.target == "sketch" else images_NCHW),
        labels_N=torch.zeros(len(rows), dtype=torch.int64),
        features_RKFN=torch.from_numpy(features_RKFN),
        sounds_P=places,
        images_P=places,
        outliers_OKFN=None,
        augment=recipe.data.augment,
        silence=_silence(front, recipe.data.augment),
        latent_size=latent_size,
        seed=recipe.train.seed,
        facts={
            "pairs": len(rows),
            "train_pairs": len(split.train),
            "test_pairs": len(split.test),
            **({} if pairs.features_PFN is None else {"coefficients": "as published"}),
        },
        next_P=_following(pairs, rows) if looks_ahead else None,
    )


def _few(num: int, most: int | None) -> NDArray[np.int64]:
    """As many places of ``num`` as are wanted, evenly: data sets may come class by class, or clip by clip."""
    return np.arange(num) if most is None or most >= num else np.arange(most) * num // most


def _pair_features(recipe: Recipe, front: FrontEnd, pairs: PairSet, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features (R, K, F, N) of the sounds of some pairs, or those that the publisher computed."""
    if pairs.features_PFN is None:
        clips = pairs.load_sounds(rows, front.options.sample_rate_hz, front.prepare)
        return front.versions(
            augment.copies(clips, recipe.data.augment, stream(recipe.train.seed, "augment"), front.prepare)
        )
    if recipe.features.get("name", "logmel") != "mfcc":
        raise RecipeError(
            f"recipe key 'features.name': {recipe.data.pairs} comes as coefficients, without sounds; use mfcc"
        )
    if recipe.data.augment.copies:
        raise RecipeError(
            f"recipe key 'data.augment.copies': {recipe.data.pairs} has no sounds to be changed; set it to 0"
        )
    return pairs.features_PFN[rows][:, None]


def _following(pairs: PairSet, rows: NDArray[np.int64]) -> Tensor:
    """(R,) place of the pair that comes next in the clip of each; its own where none does.

    What comes next is later, and no more than ``_SKIPPED`` times as much later as is usual: beyond is another scene.

    Raises:
        RecipeError: No pair has one.
    """
    clips_R, times_R = np.array(pairs.clips)[rows], pairs.times_s[rows]
    order = np.lexsort((times_R, clips_R))
    next_R = np.arange(len(rows))
    steps_S = np.diff(times_R[order])
    follows_S = (clips_R[order[1:]] == clips_R[order[:-1]]) & (steps_S > 0)
    if not follows_S.any():
        raise RecipeError(
            "recipe key 'model.losses.cohesion' compares moments: no pair is later than another of its clip"
        )
    follows_S &= steps_S <= _SKIPPED * np.median(steps_S[follows_S])
    next_R[order[:-1][follows_S]] = order[1:][follows_S]
    return torch.from_numpy(next_R)


def _silence(front: FrontEnd, config: Augment) -> float:
    """What is put in place of what is masked.

    Raises:
        RecipeError: Something is to be masked, and no number stands for nothing heard.
    """
    if front.silence is None and (config.time_mask or config.frequency_mask):
        raise RecipeError("recipe key 'data.augment': parts of these features cannot be masked; set both masks to 0")
    return front.silence or 0.0


def _spoken(recipe: Recipe, front: FrontEnd, sounds: SoundSet, split: Split) -> tuple[list[Clip], NDArray[np.int64]]:
    """The training recordings and the synthetic voices, and labels (R,)."""
    rate_hz = front.options.sample_rate_hz
    clips = sounds.load(split.train, sample_rate_hz=rate_hz, prepare=front.prepare)
    labels_R = sounds.labels[split.train]
    if recipe.data.voices:
        _check_digits(recipe, "voices")
        speakers = voices.draw(recipe.data.voices, stream(recipe.train.seed, "voices"))
        spoken = voices.speak(speakers, voices.DIGIT_WORDS, sample_rate_hz=rate_hz)
        clips += [clip for row in spoken for clip in row]
        labels_R = np.concatenate([labels_R, np.tile(np.arange(len(voices.DIGIT_WORDS)), len(spoken))])
    return clips, labels_R


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
    front = front_end(recipe.features)
    num_trained, num = recipe.data.voices, recipe.data.calibration_voices
    # Those that training hears come first.
    speakers = voices.draw(num_trained + num, stream(recipe.train.seed, "voices"))[num_trained:]
    spoken = voices.speak(speakers, voices.DIGIT_WORDS, sample_rate_hz=front.options.sample_rate_hz)
    once = recipe.data.augment.model_copy(update={"copies": min(recipe.data.augment.copies, 1)})
    rng = stream(recipe.train.seed, "calibration")
    versions = augment.copies([clip for row in spoken for clip in row], once, rng, front.prepare)
    return torch.from_numpy(front.versions(versions)[:, 0]), torch.arange(len(voices.DIGIT_WORDS)).repeat(num)


def _check_digits(recipe: Recipe, key: str) -> None:
    """Refuse synthetic voices, and what is no digit, where the recordings say something else or in another order."""
    if labels_of(recipe.data) != _DIGITS:
        what = "is of sounds that are no digit" if key == "outliers" else "speaks the ten digits"
        raise DatasetError(f"data.{key} {what}, and the classes are not 0 to 9 in this order; set data.{key}=0")


def _outlier_features(recipe: Recipe, front: FrontEnd, spoken: Sequence[Clip]) -> Tensor | None:
    """Features (O, K, F, N) of sounds that are no digit, changed as the recordings ``spoken`` are."""
    num = recipe.data.outliers
    if not num:
        return None
    _check_digits(recipe, "outliers")
    rng, rate_hz = stream(recipe.train.seed, "outliers"), front.options.sample_rate_hz
    num_words, num_moments = num // 2, num // 8
    clips = outliers.words(num_words, rng, sample_rate_hz=rate_hz)
    clips += outliers.sounds(num - num_words - num_moments, rng, sample_rate_hz=rate_hz)
    clips += outliers.moments(num_moments, spoken, rng)
    return torch.from_numpy(front.versions(augment.copies(clips, _fewer(recipe), rng, front.prepare)))


def _fewer(recipe: Recipe) -> Augment:
    """Of what is not painted, more sounds are worth more than more copies of them."""
    return recipe.data.augment.model_copy(update={"copies": min(recipe.data.augment.copies, _OUTLIER_COPIES)})


def _others(
    recipe: Recipe, front: FrontEnd, root: Path, sounds: SoundSet, split: Split
) -> tuple[Tensor, Tensor] | None:
    """Features (O, K, F, N) and labels (O,) of the classes that are left out, changed as the recordings are.

    None is of a source clip that tests, nor of the fold, the speaker or the publisher's part that does.

    Raises:
        RecipeError: No class is left out, or other outliers are wanted, too.
    """
    if not recipe.data.others:
        return None
    if recipe.data.outliers:
        raise RecipeError("recipe key 'data.others' and 'data.outliers' are two kinds of the same; choose one")
    others = others_of(recipe.data, root)
    others = others.select(np.flatnonzero(~_beside_tests(others, sounds, split)))
    clips = others.load(sample_rate_hz=front.options.sample_rate_hz, prepare=front.prepare)
    changed = augment.copies(clips, _fewer(recipe), stream(recipe.train.seed, "others"), front.prepare)
    return torch.from_numpy(front.versions(changed)), torch.from_numpy(others.labels)


def _beside_tests(others: SoundSet, sounds: SoundSet, split: Split) -> NDArray[np.bool_]:
    """(O,) what is of another class, and so near to test recordings that it may not train."""
    near_O = np.zeros(len(others), np.bool_)
    kind = split.name.partition(":")[0]
    # One source may be cut into takes of several classes, a bird in the rain, whatever the split.
    columns = {"source_clips", {"speaker": "speakers", "fold": "folds", "official": "official_test"}.get(kind)}
    for column in columns - {None}:
        if getattr(sounds, str(column)) is not None:
            tested = np.asarray(getattr(sounds, str(column)))[split.test]
            near_O |= np.isin(np.asarray(getattr(others, str(column))), tested)
    return near_O


def front_end(features: dict[str, Any]) -> FrontEnd:
    """What a recipe's ``[features]`` names.

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
        return FrontEnd(component.extract, component.Config(**options), component.prepare, component.SILENCE)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"recipe key 'features': {error}") from error


def all_options(features: dict[str, Any]) -> dict[str, Any]:
    """A recipe's ``[features]`` with those options that it leaves at their defaults: these may change one day."""
    return {"name": features.get("name", "logmel"), **asdict(front_end(features).options)}
