"""What adapters are trained and tested on: embeddings with classes and folds, and what texts say of the classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soundsight import encoders, registry, texts
from soundsight.adapters.patches import resample
from soundsight.datasets.captions import prompts_of
from soundsight.datasets.info import DatasetInfo, data_root
from soundsight.encoders.embedding import Embedding
from soundsight.encoders.shards import read_shards, records
from soundsight.encoders.stored import Stored, read_array
from soundsight.errors import DatasetError, RecipeError
from soundsight.training.adapter_recipe import AdapterData, AdapterRecipe, EncoderConfig, TargetsConfig
from soundsight.training.adapter_rows import Row, read_table, rows_of, section

__all__ = ["Heard", "Targets", "info_of", "load_heard", "load_targets"]

_MAX_TARGET_BYTES = 4 << 30
# Prompts at a time: what is not wanted of them is let go before the next.
_PROMPTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Embeddings of N recordings.

    Attributes:
        names: Of the files.
        tokens_NLD: (N, L, D) float32; sounds of other lengths are resampled to one.
        pooled_ND: (N, D) float32.
        labels: Of each, the classes that it shows, from 0; one at least.
        folds: N names of folds.
        classes: C names, in the order of the labels; or captions.
        identity: SHA-256 of the encoder, where it is known.
        options: Of the encoder, where they are not the usual ones.
        is_captioned: Whether the classes are captions, texts as they are.
    """

    names: tuple[str, ...]
    tokens_NLD: Tensor
    pooled_ND: Tensor
    labels: tuple[tuple[int, ...], ...]
    folds: tuple[str, ...]
    classes: tuple[str, ...]
    identity: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    is_captioned: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def shares(self, rows: Sequence[int] | None = None) -> Tensor:
        """Shares of the classes in all or some recordings, (B, C): even ones where one shows several."""
        rows = range(len(self)) if rows is None else rows
        shares_BC = torch.zeros(len(rows), len(self.classes))
        for place, row in enumerate(rows):
            shares_BC[place, list(self.labels[row])] = 1 / len(self.labels[row])
        return shares_BC

    def mean_shares(self) -> Tensor:
        """The classes' shares in all recordings together, (C,); of captions ``shares`` itself would be gigabytes."""
        own = [(label, 1 / len(labels)) for labels in self.labels for label in labels]
        labels_X, shares_X = (torch.tensor(column) for column in zip(*own, strict=True))
        return torch.zeros(len(self.classes)).index_add_(0, labels_X, shares_X) / len(self)

    def single_labels(self) -> Tensor:
        """The class of each recording, (N,) int64, where each has one alone."""
        assert self.is_single, "refused before"
        return torch.tensor([own[0] for own in self.labels])

    @property
    def is_single(self) -> bool:
        """Whether each recording shows one class."""
        return all(len(own) == 1 for own in self.labels)

    def of_folds(self, folds: Sequence[object]) -> Heard:
        """The recordings of some folds."""
        wanted = {str(fold) for fold in folds}
        rows = [row for row, fold in enumerate(self.folds) if fold in wanted]
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            tokens_NLD=self.tokens_NLD[rows],
            pooled_ND=self.pooled_ND[rows],
            labels=tuple(self.labels[row] for row in rows),
            folds=tuple(self.folds[row] for row in rows),
        )

    def taught(self) -> list[int]:
        """The classes that some recording shows."""
        return sorted({label for own in self.labels for label in own})

    def of_classes(self, classes: Sequence[int]) -> Heard:
        """The same recordings, where there are no other classes."""
        places = {label: place for place, label in enumerate(classes)}
        labels = tuple(tuple(places[label] for label in own) for own in self.labels)
        return replace(self, labels=labels, classes=tuple(self.classes[label] for label in classes))


