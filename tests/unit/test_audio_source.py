"""What a sound is read from: paths, streams, names, and what is no file at all."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from sounds import encoded, sine
from soundsight.audio import decode
from soundsight.errors import AudioError

RATE_HZ = 8000


def test_path_string_bytes_and_streams_agree(tmp_path: Path) -> None:
    data = encoded(sine(16000), 16000)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    reference = decode(path, sample_rate_hz=RATE_HZ).samples
    with path.open("rb") as file:
        for source in (str(path), data, io.BytesIO(data), file):
            np.testing.assert_array_equal(decode(source, sample_rate_hz=RATE_HZ).samples, reference)


def test_stream_that_cannot_seek() -> None:
    data = encoded(sine(RATE_HZ), RATE_HZ)
    read_end, write_end = os.pipe()

    def feed() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(read_end, "rb") as pipe:
        clip = decode(pipe, sample_rate_hz=RATE_HZ)
    thread.join()
    assert len(clip.samples) == RATE_HZ


def test_endless_stream_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundsight.audio.source.MAX_STREAM_BYTES", 1 << 21)
    with Path("/dev/zero").open("rb") as zeros, pytest.raises(AudioError, match="GiB"):
        decode(zeros, sample_rate_hz=RATE_HZ)


def test_text_stream_is_told_to_be_binary() -> None:
    with pytest.raises(AudioError, match="binary"):
        decode(io.StringIO("RIFF"), sample_rate_hz=RATE_HZ)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.raw", "b.txt", "no extension", "-x.wav", "ä 声.wav", "c.mp3"])
def test_the_name_does_not_matter(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(sine(RATE_HZ), RATE_HZ))
    assert len(decode(path, sample_rate_hz=RATE_HZ).samples) == RATE_HZ


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.wav"))
    path.write_bytes(encoded(sine(RATE_HZ), RATE_HZ))
    assert len(decode(path, sample_rate_hz=RATE_HZ).samples) == RATE_HZ
    path.write_bytes(b"nothing")
    with pytest.raises(AudioError) as error:
        decode(path, sample_rate_hz=RATE_HZ)
    str(error.value).encode("utf-8")


def test_missing_empty_folder_and_special_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe")
    for source, message in [
        (tmp_path / "none.wav", "No such file"),
        (tmp_path / "empty.wav" / "x", "Not a directory"),
        (tmp_path / "empty.wav", "empty, 0 bytes"),
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a pipe"),
        (Path("/dev/zero"), "a device"),
        ("a\0b.wav", "null"),
        ("x" * 5000, "too long"),
        (b"", "empty, 0 bytes"),
        (io.BytesIO(), "empty, 0 bytes"),
        (7, "'int'"),
    ]:
        with pytest.raises(AudioError, match=message):
            decode(source, sample_rate_hz=RATE_HZ)  # type: ignore[arg-type]


def test_forbidden_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded(sine(RATE_HZ), RATE_HZ))

    # Tests may run as root, whom no permission stops.
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("io.FileIO", refuse)
    with pytest.raises(AudioError, match=r"secret\.wav: cannot be read: Permission denied"):
        decode(path, sample_rate_hz=RATE_HZ)


def test_closed_or_failing_stream() -> None:
    class Failing(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    closed = io.BytesIO(b"x")
    closed.close()
    for stream in (closed, Failing()):
        with pytest.raises(AudioError, match="cannot be read"):
            decode(stream, sample_rate_hz=RATE_HZ)  # type: ignore[arg-type]


def test_control_characters_of_a_name_do_not_reach_the_message(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\r\nsoundsight: fine.wav"
    path.write_bytes(b"nothing")
    for source in (path, tmp_path / "\x9b2Jnone\u202e.wav"):
        with pytest.raises(AudioError) as error:
            decode(source, sample_rate_hz=RATE_HZ)
        assert str(error.value).isprintable()
