"""``POST /v1/images``, ``/v1/morphs`` and ``/v1/embeddings``: a sound in, an answer out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from soundsight.pipeline import AudioToImage
from soundsight.server.answers import line
from soundsight.server.engine import Engine, late
from soundsight.server.guard import address_of
from soundsight.server.jobs import EmbeddingJob, ImagesJob, MorphJob, RequestJob
from soundsight.server.options import EmbeddingOptions, ImageOptions, MorphOptions, Painting, parse
from soundsight.server.problems import Problem
from soundsight.server.serving import Serving
from soundsight.server.uploads import read_form, read_sound

__all__ = ["ROUTES"]

_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "zip": "application/zip",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}
_WATCH_S = 0.1
"""How long an answer is waited for before anybody looks whether the client is still there."""


async def images(request: Request) -> Response:
    """Pictures of a sound."""
    serving: Serving = request.app.state.serving
    with serving.budget.share(address_of(request.scope)) as share:
        upload = await read_sound(request, serving.settings.max_upload_bytes, share)
        options = parse(ImageOptions, upload.options)
        if options.num_images > serving.settings.max_images:
            told = f"at most {serving.settings.max_images}"
            errors = [{"field": "num_images", "detail": told}]
            raise Problem(422, f"num_images: {told}", title="Unusable option", errors=errors)
        pipe = serving.pipe(options.model, options.controls, to="split" if options.split else None)
        job = ImagesJob(*serving.terms(), pipe, upload.sounds["file"], options)
        return await _answer(request, serving.engine_for(pipe), job, options.format, _origin(pipe, options))


async def morphs(request: Request) -> Response:
    """Pictures on the way from one sound to another."""
    serving: Serving = request.app.state.serving
    with serving.budget.share(address_of(request.scope)) as share:
        upload = await read_form(request, serving.settings.max_upload_bytes, share, ("first", "second"))
        options = parse(MorphOptions, upload.options)
        pipe = serving.pipe(options.model, options.controls, to="morph")
        job = MorphJob(*serving.terms(), pipe, upload.sounds["first"], upload.sounds["second"], options)
        return await _answer(request, serving.engine_for(pipe), job, options.format, _origin(pipe, options))


async def embeddings(request: Request) -> Response:
    """Where a sound lies in the space that sounds and pictures share."""
    serving: Serving = request.app.state.serving
    with serving.budget.share(address_of(request.scope)) as share:
        upload = await read_sound(request, serving.settings.max_upload_bytes, share)
        parse(EmbeddingOptions, upload.options)
        job = EmbeddingJob(*serving.terms(), serving.alignment, upload.sounds["file"])
        return await _answer(request, serving.engine, job, "json", {})


def _origin(pipe: AudioToImage, options: Painting) -> dict[str, str]:
    """Where pictures come from, as headers."""
    return {"X-Seed": str(options.seed), "X-Model": _plain(pipe.folder.name)}


async def _answer(request: Request, engine: Engine, job: RequestJob, form: str, headers: dict[str, str]) -> Response:
    """Let a job be done, and give up on it when the client has left."""
    engine.submit(job)
    loop = asyncio.get_running_loop()
    # The engine looks at deadlines between its steps, and one of them may be long.
    deadline = loop.call_later(job.deadline - time.monotonic(), lambda: job.events.receive(late()))
    gone: list[asyncio.Task[None]] = []
    # A task costs more time than most answers leave for leaving.
    watch = loop.call_later(_WATCH_S, lambda: gone.append(loop.create_task(_until_gone(request, job))))
    try:
        said = await job.events.next()
    except BaseException:
        job.is_cancelled = True
        raise
    finally:
        deadline.cancel()
        watch.cancel()
        for task in gone:
            task.cancel()
    if isinstance(said, Problem):
        job.is_cancelled = True
        raise said
    if form == "ndjson":
        lines = _lines(job, said)
        if request.scope["http_version"] == "1.0":  # whose clients do not know pieces
            return Response(b"".join([each async for each in lines]), media_type=_TYPES[form], headers=headers)
        return StreamingResponse(lines, media_type=_TYPES[form], headers=headers)
    if isinstance(job, ImagesJob) and job.heard[0] is not None:
        headers["X-Heard"] = _plain(job.heard[0].label)
    return Response(said, media_type=_TYPES[form], headers=headers)


async def _until_gone(request: Request, job: RequestJob) -> None:
    """Give up on a job when the connection is closed; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.events.receive(Problem(499, "the client has left", title="Client closed the request"))


async def _lines(job: RequestJob, said: bytes | Problem | None) -> AsyncIterator[bytes]:
    """What a job says, line by line; a problem in the middle is the last line."""
    try:
        while said is not None:
            if isinstance(said, Problem):
                yield line(said.to_json() | {"type": "problem"})
                return
            yield said
            said = await job.events.next()
    finally:
        job.is_cancelled = True


def _plain(text: str) -> str:
    """A name as a header can carry it: what is not plain ASCII is escaped as in JSON."""
    return json.dumps(text)[1:-1]


# Plain routes, as FastAPI's own take a fifth of a millisecond to look for parameters that these do not have; what
# `/openapi.json` says of them stands in `schemas.paths`.
ROUTES = [
    Route("/v1/images", images, methods=["POST"]),
    Route("/v1/morphs", morphs, methods=["POST"]),
    Route("/v1/embeddings", embeddings, methods=["POST"]),
]