@dataclass(frozen=True, eq=False)
class Targets:
    """What a text encoder says of the prompts of C classes.

    Attributes:
        parts: Name of each part of a ``Conditioning`` to (C, W) or (C, L, W).
        prompts: C prompts.
        name: Of the text encoder.
        identity: Its SHA-256.
        encoder: Itself, for adapters that speak through it.
        unread: What of the prompts is too long to be read, in a line; empty where nothing is.
    """

    parts: dict[str, Tensor]
    prompts: tuple[str, ...]
    name: str
    identity: str
    encoder: Any
    unread: str = ""

    @cached_property
    def variances(self) -> dict[str, float]:
        """Part to the squared error of the mean target."""
        return {part: float(tensor.var(dim=0, correction=0).mean()) for part, tensor in self.parts.items()}

    def of_classes(self, classes: Sequence[int]) -> Targets:
        """Of some classes alone."""
        parts = {part: tensor[list(classes)] for part, tensor in self.parts.items()}
        return replace(self, parts=parts, prompts=tuple(self.prompts[label] for label in classes))


def info_of(data: AdapterData) -> DatasetInfo | None:
    """What is known of the data set that the recordings are of; None for data of one's own.

    Raises:
        UnknownNameError: No such data set.
    """
    if data.set is None:
        return None
    info: DatasetInfo = registry.find("datasets", data.set).INFO
    return info


def load_heard(recipe: AdapterRecipe, root: Path | None = None, *, num_patches: int | None = None) -> Heard:
    """The recordings of all folds that a recipe names, each with its own embedding.

    Args:
        recipe: The recipe.
        root: Folder of the data sets; None is ``data_root()``.
        num_patches: Tokens that each sound gets; None for as many as the longest has.

    Raises:
        DatasetError: A file is absent or damaged, a recording has no embedding or one with NaN, a fold is not there, or
            a class has no recording to learn it from.
    """
    data, root = recipe.data, data_root() if root is None else root
    if data.table is None:
        stored, identity, options = _read_embeddings(data, recipe.encoder, root)
        what = ", ".join(str(root / folder) for folder in data.shards or ())
        every, is_captioned = rows_of(stored.facts, what)
        rows = section(every, data.train_folds, data.test_folds, what)
    else:
        what, is_captioned = str(root / data.table), False
        every = read_table(root / data.table, (data.filename, data.label, data.fold))
        rows = section(every, data.train_folds, data.test_folds, what)
        stored, identity, options = _read_embeddings(data, recipe.encoder, root)
    classes = _classes(data, rows if data.table is None else every, what)
    if data.table is not None:
        _check_taught(data, rows, classes, what)
    found = [stored.find(row.name) for row in rows]
    places = {name: label for label, name in enumerate(classes)}
    return Heard(
        tuple(row.name for row in rows),
        _tokens(found, num_patches),
        torch.stack([torch.from_numpy(embedding.pooled_D) for embedding in found]),
        tuple(tuple(places[name] for name in row.shows) for row in rows),
        tuple(row.fold for row in rows),
        classes,
        identity,
        options,
        is_captioned,
    )


def _classes(data: AdapterData, rows: Sequence[Row], what: str) -> tuple[str, ...]:
    """What the recordings show, in the data set's own order where it has one."""
    shown = {name for row in rows for name in row.shows}
    info = info_of(data)
    if info is None:
        return tuple(sorted(shown))
    for name in sorted(shown - set(info.classes)):
        raise DatasetError(f"{what}: the class {name!r:.80} is none of {data.set}; say data.set=… or leave it out")
    return info.classes


def _check_taught(data: AdapterData, rows: Sequence[Row], classes: Sequence[str], what: str) -> None:
    """A table's classes are few, and chosen: one that nobody could learn is a mistake."""
    train = {str(fold) for fold in data.train_folds}
    learned = {name for row in rows if row.fold in train for name in row.shows}
    if missing := [name for name in classes if name not in learned]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        folds = ", ".join(map(str, data.train_folds))
        raise DatasetError(f"{what}: no recording of {missing[0]!r:.80}{more} in the training folds {folds}")


def _tokens(found: Sequence[Embedding], num_patches: int | None) -> Tensor:
    tokens = [torch.from_numpy(embedding.tokens_LD)[None] for embedding in found]
    length = max(part.shape[1] for part in tokens) if num_patches is None else num_patches
    return torch.cat([resample(part_1LD, length) for part_1LD in tokens])


