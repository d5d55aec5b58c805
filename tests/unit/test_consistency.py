"""An alignment as a teacher: its loss joins any system's, moves what the system makes, and nothing of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soundsight.errors import ModelError, RecipeError
from soundsight.folder import read_folder
from soundsight.training.consistency import Consistency
from soundsight.training.plan import plan
from soundsight.training.teachers import teachers_of
from soundsight.training.trainer import train
from training_sets import recipe_for, small_root

SMALL = {"listener_widths": [4, 4, 4, 4], "embedding_size": 8}


@pytest.fixture(scope="module")
def root(data_root, tmp_path_factory) -> Path:
    return small_root(tmp_path_factory.mktemp("data"), data_root)


@pytest.fixture(scope="module")
def teacher(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "alignment"
    return train(recipe_for("alignment", model=SMALL), out, root=root)


def first_losses(out: Path) -> dict[str, float]:
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("system", ["aivae", "aivaegan"])
def test_it_joins_the_losses_of_the_last_phase(system, root, teacher, tmp_path):
    tables = {"train": {"epochs": 1}, "consistency": {"model": str(teacher), "weight": 0.5}}
    taught = train(recipe_for(system, **tables), tmp_path / "taught", root=root)
    prefix = "generator." if system == "aivaegan" else ""
    assert first_losses(taught)[f"{prefix}consistency"] > 0
    plain = train(recipe_for(system, train={"epochs": 1}), tmp_path / "plain", root=root)
    weights = [load_file(out / "model.safetensors") for out in (taught, plain)]
    assert weights[0].keys() == weights[1].keys(), "the teacher is no part of the model"
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_its_value_is_that_of_the_alignment_times_the_weight(teacher):
    from soundsight.training.weights import load_system

    folder, module = load_system(teacher)
    loss = Consistency(_config(teacher, 0.25), folder.features, (1, 28, 28), torch.device("cpu"))
    batch = {
        "features": torch.rand(4, 48, 48),
        "made": torch.rand(4, 1, 28, 28, requires_grad=True),
        "label": torch.arange(4),
    }
    wanted = module.consistency(batch["features"], batch["made"], batch["label"])
    torch.testing.assert_close(loss(batch), 0.25 * wanted)


def _config(teacher: Path, weight: float = 1.0):
    return recipe_for("aivae", consistency={"model": str(teacher), "weight": weight}).consistency


def test_what_cannot_be_taught_is_refused(root, teacher, tmp_path):
    taught = {"consistency": {"model": str(teacher)}}
    with pytest.raises(RecipeError, match="makes no pictures while it is trained"):
        train(recipe_for("archetype", **taught), tmp_path / "archetype", root=root)
    with pytest.raises(RecipeError, match="the recipe with"):
        train(recipe_for("aivae", features={"name": "logmel", "top_db": 40.0}, **taught), tmp_path / "deaf", root=root)
    folder = read_folder(teacher)
    with pytest.raises(RecipeError, match=r"sees \(1, 28, 28\), this makes \(3, 64, 64\)"):
        Consistency(_config(teacher), folder.features, (3, 64, 64), torch.device("cpu"))


def test_a_training_goes_on_with_the_same_teacher_alone(root, teacher, tmp_path):
    place = tmp_path / "teacher"
    shutil.copytree(teacher, place)
    recipe = recipe_for("aivae", train={"epochs": 1}, consistency={"model": str(place)})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "out", root=root, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "out", root=root, resume=True, stop_after=3)
    other = recipe_for("alignment", model=SMALL, train={"seed": 1})
    shutil.rmtree(place)
    train(other, place, root=root)
    with pytest.raises(RecipeError, match="another model in"):
        train(recipe, tmp_path / "out", root=root, resume=True)


def test_a_dry_run_asks_for_the_teacher_too(root, teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(root))
    assert "steps of 16" in plan(recipe_for("aivae", consistency={"model": str(teacher)})).text
    with pytest.raises(ModelError):
        plan(recipe_for("aivae", consistency={"model": str(tmp_path / "nowhere")}))
    with pytest.raises(RecipeError, match="makes no pictures"):
        plan(recipe_for("archetype", consistency={"model": str(teacher)}))


def test_what_is_no_teacher_is_refused(root, tmp_path):
    judge = train(recipe_for("lenet5", train={"epochs": 1}), tmp_path / "judge", root=root)
    with pytest.raises(ModelError, match="choose an alignment"):
        train(recipe_for("aivae", consistency={"model": str(judge)}), tmp_path / "out", root=root)
    with pytest.raises(ModelError):
        train(recipe_for("aivae", consistency={"model": str(tmp_path / "nowhere")}), tmp_path / "out", root=root)
    for wrong in ({"model": str(judge), "weight": 0}, {"weight": 1}, {"model": str(judge), "strength": 1}):
        with pytest.raises(RecipeError, match="consistency"):
            recipe_for("aivae", consistency=wrong)
    taken_apart = {"losses": {"l2": 1.0}, "unlike": 0.5}
    recipe = recipe_for("mfcc_generator", model=taken_apart, consistency={"model": str(judge)})
    with pytest.raises(RecipeError, match=r"model\.unlike takes sounds apart"):
        teachers_of(recipe, (3, 256, 256), torch.device("cpu"))
