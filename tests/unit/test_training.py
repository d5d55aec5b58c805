"""The trainer's laws, on systems in which they can be seen: phases, optimisers, schedules, precision, resumption."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from soundsight.errors import DatasetError, OutputError, RecipeError
from soundsight.features import logmel
from soundsight.folder import read_folder
from soundsight.models import cvae
from soundsight.training import loop, trainer
from soundsight.training.trainer import train
from training_sets import NoOptions, Toy, recipe_for, register, small_root


@pytest.fixture(scope="module")
def root(data_root, tmp_path_factory) -> Path:
    """96 pictures: six steps an epoch in batches of 16; 160 recordings."""
    return small_root(tmp_path_factory.mktemp("data"), data_root)


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "model.safetensors")


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


class Drift(Toy):
    """The gradient is 1 at every step: Adam's steps are then its learning rates, and nothing else."""

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        return {"height": self.weight}


@pytest.fixture
def drift(monkeypatch) -> None:
    register(monkeypatch, "drift", Drift)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_step_has_the_learning_rate_of_its_schedule(drift, root, tmp_path, schedule):
    tables = {"train": {"epochs": 3, "optimizer": {"default": {"lr": 0.01, "schedule": schedule}}}}
    train(recipe_for("drift", data={"sounds": None}, **tables), tmp_path / "out", root=root)
    cosine = [0.01 * 0.5 * (1 + math.cos(math.pi * step / 18)) for step in range(18)]
    wanted = {"constant": 1 - 18 * 0.01, "cosine": 1 - sum(cosine)}[schedule]
    assert float(weights(tmp_path / "out")["weight"]) == pytest.approx(wanted, abs=1e-5)


def test_a_rate_rises_first_where_it_is_told_to(drift, root, tmp_path):
    tables = {"train": {"epochs": 1, "optimizer": {"default": {"lr": 0.01, "warmup_steps": 3}}}}
    train(recipe_for("drift", data={"sounds": None}, **tables), tmp_path / "out", root=root)
    wanted = 1 - 0.01 * (0.25 + 0.5 + 0.75 + 1 + 1 + 1)
    assert float(weights(tmp_path / "out")["weight"]) == pytest.approx(wanted, abs=1e-5)


class Slope(Toy):
    """A matrix and a bias, each with a gradient of 1."""

    def __init__(self, config: NoOptions, num_labels: int) -> None:
        super().__init__(config, num_labels)
        self.weight = torch.nn.Parameter(torch.ones(1, 1))
        self.bias = torch.nn.Parameter(torch.ones(1))

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        return {"height": self.weight.sum() + self.bias.sum()}


def test_weight_decay_is_decoupled_and_leaves_biases_alone(monkeypatch, root, tmp_path):
    register(monkeypatch, "slope", Slope)
    tables = {"train": {"epochs": 1, "optimizer": {"default": {"lr": 0.01, "weight_decay": 0.5}}}}
    recipe = recipe_for("slope", data={"sounds": None}, **tables)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "out", root=root, stop_after=4)
    found = weights(train(recipe, tmp_path / "out", root=root, resume=True))
    wanted = 1.0
    for _ in range(6):
        wanted = wanted * (1 - 0.01 * 0.5) - 0.01
    assert float(found["weight"]) == pytest.approx(wanted, abs=1e-5)
    assert float(found["bias"]) == pytest.approx(1 - 6 * 0.01, abs=1e-5)


