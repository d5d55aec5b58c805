"""An adapter in front of a frozen text-to-image model: is the picture of a dog's sound read as a dog?

A picture is painted of each test recording whose class a judge knows, and read by it. Beside it stands what the same
backbone paints of other words from the same noise: of the mean target, which has heard nothing; of the prompt that is
nearest, and of the right one.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from soundsight import adapters, backbones
from soundsight._version import __version__
from soundsight.backbones.backbone import Backbone
from soundsight.conditioning import Conditioning
from soundsight.datasets.info import data_root
from soundsight.datasets.selection import images_of
from soundsight.errors import DatasetError
from soundsight.evaluation.adapter_report import Painted, Pictures, Sound
from soundsight.evaluation.evaluator import check_numbers
from soundsight.evaluation.networks import engine, find_judge, load_reader
from soundsight.evaluation.painting import Scene, Seen, Settings, paint
from soundsight.evaluation.protocol import Data, recipe_of
from soundsight.evaluation.report import Baseline, Sample, Score
from soundsight.evaluation.scores import by_label, clustered_error
from soundsight.evaluation.trial import TEST_IMAGES, Watch
from soundsight.evaluation.words import OF_ADAPTER, OWN_PROMPT, TO_BEAT, ask, shared_classes, words_of
from soundsight.folder import ModelFolder, read_folder
from soundsight.metrics.accuracy import confusion_matrix
from soundsight.texts.diffusion.folder import find
from soundsight.texts.diffusion.weights import find_weights
from soundsight.training.adapter_data import info_of
from soundsight.training.adapter_evaluation import load_trial, measure

__all__ = ["evaluate_painted"]

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


def evaluate_painted(
    path: str | Path,
    settings: Settings,
    *,
    split: str | None = None,
    root: Path | None = None,
    watch: Watch | None = None,
) -> Painted:
    """Measure an adapter, and the pictures of what it says.

    Args:
        path: The adapter's folder.
        settings: Who paints, who reads, and how.
        split: As for ``load_trial``.
        root: Folder of the data sets; None is ``data_root()``.
        watch: Called as pictures are done.

    Returns:
        The report; nothing is written.

    Raises:
        ModelError: A model is absent or damaged, or they do not fit each other.
        DatasetError: Embeddings are absent or damaged, or none of them is of a class that the judge knows.
        UnknownNameError: There is no such judge or split.
        SoundsightError: A number is out of range.
    """
    began_s = time.perf_counter()
    check_numbers(settings.seed, settings.num_samples, settings.draws)
    judge = find_judge(settings.judge)
    labels = read_folder(path, verify=False).labels
    if labels is None:
        raise DatasetError(f"{path}: taught by captions; a judge reads classes from a picture: leave --backbone out")
    shown = shared_classes(judge, labels)
    trial = load_trial(path, split=split, root=root)
    asked = ask(trial, shown, settings.draws)
    painter = backbones.load(settings.backbone, **settings.options)
    if painter.words is not None:
        adapters.check_words(trial.folder, **painter.words._asdict(), backbone=painter.name)
    side = painter.default_size
    judge, read = load_reader(settings.judge, (3, side, side))
    words = words_of(trial, asked, [*painter.layout.widths, *(["pooled"] if painter.layout.pooled else [])])
    painter.check(Conditioning(**words.tables["adapter"]))
    scene = Scene(trial, asked, words, settings)
    seen = paint(scene, painter, read, judge, watch)
    pictures = Pictures(
        **_described(scene, painter, judge),
        **_found(scene, seen, judge, data_root() if root is None else root),
        command=_command(path, settings, split, root),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        seconds=round(time.perf_counter() - began_s, 1),
    )
    return Painted(measure(trial), pictures)


def _described(scene: Scene, painter: Backbone, judge: ModelFolder) -> dict[str, Any]:
    """The part of a report that is known before anything is painted."""
    trial, asked, settings = scene.trial, scene.asked, scene.settings
    return {
        "model": f"{trial.folder.name} + {Path(painter.name).name}",
        "system": trial.folder.system,
        "summary": str(trial.folder.card.get("summary", "")),
        "kind": "generator",
        "split": trial.split,
        "seed": settings.seed,
        "num_pictures": len(asked),
        "num_recordings": asked.num_recordings,
        "num_heard": asked.num_recordings if trial.num_heard else 0,
        "labels": judge.labels,
        "by_speaker": (),
        "data": (_data(scene),),
        "judge": {"name": judge.name, **judge.weights},
        "weights": trial.folder.weights,
        "versions": _versions(judge),
        "backbone": {
            "name": painter.name,
            "family": painter.family.name,
            **settings.painting,
            "weights": _weights(painter),
        },
    }


def _found(scene: Scene, seen: Seen, judge: ModelFolder, root: Path) -> dict[str, Any]:
    """The part of a report that is computed from what was read."""
    trial, asked, labels = scene.trial, scene.asked, judge.labels or ()
    right = {row: decisions_P == asked.labels_P for row, decisions_P in seen.decisions.items()}
    decisions_P = seen.decisions[OF_ADAPTER]
    confusion_LL = confusion_matrix(asked.labels_P, decisions_P, len(labels))
    real, notes = _real_images(judge, root)
    if left_out := len(trial.test) - asked.num_recordings:
        notes.append(
            f"{left_out:,} of {len(trial.test):,} test recordings are of classes that the judge does not know."
        )
    if seen.num_withheld:
        notes.append(f"The safety checker has made {seen.num_withheld:,} pictures black; they are read as they are.")
    samples = (
        Sample(
            np.ascontiguousarray(np.moveaxis(seen.kept[p], 0, 2)),
            labels[asked.labels_P[p]],
            labels[decisions_P[p]],
            trial.test.names[asked.rows_P[p]],
        )
        for p in scene.samples()
    )
    return {
        "scores": (_score(scene, right, len(labels), real),),
        "confusion_LL": confusion_LL,
        "by_label": by_label(labels, confusion_LL),
        "by_sound": _by_sound(scene, right, labels),
        "samples": tuple(samples),
        "more_notes": tuple(notes),
    }


def _score(scene: Scene, right: Mapping[str, Bool], num_labels: int, real: list[Baseline]) -> Score:
    labels_P = scene.asked.labels_P
    beside = (
        Baseline(row, float(right_P.mean()), ceiling=row not in TO_BEAT)
        for row, right_P in right.items()
        if row != OF_ADAPTER
    )
    constant = Baseline("constant answer", float(np.bincount(labels_P).max() / len(labels_P)))
    return Score(
        name="accuracy",
        title="Accuracy: pictures that are read as what was heard",
        value=float(right[OF_ADAPTER].mean()),
        error=clustered_error(right[OF_ADAPTER], _clusters(scene)),
        baselines=(Baseline("chance", 1 / num_labels), constant, *beside, *real),
    )


def _clusters(scene: Scene) -> Int64:
    """(P,) which source each recording is of: in ESC-50, takes of one source clip succeed or fail together."""
    names = list(scene.trial.test.names)
    if scene.trial.recipe.data.set == "esc50":  # FOLD-CLIP-TAKE-TARGET.wav
        names = [name.rsplit("-", 2)[0] for name in names]
    _, cluster_N = np.unique(np.array(names), return_inverse=True)
    cluster_P: Int64 = cluster_N[scene.asked.rows_P]
    return cluster_P


def _by_sound(scene: Scene, right: Mapping[str, Bool], labels: tuple[str, ...]) -> tuple[Sound, ...]:
    test, asked = scene.trial.test, scene.asked
    classes_P = test.single_labels().numpy()[asked.rows_P]
    found = []
    for number in np.unique(classes_P).tolist():
        here_P = classes_P == number
        ours, of_prompt = (float(right[row][here_P].mean()) for row in (OF_ADAPTER, OWN_PROMPT))
        label = labels[asked.labels_P[here_P][0]]
        found.append(Sound(test.classes[number], label, ours, of_prompt, int(here_P.sum())))
    return tuple(found)


def _real_images(judge: ModelFolder, root: Path) -> tuple[list[Baseline], list[str]]:
    """What the judge reads of real test images, where they are here; else a note that says why not."""
    if "recipe" not in judge.training:
        return [], []
    try:
        images = images_of(recipe_of(judge).data, root, train=False)
    except DatasetError as error:
        return [], [f"Real images do not stand beside the pictures: {error}."]
    _, height, width = images.images_NCHW.shape[1:]
    decisions_N = load_reader(judge.path, (3, height, width))[1](images.images_NCHW)[0].argmax(axis=1)
    return [Baseline(TEST_IMAGES, float((decisions_N == images.labels).mean()), ceiling=True)], []


def _data(scene: Scene) -> Data:
    """The recordings, by what was heard in them."""
    trial, rows = scene.trial, np.unique(scene.asked.rows_P).tolist()
    digest = hashlib.sha256()
    for row in rows:
        digest.update(trial.test.names[row].encode() + b"\0" + trial.test.tokens_NLD[row].numpy().tobytes())
    info, own = info_of(trial.recipe.data), trial.recipe.data
    name, title = (
        (own.table or ", ".join(own.shards or ()), "Recordings of one's own")
        if info is None
        else (info.name, info.title)
    )
    licence, attribution = (
        (own.licence or "that of its files", "their makers") if info is None else (info.licence, info.attribution)
    )
    return Data(name, title, licence, attribution, len(trial.train), len(rows), digest.hexdigest())


def _weights(painter: Backbone) -> dict[str, str]:
    """SHA-256 of the files of weights that paint."""
    folder, hashes = find(painter.name), {}
    for path in (path for part in painter.family.networks for path in find_weights(folder / part)[0]):
        with path.open("rb") as file:
            hashes[f"{path.parent.name}/{path.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _versions(judge: ModelFolder) -> dict[str, str]:
    """Of all that can change a number."""
    names = ("numpy", "torch", "diffusers", "transformers")
    judging, _, number = engine(judge).partition(" ")
    return {
        "soundsight": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        judging: number,
        "machine": f"{platform.system()} {platform.machine()}, {'GPU' if torch.cuda.is_available() else 'CPU'}",
    }


def _command(path: str | Path, settings: Settings, split: str | None, root: Path | None) -> str:
    """The command line that does the same."""
    options = settings.options
    words = ["soundsight", "evaluate", str(path), "--backbone", settings.backbone, "--judge", settings.judge]
    for option, value, usual in (
        ("--split", split, None),
        ("--seed", settings.seed, 0),
        ("--samples", settings.num_samples, 10),
        ("--draws", settings.draws, 1),
        ("--steps", settings.steps, None),
        ("--guidance", settings.guidance, None),
        ("--precision", options.get("precision"), None),
        ("--offload", options.get("offload"), None),
        *(("--without", part, None) for part in options.get("without", ())),
        ("--data", root, None),
    ):
        words += [] if value == usual else [option, str(value)]
    return shlex.join(words + (["--save-memory"] if options.get("vae_slicing") else []))
