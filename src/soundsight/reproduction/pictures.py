"""Figures 3 to 7: pictures that a system makes of random pairs, beside the real pictures of these pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from soundsight import noise
from soundsight.evaluation import trial
from soundsight.evaluation.networks import load_pipeline
from soundsight.evaluation.protocol import recipe_of
from soundsight.folder import read_folder
from soundsight.picture import grid
from soundsight.training.loading import load_training_data
from soundsight.training.weights import load_system

__all__ = ["NUM_COLUMNS", "seen_in_training", "side_by_side", "unheard"]

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
NUM_COLUMNS = 8
"""Pairs of each label."""


def side_by_side(made_PCHW: UInt8, real_PCHW: UInt8) -> UInt8:
    """A sheet (H', W', C), twice as large: left what was made, right the real pictures, a row for each label.

    Args:
        made_PCHW: Generated pictures, ``NUM_COLUMNS`` of each label, label by label.
        real_PCHW: The real pictures of the same pairs.
    """
    rows = []
    blank_HWC = np.full((*made_PCHW.shape[2:], made_PCHW.shape[1]), 255, np.uint8)
    for start in range(0, len(made_PCHW), NUM_COLUMNS):
        part = slice(start, start + NUM_COLUMNS)
        made, real = (list(np.moveaxis(images[part], 1, 3)) for images in (made_PCHW, real_PCHW))
        rows.append([*made, blank_HWC, *real])
    return grid(rows).repeat(2, axis=0).repeat(2, axis=1)


def seen_in_training(folder: Path, seed: int, root: Path) -> UInt8:
    """Figures 3, 5 and 6: random training pairs, after the training.

    Args:
        folder: Model folder with PyTorch weights.
        seed: Of the choice and the noise.
        root: Folder of the data sets.
    """
    model, module = load_system(folder)
    data = load_training_data(recipe_of(model), model.latent_size, root)
    assert data.features_RKFN is not None
    assert data.sounds_P is not None
    rows = _choose(data.labels_N[data.images_P].numpy(), seed)
    features_BFN = data.features_RKFN[data.sounds_P[rows], 0]
    noise_BD = torch.from_numpy(noise.draw(seed, len(rows), model.latent_size))
    with torch.inference_mode():
        made_BCHW = module.generate(features_BFN, noise_BD).numpy()  # type: ignore[operator]
    return side_by_side(_levels(made_BCHW), data.images_NCHW[data.images_P[rows]].numpy())


def unheard(folder: Path, seed: int, root: Path) -> UInt8:
    """Figures 4 and 7: random test pairs, whose recordings were never trained on."""
    model = read_folder(folder)
    pipe = load_pipeline(model)
    tested = trial.load_trial(model, pipe, None, seed, root, 1)
    rows = _choose(tested.labels_P, seed)
    noise_BD = noise.draw(seed, len(rows), model.latent_size)
    made_BCHW = pipe.generator(tested.features_RFN[tested.rows_P[rows]], noise_BD)
    return side_by_side(_levels(made_BCHW), tested.images.test.images_NCHW[tested.images_P[rows]])


def _choose(labels_P: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """``NUM_COLUMNS`` random pairs of each label, not picked; fewer pairs than that are repeated."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 3])))
    rows = [rng.permutation(np.flatnonzero(labels_P == label)) for label in np.unique(labels_P)]
    return np.concatenate([np.resize(row, NUM_COLUMNS) for row in rows])


def _levels(images_BCHW: Float32) -> UInt8:
    return (images_BCHW * np.float32(255) + np.float32(0.5)).astype(np.uint8)