def test_the_average_is_what_is_saved(drift, root, tmp_path):
    tables = {"train": {"epochs": 2, "ema": 0.3, "optimizer": {"default": {"lr": 0.01}}}}
    train(recipe_for("drift", data={"sounds": None}, **tables), tmp_path / "out", root=root)
    wanted = 1.0
    for step in range(1, 13):
        decay = min(0.3, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * (1 - 0.01 * step)
    assert float(weights(tmp_path / "out")["weight"]) == pytest.approx(wanted, abs=1e-5)


class Adversaries(nn.Module):
    """Two networks against each other, each with its own phase; the weights that each phase finds are noted."""

    phases = ("discriminator", "generator")
    latent_size = 2
    features_shape = (48, 48)
    image_shape = (1, 28, 28)
    seen: list[tuple[str, dict[str, Tensor]]] = []  # noqa: RUF012 - one list for all, emptied by the fixture

    def __init__(self, config: object, num_labels: int) -> None:
        super().__init__()
        self.generator = nn.Linear(48 + 2, 28 * 28)
        self.discriminator = nn.Linear(28 * 28, 1)

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        return list(getattr(self, phase).parameters())

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        return self.generator(torch.cat([features_BFN.mean(2), noise_BD], 1)).sigmoid().unflatten(1, (1, 28, 28))

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        self.seen.append((phase, {name: value.detach().clone() for name, value in self.state_dict().items()}))
        fake = self.discriminator(self.generate(batch["features"], batch["noise"]).flatten(1))
        real = self.discriminator(batch["image"].flatten(1))
        if phase == "generator":
            return {"fool": nn.functional.softplus(-fake).mean()}
        return {"real": nn.functional.softplus(-real).mean(), "fake": nn.functional.softplus(fake).mean()}


@pytest.fixture
def adversaries(monkeypatch) -> type[Adversaries]:
    register(monkeypatch, "adversaries", Adversaries)
    Adversaries.seen.clear()
    return Adversaries


ADVERSARIES = {
    "train": {"optimizer": {"generator": {"lr": 1e-3}, "default": {"lr": 4e-3, "betas": [0.5, 0.999]}}, "epochs": 2}
}


def test_a_phase_changes_its_own_parameters_only_and_by_its_own_optimiser(adversaries, root, tmp_path):
    train(recipe_for("adversaries", **ADVERSARIES), tmp_path / "out", root=root)
    seen = adversaries.seen
    assert [phase for phase, _ in seen] == ["discriminator", "generator"] * 12
    for (phase, before), (_, after) in pairwise(seen):
        changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
        assert changed == {phase}
    # The first step of Adam is as long as its learning rate, wherever there is a gradient.
    for (phase, before), (_, after), lr in zip(seen[:2], seen[1:3], (4e-3, 1e-3), strict=True):
        moved = (after[f"{phase}.bias"] - before[f"{phase}.bias"]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, lr), rtol=1e-3, atol=1e-7)


def test_losses_of_several_phases_are_named_after_them(adversaries, root, tmp_path):
    out = train(recipe_for("adversaries", **ADVERSARIES), tmp_path / "out", root=root)
    terms = {"discriminator.real", "discriminator.fake", "generator.fool"}
    assert all(terms <= set(line) for line in metrics(out))
    assert (out / "samples" / "epoch-0002.png").is_file()
    assert read_folder(out).latent_size == 2


def test_adversaries_are_resumed_exactly(adversaries, root, tmp_path):
    recipe = recipe_for("adversaries", **ADVERSARIES)
    train(recipe, tmp_path / "whole", root=root)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "cut", root=root, stop_after=5)
    train(recipe, tmp_path / "cut", root=root, resume=True)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_options_for_a_phase_that_does_not_exist_are_refused(adversaries, root, tmp_path):
    recipe = recipe_for("adversaries", train={"optimizer": {"generater": {"lr": 1e-3}}})
    with pytest.raises(RecipeError, match=r"'train\.optimizer\.generater'.*default, discriminator, generator"):
        train(recipe, tmp_path / "out", root=root)


class Precision(Toy):
    """Notes in which precision a matrix is multiplied."""

    seen: set[torch.dtype] = set()  # noqa: RUF012

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        product = batch["image"].flatten(1) @ (self.weight * torch.ones(784, 1))
        self.seen.add(product.dtype)
        return {"product": product.float().mean()}


