"""What pictures of pairs are compared by: each with the real one of its moment, and all of them as a set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import DatasetError
from soundsight.evaluation.networks import Viewer, load_space, load_viewer
from soundsight.evaluation.report import Baseline
from soundsight.folder import ModelFolder
from soundsight.hearing import Hearing
from soundsight.metrics import darkness, fidelity, scene2025
from soundsight.metrics.frechet import frechet_distance
from soundsight.metrics.kernel import kernel_distance
from soundsight.metrics.retrieval import chance, recall_at
from soundsight.metrics.sliced_wasserstein import Reference

__all__ = [
    "CHANCE",
    "REAL_FRAMES",
    "SET_SIZE",
    "Comparison",
    "Measure",
    "Networks",
    "by_alignment",
    "by_darkness",
    "by_judge",
    "by_patches",
    "by_picture",
    "comparisons_of",
]

UInt8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SET_SIZE = 1000
"""Most pictures that are compared as a set, evenly over all test pairs: their patches take 400 MB."""
REAL_FRAMES, CHANCE = "real frames", "chance"
"""Baselines of what is found in a space of sounds and pictures."""
_FLOOR = "real training frames"
_BATCH = 16
_KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Measure:
    """A score: its name, its title, whether less is better, and the table it stands in."""

    name: str
    title: str
    lower: bool = False
    table: Literal["pictures", "set"] = "pictures"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One way to compare the pictures of all T test pairs with real ones.

    Attributes:
        measures: What comes of it.
        compute: Pictures (T, C, S, S) uint8 to the value of each measure, by name; NaN where there is none.
        beside: By name of a measure, what real pictures or chance reach.
    """

    measures: tuple[Measure, ...]
    compute: Callable[[UInt8], dict[str, float]]
    beside: Mapping[str, tuple[Baseline, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks in whose features pictures are compared, too, by name or folder; None for none.

    Attributes:
        judge: A classifier of such pictures; they may be a whole number of times as large as those that it reads.
        alignment: A space of such pictures and their sounds; the same holds for it.
    """

    judge: str | Path | None = None
    alignment: str | Path | None = None


def comparisons_of(
    train: UInt8, test: UInt8, listen: Callable[[Hearing], Float32], networks: Networks, seed: int
) -> tuple[list[Comparison], list[ModelFolder]]:
    """All comparisons of pairs.

    Args:
        train: Real training pictures (T', C, S, S).
        test: Real test pictures (T, C, S, S).
        listen: A front end to its features (T, F, N) of the test sounds.
        networks: What is wanted besides.
        seed: Of what is drawn.

    Returns:
        The comparisons, and the folders of the networks that they use.

    Raises:
        DatasetError: The pairs have no sounds, or too few pictures.
        ModelError: A network failed, or reads other pictures or sounds.
        UnknownNameError: There is no such model.
    """
    shape = (test.shape[1], test.shape[2], test.shape[3])
    found, folders = [by_picture(test), by_darkness(test), by_patches(train, test, seed)], []
    if networks.judge is not None:
        judge, view = load_viewer(networks.judge, shape)
        found.append(by_judge(judge.name, view, train, test))
        folders.append(judge)
    if networks.alignment is not None:
        space, view = load_space(networks.alignment, shape)
        found.append(by_alignment(space.folder.name, space.embed_sounds(listen(space)), view, test))
        folders.append(space.folder)
    return found, folders


def _published_loss(images: Float64, targets: Float64) -> Float64:
    """Mean squared error in [-1, 1], four times that in [0, 1], times the published batch of 64."""
    return 64 * 4 * fidelity.mse(images, targets)


_SINGLE: tuple[tuple[Measure, Callable[[Any, Any], Float64]], ...] = (
    (Measure("ssim", "SSIM (Gaussian window of 11 pixels, range 1)"), fidelity.ssim),
    (Measure("ms_ssim", "Multi-scale SSIM"), fidelity.ms_ssim),
    (Measure("mse", "Mean squared error", lower=True), fidelity.mse),
    (Measure("histogram", "Similarity of histograms: values, hues, neighbours"), fidelity.histogram_similarity),
    (
        Measure("published_ssim", "SSIM as published (7 pixels, range of the made picture)"),
        scene2025.ssim_of_made_range,
    ),
    (
        Measure("published_loss", "Loss as published (64 times the error in -1 to 1)", lower=True),
        _published_loss,
    ),
    (Measure("hss", "HSS as published, which noise passes"), scene2025.hss),
)
# Of single pictures it is infinite where one is the real one itself, and so would be their mean: films hold frames.
_PSNR = Measure("psnr", "PSNR in dB, of the mean squared error of all pictures")


def by_picture(test: UInt8) -> Comparison:
    """Each picture with the real one of its moment; a score is the mean over those that have it, but for PSNR.

    Args:
        test: Real pictures (T, C, S, S).
    """

    def compute(images: UInt8) -> dict[str, float]:
        found: dict[str, list[Float64]] = {measure.name: [] for measure, _ in _SINGLE}
        for first in range(0, len(test), _BATCH):
            pair = [x[first : first + _BATCH] / 255 for x in (images, test)]
            for measure, score in _SINGLE:
                found[measure.name].append(score(*pair))
        means = {name: _mean_of(np.concatenate(values)) for name, values in found.items()}
        return means | {"psnr": -10 * math.log10(means["mse"]) if means["mse"] else math.inf}

    return Comparison((*(measure for measure, _ in _SINGLE), _PSNR), compute)


def by_darkness(test: UInt8) -> Comparison:
    """All pictures at once: are they dark where the real ones of their moments are?

    Args:
        test: Real pictures (T, C, S, S).
    """
    measure = Measure("dark", "Dark pixels: agreement with the real ones beyond chance (pooled κ, luma below 0.2)")

    def compute(images: UInt8) -> dict[str, float]:
        parts = [slice(first, first + _BATCH) for first in range(0, len(test), _BATCH)]
        found = [darkness.agreement(images[part] / 255, test[part] / 255) for part in parts]
        return {measure.name: darkness.pooled_kappa(np.concatenate(found))}

    return Comparison((measure,), compute)


def by_patches(train: UInt8, test: UInt8, seed: int) -> Comparison:
    """The sets, by patches of a Laplacian pyramid, which needs no network.

    Args:
        train: Real training pictures (T', C, S, S); as many as are compared are the yardstick.
        test: Real test pictures (T, C, S, S).
        seed: Of where the patches lie and of the directions; the same for all that is compared.
    """
    rows = _evenly(len(test), min(len(test), SET_SIZE))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 5])))
    reference = Reference(test[rows], rng)
    title = "Sliced Wasserstein distance × 1000 (patches of a Laplacian pyramid)"
    measure = Measure("sliced_wasserstein", title, lower=True, table="set")
    return _of_sets((measure,), lambda images: (1000 * float(reference.compare(images).mean()),), train, rows)


def by_judge(name: str, view: Viewer, train: UInt8, test: UInt8) -> Comparison:
    """The sets, in the features of a judge.

    Args:
        name: Of the judge.
        view: Its features of pictures.
        train: As for ``by_patches``.
        test: The same.

    Raises:
        DatasetError: One picture is no set.
        ModelError: The judge failed.
    """
    if len(test) < 2:
        raise DatasetError("a judge compares sets of pictures, and here a single one tests; leave --judge out")
    rows = _evenly(len(test), min(len(test), SET_SIZE))
    reference_SD = view(test[rows])

    def compute(images: UInt8) -> tuple[float, ...]:
        features_SD = view(images)
        return frechet_distance(features_SD, reference_SD), kernel_distance(features_SD, reference_SD)

    measures = (
        Measure("frechet", f"Fréchet distance in the features of {name}", lower=True, table="set"),
        Measure("kernel", f"Kernel distance in the features of {name}", lower=True, table="set"),
    )
    return _of_sets(measures, compute, train, rows)


def by_alignment(name: str, sound_TD: Float32, view: Viewer, test: UInt8) -> Comparison:
    """Pictures and sounds, in a space that they share: is a picture near its sound, and nearer than the others are?

    Args:
        name: Of the alignment.
        sound_TD: Places of the test sounds.
        view: Places of pictures, all of length 1.
        test: Real test pictures (T, C, S, S): what they reach is the ceiling.
    """
    together_TT = np.eye(len(sound_TD), dtype=bool)

    def compute(images: UInt8) -> dict[str, float]:
        # Of length 1, so that products are cosines.
        near_TT = sound_TD @ view(images).T
        found = {"alignment": float(near_TT.diagonal().mean())}
        for way, near in (("sound_to_picture", near_TT), ("picture_to_sound", near_TT.T)):
            found |= {f"{way}_accuracy_at_{k}": share for k, share in recall_at(near, together_TT, _KS).items()}
        return found

    measures = [Measure("alignment", f"Cosine of sound and picture in {name}")]
    beside: dict[str, tuple[Baseline, ...]] = {
        name: (Baseline(REAL_FRAMES, value, ceiling=True),) for name, value in compute(test).items()
    }
    for way in ("sound to picture", "picture to sound"):
        for k, share in chance(together_TT, _KS).items():
            name = f"{way.replace(' ', '_')}_accuracy_at_{k}"
            measures.append(Measure(name, f"{way.capitalize()}, R@{k}", table="set"))
            beside[name] = (Baseline(CHANCE, share), *beside[name])
    return Comparison(tuple(measures), compute, beside)


def _of_sets(
    measures: tuple[Measure, ...], distances: Callable[[UInt8], tuple[float, ...]], train: UInt8, rows: Int64
) -> Comparison:
    """Distances of the pictures in some rows; real training pictures, as many, show what real ones reach."""
    names = [measure.name for measure in measures]
    floor = distances(train[_evenly(len(train), len(rows))])
    beside = {name: (Baseline(_FLOOR, value, ceiling=True),) for name, value in zip(names, floor, strict=True)}
    return Comparison(measures, lambda images: dict(zip(names, distances(images[rows]), strict=True)), beside)


def _evenly(num: int, wanted: int) -> Int64:
    """(wanted,) rows of ``num``, evenly; the same ones repeatedly where there are fewer."""
    return np.rint(np.linspace(0, num - 1, wanted)).astype(np.int64)


def _mean_of(values_T: Float64) -> float:
    known_T = values_T[~np.isnan(values_T)]
    return float(known_T.mean()) if len(known_T) else math.nan
