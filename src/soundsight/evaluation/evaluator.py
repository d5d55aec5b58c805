"""Run an evaluation and gather what it found into a report."""

from __future__ import annotations

import platform
import shlex
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from soundsight import noise, registry
from soundsight._version import __version__
from soundsight.alignment import Alignment
from soundsight.config import DataConfig
from soundsight.controls import Controls
from soundsight.datasets.info import data_root
from soundsight.datasets.pair_splits import usual_split
from soundsight.datasets.selection import is_folder_of_pairs, pairs_of
from soundsight.errors import ModelError, SoundsightError
from soundsight.evaluation import trial
from soundsight.evaluation.aligning import evaluate_alignment
from soundsight.evaluation.comparisons import Networks
from soundsight.evaluation.hearing import NOTHING_ELSE, Surroundings, hearing_scores
from soundsight.evaluation.judging import evaluate_judge
from soundsight.evaluation.likeness import evaluate_frames, evaluate_pairs
from soundsight.evaluation.networks import engine, load_alignment, load_judge, load_pipeline
from soundsight.evaluation.protocol import recipe_of
from soundsight.evaluation.report import Report, Score
from soundsight.evaluation.scores import all_scores, by_label, by_speaker
from soundsight.evaluation.trial import Outcome, Trial, Watch
from soundsight.folder import ModelFolder, read_folder, resolve
from soundsight.metrics.accuracy import confusion_matrix

__all__ = ["MAX_DRAWS", "MAX_SAMPLES", "baselines", "check_numbers", "evaluate", "is_pairs"]

MIN_PAIRS = 10  # fewer have no neighbours to speak of
MAX_SAMPLES = 100
MAX_DRAWS = 1000
MIN_SIZE, MAX_SIZE, _SIZE = 16, 1024, 256
_JUDGE, _ALIGNMENT = "lenet5", "alignment"


