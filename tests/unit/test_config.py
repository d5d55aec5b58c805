"""Recipes: what is read, what is refused, and with which line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from soundsight.config import Augment, DataConfig, Optimizer, Recipe, TrainConfig, load_recipe, parse_recipe
from soundsight.errors import RecipeError, UnknownNameError

MINIMAL = '[model]\nsystem = "lenet5"\n'


def write(folder: Path, text: str, name: str = "my-own.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(recipe: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Every table of a recipe, and a key that it knows: the message for an unknown one must show it.
TABLES = {
    "": ("train", Recipe),
    "data.": ("pairing", DataConfig),
    "data.augment.": ("reverb_s", Augment),
    "train.": ("batch_size", TrainConfig),
    "train.optimizer.default.": ("betas", Optimizer),
    "train.optimizer.autoencoder.": ("lr", Optimizer),
    "card.": ("limits", None),
}


@pytest.mark.parametrize("table", TABLES)
def test_an_unknown_key_shows_the_known_ones_of_its_table(table):
    known, model = TABLES[table]
    message = refusal("aivae-fsdd", f"{table}sped=1")
    assert f"unknown key '{table}sped'" in message
    listed = message.partition("known here: ")[2].split(", ")
    assert known in listed
    if model is not None:
        assert set(listed) == set(model.model_fields)


def test_an_unknown_key_in_a_file_is_refused_too(tmp_path):
    assert "unknown key 'train.epoch'" in refusal(write(tmp_path, MINIMAL + "[train]\nepoch = 3\n"))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.epochs=many", "train.epochs"),
        ("train.epochs=0", "train.epochs"),
        ("train.epochs=1.5", "train.epochs"),
        ("train.epochs=", "train.epochs"),
        ("train.epochs=[3]", "train.epochs"),
        ("train.batch_size=-1", "train.batch_size"),
        ("train.seed=-1", "train.seed"),
        ("train.seed=4294967296", "train.seed"),
        ("train.precision=fp16", "train.precision"),
        ("train.ema=1", "train.ema"),
        ("train.ema=nan", "train.ema"),
        ("train.save_every=0", "train.save_every"),
        ("train.optimizer.default.lr=0", "train.optimizer.default.lr"),
        ("train.optimizer.default.lr=inf", "train.optimizer.default.lr"),
        ("train.optimizer.default.betas=[0.9, 1.0]", "train.optimizer.default.betas.1"),
        ("train.optimizer.default.schedule=linear", "train.optimizer.default.schedule"),
        ("train.optimizer=fast", "train.optimizer"),
        ("train=fast", "train"),
        ("data.pairing=all", "data.pairing"),
        ("data.voices=-1", "data.voices"),
        ("data.augment=1", "data.augment"),
        ("data.augment.formant=1", "data.augment.formant"),
        ("data.augment.time_warp=0.5", "data.augment.time_warp"),
        ("data.augment.noise_snr_db=[nan, 3]", "data.augment.noise_snr_db.0"),
        ("features=logmel", "features"),
        ("model.system=5", "model.system"),
        ("card.limits=none", "card.limits"),
        ("name=My Model", "name"),
        ("train.epochs=" + "9" * 5000, "train.epochs"),
    ],
)
def test_a_value_that_does_not_fit_names_its_key(override, key):
    assert refusal("aivae-fsdd", override).startswith(f"recipe key '{key}': ")


def test_a_wrong_value_is_shown():
    assert "not 'many'" in refusal("aivae-fsdd", "train.epochs=many")
    assert len(refusal("aivae-fsdd", "train.epochs=" + "many" * 1000)) < 300, "a line stays a line"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.epochs=3", "train.epochs", 3),
        ("train.optimizer.default.lr=2e-4", "train.optimizer.default.lr", 2e-4),
        ("train.optimizer.default.lr = 0.01", "train.optimizer.default.lr", 0.01),
        ("data.split=speaker:theo", "data.split", "speaker:theo"),
        ("data.split='official'", "data.split", "official"),
        ("card.summary=a = b", "card.summary", "a = b"),
        ('card.limits=["one", "two"]', "card.limits", ("one", "two")),
        ("data.augment.noise_snr_db=[5, 30]", "data.augment.noise_snr_db", (5.0, 30.0)),
        ("data.augment={copies = 2, tempo = 0.1}", "data.augment", Augment(copies=2, tempo=0.1)),
        ("train.optimizer={generator = {lr = 0.5}}", "train.optimizer", {"generator": Optimizer(lr=0.5)}),
        ("model.system=cvae", "model.system", "cvae"),
        ("features.bins=64", "features", {"name": "logmel", "bins": 64}),
    ],
)
def test_an_override_sets_its_key(override, path, value):
    found = load_recipe("aivae-fsdd", [override])
    for key in path.split("."):
        found = found[key] if isinstance(found, dict) else getattr(found, key)
    assert found == value
    assert type(found) is type(value)


def test_overrides_apply_in_turn_and_leave_the_rest():
    plain = load_recipe("aivae-fsdd")
    changed = load_recipe("aivae-fsdd", ["train.epochs=7", "train.epochs=8"])
    assert changed.train.epochs == 8
    assert changed.train.model_copy(update={"epochs": plain.train.epochs}) == plain.train
    assert changed.model_copy(update={"train": plain.train}) == plain


@pytest.mark.parametrize("override", ["train.epochs", "=3", "", "train..epochs=3", ".epochs=3", "train.=3"])
def test_an_override_that_is_none_shows_an_example(override):
    message = refusal("aivae-fsdd", override)
    assert repr(override) in message
    assert "train.epochs=3" in message


def test_an_override_below_a_value_is_refused():
    assert "'split' is a value, not a table" in refusal("aivae-fsdd", "data.split.name=official")


def test_a_deeply_nested_override_is_refused_and_not_a_crash():
    assert "train.epochs" in refusal("aivae-fsdd", "train.epochs=" + "[" * 50_000)


def test_a_file_is_read_and_named_after_itself(tmp_path):
    recipe = load_recipe(write(tmp_path, MINIMAL + "dropout = 0.2\n[train]\nepochs = 2\n"))
    assert recipe.name == "my-own"
    assert recipe.train.epochs == 2
    assert recipe.model.system == "lenet5"
    assert recipe.model.options == {"dropout": 0.2}
    assert load_recipe(write(tmp_path, 'name = "other"\n' + MINIMAL)).name == "other"


def test_the_resolved_recipe_of_a_training_can_be_read_again(tmp_path):
    recipe = load_recipe("digits", ["train.epochs=2", "data.augment.noise_snr_db=[3, 9]", "model.latent_size=8"])
    text = json.dumps(recipe.model_dump(mode="json"))
    assert load_recipe(write(tmp_path, text, "recipe.json")) == recipe


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("train = ", "broken.toml"),
        ("x = 1\nx = 2", "twice.toml"),
        ("x = " + "[" * 50_000, "deep.toml"),
        ("x = " + "9" * 5000, "digits.toml"),
        ("[" * 200_000, "deep.json"),
        ("{", "broken.json"),
        ("[1]", "list.json"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, text, name):
    assert name in refusal(write(tmp_path, text, name))


def test_unreadable_files_are_one_line(tmp_path):
    assert "No such file" in refusal(str(tmp_path / "absent.toml"))
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml" in refusal(str(tmp_path / "folder.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refusal(str(tmp_path / "bytes.toml"))


def test_a_recipe_that_lacks_something_says_what(tmp_path):
    assert refusal(write(tmp_path, "[train]\nepochs = 1\n")) == "the recipe lacks 'model'"
    assert "betas.1" in refusal("aivae-fsdd", "train.optimizer.default.betas=[0.9]")
    assert refusal(write(tmp_path, "[model]\nlatent_size = 1\n")) == "the recipe lacks 'model.system'"


def test_an_unknown_recipe_shows_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no 'aivae-fsd' in recipes \(did you mean 'aivae-fsdd'\?\)"):
        load_recipe("aivae-fsd")
    with pytest.raises(UnknownNameError):  # never a path inside the package, nor outside of it
        load_recipe("../recipes/aivae-fsdd")


@pytest.mark.parametrize("name", ["a", "7", "aivae-fsdd", "run.3", "0a-b.c"])
def test_names_that_are_folders_everywhere(name):
    assert parse_recipe({"name": name, "model": {"system": "lenet5"}}).name == name


@pytest.mark.parametrize("name", ["", "..", ".a", "-a", "a/b", "a\\b", "A", "a b", "a\n", "é", "~"])
def test_names_that_could_leave_the_folder(name):
    with pytest.raises(RecipeError, match="recipe key 'name'"):
        parse_recipe({"name": name, "model": {"system": "lenet5"}})


def test_recipes_cannot_be_changed():
    with pytest.raises(ValidationError):
        load_recipe("lenet5").train.epochs = 3  # type: ignore[misc]


def test_optimizer_of_a_phase_then_default_then_adam():
    one, two = Optimizer(lr=0.1), Optimizer(lr=0.2)
    config = TrainConfig(optimizer={"generator": one, "default": two})
    assert config.optimizer_of("generator") == one
    assert config.optimizer_of("discriminator") == two
    assert TrainConfig().optimizer_of("autoencoder").lr == 1e-3
