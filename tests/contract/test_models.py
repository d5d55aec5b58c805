"""Laws that every registered system keeps, whoever wrote it."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from soundsight import registry
from soundsight.config import ModelConfig
from soundsight.training.system import build_system

NAMES = registry.names("models")
SOUND_NAMES = [name for name in NAMES if hasattr(registry.find("models", name).System, "generate")]
CONTRASTIVE = {"alignment"}
# Its pictures are means, and no gradient changes them.
UNTAUGHT = {"archetype"}
# Draws what it trains: times, whose losses differ; so many that their mean is within a few percent.
ROWS = {"flow": 128, "latent_flow": 512}
# As published, with four channels before the last layer; its own learning rate, 0.0625, is 60 times the one here.
SLOW = {"mfcc_generator": 150}
NUM_LABELS = 10


def build(name: str) -> Any:
    torch.manual_seed(0)
    module, _ = build_system(ModelConfig(system=name), num_labels=NUM_LABELS)
    return module


@cache
def trained_nowhere(name: str) -> Any:
    """One system for all tests that do not change it."""
    return build(name).eval()


def batch_for(system: Any, size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """Pictures of bars, one place per label, and features that differ as much."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(size) % NUM_LABELS
    image = torch.zeros(size, *system.image_shape)
    for i, place in enumerate(label.tolist()):
        image[i, :, :, 2 * place + 2 : 2 * place + 6] = 1
    batch = {"image": image, "label": label}
    if system.features_shape is not None:
        batch["features"] = torch.rand(size, *system.features_shape, generator=generator)
        batch["noise"] = torch.randn(size, system.latent_size, generator=generator)
    return batch


def total(system: Any, phase: str, batch: dict[str, Tensor], step: int = 10_000) -> Tensor:
    return torch.stack(list(system.losses(phase, batch, step).values())).sum()


