"""Train, resume or read what a plan names, and evaluate it; every step survives an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsight.datasets.selection import images_of, labels_of, sounds_of
from soundsight.datasets.splits import make_split
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, ModelError
from soundsight.evaluation import trial
from soundsight.evaluation.evaluator import evaluate
from soundsight.evaluation.networks import load_judge, load_pipeline
from soundsight.folder import read_folder, resolve
from soundsight.reproduction.folder import read_json, write_json
from soundsight.reproduction.plan import Run
from soundsight.reproduction.results import EVALUATION, Result, result_of
from soundsight.reproduction.zeroing import Curve, curve_of, zeroing
from soundsight.training.claim import check
from soundsight.training.loop import Progress
from soundsight.training.trainer import train
from soundsight.training.weights import load_system

__all__ = ["Work", "check_data", "curve", "ensure", "evaluated", "is_finished"]

# Pictures of each test pair: one-to-one pairing leaves few pairs, and the noise should be drawn often.
DRAWS = {"many-to-one": 1, "one-to-one": 20, "one-to-one-scd": 4}
_CURVE_DRAWS = 20
# A quick look takes fewer of both.
_QUICK_DRAWS, _QUICK_PAIRS = 4, 2000
# Relative cost of a step, and of an evaluation in steps of AIVAE; for the estimate of the time that is left.
_COST = {"archetype": 0.3, "aivae": 1.0, "aivaegan": 3.5}
_EVALUATION_COST = 60.0
_PAIRS = {"many-to-one": 60_000, "one-to-one": 1_800, "one-to-one-scd": 21_160}


@dataclass(frozen=True, slots=True)
class Work:
    """One run with what it costs.

    Attributes:
        run: The run.
        folder: Its model folder.
        settings: The user's ``KEY=VALUE`` settings.
    """

    run: Run
    folder: Path
    settings: tuple[str, ...]

    @property
    def training_cost(self) -> float:
        """About the number of steps, in steps of AIVAE."""
        recipe = self.run.recipe(self.settings)
        pairs = min(_PAIRS[self.run.pairing], recipe.data.max_pairs or math.inf)
        return _COST[self.run.system] * recipe.train.epochs * math.ceil(pairs / recipe.train.batch_size)

    @property
    def cost(self) -> float:
        """Of training and evaluation."""
        return self.training_cost + _EVALUATION_COST


def is_finished(work: Work) -> bool:
    """Whether the run is trained, for as many epochs as it should.

    Raises:
        RecipeError: The folder holds another training.
        ModelError: What it holds is damaged.
    """
    if not (work.folder / "config.json").is_file():
        return False
    check(work.folder, work.run.recipe(work.settings))
    try:
        training = read_folder(work.folder).training
    except ModelError as error:
        raise ModelError(f"{error}; without {work.folder}, 'soundsight reproduce' trains it again") from error
    trained = training.get("recipe", {}).get("train", {}).get("epochs", 0)
    return bool(trained >= work.run.recipe(work.settings).train.epochs)


def check_data(works: Sequence[Work], root: Path) -> None:
    """Refuse data that one of the runs cannot be trained and tested on, before the first of them takes its hour.

    Raises:
        DatasetError: A data set is absent, or a part of it lacks a class.
        UnknownNameError: A speaker is not there.
    """
    sounds: dict[str | None, SoundSet] = {}
    images: set[str] = set()
    for work in works:
        recipe = work.run.recipe(work.settings)
        data, classes = recipe.data, range(len(labels_of(recipe.data) or ()))
        if data.sounds not in sounds:
            sounds[data.sounds] = sounds_of(data, root)
        heard = sounds[data.sounds]
        _check_classes(heard.labels, classes, f"{data.sounds} in {root}")
        make_split(heard, data.split, seed=recipe.train.seed)
        if data.images not in images:
            images.add(data.images)
            for train in (True, False):
                what = f"{data.images} in {root}, {'training' if train else 'test'} part"
                _check_classes(images_of(data, root, train=train).labels, classes, what)


def _check_classes(labels_N: NDArray[np.int64], classes: Iterable[int], what: str) -> None:
    if missing := sorted(set(classes) - set(labels_N.tolist())):
        raise DatasetError(f"{what}: nothing of class {', '.join(map(str, missing))}; every class is needed")


def ensure(work: Work, root: Path, watch: Callable[[float], None]) -> None:
    """Train the run, from where it stopped; read it where it is finished.

    Args:
        work: The run.
        root: Folder of the data sets.
        watch: Told how much of its cost is done.

    Raises:
        RecipeError: The folder holds another training.
        KeyboardInterrupt: Interrupted; the state is saved.
    """
    recipe = work.run.recipe(work.settings)
    if is_finished(work):
        return

    def tell(progress: Progress) -> None:
        watch(work.training_cost * progress.step / progress.num_steps)

    train(recipe, work.folder, resume=True, root=root, watch=tell)


def evaluated(work: Work, path: Path, root: Path) -> Result:
    """The scores of a trained run: read where they were computed for these weights, else computed.

    Args:
        work: The run, finished.
        path: File that keeps the evaluation.
        root: Folder of the data sets.
    """
    asked: dict[str, Any] = {"seed": work.run.seed, "draws": DRAWS[work.run.pairing]}
    if work.run.quick:
        asked |= {"draws": min(asked["draws"], _QUICK_DRAWS), "max_pairs": _QUICK_PAIRS}
    key, kept = _key(work, **asked), read_json(path)
    if _fits(kept, key):
        try:
            return result_of(work.run, kept["report"])
        except (KeyError, TypeError, ValueError, AttributeError):  # damaged
            pass
    report = evaluate(work.folder, **asked, data=root).to_json()
    write_json(path, {"key": key, "report": report})
    return result_of(work.run, report)


def curve(work: Work, path: Path, root: Path, *, step: int) -> Curve:
    """Figure 8 of a trained run, read where it was computed for these weights.

    Args:
        work: The run, finished.
        path: File that keeps the curve.
        root: Folder of the data sets.
        step: Distance between the values of k.
    """
    seed = work.run.seed
    key, kept = _key(work, draws=_CURVE_DRAWS, seed=seed, step=step), read_json(path)
    if _fits(kept, key):
        try:
            return curve_of(kept["curve"])
        except (KeyError, TypeError, ValueError, AttributeError):  # damaged
            pass
    model, module = load_system(work.folder)
    tested = trial.load_trial(model, load_pipeline(model), None, seed, root, 1)
    shape = (model.image.channels, model.image.height, model.image.width)
    found = zeroing(
        module,
        load_judge("lenet5", len(tested.labels), shape)[1],
        tested.features_RFN,
        tested.sounds.sounds.labels[tested.sounds.split.test],
        num_zeroed=range(0, model.latent_size + 1, step),
        num_draws=_CURVE_DRAWS,
        seed=seed,
    )
    write_json(path, {"key": key, "curve": asdict(found)})
    return found


def _key(work: Work, **options: int) -> dict[str, Any]:
    """All that a number depends on but the data."""
    judges = {name: dict(read_folder(resolve(name)).weights) for name in ("lenet5", "alignment")}
    return {"version": EVALUATION, **options, "weights": dict(read_folder(work.folder).weights), "judges": judges}


def _fits(kept: Any, key: dict[str, Any]) -> bool:
    return isinstance(kept, dict) and kept.get("key") == key
