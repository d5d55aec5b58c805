"""The laws of both pairings, on arbitrary labels and on the real ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from soundsight.datasets import fsdd, mnist
from soundsight.datasets.pairing import many_to_one, one_to_one
from soundsight.datasets.splits import make_split
from soundsight.errors import DatasetError


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@st.composite
def labels(draw):
    """Two lists over the same classes, which need not be neighbours or start at 0."""
    classes = draw(st.lists(st.integers(-5, 300), min_size=1, max_size=6, unique=True))
    sides = []
    for _ in range(2):
        counts = draw(st.lists(st.integers(1, 8), min_size=len(classes), max_size=len(classes)))
        side = [label for label, count in zip(classes, counts, strict=True) for _ in range(count)]
        sides.append(draw(st.permutations(side)))
    return sides


@given(labels(), st.integers(0, 1000))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_many_to_one_takes_every_image_once_with_a_sound_of_its_label(sides, seed):
    images, sounds = map(np.array, sides)
    pairs = many_to_one(images, sounds, generator(seed))
    assert np.array_equal(pairs.images, np.arange(len(images)))
    assert pairs.sounds.dtype == pairs.images.dtype == np.int64
    assert np.array_equal(images[pairs.images], sounds[pairs.sounds])


@given(labels(), st.integers(0, 1000))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_one_to_one_takes_nothing_twice_and_as_much_as_there_is(sides, seed):
    images, sounds = map(np.array, sides)
    pairs = one_to_one(images, sounds, generator(seed))
    assert len(set(pairs.images.tolist())) == len(set(pairs.sounds.tolist())) == len(pairs)
    assert np.array_equal(images[pairs.images], sounds[pairs.sounds])
    # Counter's «and» is the smaller count of each label.
    assert Counter(images[pairs.images].tolist()) == Counter(images.tolist()) & Counter(sounds.tolist())


@pytest.mark.parametrize("pair", [many_to_one, one_to_one])
def test_the_draw_comes_from_the_generator_alone(pair):
    images, sounds = np.arange(3000) % 10, np.arange(2000) % 10
    first, again, other = (pair(images, sounds, generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.sounds, again.sounds)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.sounds, other.sounds)
    assert not np.array_equal(first.sounds, pair(images, sounds, rng := generator(1)).sounds[::-1])
    assert not np.array_equal(first.sounds, pair(images, sounds, rng).sounds), "the next epoch draws anew"


def test_many_to_one_draws_evenly_and_with_replacement():
    images, sounds = np.repeat([0, 1], 20_000), np.array([1] * 20 + [0] * 40)
    counts = np.bincount(many_to_one(images, sounds, generator(0)).sounds, minlength=60)
    for of_label in (counts[:20], counts[20:]):
        assert of_label.sum() == 20_000
        assert of_label.min() > 1
        assert 1e-4 < chisquare(of_label).pvalue < 1 - 1e-4, "uneven, or more even than chance"


@pytest.mark.parametrize(("num_images", "num_sounds"), [(6, 3), (3, 6)])
def test_one_to_one_chooses_evenly_on_both_sides(num_images, num_sounds):
    images, sounds = np.zeros(num_images, int), np.zeros(num_sounds, int)
    drawn = [one_to_one(images, sounds, generator(seed)) for seed in range(1200)]
    together = Counter((int(i), int(s)) for pairs in drawn for i, s in zip(pairs.images, pairs.sounds, strict=True))
    assert len(together) == 18
    # Each of the 18 pairs is in a draw with chance 1/6; counts of one draw hang together, so a wide margin.
    assert min(together.values()) > 130
    assert max(together.values()) < 275


@pytest.mark.parametrize("pair", [many_to_one, one_to_one])
def test_an_image_without_a_sound_is_refused(pair):
    with pytest.raises(DatasetError, match=r"no recording of class 2, 5$"):
        pair([0, 2, 5], [0, 0], generator(0))
    with pytest.raises(DatasetError, match="no recording of class 0"):
        pair([0], np.empty(0, int), generator(0))


def test_a_sound_without_an_image_is_refused_where_it_would_be_lost():
    with pytest.raises(DatasetError, match="no image of class 1"):
        one_to_one([0, 0], [0, 1], generator(0))
    assert len(many_to_one([0, 0], [0, 1], generator(0))) == 2


def test_labels_must_be_whole_numbers_in_one_row():
    for bad in ([0.5], [[0]]):
        with pytest.raises(AssertionError):
            many_to_one(bad, [0], generator(0))


@pytest.fixture(scope="module")
def real(data_root):
    images = {part: mnist.load(data_root / "mnist", train=part == "train").labels for part in ("train", "test")}
    return images, fsdd.load(data_root / "fsdd")


@pytest.mark.parametrize("name", ["random", "official", "speaker:theo"])
@pytest.mark.parametrize("seed", range(3))
def test_train_and_test_pairs_of_the_real_data_share_no_recording(real, name, seed):
    images, sounds = real
    split = make_split(sounds, name, seed=seed)
    used = {}
    for part, rows in (("train", split.train), ("test", split.test)):
        pairs = many_to_one(images[part], sounds.labels[rows], generator(seed))
        assert len(pairs) == {"train": 60_000, "test": 10_000}[part], "as published"
        used[part] = {sounds.paths[row] for row in rows[pairs.sounds]}
        assert used[part] <= {sounds.paths[row] for row in rows}
        assert np.array_equal(images[part][pairs.images], sounds.labels[rows[pairs.sounds]])
    assert not used["train"] & used["test"]
    # With 30 images per recording none of them stays unused.
    assert len(used["train"]) == len(split.train)


def test_one_to_one_of_the_real_data(real):
    images, sounds = real
    split = make_split(sounds, "random", seed=0)
    pairs = one_to_one(images["train"], sounds.labels[split.train], generator(0))
    assert len(pairs) == 1800, "recordings are the scarcer side in every class"
    assert sorted(pairs.sounds.tolist()) == list(range(1800))
