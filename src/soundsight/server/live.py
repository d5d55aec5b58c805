"""WebSocket ``/v1/live``: while one speaks, the picture follows."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, WebSocket
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from soundsight import picture
from soundsight.audio import Clip
from soundsight.audio.clip import MAX_RATE_HZ
from soundsight.hearing import Hearing
from soundsight.result import Heard
from soundsight.server.guard import is_token
from soundsight.server.jobs import PictureJob
from soundsight.server.options import ImageOptions, Painting
from soundsight.server.problems import Problem, problem_of
from soundsight.server.serving import Serving
from soundsight.server.speech import Listener, Speech

__all__ = ["Start", "router"]

router = APIRouter()

_SESSION_S = 600.0
_SILENCE_S = 60.0
_START_S = 10.0
"""Until the first message: a caller without the token holds a place meanwhile."""
_AHEAD_S = 20.0
"""Sound may come so much faster than it is spoken; beyond that it is taken in as fast as it can have been said."""
_START = '{"type": "start", "sample_rate_hz": …}'
_EVERY_S = 0.12
"""A picture of an unfinished word at most so often."""
_LEVEL_EVERY_S = 0.1
_MAX_SIZE = 512
_POLICY, _TOO_LARGE, _BUSY, _FAILED = 1008, 1009, 1013, 1011


class Start(Painting):
    """The first message."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    type: Literal["start"]
    sample_rate_hz: Annotated[int, Field(ge=8_000, le=min(MAX_RATE_HZ, 192_000))]
    size: Annotated[int, Field(ge=picture.MIN_SIZE, le=_MAX_SIZE)] | None = None
    token: Annotated[str, Field(max_length=1000)] | None = None


@dataclass(eq=False)
class _WordJob(PictureJob):
    """One picture of what has been said of a word."""

    samples_T: NDArray[np.float32]
    rate_hz: int
    is_final: bool
    number: int
    said: Heard | None = field(default=None, init=False)

    def hear(self, hearing: Hearing, sound: bytes, *, split: bool = False) -> list[Clip]:
        """What was said so far."""
        return hearing.hear((self.samples_T, self.rate_hz), split=split)

    def on_sound(self, part: int, clip: Clip, features_FN: Any, heard: Heard | None) -> None:
        """Keep what was heard for the message."""
        self.said = heard

    def on_image(self, part: int, index: int, image_HWC: NDArray[np.uint8]) -> None:
        """Say it."""
        self.events.say(
            json.dumps(
                {
                    "type": "image",
                    "index": self.number,
                    "width": image_HWC.shape[1],
                    "height": image_HWC.shape[0],
                    "png": b64encode(picture.encode(image_HWC, "png", self.metadata(0, 0))).decode(),
                    "heard": None if self.said is None else self.said.to_json(),
                    "final": self.is_final,
                }
            ).encode()
        )


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    """Listen until it is stopped, and answer with pictures."""
    serving: Serving = socket.app.state.serving
    await socket.accept()
    serving.num_live += 1
    serving.counters.speaking(serving.num_live)
    try:
        await _Session(socket).run()
    except WebSocketDisconnect:
        return
    except Problem as problem:
        codes = {413: _TOO_LARGE, 429: _BUSY, 503: _BUSY, 500: _FAILED}
        await _end(socket, problem.to_json() | {"type": "problem"}, codes.get(problem.status, _POLICY))
    except Exception as error:
        await _end(socket, problem_of(error).to_json() | {"type": "problem"}, _FAILED)
        raise
    finally:
        serving.num_live -= 1
        serving.counters.speaking(serving.num_live)


async def _end(socket: WebSocket, message: dict[str, Any], code: int) -> None:
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        try:
            await socket.send_text(json.dumps(message))
            await socket.close(code)
        except (WebSocketDisconnect, RuntimeError):
            return


