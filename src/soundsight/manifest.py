"""What a model says about itself: the contents of ``config.json``, checked key by key."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from soundsight.errors import ModelError

__all__ = ["CONFIG", "FORMAT_VERSION", "NO_PICTURE", "WEIGHT_SUFFIXES", "ImageShape", "Kind", "ModelFolder", "parse"]

Kind = Literal["generator", "judge", "alignment", "adapter"]
"""Sounds to pictures; pictures to labels; both to embeddings that can be compared; embeddings of sounds to what a
text-to-image model is told."""

CONFIG = "config.json"
FORMAT_VERSION = 1
MAX_LATENT_SIZE = 1 << 16
MAX_IMAGE_SIDE = 4096

# Whatever holds weights somewhere. Such a file that the config does not name is one that nobody vouches for.
WEIGHT_SUFFIXES = frozenset(
    (".bin", ".ckpt", ".data", ".gguf", ".h5", ".npz", ".onnx", ".pb", ".pickle", ".pkl", ".pt", ".pth", ".safetensors")
)
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Size of a picture that a model makes (or reads), in pixels."""

    channels: int
    height: int
    width: int


NO_PICTURE = ImageShape(0, 0, 0)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a model folder says about itself.

    Attributes:
        path: The folder.
        name: What the model is called.
        system: The published system it is an instance of; the name of a module in ``models``.
        kind: What it does.
        features: Options of the front end with its ``name``, or None for a model that does not hear (a judge). Of an
            adapter the encoder that hears for it: ``name``, ``size`` and ``identity``, None where it is not known, and
            ``options`` where they are not the usual ones.
        latent_size: Width D of the noise input; 0 for none.
        image: Size of the pictures; ``NO_PICTURE`` of an adapter, which leaves painting to others.
        labels: Names of the classes, or None.
        model: Options of the system.
        training: Facts about the training.
        card: ``summary``, ``licence``, ``data`` (name, licence, attribution each), ``scores``, ``limits``.
        weights: File name to SHA-256 of each file of weights.
        target: Of an adapter, whose words it learned: the text encoder's ``name`` and ``identity``, ``sizes`` of the
            parts that it says, and the ``template`` of the prompts. None of other models.
    """

    path: Path
    name: str
    system: str
    features: dict[str, Any] | None
    latent_size: int
    image: ImageShape
    labels: tuple[str, ...] | None = None
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    kind: Kind = "generator"
    target: dict[str, Any] | None = None

    @property
    def num_bytes(self) -> int:
        """Size of the weights on disk."""
        return sum((self.path / name).stat().st_size for name in self.weights)

    @property
    def known(self) -> str:
        """What a model knows, for «this does not sound like …»."""
        return str(self.card.get("hears") or "anything that the model knows")

    def config(self) -> dict[str, Any]:
        """The contents of ``config.json``; a value that JSON has no word for is a bug of the caller."""
        described = {"format_version": FORMAT_VERSION, **asdict(self)}
        del described["path"]
        if self.kind == "adapter":
            described["image"] = None
        if self.target is None:
            del described["target"]
        config: dict[str, Any] = json.loads(json.dumps(described, allow_nan=False))
        return config


def parse(path: Path, config: dict[str, Any]) -> ModelFolder:
    """A description from the contents of ``config.json``, whatever they are.

    Raises:
        ModelError: A key is missing or unknown, or a value does not fit; the message names it.
    """
    version = config.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelError(
            f"{path}: made by a newer soundsight (format {version}, this one reads {FORMAT_VERSION}); upgrade it"
        )
    check = _Checker(path)
    check.that(version == FORMAT_VERSION and version is not True, "format_version", version, str(FORMAT_VERSION))
    # Folders made before there were alignments do not say what they are.
    config = {"kind": "judge" if config.get("features", {}) is None else "generator", "target": None, **config}
    keys = {item.name for item in fields(ModelFolder)} - {"path"} | {"format_version"}
    check.keys(config, keys, "")
    kind = config["kind"]
    check.that(kind in get_args(Kind), "kind", kind, ", ".join(get_args(Kind)))
    image = _image(check, config)
    target = config["target"]
    fits = isinstance(target, dict) if kind == "adapter" else target is None
    check.that(fits, "target", target, "an object for an adapter, and nothing else")
    features = config["features"]
    expected = "null, for a judge" if kind == "judge" else "an object"
    check.that((features is None) if kind == "judge" else isinstance(features, dict), "features", features, expected)
    if features is not None:
        name = features.get("name")
        check.that(isinstance(name, str), "features.name", name, "the name of a front end")
    latent_size = check.value(config, "latent_size", int)
    check.that(0 <= latent_size <= MAX_LATENT_SIZE, "latent_size", latent_size, f"0 to {MAX_LATENT_SIZE}")
    labels = config["labels"]
    is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    check.that(labels is None or is_list, "labels", labels, "a list of names or null")
    weights = check.value(config, "weights", dict)
    for name, digest in weights.items():
        plain = name == Path(name).name and not set(name) & set("/\\:\0") and Path(name).suffix in WEIGHT_SUFFIXES
        check.that(plain, "weights", name, "plain names of files of weights")
        check.that(isinstance(digest, str) and bool(_SHA256.fullmatch(digest)), f"weights.{name}", digest, "a SHA-256")
    return ModelFolder(
        path=path,
        name=check.value(config, "name", str),
        system=check.value(config, "system", str),
        features=features,
        latent_size=latent_size,
        image=image,
        labels=None if labels is None else tuple(labels),
        **{key: check.value(config, key, dict) for key in ("model", "training", "card")},
        weights=weights,
        kind=kind,
        target=target,
    )


def _image(check: _Checker, config: dict[str, Any]) -> ImageShape:
    """Size of the pictures; an adapter makes none."""
    if config["kind"] == "adapter":
        check.that(config["image"] is None, "image", config["image"], "null, for an adapter")
        return NO_PICTURE
    image = check.value(config, "image", dict)
    check.keys(image, {"channels", "height", "width"}, "image.")
    channels, height, width = (check.value(image, side, int, "image.") for side in ("channels", "height", "width"))
    check.that(channels in (1, 3), "image.channels", channels, "1 or 3")
    check.that(1 <= height <= MAX_IMAGE_SIDE, "image.height", height, f"1 to {MAX_IMAGE_SIDE}")
    check.that(1 <= width <= MAX_IMAGE_SIDE, "image.width", width, f"1 to {MAX_IMAGE_SIDE}")
    return ImageShape(channels, height, width)


@dataclass(frozen=True, slots=True)
class _Checker:
    """Refuses what does not fit, with one sentence for all."""

    path: Path

    def that(self, fits: bool, key: str, value: object, expected: str) -> None:
        if not fits:
            shown = repr(value)
            shown = shown if len(shown) <= 60 else shown[:57] + "…"
            raise ModelError(f"{self.path}: {key} in {CONFIG} is {shown}; expected {expected}")

    def value(self, mapping: dict[str, Any], key: str, kind: type, prefix: str = "") -> Any:
        value = mapping[key]
        word = {str: "a text", int: "a whole number", dict: "an object"}[kind]
        self.that(isinstance(value, kind) and not isinstance(value, bool), prefix + key, value, word)
        return value

    def keys(self, mapping: dict[str, Any], known: set[str], prefix: str) -> None:
        for key in sorted(known ^ set(mapping)):
            problem = "unknown key" if key in mapping else "missing key"
            raise ModelError(f"{self.path}: {problem} '{prefix}{key}' in {CONFIG}; is the folder whole, and a model's?")
