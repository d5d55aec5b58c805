"""Speech Commands, on a small folder of the same layout."""

from __future__ import annotations

import pytest

from sample_data import WORDS, write_speech_commands, write_tone
from soundsight.datasets import speech_commands, speech_commands_v2
from soundsight.errors import DatasetError


@pytest.fixture
def folder(tmp_path):
    write_speech_commands(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", [speech_commands, speech_commands_v2])
def test_only_the_ten_digits_are_taken(folder, module):
    sounds = module.load(folder)
    assert len(sounds) == 10 * 2 * 2
    for path, label, speaker, index in zip(sounds.paths, sounds.labels, sounds.speakers, sounds.indices, strict=True):
        assert path == folder / WORDS[label] / f"{speaker}_nohash_{index}.wav"
    assert set(sounds.speakers) == {"0a1b2c3d", "4e5f6071"}


def test_labels_follow_the_words_asked_for(folder):
    sounds = speech_commands.load(folder, words=("bed", "nine"))
    assert {(path.parent.name, int(label)) for path, label in zip(sounds.paths, sounds.labels, strict=True)} == {
        ("bed", 0),
        ("nine", 1),
    }


def test_the_official_test_set_is_the_publishers_list(folder):
    sounds = speech_commands.load(folder)
    assert sounds.official_test is not None
    # By what the sample lists: everybody's first repetition.
    assert sounds.official_test.tolist() == [index == 0 for index in sounds.indices]
    (folder / "testing_list.txt").unlink()
    assert speech_commands.load(folder).official_test is None
    (folder / "testing_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="testing_list"):
        speech_commands.load(folder)


def test_clips_come_at_the_rate_asked_for(folder):
    (clip,) = speech_commands.load(folder).load([7], sample_rate_hz=8000)
    assert clip.sample_rate_hz == 8000
    assert clip.duration_s == pytest.approx(0.12, abs=0.02)


@pytest.mark.parametrize("module", [speech_commands, speech_commands_v2])
def test_a_missing_word_is_named_with_the_command_that_gets_it(folder, module):
    for path in (folder / "six").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=rf"'six'.*soundsight datasets prepare {module.INFO.name}'"):
        module.load(folder)
    (folder / "six").rmdir()
    with pytest.raises(DatasetError, match="'six'"):
        module.load(folder)


@pytest.mark.parametrize("word", ["..", "../other", "_background_noise_", "", "/tmp"])
def test_a_word_cannot_lead_out_of_the_folder(folder, word):
    write_tone(folder / ".." / "other" / "0a_nohash_0.wav", sample_rate_hz=16000, seed=0)
    with pytest.raises(DatasetError, match="no recordings of"):
        speech_commands.load(folder, words=[word])


def test_a_foreign_name_is_refused(folder):
    write_tone(folder / "six" / "mine.wav", sample_rate_hz=16000, seed=0)
    with pytest.raises(DatasetError, match=r"mine\.wav: not named"):
        speech_commands.load(folder)


def test_check(folder):
    report = speech_commands.check(folder)
    assert report.ok
    assert report.classes == dict.fromkeys(WORDS, 4)
    assert report.speakers == {"0a1b2c3d": 20, "4e5f6071": 20}
    assert report.formats == {"WAV PCM_16, 16000 Hz, 1 channel": 40}


def test_check_finds_what_the_list_says_is_missing_and_the_same_recording_twice(folder):
    (folder / "two" / "0a1b2c3d_nohash_0.wav").unlink()
    (folder / "bed" / "0a1b2c3d_nohash_0.wav").unlink()  # none of our words
    original = folder / "three" / "0a1b2c3d_nohash_1.wav"
    (folder / "three" / "77777777_nohash_0.wav").write_bytes(original.read_bytes())
    report = speech_commands.check(folder)
    assert report.missing == ("two/0a1b2c3d_nohash_0.wav",)
    assert report.duplicates == (("three/0a1b2c3d_nohash_1.wav", "three/77777777_nohash_0.wav"),)
    assert not report.ok
