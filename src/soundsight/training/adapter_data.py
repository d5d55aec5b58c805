"""What adapters are trained and tested on: embeddings with classes and folds, and what texts say of the classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from soundsight.encoders.stored import Stored, key_of, read_array
from soundsight.errors import DatasetError, RecipeError
from soundsight.training.adapter_recipe import AdapterData, AdapterRecipe, EncoderConfig, TargetsConfig

__all__ = ["Heard", "Targets", "info_of", "load_heard", "load_targets"]

_MAX_TABLE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Embeddings of N recordings.

    Attributes:
        names: Of the files.
        tokens_NLD: (N, L, D) float32; sounds of other lengths are resampled to one.
        pooled_ND: (N, D) float32.
        labels_N: (N,) int64, from 0.
        folds: N names of folds.
        classes: C names, in the order of the labels.
        identity: SHA-256 of the encoder, where it is known.
        options: Of the encoder, where they are not the usual ones.
    """

    names: tuple[str, ...]
    tokens_NLD: Tensor
    pooled_ND: Tensor
    labels_N: Tensor
    folds: tuple[str, ...]
    classes: tuple[str, ...]
    identity: str | None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def of_folds(self, folds: Sequence[object]) -> Heard:
        """The recordings of some folds."""
        wanted = {str(fold) for fold in folds}
        rows = [row for row, fold in enumerate(self.folds) if fold in wanted]
        return Heard(
            tuple(self.names[row] for row in rows),
            self.tokens_NLD[rows],
            self.pooled_ND[rows],
            self.labels_N[rows],
            tuple(self.folds[row] for row in rows),
            self.classes,
            self.identity,
            self.options,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What a text encoder says of the prompts of C classes.

    Attributes:
        parts: Name of each part of a ``Conditioning`` to (C, W) or (C, L, W).
        prompts: C prompts.
        name: Of the text encoder.
        identity: Its SHA-256.
        encoder: Itself, for adapters that speak through it.
        variances: Part to the squared error of the mean target.
        unread: What of the prompts is too long to be read, in a line; empty where nothing is.
    """

    parts: dict[str, Tensor]
    prompts: tuple[str, ...]
    name: str
    identity: str
    encoder: Any
    variances: dict[str, float]
    unread: str = ""


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
    path = root / data.table
    table = _read_table(path, (data.filename, data.label, data.fold))
    known = sorted({line[2] for line in table})
    for fold in (*data.train_folds, *data.test_folds):
        if str(fold) not in known:
            raise DatasetError(f"{path}: there is no fold {fold}; folds: {', '.join(known) or 'none':.200}")
    wanted = {str(fold) for fold in (*data.train_folds, *data.test_folds)}
    lines = [line for line in table if line[2] in wanted]
    info = info_of(data)
    classes = tuple(sorted({line[1] for line in table})) if info is None else info.classes
    learned = {label for _, label, fold in lines if fold in {str(fold) for fold in data.train_folds}}
    for label in sorted({line[1] for line in table} - set(classes)):
        raise DatasetError(f"{path}: the class {label!r:.80} is none of {data.set}; say data.set=… or leave it out")
    if missing := [name for name in classes if name not in learned]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        folds = ", ".join(map(str, data.train_folds))
        raise DatasetError(f"{path}: no recording of {missing[0]!r:.80}{more} in the training folds {folds}")
    stored, identity, options = _read_embeddings(data, recipe.encoder, root)
    found = [stored.find(name) for name, _, _ in lines]
    return Heard(
        tuple(name for name, _, _ in lines),
        _tokens(found, num_patches),
        torch.stack([torch.from_numpy(embedding.pooled_D) for embedding in found]),
        torch.tensor([classes.index(label) for _, label, _ in lines]),
        tuple(fold for _, _, fold in lines),
        classes,
        identity,
        options,
    )


def _tokens(found: Sequence[Embedding], num_patches: int | None) -> Tensor:
    tokens = [torch.from_numpy(embedding.tokens_LD)[None] for embedding in found]
    length = max(part.shape[1] for part in tokens) if num_patches is None else num_patches
    return torch.cat([resample(part_1LD, length) for part_1LD in tokens])


def _read_embeddings(
    data: AdapterData, encoder: EncoderConfig, root: Path
) -> tuple[Stored, str | None, Mapping[str, Any]]:
    """All embeddings, and of the encoder that made them the identity, where it is known, and the options."""
    if data.embeddings is not None:
        rows, options = root / (data.rows or data.table), dict(encoder.options)
        stored = read_array(root / data.embeddings, rows, column=data.filename)
        return stored, encoder.identity, encoders.lasting(encoder.name, options) if options else {}
    assert data.shards is not None
    folder = root / data.shards
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise DatasetError(
            f"{folder}: no shards; make them with 'soundsight datasets embed {data.set or 'MANIFEST'} -o {folder} "
            f"--encoder {encoder.name} --weights …', or name them with --set data.shards=DIR"
        )
    facts = next((record.facts for path in paths for record in records(path)), {})
    # As `soundsight datasets embed` writes them; shards of others may not say it.
    name, identity = facts.get("encoder"), facts.get("identity")
    if name not in (None, encoder.name) or (encoder.identity and identity and identity != encoder.identity):
        raise DatasetError(
            f"{folder}: embeddings of {name!r:.60} (identity {str(identity)[:12]}…); the recipe's encoder is "
            f"'{encoder.name}' ({(encoder.identity or 'any')[:12]})"
        )
    of_shards = encoder.options if identity is None else facts.get("options")
    said = encoder.identity or (identity if isinstance(identity, str) else None)
    return read_shards(paths), said, of_shards if isinstance(of_shards, dict) else {}


def load_targets(config: TargetsConfig, classes: Sequence[str]) -> Targets:
    """What the recipe's text encoder says of each class's prompt.

    Raises:
        RecipeError: No text encoder is named.
        DatasetError: The template has no place for a class's name.
        ModelError: It is absent, or not what it should be.
    """
    prompts = prompts_of(config.template, classes)
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
    parts = {part: tensor.detach().float() for part, tensor in encoder.encode(prompts).parts.items()}
    variances = {part: float(tensor.var(dim=0, correction=0).mean()) for part, tensor in parts.items()}
    unread = texts.unread_line(encoder, prompts, "prompt")
    return Targets(parts, prompts, encoder.name, encoder.identity, encoder, variances, unread)


def _read_table(path: Path, columns: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """File name, class and fold of each recording."""
    try:
        if not path.is_file():
            raise DatasetError(
                f"{path}: there is no such file; point SOUNDSIGHT_DATA to the data sets, or --set data.table"
            )
        if path.stat().st_size > _MAX_TABLE_BYTES:
            raise DatasetError(f"{path}: larger than {_MAX_TABLE_BYTES >> 20:,} MiB, the most that is read")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
                known = ", ".join(reader.fieldnames or ()) or "none"
                raise DatasetError(f"{path}: no column '{lacking[0]}'; columns: {known:.200}")
            lines = [(line[columns[0]] or "", line[columns[1]] or "", line[columns[2]] or "") for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=2):
        if "" in line:
            raise DatasetError(f"{path}: line {number} lacks its {columns[line.index('')]}")
    # Once in a training and once in a test fold, it would be known.
    first: dict[str, int] = {}
    for number, (name, _, _) in enumerate(lines, start=2):
        if (before := first.setdefault(key_of(name), number)) != number:
            raise DatasetError(f"{path}: line {number}: {name!r:.100} is the recording of line {before}; name it once")
    return lines
