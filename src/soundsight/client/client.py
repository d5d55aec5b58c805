"""The calls that a server understands."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypedDict, Unpack
from urllib.parse import urlencode

from soundsight.client.picture import Picture
from soundsight.client.transport import ServerError, Transport
from soundsight.errors import AudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Client", "Controls", "Sound"]

Sound: TypeAlias = str | Path | bytes | BinaryIO
"""A path, the bytes of a file, or an open binary file."""

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_SOUND_BYTES = 1 << 30


class Controls(TypedDict, total=False):
    """What may be turned where the model has it: ``variation`` 0 to 2, ``guidance`` 0 to 20, ``steps`` 1 to 200.

    Where a text-to-image model paints, ``prompt``, a text beside the sound, ``text_share``, how much it counts where
    both speak, 0 to 1, and ``negative``, what not to paint; texts have at most 200 characters.
    """

    variation: float
    guidance: float
    steps: int
    prompt: str
    text_share: float
    negative: str


class Client:
    """A server to ask.

    Args:
        url: Where it is: ``http://`` or ``https://``, a host, perhaps a port and a path in front.
        token: What the server was started with, if it wants one.
        timeout_s: Longest silence of the server.
        retries: How often a call that finds the server too busy (429, 503) is tried again, after the time it asks for.

    Raises:
        SoundsightError: The address, the token or a number cannot be used.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, token: str | None = None, timeout_s: float = 30, retries: int = 0
    ) -> None:
        self._server = Transport(url, token, timeout_s, retries)

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._server.url

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def is_ready(self) -> bool:
        """Whether there is a server that takes work; False also while it starts or ends."""
        try:
            return bool(self._server.json("GET", "/healthz").get("status") == "ok")
        except ServerError:
            return False

    def models(self) -> list[dict[str, Any]]:
        """The models that the server has, each with its card, its controls and its limits.

        Raises:
            ServerError: It refused, failed or is not there.
        """
        models = self._server.json("GET", "/v1/models").get("models")
        if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
            raise self._server.strange("no list of models")
        return models

    def images(
        self,
        sound: Sound,
        num_images: int = 1,
        seed: int = 0,
        size: int | None = None,
        model: str | None = None,
        *,
        split: bool = False,
        **controls: Unpack[Controls],
    ) -> list[Picture]:
        """Turn a sound into pictures. The same sound and seed give the same pictures.

        Args:
            sound: A path, the bytes of a file, or an open binary file.
            num_images: Pictures of each part, 1 to 64; they differ in their noise.
            seed: 0 to 2**64 - 1.
            size: Long side of the pictures, 8 to 4096 pixels; the model's own size if None.
            model: One of ``models()``; the server's default if None.
            split: Cut the sound at its silences, for recordings of several words.
            **controls: ``variation``, ``guidance``, ``steps`` and texts, where the model has them.

        Returns:
            The pictures, part by part.

        Raises:
            AudioError: There is no such file, or it cannot be read.
            ServerError: The server cannot use the sound or a number, is too busy, failed, or is not there.
        """
        return list(self.stream(sound, num_images, seed, size, model, split=split, **controls))

    def stream(
        self,
        sound: Sound,
        num_images: int = 1,
        seed: int = 0,
        size: int | None = None,
        model: str | None = None,
        *,
        split: bool = False,
        **controls: Unpack[Controls],
    ) -> Iterator[Picture]:
        """Like ``images``, each picture as soon as it is made. The request is sent when the first is asked for.

        Args:
            sound: As for ``images``; the others, too.
            num_images: As for ``images``.
            seed: As for ``images``.
            size: As for ``images``.
            model: As for ``images``.
            split: As for ``images``.
            **controls: As for ``images``.

        Yields:
            The pictures, part by part.

        Raises:
            As for ``images``; ServerError also in the middle, after the pictures that came.
        """
        asked = {"num_images": num_images, "seed": seed, "size": size, "model": model, "split": split}
        query = _query({**asked, **_known(controls), "format": "ndjson"})
        yield from self._pictures(f"/v1/images?{query}", _read(sound), "application/octet-stream")

    def morph(
        self,
        first: Sound,
        second: Sound,
        num_frames: int = 24,
        seed: int = 0,
        size: int | None = None,
        model: str | None = None,
        **controls: Unpack[Controls],
    ) -> list[Picture]:
        """Pictures on the way from one sound to another.

        Args:
            first: A sound, as for ``images``.
            second: A sound, as for ``images``.
            num_frames: 2 to 64.
            seed: As for ``images``; the others, too.
            size: As for ``images``.
            model: As for ``images``.
            **controls: As for ``images``.

        Returns:
            The frames in order, each with its ``place``.

        Raises:
            As for ``images``.
        """
        query = _query({"num_frames": num_frames, "seed": seed, "size": size, "model": model, **_known(controls)})
        body, content_type = _multipart({"first": _read(first), "second": _read(second)})
        return list(self._pictures(f"/v1/morphs?{query}&format=ndjson", body, content_type))

    def embeddings(self, sound: Sound, model: str | None = None) -> NDArray[np.float32]:
        """Where a sound lies in the space that sounds and pictures share.

        Args:
            sound: As for ``images``.
            model: The space; there is one, ``alignment``, which is also what None means.

        Returns:
            (D,) float32, of length 1.

        Raises:
            As for ``images``.
        """
        import numpy as np

        query = _query({"model": model})
        path = f"/v1/embeddings?{query}" if query else "/v1/embeddings"
        found = self._server.json("POST", path, _read(sound), "application/octet-stream").get("embedding")
        # Of length 1, so that no number in it is larger; not-a-number is no smaller either.
        if not isinstance(found, list) or not found or not all(map(_is_share, found)):
            raise self._server.strange("an embedding that is no list of numbers of length 1")
        return np.array(found, np.float32)

    def _pictures(self, path: str, body: bytes, content_type: str) -> Iterator[Picture]:
        heard: dict[int, Any] = {}
        for told in self._server.lines(path, body, content_type):
            part = told.get("part", 0)
            if not isinstance(part, int):
                raise self._server.strange("a part without its number")
            if told.get("type") == "sound":
                heard[part] = told.get("heard")
            elif told.get("type") == "image":
                yield self._picture(told, part, heard.get(part))

    def _picture(self, told: Mapping[str, Any], part: int, heard: Any) -> Picture:
        index, place = told.get("index"), told.get("place")
        try:
            png = base64.b64decode(told["png"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise self._server.strange("a picture that is not base64") from error
        if not isinstance(index, int) or not isinstance(place, int | float | None):
            raise self._server.strange("a picture without its number")
        if not png.startswith(_PNG):
            raise self._server.strange("a picture that is no PNG")
        return Picture(index, part, png, heard if isinstance(heard, dict) else None, place)


def _read(sound: Sound) -> bytes:
    """The bytes of a sound."""
    if isinstance(sound, str | Path):
        try:
            with Path(sound).open("rb") as file:
                data = file.read(_MAX_SOUND_BYTES + 1)
        except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
            raise AudioError(f"{sound}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    else:
        data = sound.read(_MAX_SOUND_BYTES + 1) if hasattr(sound, "read") else sound
    if not isinstance(data, bytes):
        raise AudioError(f"a sound is a path, bytes or an open binary file, not {type(sound).__name__}")
    if len(data) > _MAX_SOUND_BYTES:
        raise AudioError(f"a sound of more than {_MAX_SOUND_BYTES:,} bytes; cut it first")
    return data


def _known(controls: Mapping[str, Any]) -> Mapping[str, Any]:
    if unknown := sorted(set(controls) - set(Controls.__annotations__)):
        raise TypeError(f"there is no control {unknown[0]!r}; known: {', '.join(Controls.__annotations__)}")
    return controls


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= 1.001


def _query(options: Mapping[str, Any]) -> str:
    """Options as they stand in an address; those that are None are left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return urlencode({name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()})


def _multipart(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Body and content type of a form with files (RFC 7578)."""
    boundary = secrets.token_hex(16)
    blocks = []
    for name, data in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
        blocks += [head.encode(), data, b"\r\n"]
    return b"".join([*blocks, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
