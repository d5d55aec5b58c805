"""WebDataset shards: what the published layout is, in any order; and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsight.encoders.array import to_npy
from soundsight.encoders.shards import read_shards, records
from soundsight.errors import DatasetError


def tokens(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shard(path: Path, members: list[tuple[str, bytes]], **kinds: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name in kinds:
                info.type, info.linkname, info.size = kinds[name], "elsewhere", 0
            tar.addfile(info, io.BytesIO(data))
    return path


def npy(seed: int, *shape: int) -> bytes:
    return to_npy(tokens(seed, *shape))


def test_records_come_in_the_order_of_the_stream(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "0.tar",
        [
            ("b.json", json.dumps({"label": "dog"}).encode()),
            ("b.npy", npy(0, 3, 4)),
            ("b.flac", b"a sound"),
            ("dogs/a.npy", npy(1, 4)),
            ("c.npy", npy(2, 1, 4)),
        ],
    )
    found = list(records(path))
    assert [(record.key, record.facts) for record in found] == [("b", {"label": "dog"}), ("dogs/a", {}), ("c", {})]
    np.testing.assert_array_equal(found[0].tokens_LD, tokens(0, 3, 4))
    np.testing.assert_array_equal(found[1].tokens_LD, tokens(1, 4)[None])


def test_shards_are_read_as_one_and_found_by_name(tmp_path: Path) -> None:
    first = shard(tmp_path / "0.tar", [("a.npy", npy(0, 3, 4)), ("b.npy", npy(1, 2, 4))])
    second = shard(tmp_path / "1.tar", [("x/c.npy", npy(2, 4))])
    one, other = read_shards([first, second]), read_shards([second, first])
    assert one.identity == other.identity
    assert (len(one), one.size) == (3, 4)
    np.testing.assert_array_equal(one.find("b.wav").tokens_LD, tokens(1, 2, 4))
    np.testing.assert_allclose(one.find("b.wav").pooled_D, tokens(1, 2, 4).mean(axis=0), rtol=1e-6)
    assert [len(embedding.tokens_LD) for embedding in one.pair(["x/c.flac", "a.wav", "b.wav"])] == [1, 3, 2]


def test_shards_of_two_encoders_are_not_read_as_one(tmp_path: Path) -> None:
    """Those that do not say whose they are go with any."""

    def made_by(name: str, key: str) -> Path:
        facts = json.dumps({"encoder": name, "identity": f"{name}-weights"}).encode()
        return shard(tmp_path / f"{key}.tar", [(f"{key}.npy", npy(0, 4)), (f"{key}.json", facts)])

    unsaid = shard(tmp_path / "x.tar", [("x.npy", npy(0, 4))])
    clap, vggish = made_by("clap", "a"), made_by("vggish", "b")
    assert len(read_shards([unsaid, clap, made_by("clap", "c")])) == 3
    with pytest.raises(DatasetError, match=r"'b' was embedded by 'vggish' .*, others by 'clap'"):
        read_shards([clap, unsaid, vggish])


@pytest.mark.parametrize(
    ("members", "kinds", "fault"),
    [
        ([("/a.npy", npy(0, 4))], {}, "'/a.npy', which leads out of its folder"),
        ([("x/../../a.npy", npy(0, 4))], {}, "leads out of its folder"),
        ([("c:a.npy", npy(0, 4))], {}, "leads out of its folder"),
        ([("a.npy", b"")], {"a.npy": tarfile.SYMTYPE}, "'a.npy', which is a link, a device or sparse"),
        ([("a.npy", b"")], {"a.npy": tarfile.LNKTYPE}, "which is a link"),
        ([("a.txt", b"")], {"a.txt": tarfile.CHRTYPE}, "'a.txt', which is a link, a device"),
        ([("a.npy", b"")], {"a.npy": tarfile.FIFOTYPE}, "which is a link, a device"),
        ([("a.npy", npy(0, 4)), ("a.npy", npy(0, 4))], {}, "holds 'a.npy' twice"),
        ([("a.npy", npy(0, 4)), ("b.npy", npy(0, 4)), ("a.npy", npy(0, 4))], {}, "'a' is there twice"),
        ([("a.npy", npy(0, 4)), ("b.npy", npy(0, 5))], {}, "embedding of 'b' has 5 numbers; expected 4"),
        ([("a.json", b"{}"), ("b.npy", npy(0, 4))], {}, "'a' has no npy"),
        ([("a.npy", b"no array")], {}, "the array of 'a' is damaged"),
        ([("a.npy", npy(0, 4)[:-1])], {}, "the array of 'a' is damaged: .* announces 16 bytes, and 15 follow"),
        ([("a.npy", to_npy(np.full(3, np.nan)))], {}, "embedding of 'a' holds NaN"),
        ([("a.npy", npy(0, 1, 1, 4))], {}, r"array of 'a' is \(1, 1, 4\); expected"),
        ([("a.npy", npy(0, 4)), ("a.json", b"{")], {}, "JSON of 'a' is damaged"),
        ([("a.npy", npy(0, 4)), ("a.json", b"[" * 100_000)], {}, "JSON of 'a' is damaged"),
        ([("a.npy", npy(0, 4)), ("a.json", b"[]")], {}, "JSON of 'a' is no object"),
        ([("a.npy", npy(0, 4)), ("a.json", b" " * (1 << 21))], {}, "'a.json' is larger than 1 MiB"),
        ([("a.txt", b"")], {}, "no embeddings; expected tar archives with KEY.npy"),
        ([], {}, "no embeddings"),
    ],
)
def test_what_does_not_fit_is_refused(members: Any, kinds: dict[str, bytes], fault: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", members, **kinds)
    with pytest.raises(DatasetError, match=fault) as caught:
        read_shards([path])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["0.tar"], "nothing is written"


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(DatasetError, match="the array of 'a' is damaged: it holds object"):
        read_shards([shard(tmp_path / "0.tar", [("a.npy", buffer.getvalue())])])


def test_what_is_no_tar_archive_is_refused(tmp_path: Path) -> None:
    whole = shard(tmp_path / "0.tar", [("a.npy", npy(0, 4000))]).read_bytes()
    for name, content in [("text", b"no archive" * 100), ("cut", whole[:4000]), ("packed", gzip.compress(whole))]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match="not a tar archive, or damaged") as caught:
            read_shards([tmp_path / name])
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match="there is no such file"):
        read_shards([tmp_path / "nowhere"])


def test_more_than_fits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(tmp_path / "0.tar", [("a.npy", npy(0, 4)), ("b.npy", npy(0, 4))])
    monkeypatch.setattr("soundsight.encoders.shards.MAX_BYTES", 20)
    with pytest.raises(DatasetError, match="hold more than"):
        read_shards([path])
