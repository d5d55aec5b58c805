"""Recipes: TOML → frozen pydantic models that refuse unknown keys and say the known ones."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from soundsight.errors import RecipeError, UnknownNameError
from soundsight.registry import unknown

__all__ = [
    "Augment",
    "CardConfig",
    "ConsistencyConfig",
    "DataConfig",
    "FrozenConfig",
    "JoinedClass",
    "ModelConfig",
    "Optimizer",
    "PerceptualConfig",
    "Recipe",
    "Strict",
    "TrainConfig",
    "explain",
    "load_recipe",
    "load_table",
    "recipe_names",
    "value_of",
]


# What stands in another's place: to name the one is to leave out the others, which a recipe may have named.
_INSTEAD = {"data.shards": ("embeddings", "rows"), "data.embeddings": ("shards",)}
Decay = Annotated[float, Field(ge=0, lt=1)]


class Strict(BaseModel):
    """Frozen; every unknown key is an error, and so is a number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Augment(Strict):
    """Changes drawn anew for each copy of a training recording; 0 switches one off."""

    copies: NonNegativeInt = 0
    """Changed copies of every recording, made once before training; 0 trains on the recordings as they are."""
    formant: NonNegativeFloat = Field(default=0.0, lt=1)
    """Resampling by a factor within 1 ± formant: moves pitch and formants, like a longer or shorter vocal tract."""
    tempo: NonNegativeFloat = Field(default=0.0, lt=1)
    """Longer or shorter by up to this share at the same pitch."""
    reverb_s: NonNegativeFloat = Field(default=0.0, lt=2)
    """Longest decay of an added room; half of the copies stay dry."""
    tilt_db: NonNegativeFloat = 0.0
    """Spectral tilt, up to this many decibels between the lowest and highest band, either way."""
    noise_snr_db: tuple[float, float] | None = None
    """Range of signal-to-noise ratios of added noise; half of the copies stay clean."""
    events: float = Field(default=0.0, ge=0, le=1)
    """Share of the noises that do not stand still: calls, knocks, tones, sirens, noise that pulses."""
    margin_s: NonNegativeFloat = Field(default=0.0, lt=5)
    """Longest pause before and after a copy with noise: the noise fills it, and trimming cannot take it all away."""
    time_mask: NonNegativeFloat = Field(default=0.0, lt=1)
    """Widest masked part of the frames, as a share."""
    frequency_mask: NonNegativeFloat = Field(default=0.0, lt=1)
    """Widest masked part of the bins, as a share."""
    time_warp: NonNegativeFloat = Field(default=0.0, lt=0.5)
    """Cut or pad at both ends, up to this share of the clip: trimming is never exact."""


class JoinedClass(Strict):
    """What one class is called on either side."""

    sounds: tuple[str, ...] = Field(min_length=1)
    images: tuple[str, ...] = Field(min_length=1)


class DataConfig(Strict):
    """Which data, how split and how paired."""

    sounds: str | None = None
    images: str = "mnist"
    pairs: str | None = None
    """In place of both: a data set of pairs (``scenes``), or a folder of one's own."""
    only: tuple[str, ...] = ()
    """Of pairs with classes, those of these alone; empty for all."""
    target: Literal["picture", "sketch"] = "picture"
    """What is to be painted: pictures, or their edges."""
    classes: dict[str, JoinedClass] = {}
    """Classes that sounds and images have in common, by name, where they call them differently; all others are left
    out. Empty where both have the same classes in the same order."""
    pairing: Literal["many-to-one", "one-to-one"] = "many-to-one"
    max_pairs: PositiveInt | None = None
    """Train on so many pairs only, evenly spread over all, for a quick look."""
    split: str = "random"
    """``random`` (90/10 over recordings), ``official``, ``speaker:NAME`` (that speaker is the test set), ``clip`` or
    ``fold:N``; of pairs ``block`` (the last quarter of each clip), ``clip``, ``clip:NAME``, or ``random``, which
    leaks."""
    others: bool = False
    """Sounds of the classes that ``classes`` leaves out teach hearing: named, never painted. For ``other_labels``."""
    augment: Augment = Augment()
    voices: NonNegativeInt = 0
    """Synthetic speakers added to the training recordings (spoken by espeak-ng and flite)."""
    calibration_voices: NonNegativeInt = 0
    """Synthetic speakers that are not trained on: they set how sure a model says it is. For systems that say so."""
    outliers: NonNegativeInt = 0
    """Sounds that are no digit, for systems that learn to say so: half of them other words, the rest no speech and
    moments of digits that are too short for a word."""


class ModelConfig(BaseModel):
    """The system's name; its own options are checked by the system's ``Config``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    system: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class Optimizer(Strict):
    """Adam, one per phase."""

    lr: PositiveFloat = 1e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` falls from ``lr`` to 0 over the whole training."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the rate first rises from next to nothing."""


class TrainConfig(Strict):
    """How long, how fast, how often to save."""

    epochs: PositiveInt = 1
    batch_size: PositiveInt = 128
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["fp32", "bf16"] = "bf16"
    optimizer: dict[str, Optimizer] = {}
    """One table per phase; ``default`` for the phases not named."""
    ema: NonNegativeFloat = Field(default=0.0, lt=1)
    """Decay of the moving average of the weights that is saved as the model; 0 saves the last weights."""
    save_every: PositiveInt = 500
    """Steps between checkpoints; one is also written at the end of each epoch."""
    sample_every: PositiveInt = 1
    """Epochs between sample grids."""

    def optimizer_of(self, phase: str) -> Optimizer:
        """Options of a phase's optimiser."""
        return self.optimizer.get(phase, self.optimizer.get("default", Optimizer()))


