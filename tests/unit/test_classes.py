"""Other names for classes: what is kept, as what, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsight.datasets import cifar10, esc50
from soundsight.datasets.classes import relabel
from soundsight.datasets.pairing import many_to_one
from soundsight.datasets.types import ImageSet, SoundSet
from soundsight.errors import DatasetError, UnknownNameError

CLASSES = ("ant", "bee", "cow", "dog", "eel")


def sounds_of(labels: list[int]) -> SoundSet:
    """Every column says which row it was."""
    num = len(labels)
    return SoundSet(
        paths=tuple(Path(f"{i}.wav") for i in range(num)),
        labels=np.array(labels, np.int64),
        speakers=tuple(f"speaker {i}" for i in range(num)),
        indices=np.arange(num),
        official_test=np.arange(num) % 2 == 0,
        source_clips=tuple(f"clip {i}" for i in range(num)),
        folds=np.arange(num) * 10,
    )


def images_of(labels: list[int]) -> ImageSet:
    pictures = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    return ImageSet(pictures, np.array(labels, np.int64))


@given(st.lists(st.integers(0, 4), max_size=30), st.permutations(CLASSES), st.integers(1, 5))
def test_items_of_the_groups_stay_in_their_order_under_their_groups_place(drawn, order, num_kept):
    """Against a table by hand: names to names."""
    labels = [*range(5), *drawn]
    groups = [("first", order[:num_kept]), ("rest", order[num_kept:])] if num_kept < 5 else [("all", order)]
    group_of = {member: name for name, members in groups for member in members}
    chosen = groups[:1]
    rows = [i for i, label in enumerate(labels) if group_of[CLASSES[label]] == groups[0][0]]
    for names, expected in ((chosen, rows), (groups, list(range(len(labels))))):
        sounds, images = (relabel(items, CLASSES, names) for items in (sounds_of(labels), images_of(labels)))
        assert [path.name for path in sounds.paths] == [f"{i}.wav" for i in expected]
        assert sounds.speakers == tuple(f"speaker {i}" for i in expected)
        assert sounds.source_clips == tuple(f"clip {i}" for i in expected)
        assert sounds.indices.tolist() == expected
        assert sounds.official_test.tolist() == [i % 2 == 0 for i in expected]
        assert sounds.folds.tolist() == [10 * i for i in expected]
        assert images.images_NCHW[:, 0, 0, 0].tolist() == expected
        for items in (sounds, images):
            assert [names[label][0] for label in items.labels] == [group_of[CLASSES[labels[i]]] for i in expected]


def test_what_is_given_stays_as_it_was():
    sounds = sounds_of([0, 1, 2, 1])
    relabel(sounds, CLASSES, [("x", ["bee"])])
    assert sounds.labels.tolist() == [0, 1, 2, 1]


def test_columns_that_are_not_there_stay_away():
    sounds = SoundSet((Path("a"), Path("b")), np.array([0, 1]), None, np.array([0, 0]))
    kept = relabel(sounds, CLASSES, [("x", ["bee"])])
    assert (kept.speakers, kept.source_clips, kept.official_test, kept.folds) == (None, None, None, None)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([], DatasetError, "no classes to make"),
        ([("x", [])], DatasetError, "class 'x' takes in no class"),
        ([("x", ["bea"])], UnknownNameError, r"no 'bea' .*did you mean 'bee'\?.*known: ant, bee, cow, dog, eel"),
        ([("x", ["bee"]), ("y", ["cow", "bee"])], DatasetError, "'bee' is in class 'x' and again in 'y'"),
        ([("x", ["bee", "bee"])], DatasetError, "'bee' is in class 'x' and again in 'x'"),
        ([("x", ["bee"]), ("x", ["cow"])], DatasetError, "class 'x' is made twice"),
        ([("x", ["bee"]), ("fish", ["eel"])], DatasetError, r"nothing of class 'fish' \(eel\)"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(groups, error, message):
    for items in (sounds_of([0, 1, 2, 3]), images_of([0, 1, 2, 3])):
        with pytest.raises(error, match=message) as caught:
            relabel(items, CLASSES, groups)
        assert "\n" not in str(caught.value)


def test_real_sounds_and_images_meet_under_one_name(data_root):
    """The law of the pairing: a sound of the class chirping_birds or crow goes with an image of the class bird."""
    table = [("bird", ["chirping_birds", "crow"], ["bird"]), ("dog", ["dog"], ["dog"])]
    raw = esc50.load(data_root / "esc50")
    sounds = relabel(raw, esc50.INFO.classes, [(name, heard) for name, heard, _ in table])
    all_images = cifar10.load(data_root / "cifar10", train=False)
    images = relabel(all_images, cifar10.INFO.classes, [(name, seen) for name, _, seen in table])
    assert np.bincount(sounds.labels).tolist() == [16, 8]
    assert np.bincount(images.labels).tolist() == [1000, 1000]
    pairs = many_to_one(images.labels, sounds.labels, np.random.default_rng(0))
    assert len(pairs) == 2000
    np.testing.assert_array_equal(images.images_NCHW[:1000], all_images.images_NCHW[2000:3000])
    for image, sound in zip(pairs.images, pairs.sounds, strict=True):
        target = int(sounds.paths[sound].stem.split("-")[3])
        assert esc50.INFO.classes[target] in (("chirping_birds", "crow") if image < 1000 else ("dog",))
