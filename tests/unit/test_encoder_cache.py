"""The cache: computed once, found by content, whole or computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from encoder_laws import check_encoder, noise
from soundsight.audio import Clip
from soundsight.encoders import Embedding
from soundsight.encoders.array import to_npy
from soundsight.encoders.cache import Cached, key_of
from soundsight.errors import ModelError, OutputError

RATE_HZ = 16_000


class Counting:
    """An encoder of three numbers for each tenth of a second, that counts what it is asked."""

    name, size, sample_rate_hz = "counting", 3, RATE_HZ

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.asked = np.float32(factor), 0
        self.identity = hashlib.sha256(str(factor).encode()).hexdigest()

    def encode(self, clips: Sequence[Clip]) -> list[Embedding]:
        self.asked += len(clips)
        found = []
        for clip in clips:
            parts = np.array_split(clip.samples, max(1, len(clip.samples) // 1600))
            tokens = np.array([[p.mean(), p.std(), p.max()] for p in parts], np.float32) * self.factor
            found.append(Embedding(tokens, tokens.max(axis=0)))
        return found


def same(first: Embedding, second: Embedding) -> bool:
    return np.array_equal(first.tokens_LD, second.tokens_LD) and np.array_equal(first.pooled_D, second.pooled_D)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_it_is_an_encoder(tmp_path: Path) -> None:
    encoder = Cached(Counting(), tmp_path)
    check_encoder(encoder, [0.5, 1.0])
    assert (encoder.name, encoder.identity) == ("counting", Counting().identity)


def test_the_same_sound_is_computed_once(tmp_path: Path) -> None:
    encoder, clips = Counting(), [noise(0.5, RATE_HZ, seed) for seed in (0, 1, 0)]
    wanted = Counting().encode(clips)
    assert all(map(same, Cached(encoder, tmp_path / "new" / "cache").encode(clips), wanted))
    assert encoder.asked == 2
    another = Counting()
    again = Cached(another, tmp_path / "new" / "cache").encode([Clip(clip.samples.copy(), RATE_HZ) for clip in clips])
    assert all(map(same, again, wanted))
    assert another.asked == 0
    again[0].tokens_LD[:] = 0  # what is read can be changed, and the cache does not notice
    assert same(Cached(another, tmp_path / "new" / "cache").encode(clips)[0], wanted[0])


def test_another_encoder_or_sound_or_rate_is_computed(tmp_path: Path) -> None:
    clip = noise(0.5, RATE_HZ)
    nudged = clip.samples.copy()
    nudged[7] = np.nextafter(nudged[7], np.float32(1))
    keys = {
        key_of(clip, "a"),
        key_of(clip, "b"),
        key_of(Clip(nudged, RATE_HZ), "a"),
        key_of(Clip(clip.samples, RATE_HZ // 2), "a"),
        key_of(Clip(clip.samples[:-1], RATE_HZ), "a"),
    }
    assert len(keys) == 5
    first, second = Counting(1), Counting(2)
    (one,), (two,) = Cached(first, tmp_path).encode([clip]), Cached(second, tmp_path).encode([clip])
    assert first.asked == second.asked == 1
    np.testing.assert_array_equal(2 * one.tokens_LD, two.tokens_LD)
    assert len(files(tmp_path)) == 2


def signed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:40],
        lambda data: data + b"x",
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        lambda data: signed(b"no array"),
        lambda data: signed(to_npy(np.zeros((4, 2), np.float32))),
        lambda data: signed(to_npy(np.zeros((1, 3), np.float32))),
        lambda data: signed(to_npy(np.zeros(3, np.float32))),
        lambda data: signed(to_npy(np.full((4, 3), np.nan, np.float32))),
        lambda data: signed(data[32:].replace(b"(6, 3)", b"(9, 3)")),
        lambda data: signed(data[32:].replace(b"'<f4'", b"'|O4'")),
    ],
)
def test_a_damaged_file_is_computed_and_written_again(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    encoder, clip = Counting(), noise(0.5, RATE_HZ)
    cached = Cached(encoder, tmp_path)
    (wanted,) = cached.encode([clip])
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    assert damage(whole) != whole
    path.write_bytes(damage(whole))
    (found,) = cached.encode([clip])
    assert same(found, wanted)
    assert encoder.asked == 2
    assert path.read_bytes() == whole


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, clip = Counting(), noise(0.5, RATE_HZ)
    cached = Cached(encoder, tmp_path)
    cached.encode([clip])
    monkeypatch.setattr("soundsight.encoders.cache.MAX_FILE_BYTES", 100)
    cached.encode([clip])
    assert encoder.asked == 2


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    class Failing(Counting):
        def encode(self, clips: Sequence[Clip]) -> list[Embedding]:
            if self.asked:
                raise ModelError("no")
            return super().encode(clips)

    with pytest.raises(ModelError):
        Cached(Failing(), tmp_path).encode([noise(0.5, RATE_HZ, seed) for seed in range(3)])
    assert len(files(tmp_path)) == 1, "and what was ready is kept"


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written to"):
        Cached(Counting(), tmp_path / "file")
    cached = Cached(Counting(), tmp_path / "cache")
    (tmp_path / "cache").write_text("")
    with pytest.raises(OutputError, match="the embedding cannot be saved"):
        cached.encode([noise(0.5, RATE_HZ)])
