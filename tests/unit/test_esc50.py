"""ESC-50: its list and its recordings, in the official layout and in that of the real data."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from file_server import Served, serve
from sample_data import write_esc50
from soundsight.datasets import esc50
from soundsight.datasets.classes import relabel
from soundsight.datasets.download import fetch
from soundsight.datasets.splits import make_split
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, UnknownNameError

CLASSES = esc50.INFO.classes
NATURE = (
    ("airplane", ("airplane",)),
    ("bird", ("chirping_birds", "crow")),
    ("cat", ("cat",)),
    ("dog", ("dog",)),
    ("frog", ("frog",)),
    ("car", ("engine", "car_horn")),
    ("ship", ("sea_waves",)),
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """The official layout with two folds; not to be changed."""
    folder = tmp_path_factory.mktemp("esc50")
    write_esc50(folder, CLASSES)
    return folder


@pytest.fixture
def small(sample, tmp_path) -> Path:
    """One fold, to be damaged."""
    path = tmp_path / "meta" / "esc50.csv"
    path.parent.mkdir()
    lines = (sample / "meta" / "esc50.csv").read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line for line in lines if line.startswith("1-"))]) + "\n")
    (tmp_path / "audio").mkdir()
    for recording in (sample / "audio").glob("1-*.wav"):
        shutil.copy(recording, tmp_path / "audio")
    return tmp_path


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "meta" / "esc50.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_columns_say_what_the_names_say(sample):
    sounds = esc50.load(sample)
    assert len(sounds) == 2 * 50 * 8
    assert sounds.speakers is None
    assert sounds.official_test is None
    assert sounds.source_clips is not None
    assert sounds.folds is not None
    columns = zip(sounds.paths, sounds.folds, sounds.source_clips, sounds.indices, sounds.labels, strict=True)
    for path, fold, clip, take, label in columns:
        assert path == sample / "audio" / f"{fold}-{clip}-{'ABC'[take]}-{label}.wav"
        assert path.is_file()


def test_the_order_is_by_class_fold_clip_and_take_whatever_the_list_has(small):
    first = esc50.load(small)
    keys = [(p.name.split("-")[3], *p.name.split("-")[:3]) for p in first.paths]
    numbers = [(int(target[:-4]), int(fold), int(clip), take) for target, fold, clip, take in keys]
    assert numbers == sorted(numbers)
    path = small / "meta" / "esc50.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *lines[::-1]]))
    assert esc50.load(small).paths == first.paths


def test_the_flat_layout_is_read_alike_with_what_is_there(tmp_path, sample):
    write_esc50(tmp_path, CLASSES, official=False, here=(2,))
    flat, official = esc50.load(tmp_path), esc50.load(sample)
    assert {path.suffix for path in flat.paths} == {".flac"}, "the list says wav"
    in_2 = official.select(np.flatnonzero(official.folds == 2))
    assert [path.stem for path in flat.paths] == [path.stem for path in in_2.paths]
    assert flat.source_clips == in_2.source_clips
    np.testing.assert_array_equal(flat.labels, in_2.labels)
    report = esc50.check(tmp_path)
    assert report.ok
    assert report.num_items == 400
    assert "nothing of fold 1: 400 of 800 recordings" in report.notes


def test_clips_come_at_the_rate_asked_for(sample):
    (clip,) = esc50.load(sample).load([7], sample_rate_hz=16000)
    assert clip.sample_rate_hz == 16000
    assert clip.duration_s == pytest.approx(0.12, abs=0.02)


def test_check_finds_gaps_and_damage(small):
    (small / "audio" / "1-1000-A-0.wav").unlink()
    (small / "audio" / "1-1010-B-1.wav").write_bytes(b"no sound")
    original = (small / "audio" / "1-1020-A-2.wav").read_bytes()
    (small / "audio" / "1-1030-A-3.wav").write_bytes(original)
    report = esc50.check(small)
    assert not report.ok
    assert report.num_items == 399
    assert report.missing == ("audio/1-1000-A-0.wav",)
    assert [line.split(":")[0] for line in report.corrupt] == ["audio/1-1010-B-1.wav"]
    assert report.duplicates == (("audio/1-1020-A-2.wav", "audio/1-1030-A-3.wav"),)
    assert report.speakers == {}
    assert "recordings of 250 source clips" in report.notes


def test_check_counts_the_list_itself(small):
    edit(small, "1-1000-C-0.wav,1,0,dog,False\n", "")
    report = esc50.check(small)
    assert report.problems == ("the list has 7 recordings of dog in fold 1, expected 8",)
    assert not report.ok


def test_check_says_which_clips_the_folds_divide(tmp_path):
    write_esc50(tmp_path, CLASSES, here=(1,))
    assert not any("divides" in note for note in esc50.check(tmp_path).notes)
    edit(tmp_path, "2-2000-A-0.wav", "2-1000-D-0.wav")
    assert "source clip 1000 is in folds 1, 2: 'fold:N' divides it" in esc50.check(tmp_path).notes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("filename,fold", "file,fold", "no column filename"),
        ("category,esc10", "", "no column category"),
        ("1-1000-A-0.wav", "../../outside.wav", "line 2: '../../outside.wav' is not named"),
        ("1-1000-A-0.wav", "/etc/1-1000-A-0.wav", "is not named"),
        ("1-1000-A-0.wav", "", "line 2: '' is not named"),
        ("1-1000-A-0.wav,1,", "1-1000-A-0.wav,2,", "is listed as fold 2, target 0, dog"),
        ("1-1000-A-0.wav,1,0", "1-1000-A-0.wav,1,1", "is listed as fold 1, target 1, dog"),
        ("1-1000-A-0.wav,1,0,dog", "1-1000-A-0.wav,1,0,cat", "is listed as fold 1, target 0, cat"),
        ("1-1000-A-0.wav,1,0,dog", "1-1000-A-50.wav,1,50,dog", "is listed as fold 1, target 50, dog"),
        ("1-1000-A-0.wav", "1-1000-B-0.wav", "1-1000-B-0 stands there twice"),
        ("dog", "\udcff", "cannot be read"),
    ],
)
def test_a_list_that_is_not_the_publishers_is_refused(small, old, new, message):
    path = small / "meta" / "esc50.csv"
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(DatasetError) as caught:
        esc50.load(small)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_without_recordings_is_as_good_as_none(tmp_path):
    write_esc50(tmp_path, CLASSES, here=())
    with pytest.raises(DatasetError, match=r"no recordings .*soundsight datasets prepare esc50"):
        esc50.load(tmp_path)


def test_what_is_downloaded_is_what_is_read(small, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("meta", "audio"):
            tar.add(small / name, f"ESC-50-0123456789/{name}")
    (file,) = esc50.INFO.files
    with serve() as server:
        server.files["esc.tar.gz"] = Served(buffer.getvalue())
        info = replace(esc50.INFO, files=(replace(file, urls=(server.url("esc.tar.gz"),)),))
        fetch(info, tmp_path / "set")
    assert esc50.check(tmp_path / "set").num_items == 400


def test_splits_are_those_that_its_columns_allow(sample):
    sounds = esc50.load(sample)
    for name in ("random", "official", "speaker:ada"):
        with pytest.raises(DatasetError, match="use 'clip' or 'fold:N'"):
            make_split(sounds, name, seed=0)
    with pytest.raises(UnknownNameError, match=r"no fold '5'; known: 1, 2$"):
        make_split(sounds, "fold:5", seed=0)
    split = make_split(sounds, "fold:2", seed=0)
    assert {path.name[0] for path in (sounds.paths[i] for i in split.test)} == {"2"}
    assert {path.name[0] for path in (sounds.paths[i] for i in split.train)} == {"1"}
    assert len(split.test) == len(split.train) == 400


# The real data: folds 1 to 4 are listed, of fold 4 there are recordings.


@pytest.fixture(scope="module")
def real(data_root) -> SoundSet:
    return esc50.load(data_root / "esc50")


def test_the_published_numbers(data_root, real):
    with (data_root / "esc50" / "esc50.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(int(row["target"]), row["category"]) for row in rows} == set(enumerate(CLASSES)), "the official order"
    assert len(rows) == 1600
    assert set(Counter((row["fold"], row["target"]) for row in rows).values()) == {8}
    assert len(real) == 400
    assert np.bincount(real.labels).tolist() == [8] * 50
    stems = {row["filename"][:-4] for row in rows if row["fold"] == "4"}
    assert {path.stem for path in real.paths} == stems


def test_the_real_recordings_are_whole_and_all_different(data_root):
    report = esc50.check(data_root / "esc50")
    assert report.ok, (report.missing, report.corrupt, report.problems)
    assert report.duplicates == ()
    assert report.durations_s == {"min": 5.0, "median": 5.0, "max": 5.0}
    # The publisher's rule has two exceptions: an alarm clock that also ticks, a rooster among hens.
    divided = [note.split()[2] for note in report.notes if "divides" in note]
    assert divided == ["131943", "134049"]


@pytest.mark.parametrize("seed", range(8))
def test_no_source_clip_of_the_real_data_is_on_both_sides(real, seed):
    sounds = relabel(real, CLASSES, NATURE)
    split = make_split(sounds, "clip", seed=seed)
    assert np.array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(len(sounds)))
    # From the names themselves, not from the columns that the split is made of.
    sides = defaultdict(set)
    for side, rows in (("train", split.train), ("test", split.test)):
        for path in (sounds.paths[i] for i in rows):
            sides[path.name.split("-")[1]].add(side)
    assert all(len(side) == 1 for side in sides.values())
    for label, (name, _) in enumerate(NATURE):
        clips = {sounds.source_clips[i] for i in np.flatnonzero(sounds.labels == label)}
        testing = {sounds.source_clips[i] for i in split.test if sounds.labels[i] == label}
        assert len(testing) == max(1, round(len(clips) / 4)), name


def test_a_class_from_one_source_clip_cannot_be_split(real):
    """All eight washing machines of fold 4 are one."""
    with pytest.raises(DatasetError, match=r"class 35 on both sides: all .* from source clip 218199;"):
        make_split(real, "clip", seed=0)
    with pytest.raises(DatasetError, match="training part"):
        make_split(real, "fold:4", seed=0)
