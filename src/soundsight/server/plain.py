"""The page and its files, health, counters, and the lists of models and examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from soundsight._version import __version__
from soundsight.server import counters, schemas
from soundsight.server.serving import Serving

__all__ = ["mount_page", "router"]

_PAGE = Path(__file__).parent / "page"
router = APIRouter()


def mount_page(app: FastAPI) -> None:
    """Serve the page's files, all of which come with the package."""
    app.mount("/static", StaticFiles(directory=_PAGE), name="static")


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def page() -> Response:
    """The page."""
    return FileResponse(_PAGE / "index.html", media_type="text/html; charset=utf-8")


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", **schemas.answers(schemas.HEALTH, 403, 503), tags=["health"], operation_id="health")
async def health(request: Request) -> Response:
    """Whether requests are taken in."""
    serving: Serving = request.app.state.serving
    serving.engine.check_open()
    return _json({"status": "ok", "version": __version__})


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    **schemas.text(counters.MEDIA_TYPE, "soundsight_images_total 512.0\n"),
    tags=["health"],
    operation_id="metrics",
)
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    serving: Serving = request.app.state.serving
    return Response(serving.counters.page(), headers={"content-type": counters.MEDIA_TYPE})


@router.head("/v1/models", include_in_schema=False)
@router.get("/v1/models", **schemas.answers(schemas.MODELS, 401, 403, 429), tags=["models"], operation_id="models")
async def models(request: Request) -> Response:
    """The models that are served, and what each says of itself."""
    serving: Serving = request.app.state.serving
    return _json({"models": serving.describe(), "max_images": serving.settings.max_images})


@router.head("/v1/examples", include_in_schema=False)
@router.get(
    "/v1/examples", **schemas.answers(schemas.EXAMPLES, 401, 403, 429), tags=["models"], operation_id="examples"
)
async def examples() -> Response:
    """Recordings to try, all by a speech synthesiser."""
    listed = json.loads((_PAGE / "examples" / "examples.json").read_text(encoding="utf-8"))
    return _json(
        {
            "examples": [
                {"name": each["name"], "title": each["title"], "url": f"/static/examples/{each['file']}"}
                for each in listed
            ]
        }
    )


def _json(values: dict[str, Any]) -> Response:
    return Response(json.dumps(values), media_type="application/json")
