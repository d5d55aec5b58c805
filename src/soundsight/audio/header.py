"""What a file's own structure says about its kind and its length: is it all there?

libsndfile shortens a file that ends early to what is there, and says nothing. A recording that lost its end is not what
was said, so it is refused. Files whose length was not known when their header was written (what ``espeak-ng --stdout``,
``sox`` and ``ffmpeg`` write into a pipe) are complete and common, and stay welcome.
"""

from __future__ import annotations

import os
import re
import struct

from soundsight.audio.source import Memory, Source

__all__ = ["ends_early", "is_container", "log_says_short", "with_known_size"]

# Starts of files that PyAV reads and libsndfile does not: (offset, bytes).
_CONTAINERS = (
    (4, b"ftyp"),  # mp4, m4a, mov, 3gp
    (0, b"\x1a\x45\xdf\xa3"),  # webm, mkv
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # wma, wmv
    (0, b"\x00\x00\x01\xba"),  # mpeg
    (0, b"FLV\x01"),
    (8, b"AVI "),
    (0, b"\xff\xf1"),  # aac
    (0, b"\xff\xf9"),
    (0, b"ADIF"),
    (0, b"\x0b\x77"),  # ac3
    (0, b"#!AMR"),
    (0, b"wvpk"),
)

# Sizes from here on mean «not known»: all ones, or what tools fall back on just below 2**31.
_UNKNOWN_SIZE = 0x7FF0_0000
_LARGEST_OGG_PAGE = 65_307
_ID3_HEADER = 10
# libsndfile's log: the size that the header claims for the samples, and the one that the file allows. RIFF and FORM,
# the sizes of the whole file, are left out: many tools write them wrong, and what follows the samples is no sound.
_LOG_SIZES = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


def is_container(start: bytes) -> bool:
    """Whether a file that starts like this is one that PyAV reads and libsndfile does not."""
    return any(start[offset : offset + len(magic)] == magic for offset, magic in _CONTAINERS)


def log_says_short(log: str) -> bool:
    """Whether libsndfile's log of opening a file says that it holds less than its header claims."""
    return any(int(has) < int(claims) < _UNKNOWN_SIZE for claims, has in _LOG_SIZES.findall(log))


def ends_early(source: Source, start: bytes) -> bool:
    """Whether an Ogg, MP3 or AVI file, told by its first bytes, stops before its end; it is left at any position."""
    if start.startswith(b"OggS"):
        return _ogg_ends_early(source)
    if start.startswith(b"ID3") or (start[0] == 0xFF and len(start) > 1 and start[1] >= 0xE0):
        return _mp3_ends_early(source)
    if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
        # FFmpeg shortens the film to what is there. Some tools are wrong by a few bytes.
        size = int.from_bytes(start[4:8], "little")
        return size < _UNKNOWN_SIZE and size * 0.99 > source.seek(0, os.SEEK_END)
    return False


def _ogg_ends_early(source: Source) -> bool:
    """Whether the last page is incomplete (RFC 3533, section 6)."""
    size = source.seek(0, os.SEEK_END)
    source.seek(max(0, size - 2 * _LARGEST_OGG_PAGE))
    tail = source.read()
    page = tail[tail.rfind(b"OggS\x00") :]
    if len(page) < 27:
        return True
    lacing = page[27 : 27 + page[26]]
    return len(page) < 27 + page[26] + sum(lacing)


def _mp3_ends_early(source: Source) -> bool:
    """Whether the size in the Xing header, where there is one, is more than the file holds.

    libmpg123 would notice too, but by printing a warning.
    """
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    head = source.read(_ID3_HEADER)
    offset = 0
    if head.startswith(b"ID3") and len(head) == _ID3_HEADER:
        a, b, c, d = head[6:]
        offset = _ID3_HEADER + (a << 21 | b << 14 | c << 7 | d)
    source.seek(offset)
    frame = source.read(256)
    tag = re.search(rb"(?:Xing|Info)\x00\x00\x00(.)", frame, re.DOTALL)
    if tag is None or not tag[1][0] & 2:
        return False
    # The flags say which fields follow: the number of frames (1), then the number of bytes (2).
    field = frame[tag.end() + 4 * (tag[1][0] & 1) :][:4]
    return len(field) == 4 and struct.unpack(">I", field)[0] * 0.99 > size - offset


def with_known_size(source: Source) -> Memory | None:
    """A copy of a WAV file whose samples have size 0 in the header but follow it, with «not known» in place of the 0.

    That is what a recorder leaves that was not stopped in time, or that wrote into a pipe.

    Returns:
        The copy, or None if the source is no such file.
    """
    source.seek(0)
    start = source.read(4096)
    at = start.find(b"data\x00\x00\x00\x00")
    if not start.startswith(b"RIFF") or start[8:12] != b"WAVE" or at < 0:
        return None
    rest = source.read()
    if len(start) + len(rest) <= at + 8:
        return None
    return Memory(start[: at + 4] + b"\xff\xff\xff\xff" + start[at + 8 :] + rest)
