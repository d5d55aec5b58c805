"""An alignment's own test: does a sound find the pictures of its label, and a picture its sounds?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from soundsight.alignment import Alignment
from soundsight.errors import DatasetError
from soundsight.evaluation.protocol import load_images, load_sounds, recipe_of
from soundsight.evaluation.report import Baseline, Score
from soundsight.evaluation.scores import by_label, by_speaker
from soundsight.folder import ModelFolder
from soundsight.metrics.accuracy import confusion_matrix
from soundsight.metrics.retrieval import chance, cosines, recall_at

__all__ = ["evaluate_alignment"]

_KS = (1, 5, 10)


def evaluate_alignment(model: ModelFolder, split: str | None, root: Path) -> dict[str, Any]:
    """The parts of a report that are found by comparing all test recordings with all real test images.

    Raises:
        DatasetError, ModelError, UnknownNameError: As for a generator.
    """
    space, recipe = Alignment(model), recipe_of(model)
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
    for way, near, together in (
        ("sound to picture", near_RN, together_RN),
        ("picture to sound", near_RN.T, together_RN.T),
    ):
        found, by_chance = recall_at(near, together, _KS), chance(together, _KS)
        scores += [
            Score(
                f"{way.replace(' ', '_')}_accuracy_at_{k}",
                f"{way.capitalize()}, R@{k}",
                found[k],
                None,
                (Baseline("chance", by_chance[k]),),
            )
            for k in _KS
        ]
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
