"""What ``GET /metrics`` counts, and what it never tells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import WebSocketDenialResponse

from served import SEVEN, TestClient, connect, serving


def _samples(client: TestClient) -> dict[tuple[str, str, str], float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, sample.labels.get("route", ""), sample.labels.get("status", "")): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_requests_and_pictures_are_counted() -> None:
    with serving() as client:
        for _ in range(3):
            client.post("/v1/images?num_images=5", content=SEVEN)
        client.post("/v1/images?seed=x", content=SEVEN)
        client.post("/v1/images", content=SEVEN, headers={"origin": "https://evil.example"})
        client.get("/v1/models")
        found = _samples(client)
    assert found["soundsight_requests_total", "/v1/images", "200"] == 3
    assert found["soundsight_requests_total", "/v1/images", "422"] == 1
    assert found["soundsight_requests_total", "/v1/models", "200"] == 1
    assert found["soundsight_requests_total", "/v1/images", "403"] == 1
    assert found["soundsight_request_seconds_count", "/v1/images", ""] == 5
    assert found["soundsight_images_total", "", ""] == 15
    assert found["soundsight_images_per_call_sum", "", ""] == 15
    assert (found["soundsight_waiting", "", ""], found["soundsight_active", "", ""]) == (0, 0)


def test_live_sessions_are_counted() -> None:
    with serving() as client:
        assert _samples(client)["soundsight_live", "", ""] == 0
        with connect(client) as one, connect(client) as two:
            for socket in (one, two):
                socket.send_json({"type": "start", "sample_rate_hz": 8000})
                assert socket.receive_json() == {"type": "ready"}
            assert _samples(client)["soundsight_live", "", ""] == 2
        with pytest.raises(WebSocketDenialResponse), connect(client, {"origin": "https://evil.example"}):
            pass
        found = _samples(client)
    assert found["soundsight_live", "", ""] == 0
    assert found["soundsight_requests_total", "/v1/live", "403"] == 1


def test_what_callers_make_up_is_not_counted_by_name() -> None:
    with serving() as client:
        rounds = []
        for start in (0, 10, 20):
            for i in range(start, start + 10):
                client.get(f"/secret{i}")
                client.get(f"/static/secret{i}")
                client.post(f"/v1/secret{i}")
                client.post(f"/v1/images?secret{i}", content=SEVEN, headers={"content-type": f"secret/{i}"})
                client.get("/", headers={"host": f"secret{i}"})
                client.request(f"SECRET{i}", "/")
            rounds.append(set(_samples(client)))
        assert "secret" not in client.get("/metrics").text.lower()
    assert rounds[1] == rounds[2]  # the first has no count of /metrics yet
    assert len(rounds[0]) < 40


def test_a_worker_that_has_just_begun_its_files_does_not_spoil_the_page(tmp_path: Path) -> None:
    code = "from soundsight.server.counters import Counters as C; c = C(); c.painted(7); print(c.page().decode())"
    for name in ("counter_4194305.db", "histogram_4194305.db", "gauge_livesum_4194305.db"):
        (tmp_path / name).touch()  # made, and not yet given its size
    shared = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=shared, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    assert "soundsight_images_total 7.0" in done.stdout
