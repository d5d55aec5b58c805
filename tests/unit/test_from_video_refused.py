"""Videos that give no pairs: told in one line, and nothing of them is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extraction import PNG, one, run, why_not
from soundsight.audio.source import open_source
from soundsight.datasets.frames import Pictures
from soundsight.datasets.from_video import Settings
from soundsight.errors import DatasetError, MissingExtraError
from videos import noise, steady, write_video

pytest.importorskip("av")


def test_videos_that_lack_something(tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4", steady(2))
    assert "has no sound track" in why_not(silent)
    blind = write_video(tmp_path / "blind.mp4", sound=noise(2), audio="aac")
    assert "has no picture track" in why_not(blind)
    short = write_video(tmp_path / "short.mp4", steady(0.6), sound=noise(0.6), audio="aac")
    assert "none of the pictures taken (1) has 1 s of sound around it, and the sound lasts 0.6" in why_not(short)


def test_the_cover_of_an_album_is_no_film(tmp_path: Path) -> None:
    import av
    from av.stream import Disposition

    path = tmp_path / "song.mp4"
    write_video(tmp_path / "plain.mp4", [0], sound=noise(3), audio="aac", video="mjpeg", pixels="yuvj420p")
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(path), "w") as out:
        tracks = [out.add_stream_from_template(track) for track in source.streams]
        tracks[0].disposition = Disposition.attached_pic
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                out.mux(packet)
    assert "has no picture track" in why_not(path)


def test_what_is_no_video(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("Not a film at all. " * 100)
    assert "not a video in a known format" in why_not(text)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "empty, 0 bytes; expected a video" in why_not(empty)
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {write_video(tmp_path / 'a.mkv', steady(2), sound=noise(2))}\n")
    assert "not a video in a known format" in why_not(playlist), "no file may name another to be opened"
    assert "No such file" in why_not(tmp_path / "absent.mp4")
    assert "a folder; expected a video file" in why_not(tmp_path / "pairs" / "..")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mp4", {"audio": "aac"}),
        ("film.mp4", {"audio": "aac", "container_options": {"movflags": "faststart"}}),
        ("film.mkv", {}),
        ("film.avi", {"audio": "pcm_s16le", "video": "mpeg4"}),
    ],
)
@pytest.mark.parametrize("keyframes", [False, True])
def test_a_video_that_is_cut_short(name: str, options: dict[str, object], keyframes: bool, tmp_path: Path) -> None:
    settings = replace(PNG, keyframes=keyframes)
    video = write_video(tmp_path / name, steady(9), sound=noise(9), **{"options": {"g": "12"}} | options)  # type: ignore[arg-type]
    data = video.read_bytes()
    assert one(video, tmp_path / "whole", settings).num_pairs >= (4 if keyframes else 8)
    for share in (0.6, 0.605, 0.8):
        video.write_bytes(data[: int(share * len(data))])
        reason = why_not(video, settings)
        assert "cut short" in reason or "damaged" in reason


@pytest.mark.parametrize("keyframes", [False, True])
def test_damage_in_the_middle(keyframes: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(225)]
    video = write_video(
        tmp_path / "film.mp4", steady(9), sound=noise(9), audio="aac", images=images, options={"g": "10"}
    )
    settings = replace(PNG, keyframes=keyframes)
    assert one(video, tmp_path / "whole", settings).num_pairs > 5
    data = bytearray(video.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9000] = rng.bytes(9000)
    video.write_bytes(data)
    assert "damaged" in why_not(video, settings)


def test_pictures_alone_are_not_cut_short_unnoticed(tmp_path: Path) -> None:
    """All sound may be there, where it is stored before the pictures."""
    import av

    video = write_video(
        tmp_path / "a.mp4", steady(9), sound=noise(9), audio="aac", container_options={"movflags": "faststart"}
    )
    with av.open(str(video)) as film:
        late = next(packet.pos for packet in film.demux(video=0) if packet.pts * packet.time_base > 6)
    video.write_bytes(video.read_bytes()[:late])
    source, what = open_source(video, "video")
    with source, pytest.raises(DatasetError, match=r"its pictures end early, after 6\.\d s of 9\.0 s"):
        list(Pictures(source, what, every_s=1, size=64))


def test_damage_that_the_decoder_hides(data_root: Path, tmp_path: Path) -> None:
    """It makes something up for the part of a frame that it cannot read, and goes on."""
    (film,) = (data_root / "video").glob("*.mp4")
    data = bytearray(film.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    video = tmp_path / "film.mp4"
    video.write_bytes(data)
    assert "its pictures are damaged at 14.8 s" in why_not(video)


def test_times_that_go_back(tmp_path: Path) -> None:
    """Two recordings in one file."""
    video = write_video(tmp_path / "a.ts", steady(4), sound=noise(4), audio="aac", options={"bf": "0"})
    data = bytearray(2 * video.read_bytes())
    video.write_bytes(data)
    assert "its pictures are damaged at" in why_not(video), "packets seem to be missing between the two"
    # Packets of 188 bytes count up, each stream for itself (ISO/IEC 13818-1, 2.4.3.3).
    count: Counter[int] = Counter()
    for at in range(0, len(data), 188):
        stream = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        data[at + 3] = data[at + 3] & 0xF0 | count[stream] & 0x0F
        count[stream] += bool(data[at + 3] & 0x10)
    video.write_bytes(data)
    assert "the times of its pictures go back" in why_not(video)


def test_avi_with_frames_out_of_order(tmp_path: Path) -> None:
    video = write_video(
        tmp_path / "film.avi", steady(4), sound=noise(4), audio="pcm_s16le", options={"bf": "3", "preset": "medium"}
    )
    assert "AVI cannot say when frames of h264 with B-frames are shown" in why_not(video)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_s": 0.01}, "every is 0.01; expected 0.04 to"),
        ({"every_s": float("nan")}, "every is nan"),
        ({"window_s": 61.0}, "window is 61; expected 0.02 to 60"),
        ({"size": 8}, "size is 8; expected 16 to 1024"),
        ({"rate_hz": 10}, "rate is 10; expected 1000 to"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Settings(**settings)  # type: ignore[arg-type]


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'soundsight\[video\]'"):
        run(tmp_path / "film.mp4", tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()
