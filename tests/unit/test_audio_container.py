"""Sound out of video files and other containers, by PyAV."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from sounds import amplitude, check_sound, sine
from soundsight.audio import decode
from soundsight.errors import AudioError, MissingExtraError, SoundsightError

RATE_HZ = 8000


def test_video_gives_its_sound(data_root: Path) -> None:
    path = next((data_root / "video").glob("*.mp4"))
    clip = decode(path, sample_rate_hz=16000)
    check_sound(clip, 16000)
    assert clip.duration_s == pytest.approx(30, abs=0.1)
    assert clip.samples.std() > 1e-3


def muxed(container: str, codec: str, rate_hz: int = 48000, *, sound: bool = True) -> bytes:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        if sound:
            stream = output.add_stream(codec, rate=rate_hz, layout="mono")
            samples = sine(rate_hz, duration_s=3).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
            frame.sample_rate = rate_hz
            frame.pts = 0
            packets = stream.encode(frame)
        else:
            stream = output.add_stream("mpeg4", rate=5)
            stream.width = stream.height = 16
            packets = [p for i in range(5) for p in stream.encode(av.VideoFrame(16, 16, "yuv420p"))]
        output.mux(packets)
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("matroska", "flac"), ("adts", "aac")]
)
def test_containers_keep_the_sound(container: str, codec: str) -> None:
    clip = decode(muxed(container, codec), sample_rate_hz=RATE_HZ)
    assert amplitude(clip, 440) == pytest.approx(0.5, rel=0.05)
    assert clip.duration_s == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("matroska", "flac")])
def test_cut_containers_are_refused(container: str, codec: str) -> None:
    data = muxed(container, codec)
    with pytest.raises(AudioError, match=r"ends early|damaged"):
        decode(data[: int(len(data) * 0.6)], sample_rate_hz=RATE_HZ)


def test_a_title_in_an_old_encoding_is_no_reason_to_refuse_a_file() -> None:
    data = muxed("mp4", "aac")
    assert data.count(b"Lavf") == 1, "FFmpeg leaves its name"
    clip = decode(data.replace(b"Lavf", b"L\xe9vf"), sample_rate_hz=RATE_HZ)
    assert clip.duration_s == pytest.approx(3, abs=0.1)


def test_video_without_sound() -> None:
    with pytest.raises(AudioError, match="no sound track"):
        decode(muxed("mp4", "", sound=False), sample_rate_hz=RATE_HZ)


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = muxed("mp4", "aac")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'soundsight\[video\]'"):
        decode(data, sample_rate_hz=RATE_HZ)
    with pytest.raises(SoundsightError, match=r"not a sound in a known format.*soundsight\[video\]"):
        decode(b"no sound at all" * 20, sample_rate_hz=RATE_HZ)
