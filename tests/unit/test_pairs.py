"""Folders of pairs: what is one, what is none, which side of a split a pair is on, and whether test frames leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from sample_data import write_scenes, write_tone
from soundsight.config import DataConfig
from soundsight.datasets import beach_frames, pairs, scenes, selection
from soundsight.datasets.pair_set import PairSet
from soundsight.datasets.pair_splits import leak, nearest_in_time, split_pairs, usual_split
from soundsight.datasets.sketch import sketch
from soundsight.errors import DatasetError, UnknownNameError
from soundsight.features import logmel


def write_image(path: Path, level: int = 90, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A palette of its own, or the colour would be dithered.
    Image.new("RGB", size, (level, 20, 30)).convert(mode, palette=Image.Palette.ADAPTIVE).save(path)


def write_pair(folder: Path, sound: str, image: str, seed: int) -> None:
    write_tone(folder / sound, sample_rate_hz=16_000, seed=seed)
    write_image(folder / image, seed)


def write_table(folder: Path, text: str) -> None:
    (folder / "pairs.csv").write_text(text, encoding="utf-8")


def of_times(clips: dict[str, list[float]]) -> PairSet:
    """Pairs of clips and times, whose files are never read."""
    rows = [(clip, time) for clip, times in clips.items() for time in times]
    names = tuple(Path(f"{clip}-{time}") for clip, time in rows)
    return PairSet(names, names, tuple(clip for clip, _ in rows), np.array([time for _, time in rows]))


def test_a_table_names_pairs(tmp_path):
    for i in range(3):
        write_pair(tmp_path, f"ton/{i}.wav", f"bild/{i}.png", 10 * i)
    rows = "bild/0.png,ton/0.wav,1.5,a,x\n bild/1.png ,ton/1.wav,2,a,\nbild/2.png,ton/2.wav,0,b,\n"
    write_table(tmp_path, f"image,sound,time_s,clip,mood\n{rows}")
    found = pairs.load(tmp_path)
    assert found.clips == ("a", "a", "b")
    assert found.times_s.tolist() == [1.5, 2.0, 0.0]
    assert [path.name for path in found.images] == ["0.png", "1.png", "2.png"]
    images = found.load_images([2, 0], 16)
    assert images.shape == (2, 3, 16, 16)
    assert images[:, 0].mean(axis=(1, 2)).tolist() == [20, 0]
    clips = found.load_sounds([1], 8000)
    assert clips[0].sample_rate_hz == 8000
    assert clips[0].duration_s == pytest.approx(0.12, abs=0.001)


def test_files_of_one_stem_are_pairs(tmp_path):
    write_pair(tmp_path, "bark.wav", "bark.jpg", 1)
    write_image(tmp_path / "bark_2.JPG", 3)
    write_pair(tmp_path, "käse/möwe.flac", "käse/möwe.png", 5)
    write_image(tmp_path / "käse" / "bark_3.png", 3)  # in another folder than its sound
    write_image(tmp_path / "barking.png", 3)
    write_image(tmp_path / ".hidden" / "bark.png", 3)
    found = pairs.load(tmp_path)
    names = [(s.name, i.name) for s, i in zip(found.sounds, found.images, strict=True)]
    assert names == [("bark.wav", "bark.jpg"), ("bark.wav", "bark_2.JPG"), ("möwe.flac", "möwe.png")]
    assert found.clips == ("bark.wav", "bark.wav", "käse/möwe.flac")


def test_a_number_at_the_end_may_be_the_sounds_own(tmp_path):
    """take_2.png is take_2.wav's, and a second picture of take.wav, too: they are one clip."""
    for name in ("take", "take_2"):
        write_pair(tmp_path, f"{name}.wav", f"{name}.png", 1)
    found = pairs.load(tmp_path)
    assert len(found) == 3
    assert len(set(found.clips)) == 1


