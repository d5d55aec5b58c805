"""A judge's own test: real test images, beside what needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from soundsight.datasets.selection import labels_of
from soundsight.evaluation.baselines import nearest
from soundsight.evaluation.networks import load_judge
from soundsight.evaluation.protocol import load_images, recipe_of
from soundsight.evaluation.published import published
from soundsight.evaluation.report import Baseline, Score
from soundsight.evaluation.scores import by_label
from soundsight.folder import ModelFolder
from soundsight.metrics.accuracy import accuracy, confusion_matrix

__all__ = ["evaluate_judge"]


def evaluate_judge(model: ModelFolder, root: Path) -> dict[str, Any]:
    """The parts of a report that are found by judging all real test images.

    Raises:
        DatasetError, ModelError: The data are absent, or the judge does not fit them.
    """
    recipe = recipe_of(model)
    images = load_images(recipe, root)
    train, test, labels = images.train, images.test, labels_of(recipe.data) or ()
    _, judge = load_judge(model.path, len(labels), test.images_NCHW.shape[1:])
    decisions_N = judge(test.images_NCHW)[0].argmax(axis=1)
    confusion_LL = confusion_matrix(test.labels, decisions_N, len(labels))
    value = accuracy(confusion_LL)
    commonest = np.bincount(train.labels).argmax()
    near_N = nearest(
        test.images_NCHW.astype(np.float32) / np.float32(255), train.images_NCHW.astype(np.float32) / np.float32(255)
    )
    score = Score(
        name="accuracy",
        title="Accuracy on real images",
        value=value,
        error=float(np.sqrt(value * (1 - value) / len(test))),
        baselines=(
            Baseline("chance", 1 / len(labels)),
            Baseline("constant answer", float((test.labels == commonest).mean())),
            Baseline("nearest image", float((test.labels == train.labels[near_N]).mean())),
        ),
        published=published(model.system, model.model, None, None, "official", "accuracy"),
    )
    return {
        "kind": "judge",
        "split": None,
        "num_pictures": len(test),
        "num_recordings": None,
        "num_heard": 0,
        "labels": labels,
        "scores": (score,),
        "confusion_LL": confusion_LL,
        "by_label": by_label(labels, confusion_LL),
        "by_speaker": (),
        "samples": (),
        "data": (images.data,),
        "judge": {"name": model.name, **model.weights},
    }
