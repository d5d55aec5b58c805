"""Fetch a data set's files: mirrors in turn, resumed where a connection broke, checked before they get their name.

Beside a half-downloaded ``NAME.part`` lies ``NAME.part.json`` with its address and the server's version mark. A later
run asks for the rest only where the server can promise that the file is still the same (RFC 9110, If-Range).
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from soundsight._version import __version__
from soundsight.datasets import archive
from soundsight.datasets.info import DatasetInfo, RemoteFile
from soundsight.errors import DatasetError

__all__ = ["Progress", "fetch", "unfinished"]

# Called with the file's name, the bytes there so far and the whole size where it is known.
Progress = Callable[[str, int, int | None], None]

_BLOCK_BYTES = 2**18
# Attempts in a row that bring nothing before the next mirror is asked, and attempts in all.
_FRUITLESS_TRIES = 3
_MAX_TRIES = 100
_PAUSE_S = 0.5


class _Interrupted(Exception):  # noqa: N818  (never leaves this module)
    """The connection failed in a way that another attempt may cure."""


class _Refused(Exception):  # noqa: N818  (never leaves this module)
    """This mirror will not give the file."""


def fetch(info: DatasetInfo, folder: Path, progress: Progress | None = None, *, timeout_s: float = 30.0) -> None:
    """Download, check and unpack all files of a data set; what is there already and right is left alone.

    An interrupt keeps what was downloaded, and the next call goes on from there.

    Args:
        info: What to fetch.
        folder: Where to; made if need be.
        progress: Called after each block.
        timeout_s: Longest silence of a server.

    Raises:
        DatasetError: No mirror has the right file, the disk is full, or an archive is not what it should be.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in info.files:
        target = folder / file.path
        if file.unpack and _stamp(folder, file).is_file():
            continue
        if not target.is_file() or _mismatch(target, file):
            _from_mirrors(file, target, progress or (lambda *_: None), timeout_s)
        if file.unpack:
            try:
                archive.unpack(target, folder, file)
            except OSError as error:
                raise _full(error, folder) from error
            _stamp(folder, file).touch()
            target.unlink()


def unfinished(info: DatasetInfo, folder: Path) -> bool:
    """Whether an earlier ``fetch`` was interrupted here."""
    names = [f"{file.path}.part" for file in info.files] + [file.path for file in info.files if file.unpack]
    return any((folder / name).exists() for name in [*names, archive.STAGING])


def _stamp(folder: Path, file: RemoteFile) -> Path:
    """An empty file that says: this archive was unpacked here to its end."""
    return folder / f".{file.path}.unpacked"


def _from_mirrors(file: RemoteFile, target: Path, progress: Progress, timeout_s: float) -> None:
    part = target.with_name(f"{target.name}.part")
    reasons = []
    # The mirror that a part came from goes first: the others would begin anew.
    begun = _read_state(part).get("url")
    for url in sorted(file.urls, key=lambda url: url != begun):
        try:
            _download(url, part, file, progress, timeout_s)
            problem = _mismatch(part, file)
        except _Refused as error:
            reasons.append(f"{urlsplit(url).netloc}: {error}")
            continue
        if problem is None:
            part.replace(target)
            _state_path(part).unlink(missing_ok=True)
            return
        _discard(part)
        reasons.append(f"{urlsplit(url).netloc}: {problem}")
    why = "; ".join(reasons)
    raise DatasetError(f"could not download {file.path} ({why}); try again later, or put the file into {target.parent}")


