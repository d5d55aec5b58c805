"""An adapter on recordings that it was not trained on: how near its target, and whether the right prompt is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsight import adapters
from soundsight.errors import DatasetError, ModelError, RecipeError, UnknownNameError
from soundsight.folder import ModelFolder, read_folder
from soundsight.metrics.retrieval import chance, recall_at
from soundsight.metrics.targets import errors, nearest_class_mean, prompt_cosines
from soundsight.training.adapter_data import Heard, Targets
from soundsight.training.adapter_recipe import AdapterRecipe, parse_adapter_recipe
from soundsight.training.adapter_report import AdapterReport, PartScore
from soundsight.training.adapter_system import build, load_data, say

__all__ = ["Trial", "evaluate_adapter", "linear_probe", "load_trial", "measure", "nearest_mean"]

KS = (1, 5)
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A trained adapter, and what it is tested on.

    Attributes:
        folder: The adapter's.
        adapter: With its weights.
        recipe: That it was trained by.
        train: Recordings that trained it.
        test: Recordings that test it.
        targets: What texts say of the classes.
        split: Which folds test.
        num_heard: Test recordings that trained it.
    """

    folder: ModelFolder
    adapter: nn.Module
    recipe: AdapterRecipe
    train: Heard
    test: Heard
    targets: Targets
    split: str
    num_heard: int

    def say(self) -> dict[str, Tensor]:
        """What it says of the test recordings, by part."""
        return say(self.adapter, self.test)

    def prompts(self, name: str, num_tokens: int | None = None) -> Tensor:
        """What texts say of the classes in one part, (C, W) or (C, L, W), of which an adapter may say the first L."""
        part = self.targets.parts[name]
        return part[:, :num_tokens] if part.ndim == 3 else part


def evaluate_adapter(path: str | Path, *, split: str | None = None, root: Path | None = None) -> AdapterReport:
    """Measure an adapter on the test folds of its recipe, or on another fold; as ``load_trial``, then ``measure``."""
    return measure(load_trial(path, split=split, root=root))


def load_trial(path: str | Path, *, split: str | None = None, root: Path | None = None) -> Trial:
    """An adapter with its data.

    Args:
        path: Its folder.
        split: ``fold:N``; None for the recipe's own test folds.
        root: Folder of the data sets; None is where ``soundsight datasets`` puts them.

    Raises:
        ModelError: No adapter, or its text encoder is not the one that it learned from.
        DatasetError: Embeddings are absent, damaged or of another encoder, or the fold is not there.
        UnknownNameError: The split is no fold.
    """
    described = read_folder(path, verify=False)
    recipe = _recipe_of(described)
    test_folds: Sequence[int | str] = recipe.data.test_folds
    if split is not None:
        kind, _, fold = split.partition(":")
        if kind != "fold" or not fold:
            raise UnknownNameError(f"no split '{split}' for an adapter; expected 'fold:N'")
        test_folds = (fold,)
    trained_folds = {str(fold) for fold in recipe.data.train_folds}
    others = tuple(fold for fold in test_folds if str(fold) not in trained_folds)
    # A fold that trained is read anyway, and is none of the test folds of a recipe.
    wanted = recipe.data.model_copy(update={"test_folds": others or recipe.data.test_folds})
    heard, targets = load_data(recipe.model_copy(update={"data": wanted}), root)
    train, test = heard.of_folds(recipe.data.train_folds), heard.of_folds(test_folds)
    _check_same(described, heard, train, targets)
    more = {"tell": tell} if (tell := getattr(build(recipe, heard, targets), "tell", None)) else {}
    folder, adapter = adapters.load(path, **more)
    return Trial(
        folder=folder,
        adapter=adapter,
        recipe=recipe,
        train=train,
        test=test,
        targets=targets,
        split=",".join(f"fold:{fold}" for fold in test_folds),
        num_heard=len(test) if trained_folds & {str(fold) for fold in test_folds} else 0,
    )


def measure(trial: Trial) -> AdapterReport:
    """How near what an adapter says is to its targets, and whether the right prompt is the nearest."""
    return AdapterReport(
        folder=trial.folder,
        encoder=trial.recipe.encoder.name,
        target=trial.targets.name,
        num_prompts=len(trial.targets.prompts),
        template=None if trial.test.is_captioned else trial.recipe.targets.template,
        split=trial.split,
        num_train=len(trial.train),
        num_test=len(trial.test),
        num_heard=trial.num_heard,
        parts=_scores(trial),
        notes=_notes(trial),
    )


def _notes(trial: Trial) -> tuple[str, ...]:
    """What a reader of the scores must know besides."""
    test, notes = trial.test, [trial.targets.unread] if trial.targets.unread else []
    num_several = sum(len(own) > 1 for own in test.labels)
    if num_several:
        what = "captions" if test.is_captioned else "classes"
        notes.append(f"{num_several:,} of the test recordings have several {what}: any of them counts as their own")
    if untaught := len(test.classes) - len(trial.train.taught()):
        notes.append(f"{untaught:,} of the {len(test.classes):,} prompts are of no recording that trained")
    return tuple(notes)


def _recipe_of(folder: ModelFolder) -> AdapterRecipe:
    table = folder.training.get("recipe")
    if folder.kind != "adapter" or not isinstance(table, dict):
        raise ModelError(f"{folder.path}: no adapter, or its config.json does not say what it was trained on")
    try:
        return parse_adapter_recipe(table)
    except RecipeError as error:
        raise ModelError(f"{folder.path}: training.recipe in config.json: {error}") from error


