"""Folders of pairs out of videos: several of them, named, resumed, and never mixed up."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from extraction import PNG, one, read_wav, rows, run, tree, write_some
from soundsight.datasets.footage import Footage
from soundsight.datasets.from_video import extract
from soundsight.errors import DatasetError, OutputError
from videos import RATE_HZ, noise, place_of, steady, write_video

pytest.importorskip("av")


def test_the_table_lists_what_is_there(tmp_path: Path) -> None:
    videos = write_some(tmp_path / "in")
    outcomes = run(videos[::-1], tmp_path / "pairs")
    assert [outcome.video for outcome in outcomes] == videos[::-1]
    assert (tmp_path / "pairs" / "pairs.csv").read_bytes().startswith(b"sound,image,clip,time_s\n0/000001.000.wav,0/")
    table = rows(tmp_path / "pairs")
    assert len(table) == sum(outcome.num_pairs for outcome in outcomes) == 1 + 2 + 3 + 4
    keys = [(row["clip"], float(row["time_s"])) for row in table]
    assert keys == sorted(set(keys))
    files = {str(path.relative_to(tmp_path / "pairs")) for path in (tmp_path / "pairs").glob("*/*.[pw]*")}
    assert files == {row[kind] for row in table for kind in ("sound", "image")}
    names = sorted(files)
    assert [name.split("/")[1] for name in names if name.startswith("3/") and name.endswith("wav")] == [
        f"{second:06}.000.wav" for second in (1, 2, 3, 4)
    ]


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    videos = write_some(tmp_path / "in")
    for workers in (1, 3):
        run(videos, tmp_path / str(workers), num_workers=workers)
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    videos = write_some(tmp_path / "in")
    run(videos, tmp_path / "whole", num_workers=1)
    stopped = extract(videos, tmp_path / "pairs", PNG, num_workers=1)
    next(stopped)
    stopped.close()
    assert not (tmp_path / "pairs" / "pairs.csv").exists()
    # What a kill leaves of the clip that was under way.
    (tmp_path / "pairs" / ".unfinished" / "2").mkdir(parents=True)
    (tmp_path / "pairs" / ".unfinished" / "2" / "000001.000.png").write_bytes(b"half")
    outcomes = run(videos, tmp_path / "pairs")
    assert not outcomes[0].is_new
    assert outcomes[-1].is_new
    assert tree(tmp_path / "pairs") == tree(tmp_path / "whole")
    assert [outcome.is_new for outcome in run(videos, tmp_path / "pairs")] == [False] * 4


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be locked")
def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second would take what the first has not finished for what a killed one has left."""
    videos = write_some(tmp_path / "in")
    first = extract(videos, tmp_path / "pairs", PNG, num_workers=1)
    next(first)
    with pytest.raises(OutputError, match=r"another process makes pairs in .*pairs: wait"):
        run(videos, tmp_path / "pairs")
    assert len(list(first)) == len(videos) - 1
    run(videos, tmp_path / "whole")
    assert tree(tmp_path / "pairs") == tree(tmp_path / "whole")


def test_more_videos_join_those_that_are_there(tmp_path: Path) -> None:
    videos = write_some(tmp_path / "in")
    run(videos, tmp_path / "whole")
    run(videos[2:], tmp_path / "pairs")
    assert {row["clip"] for row in rows(tmp_path / "pairs")} == {"2", "3"}
    run(videos[:2], tmp_path / "pairs")
    assert tree(tmp_path / "pairs") == tree(tmp_path / "whole")


