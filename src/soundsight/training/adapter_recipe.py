"""The recipe of an adapter: which embeddings, whose words, how taught. ``config.py`` has what all recipes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from soundsight.config import CardConfig, Optimizer, Strict, explain, load_table
from soundsight.errors import RecipeError

__all__ = ["AdapterRecipe", "load_adapter_recipe", "parse_adapter_recipe"]

Fold = int | str
# "--set data.table=" takes away what a recipe names.
Named = Annotated[str | None, BeforeValidator(lambda value: value or None)]
Folders = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]


class EncoderConfig(Strict):
    """Which encoder made the embeddings."""

    name: str
    """Of a module in ``encoders``."""
    identity: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Its SHA-256, where it is known; embeddings from ``soundsight datasets embed`` say it themselves."""
    options: dict[str, str | bool | int | float] = Field(default_factory=dict)
    """With which it made the embeddings of an array, so that it hears so in use; shards say it themselves."""


class AdapterData(Strict):
    """Embeddings of labelled recordings in folds. Paths are below the folder of the data sets, or absolute."""

    set: Named = None
    """The data set that the recordings are of, for its classes and its licence."""
    table: Named = None
    """CSV with a line for each recording: its file name, class and fold. Without one the shards say what they hold:
    labels or captions of each recording, and as its fold the one that its list names, or else the list's part."""
    filename: str = "filename"
    label: str = "category"
    fold: str = "fold"
    embeddings: str | None = None
    """``.npy`` with (N, D) or (N, L, D) numbers."""
    rows: str | None = None
    """CSV or ``.txt`` that names the array's rows; the table, where it does. Rows and recordings are paired by name."""
    shards: Folders | None = None
    """In place of an array: a folder of WebDataset shards, as ``soundsight datasets embed`` writes them, or several."""
    train_folds: tuple[Fold, ...] = Field(min_length=1)
    test_folds: tuple[Fold, ...] = Field(min_length=1)
    licence: str = ""
    """Of data of one's own."""

    @model_validator(mode="after")
    def _check(self) -> AdapterData:
        if (self.embeddings is None) == (self.shards is None):
            raise ValueError("name either 'embeddings' or 'shards'")
        if self.table is None and self.shards is None:
            raise ValueError("an array does not say what it is of: name a 'table'")
        if shared := sorted({str(fold) for fold in self.train_folds} & {str(fold) for fold in self.test_folds}):
            raise ValueError(f"fold {shared[0]} is in train_folds and in test_folds")
        return self


class TargetsConfig(Strict):
    """Whose words an adapter learns."""

    encoder: str | None = None
    """Of a module in ``texts``; by default ``diffusion`` for a folder with ``model_index.json``, else ``sentence``."""
    model: str = ""
    """Folder of the text encoder."""
    without: tuple[str, ...] = ()
    """Of a text-to-image model, text encoders to leave out, such as ``text_encoder_3``, the T5 of 19 GB."""
    template: str = "an image of {label}"


class SystemConfig(BaseModel):
    """The adapter's name; its own options are checked by its ``Config``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    system: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class LossConfig(Strict):
    """Weights of the objectives of ``losses/conditioning.py``; 0 leaves one out."""

    mse: NonNegativeFloat = 0.3
    relative: bool = False
    """Whether the squared error counts as a share of that of the mean target. Text encoders differ by factors of
    thousands in it, and a cosine alone does not teach how long a vector is. Not in the paper."""
    cosine: NonNegativeFloat = 0.7
    info_nce: NonNegativeFloat = 0.0
    temperature: PositiveFloat = 0.1
    smoothing: NonNegativeFloat = Field(default=0.0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> LossConfig:
        if not self.mse + self.cosine + self.info_nce:
            raise ValueError("all weights are 0: there is nothing to learn")
        return self


class AdapterTrainConfig(Strict):
    """How long, how fast, and with which changes to the embeddings."""

    epochs: PositiveInt = 40
    batch_size: PositiveInt = 64
    seed: int = Field(default=0, ge=0, lt=2**32)
    ema: NonNegativeFloat = Field(default=0.0, lt=1)
    """Decay of the moving average of the weights that is saved; 0 saves the last weights."""
    mixup: NonNegativeFloat = 0.0
    """Two sounds are mixed in shares drawn from Beta(mixup, mixup), and so are their targets; 0 mixes none."""
    noise: NonNegativeFloat = 0.0
    """Deviation of Gaussian noise on the embeddings, as a share of their own."""
    losses: LossConfig = LossConfig()
    optimizer: Optimizer = Optimizer(weight_decay=1e-2, schedule="cosine")


class AdapterRecipe(Strict):
    """One training of an adapter, whole."""

    name: str = Field(default="unnamed", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    source: str = ""
    encoder: EncoderConfig
    data: AdapterData
    adapter: SystemConfig
    targets: TargetsConfig = TargetsConfig()
    train: AdapterTrainConfig = AdapterTrainConfig()
    card: CardConfig = CardConfig()


def load_adapter_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> AdapterRecipe:
    """Read an adapter's recipe; arguments and errors as for ``config.load_recipe``."""
    return parse_adapter_recipe(load_table(name_or_file, overrides))


def parse_adapter_recipe(table: dict[str, Any]) -> AdapterRecipe:
    """Check a recipe that is already a dictionary.

    Raises:
        RecipeError: An unknown key, or a value that does not fit.
    """
    try:
        return AdapterRecipe.model_validate(table)
    except ValidationError as error:
        raise RecipeError(explain(error, AdapterRecipe)) from error