def test_each_training_of_a_process_has_its_own_precision(monkeypatch, root, tmp_path):
    register(monkeypatch, "precision", Precision)
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        for again in range(2):
            Precision.seen.clear()
            recipe = recipe_for("precision", data={"sounds": None}, train={"precision": name, "epochs": 1})
            train(recipe, tmp_path / f"{name}-{again}", root=root)
            assert Precision.seen == {dtype}
        assert weights(tmp_path / f"{name}-0")["weight"].dtype == torch.float32


class Exploding(Toy):
    """Finite for seven steps, then not a number."""

    def losses(self, phase: str, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        return {"calm": batch["image"].mean(), "wild": self.weight * (math.nan if step >= 7 else 1.0)}


def test_a_loss_that_is_no_number_ends_the_training_in_one_line(monkeypatch, root, tmp_path):
    register(monkeypatch, "exploding", Exploding)
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match="the loss 'wild' became nan by step 12: try a lower") as caught:
        train(recipe_for("exploding", data={"sounds": None}), out, root=root)
    assert "\n" not in str(caught.value)
    assert [line["step"] for line in metrics(out)] == [6]
    assert not (out / "config.json").exists(), "no model is made of it"


# What a system can depend on between two steps: dropout, running statistics, augmentation, the average, the schedule.
EVERYTHING = {
    "data": {"augment": {"copies": 2, "tempo": 0.1, "time_mask": 0.2}},
    "model": {"dropout": 0.4, "latent_size": 4},
    "train": {"precision": "bf16", "save_every": 4, "optimizer": {"default": {"schedule": "cosine"}}},
}


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_an_interrupted_training_ends_with_the_weights_of_a_whole_one(root, tmp_path, monkeypatch, ema):
    monkeypatch.setattr(loop, "LOG_EVERY", 3)
    recipe = recipe_for("cvae", **EVERYTHING | {"train": EVERYTHING["train"] | {"ema": ema}})
    torch.manual_seed(1)
    whole = train(recipe, tmp_path / "whole", root=root)
    assert [line["step"] for line in metrics(whole)] == [3, 6, 9, 12]
    out = tmp_path / "cut"
    for stop in (1, 5, 6, 11):  # also at an epoch's end
        torch.manual_seed(stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, out, root=root, resume=stop > 1, stop_after=stop)
    train(recipe, out, root=root, resume=True)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [line["step"] for line in metrics(out)] == [3, 6, 9, 12]
    assert (out / "samples" / "epoch-0002.png").read_bytes() == (whole / "samples" / "epoch-0002.png").read_bytes()


def test_one_seed_one_result(root, tmp_path):
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = train(recipe_for("lenet5", train={"seed": seed}), tmp_path / name, root=root)
        results.append((out / "model.safetensors").read_bytes())
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_a_finished_training_is_a_model_folder_that_says_how_it_was_made(root, tmp_path):
    recipe = recipe_for("cvae", card={"summary": "small"}, train={"epochs": 1})
    seen: list[loop.Progress] = []
    folder = read_folder(train(recipe, tmp_path / "out", root=root, watch=seen.append))
    assert (folder.name, folder.system, folder.labels) == ("small", "cvae", tuple("0123456789"))
    # Defaults are written out: they may change, a saved model may not.
    assert folder.features == {"name": "logmel", **asdict(logmel.Config())}
    assert folder.model == cvae.Config.model_validate(recipe.model.options).model_dump(mode="json")
    facts = folder.training
    assert (facts["pairs"], facts["train_recordings"], facts["test_recordings"]) == (96, 120, 40)
    assert facts["steps"] == 6
    assert facts["recipe"] == recipe.model_dump(mode="json")
    assert facts["parameters"] == sum(p.numel() for p in trainer.build_system(recipe.model, 10)[0].parameters())
    assert {entry["name"].split()[0] for entry in folder.card["data"]} == {"Free", "MNIST"}
    assert [(p.step, p.num_steps, p.epoch) for p in seen] == [(6, 6, 1)]
    (line,) = metrics(tmp_path / "out")
    assert seen[0].losses.items() <= line.items()
    assert {"reconstruction", "kl"} <= set(seen[0].losses)