def test_a_video_that_has_changed_is_done_again(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", steady(3), sound=noise(3))
    one(video, tmp_path / "pairs")
    before = tree(tmp_path / "pairs")
    write_video(video, steady(5), sound=noise(5, seed=1))
    os.utime(video, ns=(1, 1))
    assert one(video, tmp_path / "pairs").is_new
    assert [row["time_s"] for row in rows(tmp_path / "pairs")] == ["1.000", "2.000", "3.000", "4.000"]
    one(video, tmp_path / "fresh")
    assert tree(tmp_path / "pairs") == tree(tmp_path / "fresh") != before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"every_s": 2.0}, "made with every 1, not 2"),
        ({"window_s": 0.5}, "made with window 1, not 0.5"),
        ({"size": 32}, "made with size 64, not 32"),
        ({"rate_hz": 8000}, "made with rate 16000, not 8000"),
        ({"suffix": "jpg"}, "made with format png, not jpg"),
        ({"keyframes": True}, "made with keyframes False, not True"),
    ],
)
def test_a_folder_belongs_to_its_options(other: dict[str, object], message: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", steady(3), sound=noise(3))
    one(video, tmp_path / "pairs")
    before = tree(tmp_path / "pairs")
    with pytest.raises(DatasetError, match=message):
        run(video, tmp_path / "pairs", replace(PNG, **other))  # type: ignore[arg-type]
    assert tree(tmp_path / "pairs") == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", steady(3), sound=noise(3))
    with pytest.raises(DatasetError, match="holds other files"):
        run(video, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]
    with pytest.raises(DatasetError, match="a file; expected a folder"):
        run(video, video)
    one(video, tmp_path / "pairs")
    (tmp_path / "pairs" / "from-video.json").write_text("{")
    with pytest.raises(DatasetError, match="is damaged"):
        run(video, tmp_path / "pairs")


def test_two_videos_of_one_name_stay_two(tmp_path: Path) -> None:
    sounds = [noise(3, seed=seed) for seed in range(4)]
    names = ("a/film.mkv", "b/film.mkv", "b/Film.mp4", "pairs.csv.mkv")
    videos = [
        write_video(tmp_path / name, steady(3), sound=sound, audio="flac" if name.endswith("mkv") else "aac")
        for name, sound in zip(names, sounds, strict=True)
    ]
    outcomes = run(videos, tmp_path / "pairs")
    clips = [outcome.clip for outcome in outcomes]
    assert len({clip.casefold() for clip in clips}) == 4
    assert clips[0] == "film"
    assert "pairs.csv" not in clips
    for clip, sound_T in zip(clips, sounds, strict=True):
        window_T, _ = read_wav(tmp_path / "pairs" / clip / "000001.000.wav")
        assert place_of(window_T, sound_T) == pytest.approx(RATE_HZ // 2, abs=2)
    # Named alone, or in another order, each keeps its name.
    assert [outcome.clip for outcome in run(videos[::-1], tmp_path / "pairs")] == clips[::-1]
    assert one(videos[1], tmp_path / "pairs").clip == clips[1]


def test_a_video_named_twice_is_one(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", steady(3), sound=noise(3))
    (tmp_path / "x").mkdir()
    (outcome,) = run([video, tmp_path / "x" / ".." / "film.mkv"], tmp_path / "pairs")
    assert outcome.num_pairs == 2


NAMES = [
    "Łódź – 東京 🎥.mkv",
    unicodedata.normalize("NFD", "é è.mkv"),
    "a\nb\t.mkv",
    'q"u,o:t?e.mkv',
    "..hidden.mkv",
    "x. .mkv",
]


@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"caf\xe9.mkv"), "long" * 60 + ".mkv"])
def test_names_of_any_kind(name: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "plain.mkv", steady(2), sound=noise(2)).rename(tmp_path / name)
    outcome = one(video, tmp_path / "pairs")
    (row,) = rows(tmp_path / "pairs")
    assert row["clip"] == outcome.clip
    assert (tmp_path / "pairs" / row["sound"]).is_file()
    assert not set(outcome.clip) & set('<>:"/\\|?*\n\t')
    assert not outcome.clip.startswith(".")
    assert outcome.clip == outcome.clip.rstrip(". ")
    assert not one(video, tmp_path / "pairs").is_new, "it is known again by its name"


def test_names_that_a_file_system_takes_for_one(tmp_path: Path) -> None:
    footage = Footage(tmp_path, {})
    stems = ["ÉTÉ", "été", unicodedata.normalize("NFD", "été"), "Été"]
    names = footage.names([Path(f"{i}") / f"{stem}.mkv" for i, stem in enumerate(stems)])
    assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == 4


def test_a_full_disk_ends_the_run_and_leaves_no_half_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = write_some(tmp_path / "in")
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.match("2/000003.000.wav"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=r"cannot be written \(No space left"):
            run(videos, tmp_path / "pairs", num_workers=1)
    assert not (tmp_path / "pairs" / "2").exists()
    assert not (tmp_path / "pairs" / "pairs.csv").exists()
    run(videos, tmp_path / "pairs")
    run(videos, tmp_path / "whole")
    assert tree(tmp_path / "pairs") == tree(tmp_path / "whole")


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", steady(5), sound=noise(5))
    shares: list[float] = []
    list(extract([video], tmp_path / "pairs", PNG, watching=lambda _, share: shares.append(share)))
    assert len(shares) > 50
    assert all(0 <= a <= b <= 1 for a, b in pairwise(shares))
    assert shares[0] < 0.1
    assert shares[-1] == 1


def test_notes_say_where_a_clip_comes_from(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", steady(3), sound=noise(3))
    one(video, tmp_path / "pairs")
    note = json.loads((tmp_path / "pairs" / "film" / "clip.json").read_text())
    assert note["source"] == str(video)
    assert note["size"] == video.stat().st_size
    assert note["times_ms"] == [1000, 2000]
