"""What all routes share: settings, models, the engine, counters."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from soundsight import picture
from soundsight.alignment import Alignment
from soundsight.errors import ModelError, SoundsightError
from soundsight.folder import pretrained_names, read_folder, resolve
from soundsight.pipeline import AudioToImage
from soundsight.pipeline.prompted import Prompted
from soundsight.server.counters import Counters
from soundsight.server.engine import Engine
from soundsight.server.events import Events, Post
from soundsight.server.problems import Problem, problem_of
from soundsight.server.settings import Painter, Settings
from soundsight.server.uploads import Budget

__all__ = ["Serving", "load_models"]

_CANNOT = {
    "split": "hears a sound whole; leave out split",
    "live": "is too slow to follow a voice; it makes pictures",
    "morph": "is too slow to draw the way between two sounds; it makes pictures",
}
_EXAMPLE = Path(__file__).parent / "page" / "examples" / "one.flac"


@dataclass(eq=False)
class Serving:
    """A server's inside.

    Args:
        settings: What it was told.

    Raises:
        SoundsightError: A model cannot be served.
    """

    settings: Settings

    def __post_init__(self) -> None:
        self.pipes = load_models(self.settings)
        self.counters = Counters()
        self.post = Post()
        self.engine = self._engine(self.settings.threads)
        # A backbone's call may take minutes: none of the others waits for it, and who waits for it shares the next.
        is_slow = any(isinstance(pipe, Prompted) for pipe in self.pipes.values())
        self.slow = self._engine(1) if is_slow else None
        self._engines = [self.engine] + ([] if self.slow is None else [self.slow])
        self.counters.watch(self._engines)
        self.num_live = 0
        self.budget = Budget(max(64 << 20, 4 * self.settings.max_upload_bytes))
        self._lock = threading.Lock()

    def _engine(self, threads: int) -> Engine:
        told = self.settings
        return Engine(threads, told.queue_size, told.max_rows, told.window_s, self.counters.painted, self.post.carry)

    def warm(self) -> None:
        """Hear an example and encode a picture: what is loaded only then, the first caller would have to wait for."""
        with suppress(SoundsightError):  # whoever sends such a sound is told so
            self.pipe(None).hear(_EXAMPLE)
        picture.encode(np.zeros((8, 8, 1), np.uint8), "png", {})

    @cached_property
    def _alignment(self) -> Alignment:
        return Alignment.from_pretrained()

    def alignment(self) -> Alignment:
        """The shared space of sounds and pictures, loaded when it is first asked for."""
        with self._lock:
            return self._alignment

    def pipe(
        self,
        name: str | None,
        controls: Mapping[str, Any] | None = None,
        to: Literal["split", "live", "morph"] | None = None,
    ) -> AudioToImage:
        """A model by its name, the first if None, that has these controls and can do this.

        Raises:
            Problem: 422, it is not served, has no such control, or cannot.
        """
        name = next(iter(self.pipes)) if name is None else name
        if name not in self.pipes:
            known = ", ".join(self.pipes)
            raise Problem(
                422,
                f"model: there is no such model here; known: {known}",
                title="Unknown name",
                errors=[{"field": "model", "detail": f"known: {known}"}],
            )
        pipe = self.pipes[name]
        if to is not None and isinstance(pipe, Prompted):
            raise Problem(422, f"model: '{name}' {_CANNOT[to]}", title="Unusable option")
        if controls is not None:
            try:
                pipe.check(controls)
            except SoundsightError as error:
                raise problem_of(error) from error
            for line in pipe.unread(controls) if isinstance(pipe, Prompted) else ():
                raise Problem(422, line, title="Unusable option")
        return pipe

    def engine_for(self, pipe: AudioToImage) -> Engine:
        """Where a model's pictures are painted."""
        return self.slow if self.slow is not None and isinstance(pipe, Prompted) else self.engine

    def close(self) -> None:
        """Finish what was taken in."""
        for engine in self._engines:
            engine.close(self.settings.deadline_s)

    def terms(self) -> tuple[Events, float, float]:
        """What every job of a request that comes now is given; called in the event loop that it answers in."""
        return Events(self.post), time.monotonic() + self.settings.deadline_s, self.settings.max_duration_s

    def describe(self) -> list[dict[str, Any]]:
        """The models as ``GET /v1/models`` tells of them."""
        return [_describe(pipe, pipe is self.pipe(None)) for pipe in self.pipes.values()]


def load_models(settings: Settings) -> dict[str, AudioToImage]:
    """Models by their own names, in the order given; all of the package for none.

    Raises:
        SoundsightError: One cannot be served.
    """
    painter, pipes = settings.painter, dict[str, AudioToImage]()
    for name in settings.models or _generators():
        if read_folder(resolve(name), verify=False).kind == "adapter":
            if any(isinstance(pipe, Prompted) for pipe in pipes.values()):
                raise ModelError(f"'{name}' is a second adapter; one is served, with one encoder and one backbone")
            pipe = _open(name, painter)
        else:
            pipe = AudioToImage.from_pretrained(name)
        if pipe.folder.name in pipes:
            raise ModelError(f"two models are called '{pipe.folder.name}'; rename one")
        pipes[pipe.folder.name] = pipe
    if painter.is_named and not any(isinstance(pipe, Prompted) for pipe in pipes.values()):
        raise ModelError("--backbone, --encoder and their options are for an adapter; name one with --model")
    return pipes


def _open(name: str, painter: Painter) -> AudioToImage:
    """An adapter with what hears and paints for it."""
    if painter.encoder is not None:
        from soundsight.encoders import recalled

        if recalled.is_recalled(painter.encoder):
            raise ModelError(
                f"{painter.encoder}: embeddings of known sounds; what is sent here is new: name the encoder's weights"
            )
    return AudioToImage.from_pretrained(
        name,
        backbone=painter.backbone,
        encoder=painter.encoder,
        encoder_options=painter.encoder_options,
        **painter.options,
    )


def _generators() -> list[str]:
    """The models of the package that make pictures."""
    return [name for name in pretrained_names() if read_folder(resolve(name), verify=False).kind == "generator"]


def _describe(pipe: AudioToImage, is_default: bool) -> dict[str, Any]:
    folder, card = pipe.folder, pipe.folder.card
    return {
        "name": folder.name,
        "default": is_default,
        "summary": str(card.get("summary", "")),
        "hears": str(card.get("hears", "")),
        "limits": [str(limit) for limit in card.get("limits", [])],
        "licence": str(card.get("licence", "")),
        "data": [str(each.get("attribution", each.get("name", ""))) for each in card.get("data", [])],
        "labels": list(folder.labels) if folder.labels else None,
        "image": {"width": folder.image.width, "height": folder.image.height, "channels": folder.image.channels},
        "controls": _controls(pipe),
        "can": [] if isinstance(pipe, Prompted) else ["split", "live", "morph"],
        "says": pipe.listens,
    }


def _controls(pipe: AudioToImage) -> list[str]:
    """What may be turned of what callers can turn."""
    if isinstance(pipe, Prompted):
        return ["guidance", "steps", *(["prompt", "text_share", "negative"] if pipe.backbone.texts.widths else [])]
    inputs = pipe.generator.controls
    has = {"variation": bool(pipe.folder.latent_size), "guidance": "weights" in inputs, "steps": "times" in inputs}
    return [name for name, there in has.items() if there]
