"""The recordings of FSDD: which, in which order, and what a check says of them."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from sample_data import write_fsdd, write_tone
from soundsight.audio import decode
from soundsight.datasets import fsdd
from soundsight.errors import DatasetError


@pytest.mark.parametrize("inner", ["", "recordings"])
def test_both_layouts_are_read(tmp_path, inner):
    write_fsdd(tmp_path / inner, repetitions=3)
    sounds = fsdd.load(tmp_path)
    assert len(sounds) == 60
    for path, label, speaker, index in zip(sounds.paths, sounds.labels, sounds.speakers, sounds.indices, strict=True):
        assert path.name == f"{label}_{speaker}_{index}.wav"
        assert path.is_file()


def test_the_order_is_by_digit_speaker_and_number(tmp_path):
    write_fsdd(tmp_path, speakers=("bob", "ada"), repetitions=11)
    sounds = fsdd.load(tmp_path)
    keys = list(zip(sounds.labels.tolist(), sounds.speakers, sounds.indices.tolist(), strict=True))
    assert keys == sorted(keys)
    assert keys[9:12] == [(0, "ada", 9), (0, "ada", 10), (0, "bob", 0)], "10 comes after 9, not after 1"


def test_the_official_test_set_is_index_0_to_4(tmp_path):
    write_fsdd(tmp_path, repetitions=7)
    sounds = fsdd.load(tmp_path)
    assert Counter(sounds.indices[sounds.official_test].tolist()) == dict.fromkeys(range(5), 20)


@pytest.mark.parametrize(
    "name", ["notes.wav", "7_ada.wav", "12_ada_0.wav", "7_ada_x.wav", "7_ada_0_1.wav", "x_ada_0.wav"]
)
def test_a_foreign_name_is_refused(tmp_path, name):
    write_fsdd(tmp_path, repetitions=1)
    write_tone(tmp_path / name, sample_rate_hz=8000, seed=0)
    with pytest.raises(DatasetError, match=f"{name}: not named"):
        fsdd.load(tmp_path)


def test_hidden_and_other_files_are_passed_over(tmp_path):
    write_fsdd(tmp_path, repetitions=1)
    for name in ("._0_ada_0.wav", "README.md", "0_ada_0.txt"):
        (tmp_path / name).write_text("x")
    assert len(fsdd.load(tmp_path)) == 20


def test_load_gives_the_rows_asked_for_in_their_order(tmp_path):
    for digit, seconds in enumerate((0.1, 0.2, 0.3)):
        time_T = np.arange(round(seconds * 8000)) / 8000
        soundfile.write(tmp_path / f"{digit}_ada_0.wav", 0.5 * np.sin(2 * np.pi * 400 * time_T), 8000)
    clips = fsdd.load(tmp_path).load([2, 0, 2], sample_rate_hz=16000)
    assert [clip.sample_rate_hz for clip in clips] == [16000] * 3
    assert [clip.duration_s for clip in clips] == pytest.approx([0.3, 0.1, 0.3], abs=0.01)
    np.testing.assert_array_equal(clips[0].samples, clips[2].samples)
    assert len(fsdd.load(tmp_path).load(sample_rate_hz=8000)) == 3
    assert fsdd.load(tmp_path).load([], sample_rate_hz=8000) == []


@pytest.mark.parametrize("body", [b"", b"RIFF", b"not a sound at all"])
def test_load_names_the_file_that_is_damaged(tmp_path, body):
    write_fsdd(tmp_path, repetitions=1)
    (tmp_path / "3_bob_0.wav").write_bytes(body)
    with pytest.raises(DatasetError, match=r"3_bob_0\.wav") as caught:
        fsdd.load(tmp_path).load(sample_rate_hz=8000)
    assert "\n" not in str(caught.value)


def test_load_names_the_file_that_is_silent(tmp_path):
    write_fsdd(tmp_path, repetitions=1)
    soundfile.write(tmp_path / "3_bob_0.wav", np.zeros(2000), 8000)
    with pytest.raises(DatasetError, match=r"3_bob_0\.wav.*silen"):
        fsdd.load(tmp_path).load(sample_rate_hz=8000)


def test_the_papers_recordings(data_root):
    sounds = fsdd.load(data_root / "fsdd")
    assert len(sounds) == 2000
    assert Counter(sounds.speakers) == dict.fromkeys(("jackson", "nicolas", "theo", "yweweler"), 500)
    assert np.bincount(sounds.labels).tolist() == [200] * 10
    assert sounds.official_test is not None
    assert sounds.official_test.sum() == 200


def test_check_counts_what_is_there(tmp_path):
    write_fsdd(tmp_path / "recordings", repetitions=50, speakers=("ada",))
    report = fsdd.check(tmp_path)
    assert report.ok, report
    assert report.num_items == 500
    assert report.classes == {str(digit): 50 for digit in range(10)}
    assert report.speakers == {"ada": 500}
    assert report.formats == {"WAV PCM_16, 8000 Hz, 1 channel": 500}
    assert report.durations_s == pytest.approx({"min": 0.12, "median": 0.12, "max": 0.12})
    assert report.duplicates == ()


def test_check_finds_each_kind_of_damage(tmp_path):
    write_fsdd(tmp_path, repetitions=50, speakers=("ada",))
    (tmp_path / "1_ada_7.wav").unlink()
    (tmp_path / "2_ada_7.wav").write_bytes(b"no sound")
    cut = tmp_path / "3_ada_7.wav"
    cut.write_bytes(cut.read_bytes()[:-200])
    soundfile.write(tmp_path / "4_ada_7.wav", np.zeros(2000), 8000)
    write_tone(tmp_path / "5_ada_7.wav", sample_rate_hz=16000, seed=5)
    # The same samples in another kind of file: found by content, not by bytes.
    samples, rate_hz = soundfile.read(tmp_path / "6_ada_7.wav")
    soundfile.write(tmp_path / "7_ada_7.wav", samples, rate_hz, subtype="PCM_24", format="WAVEX")
    report = fsdd.check(tmp_path)
    assert not report.ok
    assert report.missing == ("1_ada_7.wav",)
    assert [line.split(":")[0] for line in report.corrupt] == ["2_ada_7.wav", "3_ada_7.wav", "4_ada_7.wav"]
    assert "cut short" in report.corrupt[1]
    assert report.duplicates == (("6_ada_7.wav", "7_ada_7.wav"),)
    assert len(report.problems) == 2, "16 kHz, and 24 bit"
    assert report.as_dict()["ok"] is False


def test_the_papers_recordings_are_whole_and_all_different(data_root):
    report = fsdd.check(data_root / "fsdd")
    assert report.ok, (report.missing, report.corrupt, report.problems)
    assert report.duplicates == ()


def test_check_takes_the_repository_as_it_is(data_root, tmp_path):
    (tmp_path / "recordings").mkdir()
    for path in sorted((data_root / "fsdd").glob("0_theo_*.wav")):
        shutil.copy(path, tmp_path / "recordings")
    report = fsdd.check(tmp_path)
    assert report.num_items == 50
    assert len(report.missing) == 450
    assert report.corrupt == ()


def test_durations_are_those_of_the_files(data_root):
    theo = sorted((data_root / "fsdd").glob("*_theo_*.wav"))[:20]
    for path in theo:
        assert decode(path, sample_rate_hz=8000).duration_s == pytest.approx(soundfile.info(path).duration, abs=1e-3)
