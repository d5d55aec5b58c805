"""Pairs out of videos: what is seen and what is heard are of the same moment."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import resample_poly

from extraction import PNG, one, pairs, read_wav, rows
from soundsight import audio
from soundsight.audio.source import open_source
from soundsight.datasets.frames import shown
from soundsight.datasets.from_video import Settings
from soundsight.datasets.windows import Abandoned, Moments, cut
from videos import RATE_HZ, noise, number_of, numbered, place_of, steady, write_video

pytest.importorskip("av")


def check_sync(folder: Path, times_ms: list[int], sound_T: NDArray[np.float32], *, window_s: float = 1.0) -> None:
    """The picture is the frame of its time, and the window's middle is that moment, to the millisecond."""
    found = pairs(folder)
    assert found
    for time_s, number, window_T in found:
        assert times_ms[number] - times_ms[0] == pytest.approx(1000 * time_s, abs=0.6)
        assert len(window_T) == round(window_s * RATE_HZ)
        begin_s = place_of(window_T, sound_T) / RATE_HZ
        assert begin_s + window_s / 2 == pytest.approx(times_ms[number] / 1000, abs=1e-3)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=30),
    st.integers(1, 300),
    st.sampled_from([40.0, 41.7, 100.0, 333.3]),
)
def test_the_frame_shown_at_a_time_is_the_last_that_came(steps: list[int], stay: int, every_ms: float) -> None:
    times_ms = [0, *np.cumsum(steps).tolist()]
    end_ms = times_ms[-1] + stay
    frames = [*((time_ms, number) for number, time_ms in enumerate(times_ms)), (end_ms, None)]
    expected = []
    for k in range(int(end_ms / every_ms) + 1):
        # Half a millisecond is what times lose by rounding.
        if end_ms > k * every_ms + 0.5:
            last = max(i for i, time_ms in enumerate(times_ms) if time_ms <= k * every_ms + 0.5)
            expected.append((times_ms[last], last))
    assert list(shown(frames, every_ms)) == sorted(set(expected))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mkv", {}),
        ("film.mp4", {"audio": "aac", "options": {"bf": "3"}}),
        (
            "film.webm",
            {"audio": "libopus", "video": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
        ),
        ("film.ts", {"audio": "aac", "options": {"bf": "3"}}),
        ("film.avi", {"audio": "pcm_s16le", "video": "mpeg4"}),
    ],
)
def test_picture_and_sound_are_of_the_same_time(name: str, options: dict[str, object], tmp_path: Path) -> None:
    sound_T = noise(6)
    wide_TC = np.repeat(resample_poly(sound_T, 3, 1)[:, None], 2, axis=1).astype(np.float32)
    video = write_video(tmp_path / name, steady(6), sound=wide_TC, rate_hz=48_000, **options)  # type: ignore[arg-type]
    outcome = one(video, tmp_path / "pairs")
    assert [time_s for time_s, _, _ in pairs(tmp_path / "pairs")] == [1, 2, 3, 4, 5]
    assert outcome.left_out == {"too near the beginning or the end of the sound": 1}
    assert outcome.duration_s == pytest.approx(6, abs=0.05)
    check_sync(tmp_path / "pairs", steady(6), sound_T)


def test_a_frame_rate_that_varies(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 300, 900, 1010, 1400, 1430, 2950, 3000, 3333, 3400, 5200, 5240]
    sound_T = noise(6)
    video = write_video(tmp_path / "film.mkv", times_ms, sound=sound_T)
    one(video, tmp_path / "pairs", replace(PNG, every_s=0.5, window_s=0.2))
    # At 0.5 there still is 0.3, at 1.0 still 0.9, at 2.0 and 2.5 still 1.43, at 4.0 to 5.0 still 3.4.
    assert [time_s for time_s, _, _ in pairs(tmp_path / "pairs")] == [0.3, 0.9, 1.43, 3.0, 3.4]
    check_sync(tmp_path / "pairs", times_ms, sound_T, window_s=0.2)


