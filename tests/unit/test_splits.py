"""Splits are disjoint and complete, and no recording crosses over: by row, by file and by content."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from soundsight.datasets import fsdd
from soundsight.datasets.splits import make_split
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, UnknownNameError


def sounds_of(labels, speakers=None, indices=None, official=None, clips=None, folds=None) -> SoundSet:
    num = len(labels)
    return SoundSet(
        tuple(Path(f"{i}.wav") for i in range(num)),
        np.array(labels, np.int64),
        tuple(speakers or ["ada"] * num),
        np.array(indices if indices is not None else [0] * num, np.int64),
        None if official is None else np.array(official),
        None if clips is None else tuple(clips),
        None if folds is None else np.array(folds, np.int64),
    )


@given(num=st.integers(20, 400), classes=st.integers(1, 3), seed=st.integers(0, 2**63))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_splits_are_disjoint_complete_and_a_tenth(num, classes, seed):
    sounds = sounds_of([i % classes for i in range(num)])
    try:
        split = make_split(sounds, "random", seed=seed)
    except DatasetError:
        assert num < 100  # a class may be missing from a handful
        return
    assert np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(num))
    assert abs(len(split.test) - num / 10) <= 0.5
    assert split.train.dtype == split.test.dtype == np.int64


def test_random_splits_come_from_their_seed_alone():
    sounds = sounds_of([i % 10 for i in range(2000)])
    first = make_split(sounds, "random", seed=3)
    again = make_split(sounds, "random", seed=3)
    other = make_split(sounds, "random", seed=4)
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_over_seeds_every_recording_is_as_likely_to_test():
    sounds = sounds_of([0] * 50)
    counts = np.zeros(50)
    for seed in range(400):
        counts[make_split(sounds, "random", seed=seed).test] += 1
    # Binomial(400, 0.1): 40 ± 6; five deviations for 50 counts.
    assert counts.sum() == 2000
    assert counts.min() > 10
    assert counts.max() < 70


def test_official_is_the_publishers_mask_whatever_the_seed():
    official = [False, True, False, True]
    sounds = sounds_of([0, 0, 1, 1], official=official)
    for seed in (0, 1):
        split = make_split(sounds, "official", seed=seed)
        assert split.test.tolist() == [1, 3]
        assert split.train.tolist() == [0, 2]
    with pytest.raises(DatasetError, match="no official split"):
        make_split(sounds_of([0, 0]), "official", seed=0)


def test_a_speaker_tests_alone():
    sounds = sounds_of([0, 1] * 3, ["ada", "ada", "bob", "bob", "ada b", "ada b"])
    split = make_split(sounds, "speaker:ada", seed=0)
    assert split.test.tolist() == [0, 1], "not the speaker whose name begins so"
    assert split.name == "speaker:ada"


@pytest.mark.parametrize("name", ["speaker:eve", "speaker:", "speaker:ADA", "speaker: ada"])
def test_an_unknown_speaker_gets_the_known_ones(name):
    with pytest.raises(UnknownNameError, match=r"no speaker.*known: ada, bob$"):
        make_split(sounds_of([0, 0], ["bob", "ada"]), name, seed=0)


def test_thousands_of_speakers_stay_one_line():
    speakers = [f"s{i:04}" for i in range(3000)]
    with pytest.raises(UnknownNameError, match="and 2980 more") as caught:
        make_split(sounds_of([0] * 3000, speakers), "speaker:eve", seed=0)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["", "Random", "speakers", "leave-one-out", "speaker", "fold", "clip:1"])
def test_an_unknown_split_gets_those_that_the_data_set_has(name):
    with pytest.raises(UnknownNameError, match=r"'random', 'official' or 'speaker:NAME'$"):
        make_split(sounds_of([0], official=[True]), name, seed=0)
    with pytest.raises(UnknownNameError, match=r"expected 'clip' or 'fold:N'$"):
        make_split(replace(sounds_of([0], clips=["a"], folds=[1]), speakers=None), name, seed=0)


def test_a_split_that_makes_no_sense_says_which_do():
    spoken = sounds_of([0, 0], ["ada", "bob"])
    for name in ("official", "clip", "fold:1"):
        with pytest.raises(DatasetError, match=r"use 'random' or 'speaker:NAME'$"):
            make_split(spoken, name, seed=0)
    taken = replace(sounds_of([0, 0], clips=["a", "b"]), speakers=None)
    for name in ("random", "official", "speaker:ada", "fold:1"):
        with pytest.raises(DatasetError, match=r"use 'clip'$") as caught:
            make_split(taken, name, seed=0)
        assert "\n" not in str(caught.value)


def test_takes_of_one_clip_are_never_split_at_random():
    """Even where it would go well by chance: no seed may be lucky."""
    sounds = sounds_of([0] * 40, clips=[str(i) for i in range(40)])
    for seed in range(5):
        with pytest.raises(DatasetError, match="takes of one source clip on both sides"):
            make_split(sounds, "random", seed=seed)


# Takes of each clip of each class; a clip may have takes in a second class, as two of ESC-50 have.
TAKES = st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=9), min_size=1, max_size=6)


@given(TAKES, st.booleans(), st.integers(0, 2**63), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_clips_stay_whole_and_a_quarter_of_each_class_tests(takes, shared, seed, random):
    items = [
        (label, f"{label}-{clip}")
        for label, clips in enumerate(takes)
        for clip, num in enumerate(clips)
        for _ in range(num)
    ]
    if shared and len(takes) > 1:
        items.append((1, "0-0"))
    random.shuffle(items)
    labels, clips = zip(*items, strict=True)
    try:
        split = make_split(sounds_of(labels, clips=clips), "clip", seed=seed)
    except DatasetError:  # the clip of two classes took the only place of a small one
        assert shared
        assert len(takes[1]) < 4
        return
    assert np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(len(items)))
    train, test = ({clips[i] for i in rows} for rows in (split.train, split.test))
    assert not train & test
    for label in range(len(takes)):
        of_class = {clip for other, clip in items if other == label}
        assert of_class & train
        assert of_class & test
        gap = len(of_class & test) - len(of_class) / 4
        assert abs(gap) <= (1 if shared else 0.75), "a quarter, rounded, and one at least"
    # The same clips test, whatever the order of the recordings.
    again = sounds_of(labels[::-1], clips=clips[::-1])
    assert {clips[::-1][i] for i in make_split(again, "clip", seed=seed).test} == test


def test_over_seeds_every_clip_is_as_likely_to_test():
    clips = [str(i // 3) for i in range(60)]
    sounds = sounds_of([0] * 60, clips=clips)
    counts = Counter(clips[i] for seed in range(400) for i in set(make_split(sounds, "clip", seed=seed).test[::3]))
    # Binomial(400, 0.25): 100 ± 9; five deviations for 20 counts.
    assert sum(counts.values()) == 2000
    assert min(counts.values()) > 55
    assert max(counts.values()) < 145


def test_a_class_of_one_clip_is_refused_with_its_clip():
    sounds = sounds_of([0, 0, 1, 1], clips=["a", "b", "c", "c"])
    with pytest.raises(DatasetError, match=r"class 1 on both sides.*source clip c; leave the class out"):
        make_split(sounds, "clip", seed=0)


def test_a_fold_tests_as_the_publisher_made_it():
    sounds = sounds_of([0, 1] * 3, clips="abcdea", folds=[1, 1, 2, 2, 10, 10])
    for seed in (0, 1):
        split = make_split(sounds, "fold:1", seed=seed)
        assert split.test.tolist() == [0, 1], "not fold 10"
        assert split.train.tolist() == [2, 3, 4, 5]
    assert make_split(sounds, "fold:10", seed=0).test.tolist() == [4, 5]
    for name in ("fold:3", "fold:", "fold:01", "fold:x"):
        with pytest.raises(UnknownNameError, match=r"no fold '.*'; known: 1, 10, 2$"):
            make_split(sounds, name, seed=0)


def test_a_class_that_would_be_missing_is_refused():
    sounds = sounds_of([0, 1, 0, 2], ["ada", "ada", "bob", "bob"])
    with pytest.raises(DatasetError, match="training part without a recording of class 2"):
        make_split(sounds, "speaker:bob", seed=0)
    sounds = sounds_of([0, 1, 0], ["ada", "ada", "bob"])
    with pytest.raises(DatasetError, match="test part without a recording of class 1"):
        make_split(sounds, "speaker:bob", seed=0)
    with pytest.raises(DatasetError, match="training part"):
        make_split(sounds_of([0, 1]), "speaker:ada", seed=0)
    with pytest.raises(DatasetError, match="test part"):
        make_split(sounds_of([0, 0, 0]), "random", seed=0)  # a tenth of three is none


def content_of(path: Path) -> str:
    samples, rate_hz = soundfile.read(path, dtype="int16")
    return hashlib.sha256(rate_hz.to_bytes(4, "big") + samples.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def real(data_root):
    sounds = fsdd.load(data_root / "fsdd")
    return sounds, np.array([content_of(path) for path in sounds.paths])


SPLITS = [("random", seed) for seed in range(5)] + [
    (name, 0) for name in ("official", "speaker:jackson", "speaker:nicolas", "speaker:theo", "speaker:yweweler")
]


@pytest.mark.parametrize(("name", "seed"), SPLITS)
def test_no_recording_of_the_real_data_is_on_both_sides(real, name, seed):
    sounds, contents = real
    split = make_split(sounds, name, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(len(sounds)))
    assert not {sounds.paths[i] for i in split.train} & {sounds.paths[i] for i in split.test}
    assert not set(contents[split.train]) & set(contents[split.test]), "the same recording under another name"
    if name.startswith("speaker:"):
        assert {sounds.speakers[i] for i in split.test} == {name.split(":")[1]}
        assert name.split(":")[1] not in {sounds.speakers[i] for i in split.train}
    if name == "official":
        assert set(sounds.indices[split.test]) == set(range(5))
        assert sounds.indices[split.train].min() == 5
    assert len(split.test) == (500 if name.startswith("speaker:") else 200)
