"""What a training keeps: the average, the state to resume from, and the claim on its folder."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soundsight.config import load_recipe
from soundsight.errors import ModelError, OutputError, RecipeError
from soundsight.training.average import Average
from soundsight.training.claim import claim
from soundsight.training.state import load_state, save_state


class Training:
    """A small network with running statistics, its average and two optimisers, and steps that change all of it."""

    def __init__(self, width: int = 4, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.module = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
        self.average = Average(self.module, 0.9)
        first, second = list(self.module[0].parameters()), list(self.module[1:].parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "one": torch.optim.AdamW(first, lr=0.1, fused=True),
            "two": torch.optim.AdamW(second, lr=0.01, fused=True),
        }

    def run(self, start: int, end: int) -> None:
        for step in range(start, end):
            inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
            self.module.zero_grad(set_to_none=True)
            self.module(inputs).square().sum().backward()
            for optimizer in self.optimizers.values():
                optimizer.step()
            self.average.update(self.module, step + 1)

    def save(self, folder: Path, step: int = 0) -> None:
        save_state(folder, self.module, self.average, self.optimizers, {"step": step, "seconds": 1.5})

    def load(self, folder: Path) -> dict | None:
        return load_state(folder, self.module, self.average, self.optimizers)

    def content(self) -> dict[str, torch.Tensor]:
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.module.state_dict().items()}
        for phase, optimizer in self.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"{phase}.{index}.{k}": v for k, v in moments.items()}
        return {k: v.clone() for k, v in tensors.items()}


def same(one: Training, other: Training) -> None:
    assert one.content().keys() == other.content().keys()
    for name, tensor in one.content().items():
        assert torch.equal(tensor, other.content()[name]), name
        assert tensor.dtype == other.content()[name].dtype, name


def test_average_is_its_formula():
    torch.manual_seed(0)
    module = nn.Linear(3, 2).double()
    average = Average(module, 0.5)
    wanted = copy.deepcopy(module.weight.detach())
    for step in range(1, 20):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        average.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * module.weight.detach()
        torch.testing.assert_close(average.module.weight.detach(), wanted, rtol=1e-12, atol=1e-12)


def test_average_smooths_running_statistics_as_weights_and_leaves_the_module_alone():
    training = Training()
    wanted = training.average.module[1].running_mean.clone()
    for step in range(1, 5):
        training.run(step - 1, step)
        decay = min(0.9, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * training.module[1].running_mean
    ours, theirs = training.average.module[1], training.module[1]
    torch.testing.assert_close(ours.running_mean, wanted)
    assert not torch.allclose(ours.running_var, theirs.running_var)
    assert int(ours.num_batches_tracked) == 4
    before = training.content()
    training.average.update(training.module, 5)
    for name, tensor in training.module.state_dict().items():
        assert torch.equal(tensor, before[f"module.{name}"])
    assert not training.average.module.training
    assert not any(parameter.requires_grad for parameter in training.average.module.parameters())


def test_a_resumed_training_goes_on_as_if_nothing_had_happened(tmp_path):
    whole, first, second = Training(), Training(), Training(seed=9)
    whole.run(0, 7)
    first.run(0, 4)
    first.save(tmp_path, step=4)
    assert second.load(tmp_path) == {"step": 4, "seconds": 1.5}
    same(first, second)
    second.run(4, 7)
    same(whole, second)


def test_a_state_from_before_the_first_step_can_be_loaded(tmp_path):
    first, second = Training(), Training(seed=9)
    first.save(tmp_path)
    second.load(tmp_path)
    first.run(0, 2)
    second.run(0, 2)
    same(first, second)


def test_there_may_be_no_state(tmp_path):
    training = Training()
    before = training.content()
    assert training.load(tmp_path / "state") is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.content().items())


def test_saving_leaves_one_file_and_no_pickle(tmp_path):
    training = Training()
    for step in range(3):
        training.save(tmp_path, step)
    (file,) = tmp_path.iterdir()
    assert file.name == "state.safetensors"
    assert b"progress" in file.read_bytes()[:4096]


def test_what_a_killed_save_left_behind_goes(tmp_path):
    training = Training()
    training.save(tmp_path, 5)
    (tmp_path / ".state.safetensors.12345").write_bytes(b"half a state")
    (tmp_path / ".tmpHk2rac").write_bytes(b"what safetensors 0.8 writes first")
    assert training.load(tmp_path) == {"step": 5, "seconds": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_cut_state_is_refused(tmp_path):
    training = Training()
    training.run(0, 1)
    training.save(tmp_path, 1)
    file = tmp_path / "state.safetensors"
    whole = file.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"state\.safetensors cannot be resumed: .*; train anew") as caught:
            Training().load(tmp_path)
        assert "\n" not in str(caught.value)


def test_flipped_bytes_are_refused_or_harmless_but_never_a_crash(tmp_path):
    training = Training()
    training.run(0, 1)
    training.save(tmp_path, 1)
    file = tmp_path / "state.safetensors"
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng, refused = np.random.default_rng(0), 0
    places = [*range(16), *rng.integers(16, header, 150).tolist(), *rng.integers(header, len(whole), 20).tolist()]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        try:
            progress = Training().load(tmp_path)
        except ModelError:
            refused += 1
        else:
            assert isinstance(progress["step"], int)
    assert refused > 100


def test_the_state_of_another_network_is_refused(tmp_path):
    Training(width=4).save(tmp_path)
    with pytest.raises(ModelError, match=r"cannot be resumed: .*size mismatch for 0\.weight"):
        Training(width=5).load(tmp_path)
    other = Training()
    other.module = nn.Linear(3, 2)
    with pytest.raises(ModelError, match="Missing key"):
        other.load(tmp_path)


def test_a_state_without_the_average_that_is_asked_for_is_refused(tmp_path):
    training = Training()
    save_state(tmp_path, training.module, None, training.optimizers, {"step": 1, "seconds": 0.0})
    with pytest.raises(ModelError):
        training.load(tmp_path)


def test_a_state_of_another_format_says_so(tmp_path):
    Training().save(tmp_path)
    file = tmp_path / "state.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"format":"1"', b'"format":"7"'))
    with pytest.raises(ModelError, match="format 7, this soundsight reads 1"):
        Training().load(tmp_path)


def test_a_state_that_cannot_be_saved_leaves_the_one_before(tmp_path, monkeypatch):
    training = Training()
    training.save(tmp_path, 1)
    before = (tmp_path / "state.safetensors").read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    training.run(0, 2)
    with pytest.raises(OutputError, match="No space left on device"):
        training.save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    assert (tmp_path / "state.safetensors").read_bytes() == before


def begun(out: Path, *overrides: str) -> Path:
    """A folder in which a training has saved its state."""
    claim(out, load_recipe("aivae-fsdd", overrides), resume=False)
    (out / "state").mkdir()
    return out


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.epochs=3", "train.epochs"),  # fewer than were asked for
        ("train.seed=3", "train.seed"),
        ("train.optimizer.default.lr=0.5", "train.optimizer.default.lr"),
        ("train.optimizer.autoencoder.lr=0.5", "train.optimizer.autoencoder"),
        ("data.augment.copies=3", "data.augment.copies"),
        ("model.latent_size=3", "model.latent_size"),
        ("features.top_db=60", "features.top_db"),
        ("name=other", "name"),
    ],
)
def test_a_folder_is_not_resumed_with_another_recipe(tmp_path, override, key):
    out = begun(tmp_path / "out")
    before = (out / "recipe.json").read_bytes()
    with pytest.raises(RecipeError, match=f"was trained with another '{key}'"):
        claim(out, load_recipe("aivae-fsdd", [override]), resume=True)
    assert (out / "recipe.json").read_bytes() == before


def test_a_folder_is_resumed_with_its_recipe_and_with_what_changes_no_weights(tmp_path):
    out = begun(tmp_path / "out")
    claim(out, load_recipe("aivae-fsdd"), resume=True)
    free = ["train.save_every=7", "train.sample_every=3", "card.summary=better"]
    claim(out, load_recipe("aivae-fsdd", free), resume=True)
    assert json.loads((out / "recipe.json").read_text())["train"]["save_every"] == 7


def test_a_training_of_an_older_version_goes_on(tmp_path):
    """Its recipe lacks the keys that came later; they are at their defaults, and must stay there."""
    out = begun(tmp_path / "out")
    recipe = json.loads((out / "recipe.json").read_text())
    del recipe["data"]["outliers"], recipe["data"]["augment"]["margin_s"]
    (out / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(RecipeError, match=r"another 'data\.outliers'"):
        claim(out, load_recipe("aivae-fsdd", ["data.outliers=4"]), resume=True)
    claim(out, load_recipe("aivae-fsdd"), resume=True)


def test_a_training_may_go_on_for_longer(tmp_path):
    out = begun(tmp_path / "out", "train.epochs=3")
    claim(out, load_recipe("aivae-fsdd", ["train.epochs=4"]), resume=True)
    assert json.loads((out / "recipe.json").read_text())["train"]["epochs"] == 4
    with pytest.raises(RecipeError, match=r"another 'train\.epochs'"):
        claim(out, load_recipe("aivae-fsdd", ["train.epochs=3"]), resume=True)


def test_a_training_whose_learning_rate_falls_ends_where_it_was_to_end(tmp_path):
    falling = "train.optimizer.default.schedule=cosine"
    out = begun(tmp_path / "out", falling, "train.epochs=3")
    with pytest.raises(RecipeError, match=r"another 'train\.epochs'"):
        claim(out, load_recipe("aivae-fsdd", [falling, "train.epochs=4"]), resume=True)


@pytest.mark.parametrize("kept", ["state", "config.json"])
def test_a_training_is_not_overwritten_unasked(tmp_path, kept):
    out = tmp_path / "out"
    claim(out, load_recipe("aivae-fsdd"), resume=False)
    (out / kept).mkdir() if kept == "state" else (out / kept).write_text("{}")
    with pytest.raises(RecipeError, match="add --resume to go on, or choose another --out"):
        claim(out, load_recipe("aivae-fsdd"), resume=False)


def test_a_folder_in_which_nothing_was_trained_is_free(tmp_path):
    claim(tmp_path, load_recipe("aivae-fsdd"), resume=False)
    claim(tmp_path, load_recipe("lenet5"), resume=False)
    assert json.loads((tmp_path / "recipe.json").read_text())["name"] == "lenet5"


def test_a_model_without_a_recipe_is_neither_resumed_nor_overwritten(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for resume in (False, True):
        with pytest.raises(RecipeError, match="choose another --out"):
            claim(tmp_path, load_recipe("lenet5"), resume=resume)


@pytest.mark.parametrize("text", ["{", "[]", '"recipe"', "null"])
def test_a_damaged_claim_is_one_line(tmp_path, text):
    out = begun(tmp_path / "out")
    (out / "recipe.json").write_text(text)
    with pytest.raises(RecipeError, match="choose another --out"):
        claim(out, load_recipe("aivae-fsdd"), resume=True)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot write to"):
            claim(out, load_recipe("lenet5"), resume=False)
