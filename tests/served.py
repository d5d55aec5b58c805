"""The server in this process, and what it is told and answers."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from soundsight.server import app, engine
from soundsight.server.settings import Settings

EXAMPLES = Path(__file__).parents[1] / "examples"
SEVEN = (EXAMPLES / "seven.wav").read_bytes()
TWO = (EXAMPLES / "two.wav").read_bytes()
PHONE = (EXAMPLES / "phone-number.wav").read_bytes()
PROBLEM = "application/problem+json"
LINES = "application/x-ndjson"
BASE = "http://127.0.0.1"


@contextmanager
def serving(
    *, address: str = "127.0.0.1", base: str = BASE, broken: bool = False, **settings: Any
) -> Iterator[TestClient]:
    """A server with these settings, asked from ``address``; with ``broken`` its own faults are answers, too."""
    made = app.create(Settings(**settings))
    with TestClient(made, base_url=base, client=(address, 50000), raise_server_exceptions=not broken) as client:
        yield client


def connect(client: TestClient, headers: dict[str, str] | None = None) -> Any:
    """A WebSocket for speaking live."""
    return client.websocket_connect("ws://127.0.0.1/v1/live", headers=dict(headers or {}))


def engine_of(client: TestClient) -> engine.Engine:
    made: engine.Engine = client.app.state.serving.engine  # type: ignore[attr-defined]
    return made


def pixels(content: bytes) -> np.ndarray:
    """A picture in grey (H, W), or in colour as it is."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return np.asarray(image)


def decoded(facts: dict[str, Any]) -> np.ndarray:
    """The picture in a JSON object, which has the size that it says."""
    image = pixels(base64.b64decode(facts["png"], validate=True))
    assert image.shape[:2] == (facts["height"], facts["width"])
    return image


def unzipped(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: pixels(archive.read(name)) for name in archive.namelist()}


def lines(content: bytes) -> list[dict[str, Any]]:
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def check_problem(answer: Any, status: int, *words: str) -> dict[str, Any]:
    """An answer as RFC 9457 has it, with these words, in one line, and nothing of the inside."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    told: dict[str, Any] = answer.json()
    check_told(told, status, *words)
    if status in (429, 503):
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert told["retry_after_s"] == int(answer.headers["retry-after"])
    return told


def check_told(told: dict[str, Any], status: int, *words: str) -> None:
    assert (told["type"], told["status"]) == ("about:blank", status)
    assert told["title"]
    assert "\n" not in told["detail"]
    assert all(word in told["detail"] for word in words), told
    inside = json.dumps(told)
    for secret in (str(EXAMPLES.parent), "/tmp", "site-packages", "Traceback", ".py", ".onnx"):
        assert secret not in inside


def call(
    client: TestClient,
    messages: list[dict[str, Any]],
    *,
    path: str = "/v1/images",
    query: str = "",
    version: str = "1.1",
) -> list[Any]:
    """A request message by message, as a server of ASGI would hand it on; what was sent.

    What is no message is a function that is awaited before the next. The client never leaves by itself.
    """
    sent: list[Any] = []

    async def receive() -> Any:
        while messages:
            message = messages.pop(0)
            if isinstance(message, dict):
                return message
            await message()
        return await asyncio.get_running_loop().create_future()  # nothing more comes

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def run() -> None:
        await asyncio.wait_for(client.app(scope, receive, send), 20)

    assert client.portal is not None
    client.portal.call(run)  # in the event loop that the server has
    return sent