def test_the_room_has_systems():
    assert {"aivae", "cvae", "lenet5"} <= set(NAMES)
    assert {"aivae", "cvae"} <= set(SOUND_NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_trained_by_a_phase(name):
    system = trained_nowhere(name)
    assert len(system.phases) == len(set(system.phases)) > 0
    own = {id(parameter) for parameter in system.parameters()}
    trained = [id(parameter) for phase in system.phases for parameter in system.parameters_of(phase)]
    assert set(trained) == own


@pytest.mark.parametrize("name", NAMES)
def test_its_options_are_strict_and_cannot_be_changed(name):
    config = registry.find("models", name).Config
    with pytest.raises(ValidationError):
        config(no_such_option=1)
    with pytest.raises(ValidationError):
        setattr(config(), next(iter(config.model_fields)), 1)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_and_reach_every_parameter_of_their_phase(name):
    system = build(name)
    for phase in system.phases:
        reached = set()
        for step in (0, 10_000):  # some learn at the beginning, some later
            system.zero_grad(set_to_none=True)
            losses = system.losses(phase, batch_for(system), step)
            assert losses
            for term, value in losses.items():
                assert value.shape == (), term
                assert torch.isfinite(value), term
            total(system, phase, batch_for(system), step).backward()
            for parameter in system.parameters_of(phase):
                if parameter.grad is not None:
                    assert torch.isfinite(parameter.grad).all()
                    assert parameter.grad.abs().sum() > 0
                    reached.add(id(parameter))
        assert reached == {id(parameter) for parameter in system.parameters_of(phase)}


@pytest.mark.parametrize("name", [name for name in SOUND_NAMES if name not in UNTAUGHT])
def test_its_pictures_can_be_taught_while_it_is_trained(name):
    """It leaves what it made in the batch, and a gradient on that reaches its weights."""
    system = build(name)
    batch = batch_for(system)
    for phase in system.phases:
        system.losses(phase, batch, 10_000)
    made = batch["made"]
    assert made.shape == batch["image"].shape
    assert ((made >= 0) & (made <= 1)).all()
    made.float().square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in system.parameters_of(system.phases[-1]))


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_means_over_a_batch(name):
    """So that the learning rate does not depend on the size of a batch."""
    system = trained_nowhere(name)
    batch = batch_for(system, ROWS.get(name, 4))
    twice = {key: torch.cat([value, value]) for key, value in batch.items()}
    # A contrastive loss has twice as many to choose from: a constant, which trains nothing.
    more = math.log(2) if name in CONTRASTIVE else 0.0
    # A sum would be twice as much, not a few percent more.
    for phase in system.phases:
        torch.testing.assert_close(total(system, phase, batch) + more, total(system, phase, twice), rtol=5e-2, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_handful_of_items_can_be_learned(name):
    system = build(name)
    if len(system.phases) > 1:
        pytest.skip("the terms of adversaries need not fall together")
    history = fit(system, batch_for(system), SLOW.get(name, 25))
    assert history[-1] < 0.6 * history[0], history


@pytest.mark.parametrize("name", SOUND_NAMES)
@torch.no_grad()
def test_generated_pictures_have_their_shape_and_range(name):
    system, batch = trained_nowhere(name), batch_for(trained_nowhere(name))
    picture = system.generate(batch["features"], batch["noise"])
    assert picture.shape == (4, *system.image_shape)
    assert picture.dtype == torch.float32
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    loud = system.generate(1e3 * batch["features"], 1e3 * batch["noise"])
    assert torch.isfinite(loud).all()
    assert float(loud.min()) >= 0
    assert float(loud.max()) <= 1


def fit(system: Any, batch: dict[str, Tensor], num_steps: int) -> list[float]:
    """Losses while a system of one phase learns one batch."""
    system.train()
    optimizer = torch.optim.Adam(system.parameters(), 1e-3)
    history = []
    for _ in range(num_steps):
        # As the trainer does, a batch of its own for each step: systems leave what they made in it.
        loss = total(system, system.phases[0], dict(batch), step=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    system.eval()
    return history


@pytest.mark.parametrize("name", SOUND_NAMES)
def test_a_picture_depends_on_its_sound_and_its_noise_and_on_nothing_else(name):
    system, batch = trained_nowhere(name), batch_for(trained_nowhere(name))
    if not system.latent_size:  # before it has learned anything, it may have nothing to show
        system = build(name)
        fit(system, batch, 30)
    with torch.no_grad():
        check_dependence(system, batch)


def check_dependence(system: Any, batch: dict[str, Tensor]) -> None:
    features, noise = batch["features"], batch["noise"]
    torch.manual_seed(1)
    whole = system.generate(features, noise)
    torch.manual_seed(2)
    torch.testing.assert_close(system.generate(features, noise), whole, rtol=0, atol=0)
    for i in range(len(features)):  # item by item; the sums of a batch may be taken in another order
        alone = system.generate(features[i : i + 1], noise[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)
    other_sound = system.generate(torch.cat([features[1:2], features[1:]]), noise)
    assert not torch.equal(other_sound[0], whole[0])
    torch.testing.assert_close(other_sound[1:], whole[1:], rtol=1e-4, atol=1e-5)
    if not system.latent_size:
        return
    other_noise = system.generate(features, torch.cat([-noise[:1], noise[1:]]))
    assert not torch.equal(other_noise[0], whole[0])


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_all_of_it(name):
    """A second one with the weights of the first says the same: nothing is kept outside of the state."""
    first = trained_nowhere(name)
    torch.manual_seed(5)
    second, _ = build_system(ModelConfig(system=name), num_labels=NUM_LABELS)
    second.load_state_dict(first.state_dict())
    batch = batch_for(first)
    for phase in first.phases:
        found = []
        for system in (first, second.eval()):
            torch.manual_seed(6)  # as the trainer does before each step
            found.append(total(system, phase, dict(batch)))
        torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_its_size_follows_its_number_of_labels(name):
    module, _ = build_system(ModelConfig(system=name), num_labels=3)
    assert isinstance(module, nn.Module)
    batch = batch_for(module)
    batch["label"] = batch["label"] % 3
    for phase in module.phases:
        assert torch.isfinite(total(module, phase, batch))