def test_a_finished_training_resumed_is_the_same_model(root, tmp_path):
    recipe = recipe_for("lenet5", train={"epochs": 1})
    out = train(recipe, tmp_path / "out", root=root)
    before = (out / "model.safetensors").read_bytes()
    train(recipe, out, root=root, resume=True)
    assert (out / "model.safetensors").read_bytes() == before
    assert [line["step"] for line in metrics(out)] == [6]


def test_no_batch_of_one_is_left(root, tmp_path):
    """Batch normalisation could not train on it."""
    num = len(trainer.load_training_data(recipe_for("lenet5"), 0, root, image_size=28, looks_ahead=False))
    size = max(each for each in range(2, num // 2) if num % each == 1)
    out = train(recipe_for("lenet5", train={"epochs": 2, "batch_size": size}), tmp_path / "out", root=root)
    assert metrics(out)[-1]["step"] == 2 * (num // size)


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be locked")
def test_two_processes_do_not_train_in_one_folder(root, tmp_path):
    """Killed, the first one leaves the folder free."""
    out = tmp_path / "out"
    out.mkdir()
    held = f"from pathlib import Path\nfrom soundsight.files import alone\nwith alone(Path({str(out)!r}), 'trains in'):"
    command = [sys.executable, "-c", f"{held}\n    print(flush=True)\n    input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        for resume in (False, True):
            with pytest.raises(OutputError, match=r"another process trains in .*out: wait"):
                train(recipe_for("lenet5", train={"epochs": 1}), out, root=root, resume=resume)
        other.kill()
    train(recipe_for("lenet5", train={"epochs": 1}), out, root=root)


def test_lenet5_learns_real_digits(root, tmp_path):
    out = train(recipe_for("lenet5", train={"epochs": 20}), tmp_path / "out", root=root)
    history = [line["cross_entropy"] for line in metrics(out)]
    assert history[0] > 2.0
    assert history[-1] < 0.8


def test_a_training_that_failed_before_its_first_step_blocks_nothing(root, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DatasetError):
        train(recipe_for("lenet5", train={"epochs": 1}), out, root=tmp_path / "nowhere")
    with pytest.raises(RecipeError, match=r"unknown key 'model\.depth'"):
        train(recipe_for("lenet5", model={"depth": 3}), out, root=root)
    train(recipe_for("lenet5", train={"epochs": 1}), out, root=root)


@pytest.mark.parametrize(
    ("system", "tables", "message"),
    [
        ("aivae", {"data": {"sounds": None}}, r"reads features \(48, 48\), the recipe gives None"),
        ("lenet5", {"data": {"sounds": "fsdd"}}, r"reads features None, the recipe gives \(48, 48\)"),
        ("cvae", {"features": {"bins": 40}}, r"reads features \(48, 48\), the recipe gives \(40, 48\)"),
    ],
)
def test_features_that_a_system_cannot_read_are_refused(root, tmp_path, system, tables, message):
    with pytest.raises(RecipeError, match=message):
        train(recipe_for(system, **tables), tmp_path / "out", root=root)


def test_a_system_that_no_memory_holds_is_one_line_and_leaves_nothing(root, tmp_path):
    with pytest.raises(RecipeError, match=r"'cvae' cannot be built with these sizes: ") as caught:
        train(recipe_for("cvae", model={"latent_size": 10**13}), tmp_path / "out", root=root)
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match=r"model\.alpha"):
        train(recipe_for("aivaegan", model={"alpha": -1.0}), tmp_path / "bad", root=root)
    assert not (tmp_path / "bad").exists()


def test_an_output_that_cannot_be_written_is_one_line(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write to"):
        train(recipe_for("lenet5"), tmp_path / "file", root=root)


def test_training_works_beside_the_main_thread(root, tmp_path):
    """Signals can be caught in the main thread only; a program may train in another one."""
    thread = threading.Thread(
        target=train, args=(recipe_for("lenet5", train={"epochs": 1}), tmp_path / "out"), kwargs={"root": root}
    )
    thread.start()
    thread.join()
    assert read_folder(tmp_path / "out").system == "lenet5"
