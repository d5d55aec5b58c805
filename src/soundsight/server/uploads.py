"""A request's body, read within limits: so many bytes, so long, in a form that we know."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from soundsight.server.problems import Problem

__all__ = ["BODY_S", "Budget", "Share", "Upload", "read_form", "read_sound"]

BODY_S = 30.0
"""A body that takes longer is given up: nobody's phone is that slow, and a slow body holds memory."""
_MAX_FIELDS = 32
# An option has 200 characters at most; and a form may name an encoding that is slow to read.
_MAX_FIELD_BYTES = 1 << 13


class Budget:
    """Bytes of bodies that are read or waiting, of all requests together: neither slow nor large ones must add up.

    Args:
        num_bytes: The most; one address may have half of it, so that it cannot keep the others out.
    """

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes = self.num_left = num_bytes
        self._taken: Counter[str] = Counter()

    def share(self, address: str) -> Share:
        """What one request takes of it, given back at the end of a ``with`` block."""
        return Share(self, address)

    def take(self, address: str, num_bytes: int) -> bool:
        """Take bytes, or give them back where there are fewer than none; False where there is no room."""
        taken = self._taken[address] + num_bytes
        if num_bytes > self.num_left or (num_bytes > 0 and taken > self._num_bytes // 2):
            return False
        self.num_left -= num_bytes
        self._taken[address] = taken
        if not taken:
            del self._taken[address]  # or addresses would add up
        return True


class Share:
    """One request's part of a budget."""

    def __init__(self, budget: Budget, address: str) -> None:
        self._budget, self._address, self._taken = budget, address, 0

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.take(self._address, -self._taken)

    def take(self, num_bytes: int) -> None:
        """Count bytes in.

        Raises:
            Problem: 503, there is no room.
        """
        if not self._budget.take(self._address, num_bytes):
            raise Problem(
                503, "too many sounds are being sent at once", headers={"Retry-After": "5", "Connection": "close"}
            )
        self._taken += num_bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """What came.

    Attributes:
        sounds: By the name of their part; ``file`` for a bare body.
        options: Names and texts, from the query and the form.
    """

    sounds: dict[str, bytes]
    options: list[tuple[str, str]]


async def read_sound(request: Request, max_bytes: int, share: Share) -> Upload:
    """A sound as the body itself, or as the part ``file`` of a form.

    Raises:
        Problem: 400, 408, 413, 415 or 422, as ``read_form``.
    """
    kind = _media_type(request)
    if kind == "multipart/form-data":
        return await read_form(request, max_bytes, share, ("file",))
    # The last is what curl --data-binary says of anything.
    others = ("application/octet-stream", "application/ogg", "application/x-www-form-urlencoded")
    if kind.partition("/")[0] not in ("", "audio", "video") and kind not in others:
        raise Problem(
            415, f"a body of {kind[:80]}; expected a sound (audio/…, application/octet-stream) or multipart/form-data"
        )
    body = await _whole(request, max_bytes, share)
    if not body:
        raise Problem(422, "the body is empty; expected a sound", title="Unusable sound")
    return Upload({"file": body}, _query(request))


async def read_form(request: Request, max_bytes: int, share: Share, names: tuple[str, ...]) -> Upload:
    """A form whose parts ``names`` are sounds; every other field is an option.

    The names that clients give to files are looked at by nobody.

    Raises:
        Problem: 400, no form, or a broken one; 408, it took too long; 413, too large; 415, something else; 422, a
            part is missing.
    """
    kind = _media_type(request)
    if kind != "multipart/form-data":
        raise Problem(415, f"a body of {kind[:80] or 'no type'}; expected multipart/form-data")
    body = await _whole(request, max_bytes, share)

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        # All of it is in memory already: no part is spooled to a file.
        parser = MultiPartParser(
            request.headers, chunks(), max_files=len(names), max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
        )
        parser.spool_max_size = max_bytes + 1
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem(400, f"the form is broken: {str(getattr(error, 'message', error))[:200]}") from error
    sounds: dict[str, bytes] = {}
    options = _query(request)
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name not in names or name in sounds:
                    expected = " and one in ".join(map(repr, names))
                    raise Problem(422, f"a file in part {name[:60]!r}; expected one in {expected}")
                sounds[name] = await value.read()
            elif name in names:
                raise Problem(422, f"part {name!r} is a text; expected a file (curl -F {name}=@sound.wav)")
            else:
                options.append((name, value))
    finally:
        await form.close()
    for name in names:
        if not sounds.get(name):
            what = "is empty" if name in sounds else "is missing"
            raise Problem(422, f"part {name!r} {what}; expected a sound", title="Unusable sound")
    return Upload(sounds, options)


def _query(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)


async def _whole(request: Request, max_bytes: int, share: Share) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                share.take(len(piece))
                pieces.append(piece)
    except TimeoutError:
        raise Problem(408, f"the body took longer than {BODY_S:g} s", headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "the body ends early") from None
    return b"".join(pieces)


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        413,
        f"more than {math.floor(max_bytes / 1e4) / 100:g} MB, the most that is taken; send a shorter sound",
        headers={"Connection": "close"},
    )


def _media_type(request: Request) -> str:
    headers: Headers = request.headers
    return headers.get("content-type", "").partition(";")[0].strip().lower()
