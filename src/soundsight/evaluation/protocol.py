"""The test pairs of a model: real test recordings paired with the labels of real test images, as its recipe says.

Żelaszczyk & Mańdziuk (2021), section 4: train and test are paired separately, in the same way; a picture is made for
each test pair from its spectrogram. For MNIST and many-to-one pairing that is 10,000 pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsight.config import DataConfig, Recipe, parse_recipe
from soundsight.datasets.info import DatasetInfo
from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.pair_splits import split_pairs
from soundsight.datasets.pairing import Pairs, many_to_one, one_to_one
from soundsight.datasets.selection import images_of, infos_of, pairs_of, sounds_of
from soundsight.datasets.splits import Split, make_split
from soundsight.datasets.types import ImageSet, SoundSet
from soundsight.errors import DatasetError, ModelError, RecipeError
from soundsight.folder import ModelFolder

__all__ = ["Data", "Images", "Sounds", "data_of_pairs", "load_images", "load_pairs", "load_sounds", "pair", "recipe_of"]

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Data:
    """A data set as used: what a report says of it.

    Attributes:
        name: Module in ``datasets``.
        title: Its full name.
        licence: Its licence.
        attribution: Whom the licence asks to name.
        num_train: Items that trained.
        num_test: Items that test.
        sha256: Of the contents of all items, in their order.
    """

    name: str
    title: str
    licence: str
    attribution: str
    num_train: int
    num_test: int
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Real images: ``train`` for the baselines, ``test`` for the labels and the ceiling."""

    train: ImageSet
    test: ImageSet
    info: DatasetInfo
    data: Data


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """Recordings, the split that tests, and how many of the test recordings the model has heard in training."""

    sounds: SoundSet
    split: Split
    num_heard: int
    info: DatasetInfo
    data: Data


def recipe_of(model: ModelFolder) -> Recipe:
    """The recipe that a model was trained by.

    Raises:
        ModelError: The folder does not say, or says what this version does not understand.
    """
    table = model.training.get("recipe")
    if not isinstance(table, dict):
        raise ModelError(f"{model.path}: config.json does not say what the model was trained on (training.recipe)")
    try:
        return parse_recipe(table)
    except RecipeError as error:
        raise ModelError(f"{model.path}: training.recipe in config.json: {error}") from error


def load_images(recipe: Recipe, root: Path) -> Images:
    """The image data set of a recipe.

    Raises:
        DatasetError: It is absent or damaged.
        UnknownNameError: There is no such data set.
    """
    info = infos_of(recipe.data)[-1]
    train, test = (images_of(recipe.data, root, train=part) for part in (True, False))
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(part.images_NCHW.data)
        digest.update(part.labels.data)
    return Images(train, test, info, _data(info, len(train), len(test), digest.hexdigest()))


def load_sounds(model: ModelFolder, recipe: Recipe, split: str | None, root: Path) -> Sounds:
    """The recordings of a recipe and their split.

    Args:
        model: The model.
        recipe: Its recipe.
        split: Another split than the recipe's.
        root: Folder of the data sets.

    Raises:
        DatasetError: The data set is absent, or not the one that the model was trained on.
        ModelError: The recipe names no recordings.
        UnknownNameError: There is no such data set, split, speaker or fold.
    """
    if recipe.data.sounds is None:
        raise ModelError(f"{model.path}: its recipe names no recordings (data.sounds), there is nothing to test it on")
    info, sounds = infos_of(recipe.data)[0], sounds_of(recipe.data, root)
    # The seed that drew the split for training; any other would test on recordings that trained.
    own = make_split(sounds, recipe.data.split, seed=recipe.train.seed)
    _check_counts(model, info.name, own)
    used = own if split is None else make_split(sounds, split, seed=recipe.train.seed)
    num_heard = len(np.intersect1d(used.test, own.train))
    digest = _fingerprint(sounds.paths)
    return Sounds(sounds, used, num_heard, info, _data(info, len(used.train), len(used.test), digest))


def load_pairs(model: ModelFolder, recipe: Recipe, split: str | None, root: Path) -> tuple[PairSet, Split, Split]:
    """The pairs of a recipe, the split that trained the model, and the one that tests it.

    Args:
        model: The model.
        recipe: Its recipe, of pairs.
        split: Another split than the recipe's.
        root: Folder of the data sets.

    Raises:
        DatasetError: The pairs are absent, or not those that the model was trained on.
        UnknownNameError: There is no such split or clip.
    """
    pairs = pairs_of(recipe.data, root)
    own = split_pairs(pairs, recipe.data.split, seed=recipe.train.seed)
    for part, rows in (("train", own.train), ("test", own.test)):
        expected = model.training.get(f"{part}_pairs")
        if expected is not None and expected != len(rows):
            raise DatasetError(
                f"{model.path} was trained on other data: it had {expected} {part} pairs, here there are {len(rows)}"
            )
    return pairs, own, own if split is None else split_pairs(pairs, split, seed=recipe.train.seed)


def data_of_pairs(config: DataConfig, train: NDArray[np.uint8], test: NDArray[np.uint8]) -> Data:
    """What a report says of pairs, by the pictures of their training and of their test part."""
    infos = infos_of(config)
    digest = hashlib.sha256()
    for images in (train, test):
        digest.update(np.ascontiguousarray(images).data)
    title = infos[0].title if infos else "Pairs of one's own"
    licence, attribution = (infos[0].licence, infos[0].attribution) if infos else ("that of its files", "–")
    return Data(str(config.pairs), title, licence, attribution, len(train), len(test), digest.hexdigest())


def pair(recipe: Recipe, image_labels: Int64, sound_labels: Int64, seed: int) -> Pairs:
    """Test pairs, in the way in which the recipe pairs for training."""
    draw = {"many-to-one": many_to_one, "one-to-one": one_to_one}[recipe.data.pairing]
    return draw(image_labels, sound_labels, np.random.Generator(np.random.Philox(seed)))


def _check_counts(model: ModelFolder, name: str, split: Split) -> None:
    """Refuse a data set that splits otherwise than it did in training: another version, or recordings added."""
    for part, rows in (("train", split.train), ("test", split.test)):
        expected = model.training.get(f"{part}_recordings")
        if expected is not None and expected != len(rows):
            raise DatasetError(
                f"{model.path} was trained where {name} has {expected} {part} recordings; here it has {len(rows)}: "
                "another version of the data, whose test recordings may have trained the model"
            )


def _fingerprint(paths: Sequence[Path]) -> str:
    """SHA-256 over names and contents."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            contents = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(contents).digest())
    return digest.hexdigest()


def _data(info: DatasetInfo, num_train: int, num_test: int, sha256: str) -> Data:
    return Data(info.name, info.title, info.licence, info.attribution, num_train, num_test, sha256)
