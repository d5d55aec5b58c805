"""Laws that every recipe in the package keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from soundsight import registry
from soundsight.audio import Clip
from soundsight.config import load_recipe, parse_recipe, recipe_names
from soundsight.datasets.selection import labels_of, num_labels
from soundsight.errors import RecipeError
from soundsight.training.loading import front_end
from soundsight.training.system import build_system, check_phases

NAMES = recipe_names()


def test_the_room_has_recipes():
    assert {"aivae-fsdd", "digits", "lenet5"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_names_what_exists(name):
    recipe = load_recipe(name)
    assert recipe.name == name, "results are saved under the recipe's name"
    assert recipe.model.system in registry.names("models")
    if recipe.data.pairs is not None:
        assert registry.find("datasets", recipe.data.pairs).INFO.kind == "pair"
        assert recipe.data.split == "block", "a split at random leaks"
        return
    assert registry.find("datasets", recipe.data.images).INFO.kind == "image"
    labels_of(recipe.data)
    if recipe.data.sounds is not None:
        assert registry.find("datasets", recipe.data.sounds).INFO.kind == "sound"
    assert recipe.data.split in {"random", "official", "clip"} or recipe.data.split.startswith("speaker:")


@pytest.mark.parametrize("name", NAMES)
def test_its_system_can_be_built_and_reads_its_features(name):
    recipe = load_recipe(name)
    module, system = build_system(recipe.model, num_labels(recipe.data))
    check_phases(system, recipe.train)
    assert module is system
    if system.features_shape is None:
        assert recipe.data.sounds is None, "the system reads no sound"
    else:
        front = front_end(recipe.features)
        clip = Clip(np.zeros(front.options.sample_rate_hz, np.float32), front.options.sample_rate_hz)
        assert front.extract([clip], front.options).shape[1:] == system.features_shape


@pytest.mark.parametrize("name", NAMES)
def test_it_says_where_it_comes_from_and_what_it_cannot_do(name):
    recipe = load_recipe(name)
    assert recipe.source
    assert recipe.card.summary
    assert recipe.card.limits


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_being_saved(name):
    recipe = load_recipe(name)
    assert parse_recipe(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_of_its_system_is_refused(name):
    with pytest.raises(RecipeError, match=r"unknown key 'model\.latent_sise' in the recipe; known here: "):
        build_system(load_recipe(name, ["model.latent_sise=3"]).model, num_labels=10)


@pytest.mark.parametrize("name", NAMES)
def test_options_for_an_optimiser_that_its_system_lacks_are_refused(name):
    recipe = load_recipe(name, ["train.optimizer.juggler.lr=0.1"])
    _, system = build_system(recipe.model, num_labels(recipe.data))
    with pytest.raises(RecipeError, match=r"unknown key 'train\.optimizer\.juggler' in the recipe; known .*: default"):
        check_phases(system, recipe.train)
