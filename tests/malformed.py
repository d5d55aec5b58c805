"""A thousand requests that are damaged, lie or mean harm, the same ones each time."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from words import RATE_HZ, word

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MAX_UPLOAD = 1_000_000
Group = Callable[[np.random.Generator], Iterator["Case"]]


@dataclass(frozen=True)
class Case:
    """``statuses``: those that fit; empty for any but 500. Where the syntax of HTTP is broken, no answer fits, too.

    ``raw`` is sent in one piece; with ``is_cut`` the client then ends its side.
    """

    raw: bytes
    statuses: tuple[int, ...] = ()
    is_http: bool = True
    is_cut: bool = False


def request(
    path: str | bytes = "/v1/images", body: bytes = b"", method: str = "POST", *headers: tuple[str, str | bytes]
) -> bytes:
    """A request, valid but for what is given; a header that is given replaces ours."""
    target = path.encode() if isinstance(path, str) else path
    given = {name.lower() for name, _ in headers}
    usual = (("Host", "localhost"), ("Connection", "close"), ("Content-Type", "audio/wav"))
    usual = (*usual, ("Content-Length", str(len(body))))
    if "transfer-encoding" in given:
        given.add("content-length")
    lines = [f"{method} ".encode() + target + b" HTTP/1.1"]
    for name, value in (*(each for each in usual if each[0].lower() not in given), *headers):
        lines.append(name.encode() + b": " + (value.encode() if isinstance(value, str) else value))
    return b"\r\n".join([*lines, b"", body])


def form(*parts: tuple[str, bytes], boundary: str = "xyz", path: str = "/v1/images") -> bytes:
    """A form of parts: the header lines of each, and its content."""
    body = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts)
    body += f"--{boundary}--\r\n".encode()
    return request(path, body, "POST", ("Content-Type", f"multipart/form-data; boundary={boundary}"))


def a_file(name: str = "file", file_name: str = "seven.wav") -> str:
    return f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"'


def a_field(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def encoded(container: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, word(), RATE_HZ, format=container, subtype=subtype)
    return same_pages(buffer.getvalue()) if container == "OGG" else buffer.getvalue()


def same_pages(ogg: bytes) -> bytes:
    """A file of Ogg pages without the number that its writer draws by chance (RFC 3533, section 6)."""
    pages = []
    for page in ogg.split(b"OggS")[1:]:
        bare = b"OggS" + page[:10] + b"same" + page[14:18] + bytes(4) + page[22:]
        check = 0
        for byte in bare:
            check ^= byte << 24
            for _ in range(8):
                check = (check << 1) ^ (0x04C11DB7 if check >> 31 else 0)
                check &= 0xFFFFFFFF
        pages.append(bare[:22] + check.to_bytes(4, "little") + bare[26:])
    return b"".join(pages)


SOUND = encoded("WAV")


def wav(*, size: int = 36, fmt: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, data: int = 8) -> bytes:
    """A header that says what it is told to, and eight bytes."""
    block = (channels * bits // 8) & 0xFFFF
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", size, b"WAVE", b"fmt ", 16, fmt, channels, rate, rate * 2 % 2**32, block, bits
    )
    return head + struct.pack("<4sI", b"data", data) + bytes(range(8))


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, with bits turned, or with a piece doubled."""
    changed = bytearray(data)
    match rng.integers(3):
        case 0:
            del changed[rng.integers(1, len(changed)) :]
        case 1:
            for at in rng.integers(0, len(changed) if rng.integers(2) else 64, rng.integers(1, 20)):
                changed[at] ^= 1 << rng.integers(8)
        case _:
            at, length = int(rng.integers(len(changed))), int(rng.integers(1, 500))
            changed[at:at] = changed[at : at + length]
    return bytes(changed)


