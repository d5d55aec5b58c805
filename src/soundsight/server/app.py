"""The application: routes, guarded, with one home for everything that goes wrong."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from inspect import signature
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from soundsight._version import __version__
from soundsight.errors import SoundsightError
from soundsight.server import images, live, plain, schemas
from soundsight.server.guard import Guard
from soundsight.server.problems import MEDIA_TYPE, Problem, problem_of
from soundsight.server.serving import Serving
from soundsight.server.settings import Settings

__all__ = ["create"]

_DESCRIPTION = (
    "Sounds in, pictures out. Send a recording of a spoken digit, or of whatever the model hears, and get pictures. "
    "The same sound, seed and model give the same pictures. Nothing that is sent is kept."
)


class _Guarded(FastAPI):
    """An application whose guard stands before everything, also before the layers that FastAPI puts around itself."""

    guard: Guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self.guard(scope, receive, send)

    async def unguarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)


def create(settings: Settings | None = None) -> FastAPI:
    """The application, its models loaded.

    Args:
        settings: What it is told; from the environment if None.

    Raises:
        SoundsightError: A model cannot be served.
    """
    serving = Serving(settings or Settings.from_environment())
    # It warns of every broken form, with a byte of it: whoever sends one is told, and nobody else.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # What is there now stays; looking through it for garbage again and again would cost requests their time.
        gc.collect()
        gc.freeze()
        warming = asyncio.get_running_loop().run_in_executor(None, serving.warm)
        yield
        await warming
        await anyio.to_thread.run_sync(serving.close)

    app = _Guarded(
        title="soundsight",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        # FastAPI's own pages of documentation fetch their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        **_untold(),
    )
    app.state.serving = serving
    app.router.routes += images.ROUTES  # for whoever asks with another method; the guard itself answers POST
    app.include_router(plain.router)
    app.include_router(live.router)
    plain.mount_page(app)
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    app.add_exception_handler(Problem, _told)
    app.add_exception_handler(SoundsightError, _told)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _told)
    app.add_exception_handler(Exception, _told)
    app.guard = Guard(
        app.unguarded,
        serving.settings,
        serving.counters,
        serving.engine,
        {route.path: route.endpoint for route in images.ROUTES},
    )
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the interface, the same object at every call."""
    told = FastAPI.openapi(app)
    serving: Serving = app.state.serving
    told["paths"] = schemas.paths(serving.pipes, serving.settings.max_images) | told["paths"]
    told |= schemas.SECURITY
    return told


def _untold() -> dict[str, Any]:
    """Newer releases of FastAPI report to collectors that the environment names."""
    if "telemetry" not in signature(FastAPI.__init__).parameters:
        return {}
    return {"telemetry": {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}}


async def _told(request: Request, error: Exception) -> Response:
    problem = _problem(request, error)
    return Response(problem.body(), problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


def _problem(request: Request, error: Exception) -> Problem:
    if isinstance(error, HTTPException):
        details = {404: "there is nothing here", 405: f"{request.method[:20]} is not answered here"}
        headers: dict[str, Any] = dict(error.headers or {})
        return Problem(error.status_code, details.get(error.status_code, str(error.detail)), headers=headers)
    if isinstance(error, RequestValidationError):
        return Problem(422, "the request does not fit; see the description of the interface at /openapi.json")
    return problem_of(error)
