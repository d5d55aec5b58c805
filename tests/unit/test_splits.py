"""Splits are disjoint and complete, and no recording crosses over: by row, by file and by content."""

from __future__ import annotations

import hashlib
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


def sounds_of(labels, speakers=None, indices=None, official=None) -> SoundSet:
    num = len(labels)
    return SoundSet(
        tuple(Path(f"{i}.wav") for i in range(num)),
        np.array(labels, np.int64),
        tuple(speakers or ["ada"] * num),
        np.array(indices if indices is not None else [0] * num, np.int64),
        None if official is None else np.array(official),
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


@pytest.mark.parametrize("name", ["", "Random", "speakers", "leave-one-out"])
def test_an_unknown_split_gets_the_known_ones(name):
    with pytest.raises(UnknownNameError, match="'random', 'official' or 'speaker:NAME'"):
        make_split(sounds_of([0]), name, seed=0)


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
