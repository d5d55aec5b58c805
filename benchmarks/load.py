"""Load for a server, made by one process that spends little: raw sockets and as much HTTP/1.1 as is needed.

    python benchmarks/load.py '{"port": 8000, "sound": "examples/seven.wav", "kind": "png", "num_images": 1, …}'

Closed: so many clients, each on a connection that it keeps, each asking again as soon as it has its answer. Open: so
many requests a second, whatever becomes of them, each timed from the moment when it was due, so that a server that
answers slowly cannot slow down its own test. serve.py calls it and says what is asked; one line of JSON tells what
came.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# An open load keeps no more connections than this; what finds none is told as not sent.
MAX_CONNECTIONS = 1000


@dataclass
class Asked:
    """What to do. ``num_requests`` or ``seconds`` ends it; ``rate`` makes it an open load."""

    port: int
    sound: str
    kind: str = "png"
    num_images: int = 1
    num_clients: int = 64
    num_requests: int = 1 << 60
    seconds: float = 1e9
    rate: float = 0.0
    timeout_s: float = 15.0


@dataclass
class Came:
    """What came. ``by_status`` counts answers; ``untold``, those 429 and 503 without a Retry-After."""

    by_status: dict[str, int] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    num_broken: int = 0
    num_timeouts: int = 0
    num_untold: int = 0
    num_unsent: int = 0
    num_bytes: int = 0
    wall_s: float = 0.0
    own_cpu_s: float = 0.0


class Connection(asyncio.Protocol):
    """One request at a time, on one connection as long as the server keeps it."""

    def __init__(self, came: Came, free: Callable[[Connection], None]) -> None:
        self._came, self._free = came, free
        self._transport: Any = None
        self._buffer = bytearray()
        self._end = -1  # length of the answer, where it is known
        self._in_chunks = False
        self.began_s: float | None = None  # when the request that is under way was due

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, request: bytes, due_s: float) -> None:
        self.began_s = due_s
        self._buffer.clear()
        self._end, self._in_chunks = -1, False
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._end < 0 and not self._in_chunks:
            head, between, _ = self._buffer.partition(b"\r\n\r\n")
            if not between:
                return
            told = head.lower()
            length = told.find(b"\r\ncontent-length:")
            if length >= 0:
                self._end = len(head) + 4 + int(told[length + 17 :].partition(b"\r\n")[0])
            self._in_chunks = length < 0
        if len(self._buffer) == self._end or (self._in_chunks and self._buffer.endswith(b"\r\n0\r\n\r\n")):
            self._count()

    def _count(self) -> None:
        head = bytes(self._buffer.partition(b"\r\n\r\n")[0]).lower()
        status = head[9:12].decode()
        came, now_s = self._came, time.perf_counter()
        came.by_status[status] = came.by_status.get(status, 0) + 1
        came.num_bytes += len(self._buffer)
        if status == "200":
            came.latencies_s.append(now_s - (self.began_s or now_s))
        came.num_untold += status in ("429", "503") and b"\r\nretry-after: " not in head
        self.began_s = None
        if b"\r\nconnection: close" in head:
            self._transport.close()
        self._free(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.began_s is not None:  # in the middle of an answer, or before one
            self._came.num_broken += 1
            self.began_s = None
            self._free(self)

    def give_up(self, now_s: float, timeout_s: float) -> None:
        if self.began_s is not None and now_s - self.began_s > timeout_s:
            self._came.num_timeouts += 1
            self.began_s = None
            self._transport.abort()
            self._free(self)


class Requests:
    """Requests that differ in their seeds, as bytes."""

    def __init__(self, asked: Asked) -> None:
        body = Path(asked.sound).read_bytes()
        path = f"/v1/images?format={asked.kind}&num_images={asked.num_images}&seed="
        self._head = f"POST {path}".encode()
        headers = (f"Host: 127.0.0.1:{asked.port}", "Content-Type: audio/wav", f"Content-Length: {len(body)}")
        self._tail = "\r\n".join((" HTTP/1.1", *headers, "", "")).encode() + body
        self.num = 0

    def next(self) -> bytes:
        self.num += 1
        return b"%b%d%b" % (self._head, self.num, self._tail)


class Load:
    """The load and what came of it."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._came, self._requests = asked, Came(), Requests(asked)
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._changed = asyncio.Event()

    async def run(self) -> Came:
        watch = asyncio.create_task(self._watch())
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await (self._open() if self._asked.rate else self._closed())
        self._came.wall_s, self._came.own_cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        watch.cancel()
        return self._came

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._came, self._freed), "127.0.0.1", self._asked.port
        )
        self._all.add(connection)
        return connection

    def _freed(self, connection: Connection) -> None:
        if connection.is_open:
            self._idle.append(connection)
        else:
            self._all.discard(connection)
        self._changed.set()

    async def _closed(self) -> None:
        asked, end_s = self._asked, time.perf_counter() + self._asked.seconds
        self._idle = [await self._connect() for _ in range(asked.num_clients)]
        while self._requests.num < asked.num_requests and time.perf_counter() < end_s:
            while self._idle and self._requests.num < asked.num_requests:
                connection = self._idle.pop()
                if connection.is_open:
                    connection.ask(self._requests.next(), time.perf_counter())
                else:
                    self._all.discard(connection)
            for _ in range(asked.num_clients - len(self._all)):  # those that the server has closed
                self._idle.append(await self._connect())
            if not self._idle:
                await self._wait()
        await self._settle()

    async def _open(self) -> None:
        asked, began_s = self._asked, time.perf_counter()
        for number in range(int(asked.rate * asked.seconds)):
            due_s = began_s + number / asked.rate
            while (early_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            if number % 16 == 0:
                await asyncio.sleep(0)  # late: answers are read all the same
            while self._idle and not self._idle[-1].is_open:
                self._all.discard(self._idle.pop())
            if not self._idle and len(self._all) >= MAX_CONNECTIONS:
                self._came.num_unsent += 1
                continue
            try:
                connection = self._idle.pop() if self._idle else await self._connect()
            except OSError:
                self._came.num_broken += 1
                continue
            connection.ask(self._requests.next(), due_s)
        await self._settle()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _settle(self) -> None:
        """Until everything that was asked has been answered, or given up."""
        while any(connection.began_s is not None for connection in self._all):
            await self._wait()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            now_s = time.perf_counter()
            for connection in list(self._all):
                connection.give_up(now_s, self._asked.timeout_s)


def main() -> None:
    try:
        from uvloop import run  # half the time for the same requests; it comes with the extra 'serve'
    except ImportError:
        from asyncio import run
    asked = Asked(**json.loads(sys.argv[1]))

    async def load() -> Came:
        return await Load(asked).run()

    print(json.dumps(asdict(run(load()))))


if __name__ == "__main__":
    main()
