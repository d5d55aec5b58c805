"""``soundsight serve`` in a process and folders of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

SERVE = [sys.executable, "-m", "soundsight", "serve"]
READY = re.compile(r"soundsight serve: http://(127\.0\.0\.1|\[::1\]):(\d+) \(Ctrl\+C ends it\)\n")


class Server:
    """A server in folders of its own, which listens."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        self.cwd, self.tmp, self.log = home / "cwd", home / "tmp", home / "stderr"
        for folder in (self.cwd, self.tmp):
            folder.mkdir()
        told = os.environ | {"TMPDIR": str(self.tmp), "OMP_NUM_THREADS": "1"} | environment
        with self.log.open("wb") as stderr:
            command = [*SERVE, "--port", "0", *options]
            self.process = subprocess.Popen(command, cwd=self.cwd, env=told, stdout=stderr, stderr=stderr)
        end = time.monotonic() + 60
        while not (found := READY.search(self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "it does not start"
            time.sleep(0.02)
        self.host, self.port = found[1].strip("[]"), int(found[2])

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
        with closing(HTTPConnection(self.host, self.port, timeout=60)) as connection:
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def count(self, name: str) -> float:
        """The sum of a counter."""
        told = self.ask("/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in told.splitlines() if re.match(name + r"[ {]", line))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def served(home: Path, *options: str, **environment: str) -> Iterator[Server]:
    server = Server(home, *options, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(30)