def _download(url: str, part: Path, file: RemoteFile, progress: Progress, timeout_s: float) -> None:
    """Bring ``part`` to its full length, in as many attempts as bring something."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise _Refused(f"not an http(s) address: {url}")
    fruitless = 0
    for _ in range(_MAX_TRIES):
        before = _size(part)
        try:
            return _attempt(url, part, file, progress, timeout_s)
        except _Interrupted as error:
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= _FRUITLESS_TRIES:
                raise _Refused(str(error)) from error
            time.sleep(_PAUSE_S * 2**fruitless)
    raise _Refused(f"gave up after {_MAX_TRIES} broken connections")


def _attempt(url: str, part: Path, file: RemoteFile, progress: Progress, timeout_s: float) -> None:
    state = _read_state(part)
    validator = state.get("validator") if state.get("url") == url else None
    offset = _size(part) if validator else 0
    # No transfer compression: the checksum is that of the file.
    headers = {"User-Agent": f"soundsight/{__version__}", "Accept-Encoding": "identity"}
    if offset and validator:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        response = build_opener(_Redirects).open(Request(url, headers=headers), timeout=timeout_s)  # noqa: S310  (scheme checked)
    except HTTPError as error:
        with error:
            if error.code == 416 and offset:
                if error.headers.get("Content-Range") == f"bytes */{offset}":
                    return  # killed between the last byte and the rename
                _discard(part)
                raise _Interrupted("the partial download no longer fits") from error
            kind = _Interrupted if error.code in (408, 429) or error.code >= 500 else _Refused
            raise kind(f"HTTP {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _Interrupted(str(reason) or type(reason).__name__) from error
    with response:
        _receive(response, url, part, offset, file, progress)


def _receive(response: HTTPResponse, url: str, part: Path, offset: int, file: RemoteFile, progress: Progress) -> None:
    """Write the answer's body behind ``offset``, or from the start where the server sends all of it."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != offset:
            _discard(part)
            raise _Interrupted("the server sent another part than asked for")
        total: int | None = int(match[2])
    else:
        offset = 0
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    _refuse_size(total, offset, part, file)
    try:
        with part.open("ab" if offset else "wb") as out:
            if not offset:
                _write_state(part, url, response.headers)
            received = offset
            progress(file.path, received, total)
            while block := _read(response):
                received += len(block)
                if received > file.max_bytes:
                    break
                out.write(block)
                progress(file.path, received, total)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise _full(error, part.parent) from error
    if received > file.max_bytes:
        _discard(part)
        raise _Refused(f"larger than the limit of {file.max_bytes} bytes")
    if total is not None and received < total:
        raise _Interrupted(f"connection lost after {received} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    """What has arrived, so that a lost connection loses nothing; b"" at the end."""
    try:
        return response.read1(_BLOCK_BYTES)
    except (OSError, HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _refuse_size(total: int | None, offset: int, part: Path, file: RemoteFile) -> None:
    if total is None:
        return
    if total > file.max_bytes or total != (file.num_bytes or total):
        _discard(part)
        raise _Refused(f"offers {total} bytes, expected {file.num_bytes or f'at most {file.max_bytes}'}")
    free = shutil.disk_usage(part.parent).free
    if total - offset > free:
        raise DatasetError(f"{part.parent}: {file.path} needs {total - offset} bytes, but only {free} are free")


def _full(error: OSError, folder: Path) -> Exception:
    """A full disk as one line that says what to do; any other error as it is."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return DatasetError(f"{folder}: the disk is full; make room and run it again, it goes on where it stopped")


def _mismatch(path: Path, file: RemoteFile) -> str | None:
    """Why a file is not the right one; None where it is."""
    for name in ("sha256", "md5"):
        wanted = getattr(file, name)
        if wanted is None:
            continue
        with path.open("rb") as stream:
            came = hashlib.file_digest(stream, lambda name=name: hashlib.new(name, usedforsecurity=False)).hexdigest()  # type: ignore[misc]
        if came != wanted:
            return f"wrong checksum ({name} {came}, expected {wanted})"
    if file.num_bytes is not None and path.stat().st_size != file.num_bytes:
        return f"{path.stat().st_size} bytes, expected {file.num_bytes}"
    if file.path.endswith(".gz") and (file.content_md5 or not file.has_checksum):
        return _gzip_mismatch(path, file)
    return None


def _gzip_mismatch(path: Path, file: RemoteFile) -> str | None:
    """The content's checksum; where none is known, that of the gzip stream itself still shows a damaged download."""
    digest, left = hashlib.md5(usedforsecurity=False), file.max_unpacked_bytes
    try:
        with gzip.open(path) as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                left -= len(block)
                if left < 0:
                    return f"unpacks to more than {file.max_unpacked_bytes} bytes"
    except (OSError, EOFError, zlib.error) as error:
        return f"not a gzip file, or damaged: {error}"
    if file.content_md5 not in (None, digest.hexdigest()):
        return f"wrong checksum (md5 of the content {digest.hexdigest()}, expected {file.content_md5})"
    return None


class _Redirects(HTTPRedirectHandler):
    """Follows redirections, but never from https to anything weaker."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        schemes = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in schemes:
            raise _Refused(f"redirects to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_state(part: Path) -> dict[str, Any]:
    """Address and version mark of a partial download; empty where they are not known."""
    try:
        state = json.loads(_state_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in state.items() if isinstance(v, str)} if isinstance(state, dict) else {}


def _write_state(part: Path, url: str, headers: HTTPMessage) -> None:
    # A weak ETag promises the same meaning, not the same bytes.
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    _state_path(part).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)
