"""From settings to a server that listens, in one process or several."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
from uvicorn.supervisors import Multiprocess

from soundsight.errors import SoundsightError
from soundsight.server.protocol import Protocol
from soundsight.server.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["run", "worker"]

Say = Callable[[str], None]
_MAX_MESSAGE_BYTES = 1 << 19  # of a WebSocket: a second of samples at 192 kHz
_GRACE_S = 30.0
_APP = "soundsight.server.run:worker"


def run(settings: Settings, port: int, workers: int, say: Say) -> None:
    """Serve until it is interrupted; what was taken in is finished first.

    Args:
        settings: What the server is told.
        port: Where it listens; 0 for any that is free.
        workers: Processes; each has ``settings.threads``.
        say: Told the address, and what its owner should know.

    Raises:
        SoundsightError: A model cannot be served, or the address cannot be listened on.
    """
    listening = _listen(settings.host, port)
    if settings.is_open and settings.token is None:
        say(
            "soundsight serve: warning: every machine that reaches this one can use it; a --token would keep others out"
        )
    url = _url(settings.host, listening.getsockname()[1])
    options: dict[str, Any] = {
        "factory": True,
        "http": Protocol,
        "log_level": "critical",  # what fails is logged where it fails, once
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "ws_max_size": _MAX_MESSAGE_BYTES,
        "ws_per_message_deflate": False,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": max(1, round(_grace_s(settings))),
    }
    with listening:
        if workers == 1:
            from soundsight.server.app import create

            app = create(settings)  # here, so that a model that cannot be served is one line
            server = _Announced(uvicorn.Config(app, **options | {"factory": False}), lambda: say(_ready(url)))
            server.run(sockets=[listening])
        else:
            _run_workers(uvicorn.Config(_APP, workers=workers, **options), listening, url, settings, say)


class _Announced(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _run_workers(config: uvicorn.Config, listening: socket.socket, url: str, settings: Settings, say: Say) -> None:
    _check_models(settings)
    settings.to_environment()
    counters = tempfile.mkdtemp(prefix="soundsight-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters  # where workers add up what they count
    try:
        threading.Thread(target=_announce, args=(url, say), daemon=True).start()
        Multiprocess(config, sockets=[listening]).run()
    finally:
        shutil.rmtree(counters, ignore_errors=True)


def worker() -> FastAPI:
    """The application in one of several processes."""
    from soundsight.server.app import create

    threading.Thread(target=_end_with_parent, daemon=True).start()
    return create()


def _end_with_parent() -> None:
    """A worker whose parent was killed would keep the port for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # what was taken in is finished first; the folder of counters stays


def _check_models(settings: Settings) -> None:
    """Load the models once here, so that one that cannot be served is one line and no worker that dies."""
    from soundsight.server.serving import load_models

    load_models(settings)


def _announce(url: str, say: Say) -> None:
    """Say that the first worker answers; asked directly, whatever proxies the environment names."""
    parts = urlsplit(url)
    while True:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                say(_ready(url))
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.02)


def _grace_s(settings: Settings) -> float:
    """For what was taken in; a backbone's pictures may take minutes and are given up between two steps."""
    return settings.deadline_s if settings.painter.backbone is None else min(settings.deadline_s, _GRACE_S)


def _ready(url: str) -> str:
    return f"soundsight serve: {url} (Ctrl+C ends it)"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SoundsightError(f"{host} is no address of this machine: {error.strerror}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        taken = error.errno == errno.EADDRINUSE
        hint = "; another program has it, choose another --port (0 takes a free one)" if taken else ""
        raise SoundsightError(f"cannot listen on {host}, port {port}: {error.strerror}{hint}") from error
    listening.set_inheritable(True)
    return listening


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
