"""What ``/openapi.json`` says: bodies, options, answers and examples of every route."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import PlainTextResponse

from soundsight.server.options import CONTROLS, EmbeddingOptions, ImageOptions, MorphOptions
from soundsight.server.problems import MEDIA_TYPE

__all__ = ["EXAMPLES", "HEALTH", "MODELS", "SECURITY", "answers", "paths", "text"]

Json = dict[str, Any]

# What one may ask for, as an example.
_ASKED: Json = {
    "seed": 7,
    "size": 280,
    "model": "digits",
    "variation": 0.8,
    "guidance": 1.5,
    "steps": 4,
    "prompt": "in the rain",
    "text_share": 0.2,
    "negative": "text",
    "num_images": 4,
    "num_frames": 12,
    "format": "zip",
    "split": False,
}
_WAV = "(a file's bytes)"

_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_BASE64: Json = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
_BYTES: Json = {"type": "string", "format": "binary"}


def _object(required: Mapping[str, Json], **optional: Json) -> Json:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _content(schema: Json, example: Any) -> Json:
    return {"schema": schema, "example": example}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


_PROBLEM = _object(
    {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT},
    retry_after_s=_COUNT,
    errors=_array(_object({"field": _TEXT, "detail": _TEXT})),
)
# What each refusal may say.
_DETAILS = {
    400: "the form is broken: Did not find boundary character 45 at index 2",
    401: "a token is needed: Authorization: Bearer TOKEN",
    403: "pages of other origins may not call; the server's owner can allow one with --origin",
    408: "the body took longer than 30 s",
    413: "more than 16 MB, the most that is taken; send a shorter sound",
    415: "a body of text/html; expected a sound (audio/…, application/octet-stream) or multipart/form-data",
    422: "the sound: silent: nothing in it is louder than -80 dB of full scale; expected a sound",
    429: "128 requests wait already; try again later",
    503: "the request took longer than its deadline",
}
_SOUND = _object(
    {
        "part": _COUNT,
        "num_parts": _COUNT,
        "duration_s": _NUMBER,
        "peaks": _array(_NUMBER),
        "features": _or_null(_object({"bins": _COUNT, "frames": _COUNT, "png": _BASE64})),
        "heard": _or_null(_object({"label": _TEXT, "confidence": _NUMBER, "outlier": _NUMBER})),
    }
)
_IMAGE = _object({"part": _COUNT, "index": _COUNT, "width": _COUNT, "height": _COUNT, "png": _BASE64}, place=_NUMBER)
_WHOLE = _content(
    _object(
        {"model": _TEXT, "seed": {"type": ["integer", "string"]}, "sounds": _array(_SOUND), "images": _array(_IMAGE)}
    ),
    {
        "model": "digits",
        "seed": 7,
        "sounds": [
            {
                "part": 0,
                "num_parts": 1,
                "duration_s": 0.4975,
                "peaks": [0.012, 0.4, 1.0, 0.3],
                "features": {"bins": 40, "frames": 64, "png": "iVBORw0…"},
                "heard": {"label": "7", "confidence": 0.98, "outlier": 0.01},
            }
        ],
        "images": [{"part": 0, "index": 0, "width": 28, "height": 28, "png": "iVBORw0…"}],
    },
)
_LINES = (
    "A JSON object a line: `sound` for each part of a sound (its outline, what the model sees and hears), "
    "none of a morph; then `image` as each is made, and `step` with `done` of `steps` on the way to those that take a "
    "while; last `end`, or `problem` where something went wrong on the way."
)
_LINES_EXAMPLE = '{"type": "image", "part": 0, "index": 0, "width": 28, "height": 28, "png": "iVBORw0…"}\n'

HEALTH = _content(_object({"status": {"const": "ok"}, "version": _TEXT}), {"status": "ok", "version": "0.1.0"})
MODELS = _content(
    _object(
        {
            "models": _array(
                _object(
                    {
                        "name": _TEXT,
                        "default": {"type": "boolean"},
                        "summary": _TEXT,
                        "hears": _TEXT,
                        "limits": _array(_TEXT),
                        "licence": _TEXT,
                        "data": _array(_TEXT),
                        "labels": _or_null(_array(_TEXT)),
                        "image": _object({"width": _COUNT, "height": _COUNT, "channels": _COUNT}),
                        "controls": _array({"enum": list(CONTROLS)}),
                        "can": _array({"enum": ["split", "live", "morph"]}),
                        "says": {"type": "boolean"},
                    }
                )
            ),
            "max_images": _COUNT,
        }
    ),
    {
        "models": [
            {
                "name": "digits",
                "default": True,
                "summary": "Spoken digits to handwritten ones; many handwritings for one sound.",
                "hears": "one of the ten English digit words, zero to nine",
                "limits": ["It draws a digit whatever it hears."],
                "licence": "Apache-2.0",
                "data": ["MNIST, LeCun, Cortes and Burges"],
                "labels": list("0123456789"),
                "image": {"width": 28, "height": 28, "channels": 1},
                "controls": ["variation"],
                "can": ["split", "live", "morph"],
                "says": False,
            }
        ],
        "max_images": 64,
    },
)
EXAMPLES = _content(
    _object({"examples": _array(_object({"name": _TEXT, "title": _TEXT, "url": _TEXT}))}),
    {"examples": [{"name": "seven", "title": "seven", "url": "/static/examples/seven.flac"}]},
)


SECURITY: Json = {
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{}, {"token": []}],
}
"""A server may want a token, or none."""


def _refusals(*statuses: int) -> dict[str, Json]:
    told: dict[str, Json] = {}
    for status in statuses:
        phrase = HTTPStatus(status).phrase
        example = {"type": "about:blank", "title": phrase, "status": status, "detail": _DETAILS[status]}
        content = {MEDIA_TYPE: {"schema": _PROBLEM, "example": example}}
        told[str(status)] = {"description": phrase, "content": content}
        if status in (429, 503):
            told[str(status)]["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
            }
    return told


def _extra(**openapi: Any) -> Json:
    """For a route: FastAPI is told nothing of the answer but what stands here."""
    return {"response_model": None, "openapi_extra": openapi}


def answers(content: Json, *refusals: int) -> Json:
    """A route that answers with JSON."""
    ok = {"description": "OK", "content": {"application/json": content}}
    return _extra(responses={"200": ok, **_refusals(*refusals)})


def text(media_type: str, example: str) -> Json:
    """A route that answers with a text."""
    content = {media_type.partition(";")[0]: _content(_TEXT, example)}
    told = _extra(responses={"200": {"description": "OK", "content": content}, **_refusals(401, 403)})
    return told | {"response_class": PlainTextResponse}


def _parameters(options: Mapping[str, Json]) -> list[Json]:
    """Options as parameters of the query."""
    found = []
    for name, option in options.items():
        schema = {key: value for key, value in option.items() if key != "description"}
        description = option.get("description", "")
        told = {"description": description, "schema": schema, "example": schema["examples"][0]}
        found.append({"name": name, "in": "query", "required": False, **told})
    return found


def _options(kind: type[BaseModel]) -> dict[str, Json]:
    """Options with what their class says of them."""
    told = {}
    for name, schema in kind.model_json_schema()["properties"].items():
        plain = {key: value for key, value in schema.items() if key not in ("title", "default")}
        if "anyOf" in plain:  # left out is the same as null, and a text cannot be null
            plain |= next(each for each in plain.pop("anyOf") if each.get("type") != "null")
        if schema.get("default") is not None:
            plain["default"] = schema["default"]
        told[name] = plain | {"examples": [_ASKED[name]]}
    return told


def _form(options: Mapping[str, Json], *sounds: str) -> Json:
    form = _object({name: _BYTES | {"description": "A sound."} for name in sounds}, **options)
    return form | {"additionalProperties": False}


def _filled(options: Mapping[str, Json], *sounds: str) -> Json:
    """A form as one may send it, of options that every model has."""
    usual = [name for name in ("num_images", "num_frames", "seed", "format") if name in options]
    return {**dict.fromkeys(sounds, _WAV), **{name: options[name]["examples"][0] for name in usual}}


def _sound_body(options: Mapping[str, Json]) -> Json:
    return {
        "required": True,
        "description": "A sound in any known format, as the body itself or as the part `file` of a form; with a form, "
        "options may be fields of it. Options stand in the query or in the form, not in both.",
        "content": {
            "multipart/form-data": _content(_form(options, "file"), _filled(options, "file")),
            "audio/*": _content(_BYTES, _WAV),
            "application/octet-stream": _content(_BYTES, _WAV),
        },
    }


def _morph_body(options: Mapping[str, Json]) -> Json:
    content = _content(_form(options, "first", "second"), _filled(options, "first", "second"))
    return {"required": True, "content": {"multipart/form-data": content}}


def _pictures(*kinds: str) -> Json:
    content: Json = {kind: {"schema": _BYTES} for kind in kinds}
    content["application/x-ndjson"] = {"schema": {"type": "string", "description": _LINES}, "example": _LINES_EXAMPLE}
    headers = {
        "X-Seed": {"description": "The seed.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
        "X-Model": {"description": "The model.", "schema": _TEXT},
    }
    return {"description": "The pictures.", "content": content, "headers": headers}


_OF_SOUNDS = (400, 401, 403, 408, 413, 415, 422, 429, 503)
_PICTURES = _pictures("image/png", "image/jpeg", "image/webp", "application/zip")
_PICTURES["content"]["application/json"] = _WHOLE
_PICTURES["headers"]["X-Heard"] = {"description": "What was heard first, where the model says it.", "schema": _TEXT}
_PLACE = _content(
    _object({"model": _TEXT, "size": _COUNT, "embedding": _array(_NUMBER)}),
    {"model": "alignment", "size": 64, "embedding": [0.03, -0.17, 0.08]},
)


def _operation(name: str, summary: str, tag: str, options: Mapping[str, Json], body: Json, answer: Json) -> Json:
    return {
        "post": {
            "tags": [tag],
            "summary": summary,
            "operationId": name,
            "parameters": _parameters(options),
            "requestBody": body,
            "responses": {"200": answer, **_refusals(*_OF_SOUNDS)},
        }
    }


def paths(models: Collection[str], max_images: int) -> Json:
    """The routes for sounds, which FastAPI does not know, of a server with these models."""
    images, morphs, embeddings = (_options(kind) for kind in (ImageOptions, MorphOptions, EmbeddingOptions))
    for options in (images, morphs):
        options["model"] |= {"enum": list(models), "examples": list(models)[:1]}
    embeddings["model"] |= {"examples": ["alignment"]}
    images["num_images"] |= {"maximum": max_images, "examples": [min(4, max_images)]}
    return {
        "/v1/images": _operation("images", "Pictures of a sound", "pictures", images, _sound_body(images), _PICTURES),
        "/v1/morphs": _operation(
            "morphs",
            "Pictures on the way from one sound to another",
            "pictures",
            morphs,
            _morph_body(morphs),
            _pictures("image/gif", "application/zip"),
        ),
        "/v1/embeddings": _operation(
            "embeddings",
            "Where a sound lies in the space that sounds and pictures share",
            "embeddings",
            embeddings,
            _sound_body(embeddings),
            {"description": "The place.", "content": {"application/json": _PLACE}},
        ),
    }
