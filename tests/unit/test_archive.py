"""Archives made to harm, and archives that were harmed."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from soundsight.datasets import archive
from soundsight.datasets.info import RemoteFile
from soundsight.errors import DatasetError


def pack(*members: tuple[str, bytes | None, bytes], compress: bool = True) -> bytes:
    """Members are (name, content or None, tar type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, body, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(body or b""), "../../outside"
            tar.addfile(member, io.BytesIO(body) if body is not None else None)
    return gzip.compress(buffer.getvalue(), mtime=0) if compress else buffer.getvalue()


def plain(name: str, body: bytes = b"x") -> tuple[str, bytes, bytes]:
    return name, body, tarfile.REGTYPE


def unpack(tmp_path: Path, body: bytes, **limits) -> Path:
    source, target = tmp_path / "set.tar.gz", tmp_path / "in" / "folder"
    source.write_bytes(body)
    archive.unpack(source, target, RemoteFile("set.tar.gz", (), unpack=True, **limits))
    return target


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("compress", [True, False])
def test_files_arrive_with_their_content(tmp_path, compress):
    body = pack(("./top", None, tarfile.DIRTYPE), plain("./top/a", b"1"), plain("top/b/c", b"22"), compress=compress)
    assert everything(unpack(tmp_path, body)) == {"top/a": b"1", "top/b/c": b"22"}


def test_leading_folders_are_stripped(tmp_path):
    body = pack(plain("README", b"0"), plain("set-1/a", b"1"), plain("set-1/b/c", b"2"))
    assert everything(unpack(tmp_path, body, strip=1)) == {"a": b"1", "b/c": b"2"}


def test_names_are_replaced_and_neighbours_stay(tmp_path):
    for name, body in (("sub/old", b"old"), ("sub/same", b"before"), ("own", b"own")):
        path = tmp_path / "in" / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    target = unpack(tmp_path, pack(plain("sub/same", b"after"), plain("sub/new", b"new")))
    assert everything(target) == {"own": b"own", "sub/old": b"old", "sub/same": b"after", "sub/new": b"new"}


@pytest.mark.parametrize(
    "member",
    [
        plain("../outside"),
        plain("a/../../outside"),
        plain("/outside"),
        plain("//outside"),
        plain("a\\..\\outside"),
        plain("C:outside"),
        ("link", None, tarfile.SYMTYPE),
        ("link", None, tarfile.LNKTYPE),
        ("pipe", None, tarfile.FIFOTYPE),
        ("device", None, tarfile.CHRTYPE),
        ("../folder", None, tarfile.DIRTYPE),
    ],
)
def test_what_leads_out_is_refused_and_nothing_is_written(tmp_path, member):
    with pytest.raises(DatasetError, match="not unpacked"):
        unpack(tmp_path, pack(plain("good"), member, plain("link/evil")))
    assert everything(tmp_path).keys() == {"set.tar.gz"}


@pytest.mark.parametrize(
    ("body", "limits"),
    [
        (pack(plain("bomb", bytes(2**20))), {"max_unpacked_bytes": 2**19}),
        (pack(*(plain(f"{i}") for i in range(20))), {"max_unpacked_files": 19}),
        # A header of 8 MB, a file of none: the stream itself is limited.
        (pack(plain("x" * 2**23)), {"max_unpacked_bytes": 2**19, "max_unpacked_files": 10}),
        # Zeros behind the end of the archive.
        (
            gzip.compress(pack(plain("a"), compress=False) + bytes(2**23), mtime=0),
            {"max_unpacked_bytes": 2**19, "max_unpacked_files": 10},
        ),
    ],
)
def test_bombs_are_refused_and_nothing_is_written(tmp_path, body, limits):
    with pytest.raises(DatasetError, match="not the published archive"):
        unpack(tmp_path, body, **limits)
    assert everything(tmp_path).keys() == {"set.tar.gz"}


@pytest.mark.parametrize(
    "body", [b"", b"\x1f\x8b", b"no archive at all" * 100, gzip.compress(b"no tar" * 500, mtime=0), pack()]
)
def test_what_is_no_archive_or_empty_is_refused(tmp_path, body):
    with pytest.raises(DatasetError, match=r"set\.tar\.gz: (not a tar archive, or damaged|holds no files)"):
        unpack(tmp_path, body)
    assert everything(tmp_path).keys() == {"set.tar.gz"}


def test_no_damage_passes_unnoticed(tmp_path):
    rng = np.random.default_rng(0)
    content = {f"file{i}": rng.bytes(300) for i in range(5)}
    good = pack(*(plain(name, body) for name, body in content.items()))
    cuts = [good[:length] for length in rng.choice(len(good), 60, replace=False)]
    flips = []
    for position, mask in zip(rng.choice(len(good), 200, replace=False), rng.integers(1, 256, 200), strict=True):
        damaged = bytearray(good)
        damaged[position] ^= mask
        flips.append(bytes(damaged))
    refused = 0
    for body in cuts + flips:
        try:
            # Only a flip in gzip's own header, which carries no data, may go through; then the content is right.
            assert everything(unpack(tmp_path, body)) == content
        except DatasetError:
            refused += 1
            assert not (tmp_path / "in/folder").exists() or everything(tmp_path / "in/folder") in ({}, content)
    assert refused >= 255
