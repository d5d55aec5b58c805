"""``soundsight serve`` under load: throughput beside a bare loop, tail, memory, overload, start, page.

    python benchmarks/serve.py [--clients 64] [--requests 20000] [--workers CORES] [--rounds 7] [--seconds 3] [--quick]

The bare loop is what somebody would write who needs no server: as many processes as the server has workers and threads,
one thread each; the same sound is decoded, a batch goes through one call of ONNX Runtime, and each picture becomes a
PNG, or all of a request's one sheet. The best batch size from 1 to 64 is taken. Server and loop take turns, and the
median of the ratios counts. A second loop is the network alone, with everything else made beforehand. The load comes
from a process of its own (load.py), which takes its share of the same cores; the table says how much.

Prints a table on stderr and one line of JSON on stdout; ends with 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import urlopen

import psutil

REPO = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("soundsight")
SOUND = REPO / "examples" / "seven.wav"
# What is asked for: format of the answer and pictures in it. JSON also tells of the sound and holds each picture alone.
KINDS = (("png", 1), ("png", 8), ("json", 8), ("json", 16))
BATCHES = (1, 2, 4, 8, 16, 32, 64)
# What the project promises.
MIN_SHARE, MAX_TAIL, MAX_GROWTH, MAX_READY_S, MAX_PAGE_KB, MAX_IDLE_MB = 0.70, 5.0, 0.05, 1.0, 150.0, 200.0
MB = 2**20
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The server.


class Server:
    """A server in a process of its own, and its workers."""

    def __init__(self, workers: int, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
        command = [COMMAND, "serve", "--port", str(self.port), "--workers", str(workers), *options]
        began_s = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self._log)
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - began_s > 60:
                self.stop()
                raise SystemExit(f"the server does not start: {self.log()[-500:]}")
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - began_s

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def rss_mb(self) -> float:
        """Of all its processes."""
        family = [psutil.Process(self._process.pid)]
        family += family[0].children(recursive=True)
        return sum(process.memory_info().rss for process in family) / MB

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def serving(workers: int, *options: str) -> Iterator[Server]:
    server = Server(workers, *options)
    try:
        yield server
    finally:
        server.stop()


def load(server: Server, **asked: Any) -> dict[str, Any]:
    """What load.py says, with rates and percentiles in place of each single time."""
    asked |= {"port": server.port, "sound": str(SOUND)}
    command = [sys.executable, str(REPO / "benchmarks" / "load.py"), json.dumps(asked)]
    came: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    latencies_s = sorted(came.pop("latencies_s"))
    num_ok = len(latencies_s)
    came["per_s"] = num_ok / came["wall_s"]
    came["p50_s"] = latencies_s[num_ok // 2] if num_ok else float("nan")
    came["p99_s"] = latencies_s[min(num_ok - 1, num_ok * 99 // 100)] if num_ok else float("nan")
    came["errors"] = came["num_broken"] + came["num_timeouts"]
    came["errors"] += sum(num for status, num in came["by_status"].items() if status not in ("200", "429"))
    return came


# The bare loops.


class Bare:
    """Decoding, network and pictures, with nothing between."""

    def __init__(self, kind: str, num_images: int) -> None:
        from soundsight import AudioToImage
        from soundsight.generator import open_session

        self._kind, self._num_images = kind, num_images
        self._sound = SOUND.read_bytes()
        self._pipe = AudioToImage.from_pretrained()
        self._session = open_session(self._pipe.folder, 1)
        self._seed = 0

    def hear(self, num_requests: int) -> tuple[Any, Any]:
        import numpy as np

        from soundsight import noise

        features, noises = [], []
        for _ in range(num_requests):
            self._seed += 1
            features_1FN = self._pipe.extract(self._pipe.hear(self._sound))
            features.append(np.repeat(features_1FN, self._num_images, 0))
            noises.append(noise.draw(self._seed, self._num_images, self._pipe.folder.latent_size))
        return np.concatenate(features), np.concatenate(noises)

    def paint(self, features_BFN: Any, noise_BD: Any, batch: int) -> Any:
        import numpy as np

        starts = range(0, len(noise_BD), batch)
        feeds = ({"features": features_BFN[i : i + batch], "noise": noise_BD[i : i + batch]} for i in starts)
        return np.concatenate([self._session.run(["image"], each)[0] for each in feeds])

    def encode(self, images_BCHW: Any) -> None:
        from soundsight import picture

        origin: dict[str, str | int] = {"model": "digits", "seed": self._seed, "index": 0}
        images = [picture.to_uint8(image_CHW) for image_CHW in images_BCHW]
        if self._kind == "png" and self._num_images > 1:
            rows = [images[i : i + self._num_images] for i in range(0, len(images), self._num_images)]
            images = [picture.grid([row]) for row in rows]
        for image_HWC in images:
            picture.encode(image_HWC, "png", origin)

    def pictures_per_s(self, batch: int, seconds: float, *, alone: bool) -> float:
        num_requests = max(1, batch // self._num_images)
        heard = self.hear(num_requests)
        num, began_s = 0, time.perf_counter()
        while (wall_s := time.perf_counter() - began_s) < seconds:
            if alone:
                self.paint(*heard, batch)
            else:
                self.encode(self.paint(*self.hear(num_requests), batch))
            num += num_requests * self._num_images
        return num / wall_s

    def serve(self) -> None:
        """Work on orders from stdin, so that all processes begin at once."""
        print("ready", flush=True)
        for line in sys.stdin:
            print(self.pictures_per_s(**json.loads(line)), flush=True)


class Loops:
    """As many bare loops side by side as the server has workers."""

    def __init__(self, kind: str, num_images: int, workers: int) -> None:
        command = [sys.executable, __file__, "--bare", kind, str(num_images)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._processes = [subprocess.Popen(command, **pipes) for _ in range(workers)]
        for process in self._processes:
            assert process.stdout.readline() == "ready\n"
        self.pictures_per_s(1, 0.2)  # the first calls are slow

    def pictures_per_s(self, batch: int, seconds: float, *, alone: bool = False) -> float:
        for process in self._processes:
            print(json.dumps({"batch": batch, "seconds": seconds, "alone": alone}), file=process.stdin, flush=True)
        return sum(float(process.stdout.readline()) for process in self._processes)

    def best_batch(self, seconds: float, *, alone: bool = False) -> int:
        return max(BATCHES, key=lambda batch: self.pictures_per_s(batch, seconds, alone=alone))

    def stop(self) -> None:
        for process in self._processes:
            process.stdin.close()
            process.wait()
            process.stdout.close()


# The measurements.


def compare(server: Server, kind: str, num_images: int, options: argparse.Namespace) -> dict[str, Any]:
    """Throughput of one kind of request beside both loops, in turns."""
    # Workers share the cores' threads among them, as cli/serve.py does.
    loops = Loops(kind, num_images, options.workers * max(1, CORES // options.workers))
    try:
        batch, alone_batch = loops.best_batch(options.seconds / 10), loops.best_batch(options.seconds / 10, alone=True)
        load(server, kind=kind, num_images=num_images, num_clients=options.clients, seconds=0.5)
        rounds = []
        for _ in range(options.rounds):
            bare = loops.pictures_per_s(batch, options.seconds / 2)
            came = load(server, kind=kind, num_images=num_images, num_clients=options.clients, seconds=options.seconds)
            bare = (bare + loops.pictures_per_s(batch, options.seconds / 2)) / 2
            alone = loops.pictures_per_s(alone_batch, options.seconds / 2, alone=True)
            rounds.append((came, bare, alone))
    finally:
        loops.stop()
    speed = [came["per_s"] * num_images for came, _, _ in rounds]
    return {
        "kind": kind,
        "num_images": num_images,
        "requests_per_s": statistics.median(came["per_s"] for came, _, _ in rounds),
        "pictures_per_s": statistics.median(speed),
        "bare_pictures_per_s": statistics.median(bare for _, bare, _ in rounds),
        "bare_batch": batch,
        "alone_pictures_per_s": statistics.median(alone for _, _, alone in rounds),
        "alone_batch": alone_batch,
        "share_of_bare": statistics.median(ours / bare for ours, (_, bare, _) in zip(speed, rounds, strict=True)),
        "share_of_alone": statistics.median(ours / alone for ours, (_, _, alone) in zip(speed, rounds, strict=True)),
        "p50_ms": 1000 * statistics.median(came["p50_s"] for came, _, _ in rounds),
        "p99_ms": 1000 * statistics.median(came["p99_s"] for came, _, _ in rounds),
        "tail": statistics.median(came["p99_s"] / came["p50_s"] for came, _, _ in rounds),
        "errors": sum(came["errors"] for came, _, _ in rounds),
        "num_429": sum(came["by_status"].get("429", 0) for came, _, _ in rounds),
        "load_cores": statistics.median(came["own_cpu_s"] / came["wall_s"] for came, _, _ in rounds),
    }


def endure(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Memory before, during and after many requests; before comes after as many as there are buffers to fill."""
    kind, num_images = KINDS[0]
    same = {"kind": kind, "num_images": num_images, "num_clients": options.clients}
    load(server, **same, num_requests=max(500, options.requests // 10))
    rss_mb, errors, tails = [server.rss_mb()], 0, []
    for _ in range(10):
        came = load(server, **same, num_requests=options.requests // 10)
        rss_mb.append(server.rss_mb())
        errors += came["errors"] + came["by_status"].get("429", 0)
        tails.append(came["p99_s"] / came["p50_s"])
    return {
        "requests": options.requests // 10 * 10,
        "rss_before_mb": rss_mb[0],
        "rss_after_mb": rss_mb[-1],
        "rss_peak_mb": max(rss_mb),
        "growth": max(abs(each / rss_mb[0] - 1) for each in rss_mb),
        "tail": statistics.median(tails),
        "errors": errors,
    }


def overload(server: Server, capacity_per_s: float, seconds: float) -> dict[str, Any]:
    """Twice as many requests a second as it can answer, whatever becomes of them."""
    kind, num_images = KINDS[0]
    came = load(server, kind=kind, num_images=num_images, rate=2 * capacity_per_s, seconds=seconds)
    num_429 = came["by_status"].get("429", 0)
    return {
        "asked_per_s": 2 * capacity_per_s,
        # What finds a thousand requests without an answer is not sent: the load was this much.
        "sent_per_s": 2 * capacity_per_s - came["num_unsent"] / seconds,
        "num_200": came["by_status"].get("200", 0),
        "num_429": num_429,
        "num_429_without_retry_after": came["num_untold"],
        "num_other": came["errors"] - came["num_timeouts"],
        "num_timeouts": came["num_timeouts"],
        "num_unsent": came["num_unsent"],
        "answered_per_s": came["per_s"],
        "p99_ms": 1000 * came["p99_s"],
        "load_cores": came["own_cpu_s"] / came["wall_s"],
    }


def start(repeats: int, workers: int) -> dict[str, float]:
    """From the process to the first answer, and memory before there is work."""
    ready_s, idle_mb = [], []
    for _ in range(repeats + 1):
        with serving(workers) as server:
            ready_s.append(server.ready_s)
            time.sleep(0.3)
            idle_mb.append(server.rss_mb())
    # The first reads the files from the disk.
    return {"best_s": min(ready_s[1:]), "median_s": statistics.median(ready_s[1:]), "idle_mb": max(idle_mb)}


def page_weight(url: str) -> tuple[float, int]:
    """Kilobytes and number of files of the page and all that it names, the examples left out."""
    found: dict[str, int] = {}
    waiting = [f"{url}/"]
    while waiting:
        address = waiting.pop()
        if address in found:
            continue
        with urlopen(address, timeout=10) as answer:
            content, kind = answer.read(), answer.headers.get_content_type()
        found[address] = len(content)
        if kind.startswith(("text/", "application/j", "application/manifest")):
            named = re.findall(r"""["'(]((?:\.{0,2}/)?[\w./-]+\.\w{2,12})["')]""", content.decode())
            linked = {urljoin(address, name) for name in named}
            linked = {each for each in linked if each.startswith(f"{url}/static/") and "/examples/" not in each}
            waiting += [each for each in linked - set(found) if _is_there(each)]
    return sum(found.values()) / 1000, len(found)


def _is_there(address: str) -> bool:
    """Not everything that looks like a name in a script is one."""
    try:
        with urlopen(address, timeout=10):
            return True
    except URLError:
        return False


# The report.


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"workers": options.workers, "clients": options.clients}
    found["start"] = start(options.starts, 1)
    if options.workers > 1:
        found["start_of_workers"] = start(options.starts, options.workers)
    with serving(options.workers) as server:
        found["page_kb"], found["page_files"] = page_weight(server.url)
        found["kinds"] = [compare(server, *kind, options) for kind in KINDS]
        found["endurance"] = endure(server, options)
        capacity_per_s = found["kinds"][0]["requests_per_s"]
        found["overload"] = overload(server, capacity_per_s, options.seconds)
        after = load(server, num_clients=1, num_requests=20)
        found["errors_after_overload"] = after["errors"]
        found["log"] = server.log().count("Traceback")
    return found


def judge(found: dict[str, Any]) -> dict[str, bool]:
    """Which promises are kept."""
    kinds, endurance, flood = found["kinds"], found["endurance"], found["overload"]
    wrong = flood["num_other"] + flood["num_timeouts"] + flood["num_429_without_retry_after"]
    return {
        "throughput": all(each["share_of_bare"] >= MIN_SHARE for each in kinds),
        "tail": all(each["tail"] <= MAX_TAIL for each in (*kinds, endurance)),
        "memory": endurance["growth"] <= MAX_GROWTH,
        "no errors": not sum(each["errors"] + each["num_429"] for each in kinds)
        and not endurance["errors"] + found["errors_after_overload"] + found["log"],
        "overload": flood["num_429"] > 0 and wrong == 0,
        "ready": found["start"]["median_s"] <= MAX_READY_S,
        "page": found["page_kb"] <= MAX_PAGE_KB,
        "idle": found["start"]["idle_mb"] <= MAX_IDLE_MB,
    }


def report(found: dict[str, Any]) -> None:
    """The table, on stderr."""
    head = f"{found['clients']} clients, {found['workers']} workers"
    columns = ("pictures/s", "bare loop", "share", "network", "share", "p50", "p99", "p99/p50", "errors", "load")
    print(f"{head:24}" + "".join(f"{each:>11}" for each in columns), file=sys.stderr)
    for each in found["kinds"]:
        values = (
            f"{each['pictures_per_s']:.0f}",
            f"{each['bare_pictures_per_s']:.0f} ({each['bare_batch']})",
            f"{each['share_of_bare']:.2f}",
            f"{each['alone_pictures_per_s']:.0f} ({each['alone_batch']})",
            f"{each['share_of_alone']:.2f}",
            f"{each['p50_ms']:.0f} ms",
            f"{each['p99_ms']:.0f} ms",
            f"{each['tail']:.1f}",
            f"{each['errors'] + each['num_429']}",
            f"{each['load_cores']:.2f}",
        )
        name = f"{each['num_images']} as {each['kind']}"
        print(f"{name:24}" + "".join(f"{value:>11}" for value in values), file=sys.stderr)
    lasting, flood, begun = found["endurance"], found["overload"], found["start"]
    rows = [
        (
            "share of the bare loop, the least",
            f"{min(k['share_of_bare'] for k in found['kinds']):.2f}",
            f"≥ {MIN_SHARE}",
        ),
        ("p99 / p50, the most", f"{max(k['tail'] for k in (*found['kinds'], lasting)):.1f}", f"≤ {MAX_TAIL:g}"),
        (
            f"memory over {lasting['requests']:,} requests",
            f"{lasting['rss_before_mb']:.0f} to {lasting['rss_after_mb']:.0f} MB",
            f"± {MAX_GROWTH:.0%}; was {lasting['growth']:.1%}",
        ),
        ("errors in them", f"{lasting['errors']}", "0"),
        (
            f"twice the capacity: {flood['asked_per_s']:.0f}/s, {flood['sent_per_s']:.0f}/s sent",
            f"{flood['num_200']} × 200",
            f"{flood['num_429']} × 429, {flood['num_429_without_retry_after']} without Retry-After",
        ),
        (
            "    neither",
            f"{flood['num_other']}",
            f"0; timeouts {flood['num_timeouts']}",
        ),
        ("ready after", f"{begun['median_s']:.2f} s", f"≤ {MAX_READY_S:g} s; best {begun['best_s']:.2f} s"),
        ("memory at rest, one worker", f"{begun['idle_mb']:.0f} MB", f"≤ {MAX_IDLE_MB:g} MB"),
        (f"page, {found['page_files']} files", f"{found['page_kb']:.0f} KB", f"≤ {MAX_PAGE_KB:g} KB"),
    ]
    if "start_of_workers" in found:
        more = found["start_of_workers"]
        rows.append(
            (f"with {found['workers']} workers", f"{more['median_s']:.2f} s", f"{more['idle_mb']:.0f} MB at rest")
        )
    for name, value, promise in rows:
        print(f"{name:44} {value:>18}  {promise}", file=sys.stderr)
    for name, is_kept in found["kept"].items():
        if not is_kept:
            print(f"not kept: {name}", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=20_000, help="for the measurement of memory")
    parser.add_argument("--workers", type=int, default=CORES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of throughput")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a minute, for a look; its numbers are rough")
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.requests, options.rounds, options.seconds, options.starts = 2000, 1, 2.0, 2
    return options


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    options = parse()
    if options.bare:
        Bare(options.bare[0], int(options.bare[1])).serve()
        return
    found = measure(options)
    found["kept"] = judge(found)
    report(found)
    print(json.dumps(_rounded(found)))
    raise SystemExit(0 if all(found["kept"].values()) else 1)


if __name__ == "__main__":
    main()
