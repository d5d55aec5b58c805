"""What stands before every route: hosts, origins, the token, the rate, the headers of every answer, the counters."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import WebSocketDenialResponse

from served import SEVEN, TestClient, check_problem, connect, serving
from soundsight.errors import SoundsightError
from soundsight.server import guard
from soundsight.server.settings import Settings

FRIEND = "https://example.org"
TOKEN = "correct horse"
CSP = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "media-src 'self' blob:",
    "connect-src 'self'",
    "worker-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}
PATHS = [
    ("GET", "/"),
    ("GET", "/static/examples/seven.flac"),
    ("GET", "/static/nothing"),
    ("GET", "/nothing"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/models"),
    ("GET", "/v1/nothing"),
    ("GET", "/v1/images"),
    ("POST", "/v1/images"),
    ("POST", "/v1/images?format=ndjson"),
    ("POST", "/v1/images?seed=x"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def friendly() -> Iterator[TestClient]:
    """A server with a token, which the page of a friend may call."""
    with serving(token=TOKEN, origins=(FRIEND,)) as made:
        yield made


# Headers.


def _check_headers(headers: Any, path: str) -> None:
    assert set(headers["content-security-policy"].split("; ")) == CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["permissions-policy"] == "microphone=(self), camera=(), geolocation=()"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers.get_list("cache-control") == ["no-store" if path.startswith(("/v1", "/metrics")) else "no-cache"]
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_answer_has_its_headers(client: TestClient, method: str, path: str) -> None:
    _check_headers(client.request(method, path, content=SEVEN if method == "POST" else None).headers, path)


def test_refusals_of_the_guard_have_them_too(client: TestClient) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        _check_headers(client.get("/v1/models", headers=headers).headers, "/v1")
    with serving(token=TOKEN) as closed:
        _check_headers(closed.get("/v1/models").headers, "/v1")


# Hosts: a name elsewhere that is said to be this machine's address is no name of this machine.


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:9", "LocalHost", "[::1]", "[::1]:8000"])
def test_names_of_this_machine(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "[::2]:8000",
        "192.168.1.2",
        "",
        "[",
        ":",
    ],
)
def test_other_names(client: TestClient, host: str) -> None:
    for method, path in PATHS:
        check_problem(client.request(method, path, headers={"host": host}), 403, "localhost")
    with pytest.raises(WebSocketDenialResponse) as refused, connect(client, {"host": host}):
        pass
    check_problem(refused.value, 403, "localhost")


def test_a_proxy_passes_on_the_name_that_its_owner_allows() -> None:
    with serving(origins=(FRIEND, "https://[2001:db8::1]:8443")) as client:
        for origin in (FRIEND, "https://[2001:db8::1]:8443"):
            headers = {"host": origin.partition("://")[2], "origin": origin}
            assert client.get("/v1/models", headers=headers).status_code == 200
        for host in ("evil.example", "[2001:db8::2]", "https", ""):
            check_problem(client.get("/v1/models", headers={"host": host}), 403, "localhost")


@pytest.mark.parametrize(
    "origin", ["*", "null", "example.org", "https://Example.org", "https://a/b", "https://a@b", ""]
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(SoundsightError, match="origin"):
        Settings(origins=(origin,))


def test_this_machine_has_more_addresses_than_one() -> None:
    """All of 127/8 and ::1 is this machine alone; names are compared there, too."""
    for host in ("127.0.0.2", "0:0:0:0:0:0:0:1", "LOCALHOST"):
        assert not Settings(host=host).is_open
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        assert Settings(host=host).is_open
    with serving(host="127.0.0.2") as client:
        assert client.get("/healthz", headers={"host": "127.0.0.2:8000"}).status_code == 200
        check_problem(client.get("/healthz", headers={"host": "evil.example"}), 403, "localhost")


@pytest.mark.parametrize(
    "host", ["my.machine:8000", "My.Machine", "my.machine.local", "192.0.2.7:8000", "[2001:db8::7]:1"]
)
def test_a_server_that_is_open_has_its_machines_names(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "My.machine")
    with serving(host="0.0.0.0") as client:
        headers = {"host": host, "origin": f"http://{host}"}
        assert client.post("/v1/images", content=SEVEN, headers=headers).status_code == 200
        check_problem(client.get("/v1/models", headers=headers | {"origin": "http://other"}), 403)
        # A page of a stranger whose name has been given this machine's address.
        for name in ("evil.example", "my.machine.evil.example", "192.0.2.7.evil.example", "2130706433", ""):
            headers = {"host": name, "origin": f"http://{name}"}
            check_problem(client.post("/v1/images", content=SEVEN, headers=headers), 403, "--origin")


def test_the_name_that_it_listens_under_may_have_capitals() -> None:
    with serving(host="Studio.Local", base="http://studio.local") as client:
        assert client.get("/healthz").status_code == 200


def test_404_where_nobody_speaks_live(client: TestClient) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("ws://127.0.0.1/v1/images"):
        pass
    check_problem(refused.value, 404, "nothing here")


def test_a_server_that_wants_a_token_has_any_name() -> None:
    with serving(host="0.0.0.0", token=TOKEN) as client:
        headers = {"host": "any.example", "origin": "http://any.example", "authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/models", headers=headers).status_code == 200


# Origins.


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1:9",
        "http://[",
        "127.0.0.1",
        "file://",
        "http://127.0.0.1@x",
    ],
)
def test_pages_of_others_may_not_call(client: TestClient, origin: str) -> None:
    headers = {"origin": origin}
    for method, path in (("POST", "/v1/images"), ("GET", "/v1/models"), ("GET", "/metrics"), ("OPTIONS", "/v1/images")):
        answer = client.request(method, path, headers=headers | {"access-control-request-method": "POST"})
        check_problem(answer, 403, "origin")
        assert "access-control-allow-origin" not in answer.headers
    with pytest.raises(WebSocketDenialResponse) as refused, connect(client, headers):
        pass
    check_problem(refused.value, 403, "origin")
    assert client.get("/", headers=headers).status_code == 200  # anybody may follow a link to the page


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
def test_the_own_page_may_call(client: TestClient, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}"}
    answer = client.post("/v1/images", content=SEVEN, headers=headers)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    with connect(client, headers) as socket:
        socket.send_json({"type": "start", "sample_rate_hz": 8000})
        assert socket.receive_json() == {"type": "ready"}


def test_a_page_that_is_named_may_call_and_read(friendly: TestClient) -> None:
    headers = {"origin": FRIEND, "authorization": f"Bearer {TOKEN}"}
    good = friendly.post("/v1/images", content=SEVEN, headers=headers)
    bad = friendly.post("/v1/images?seed=x", content=SEVEN, headers=headers)
    unknown = friendly.get("/v1/models", headers={"origin": FRIEND})
    for answer, status in ((good, 200), (bad, 422), (unknown, 401)):
        assert answer.status_code == status
        assert answer.headers.get_list("access-control-allow-origin") == [FRIEND]
        assert answer.headers["vary"] == "Origin"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert {"x-seed", "x-model", "x-heard", "retry-after"} <= set(
            answer.headers["access-control-expose-headers"].lower().split(", ")
        )
        assert "access-control-allow-credentials" not in answer.headers
    for origin in ("https://example.org.evil", "http://example.org", "https://EXAMPLE.org/", "https://evil"):
        check_problem(friendly.get("/v1/models", headers=headers | {"origin": origin}), 403)


def test_a_browser_asks_first(friendly: TestClient) -> None:
    """Without a token, as browsers do; the answer allows what a call needs."""
    headers = {
        "origin": FRIEND,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    answer = friendly.options("/v1/images", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert "POST" in answer.headers["access-control-allow-methods"].split(", ")
    assert {"authorization", "content-type"} <= set(answer.headers["access-control-allow-headers"].split(", "))


# The token.


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        "Bearer ünïcode".encode(),
        f"Bearer {TOKEN}\xff".encode("latin-1"),
    ],
)
def test_401(friendly: TestClient, authorization: Any) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/images"), ("GET", "/metrics"), ("GET", "/v1/nothing")):
        answer = friendly.request(method, path, headers=headers, params={"token": TOKEN})
        check_problem(answer, 401, "Bearer")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_token(friendly: TestClient, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {TOKEN}"}
    assert friendly.post("/v1/images", content=SEVEN, headers=headers).status_code == 200
    assert friendly.get("/metrics", headers=headers).status_code == 200


def test_page_files_and_health_are_open(friendly: TestClient) -> None:
    for path in ("/", "/static/examples/seven.flac", "/healthz", "/openapi.json"):
        answer = friendly.get(path)
        assert answer.status_code == 200
        assert TOKEN not in answer.text


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(guard, "hmac", SimpleNamespace(compare_digest=compare))
    settings = Settings(token=TOKEN)
    given = [TOKEN, TOKEN[:-1], TOKEN + "x", "", "ü", "\x00"]
    assert [guard.is_token(each, settings) for each in given] == [True, False, False, False, False, False]
    assert compared == [(each.encode(), TOKEN.encode()) for each in given]
    assert guard.is_token("anything", Settings())


@pytest.mark.parametrize("token", ["", " ", "\n", "ü", "a\nb", "a\x7f", " padded", "padded "])
def test_tokens_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(SoundsightError, match="token"):
        Settings(token=token)


# The rate.


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def test_a_rate_for_each_address(clock: SimpleNamespace) -> None:
    with serving(rate_per_minute=6, address="10.0.0.1") as client:
        other = TestClient(client.app, base_url="http://127.0.0.1", client=("10.0.0.2", 1))
        for _ in range(6):
            assert client.get("/v1/models").status_code == 200
        check_problem(client.get("/v1/models"), 429, "6 requests a minute")
        check_problem(client.post("/v1/images", content=SEVEN), 429)
        with pytest.raises(WebSocketDenialResponse) as refused, connect(client):
            pass
        check_problem(refused.value, 429, "6 requests a minute")
        for path in ("/", "/healthz", "/metrics", "/static/examples/seven.flac"):
            assert client.get(path).status_code == 200
        assert other.get("/v1/models").status_code == 200
        clock.now += 60
        assert client.get("/v1/models").status_code == 200


def test_nobody_guesses_the_token_at_leisure(clock: SimpleNamespace) -> None:
    for path in ("/v1/models", "/metrics"):
        with serving(rate_per_minute=6, token=TOKEN) as client:
            wrong = [client.get(path, headers={"authorization": "Bearer no"}).status_code for _ in range(8)]
            assert wrong == [401] * 6 + [429] * 2


@pytest.mark.parametrize("rate", [1, 7, 60, 600])
def test_who_comes_back_when_told_is_let_in(clock: SimpleNamespace, rate: int) -> None:
    with serving(rate_per_minute=rate) as client:
        accepted = []
        for step in range(3 * rate if rate < 60 else 100):
            clock.now += 0.3 * (step % 3)
            answer = client.get("/v1/models")
            if answer.status_code == 429:
                clock.now += int(answer.headers["retry-after"])
                answer = client.get("/v1/models")
            assert answer.status_code == 200
            accepted.append(clock.now)
        # Never more than a full bucket and what has dripped since.
        for i, first in enumerate(accepted):
            for j in range(i, len(accepted)):
                assert j - i + 1 <= rate + (accepted[j] - first) * rate / 60 + 1e-6


def test_asking_too_often_does_not_shut_one_out(clock: SimpleNamespace) -> None:
    """At ten requests a second of sixty a minute, one a second is answered."""
    with serving(rate_per_minute=60) as client:
        for _ in range(60):
            client.get("/v1/models")
        found = []
        for _ in range(100):
            clock.now += 0.1
            found.append(client.get("/v1/models").status_code)
    assert 9 <= found.count(200) <= 11
