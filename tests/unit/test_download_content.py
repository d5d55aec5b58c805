"""Downloads that are known by what is in them: gzip files of any compression, and archives to unpack."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest

from file_server import Served, Server, serve
from soundsight.datasets import download
from soundsight.datasets.info import DatasetInfo, RemoteFile
from soundsight.errors import DatasetError

BODY = bytes(range(256)) * 2000


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as running:
        yield running


def info(*files: RemoteFile) -> DatasetInfo:
    return DatasetInfo("sample", "sound", "Sample", "CC0", "nobody", "http://127.0.0.1", files, ())


def gz(server: Server, path: str, **sums) -> RemoteFile:
    return RemoteFile("data.gz", (server.url(path),), **sums)


def test_a_content_checksum_does_not_care_how_it_was_compressed(server, tmp_path):
    md5 = hashlib.md5(BODY).hexdigest()
    for level in (1, 9):
        server.files["a"] = Served(gzip.compress(BODY, level))
        download.fetch(info(gz(server, "a", content_md5=md5)), tmp_path / str(level))
        assert gzip.decompress((tmp_path / str(level) / "data.gz").read_bytes()) == BODY
    server.files["a"] = Served(gzip.compress(BODY + b"?"))
    with pytest.raises(DatasetError, match="md5 of the content"):
        download.fetch(info(gz(server, "a", content_md5=md5)), tmp_path / "bad")


@pytest.mark.parametrize(
    "body", [b"<html>please log in</html>", gzip.compress(BODY, mtime=0)[:-5], gzip.compress(BODY, mtime=0)[:50]]
)
def test_without_any_checksum_a_damaged_gzip_is_still_noticed(server, tmp_path, body):
    server.files["a"] = Served(body)
    with pytest.raises(DatasetError, match="not a gzip file, or damaged"):
        download.fetch(info(gz(server, "a")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_defused(server, tmp_path):
    server.files["a"] = Served(gzip.compress(bytes(2**22)))
    with pytest.raises(DatasetError, match="unpacks to more than 1000000"):
        download.fetch(info(gz(server, "a", max_unpacked_bytes=10**6)), tmp_path)


def tar_gz(names: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def test_an_archive_is_unpacked_deleted_and_not_fetched_again(server, tmp_path):
    server.files["a"] = Served(tar_gz({"set-1.0/README": b"x", "set-1.0/recordings/a.wav": b"y"}))
    file = RemoteFile("set.tar.gz", (server.url("a"),), unpack=True, strip=1)
    download.fetch(info(file), tmp_path)
    assert (tmp_path / "README").read_bytes() == b"x"
    assert (tmp_path / "recordings/a.wav").read_bytes() == b"y"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set.tar.gz.unpacked", "README", "recordings"]
    assert not download.unfinished(info(file), tmp_path)
    download.fetch(info(file), tmp_path)
    assert len(server.log) == 1


def test_an_archive_that_was_fetched_but_not_unpacked_is_unpacked_later(server, tmp_path):
    file = RemoteFile("set.tar.gz", (server.url("gone"),), unpack=True)
    (tmp_path / "set.tar.gz").write_bytes(tar_gz({"a.wav": b"y"}))
    assert download.unfinished(info(file), tmp_path)
    download.fetch(info(file), tmp_path)
    assert (tmp_path / "a.wav").read_bytes() == b"y"
    assert server.log == []
