"""What a server is told when it is started; workers get it through their environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any

from soundsight.errors import SoundsightError
from soundsight.server.options import MAX_IMAGES

__all__ = ["LOOPBACK", "Painter", "Settings"]

LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))
# As browsers write it: in small letters, with a port where it is not the usual one, and nothing behind.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_VARIABLE = "SOUNDSIGHT_SERVE"


@dataclass(frozen=True, slots=True)
class Painter:
    """What hears and paints for an adapter.

    Attributes:
        backbone: Name on the hub, or folder, of a text-to-image model.
        encoder: Weights of the adapter's encoder.
        encoder_options: What else the encoder takes.
        options: How the backbone is loaded.
    """

    backbone: str | None = None
    encoder: str | None = None
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether anything of it was asked for."""
        return self != Painter()


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and permissions.

    Attributes:
        host: Address that is listened on.
        token: What a caller must know; None for everybody.
        origins: Origins of other pages that may call, such as ``https://example.org``.
        models: Names or folders of the models that are served, the first by default; empty for all of the package.
        painter: What an adapter among them hears and paints with.
        max_upload_bytes: Of a body.
        max_duration_s: Of a sound, decoded.
        max_images: Pictures of one sound.
        queue_size: Requests that wait, beyond those being worked on.
        deadline_s: From a request's last byte to its last picture.
        rate_per_minute: Requests of one address; None for any number.
        threads: Threads that hear and paint.
        max_rows: Pictures in one call of the network.
        window_s: How long a request waits for others to share its call.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    origins: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    painter: Painter = Painter()
    max_upload_bytes: int = 16_000_000
    max_duration_s: float = 60.0
    max_images: int = 64
    queue_size: int = 128
    deadline_s: float = 10.0
    rate_per_minute: int | None = None
    threads: int = 1
    max_rows: int = 16
    window_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("--max-upload", self.max_upload_bytes / 1e6, 1e-3, 1e3),
            ("--max-seconds", self.max_duration_s, 1, 4 * 3600),
            ("--max-images", self.max_images, 1, MAX_IMAGES),
            ("--queue", self.queue_size, 1, 100_000),
            ("--deadline", self.deadline_s, 0.1, 3600),
            ("--batch", self.max_rows, 1, 256),
            ("--window", 1000 * self.window_s, 0, 1000),
            ("threads", self.threads, 1, 256),
        ):
            if not low <= value <= high:
                raise SoundsightError(f"{name} is {value:g}; expected {low:g} to {high:g}")
        if self.rate_per_minute is not None and self.rate_per_minute < 1:
            raise SoundsightError(f"a rate of {self.rate_per_minute} requests a minute; expected 1 or more")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise SoundsightError(f"{origin!r:.200} is no origin of a page; expected one like https://example.org")
        token = self.token
        if token is not None and not (token and token.isascii() and token.isprintable() and token == token.strip()):
            raise SoundsightError(
                "the token is empty, has spaces around it, or characters that no header can carry; expected plain ASCII"
            )

    @property
    def is_open(self) -> bool:
        """Whether others than this machine can reach it."""
        if self.host.lower() in LOOPBACK:
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:  # a name
            return True

    def to_environment(self) -> None:
        """Leave the settings where this process's workers find them; none of these has a painter."""
        assert not self.painter.is_named, "each worker would load it again"
        told = {name: value for name, value in asdict(self).items() if name != "painter"}
        os.environ[_VARIABLE] = json.dumps(told)

    @classmethod
    def from_environment(cls) -> Settings:
        """The settings that ``to_environment`` left; the defaults where there are none."""
        table: dict[str, Any] = json.loads(os.environ.get(_VARIABLE, "{}"))
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
        return cls(**values)
