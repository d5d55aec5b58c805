"""A web server on loopback that misbehaves as told."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file and how it is served.

    ``cuts``: after how many bytes of its body each answer breaks off, in turn; None and beyond the list: never.
    ``statuses``: errors to answer with first, in turn.
    ``fail_always``: an error to answer with each time.
    """

    body: bytes
    etag: str | None = '"v1"'
    last_modified: str | None = None
    ranges: bool = True
    send_length: bool = True
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    fail_always: int | None = None
    redirect: str | None = None
    wrong_range: bool = False
    block: int = 2**16
    pause_s: float = 0.0
    silent: bool = False


@dataclass
class Server:
    base: str
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[list] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    @property
    def log(self) -> list[tuple[str, str | None, int]]:
        """Path, Range header or None, and bytes of body sent of each request, in order of their arrival."""
        return [tuple(request) for request in self.requests]

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked, _ in self.log]


@contextmanager
def serve() -> Iterator[Server]:
    """Serve until the block ends; every thread is joined."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = False
    server = Server(f"http://127.0.0.1:{http.server_port}")
    http.state = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: http.serve_forever(0.02))
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server: Server = self.server.state  # type: ignore[attr-defined]
        path = self.path.lstrip("/")
        asked = self.headers.get("Range")
        # Noted before anything is sent: the client may look as soon as it has the last byte.
        request = [path, asked, 0]
        server.requests.append(request)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._answer(server, server.files.get(path), request)

    def _answer(self, server: Server, file: Served | None, request: list) -> None:
        self.close_connection = True
        if file is None or file.fail_always or file.statuses:
            status = 404 if file is None else file.fail_always or file.statuses.pop(0)
            self.send_error(status)
            return
        if file.redirect:
            self.send_response(302)
            self.send_header("Location", file.redirect)
            self.end_headers()
            return
        if file.silent:
            server.stop.wait(5)
            return
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", request[1] or "")
        unchanged = self.headers.get("If-Range") in (None, file.etag, file.last_modified)
        if match and file.ranges and unchanged:
            start = int(match[1])
            if start >= len(file.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(file.body)}")
                self.end_headers()
                return
            said = start + 1 if file.wrong_range else start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {said}-{len(file.body) - 1}/{len(file.body)}")
        else:
            self.send_response(200)
        if file.etag:
            self.send_header("ETag", file.etag)
        if file.last_modified:
            self.send_header("Last-Modified", file.last_modified)
        body = file.body[start:]
        if file.send_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = file.cuts.pop(0) if file.cuts else None
        self._send(server, body if cut is None else body[:cut], file, request)

    def _send(self, server: Server, body: bytes, file: Served, request: list) -> None:
        for start in range(0, len(body), file.block):
            if file.pause_s and server.stop.wait(file.pause_s):
                break
            request[2] += len(body[start : start + file.block])
            self.wfile.write(body[start : start + file.block])
