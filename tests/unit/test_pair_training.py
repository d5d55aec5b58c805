"""Training on pairs: what is loaded is the training part and nothing else, and every kind of loss can join."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from sample_data import write_scenes
from soundsight.cli import main
from soundsight.config import Recipe, parse_recipe
from soundsight.datasets import pairs as folder_of_pairs
from soundsight.datasets.pair_splits import split_pairs
from soundsight.datasets.sketch import sketch
from soundsight.errors import RecipeError
from soundsight.features import mfcc
from soundsight.folder import read_folder
from soundsight.training.loading import load_training_data
from soundsight.training.perceptual import Perceptual
from soundsight.training.plan import plan
from soundsight.training.trainer import train
from soundsight.training.weights import load_system
from training_sets import recipe_for, small_root

RATE_HZ = 16_000
NUM = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two clips of twelve seconds: the pitch rises with the brightness of a square that wanders."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["sound,image,clip,time_s"]
    for clip, base in (("a", 200), ("b", 900)):
        (folder / clip).mkdir()
        for second in range(NUM):
            time_T = np.arange(RATE_HZ) / RATE_HZ
            tone_T = (0.02 + 0.04 * second) * np.sin(2 * np.pi * (base + 40 * second) * time_T)
            soundfile.write(folder / clip / f"{second}.wav", tone_T, RATE_HZ)
            pixels_HWC = np.full((20, 20, 3), 20 * second, np.uint8)
            pixels_HWC[4:8, second : second + 6, 0] = 255
            Image.fromarray(pixels_HWC).save(folder / clip / f"{second}.png")
            lines.append(f"{clip}/{second}.wav,{clip}/{second}.png,{clip},{second}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder


def recipe_of(folder: Path | str, *, model: dict[str, Any] | None = None, **tables: Any) -> Recipe:
    base: dict[str, Any] = {
        "features": {"name": "mfcc"},
        "data": {"pairs": str(folder), "split": "block"},
        "model": {
            "system": "mfcc_generator",
            "image_size": 16,
            "channels": [16, 8, 8],
            "widths": [32],
            "normalise": True,
        },
        "train": {"batch_size": 6, "epochs": 3, "precision": "fp32"},
    }
    base["model"] |= model or {}
    return parse_recipe(
        {"name": "small"} | {key: base.get(key, {}) | tables.get(key, {}) for key in base.keys() | tables.keys()}
    )


def test_the_training_part_alone_is_loaded(folder):
    data = load_training_data(recipe_of(folder), 0, image_size=16)
    found = folder_of_pairs.load(folder)
    split = split_pairs(found, "block", seed=0)
    assert len(data) == len(split.train) == 18
    np.testing.assert_array_equal(data.images_NCHW.numpy(), found.load_images(split.train, 16))
    clips = found.load_sounds(split.train, RATE_HZ)
    wanted = mfcc.extract(clips, mfcc.Config())
    np.testing.assert_array_equal(data.features_RKFN[:, 0].numpy(), wanted)
    batch = data.batch(torch.tensor([4, 17]), 0)
    np.testing.assert_array_equal(batch["features"].numpy(), wanted[[4, 17]])
    assert data.facts == {"pairs": 18, "train_pairs": 18, "test_pairs": 6}
    test = found.load_images(split.test, 16)
    assert not any((image == other).all() for image in data.images_NCHW.numpy() for other in test)


@pytest.mark.parametrize(("split", "warned"), [("random", True), ("block", False)])
def test_a_split_at_random_warns_of_how_much_it_leaks(split, warned, folder, tmp_path, capsys):
    """Every second picture of a clip is nearly the one before: with neighbours in training, memory is enough."""
    recipe = tmp_path / "small.json"
    recipe.write_text(recipe_of(folder, data={"pairs": str(folder), "split": split}).model_dump_json())
    assert main(["train", str(recipe), "--dry-run"]) == 0
    err = capsys.readouterr().err
    assert ("warning: split 'random': the nearest training frame has 0." in err) == warned
    assert ("test frames leak into training" in err) == warned


def test_how_loud_a_place_is_belongs_to_it(folder):
    """Nothing is trimmed or levelled: the first coefficient, a mean level, follows the loudness of the second."""
    data = load_training_data(recipe_of(folder), 0, image_size=16)
    loudness = data.features_RKFN[:9, 0, 0].mean(dim=1)
    assert float(loudness[8] - loudness[0]) > 200


def test_sounds_can_be_changed_and_pictures_become_sketches(folder):
    tables = {"data": {"augment": {"copies": 3, "noise_snr_db": [0.0, 10.0]}, "target": "sketch"}}
    data = load_training_data(recipe_of(folder, **tables), 0, image_size=16)
    assert data.features_RKFN.shape == (18, 3, 13, 8)
    assert not torch.equal(data.features_RKFN[:, 0], data.features_RKFN[:, 1])
    found = folder_of_pairs.load(folder)
    wanted = sketch(found.load_images(split_pairs(found, "block", seed=0).train, 16))
    np.testing.assert_array_equal(data.images_NCHW.numpy(), wanted)


def test_the_pair_that_follows_is_the_next_of_its_clip(folder):
    data = load_training_data(recipe_of(folder), 0, image_size=16, looks_ahead=True)
    assert data.next_P.tolist() == [*range(1, 9), 8, *range(10, 18), 17]
    batch = data.batch(torch.tensor([0, 8]), 0)
    np.testing.assert_array_equal(batch["next_image"][0].numpy(), data.images_NCHW[1].numpy() / np.float32(255))
    np.testing.assert_array_equal(batch["next_image"][1].numpy(), batch["image"][1].numpy())


def test_a_training_learns_its_pairs_and_leaves_a_model(folder, tmp_path):
    losses = {"l1": 1.0, "ssim": 0.5, "adversarial": 0.05, "cycle": 0.1, "cohesion": 0.5}
    tables = {"train": {"epochs": 60, "optimizer": {"default": {"lr": 2e-3}}}}
    out = train(recipe_of(folder, model={"losses": losses}, **tables), tmp_path / "model")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["generator.l1"] < 0.6 * lines[0]["generator.l1"]
    assert {f"generator.{name}" for name in losses} <= lines[-1].keys()
    assert sorted((out / "samples").iterdir())
    model = read_folder(out)
    assert model.labels is None
    assert model.card["data"] == [
        {"name": "pairs of one's own", "licence": "that of its files", "attribution": "their makers"}
    ]
    assert model.training["test_pairs"] == 6
    _, system = load_system(out)
    data = load_training_data(recipe_of(folder), 0, image_size=16)
    made = system.generate(data.features_RKFN[[0, 8], 0], torch.empty(2, 0))
    assert made[1].mean().item() > made[0].mean().item() + 0.15, "later is brighter"


def test_a_training_on_pairs_goes_on_as_if_never_stopped(folder, tmp_path):
    recipe = recipe_of(folder, model={"losses": {"l2": 1.0, "adversarial": 0.1}, "gradient_penalty": 1.0})
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", stop_after=4)
    parts = train(recipe, tmp_path / "parts", resume=True)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()


def test_the_scene_data_set_trains_from_its_coefficients(tmp_path):
    rows = [(f"beach/beach{i}.png", "BEACH") for i in range(8)]
    write_scenes(tmp_path, rows)
    (tmp_path / "beach").mkdir()
    for i, (image, _) in enumerate(rows):
        Image.new("RGB", (16, 16), (30 * i, 0, 0)).save(tmp_path / image)
    root = tmp_path / "root"
    root.mkdir()
    (root / "scenes").symlink_to(tmp_path)
    data = load_training_data(recipe_of("scenes"), 0, root, image_size=16)
    assert len(data) == 6
    # Window after window: mfcc_14 of the second row is the first coefficient of the second window.
    assert float(data.features_RKFN[1, 0, 0, 1]) == 113.5
    assert data.facts["coefficients"] == "as published"
    for tables, match in (
        ({"features": {"name": "logmel"}}, "use mfcc"),
        ({"data": {"augment": {"copies": 2}}}, "no sounds to be changed"),
    ):
        with pytest.raises(RecipeError, match=match):
            load_training_data(recipe_of("scenes", **tables), 0, root, image_size=16)


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        ({"data": {"sounds": "fsdd"}}, "'data.sounds' is for labelled sounds"),
        ({"data": {"voices": 3}}, "'data.voices' is for labelled sounds"),
        ({"data": {"augment": {"time_mask": 0.2}}}, "set both masks to 0"),
        ({"data": {"pairs": "mnist"}}, "mnist is a data set of images; known here: beach_frames, scenes"),
    ],
)
def test_what_does_not_go_with_pairs_is_refused(folder, tables, match):
    with pytest.raises(RecipeError, match=match):
        load_training_data(recipe_of(folder, **tables), 0, image_size=16)


def test_nothing_to_learn_from_is_told_by_a_plan_too(folder):
    with pytest.raises(RecipeError, match="no objective has a weight above 0"):
        plan(recipe_of(folder, model={"losses": {"l2": 0.0}}))


def test_objectives_of_labels_need_labels(folder):
    with pytest.raises(RecipeError, match="recipe key 'model': the objective legibility is of labels"):
        plan(recipe_of(folder, model={"losses": {"l2": 1.0, "legibility": 1.0}}))


def test_cohesion_needs_moments(tmp_path):
    """Pictures of one sound have no order; and what comes after a gap is another scene."""
    rows = ["sound,image,clip,time_s"]
    for i in range(6):
        soundfile.write(tmp_path / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 16_000), 16_000)
        Image.new("RGB", (16, 16), (30 * i, 0, 0)).save(tmp_path / f"{i}.png")
    for times, wanted in ((range(6), [1, 2, 3, 3]), ((0, 1, 20, 21, 22, 23), [1, 1, 3, 3]), ([0] * 6, None)):
        text = [f"{i}.wav,{i}.png,a,{time}" for i, time in enumerate(times)]
        (tmp_path / "pairs.csv").write_text("\n".join(rows + text) + "\n")
        recipe = recipe_of(tmp_path, data={"split": "random"})
        if wanted is None:
            with pytest.raises(RecipeError, match="no pair is later than another"):
                load_training_data(recipe, 0, image_size=16, looks_ahead=True)
            continue
        data = load_training_data(recipe, 0, image_size=16, looks_ahead=True)
        rows_R = split_pairs(folder_of_pairs.load(tmp_path), "random", seed=recipe.train.seed).train
        moments = [list(times)[row] for row in rows_R]
        later = [moments[place] - moment for place, moment in zip(data.next_P.tolist(), moments, strict=True)]
        assert max(later) > 0
        assert max(later) <= 3 * min(step for step in later if step)


def test_cohesion_needs_clips(data_root, tmp_path):
    root = small_root(tmp_path, data_root)
    model = {"image_size": 16, "image_channels": 1, "losses": {"l2": 1.0, "cohesion": 1.0}}
    with pytest.raises(RecipeError, match=r"it needs 'data\.pairs'"):
        train(recipe_for("sound2visual", model=model), tmp_path / "out", root=root)


@pytest.fixture(scope="module")
def judge(folder, tmp_path_factory, data_root) -> Path:
    root = small_root(tmp_path_factory.mktemp("data"), data_root)
    return train(recipe_for("lenet5", train={"epochs": 1}), tmp_path_factory.mktemp("judge") / "lenet5", root=root)


def test_a_judge_teaches_any_system_what_it_sees(judge, data_root, tmp_path):
    root = small_root(tmp_path / "root", data_root)
    out = train(
        recipe_for("aivae", train={"epochs": 1}, perceptual={"model": str(judge), "weight": 2.0}),
        tmp_path / "out",
        root=root,
    )
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[0])["perceptual"] > 0
    _, module = load_system(judge)
    teacher = Perceptual(
        parse_recipe({"model": {"system": "aivae"}, "perceptual": {"model": str(judge)}}).perceptual,
        (1, 28, 28),
        torch.device("cpu"),
    )
    image = torch.rand(3, 1, 28, 28)
    made = (0.5 * image).requires_grad_()
    loss = teacher({"image": image, "made": made})
    loss.backward()
    assert float(loss.detach()) > 0
    assert float(made.grad.abs().sum()) > 0
    assert teacher({"image": image, "made": image.clone().requires_grad_()}).item() == pytest.approx(0, abs=1e-6)
    assert [layer.shape[1] for layer in module.layers_of(image)] == [6, 16, 120, 84]


def test_a_judge_of_other_pictures_is_refused(judge, folder, tmp_path):
    with pytest.raises(RecipeError, match=r"judges \(1, 28, 28\), this makes \(3, 16, 16\)"):
        train(recipe_of(folder, perceptual={"model": str(judge)}), tmp_path / "out")


def test_layers_of_a_judge_have_no_names(judge):
    recipe = recipe_for("aivae", perceptual={"model": str(judge), "layers": ["relu1_1"]})
    with pytest.raises(RecipeError, match=r"'perceptual\.layers' is for a VGG"):
        Perceptual(recipe.perceptual, (1, 28, 28), torch.device("cpu"))