def test_pairs_that_share_a_file_are_one_clip(tmp_path):
    for i in range(4):
        write_pair(tmp_path, f"{i}.wav", f"{i}.png", i)
    write_table(tmp_path, "sound,image\n0.wav,0.png\n1.wav,0.png\n1.wav,2.png\n3.wav,3.png\n")
    first, second, third, other = pairs.load(tmp_path).clips
    assert first == second == third != other


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no column 'sound', 'image'"),
        ("sound,picture\na.wav,a.png\n", "no column 'image'; its columns are 'sound', 'picture'"),
        ("sound,image\n", "no pairs in it"),
        ("sound,image\na.wav\n", "row 2: 1 fields; the header has 2"),
        ("sound,image,time_s\na.wav,a.png,soon\n", "row 2: 'soon' is not a number"),
        ("sound,image,time_s\na.wav,a.png,nan\n", "row 2: 'nan' is not a number"),
        ("sound,image,time_s\na.wav,a.png,inf\n", "row 2: 'inf' is not a number"),
        ("sound,image\n/etc/a.wav,a.png\n", "no file below the folder"),
        ("sound,image\n../a.wav,a.png\n", "no file below the folder"),
        ("sound,image\nx\\..\\..\\a.wav,a.png\n", "no file below the folder"),
        ("sound,image\nC:/a.wav,a.png\n", "no file below the folder"),
        ("sound,image\n,a.png\n", "no file below the folder"),
        ("sound,image\na.wav,a.png\nb.wav,b.png\na.wav,a.png\n", "row 4: the same pair as in row 2"),
        ("sound,image,time_s\n\na.wav,a.png,1\n\nb.wav,b.png,x\n", "row 5: 'x' is not a number"),
        ("sound,image\n\na.wav,a.png\n\na.wav,a.png\n", "row 5: the same pair as in row 3"),
        ("sound,sound,image\na.wav,b.wav,a.png\n", "named twice"),
        ('sound,image\n"a.wav,a.png\n', "no CSV"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(tmp_path, text, match):
    write_table(tmp_path, text)
    with pytest.raises(DatasetError, match=match) as caught:
        pairs.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("a.wav,a.png,x,0\nb.wav,b.png,,1\n", "row 3: no clip, which other rows have"),
        ("a.wav,a.png,x,\nb.wav,b.png,x,1\n", "row 2: no time_s, which other rows have"),
        (".,a.png,x,0\n", "'.' is no file"),
        ("a.wav,./,x,0\n", "'./' is no file"),
    ],
)
def test_a_field_that_is_blank_or_no_file_is_told(tmp_path, rows, match):
    """A blank field must not throw all the others away."""
    write_table(tmp_path, f"sound,image,clip,time_s\n{rows}")
    with pytest.raises(DatasetError, match=match):
        pairs.load(tmp_path)