class CardConfig(Strict):
    """What the model's card says beside what training knows."""

    summary: str = ""
    hears: str = ""
    """What the model knows, for «this does not sound like …»; for models that can tell."""
    licence: str = "Apache-2.0"
    limits: tuple[str, ...] = ()


class ConsistencyConfig(Strict):
    """Audio–visual consistency as a loss of any system that makes pictures."""

    model: str
    """Folder of a trained alignment, with its PyTorch weights: ``soundsight train alignment``."""
    weight: PositiveFloat = 1.0


class FrozenConfig(Strict):
    """Parts of the network that are taken from a trained model as they are, and not trained."""

    model: str
    """Folder of a model of the same system with the same options, with its PyTorch weights."""
    parts: tuple[str, ...] = Field(min_length=1)
    """Names as ``soundsight train --dry-run`` lists them: ``painter`` of a flow, so that its listener alone learns."""


class PerceptualConfig(Strict):
    """Perceptual distance as a loss of any system that makes pictures."""

    model: str
    """Whose activations are compared: the folder of a trained judge, with its PyTorch weights, or the safetensors file
    of a VGG with torchvision's names."""
    layers: tuple[str, ...] = ()
    """Of a VGG, for example ``relu2_2``; none for the last of each of its first four blocks. All of a judge."""
    weight: PositiveFloat = 1.0


class Recipe(Strict):
    """One experiment, whole."""

    name: str = Field(default="unnamed", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    source: str = ""
    """Where the experiment was published."""
    features: dict[str, Any] = {"name": "logmel"}
    data: DataConfig = DataConfig()
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    consistency: ConsistencyConfig | None = None
    perceptual: PerceptualConfig | None = None
    frozen: FrozenConfig | None = None
    card: CardConfig = CardConfig()


def recipe_names(table: Literal["model", "adapter", "backbone"] = "model") -> list[str]:
    """Names of the recipes in the package that have this table: of systems, of adapters, or of backbones."""
    return [name for name in _all_names() if table in _parse(_packaged(name), f"{name}.toml")]


def _all_names() -> list[str]:
    folder = resources.files("soundsight.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _packaged(name: str) -> str:
    return (resources.files("soundsight.recipes") / f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a system's recipe, as ``load_table`` does, and check it.

    Raises:
        RecipeError: As for ``load_table``; an unknown key, or a value that does not fit.
        UnknownNameError: Neither a known recipe nor a file.
    """
    return parse_recipe(load_table(name_or_file, overrides))


def load_table(name_or_file: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read any recipe by its name or from a file, then apply ``a.b=value`` overrides; its keys are not checked.

    Args:
        name_or_file: A recipe of the package, a TOML file, or the ``recipe.json`` that a training left in its folder.
        overrides: ``a.b=value`` with a TOML value; what is none is taken as a string.

    Raises:
        RecipeError: Neither TOML nor JSON, or an override that is no ``a.b=value``.
        UnknownNameError: Neither a known recipe nor a file.
    """
    if name_or_file in _all_names():
        text, name = _packaged(name_or_file), name_or_file
    elif name_or_file.endswith((".toml", ".json")):
        try:
            text, name = Path(name_or_file).read_text(encoding="utf-8"), Path(name_or_file).stem
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"cannot read the recipe {name_or_file}: {_reason(error)}") from error
    else:
        raise UnknownNameError(unknown("recipes", name_or_file, _all_names()) + "; or give a .toml file")
    table = _parse(text, name_or_file)
    table.setdefault("name", name)
    for override in overrides:
        _override(table, override)
    return table


def _parse(text: str, file: str) -> dict[str, Any]:
    form = "JSON" if file.endswith(".json") else "TOML"
    try:
        table = json.loads(text) if form == "JSON" else tomllib.loads(text)
    # A ValueError is a fault of the syntax, or an integer of more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{file} is not {form}: {error}") from error
    if not isinstance(table, dict):
        raise RecipeError(f"{file} is no recipe: expected an object, not {type(table).__name__}")
    return table


def parse_recipe(table: dict[str, Any]) -> Recipe:
    """Check a recipe that is already a dictionary.

    Raises:
        RecipeError: As for ``load_recipe``.
    """
    for other in ("adapter", "backbone"):
        if isinstance(table, dict) and other in table:  # JSON may hold anything
            raise RecipeError(f"the recipe of a system is wanted, and this one, with [{other}], is only trained")
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise RecipeError(explain(error, Recipe)) from error


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first fault of a pydantic error as one line, with the known keys where one is unknown."""
    fault = error.errors()[0]
    key = ".".join([*([prefix] if prefix else []), *(str(part) for part in fault["loc"])])
    if fault["type"] == "extra_forbidden":
        known = _keys_at(model, [str(part) for part in fault["loc"][:-1]])
        return f"unknown key '{key}' in the recipe; known here: {', '.join(known)}"
    if fault["type"] == "missing":
        return f"the recipe lacks '{key}'"
    came = repr(fault["input"])
    came = came if len(came) <= 80 else f"{came[:79]}…"
    return f"recipe key '{key}': {fault['msg'][0].lower()}{fault['msg'][1:]}, not {came}"


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None:  # a key of a dictionary, such as a phase's name
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return sorted(model.model_fields)


def _override(table: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"--set takes key.key=value, for example train.epochs=3; got {override!r}")
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override}: '{key}' is a value, not a table")
    table[keys[-1]] = value_of(text)
    for other in _INSTEAD.get(path.strip(), ()):
        table.pop(other, None)


def value_of(text: str) -> Any:
    """A TOML value, or the text itself where it is none: a bare word needs no quotes, as in ``data.split=random``."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text.strip()


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
