"""What a caller may ask for: texts from a query or a form, checked as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from soundsight.controls import MAX_GUIDANCE, MAX_STEPS, MAX_VARIATION
from soundsight.noise import MAX_SEED
from soundsight.picture import MAX_SIZE, MIN_SIZE
from soundsight.server.problems import Problem

__all__ = ["CONTROLS", "MAX_IMAGES", "EmbeddingOptions", "ImageOptions", "MorphOptions", "Painting", "parse"]

CONTROLS = ("variation", "guidance", "steps", "prompt", "text_share", "negative")
"""What callers may turn where the model has it."""
MAX_IMAGES = 512
"""Of all parts of a sound together, whatever a server is told."""
MAX_TEXT = 200
"""Characters of an option."""
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class Painting(BaseModel):
    """What every request for pictures may say."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """What the noise is drawn from: the same sound, seed and model give the same pictures."""
    size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)] | None = None
    """Long side in pixels; the model's own size if left out."""
    model: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Name of a model, one of ``/v1/models``; the first of them if left out."""
    variation: Annotated[float, Field(ge=0, le=MAX_VARIATION)] | None = None
    """How far from the middle of all handwritings; 0 is always the same picture. Where the model has it."""
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    """How much a picture insists on what was heard. Where the model has it."""
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    """Steps from noise to picture. Where the model has it."""
    prompt: Text | None = None
    """A text beside the sound: what the sound does not say is the text's. Where a text-to-image model paints."""
    text_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much the text counts where both speak; 0 if left out. Where a text-to-image model paints."""
    negative: Text | None = None
    """What is not to be painted. Where a text-to-image model paints."""

    @property
    def controls(self) -> dict[str, Any]:
        """Keywords for the pipeline."""
        asked = {name: getattr(self, name) for name in CONTROLS}
        return {name: value for name, value in asked.items() if value is not None}


class ImageOptions(Painting):
    """Of ``POST /v1/images``."""

    num_images: Annotated[int, Field(ge=1, le=MAX_IMAGES)] = 1
    """Pictures of each part of the sound."""
    format: Literal["png", "jpeg", "webp", "zip", "json", "ndjson"] = "png"
    """One file (several pictures side by side), a ZIP of PNGs, JSON with base64, or a line of JSON for each as made."""
    split: bool = False
    """Cut the sound at its silences, for recordings of several words."""


class MorphOptions(Painting):
    """Of ``POST /v1/morphs``."""

    num_frames: Annotated[int, Field(ge=2, le=64)] = 24
    """Pictures on the way, both ends included."""
    format: Literal["ndjson", "gif", "zip"] = "ndjson"
    """A line of JSON for each picture, a film, or a ZIP of PNGs."""


class EmbeddingOptions(BaseModel):
    """Of ``POST /v1/embeddings``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: Literal["alignment"] = "alignment"
    """The space."""


Options = TypeVar("Options", bound=BaseModel)


def parse(kind: type[Options], pairs: Iterable[tuple[str, str]]) -> Options:
    """Options from texts.

    Raises:
        Problem: 422, with one entry for each option that is unknown, given twice, or not what it should be.
    """
    given: dict[str, str] = {}
    errors = []
    for name, text in pairs:
        if name not in kind.model_fields:
            known = ", ".join(sorted(kind.model_fields))
            errors.append({"field": name[:MAX_TEXT], "detail": f"there is no such option; known: {known}"})
        elif name in given:
            errors.append({"field": name, "detail": "given more than once"})
        elif len(text) > MAX_TEXT or "\0" in text:
            errors.append({"field": name, "detail": f"more than {MAX_TEXT} characters, or none that can be read"})
        given[name] = text
    if not errors:
        try:
            return kind.model_validate(given)
        except ValidationError as error:
            errors = [_told(each, given) for each in error.errors(include_url=False)]
    first = errors[0]
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    raise Problem(422, f"{first['field']}: {first['detail']}{more}", title="Unusable option", errors=errors[:20])


def _told(error: Any, given: dict[str, str]) -> dict[str, str]:
    name = str(error["loc"][0]) if error["loc"] else "options"
    return {"field": name, "detail": f"{error['msg']}, not {given.get(name, '')[:60]!r}"}
