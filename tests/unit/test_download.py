"""Downloads against a server that cuts, lies, stalls and changes its mind."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path
from urllib.request import Request

import pytest

from file_server import Served, Server, serve
from soundsight.datasets import download
from soundsight.datasets.info import DatasetInfo, RemoteFile
from soundsight.errors import DatasetError

BODY = bytes(range(256)) * 2000  # 512,000 bytes
CUT = 300_000


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)
    with serve() as running:
        yield running


def info(*files: RemoteFile) -> DatasetInfo:
    return DatasetInfo("sample", "sound", "Sample", "CC0", "nobody", "http://127.0.0.1", files, ())


def remote(server: Server, *paths: str, body: bytes = BODY, **options) -> RemoteFile:
    options.setdefault("sha256", hashlib.sha256(body).hexdigest())
    return RemoteFile("data.bin", tuple(server.url(path) for path in paths), **options)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "data.bin")


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server, tmp_path):
    server.files["a"] = Served(BODY)
    download.fetch(info(remote(server, "a")), tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/data.bin").read_bytes() == BODY
    assert left_over(tmp_path / "new/folder") == []


def test_what_is_there_and_right_is_not_fetched_again_but_what_is_wrong_is(server, tmp_path):
    server.files["a"] = Served(BODY)
    (tmp_path / "data.bin").write_bytes(BODY)
    download.fetch(info(remote(server, "a")), tmp_path)
    assert server.log == []
    (tmp_path / "data.bin").write_bytes(BODY[:-1] + b"?")
    download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY


@pytest.mark.parametrize("marks", [{}, {"etag": None, "last_modified": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_a_cut_connection_is_resumed_where_it_broke(server, tmp_path, marks):
    server.files["a"] = Served(BODY, cuts=[CUT, 100_000], **marks)
    download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={CUT}-", f"bytes={CUT + 100_000}-"]
    assert sum(sent for *_, sent in server.log) == len(BODY), "no byte is sent twice"


def test_an_interrupt_keeps_the_part_and_the_next_run_goes_on(server, tmp_path):
    server.files["a"] = Served(BODY)

    def interrupt(_name: str, num_bytes: int, _total: int | None) -> None:
        if num_bytes >= 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(info(remote(server, "a")), tmp_path, interrupt)
    part = (tmp_path / "data.bin.part").read_bytes()
    assert len(part) >= 100_000
    assert part == BODY[: len(part)]
    assert not (tmp_path / "data.bin").exists()
    assert download.unfinished(info(remote(server, "a")), tmp_path)
    download.fetch(info(remote(server, "a")), tmp_path)
    assert server.ranges == [None, f"bytes={len(part)}-"]
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert not download.unfinished(info(remote(server, "a")), tmp_path)


def test_a_part_goes_on_with_the_mirror_it_came_from(server, tmp_path):
    server.files |= {"dead": Served(BODY, fail_always=404), "alive": Served(BODY, cuts=[CUT])}
    file = remote(server, "dead", "alive")

    def interrupt(_name: str, num_bytes: int, _total: int | None) -> None:
        if num_bytes >= CUT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(info(file), tmp_path, interrupt)
    server.files["dead"] = Served(BODY)
    server.requests.clear()
    download.fetch(info(file), tmp_path)
    assert [(path, asked) for path, asked, _ in server.log] == [("alive", f"bytes={CUT}-")]


def test_a_file_that_changed_meanwhile_begins_anew(server, tmp_path):
    new = BODY[::-1]
    server.files["a"] = Served(BODY, cuts=[CUT])
    file = remote(server, "a", body=new)

    def change(_name: str, num_bytes: int, _total: int | None) -> None:
        if num_bytes >= CUT:
            server.files["a"] = Served(new, etag='"v2"')

    download.fetch(info(file), tmp_path, change)
    assert (tmp_path / "data.bin").read_bytes() == new
    assert server.ranges == [None, f"bytes={CUT}-"]


def test_a_server_that_ignores_ranges_begins_anew(server, tmp_path):
    server.files["a"] = Served(BODY, cuts=[CUT], ranges=False)
    download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={CUT}-"]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_version_mark_no_range_is_asked_for(server, tmp_path, etag):
    server.files["a"] = Served(BODY, etag=etag, cuts=[CUT])
    download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges == [None, None]


def test_a_wrong_range_is_noticed(server, tmp_path):
    server.files["a"] = Served(BODY, cuts=[CUT], wrong_range=True)
    download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={CUT}-", None]


def test_a_part_that_is_complete_is_not_fetched_again(server, tmp_path):
    server.files["a"] = Served(BODY)

    def die(_name: str, num_bytes: int, _total: int | None) -> None:
        if num_bytes == len(BODY):
            raise KeyboardInterrupt  # after the last byte, before the rename

    with pytest.raises(KeyboardInterrupt):
        download.fetch(info(remote(server, "a")), tmp_path, die)
    server.requests.clear()
    download.fetch(info(remote(server, "a")), tmp_path)
    assert server.log == [("a", f"bytes={len(BODY)}-", 0)]
    assert (tmp_path / "data.bin").read_bytes() == BODY


@pytest.mark.parametrize("state", ["", "[]", "{", '{"url": 3}', '{"url": "http://127.0.0.1/other", "validator": "x"}'])
def test_a_foreign_part_is_not_built_upon(server, tmp_path, state):
    server.files["a"] = Served(BODY)
    (tmp_path / "data.bin.part").write_bytes(b"something else")
    (tmp_path / "data.bin.part.json").write_text(state)
    download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges == [None]
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_sends_us_to_the_next_mirror(server, tmp_path, kind):
    server.files |= {"bad": Served(BODY[:-1] + b"?"), "good": Served(BODY)}
    sums = {"sha256": None, kind: hashlib.new(kind, BODY).hexdigest()}
    download.fetch(info(remote(server, "bad", "good", **sums)), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert [path for path, *_ in server.log] == ["bad", "good"]


def test_wrong_checksums_everywhere_leave_nothing(server, tmp_path):
    server.files |= {"bad": Served(BODY[:-1] + b"?"), "worse": Served(b"")}
    with pytest.raises(DatasetError, match=r"could not download data\.bin .*checksum.*checksum") as caught:
        download.fetch(info(remote(server, "bad", "worse")), tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_not_found_goes_to_the_next_mirror_at_once(server, tmp_path):
    server.files["here"] = Served(BODY)
    download.fetch(info(remote(server, "gone", "here")), tmp_path)
    assert [path for path, *_ in server.log] == ["gone", "here"]
    with pytest.raises(DatasetError, match="HTTP 404"):
        download.fetch(info(remote(server, "gone")), tmp_path / "other")


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.files["a"] = Served(BODY, statuses=[503, 429])
    download.fetch(info(remote(server, "a")), tmp_path)
    assert len(server.log) == 3
    server.files["a"] = Served(BODY, fail_always=500)
    with pytest.raises(DatasetError, match="HTTP 500"):
        download.fetch(info(remote(server, "a")), tmp_path / "other")


def test_a_silent_server_is_left_for_the_next(server, tmp_path):
    server.files |= {"silent": Served(BODY, silent=True), "good": Served(BODY)}
    download.fetch(info(remote(server, "silent", "good")), tmp_path, timeout_s=0.15)
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_a_slow_server_is_waited_for_and_progress_is_told(server, tmp_path):
    server.files["a"] = Served(BODY[:4000], block=500, pause_s=0.02)
    calls: list[tuple[str, int, int | None]] = []
    file = remote(server, "a", body=BODY[:4000])
    # Each pause is shorter than the time allowed, all of them together are longer.
    download.fetch(info(file), tmp_path, lambda *call: calls.append(call), timeout_s=0.12)
    assert calls[0] == ("data.bin", 0, 4000)
    assert calls[-1] == ("data.bin", 4000, 4000)
    steps = [num_bytes for _, num_bytes, _ in calls]
    assert steps == sorted(set(steps))
    assert len(steps) > 4, "each piece is told when it comes"


def test_nobody_listening(tmp_path, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
        with pytest.raises(DatasetError, match="refused"):
            download.fetch(info(RemoteFile("data.bin", (url,))), tmp_path)


@pytest.mark.parametrize("send_length", [True, False])
def test_more_than_the_limit_is_refused(server, tmp_path, send_length):
    server.files["a"] = Served(BODY, send_length=send_length)
    with pytest.raises(DatasetError, match="100000"):
        download.fetch(info(remote(server, "a", max_bytes=100_000)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_size_than_published_is_refused(server, tmp_path):
    server.files["a"] = Served(BODY)
    with pytest.raises(DatasetError, match="offers 512000 bytes, expected 512001"):
        download.fetch(info(remote(server, "a", num_bytes=len(BODY) + 1)), tmp_path)


def test_a_length_is_not_needed(server, tmp_path):
    server.files["a"] = Served(BODY, send_length=False)
    download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_too_little_room_is_said_before_the_download(server, tmp_path, monkeypatch):
    server.files["a"] = Served(BODY)
    usage = namedtuple("usage", "total used free")(10, 3, 7)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match="needs 512000 bytes, but only 7 are free"):
        download.fetch(info(remote(server, "a")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_keeps_the_part(server, tmp_path, monkeypatch):
    server.files["a"] = Served(BODY)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match="disk is full"):
        download.fetch(info(remote(server, "a")), tmp_path)
    assert (tmp_path / "data.bin.part").exists()
    assert not (tmp_path / "data.bin").exists()


def test_redirections_are_followed_but_not_to_weaker_schemes(server, tmp_path):
    server.files |= {"moved": Served(b"", redirect=server.url("a")), "a": Served(BODY)}
    download.fetch(info(remote(server, "moved")), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    server.files["ftp"] = Served(b"", redirect="ftp://127.0.0.1/a")
    with pytest.raises(DatasetError, match="redirects to ftp:"):
        download.fetch(info(remote(server, "ftp")), tmp_path / "other")
    secure = Request("https://127.0.0.1/a")
    with pytest.raises(download._Refused):
        download._Redirects().redirect_request(secure, io.BytesIO(), 302, "", {}, "http://127.0.0.1/a")


def test_only_web_addresses(tmp_path):
    (tmp_path / "secret").write_bytes(BODY)
    file = RemoteFile("data.bin", ((tmp_path / "secret").as_uri(),))
    with pytest.raises(DatasetError, match="not an http"):
        download.fetch(info(file), tmp_path / "folder")
