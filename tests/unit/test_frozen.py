"""Parts that another training has made: they are taken as they are, stay so, and the card says where they come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soundsight.errors import ModelError, RecipeError
from soundsight.training.plan import plan
from soundsight.training.trainer import train
from training_sets import recipe_for, small_root

SMALL = {"listener_widths": [4, 4, 4, 4], "widths": [8, 8], "steering_size": 8}
DIGITS_BACKWARDS = {str(digit): {"sounds": [str(digit)], "images": [str(digit)]} for digit in range(9, -1, -1)}
NOISY = {"augment": {"copies": 1, "noise_snr_db": [0.0, 10.0], "events": 0.5}}
TRAIN = {"epochs": 1, "ema": 0.9, "optimizer": {"default": {"weight_decay": 0.1}}}


@pytest.fixture(scope="module")
def root(data_root, tmp_path_factory) -> Path:
    return small_root(tmp_path_factory.mktemp("data"), data_root)


@pytest.fixture(scope="module")
def painted(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("painted") / "flow"
    return train(recipe_for("flow", model=SMALL, train=TRAIN), out, root=root)


def listener_of(painted: Path, **tables):
    frozen = {"model": str(painted), "parts": ["painter"]}
    tables = {"model": SMALL, "train": TRAIN | {"seed": 7}, "frozen": frozen} | tables
    return recipe_for("flow", **tables)


def test_the_part_stays_and_the_rest_learns(root, painted, tmp_path):
    out = train(listener_of(painted), tmp_path / "out", root=root)
    theirs, ours = (load_file(folder / "model.safetensors") for folder in (painted, out))
    assert theirs.keys() == ours.keys()
    of_painter = {name for name in theirs if name.startswith("painter.")}
    assert all(torch.equal(theirs[name], ours[name]) for name in of_painter)
    learned = {name for name in theirs.keys() - of_painter if theirs[name].ndim > 1}
    assert learned
    assert not any(torch.equal(theirs[name], ours[name]) for name in learned)
    losses = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    assert "heard" in losses
    assert "noise_prediction" not in losses, "a frozen painter is not asked to paint"


def test_a_listener_beside_a_frozen_painter_is_that_of_a_whole_training(root, painted, tmp_path):
    """And a painter is the same whatever sounds there are: neither knows anything of the other."""
    whole = train(recipe_for("flow", model=SMALL, train=TRAIN, data=NOISY), tmp_path / "whole", root=root)
    alone = train(listener_of(painted, train=TRAIN, data=NOISY), tmp_path / "alone", root=root)
    one, other, before = (load_file(folder / "model.safetensors") for folder in (whole, alone, painted))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], before[name]) for name in one if name.startswith("listener."))


def test_the_listener_starts_anew(root, painted, tmp_path):
    """A listener that began with what another has heard would know speakers that are left out."""
    fresh = train(recipe_for("flow", model=SMALL, train=TRAIN | {"seed": 7}), tmp_path / "fresh", root=root)
    out = train(listener_of(painted), tmp_path / "out", root=root)
    weights = [load_file(folder / "model.safetensors") for folder in (fresh, out)]
    convolution = next(name for name in weights[0] if name.startswith("listener.") and weights[0][name].ndim == 4)
    torch.testing.assert_close(weights[0][convolution], weights[1][convolution])


def test_config_and_card_say_where_the_part_comes_from(root, painted, tmp_path):
    elsewhere = tmp_path / "painted"
    shutil.copytree(painted, elsewhere)
    config = json.loads((elsewhere / "config.json").read_text())
    config["card"]["data"].append({"name": "Old letters", "licence": "CC0", "attribution": "their writers"})
    (elsewhere / "config.json").write_text(json.dumps(config))
    out = train(listener_of(elsewhere), tmp_path / "out", root=root)
    ours = json.loads((out / "config.json").read_text())
    assert ours["training"]["frozen"] == {"parts": ["painter"], "weights": config["weights"]}
    names = [source["name"] for source in ours["card"]["data"]]
    assert len(names) == len(set(names)), "the same data are named once"
    assert "Old letters" in names


def test_a_training_goes_on_with_the_same_model_alone(root, painted, tmp_path):
    place = tmp_path / "painted"
    shutil.copytree(painted, place)
    with pytest.raises(KeyboardInterrupt):
        train(listener_of(place), tmp_path / "out", root=root, stop_after=2)
    shutil.rmtree(place)
    train(recipe_for("flow", model=SMALL, train=TRAIN | {"seed": 1}), place, root=root)
    with pytest.raises(RecipeError, match=r"another model in 'frozen\.model'"):
        train(listener_of(place), tmp_path / "out", root=root, resume=True)


def test_it_goes_on_after_an_interruption(root, painted, tmp_path):
    recipe = listener_of(painted)
    whole = train(recipe, tmp_path / "whole", root=root)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "halves", root=root, stop_after=3)
    halves = train(recipe, tmp_path / "halves", root=root, resume=True)
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, halves))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_batch_norm_of_a_frozen_part_does_not_learn(root, tmp_path):
    gan = train(recipe_for("aivaegan", train=TRAIN), tmp_path / "gan", root=root)
    frozen = {"model": str(gan), "parts": ["encoder"]}
    out = train(recipe_for("aivaegan", train=TRAIN, frozen=frozen), tmp_path / "out", root=root)
    theirs, ours = (load_file(folder / "model.safetensors") for folder in (gan, out))
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs if name.startswith("encoder."))
    assert not any(
        torch.equal(theirs[name], ours[name]) for name in theirs if name.endswith("running_mean") and "decoder" in name
    )


def test_an_adversary_can_stay_as_it_is(root, tmp_path):
    gan = train(recipe_for("aivaegan", train=TRAIN), tmp_path / "gan", root=root)
    frozen = {"model": str(gan), "parts": ["discriminator"]}
    out = train(recipe_for("aivaegan", train=TRAIN | {"seed": 3}, frozen=frozen), tmp_path / "out", root=root)
    theirs, ours = (load_file(folder / "model.safetensors") for folder in (gan, out))
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs if name.startswith("discriminator."))
    assert not torch.equal(theirs["decoder.body.0.weight"], ours["decoder.body.0.weight"])


@pytest.mark.parametrize(
    ("tables", "error", "match"),
    [
        ({"frozen": {"parts": ["painter", "ear"]}}, RecipeError, "no 'ear' in parts.*known: listener, painter"),
        ({"frozen": {"parts": []}}, RecipeError, "frozen.parts"),
        ({"frozen": {"parts": ["painter", "listener"]}}, RecipeError, "nothing to train"),
        ({"frozen": {"model": "nowhere"}}, ModelError, "nowhere"),
        ({"frozen": {"strength": 1}}, RecipeError, "unknown key 'frozen.strength'"),
        ({"features": {"name": "logmel", "top_db": 60.0}}, RecipeError, "hears with .*80.*the recipe with .*60"),
        (
            {"data": {"calibration_voices": 2}, "frozen": {"parts": ["listener"]}},
            RecipeError,
            "keeps listener as it is",
        ),
        ({"data": {"classes": DIGITS_BACKWARDS}}, RecipeError, "knows the labels 0, 1.*9, the recipe 9, 8.*0"),
        ({"data": {"classes": dict(list(DIGITS_BACKWARDS.items())[:2])}}, RecipeError, "the recipe 9, 8"),
        ({"model": SMALL | {"objective": "v", "shortcuts": 0.0}}, RecipeError, "model.objective = flow, the recipe v"),
    ],
)
def test_what_does_not_fit_is_refused(tables, error, match, root, painted, tmp_path, monkeypatch):
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(root))
    frozen = {"model": str(painted), "parts": ["painter"]} | tables.get("frozen", {})
    tables = {name: table for name, table in tables.items() if name != "frozen"}
    with pytest.raises(error, match=match):
        train(listener_of(painted, frozen=frozen, **tables), tmp_path / "out", root=root)
    with pytest.raises(error, match=match):
        plan(listener_of(painted, frozen=frozen, **tables))


def test_another_system_is_refused(root, painted, tmp_path):
    frozen = {"model": str(painted), "parts": ["encoder"]}
    with pytest.raises(RecipeError, match="is of the system flow, the recipe of aivae"):
        train(recipe_for("aivae", frozen=frozen), tmp_path / "out", root=root)


def test_a_teacher_of_pictures_needs_one_who_learns_to_paint(root, painted, tmp_path):
    small = {"listener_widths": [4, 4, 4, 4], "embedding_size": 8}
    teacher = train(recipe_for("alignment", model=small), tmp_path / "teacher", root=root)
    with pytest.raises(RecipeError, match=r"what makes the pictures is among 'frozen\.parts'"):
        train(listener_of(painted, consistency={"model": str(teacher)}), tmp_path / "out", root=root)
