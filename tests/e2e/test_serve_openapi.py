"""The description of the interface, and whether the server does what it says, whatever it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")

import jsonschema_rs
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from served import PROBLEM, SEVEN, TWO, serving
from soundsight import __version__
from soundsight.server import app
from soundsight.server.settings import Settings

OPERATIONS = {
    "POST /v1/images": "images",
    "POST /v1/morphs": "morphs",
    "POST /v1/embeddings": "embeddings",
    "GET /v1/models": "models",
    "GET /v1/examples": "examples",
    "GET /healthz": "health",
    "GET /metrics": "metrics",
}
CONFORMS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# What a field of a form or a body may hold: sounds, the beginning of one, and what is none.
SOUNDS = [SEVEN, TWO, SEVEN, TWO, SEVEN[:100], b"", b"\x00" * 999]
schemathesis.openapi.format("binary", st.sampled_from(SOUNDS))
schemathesis.openapi.media_type("audio/*", st.sampled_from([SEVEN, TWO, SEVEN[:100]]))


@pytest.fixture
def schema() -> Iterator[Any]:
    """An application for each test: schemathesis ends its life with it."""
    made = app.create(Settings())
    yield schemathesis.openapi.from_asgi("/openapi.json", made, headers={"host": "127.0.0.1"})
    made.state.serving.engine.close(5)


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    with serving() as client:
        answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    description: dict[str, Any] = answer.json()
    return description


def _operations(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in told["paths"].items()
        for method, operation in item.items()
    }


def test_it_is_openapi(schema: Any, told: dict[str, Any]) -> None:
    assert told["openapi"].startswith("3.1.")
    assert (told["info"]["title"], told["info"]["version"]) == ("soundsight", __version__)
    assert told["info"]["license"]["identifier"] == "Apache-2.0"
    schema.validate()
    assert set(_operations(told)) == set(OPERATIONS)


def test_its_schemas_are_schemas(told: dict[str, Any]) -> None:
    found = list(_schemas(told["paths"]))
    assert len(found) > 50
    for each in found:
        jsonschema_rs.meta.validate(each)


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "schema":
                yield value
            else:
                yield from _schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from _schemas(value)


def _check_example(content: dict[str, Any]) -> None:
    assert jsonschema_rs.is_valid(content["schema"], content["example"]), content


@pytest.mark.parametrize(("label", "identity"), OPERATIONS.items())
def test_every_operation_is_described(told: dict[str, Any], label: str, identity: str) -> None:
    operation = _operations(told)[label]
    assert operation["operationId"] == identity
    assert operation["summary"]
    assert operation["tags"]
    assert "200" in operation["responses"]
    for status, answer in operation["responses"].items():
        assert answer["description"]
        assert answer["content"]
        for kind, content in answer["content"].items():
            assert content["schema"], (status, kind)
            if kind.startswith("image/") or kind == "application/zip":
                continue
            _check_example(content)
        if status != "200":
            assert list(answer["content"]) == [PROBLEM]
            problem = answer["content"][PROBLEM]
            assert jsonschema_rs.is_valid(problem["schema"], problem["example"])
            assert problem["example"]["status"] == int(status)
        if status in ("429", "503"):
            assert "Retry-After" in answer["headers"]
    for parameter in operation.get("parameters", []):
        assert parameter["description"], parameter["name"]
        _check_example(parameter)
    for content in operation.get("requestBody", {"content": {}})["content"].values():
        _check_example(content)


@pytest.mark.parametrize("label", ["POST /v1/images", "POST /v1/morphs", "POST /v1/embeddings"])
def test_the_query_and_the_form_have_the_same_options(told: dict[str, Any], label: str) -> None:
    operation = _operations(told)[label]
    form = dict(operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"])
    sounds = {name for name, schema in form.items() if schema.get("format") == "binary"}
    assert sounds == ({"first", "second"} if "morphs" in label else {"file"})
    query = {parameter["name"] for parameter in operation["parameters"]}
    assert query == set(form) - sounds


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        *((label, GenerationMode.POSITIVE) for label in OPERATIONS),
        *((label, GenerationMode.NEGATIVE) for label in OPERATIONS if label.startswith("POST")),
    ],
)
def test_answers_are_as_described(schema: Any, label: str, mode: Any) -> None:
    method, path = label.split()
    operation = schema[path][method]
    checks = [check for check in CHECKS.get_all() if check.__name__ in CONFORMS]
    assert len(checks) == len(CONFORMS)
    seen: Counter[tuple[str | None, int]] = Counter()

    @settings(
        max_examples=40,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            # What no schema says: bytes are a sound, an option stands in one place, and this model has no guidance.
            for name in ("file", "first", "second"):
                if getattr(case.body.get(name, b""), "data", b"") not in SOUNDS:
                    case.body[name] = SEVEN
            for name in case.body.keys() | {"guidance", "steps"}:
                case.query.pop(name, None)
            for name in ("guidance", "steps"):
                case.body.pop(name, None)
        answer = case.call(headers={"host": "127.0.0.1"})
        seen[case.media_type, answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    run()
    statuses = {status for _, status in seen}
    assert statuses <= {200, 400, 415, 422}
    if operation.body:
        kinds = {kind for kind, _ in seen}
        assert "multipart/form-data" in kinds
        assert len(kinds) == 1 if "morphs" in label else len(kinds) > 1
        assert 422 in statuses
    assert (200 in statuses) == (mode is GenerationMode.POSITIVE)