@pytest.mark.parametrize(("first_ms", "sound_ms"), [(0, 700), (900, 0), (2000, 1300)])
def test_tracks_that_begin_at_different_times(first_ms: int, sound_ms: int, tmp_path: Path) -> None:
    times_ms = [first_ms + time_ms for time_ms in steady(4)]
    sound_T = noise(8)
    heard_T = sound_T[sound_ms * RATE_HZ // 1000 :]
    video = write_video(tmp_path / "film.mkv", times_ms, pieces=[(sound_ms, heard_T)], audio="pcm_s16le")
    one(video, tmp_path / "pairs")
    check_sync(tmp_path / "pairs", times_ms, sound_T)
    # From 0.7 s on, there is no sound around 0 and 1 s.
    assert len(rows(tmp_path / "pairs")) == (2 if first_ms == 0 else 4)


def test_windows_beside_a_gap_in_the_sound_are_left_out(tmp_path: Path) -> None:
    sound_T = noise(8)
    # From 3.0 to 3.7 s nothing was recorded.
    pieces = [(0, sound_T[: 3 * RATE_HZ]), (3700, sound_T[37 * RATE_HZ // 10 :])]
    video = write_video(tmp_path / "film.mkv", steady(8), pieces=pieces, audio="pcm_s16le")
    outcome = one(video, tmp_path / "pairs")
    assert [time_s for time_s, _, _ in pairs(tmp_path / "pairs")] == [1, 2, 5, 6, 7]
    assert outcome.left_out == {"beside a gap in the sound": 2, "too near the beginning or the end of the sound": 1}
    check_sync(tmp_path / "pairs", steady(8), sound_T)
    assert len(list((tmp_path / "pairs").rglob("*.png"))) == 5, "no picture stays without its sound"


@pytest.mark.parametrize(
    "options", [{"x264-params": "bframes=0:scenecut=0"}, {"x264-params": "bframes=3:open-gop=1:scenecut=0"}]
)
def test_key_frames_alone(options: dict[str, str], tmp_path: Path) -> None:
    sound_T = noise(8)
    video = write_video(tmp_path / "film.mkv", steady(8), sound=sound_T, options={"g": "20", **options})
    one(video, tmp_path / "pairs", replace(PNG, keyframes=True, every_s=1.5, window_s=0.5))
    found = pairs(tmp_path / "pairs")
    check_sync(tmp_path / "pairs", steady(8), sound_T, window_s=0.5)
    keys_s = [0.8 * i for i in range(1, 10)]
    assert all(min(abs(time_s - key_s) for key_s in keys_s) < 1e-6 for time_s, _, _ in found)
    # The key frame at 0 has no sound before it; from it the next that is 1.5 s later is at 1.6.
    assert [time_s for time_s, _, _ in found] == pytest.approx([1.6, 3.2, 4.8, 6.4])
    everything = Settings(suffix="png", size=64, every_s=0.04, window_s=0.5, keyframes=True)
    one(video, tmp_path / "all", everything)
    assert [time_s for time_s, _, _ in pairs(tmp_path / "all")] == pytest.approx([t for t in keys_s if t <= 7.5])


def test_windows_may_overlap_and_need_not_fill_the_time(tmp_path: Path) -> None:
    sound_T = noise(9)
    video = write_video(tmp_path / "film.mkv", steady(9), sound=sound_T)
    for every_s, window_s, number in ((0.2, 3.0, 30), (4.0, 0.5, 2), (0.04, 0.04, 224)):
        folder = tmp_path / f"{every_s}-{window_s}"
        one(video, folder, replace(PNG, every_s=every_s, window_s=window_s))
        assert len(rows(folder)) == number
        if window_s > 0.1:  # less noise than that is found anywhere
            check_sync(folder, steady(9), sound_T, window_s=window_s)


def test_neighbouring_windows_join_without_a_seam(tmp_path: Path) -> None:
    wide_T = resample_poly(noise(5), 3, 1).astype(np.float32)
    video = write_video(tmp_path / "film.mkv", steady(5), sound=wide_T, rate_hz=48_000)
    one(video, tmp_path / "pairs")
    joined_T = np.concatenate([window_T for _, _, window_T in pairs(tmp_path / "pairs")])
    whole_T = audio.decode(video, sample_rate_hz=RATE_HZ).samples[RATE_HZ // 2 :][: len(joined_T)]
    np.testing.assert_allclose(joined_T, whole_T, atol=0.6 / 32768)


def test_the_sound_is_the_one_that_decode_gives(data_root: Path, tmp_path: Path) -> None:
    """5.1 of a real film, at another rate."""
    video = next((data_root / "video").glob("*.mp4"))
    one(video, tmp_path, Settings(every_s=7, window_s=2, rate_hz=22_050))
    whole_T = audio.decode(video, sample_rate_hz=22_050).samples
    assert len(rows(tmp_path)) == 4
    for row in rows(tmp_path):
        window_T, rate_hz = read_wav(tmp_path / row["sound"])
        first = round((float(row["time_s"]) - 1) * 22_050)
        assert rate_hz == 22_050
        np.testing.assert_allclose(window_T, whole_T[first : first + 44_100].clip(-1, 1), atol=0.6 / 32768)


def test_channels_that_cancel_do_not_leave_silence(tmp_path: Path) -> None:
    sound_T = noise(4)
    video = write_video(tmp_path / "film.mkv", steady(4), sound=np.stack([0.5 * sound_T, -0.6 * sound_T], axis=1))
    one(video, tmp_path / "pairs")
    for time_s, _, window_T in pairs(tmp_path / "pairs"):
        first = round((time_s - 0.5) * RATE_HZ)
        np.testing.assert_allclose(window_T, -0.6 * sound_T[first : first + RATE_HZ], atol=2 / 32768)


def test_moments_come_as_they_are_found() -> None:
    moments = Moments()
    with ThreadPoolExecutor(2) as pool:
        waiting, other = pool.submit(list, moments), pool.submit(list, moments)
        for time_s in (1.0, 2.5, 4.0):
            moments.add(time_s)
        moments.close()
        assert waiting.result(10) == other.result(10) == list(moments) == [1.0, 2.5, 4.0]
        unwanted = Moments()
        unwanted.add(1.0)
        waiting = pool.submit(list, unwanted)
        unwanted.abandon()
        with pytest.raises(Abandoned):
            waiting.result(10)


def peak_bytes(video: Path, starts_s: list[float]) -> int:
    tracemalloc.start()
    source, what = open_source(video, "video")
    with source:
        found = cut(source, what, starts_s, RATE_HZ, RATE_HZ, lambda *_: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.whole) == len(starts_s)
    return peak


def test_memory_does_not_grow_with_the_length_of_the_sound(tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mkv", sound=noise(10), audio="pcm_s16le")
    long = write_video(tmp_path / "long.mkv", sound=noise(200), audio="pcm_s16le")
    enough = peak_bytes(short, [float(second) for second in range(9)])
    assert enough < 1 << 20
    # Side by side; none for half of the time; one at either end.
    for starts_s in ([float(second) for second in range(199)], [0.0, 50.5, 100.25], [0.0, 198.5]):
        assert peak_bytes(long, starts_s) < 1.5 * enough


def test_numbers_in_pictures_can_be_told_apart() -> None:
    """The tests above stand on this."""
    assert [number_of(numbered(i, 96, 64)[:, 16:80]) for i in range(1024)] == list(range(1024))