def damaged_sounds(rng: np.random.Generator) -> Iterator[Case]:
    kinds = [("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)]
    whole = [
        *(encoded(*kind) for kind in kinds),
        *((EXAMPLES / f"{name}.wav").read_bytes() for name in ("seven", "one")),
    ]
    for i in range(320):
        sound = damaged(whole[i % len(whole)], rng)
        path = ["/v1/images", "/v1/images?split=true&num_images=2&format=json", "/v1/embeddings"][i // 8 % 3]
        if i % 5 == 0:
            yield Case(form((a_file(), sound), path=path), (200, 422))
        else:
            yield Case(request(path, sound), (200, 422))


def lying_sounds(rng: np.random.Generator) -> Iterator[Case]:
    most = 2**32 - 1
    for size, data in ((most, most), (0, most), (2**31, 2**31), (most, 0), (0, 0), (36, 2**31 - 1)):
        for channels in (1, 2, 0, 65535):
            yield Case(request(body=wav(size=size, data=data, channels=channels)), (200, 422))
    for rate in (0, 1, 7, most, 2**31, 192_001, 100_000_000):
        yield Case(request(body=wav(rate=rate)), (200, 422))
    for bits, fmt in ((0, 1), (1, 1), (65535, 1), (64, 3), (16, 3), (16, 0xFFFE), (4, 2), (4, 17), (16, 85)):
        yield Case(request(body=wav(bits=bits, fmt=fmt)), (200, 422))
    # Little to send and much to decode: hours of silence, in a format that shrinks it.
    for seconds, container in ((70, "FLAC"), (300, "FLAC"), (70, "MP3"), (70, "OGG")):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.zeros(RATE_HZ * seconds, np.float32), RATE_HZ, format=container)
        sound = same_pages(buffer.getvalue()) if container == "OGG" else buffer.getvalue()
        yield Case(request(body=sound[: MAX_UPLOAD - 1]), (422,))
    flac = bytearray(encoded("FLAC"))
    for _ in range(12):  # STREAMINFO: rate, channels and number of samples
        flac[18:26] = rng.integers(0, 256, 8, np.uint8).tobytes()
        yield Case(request(body=bytes(flac)), (200, 422))
    for magic in (
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"fLaC",
        b"OggS\0\2",
        b"ID3\4",
        b"\xff\xfb\x90",
        b"\x1a\x45\xdf\xa3",
    ):
        yield Case(request(body=magic + rng.integers(0, 256, 300, np.uint8).tobytes()), (415, 422))
        yield Case(request(body=magic), (415, 422))


def lying_lengths(rng: np.random.Generator) -> Iterator[Case]:
    for length in (MAX_UPLOAD + 1, 10**9, 10**12, 2**63 - 1):
        yield Case(request("/v1/images", SOUND[:100], "POST", ("Content-Length", str(length))), (413,))
    # The parser's own business: an answer of any kind, or none.
    for length in (
        "-1",
        "-0",
        "+5",
        "1e3",
        "0x10",
        "5 5",
        "5, 5",
        "",
        " ",
        "٣",
        "2" * 30,
        "9" * 300,
        "NaN",
        str(2**64),
    ):
        yield Case(request("/v1/images", SOUND[:100], "POST", ("Content-Length", length)), is_http=False)
    twice = request("/v1/images", SOUND[:100], "POST", ("Content-Length", "100"), ("Content-Length", "7"))
    yield Case(twice, is_http=False)
    for _ in range(20):  # more is promised than comes
        promised = len(SOUND) + int(rng.integers(1, 5000))
        cut = SOUND[: rng.integers(1, len(SOUND))]
        yield Case(request("/v1/images", cut, "POST", ("Content-Length", str(promised))), is_http=False, is_cut=True)
    for _ in range(20):  # less is promised than comes: what is beyond is no request
        promised = int(rng.integers(1, len(SOUND)))
        yield Case(request("/v1/images", SOUND, "POST", ("Content-Length", str(promised))), (200, 422))
    for size in (MAX_UPLOAD + 1, 2 * MAX_UPLOAD, 8 * MAX_UPLOAD):
        yield Case(request(body=bytes(size)), (413,))
        yield Case(form((a_file(), bytes(size))), (413,))


def chunked_bodies(rng: np.random.Generator) -> Iterator[Case]:
    chunked = ("Transfer-Encoding", "chunked")

    def chunks(data: bytes, step: int, extension: bytes = b"") -> bytes:
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces) + b"0\r\n\r\n"

    for step in (97, 1000, 100_000):
        yield Case(request("/v1/images", chunks(SOUND, step), "POST", chunked), (200,))
        yield Case(request("/v1/images", chunks(SOUND, step, b";a=b"), "POST", chunked), (200,))
        yield Case(request("/v1/images", chunks(bytes(MAX_UPLOAD + 1), step), "POST", chunked), (413,))
    for head in (
        b"-1\r\n",
        b"zz\r\n",
        b"f" * 17 + b"\r\n",
        b"\r\n",
        b"5;" + b"x" * 70_000 + b"\r\n",
        b"5\n",
        b"0x5\r\n",
    ):
        body = head + bytes(50) + b"\r\n0\r\n\r\n"
        yield Case(request("/v1/images", body, "POST", chunked), is_http=False, is_cut=True)
    for _ in range(20):
        body = damaged(chunks(SOUND, 500), rng)
        yield Case(request("/v1/images", body, "POST", chunked), is_http=False, is_cut=True)
    for coding in ("gzip", "chunked, gzip", "identity", "chunked, chunked", "\x0bchunked", "xchunked", "chunkedx"):
        body = chunks(SOUND, 500)
        yield Case(request("/v1/images", body, "POST", ("Transfer-Encoding", coding)), is_http=False, is_cut=True)
    both = ("Content-Length", "5"), chunked
    yield Case(request("/v1/images", chunks(SOUND, 500), "POST", *both), is_http=False, is_cut=True)


def wrong_types(rng: np.random.Generator) -> Iterator[Case]:
    bodies = [
        b'{"file": "seven.wav", "num_images": 1}',
        b"[]",
        b"null",
        b"<html></html>",
        b"seven",
        b"%PDF-1.7\n",
        b"PK\3\4",
    ]
    bodies += [
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"\x80\x04\x95",
        b"#!/bin/sh\n",
        b"\x00",
        b"\xff" * 100,
        b"#EXTM3U\na.wav\n",
    ]
    for body in bodies:
        for kind in ("application/octet-stream", "audio/wav", "audio/", "video/mp4", ""):
            yield Case(request("/v1/images", body, "POST", ("Content-Type", kind)), (415, 422))
        for kind in ("application/json", "text/html", "image/png", "audiox/wav", "x", "\x01", "a" * 5000):
            yield Case(
                request("/v1/images", body, "POST", ("Content-Type", kind)), (400, 415), is_http="\x01" not in kind
            )
        yield Case(request("/v1/morphs", body), (415,))
    for kind in ("multipart/mixed; boundary=x", "multipart/form-data2; boundary=x", "application/xml"):
        yield Case(request("/v1/images", b"num_images=1", "POST", ("Content-Type", kind)), (415,))
    yield Case(request(), (422,))
    yield Case(request("/v1/embeddings"), (422,))


def paths(rng: np.random.Generator) -> Iterator[Case]:
    up = [
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..\\",
        "..%5c",
        "....//",
        ".%00./",
        "%252e%252e%252f",
        "..%c0%af",
        "./../",
    ]
    targets = ["etc/passwd", "app.py", "settings.py", "proc/self/environ"]
    for step in up:
        for target in targets:
            for start in ("/static/", "/", "/static/examples/"):
                yield Case(request(start + step * (1 + rng.integers(6)) + target, b"", "GET"), (400, 404))
    for path in (
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "//etc/passwd", "/static/\0", "/static/%00",
        "/static/a%00.js",
        "/static", "/static/", "/static/.", "/static/..", "/static/examples", "/static/" + "a" * 5000,
        "/static/~root",
        "/static/CON", "/static/%ff%fe", "/static/%", "/static/%zz", "/static/" + "a/" * 1000, "/v1", "/v1/",
        "/v1/images/",
        "/v1/images/0", "/V1/images", "/.git/config", "/.env", "/wp-login.php", "/docs", "/redoc",
        "/static/?../../app.py",
    ):  # fmt: skip
        yield Case(request(path, b"", "GET"), (307, 400, 404, 405), is_http="\0" not in path)
    yield Case(request(b"/static/\xff\xfe", b"", "GET"), (400, 404), is_http=False)
    for name in ("../../etc/passwd", "/etc/passwd", "digits/../digits", "..", ".", "digits%00", "~",
                  "file:///etc/passwd",
                 "http://localhost/", "C:%5cdigits", "alignment", "lenet5", "Digits", "", "a" * 5000, "%2e%2e%2f",
                 "*"):  # fmt: skip
        for path in ("/v1/images", "/v1/embeddings", "/v1/morphs"):
            raw = form((a_file("first"), SOUND), (a_file("second"), SOUND), path=f"{path}?model={name}")
            statuses = (200, 422) if (path, name) == ("/v1/embeddings", "alignment") else (422,)
            yield Case(raw if path == "/v1/morphs" else request(f"{path}?model={name}", SOUND), statuses)
    for name in (
        "../../../etc/cron.d/x",
        "/etc/passwd",
        "C:\\\\x.wav",
        "a\0b.wav",
        "",
        ".",
        "x" * 4000,
        "\u202e.wav",
        "a;b=c",
    ):
        yield Case(form((a_file(file_name=name), SOUND)), (200, 400, 422))


def forms(rng: np.random.Generator) -> Iterator[Case]:
    good = a_file(), SOUND
    kind = "multipart/form-data"
    body = form(good).partition(b"\r\n\r\n")[2]
    for header in (kind, f"{kind}; boundary=", f"{kind}; boundary=other", f'{kind}; boundary="',
                  f"{kind}; boundary=\xff",
                   f"{kind}; boundary={'x' * 5000}", f"{kind};;;", f"{kind}; charset=utf-7",
                   f"{kind}; boundary=x y"):  # fmt: skip
        yield Case(request("/v1/images", body, "POST", ("Content-Type", header)), (400, 422))
    yield Case(form(), (400, 422))
    yield Case(form((a_field("file"), SOUND)), (400, 422))
    yield Case(form((a_field("num_images"), b"1")), (422,))
    yield Case(form((a_file(), b"")), (422,))
    yield Case(form(good, good), (400, 422))
    yield Case(form((a_file("sound"), SOUND)), (422,))
    yield Case(form(good, (a_file("other"), SOUND)), (400, 422))
    yield Case(form(good, (a_field("file"), b"text")), (400, 422))
    yield Case(form(good, *[(a_field(f"f{i}"), b"1") for i in range(3000)]), (400, 422))
    yield Case(form(*[(a_file(f"f{i}"), b"1") for i in range(3000)]), (400, 422))
    yield Case(form(good, *[(a_field("seed"), b"1")] * 20), (400, 422))
    for name in (
        "x" * 50_000,
        "",
        "\x01",
        "a\r\n b",
        "ü",
        "model\0",
        "../x",
        "__class__",
        "controls",
        "\u202e",
        '\\"',
        "[0]",
    ):
        yield Case(form(good, (a_field(name), b"1")), (400, 422))
    yield Case(form(good, (a_field("model"), b"digits" * 20_000)), (400, 422))
    yield Case(form(good, (a_field("model"), b"\xff\xfe\x00")), (400, 422))
    for head in ("", "X: y", "Content-Disposition: attachment", "Content-Disposition: form-data", ":",
                  "Content-Disposition",
                 "Content-Disposition: form-data; name", "Content-Disposition: form-data; name=file; name=x",
                 'Content-Disposition: form-data; name="file', "\x00: x", "Content-Disposition: " + "x" * 20_000,
                 a_file() + "\r\nContent-Transfer-Encoding: base64\r\nContent-Type: " + "y" * 9000,
                 a_file() + "\r\nContent-Type: multipart/mixed; boundary=inner"):  # fmt: skip
        inner = b"--inner\r\n" + a_file().encode() + b"\r\n\r\nx\r\n--inner--"
        yield Case(form((head, inner)), (200, 400, 422))
    for _ in range(60):
        changed = damaged(body, rng)
        header = "Content-Type", f"{kind}; boundary=xyz"
        yield Case(request("/v1/images", changed, "POST", header), (200, 400, 422))
    for missing in ("first", "second"):
        yield Case(form((a_file(missing), SOUND), path="/v1/morphs"), (422,))
        yield Case(form((a_file("first"), SOUND), (a_field("second"), b"x"), path="/v1/morphs"), (422,))
    for _ in range(10):
        pair = (a_file("first"), SOUND), (a_file("second"), damaged(SOUND, rng))
        yield Case(form(*pair, path="/v1/morphs?num_frames=2"), (200, 422))


NUMBERS = ["-1", "1e999", "NaN", "nan", "inf", "-Infinity", "", "%20", "0x10", "1_0", "1,5", "٣", "%00", "%ff",
"null", "true",
           "[]", "9" * 150, "9" * 6000, "1;2", "%0d%0aX:%20y", "%1b[31m", "1%2b1", "--1", "1e-999x"]  # fmt: skip


def options(rng: np.random.Generator) -> Iterator[Case]:
    for name in ("num_images", "seed", "size", "variation", "steps", "guidance"):
        for number in NUMBERS:
            # "%20" and the like may be read as numbers where no harm is done.
            yield Case(request(f"/v1/images?{name}={number.replace('٣', '%D9%A3')}", SOUND), (200, 400, 422))
    refused = ["num_images=0", "num_images=65", "seed=18446744073709551616", "size=7", "size=4097",
    "variation=2.1", "steps=0",
               "steps=201", "guidance=21", "format=gif", "format=npy", "format=PNG", "format=", "split=maybe",
               "style=/etc/passwd",
               "prompt=x", "unknown=1", "=1", "&&&=", "a[]=1", "num_images=64&size=4096", "num_images=1.5",
               "seed=0.5",
               "seed=1&seed=1", "format=png&format=png", "num_images=1&num_images=64", "threads=9",
               "max_images=9999"]  # fmt: skip
    for query in refused:
        yield Case(request(f"/v1/images?{query}", SOUND), (422,))
    for query in (
        "num_frames=1",
        "num_frames=65",
        "num_frames=NaN",
        "num_images=3",
        "format=png",
        "num_frames=64&size=4096",
    ):
        raw = form((a_file("first"), SOUND), (a_file("second"), SOUND), path=f"/v1/morphs?{query}")
        yield Case(raw, (422,))
    for query in ("model=digits", "size=8", "seed=1", "format=json"):
        yield Case(request(f"/v1/embeddings?{query}", SOUND), (422,))
    yield Case(form((a_file(), SOUND), (a_field("seed"), b"1"), path="/v1/images?seed=1"), (422,))
    for query in (
        "%ff=%fe",
        "seed=%c3%28",
        "%",
        "%%%",
        "se%ed=1",
        "&".join(f"o{i}=1" for i in range(2000)),
        "x" * 20_000,
    ):
        yield Case(request(f"/v1/images?{query}", SOUND), (200, 400, 422))
    yield Case(request(b"/v1/images?seed=\xff\xfe", SOUND), (400, 422), is_http=False)


def methods(rng: np.random.Generator) -> Iterator[Case]:
    routes = ("/", "/healthz", "/metrics", "/v1/models", "/v1/images", "/v1/embeddings", "/v1/examples", "/static/x.js")
    for route in (*routes, "/v1/live", "/nothing"):
        for method in ("DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "LOCK"):
            yield Case(request(route, b"", method), (404, 405))
        yield Case(request(route, b"", "HEAD"), (200, 404, 405))
    for route in ("/v1/images", "/v1/morphs", "/v1/embeddings", "/v1/live"):
        yield Case(request(route, b"", "GET"), (404, 405))
    for method in ("BREW", "get", "G" * 5000, "GET\0", "", "CONNECT", "PRI", "M-SEARCH", "SOURCE"):
        yield Case(request("/v1/images", b"", method), is_http=False)
    for line in (b"GET", b"GET /", b"/ HTTP/1.1", b"GET / HTTP/9.9", b"GET / HTTP/1.1 x", b"\x16\x03\x01\x02\0",
                  b"GET  /  HTTP/1.1",
                 b"GET http:// HTTP/1.1", b"GET x HTTP/1.1", b"GET / HTTP/1.0", b"GET * HTTP/1.1",
                 b"\0" * 50):  # fmt: skip
        yield Case(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n", is_http=False, is_cut=True)


def headers(rng: np.random.Generator) -> Iterator[Case]:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0x7f.1", "user@evil.example",
                  "[::2]",
                 "evil.example:80", "a" * 3000, ":", "", "[", "[::1", "]", "\xff", "127.0.0.2",
                 "localhost\tx"):  # fmt: skip
        for route, method in (("/v1/models", "GET"), ("/", "GET"), ("/v1/images", "POST")):
            # An address in brackets without an end is as good as one with it.
            statuses = (200, 400, 403, 422) if host == "[::1" else (400, 403)
            yield Case(request(route, b"", method, ("Host", host)), statuses)
    yield Case(b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n", (400, 403))
    yield Case(request("/v1/models", b"", "GET", ("Host", "localhost"), ("Host", "evil.example")), is_http=False)
    for origin in ("http://evil.example", "null", "http://[", "http://[::1", "//", "x",
                  "http://localhost.evil.example", "\xff",
                   "http://localhost:99999999", "file://", "http://evil.example, http://localhost",
                   "a" * 3000):  # fmt: skip
        for route, method in (
            ("/v1/models", "GET"),
            ("/v1/images", "POST"),
            ("/metrics", "GET"),
            ("/v1/models", "OPTIONS"),
        ):
            preflight = (("Access-Control-Request-Method", "POST"),) if method == "OPTIONS" else ()
            yield Case(request(route, b"", method, ("Origin", origin), *preflight), (400, 403))
    for name, value in (("Authorization", "Bearer \xff"), ("Authorization", "x" * 9000), ("Range", "bytes=9-1"),
                        ("Expect", "200-maybe"), ("Cookie", "a" * 9000), ("Accept", "\x80"), ("X" * 9000, "y"),
                        ("If-Range", "\xff"),
                        ("Upgrade", "h2c"), ("Content-Encoding", "gzip"), ("X-Forwarded-For", "' OR 1=1"),
                        ("If-Modified-Since", "x"),
                        ("Content-Range", "bytes x")):  # fmt: skip
        for route in ("/v1/models", "/", "/v1/images"):
            method = "POST" if route == "/v1/images" else "GET"
            raw = request(route, SOUND if method == "POST" else b"", method, (name, value))
            yield Case(raw, (200, 206, 400, 404, 415, 416, 417, 422))
    for raw in (b"X y: z", b" X: y", b"X : y", b": y", b"X\0: y", b"X: y\rZ: 1", b"X", b"X: " + b"y" * 200_000):
        start = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        yield Case(start + raw + b"\r\n\r\n", is_http=False)
    many = b"".join(b"X-%d: y\r\n" % i for i in range(5000))
    yield Case(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + many + b"\r\n", is_http=False)


GROUPS: list[Group] = [
    damaged_sounds, lying_sounds, lying_lengths, chunked_bodies, wrong_types, paths, forms, options, methods, headers,
]  # fmt: skip


def cases(group: Group) -> list[Case]:
    return list(group(np.random.default_rng([9, GROUPS.index(group)])))