def _check_same(folder: ModelFolder, heard: Heard, train: Heard, targets: Targets) -> None:
    """Refuse data or a text encoder that an adapter was not trained with."""
    adapters.check_encoder(
        folder,
        name=str((folder.features or {}).get("name")),
        size=heard.pooled_ND.shape[1],
        identity=heard.identity,
    )
    learned = folder.target or {}
    if targets.identity != learned.get("identity"):
        raise ModelError(
            f"{folder.path}: learned from another text encoder (identity {str(learned.get('identity'))[:12]}…, "
            f"'{targets.name}' there now is {targets.identity[:12]}…); put the one that it learned from there"
        )
    known = tuple(heard.classes[label] for label in train.taught())
    if folder.labels is not None and known != folder.labels:
        raise DatasetError(f"{folder.path}: trained on {len(folder.labels)} classes, and the data have others now")


def _scores(trial: Trial) -> tuple[PartScore, ...]:
    train, test = trial.train, trial.test
    shares_NC = test.shares()
    own_NC = shares_NC.numpy() > 0
    beside = {"chance": chance(own_NC, KS)} | {
        name: recall_at(near_NC, own_NC, KS) for name, near_NC in _probes(train, test).items()
    }
    share_C = train.mean_shares()
    found = []
    for name, part in trial.say().items():
        if name not in trial.targets.parts:
            continue
        prompts = trial.prompts(name, part.shape[1])
        wanted = torch.tensordot(shares_NC, prompts, dims=1)
        mean = torch.tensordot(share_C, prompts, dims=1)[None].expand(len(test), *prompts.shape[1:])
        near_NC = prompt_cosines(part, prompts)
        is_right_N = own_NC[np.arange(len(test)), near_NC.argmax(axis=1)]
        by_label = {
            label: float(is_right_N[own_NC[:, i]].mean())
            for i, label in enumerate(() if test.is_captioned else test.classes)
            if own_NC[:, i].any()
        }
        found.append(
            PartScore(
                name, errors(part, wanted), errors(mean, wanted), recall_at(near_NC, own_NC, KS), beside, by_label
            )
        )
    return tuple(found)


def _probes(train: Heard, test: Heard) -> dict[str, Float64]:
    """What embeddings tell by themselves, whatever is said of them; of captions there is no such thing."""
    if test.is_captioned:
        return {}
    train_MD, labels_M, num_labels = _examples(train)
    return {
        "nearest class mean of the embeddings": nearest_mean(train, test),
        "linear probe on the embeddings": _of_all(linear_probe(train_MD, labels_M, test.pooled_ND, num_labels), train),
    }


def nearest_mean(train: Heard, test: Heard) -> Float64:
    """The cosine of each test recording with each class's mean, (N, C); a class that nothing taught is the furthest."""
    train_MD, labels_M, num_labels = _examples(train)
    return _of_all(nearest_class_mean(train_MD.numpy(), labels_M.numpy(), test.pooled_ND.numpy(), num_labels), train)


def _examples(train: Heard) -> tuple[Tensor, Tensor, int]:
    """Embeddings (M, D) with a class each, (M,), of those that are taught; and how many these are.

    A recording that shows several classes is one of each.
    """
    known = train.of_classes(train.taught())
    pairs = [(row, label) for row, own in enumerate(known.labels) for label in own]
    rows, labels = [row for row, _ in pairs], [label for _, label in pairs]
    return train.pooled_ND[rows], torch.tensor(labels), len(known.classes)


def _of_all(near_NT: Float64, train: Heard) -> Float64:
    """Scores of the taught classes as scores of all."""
    near_NC = np.full((len(near_NT), len(train.classes)), near_NT.min() - 1)
    near_NC[:, train.taught()] = near_NT
    return near_NC


def linear_probe(
    train_MD: Tensor, labels_M: Tensor, test_ND: Tensor, num_labels: int, *, penalty: float = 20.0
) -> Float64:
    """What a linear classifier reads from embeddings: its logits (N, C) for the test items.

    Multinomial logistic regression on embeddings of mean 0 and deviation 1: the summed cross-entropy and ½ ``penalty``
    times the squared weights, at its minimum. scikit-learn calls 1 / penalty C.

    Args:
        train_MD: (M, D).
        labels_M: (M,) int64.
        test_ND: (N, D).
        num_labels: C.
        penalty: 20 is within half a percent of the best of 1 to 100 within ESC-50's training folds, for VGGish and for
            CLAP.
    """
    mean_D, deviation_D = train_MD.mean(dim=0), train_MD.std(dim=0, correction=0).clamp(min=1e-6)
    train_MD, test_ND = ((x.double() - mean_D) / deviation_D for x in (train_MD, test_ND))
    weights_DC = torch.zeros(train_MD.shape[1], num_labels, dtype=torch.float64, requires_grad=True)
    biases_C = torch.zeros(num_labels, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights_DC, biases_C], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        misread = nn.functional.cross_entropy(train_MD @ weights_DC + biases_C, labels_M, reduction="sum")
        total = (misread + 0.5 * penalty * weights_DC.square().sum()) / len(train_MD)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    solver.step(loss)  # type: ignore[no-untyped-call]
    logits_NC: Float64 = (test_ND @ weights_DC + biases_C).detach().numpy()
    return logits_NC