def test_a_folder_of_films_that_is_not_finished_is_no_folder_of_stems(tmp_path):
    write_pair(tmp_path / "film", "0.wav", "0.png", 0)
    (tmp_path / "from-video.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"no pairs\.csv yet, it is not finished"):
        pairs.load(tmp_path)


def test_a_table_of_another_encoding_and_a_folder_of_nothing(tmp_path):
    with pytest.raises(DatasetError, match=r"no pairs in it; expected pairs\.csv"):
        pairs.load(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        pairs.load(tmp_path / "nothing")
    (tmp_path / "pairs.csv").write_bytes("sound,image\nä.wav,ä.png\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="not UTF-8"):
        pairs.load(tmp_path)


def test_a_mark_at_the_start_of_a_table_is_no_part_of_its_header(tmp_path):
    write_pair(tmp_path, "a.wav", "a.png", 1)
    (tmp_path / "pairs.csv").write_bytes(b"\xef\xbb\xbfsound,image\r\na.wav,a.png\r\n\r\n")
    assert len(pairs.load(tmp_path)) == 1


def test_pictures_of_any_size_and_mode_become_squares_of_colour(tmp_path):
    for i, (size, mode) in enumerate([((64, 32), "RGB"), ((10, 50), "L"), ((20, 20), "P"), ((31, 17), "RGBA")]):
        write_tone(tmp_path / f"{i}.wav", sample_rate_hz=8000, seed=i)
        write_image(tmp_path / f"{i}.png", 200, size, mode)
    images = pairs.load(tmp_path).load_images(range(4), 24)
    assert images.shape == (4, 3, 24, 24)
    assert (np.abs(images[[0, 2, 3], 0].astype(int) - 200) < 12).all()


def test_a_square_is_the_middle_of_its_picture(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    Image.fromarray(wide).save(tmp_path / "a.png")
    write_tone(tmp_path / "a.wav", sample_rate_hz=8000, seed=0)
    assert (pairs.load(tmp_path).load_images([0], 8) == 255).all()


@pytest.mark.parametrize("what", ["image", "sound"])
def test_what_is_missing_or_damaged_is_named(tmp_path, what):
    write_pair(tmp_path, "a.wav", "a.png", 1)
    found = pairs.load(tmp_path)
    name = {"image": "a.png", "sound": "a.wav"}[what]
    for damage in (b"no picture and no sound", None):
        (tmp_path / name).write_bytes(damage) if damage else (tmp_path / name).unlink()
        with pytest.raises(DatasetError, match=name):
            found.load_images([0], 8) if what == "image" else found.load_sounds([0], 8000)
        report = pairs.check(tmp_path) if (tmp_path / name).exists() else None
        if report is not None:
            assert not report.ok
            assert len(report.corrupt) == 1
            assert report.corrupt[0].startswith(name)


def test_a_check_counts_and_finds_what_is_there_twice(tmp_path):
    for i in range(6):
        write_pair(tmp_path, f"c{i // 3}/{i}.wav", f"c{i // 3}/{i}.png", i)
    write_image(tmp_path / "c1" / "4.png", 0)  # as c0/0.png
    lines = [f"c{i // 3}/{i}.wav,c{i // 3}/{i}.png,{i},c{i // 3}" for i in range(6)]
    write_table(tmp_path, "sound,image,time_s,clip\n" + "\n".join(lines) + "\n")
    report = pairs.check(tmp_path)
    assert report.ok
    assert report.num_items == 6
    assert report.duplicates == (("c0/0.png", "c1/4.png"),)
    assert report.formats == {"30×40": 6}
    assert report.durations_s["median"] == pytest.approx(0.12)
    text = " ".join(report.notes)
    assert "2 clips of 3 pairs" in text
    assert "1 picture or sound lies in more than one clip: a split by clip leaks them" in text
    (tmp_path / "c0" / "1.wav").unlink()
    assert pairs.check(tmp_path).missing == ("c0/1.wav",)


def test_pictures_of_the_same_bytes_and_another_shape_are_two_pictures(tmp_path):
    for name, (height, width) in {"wide": (10, 40), "high": (40, 10)}.items():
        write_tone(tmp_path / f"{name}.wav", sample_rate_hz=16_000, seed=height)
        Image.new("RGB", (width, height), (9, 8, 7)).save(tmp_path / f"{name}.png")
    assert pairs.check(tmp_path).duplicates == ()


def test_a_check_tells_of_files_without_a_partner(tmp_path):
    write_pair(tmp_path, "dog.wav", "dog.png", 1)
    write_tone(tmp_path / "Cat.wav", sample_rate_hz=16_000, seed=2)
    write_image(tmp_path / "cat.png")
    write_image(tmp_path / "sub" / "owl.png")
    [line] = [note for note in pairs.check(tmp_path).notes if "without" in note]
    assert line == "1 sounds without a picture of their stem, 2 pictures without a sound; the first is Cat.wav"


def test_a_check_finds_test_pairs_that_train_and_sounds_that_are_silent(tmp_path):
    """Eight seconds of one clip, of which two test; the last shows the picture of the second, the seventh its sound."""
    for i in range(8):
        write_pair(tmp_path, f"{i}.wav", f"{i}.png", 10 * i)
    write_image(tmp_path / "7.png", 10)
    write_tone(tmp_path / "6.wav", sample_rate_hz=16_000, seed=10)
    soundfile.write(tmp_path / "3.wav", np.full(1600, 0.25), 16_000)  # an offset is no sound
    write_table(tmp_path, "sound,image,time_s,clip\n" + "\n".join(f"{i}.wav,{i}.png,{i},a" for i in range(8)) + "\n")
    report = pairs.check(tmp_path)
    assert report.ok
    assert "1 clip of 8 pairs" in report.notes
    assert "1 sound is silent (first: 3.wav)" in report.notes
    (line,) = [note for note in report.notes if note.startswith("split 'block'")]
    assert "2 test pairs have a picture or a sound that trains, too, of 2; the nearest training frame" in line
    assert line.endswith("test frames leak into training")
    write_image(tmp_path / "7.png", 99)
    notes = pairs.check(tmp_path).notes
    assert any("split 'block': 1 test pair has a picture or a sound that trains, too, of 2" in note for note in notes)


def test_files_that_are_not_there_are_told_before_anything_is_read(tmp_path):
    for i in range(6):
        write_pair(tmp_path, f"{i}.wav", f"{i}.png", 10 * i)
    (tmp_path / "5.wav").unlink()  # of a pair that tests
    (tmp_path / "0.png").write_bytes(b"")
    write_table(tmp_path, "sound,image,time_s,clip\n" + "\n".join(f"{i}.wav,{i}.png,{i},a" for i in range(6)) + "\n")
    assert pairs.load(tmp_path).absent() == [tmp_path / "5.wav"]
    with pytest.raises(DatasetError, match=r"1 file is not there that its pairs name \(first: .*5\.wav\)"):
        selection.pairs_of(DataConfig(pairs=str(tmp_path)), tmp_path)


def test_a_sound_that_a_front_end_refuses_is_named(tmp_path):
    write_pair(tmp_path, "a.wav", "a.png", 1)
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16_000)
    found = pairs.load(tmp_path)
    assert not found.load_sounds([0], 8000)[0].samples.any()
    with pytest.raises(DatasetError, match=r"a\.wav: silent"):
        found.load_sounds([0], 8000, logmel.prepare)


SPLIT_OF = of_times({"a": list(range(20)), "b": list(range(8)), "c": [0.0, 1.0]})


@pytest.mark.parametrize("name", ["block", "clip", "clip:b", "random"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_pair_is_on_both_sides(name, seed):
    split = split_pairs(SPLIT_OF, name, seed=seed)
    assert not set(split.train) & set(split.test)
    again = split_pairs(SPLIT_OF, name, seed=seed)
    np.testing.assert_array_equal(again.test, split.test)
    if name == "clip":
        clips = np.array(SPLIT_OF.clips)
        assert not set(clips[split.train]) & set(clips[split.test])
        assert len(split.train) + len(split.test) == len(SPLIT_OF)


def test_a_block_is_the_last_quarter_of_each_clip_that_is_long_enough():
    split = split_pairs(SPLIT_OF, "block", seed=0)
    times = {
        clip: [
            t for t, row in zip(SPLIT_OF.times_s[split.test], split.test, strict=True) if SPLIT_OF.clips[row] == clip
        ]
        for clip in "abc"
    }
    assert times == {"a": [15, 16, 17, 18, 19], "b": [6, 7], "c": []}
    assert len(split.train) == 15 + 6 + 2


def test_sounds_that_reach_into_the_test_block_do_not_train():
    """A window of a second every tenth: nine training pairs before the block share sound with its first."""
    found = of_times({"a": [i / 10 for i in range(100)]})
    split = split_pairs(found, "block", seed=0)
    assert found.times_s[split.test].min() == 7.5
    assert found.times_s[split.train].max() == 6.5


def test_longer_sounds_keep_more_pairs_out_of_training(tmp_path):
    """As ``datasets from-video`` noted how long they are."""
    for i in range(24):
        write_pair(tmp_path, f"{i}.wav", f"{i}.png", i)
    write_table(tmp_path, "sound,image,clip,time_s\n" + "".join(f"{i}.wav,{i}.png,film,{i}\n" for i in range(24)))
    (tmp_path / "from-video.json").write_text('{"options": {"window": 8.0}}')
    split = split_pairs(pairs.load(tmp_path), "block", seed=0)
    assert split.test.tolist() == list(range(18, 24))
    assert split.train.tolist() == list(range(11))  # the sound at 10 s ends at 14, the first test sound begins there


def test_pictures_of_one_sound_are_not_divided(tmp_path):
    """Nobody noted times: four pictures of a sound are no block of it."""
    for i in range(3):
        for j in range(4):
            write_pair(tmp_path, f"s{i}.wav", f"s{i}_{j}.png", 10 * i + j)
    found = pairs.load(tmp_path)
    assert usual_split(found) == "clip"
    with pytest.raises(DatasetError, match="leaves the training part without a pair"):
        split_pairs(found, "block", seed=0)


def test_the_order_of_a_table_does_not_matter_for_blocks():
    rng = np.random.default_rng(0)
    order = rng.permutation(20).astype(float).tolist()
    found = of_times({"a": order})
    split = split_pairs(found, "block", seed=0)
    assert sorted(found.times_s[split.test]) == [15, 16, 17, 18, 19]


@pytest.mark.parametrize(
    ("clips", "name", "error", "match"),
    [
        ({"a": [0, 1, 2]}, "block", DatasetError, r"the longest has 3; use 'clip' \(--split clip, or"),
        ({"a": [0, 1, 2]}, "clip", DatasetError, "use 'block'"),
        ({"a": [0, 1], "b": [0]}, "clip:c", UnknownNameError, "known: a, b"),
        ({"a": [0, 1, 2]}, "clip:a", DatasetError, "training part without a pair"),
        ({"a": [0]}, "random", DatasetError, "test part without a pair"),
        ({"a": [0, 1]}, "speaker:x", UnknownNameError, "no split 'speaker:x'"),
    ],
)
def test_a_split_that_cannot_be_is_refused(clips, name, error, match):
    with pytest.raises(error, match=match):
        split_pairs(of_times(clips), name, seed=0)


def test_the_nearest_training_pair_is_of_the_same_clip():
    found = of_times({"a": [0, 1, 2, 3, 4, 5, 6, 7], "b": [6.1, 6.2]})
    split = split_pairs(found, "block", seed=0)
    assert split.test.tolist() == [6, 7]
    assert nearest_in_time(found, split).tolist() == [5, 5]
    split = split_pairs(found, "clip:b", seed=0)
    assert nearest_in_time(found, split).tolist() == [-1, -1]
    assert leak(found, split) is None


def test_a_file_on_both_sides_is_a_leak_whatever_the_pictures_are_like(tmp_path):
    """Three pictures of each sound: at random, most sounds train and test."""
    for i in range(4):
        for j in range(3):
            write_pair(tmp_path, f"{i}.wav", f"{i}_{j}.png", 10 * i)
    found = pairs.load(tmp_path)
    split = split_pairs(found, "random", seed=0)
    sounds = {found.sounds[row] for row in split.train}
    num = sum(found.sounds[row] in sounds for row in split.test)
    leaks = leak(found, split)
    assert num
    assert (leaks.num_shared, leaks.num_test, leaks.is_there) == (num, len(split.test), True)
    assert f"a picture or a sound that trains, too, of {len(split.test)}" in leaks.text
    by_clip = split_pairs(found, "clip", seed=0)
    assert leak(found, by_clip) is None, "pictures of one sound are one clip"


@pytest.mark.parametrize("name", ["clip", "clip:b"])
def test_what_shares_a_file_with_a_clip_that_tests_does_not_train(tmp_path, name):
    for i in range(4):
        write_pair(tmp_path, f"{i}.wav", f"{i}.png", 10 * i)
    rows = ["0.wav,0.png,a", "1.wav,0.png,b", "1.wav,1.png,c", "2.wav,2.png,c", "3.wav,3.png,d"]
    write_table(tmp_path, "sound,image,clip\n" + "\n".join(rows) + "\n")
    found = pairs.load(tmp_path)
    split = split_pairs(found, name, seed=0)
    for files in (found.images, found.sounds):
        assert not {files[row] for row in split.train} & {files[row] for row in split.test}
    assert len(split.train)
    if name == "clip:b":
        assert (split.test.tolist(), split.train.tolist()) == ([1], [3, 4])


def test_a_colon_may_be_part_of_a_name(tmp_path):
    write_pair(tmp_path, "a: 1.wav", "b:2.png", 10)
    write_table(tmp_path, "sound,image\na: 1.wav,b:2.png\n")
    assert pairs.load(tmp_path).absent() == []


def test_real_frames_leak_at_random_and_not_by_block(data_root):
    found = beach_frames.load(data_root / "beach_frames")
    assert len(found) == 480
    assert sorted(set(found.clips)) == ["beach", "beach2"]
    assert found.times_s[:240].tolist() == list(range(240))
    ratio = {}
    for name in ("random", "block"):
        errors = leak(found, split_pairs(found, name, seed=0), most=60)
        assert errors is not None
        ratio[name] = errors.nearest / errors.mean
    assert ratio["random"] < 0.6
    assert ratio["block"] > 1.5


def test_the_scene_data_set_has_104_coefficients_a_second(tmp_path):
    rows = [("beach/beach12.png", "BEACH"), ("city/city_a3.png", "CITY"), ("beach/beach2.png", "BEACH")]
    write_scenes(tmp_path, rows)
    for image, _ in rows:
        write_image(tmp_path / image, 40)
    found = scenes.load(tmp_path)
    assert found.features_PFN.shape == (3, 13, 8)
    # Window after window: mfcc_1 to mfcc_13 are the first.
    assert found.features_PFN[0, :, 0].tolist() == [j + 0.5 for j in range(13)]
    assert found.features_PFN[1, 0].tolist() == [100 + 13 * n + 0.5 for n in range(8)]
    assert found.clips == ("beach/beach", "city/city_a", "beach/beach")
    assert found.times_s.tolist() == [12, 3, 2]
    assert found.sounds is None
    assert scenes.check(tmp_path).ok
    by_folder = selection.pairs_of(DataConfig(pairs=str(tmp_path)), Path("elsewhere"))
    np.testing.assert_array_equal(by_folder.features_PFN, found.features_PFN)
    assert selection.is_folder_of_pairs(tmp_path)
    beaches = selection.pairs_of(DataConfig(pairs=str(tmp_path), only=("BEACH",)), Path("elsewhere"))
    assert beaches.times_s.tolist() == [12, 2]
    np.testing.assert_array_equal(beaches.features_PFN, found.features_PFN[[0, 2]])
    with pytest.raises(UnknownNameError, match=r"no pairs of class 'FOREST'; known: .*BEACH"):
        selection.pairs_of(DataConfig(pairs=str(tmp_path), only=("FOREST",)), Path("elsewhere"))
    write_table(tmp_path, "sound,image\nbeach/beach2.png,beach/beach2.png\n")
    assert selection.reader_of(tmp_path) is pairs, "a table of one's own comes first"


@pytest.mark.parametrize("value", ["NaN", "", "loud", "1e999", "1e39"])
def test_coefficients_that_are_no_numbers_are_refused(tmp_path, value):
    write_scenes(tmp_path, [("a/1.png", "A"), ("a/2.png", "A")], values=value or " ")
    with pytest.raises(DatasetError, match=r"row 3, mfcc_8: '.*' is not a number"):
        scenes.load(tmp_path)


def test_a_scene_table_with_a_column_missing_or_a_path_leaving(tmp_path):
    (tmp_path / "dataset.csv").write_text("IMAGE,mfcc_1,CLASS1,CLASS2\na.png,1,A,B\n")
    with pytest.raises(DatasetError, match=r"no column 'mfcc_2', .* and 98 more"):
        scenes.load(tmp_path)
    write_scenes(tmp_path, [("../../a1.png", "A")])
    with pytest.raises(DatasetError, match="no file below the folder"):
        scenes.load(tmp_path)
    with pytest.raises(DatasetError, match=r"no dataset\.csv"):
        scenes.load(tmp_path / "else")


def test_a_sketch_is_white_where_brightness_changes():
    pictures = np.full((2, 3, 16, 16), 30, np.uint8)
    pictures[0, :, :, 8:] = 220
    found = sketch(pictures)
    assert found.shape == (2, 1, 16, 16)
    assert (found[0, 0, :, 7:9] == 255).all()
    assert (np.delete(found[0, 0], [7, 8], axis=1) == 0).all()
    assert (found[1] == 0).all()
    turned = sketch(np.ascontiguousarray(pictures.transpose(0, 1, 3, 2)))
    np.testing.assert_array_equal(turned, found.transpose(0, 1, 3, 2))