class _Session:
    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._serving: Serving = socket.app.state.serving
        self._pending: asyncio.Task[None] | None = None
        self._next_at = self._level_at = self._heard_until = 0.0
        self._number = 0

    async def run(self) -> None:
        if self._serving.num_live > self._serving.settings.queue_size:
            raise Problem(429, "too many are speaking already; try again later", headers={"Retry-After": "5"})
        start = await self._started()
        self._options = ImageOptions(**start.model_dump(exclude={"type", "sample_rate_hz", "token"}))
        self._pipe = self._serving.pipe(start.model, start.controls, to="live")
        self._rate_hz = start.sample_rate_hz
        listener = Listener(self._rate_hz)
        await self._send({"type": "ready"})
        end = time.monotonic() + _SESSION_S
        try:
            while (samples_T := await self._samples(end)) is not None:
                await self._keep_pace(len(samples_T) / self._rate_hz)
                for speech in listener.hear(samples_T):
                    await self._follow(speech)
            if (last := listener.finish()) is not None:
                await self._follow(last)
            await self._settle()
        finally:
            if self._pending is not None:
                self._pending.cancel()
                await asyncio.gather(self._pending, return_exceptions=True)
        await _end(self._socket, {"type": "end"}, 1000)

    async def _started(self) -> Start:
        message = await self._receive(_START_S)
        try:
            start = Start.model_validate_json(message.get("text") or "", strict=False)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the first message"
            raise Problem(422, f"{where}: {first['msg']}; expected {_START} as text") from error
        if not is_token(start.token or "", self._serving.settings):
            raise Problem(401, "a token is needed in the first message")
        return start

    async def _receive(self, within_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(within_s):
                message = dict(await self._socket.receive())
        except TimeoutError:
            raise Problem(408, "nothing was sent for too long") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        return message

    async def _samples(self, end: float) -> NDArray[np.float32] | None:
        """The next samples; None where it is over."""
        left = end - time.monotonic()
        if left <= 0:
            return None
        try:
            message = await self._receive(min(_SILENCE_S, left))
        except Problem:
            if left <= _SILENCE_S:  # the session is over, and nobody was silent for too long
                return None
            raise
        if (data := message.get("bytes")) is None:
            if "".join((message.get("text") or "").split()) == '{"type":"stop"}':
                return None
            raise Problem(400, 'expected samples, or {"type": "stop"}')
        if len(data) > 2 * self._rate_hz:
            raise Problem(413, "more than a second of samples in one message")
        if len(data) % 2:
            raise Problem(400, "half a sample: expected 16-bit numbers, two bytes each")
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)

    async def _keep_pace(self, duration_s: float) -> None:
        """Wait where sound comes much faster than it is spoken: nobody's session shall have the server to itself."""
        now = time.monotonic()
        self._heard_until = max(self._heard_until, now) + duration_s
        if (ahead_s := self._heard_until - now - _AHEAD_S) > 0:
            await asyncio.sleep(ahead_s)

    async def _follow(self, speech: Speech) -> None:
        now = time.monotonic()
        if speech.has_ended:
            await self._settle()
            self._paint(speech, is_final=True)
            await self._settle()
            self._number += 1
            return
        if now >= self._level_at:
            self._level_at = now + _LEVEL_EVERY_S
            level_db = round(max(-100.0, speech.level_db), 1)
            await self._send({"type": "level", "db": level_db, "speaking": speech.is_speaking})
        if self._pending is not None and self._pending.done():
            await self._settle()  # where it failed, that is told now
        if speech.is_speaking and now >= self._next_at and self._pending is None:
            self._next_at = now + _EVERY_S
            try:
                self._paint(speech, is_final=False)
            except Problem as problem:
                if problem.status != 429:  # too busy for a picture that the next one replaces
                    raise

    def _paint(self, speech: Speech, *, is_final: bool) -> None:
        job = _WordJob(
            *self._serving.terms(),
            self._pipe,
            b"",
            self._options,
            speech.samples,
            self._rate_hz,
            is_final,
            self._number,
        )
        self._serving.engine.submit(job)
        self._pending = asyncio.ensure_future(self._deliver(job))

    async def _deliver(self, job: _WordJob) -> None:
        try:
            while (said := await job.events.next()) is not None:
                if isinstance(said, Problem):
                    if said.status == 422:  # too little was said so far to be drawn
                        return
                    raise said
                await self._socket.send_text(said.decode())
        finally:
            job.is_cancelled = True

    async def _settle(self) -> None:
        """Wait for the picture that is being made."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await pending

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(message))