def _read_embeddings(
    data: AdapterData, encoder: EncoderConfig, root: Path
) -> tuple[Stored, str | None, Mapping[str, Any]]:
    """All embeddings, and of the encoder that made them the identity, where it is known, and the options."""
    if data.embeddings is not None:
        assert data.table is not None, "checked where the recipe is read"
        rows, options = root / (data.rows or data.table), dict(encoder.options)
        stored = read_array(root / data.embeddings, rows, column=data.filename)
        return stored, encoder.identity, encoders.lasting(encoder.name, options) if options else {}
    paths: list[Path] = []
    for folder in (root / name for name in data.shards or ()):
        own = sorted(folder.glob("*.tar"))
        if not own:
            raise DatasetError(
                f"{folder}: no shards; make them with 'soundsight datasets embed {data.set or 'MANIFEST'} -o {folder} "
                f"--encoder {encoder.name} --weights …', or name them with --set data.shards=DIR"
            )
        paths += own
    facts = next((record.facts for path in paths for record in records(path)), {})
    # As `soundsight datasets embed` writes them; shards of others may not say it.
    name, identity = facts.get("encoder"), facts.get("identity")
    if name not in (None, encoder.name) or (encoder.identity and identity and identity != encoder.identity):
        raise DatasetError(
            f"{paths[0].parent}: embeddings of {name!r:.60} (identity {str(identity)[:12]}…); the recipe's encoder is "
            f"'{encoder.name}' ({(encoder.identity or 'any')[:12]})"
        )
    of_shards = encoder.options if identity is None else facts.get("options")
    said = encoder.identity or (identity if isinstance(identity, str) else None)
    return read_shards(paths), said, of_shards if isinstance(of_shards, dict) else {}


def load_targets(
    config: TargetsConfig, classes: Sequence[str], *, is_captioned: bool = False, wanted: Collection[str] = ()
) -> Targets:
    """What the recipe's text encoder says of each class's prompt.

    Args:
        config: Whose words.
        classes: Names of classes; or captions.
        is_captioned: Whether they are captions, which are prompts as they are.
        wanted: The parts that count; empty for all.

    Raises:
        RecipeError: No text encoder is named.
        DatasetError: The template has no place for a class's name, or what is said takes more than 4 GiB.
        ModelError: It is absent, or not what it should be.
    """
    prompts = tuple(classes) if is_captioned else prompts_of(config.template, classes)
    if not config.model:
        raise RecipeError("the recipe does not say whose words to learn: --set targets.model=FOLDER of a text encoder")
    name = config.encoder or ("diffusion" if (Path(config.model) / "model_index.json").is_file() else "sentence")
    options = {"without": config.without} if config.without else {}
    if options and name == "sentence":
        raise RecipeError(
            f"recipe key 'targets.without' is of text-to-image models, and {config.model} is a sentence encoder: leave "
            "it out"
        )
    encoder = texts.load(name, config.model, **options)
    parts: dict[str, list[Tensor]] = {}
    for first in range(0, len(prompts), _PROMPTS):
        said = encoder.encode(prompts[first : first + _PROMPTS]).parts
        for part, tensor in said.items():
            if not wanted or part in wanted:
                parts.setdefault(part, []).append(tensor.detach().float())
        if first == 0:
            num_bytes = 4 * len(prompts) * sum(rows[0][0].numel() for rows in parts.values())
            if num_bytes > _MAX_TARGET_BYTES:
                raise DatasetError(
                    f"{len(prompts):,} prompts of '{encoder.name}' in {config.model} take {num_bytes >> 30} GiB, and "
                    f"{_MAX_TARGET_BYTES >> 30} are the most that is held: take fewer classes or captions, a smaller "
                    "text encoder, or one with fewer parts (targets.without)"
                )
    joined = {part: torch.cat(rows) for part, rows in parts.items()}
    unread = texts.unread_line(encoder, prompts, "prompt")
    return Targets(joined, prompts, encoder.name, encoder.identity, encoder, unread)
