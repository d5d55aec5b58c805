"""What a frozen text-to-image model is told of test recordings: what an adapter says, and what stands beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundsight.datasets.captions import prompts_of
from soundsight.errors import DatasetError, ModelError
from soundsight.evaluation.protocol import recipe_of
from soundsight.folder import ModelFolder
from soundsight.metrics.targets import prompt_cosines
from soundsight.training.adapter_data import Targets
from soundsight.training.adapter_evaluation import Trial, nearest_mean

__all__ = [
    "NEAREST_MEAN",
    "OF_ADAPTER",
    "OWN_PROMPT",
    "Asked",
    "Row",
    "Shown",
    "Words",
    "ask",
    "shared_classes",
    "words_of",
]

Int64 = NDArray[np.int64]

OF_ADAPTER = "what the adapter says"
NO_SOUND, NEAREST_MEAN = "mean target, no sound heard", "prompt of the nearest class mean of the embeddings"
NEAREST, OWN_PROMPT = "prompt nearest to what the adapter says", "prompt of the sound's class"
WHOLE_PROMPT, PICTURE_PROMPT = "the same, in all parts that the backbone hears", "prompt of the picture's class"
# Rows that need no adapter and no right answer: what it must beat.
TO_BEAT = frozenset((NO_SOUND, NEAREST_MEAN))


class Shown(NamedTuple):
    """What a judge makes of a class of sounds: the number of its label, and what the pictures of it are called."""

    label: int
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The P pictures that are wanted, of test recordings.

    Attributes:
        rows_P: (P,) the recording's place among all test recordings.
        labels_P: (P,) the judge's label of it.
        pictures: P names of classes of pictures; where a class of sounds takes in several, they take turns.
    """

    rows_P: Int64
    labels_P: Int64
    pictures: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows_P)

    @property
    def num_recordings(self) -> int:
        """Of which pictures are wanted."""
        return len(np.unique(self.rows_P))


class Row(NamedTuple):
    """What one row of a report tells the backbone for each picture: rows (P,) of a table of words."""

    table: str
    index_P: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """All that is told.

    Attributes:
        tables: By name, parts of a conditioning, (M, W) or (M, L, W).
        rows: By the name that a report shows.
    """

    tables: Mapping[str, Mapping[str, Tensor]]
    rows: Mapping[str, Row]


def shared_classes(judge: ModelFolder, classes: Sequence[str]) -> dict[str, Shown]:
    """Which classes of sounds a judge knows: as its recipe joins sounds and pictures, else those of the same name.

    Raises:
        ModelError: None of them.
    """
    joined = recipe_of(judge).data.classes if "recipe" in judge.training else {}
    labels = judge.labels or ()
    known: dict[str, Shown] = {}
    for number, label in enumerate(labels):
        group = joined.get(label)
        pictures = (label,) if group is None else group.images
        known |= {_plain(name): Shown(number, pictures) for name in ((label,) if group is None else group.sounds)}
    found = {name: known[_plain(name)] for name in classes if _plain(name) in known}
    if not found:
        raise ModelError(
            f"the judge {judge.path} reads {_some(labels)}, and the adapter was taught {_some(classes)}: they share no "
            "class; name a judge of pictures of these sounds"
        )
    return found


def ask(trial: Trial, shown: Mapping[str, Shown], draws: int) -> Asked:
    """Pictures of the test recordings whose classes a judge knows.

    Args:
        trial: The adapter and its data.
        shown: From ``shared_classes``.
        draws: Pictures of each recording.

    Raises:
        DatasetError: There are none, or recordings show several classes, or have captions in place of them.
    """
    if trial.test.is_captioned or not (trial.test.is_single and trial.train.is_single):
        raise DatasetError(
            f"{trial.split}: recordings with captions or with several classes each; a judge reads one class from a "
            "picture: leave --backbone out, or choose data of one class each"
        )
    names = [trial.test.classes[label] for label in trial.test.single_labels().tolist()]
    rows = [row for row, name in enumerate(names) if name in shown] * draws
    if not rows:
        raise DatasetError(
            f"{trial.split}: not one of the {len(names)} test recordings is of a class that the judge knows "
            f"({_some(list(shown))}); choose another fold"
        )
    of_rows = [shown[names[row]] for row in rows]
    pictures = tuple(each.pictures[i % len(each.pictures)] for i, each in enumerate(of_rows))
    return Asked(np.array(rows), np.array([each.label for each in of_rows]), pictures)


def words_of(trial: Trial, asked: Asked, heard: Collection[str]) -> Words:
    """What the backbone is told in each row.

    Args:
        trial: The adapter and its data.
        asked: What is painted.
        heard: Parts of a conditioning that the backbone hears.
    """
    said, targets, train = trial.say(), trial.targets, trial.train
    shown = prompts_of(trial.recipe.targets.template, asked.pictures)
    texts, whole = _with(targets, shown)
    # In the parts that the adapter says, and with as many tokens.
    parts = {name: part.shape[1] for name, part in said.items() if name in whole}
    prompts = {name: whole[name][:, :num] if whole[name].ndim == 3 else whole[name] for name, num in parts.items()}
    num_classes = len(targets.prompts)
    share_C = torch.bincount(train.single_labels(), minlength=num_classes).float() / len(train)
    means = {name: torch.tensordot(share_C, part[:num_classes], dims=1)[None] for name, part in prompts.items()}
    near_NC = np.mean([prompt_cosines(said[name], part[:num_classes]) for name, part in prompts.items()], axis=0)
    mean_NC = nearest_mean(train, trial.test)
    own_P = trial.test.single_labels().numpy()[asked.rows_P]
    rows = {
        OF_ADAPTER: Row("adapter", asked.rows_P),
        NO_SOUND: Row("prompts", np.full(len(asked), len(texts))),
        NEAREST_MEAN: Row("prompts", mean_NC.argmax(axis=1)[asked.rows_P]),
        NEAREST: Row("prompts", near_NC.argmax(axis=1)[asked.rows_P]),
        OWN_PROMPT: Row("prompts", own_P),
        **({WHOLE_PROMPT: Row("whole", own_P)} if set(whole) & set(heard) - set(prompts) else {}),
        PICTURE_PROMPT: Row("prompts", np.array([texts.index(text) for text in shown])),
    }
    with_mean = {name: torch.cat([part, means[name]]) for name, part in prompts.items()}
    return Words({"adapter": said, "prompts": with_mean, "whole": whole}, rows)


def _with(targets: Targets, further: Sequence[str]) -> tuple[list[str], dict[str, Tensor]]:
    """The prompts of all classes and further texts, each once, and what their text encoder says of them."""
    texts = list(dict.fromkeys((*targets.prompts, *further)))
    new = texts[len(targets.prompts) :]
    if not new:
        return texts, targets.parts
    more = targets.encoder.encode(new).parts
    return texts, {name: torch.cat([part, more[name].detach().float()]) for name, part in targets.parts.items()}


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 7} more" if len(names) > 7 else ""
    return (", ".join(names[:7]) or "nothing") + more
