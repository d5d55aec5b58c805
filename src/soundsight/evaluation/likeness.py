"""Pictures of pairs: how like the real one of its moment each is, beside predictions that never hear the sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight import noise
from soundsight.config import DataConfig
from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.pair_splits import leak, nearest_in_time, split_pairs
from soundsight.datasets.selection import pairs_of
from soundsight.datasets.sketch import sketch
from soundsight.datasets.splits import Split
from soundsight.errors import DatasetError, ModelError
from soundsight.evaluation.baselines import mean_image, nearest
from soundsight.evaluation.comparisons import CHANCE, REAL_FRAMES, Comparison, Networks, comparisons_of
from soundsight.evaluation.networks import draw_pictures
from soundsight.evaluation.protocol import data_of_pairs, load_pairs, recipe_of
from soundsight.evaluation.published import SCENES_2025, published
from soundsight.evaluation.report import Baseline, Sample, Score
from soundsight.features import mfcc
from soundsight.folder import ModelFolder
from soundsight.hearing import Hearing
from soundsight.pipeline import AudioToImage

__all__ = ["evaluate_frames", "evaluate_pairs", "features_of"]

UInt8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """Real pictures of a split, and which training pairs stand for the test ones.

    Attributes:
        pairs: All pairs.
        split: Which of them train and test.
        train: (T', C, S, S) uint8.
        test: (T, C, S, S) uint8.
        near_T: (T,) place among the training pairs of the frame of the same clip that is nearest in time; -1 for none.
        row_T: (T,) the same over the whole table, whatever clip it is.
    """

    pairs: PairSet
    split: Split
    train: UInt8
    test: UInt8
    near_T: Int64
    row_T: Int64


def evaluate_pairs(
    model: ModelFolder,
    pipe: AudioToImage,
    split: str | None,
    seed: int,
    root: Path,
    num_samples: int,
    watch: Watch | None,
    networks: Networks,
) -> dict[str, Any]:
    """The part of a report that depends on a model of pairs.

    Args:
        model: The model.
        pipe: The same, ready to paint.
        split: Another split than its recipe's.
        seed: Of the noise, the baseline of noise, and the choice of samples.
        root: Folder of the data sets.
        num_samples: Test pairs whose pictures are shown.
        watch: Called as pictures are done.
        networks: What pictures are compared by, too.

    Raises:
        DatasetError: The data are absent, or not those that the model was trained on.
        ModelError: A network failed, or does not fit the pairs.
        UnknownNameError: There is no such judge, alignment, split or clip.
    """
    recipe = recipe_of(model)
    pairs, own, used = load_pairs(model, recipe, split, root)
    test = _load(pairs, used, model.image.height, recipe.data)
    # Before the long part: a network that does not fit shows at once.
    comparisons, folders = _compared(test, networks, seed)
    features = {part: features_of(pipe, pairs, rows) for part, rows in (("train", used.train), ("test", used.test))}
    made = _made(pipe, features["test"], seed, watch)
    sound_T = nearest(features["test"], features["train"])
    scores = _scores(test, comparisons, seed, made, sound_T, (model.system, model.model, _name(recipe.data)))
    return {
        **_described(test, recipe.data, scores, folders, taught=recipe.consistency is not None),
        "num_heard": len(np.intersect1d(used.test, own.train)),
        "samples": _samples(test, made, num_samples, seed),
    }


def evaluate_frames(data: DataConfig, root: Path, seed: int, image_size: int, networks: Networks) -> dict[str, Any]:
    """The part of a report that no model has: what a model of these pairs must beat.

    Args:
        data: Pairs and their split.
        root: Folder of the data sets.
        seed: Of a split that is drawn, and of the baseline of noise.
        image_size: Side at which pictures are compared.
        networks: As for ``evaluate_pairs``.

    Raises:
        DatasetError: The data are absent or cannot be divided.
        ModelError: A network failed, or does not fit the pairs.
        UnknownNameError: There is no such split, clip, judge or alignment.
    """
    pairs = pairs_of(data, root)
    test = _load(pairs, split_pairs(pairs, data.split, seed=seed), image_size, data)
    comparisons, folders = _compared(test, networks, seed)
    # What was published for these frames, by a system of which nobody has the sounds any more.
    of = ("mfcc_generator", {**SCENES_2025, "image_size": image_size}, _name(data))
    sound_T = _nearest_sound(test)
    described = _described(test, data, _scores(test, comparisons, seed, None, sound_T, of), folders)
    if sound_T is not None:
        described["more_notes"] += ("Which training sound is the nearest is told by MFCCs.",)
    return {**described, "num_heard": 0, "samples": ()}


def _nearest_sound(test: _Test) -> Int64 | None:
    """(T,) places among the training pairs, of the nearest MFCCs; None where there is nothing to be heard."""
    pairs, split = test.pairs, test.split
    if pairs.features_PFN is not None:
        return nearest(pairs.features_PFN[split.test], pairs.features_PFN[split.train])
    if pairs.sounds is None:
        return None
    config = mfcc.Config()
    heard = [
        mfcc.extract(pairs.load_sounds(rows, config.sample_rate_hz, mfcc.prepare), config)
        for rows in (split.test, split.train)
    ]
    return nearest(*heard)


def _name(data: DataConfig) -> str:
    """What pairs are called where numbers were published for them."""
    return f"{data.pairs}:{','.join(data.only)}" if data.only else str(data.pairs)


def _load(pairs: PairSet, split: Split, size: int, data: DataConfig) -> _Test:
    train, test = (pairs.load_images(rows, size) for rows in (split.train, split.test))
    if data.target == "sketch":
        train, test = sketch(train), sketch(test)
    near_T = nearest_in_time(pairs, split)
    places = np.searchsorted(split.train, near_T)
    apart = np.abs(split.test[:, None] - split.train)
    return _Test(pairs, split, train, test, np.where(near_T < 0, -1, places), apart.argmin(axis=1))


def _compared(test: _Test, networks: Networks, seed: int) -> tuple[list[Comparison], list[ModelFolder]]:
    return comparisons_of(
        test.train, test.test, lambda hearing: features_of(hearing, test.pairs, test.split.test), networks, seed
    )


def features_of(hearing: Hearing, pairs: PairSet, rows: Int64) -> Float32:
    """Features (B, F, N) of some pairs: of their sounds, or as the publisher computed them.

    Raises:
        DatasetError: A sound cannot be used; or there are coefficients alone, and they are not what is heard.
    """
    if pairs.features_PFN is not None:
        heard = (hearing.folder.features or {}).get("name")
        if heard != "mfcc":
            raise DatasetError(
                f"these pairs come as coefficients (mfcc), without sounds, and '{hearing.folder.name}' hears {heard}"
            )
        return pairs.features_PFN[rows]
    return hearing.extract(pairs.load_sounds(rows, hearing.sample_rate_hz, hearing.prepare))


def _made(pipe: AudioToImage, features_TFN: Float32, seed: int, watch: Watch | None) -> UInt8:
    """A picture of each test sound, (T, C, S, S), as it would be saved, in 256 levels."""
    num = len(features_TFN)
    noise_TD = noise.draw(seed, num, pipe.folder.latent_size)
    made: list[UInt8] = []
    for images_BCHW in draw_pictures(pipe, features_TFN, np.arange(num), noise_TD):
        made.append(images_BCHW)
        if watch is not None:
            watch(sum(map(len, made)), num)
    if not made:
        raise ModelError(f"{pipe.folder.path}: made no pictures")
    return np.concatenate(made)


def _baselines(test: _Test, sound_T: Int64 | None, seed: int) -> Iterator[tuple[str, UInt8]]:
    """Predictions that need no model, (T, C, S, S) each; where a clip trains nowhere, the mean of all stands in."""
    num = len(test.test)
    mean = mean_image(test.train)
    yield "mean picture", np.broadcast_to(mean, test.test.shape)
    clips_P = np.array(test.pairs.clips)
    of_clip = {
        clip: mean_image(test.train[clips_P[test.split.train] == clip]) for clip in set(clips_P[test.split.train])
    }
    yield "mean picture of the clip", np.stack([of_clip.get(clip, mean) for clip in clips_P[test.split.test]])
    known_T = test.near_T >= 0
    near = np.where(known_T[:, None, None, None], test.train[test.near_T], mean)
    yield "nearest training frame of the clip", near
    yield "nearest training frame in the table", test.train[test.row_T]
    if sound_T is not None:
        yield "frame of the nearest training sound", test.train[sound_T]
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 4])))
    yield "uniform noise", rng.integers(0, 256, (num, *test.test.shape[1:]), dtype=np.uint8)


def _scores(
    test: _Test,
    comparisons: list[Comparison],
    seed: int,
    made: UInt8 | None,
    sound_T: Int64 | None,
    of: tuple[str, dict[str, Any], str | None],
) -> tuple[Score, ...]:
    others = {name: _measured(comparisons, images) for name, images in _baselines(test, sound_T, seed)}
    ours = {} if made is None else _measured(comparisons, made)
    return tuple(
        Score(
            measure.name,
            measure.title,
            ours.get(measure.name, math.nan),
            None,
            (
                *(Baseline(name, found[measure.name]) for name, found in others.items()),
                *comparison.beside.get(measure.name, ()),
            ),
            published(*of, None, test.split.name, measure.name),
            lower_is_better=measure.lower,
            table=measure.table,
        )
        for comparison in comparisons
        for measure in comparison.measures
    )


def _measured(comparisons: list[Comparison], images: UInt8) -> dict[str, float]:
    return {name: value for comparison in comparisons for name, value in comparison.compute(images).items()}


def _described(
    test: _Test, data: DataConfig, scores: tuple[Score, ...], folders: list[ModelFolder], *, taught: bool = False
) -> dict[str, Any]:
    return {
        "kind": "generator",
        "split": test.split.name,
        "num_pictures": len(test.test),
        "num_recordings": len(test.test),
        "labels": (),
        "scores": scores,
        "confusion_LL": np.zeros((0, 0), np.int64),
        "by_label": (),
        "by_speaker": (),
        "judge": {},
        **{folder.kind: {"name": folder.name, **folder.weights} for folder in folders},
        "data": (data_of_pairs(data, test.train, test.test),),
        "more_notes": (*_notes(test, scores), *_notes_of_alignment(test, data, scores, folders, taught)),
    }


def _notes(test: _Test, scores: tuple[Score, ...]) -> tuple[str, ...]:
    """How much the split leaks, what noise passes, and how large pictures are compared."""
    notes = []
    found = leak(test.pairs, test.split)
    if found is not None:
        notes.append(f"Split '{test.split.name}': {found.text}.")
    passed = next(score for score in scores if score.name == "hss")
    of_noise = next(b.value for b in passed.baselines if b.name == "uniform noise")
    notes.append(f"HSS as published is {of_noise:.4f} for uniform noise: it says nothing.")
    # Windows and patches are so many pixels, whatever these show: scores at two sizes are not comparable.
    notes.append(f"Pictures are compared at {test.test.shape[2]} by {test.test.shape[3]} pixels.")
    return tuple(notes)


def _notes_of_alignment(
    test: _Test, data: DataConfig, scores: tuple[Score, ...], folders: list[ModelFolder], taught: bool
) -> Iterator[str]:
    """Whether it knows real frames, or the test pairs from its own training, and whether the model learned from one."""
    for space in (folder for folder in folders if folder.kind == "alignment"):
        found = [{b.name: b.value for b in score.baselines} for score in scores if "_accuracy_at_" in score.name]
        if all(values[REAL_FRAMES] <= values[CHANCE] for values in found):
            yield (
                f"In '{space.name}' real frames and their own sounds find each other no better than by chance: its "
                "scores say nothing here."
            )
        recipe = recipe_of(space) if "recipe" in space.training else None
        if recipe is not None and recipe.data.pairs == data.pairs:
            own = split_pairs(test.pairs, recipe.data.split, seed=recipe.train.seed)
            if num := len(np.intersect1d(own.train, test.split.test)):
                yield f"The alignment '{space.name}' has known {num:,} of the test pairs in its training."
        if taught:
            yield "An alignment taught this model; the alignment score tells how well it learned that."


def _samples(test: _Test, made: UInt8, num: int, seed: int) -> tuple[Sample, ...]:
    """Some test pairs at random: the real picture, then the one that was made."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 1])))
    samples = []
    for place in sorted(rng.permutation(len(made))[:num].tolist()):
        row = test.split.test[place]
        name = f"{test.pairs.clips[row]}, {test.pairs.times_s[row]:g} s"
        for label, images in (("real", test.test), ("made", made)):
            samples.append(Sample(np.ascontiguousarray(np.moveaxis(images[place], 0, 2)), label, label, name))
    return tuple(sorted(samples, key=lambda sample: sample.label, reverse=True))