def evaluate(
    name_or_folder: str | Path,
    *,
    split: str | None = None,
    seed: int = 0,
    judge: str | Path | None = None,
    num_samples: int = 10,
    draws: int = 1,
    max_pairs: int | None = None,
    around: Surroundings = NOTHING_ELSE,
    controls: Controls | None = None,
    alignment: str | Path | None = _ALIGNMENT,
    data: Path | None = None,
    watch: Watch | None = None,
) -> Report:
    """Judge a model on real test recordings, or a judge on real test images.

    Args:
        name_or_folder: A model of the package, or a model folder.
        split: One that ``make_split`` knows; None is the one that the model was trained with.
        seed: Of the pairs, the noise and the choice of samples.
        judge: A classifier of pictures, by name or folder; None is ``lenet5`` for digits, and none for pairs, whose
            pictures are compared in its features if one is named.
        num_samples: Random pictures of each label in the report.
        draws: Pictures of each test pair, each with its own noise; the paper's protocol has one.
        max_pairs: Most test pairs of a recording and a picture, taken evenly: for a quick look. None takes all.
        around: Other sounds and noise, for a model that says what it hears.
        controls: ``guidance``, ``steps`` and ``variation`` of a generator of labels, where it has them.
        alignment: A space of sounds and pictures, by name or folder; None leaves that score out. The usual one knows
            digits, and pairs have the score if another is named.
        data: Folder of the data sets; None is ``data_root()``.
        watch: Called as pictures are done.

    Returns:
        The report; nothing is written.

    Raises:
        UnknownNameError: There is no such model, judge, split, speaker or fold.
        ModelError: A model folder is not finished, damaged, or does not fit the data.
        DatasetError: The data are absent, or not those that the model was trained on.
        MissingExtraError: There is no ``model.onnx``, and PyTorch is not installed.
        SoundsightError: A number is out of range, or what is asked for does not go with the model.
    """
    began_s = time.perf_counter()
    check_numbers(seed, num_samples, draws, max_pairs)
    model, root = _read(resolve(name_or_folder)), data_root() if data is None else data
    turned: Controls = controls or {}
    if turned and (model.kind != "generator" or recipe_of(model).data.pairs is not None):
        raise SoundsightError(f"'{model.name}' is measured as it is: leave {_named_controls(turned)} out")
    common: dict[str, Any] = {
        "model": model.name,
        "system": model.system,
        "summary": str(model.card.get("summary", "")),
        "seed": seed,
        "weights": model.weights,
        "versions": _versions(model),
        "command": _command(
            name_or_folder, split, seed, judge, num_samples, draws, max_pairs, around, turned, alignment, data
        ),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    if model.kind != "generator" and (around.outliers or around.noise or max_pairs):
        raise SoundsightError(
            f"'{model.name}' makes no pictures from sounds: leave --outliers, --noise and --max-pairs out"
        )
    if model.kind == "alignment":
        found = evaluate_alignment(model, split, root)
    elif model.kind == "judge":
        if split is not None:
            raise SoundsightError(f"'{model.name}' is a judge, tested on real test images; leave --split out")
        if judge is not None:
            raise SoundsightError(f"'{model.name}' is a judge itself, tested on real test images; leave --judge out")
        found = evaluate_judge(model, root)
    elif recipe_of(model).data.pairs is not None:
        if around.outliers or around.noise or draws > 1 or max_pairs:
            raise SoundsightError(
                f"'{model.name}' paints pairs: leave --outliers, --noise, --draws and --max-pairs out"
            )
        named = _named(judge, alignment)
        found = evaluate_pairs(model, load_pipeline(model), split, seed, root, num_samples, watch, named)
    else:
        pipe = load_pipeline(model)
        pipe.check(turned)
        tested = trial.load_trial(model, pipe, split, seed, root, draws, max_pairs)
        shape = (model.image.channels, model.image.height, model.image.width)
        space = load_alignment(alignment, shape)
        judge_model, judge_of = load_judge(judge or _JUDGE, len(tested.labels), shape)
        rows = trial.choose(tested, num_samples)
        near_R = trial.nearest_labels(pipe, tested)
        # Before the long part: a mistake in a path shows at once.
        heard, notes = hearing_scores(pipe, tested, near_R, around)
        if space is not None and space.folder.labels != tested.labels:
            space = None  # it knows other things
        fit = None if space is None else trial.fit_of(space, tested)
        outcome = trial.run(pipe, judge_of, tested, rows, fit, watch, turned)
        found = {
            **_describe(model, tested, outcome, trial.baselines(judge_of, tested, near_R, fit), heard),
            "samples": trial.samples_of(tested, outcome, rows),
            "judge": {"name": judge_model.name, **judge_model.weights},
            **_alignment(model, tested, space, notes),
        }
    return Report(**common, **found, seconds=round(time.perf_counter() - began_s, 1))


def check_numbers(seed: int, num_samples: int, draws: int, max_pairs: int | None = None) -> None:
    """Refuse numbers out of range.

    Raises:
        SoundsightError: One is.
    """
    if not 0 <= seed <= noise.MAX_SEED:
        raise SoundsightError(f"a seed is a whole number from 0 to 2**64 - 1, not {seed}")
    if not 0 <= num_samples <= MAX_SAMPLES:
        raise SoundsightError(f"the number of samples is 0 to {MAX_SAMPLES}, not {num_samples}")
    if not 1 <= draws <= MAX_DRAWS:
        raise SoundsightError(f"the number of pictures of a pair is 1 to {MAX_DRAWS}, not {draws}")
    if max_pairs is not None and max_pairs < MIN_PAIRS:
        raise SoundsightError(f"the number of test pairs is {MIN_PAIRS} or more, not {max_pairs}")


def is_pairs(name_or_folder: str) -> bool:
    """Whether a data set of pairs is meant, by its name or as a folder that holds no model."""
    if name_or_folder in registry.names("datasets"):
        return bool(registry.find("datasets", name_or_folder).INFO.kind == "pair")
    folder = Path(name_or_folder)
    if not folder.is_dir() or (folder / "config.json").exists() or (folder / "state").is_dir():
        return False
    return is_folder_of_pairs(folder)


def baselines(
    name_or_folder: str,
    *,
    split: str | None = None,
    seed: int = 0,
    judge: str | Path | None = None,
    alignment: str | Path | None = _ALIGNMENT,
    image_size: int = _SIZE,
    data: Path | None = None,
) -> Report:
    """What a model of some pairs must beat, which needs no model and no sound.

    Args:
        name_or_folder: A data set of pairs, or a folder of one's own.
        split: ``block``, ``clip``, ``clip:NAME`` or ``random``; None is ``block``, or ``clip`` where all are too short.
        seed: Of a split that is drawn, and of the noise among the baselines.
        judge: As for ``evaluate``.
        alignment: The same.
        image_size: Side at which pictures are compared, 16 to 1024.
        data: Folder of the data sets; None is ``data_root()``.

    Returns:
        The report, without scores of a model.

    Raises:
        DatasetError: The data are absent or cannot be divided.
        ModelError: The judge or the alignment does not fit the pairs.
        SoundsightError: The seed or the size is none.
        UnknownNameError: There is no such split, clip, judge or alignment.
    """
    began_s = time.perf_counter()
    check_numbers(seed, 0, 1)
    if not MIN_SIZE <= image_size <= MAX_SIZE:
        raise SoundsightError(f"pictures are compared at {MIN_SIZE} to {MAX_SIZE} pixels on a side, not {image_size}")
    root, named = data_root() if data is None else data, _named(judge, alignment)
    if split is None:
        split = usual_split(pairs_of(DataConfig(pairs=name_or_folder), root))
    wanted = DataConfig(pairs=name_or_folder, split=split)
    found = evaluate_frames(wanted, root, seed, image_size, named)
    parts = ["soundsight", "evaluate", name_or_folder, "--split", split, "--seed", str(seed)]
    parts += [] if image_size == _SIZE else ["--size", str(image_size)]
    for option, path in (("--judge", named.judge), ("--alignment", named.alignment)):
        parts += [] if path is None else [option, str(path)]
    return Report(
        model=Path(name_or_folder).name,
        system="baselines",
        summary="",
        seed=seed,
        weights={},
        versions={"soundsight": __version__, "python": platform.python_version(), "numpy": version("numpy")},
        command=shlex.join(parts + ([] if data is None else ["--data", str(data)])),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        **found,
        seconds=round(time.perf_counter() - began_s, 1),
    )


def _named(judge: str | Path | None, alignment: str | Path | None) -> Networks:
    """Networks for pairs: the usual ones, which nobody need name, know digits and nothing else."""
    return Networks(judge, None if alignment == _ALIGNMENT else alignment)


def _read(path: Path) -> ModelFolder:
    if not (path / "config.json").exists() and (path / "state").is_dir():
        raise ModelError(
            f"{path}: its training is not finished; go on with 'soundsight train RECIPE --out {path} --resume'"
        )
    model = read_folder(path, verify=False)
    if not model.weights:
        raise ModelError(f"{path}: config.json names no weights; the model is not finished")
    return model


def _alignment(model: ModelFolder, tested: Trial, space: Alignment | None, notes: list[str]) -> dict[str, Any]:
    """Which space the alignment score is of, and what must be known of it."""
    if space is None:
        return {"more_notes": tuple(notes)}
    training = space.folder.training.get("recipe", {})
    data, seed = training.get("data", {}), training.get("train", {}).get("seed")
    sounds = tested.sounds
    if data.get("sounds") == sounds.data.name and (data.get("split"), seed) != (
        sounds.split.name,
        model.training.get("recipe", {}).get("train", {}).get("seed"),
    ):
        notes = [*notes, f"The alignment '{space.folder.name}' has heard some of the test recordings in its training."]
    if model.training.get("recipe", {}).get("consistency"):
        notes = [*notes, "An alignment taught this model; the alignment score tells how well it learned that."]
    return {"more_notes": tuple(notes), "alignment": {"name": space.folder.name, **space.folder.weights}}


def _describe(
    model: ModelFolder, tested: Trial, outcome: Outcome, others: dict[str, Outcome], heard: tuple[Score, ...]
) -> dict[str, Any]:
    """The part of a report that is computed from decisions."""
    sounds = tested.sounds
    confusion_LL = confusion_matrix(tested.labels_P, outcome.decisions_P, len(tested.labels))
    rows_P = sounds.split.test[tested.rows_P]
    return {
        "kind": "generator",
        "split": sounds.split.name,
        "num_pictures": len(tested),
        "num_recordings": len(sounds.split.test),
        "num_heard": sounds.num_heard,
        "labels": tested.labels,
        "scores": (*all_scores(model, tested, outcome, others), *heard),
        "confusion_LL": confusion_LL,
        "by_label": by_label(tested.labels, confusion_LL),
        "by_speaker": by_speaker(sounds.sounds, rows_P, outcome.decisions_P == tested.labels_P),
        "data": (sounds.data, tested.images.data),
    }


def _versions(model: ModelFolder) -> dict[str, str]:
    """Of all that can change a number."""
    name, _, number = engine(model).partition(" ")
    return {
        "soundsight": __version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        name: number,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _named_controls(controls: Controls) -> str:
    return " and ".join(f"--{name}" for name in controls)


def _command(
    model: str | Path,
    split: str | None,
    seed: int,
    judge: str | Path | None,
    num_samples: int,
    draws: int,
    max_pairs: int | None,
    around: Surroundings,
    controls: Controls,
    alignment: str | Path | None,
    data: Path | None,
) -> str:
    """The command line that does the same."""
    parts = ["soundsight", "evaluate", str(model)]
    for option, value, usual in (
        ("--split", split, None),
        ("--seed", seed, 0),
        ("--judge", judge, None),
        ("--samples", num_samples, 10),
        ("--draws", draws, 1),
        ("--max-pairs", max_pairs, None),
        *(("--outliers", path, None) for path in around.outliers),
        *(("--noise", path, None) for path in around.noise),
        *(("--snr", f"{snr_db:g}", None) for snr_db in around.snrs_db if around.snrs_db != NOTHING_ELSE.snrs_db),
        *((f"--{name}", value, None) for name, value in controls.items()),
        ("--alignment", "none" if alignment is None else alignment, _ALIGNMENT),
        ("--data", data, None),
    ):
        parts += [] if value == usual else [option, str(value)]
    return shlex.join(parts)
