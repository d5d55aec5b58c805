"""An alignment's own test: does a sound find its picture, or those of its label, and a picture its sound?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight.alignment import Alignment
from soundsight.config import Recipe
from soundsight.datasets.pair_splits import leak
from soundsight.datasets.sketch import sketch
from soundsight.errors import DatasetError
from soundsight.evaluation.baselines import nearest
from soundsight.evaluation.likeness import features_of
from soundsight.evaluation.protocol import data_of_pairs, load_images, load_pairs, load_sounds, recipe_of
from soundsight.evaluation.report import Baseline, Score
from soundsight.evaluation.scores import by_label, by_speaker
from soundsight.folder import ModelFolder
from soundsight.metrics.accuracy import confusion_matrix
from soundsight.metrics.retrieval import chance, cosines, recall_at

__all__ = ["evaluate_alignment"]

_KS = (1, 5, 10)


def evaluate_alignment(model: ModelFolder, split: str | None, root: Path) -> dict[str, Any]:
    """The parts of a report that are found by comparing all test recordings with all real test images.

    Of pairs, each sound has one picture that is its own.

    Raises:
        DatasetError, ModelError, UnknownNameError: As for a generator.
    """
    space, recipe = Alignment(model), recipe_of(model)
    if recipe.data.pairs is not None:
        return _of_pairs(space, recipe, split, root)
    images, sounds = load_images(recipe, root), load_sounds(model, recipe, split, root)
    if len(images.info.classes) != len(sounds.info.classes):
        raise DatasetError(f"{sounds.info.name} and {images.info.name} have other labels: nothing belongs together")
    rows = sounds.split.test
    clips = sounds.sounds.load(rows, sample_rate_hz=space.sample_rate_hz, prepare=space.prepare)
    sound_RD = space.embed_sounds(space.extract(clips))
    image_ND = space.embed_images(images.test.images_NCHW.astype(np.float32) / np.float32(255))
    near_RN = cosines(sound_RD, image_ND)
    sound_labels_R, image_labels_N = sounds.sounds.labels[rows], images.test.labels
    together_RN = sound_labels_R[:, None] == image_labels_N
    found_R = image_labels_N[near_RN.argmax(axis=1)]
    confusion_LL = confusion_matrix(sound_labels_R, found_R, len(images.info.classes))
    scores = [
        Score(
            "match",
            "Cosine of what belongs together",
            float(near_RN[together_RN].mean()),
            None,
            (Baseline("other labels", float(near_RN[~together_RN].mean())),),
        )
    ]
    scores += _found("sound to picture", near_RN, together_RN) + _found("picture to sound", near_RN.T, together_RN.T)
    return {
        "kind": "alignment",
        "split": sounds.split.name,
        "num_pictures": len(image_labels_N),
        "num_recordings": len(rows),
        "num_heard": sounds.num_heard,
        "labels": images.info.classes,
        "scores": tuple(scores),
        "confusion_LL": confusion_LL,
        "by_label": by_label(images.info.classes, confusion_LL),
        "by_speaker": by_speaker(sounds.sounds, rows, found_R == sound_labels_R),
        "samples": (),
        "data": (sounds.data, images.data),
        "judge": {"name": model.name, **model.weights},
    }


def _of_pairs(space: Alignment, recipe: Recipe, split: str | None, root: Path) -> dict[str, Any]:
    """Whether the sounds and pictures of test pairs find each other, beside what needs no space for it.

    The picture of the nearest training sound finds what is like it pixel by pixel; a space that knows no more than
    which training pair a test pair is near to is not better.
    """
    model = space.folder
    pairs, own, used = load_pairs(model, recipe, split, root)
    if len(used.test) < 2:
        raise DatasetError(f"split '{used.name}' tests one pair, which finds itself; use another")
    train, test = (pairs.load_images(rows, model.image.height) for rows in (used.train, used.test))
    if recipe.data.target == "sketch":
        train, test = sketch(train), sketch(test)
    features = {part: features_of(space, pairs, rows) for part, rows in (("train", used.train), ("test", used.test))}
    near_TT = cosines(
        space.embed_sounds(features["test"]), space.embed_images(test.astype(np.float32) / np.float32(255))
    )
    together_TT = np.eye(len(near_TT), dtype=bool)
    remembered = train[nearest(features["test"], features["train"])]
    like_TT = -np.stack([np.square(test / 255 - image / 255).mean(axis=(1, 2, 3)) for image in remembered])
    other = Baseline("other moments", float(near_TT[~together_TT].mean()))
    scores = [Score("match", "Cosine of what belongs together", float(near_TT.diagonal().mean()), None, (other,))]
    scores += _found("sound to picture", near_TT, together_TT, like_TT)
    scores += _found("picture to sound", near_TT.T, together_TT, like_TT.T)
    leaks = leak(pairs, used)
    return {
        "kind": "alignment",
        "split": used.name,
        "num_pictures": len(test),
        "num_recordings": len(test),
        "num_heard": len(np.intersect1d(used.test, own.train)),
        "labels": (),
        "scores": tuple(scores),
        "confusion_LL": np.zeros((0, 0), np.int64),
        "by_label": (),
        "by_speaker": (),
        "samples": (),
        "data": (data_of_pairs(recipe.data, train, test),),
        "judge": {"name": model.name, **model.weights},
        "more_notes": () if leaks is None else (f"Split '{used.name}': {leaks.text}.",),
    }


def _found(
    way: str, near_QN: NDArray[Any], together_QN: NDArray[Any], like_QN: NDArray[Any] | None = None
) -> list[Score]:
    """R@k of queries among N, beside chance, and beside what the nearest training sound's frame finds."""
    found, by_chance = recall_at(near_QN, together_QN, _KS), chance(together_QN, _KS)
    without = None if like_QN is None else recall_at(like_QN, together_QN, _KS)
    scores = []
    for k in _KS:
        baselines = [Baseline("chance", by_chance[k])]
        if without is not None:
            baselines.append(Baseline("frame of the nearest training sound", without[k]))
        name = f"{way.replace(' ', '_')}_accuracy_at_{k}"
        scores.append(Score(name, f"{way.capitalize()}, R@{k}", found[k], None, tuple(baselines)))
    return scores
