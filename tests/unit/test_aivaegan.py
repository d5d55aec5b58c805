"""AIVAEGAN: the sizes of Table 2 and the objective of equation (4), written down anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from soundsight.models import aivaegan
from soundsight.models.layers import count_parameters, shifted


def system(**options: Any) -> aivaegan.System:
    torch.manual_seed(0)
    return aivaegan.System(aivaegan.Config(**options))


def batch(size: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "features": torch.rand(size, 48, 48, generator=generator),
        "image": torch.rand(size, 1, 28, 28, generator=generator),
        "noise": torch.randn(size, 64, generator=generator),
    }


def weighted_shapes(body: nn.Sequential, hidden: Tensor) -> list[tuple[int, ...]]:
    shapes = []
    for layer in body:
        hidden = layer(hidden)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            shapes.append(tuple(hidden.shape[1:]))
    return shapes


def test_layer_by_layer_as_in_table_2():
    gan = system().eval()
    assert weighted_shapes(gan.encoder.body, torch.zeros(2, 1, 48, 48)) == [(128, 23, 23), (256, 10, 10), (512, 4, 4)]
    mean, log_variance = gan.encoder(torch.zeros(2, 48, 48))
    assert mean.shape == log_variance.shape == (2, 64)
    assert weighted_shapes(gan.decoder.body, torch.zeros(2, 64, 1, 1)) == [
        (512, 3, 3),
        (256, 7, 7),
        (128, 14, 14),
        (1, 28, 28),
    ]
    assert weighted_shapes(gan.discriminator.body, torch.zeros(2, 1, 28, 28)) == [
        (128, 13, 13),
        (256, 5, 5),
        (512, 1, 1),
        (1, 1, 1),
    ]


def test_size_of_every_part():
    """Kernels of Table 2 without biases, which batch norm's replace; biases where there is no batch norm."""
    gan, norms = system(), 2 * (128 + 256 + 512)
    body = 16 * (1 * 128 + 128 * 256 + 256 * 512) + norms
    assert count_parameters(gan.encoder) == body + 2 * (16 * 512 * 64 + 64)
    assert count_parameters(gan.discriminator) == body + 512 + 1
    decoder = 9 * (64 * 512 + 512 * 256) + 4 * (256 * 128 + 128 * 1) + norms + 1
    assert count_parameters(gan.decoder) == decoder


def test_kinds_of_layers():
    def kinds(module: nn.Module) -> list[str]:
        leaves = [layer for layer in module.modules() if not list(layer.children())]
        return [type(layer).__name__.removeprefix("Unfolded") for layer in leaves]

    gan = system()
    down, up = ["Conv2d", "BatchNorm2d", "LeakyReLU"], ["ConvTranspose2d", "BatchNorm2d", "ReLU"]
    assert kinds(gan.encoder) == [*down * 3, "Conv2d", "Conv2d"]
    assert kinds(gan.decoder) == [*up * 3, "ConvTranspose2d"]
    assert kinds(gan.discriminator) == [*down * 3, "Conv2d"]
    assert {layer.negative_slope for layer in gan.modules() if isinstance(layer, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("alpha", [0.2, 2.0])
def test_the_objective_is_equation_4(alpha):
    gan, given = system(alpha=alpha).eval(), batch()
    judged = gan.losses("discriminator", given, 0)
    made = gan.losses("generator", given, 0)

    mean, log_variance = gan.encoder(given["features"])
    q = Normal(mean, (log_variance / 2).exp())
    picture = torch.sigmoid(gan.decoder(mean + q.scale * given["noise"]))
    real_share = torch.sigmoid(gan.discriminator(given["image"]))
    made_share = torch.sigmoid(gan.discriminator(picture))
    likelihood = Bernoulli(picture, validate_args=False).log_prob(given["image"]).flatten(1).sum(dim=1)
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(dim=1)

    value = (real_share.log() + (1 - made_share).log()).mean()
    torch.testing.assert_close(sum(judged.values()), -value)
    wanted = ((1 - made_share).log() - alpha * likelihood + kl).mean()
    torch.testing.assert_close(sum(made.values()), wanted, rtol=1e-4, atol=1e-4)
    assert set(made) == {"adversarial", "reconstruction", "kl"}


def test_the_generator_is_judged_on_the_pictures_that_the_discriminator_saw():
    gan, given = system(), batch()
    seen: list[Tensor] = []
    gan.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    encoded: list[int] = []
    gan.encoder.register_forward_hook(lambda *_: encoded.append(1))
    gan.losses("discriminator", given, 0)
    gan.losses("generator", given, 0)
    real, made, judged = seen
    assert torch.equal(real, given["image"])
    assert torch.equal(made, judged)
    assert len(encoded) == 1, "one forward pass of the generator serves both phases"


def test_each_phase_leaves_the_weights_of_the_other_without_gradient():
    for phase, own in (("discriminator", {"discriminator"}), ("generator", {"encoder", "decoder"})):
        gan = system()
        torch.stack(list(gan.losses(phase, batch(), 0).values())).sum().backward()
        assert {name.split(".")[0] for name, p in gan.named_parameters() if p.grad is not None} == own


def terms(**options: Any) -> dict[str, float]:
    gan, given = system(**options).eval(), batch()
    torch.manual_seed(3)
    return {
        f"{phase}.{name}": float(value.detach())
        for phase in gan.phases
        for name, value in gan.losses(phase, given, 0).items()
    }


def test_alpha_weighs_the_reconstruction_and_nothing_else():
    half, two = terms(alpha=0.5), terms(alpha=2.0)
    for name, value in half.items():
        assert two[name] == pytest.approx(value * (4 if "reconstruction" in name else 1), rel=1e-5)
    assert terms(alpha=0)["generator.reconstruction"] == 0


def test_readings_of_the_likelihood():
    whole, *readings = (terms(reduction=reduction) for reduction in ("sum", "latent", "pixel", "element"))
    for name, divisors in {"reconstruction": (1, 784, 784), "kl": (64, 784, 64), "adversarial": (1, 1, 1)}.items():
        for reduced, divisor in zip(readings, divisors, strict=True):
            expected = whole[f"generator.{name}"] / divisor
            assert reduced[f"generator.{name}"] == pytest.approx(expected, rel=1e-5)
    gan, given = system(alpha=1.0).eval(), batch()
    with torch.no_grad():
        distance = (gan.generate(given["features"], given["noise"]) - given["image"]).square().sum() / len(
            given["image"]
        )
    assert terms(alpha=1.0, reconstruction="gaussian")["generator.reconstruction"] == pytest.approx(float(distance) / 2)


def test_stabilisers_change_what_they_should():
    usual = terms()
    penalised = terms(r1=10.0)
    assert penalised.pop("discriminator.r1") > 0
    assert penalised == pytest.approx(usual, rel=1e-5)
    noisy = terms(instance_noise=0.5)
    assert noisy["discriminator.adversarial"] != pytest.approx(usual["discriminator.adversarial"], rel=1e-4)
    assert noisy["generator.reconstruction"] == pytest.approx(usual["generator.reconstruction"], rel=1e-5)
    assert terms(generator_loss="non-saturating")["generator.adversarial"] > 0 > usual["generator.adversarial"]
    assert terms(kl_warmup_steps=10)["generator.kl"] == 0 < usual["generator.kl"]


def seen_pixels(**options: Any) -> Tensor:
    """(28, 28) bool: where the discriminator's answers, over many batches, depend on the picture."""
    gan = system(**options).eval()
    image = torch.rand(64, 1, 28, 28, requires_grad=True)
    gan.discriminator(gan._show(image)).sum().backward()
    assert image.grad is not None
    return (image.grad.abs().sum(dim=(0, 1)) > 0).cpu()


def test_with_padding_0_the_discriminator_never_sees_the_last_rows_and_columns():
    """The sizes of Table 2 fit, but a kernel of 4 covers 4 of the last layer's 5 places: 22 of 28 pixels each way."""
    wanted = torch.zeros(28, 28, dtype=torch.bool)
    wanted[:22, :22] = True
    assert torch.equal(seen_pixels(), wanted)


def test_moved_pictures_show_it_more():
    seen = seen_pixels(shift=3)
    for side in (0, 1):
        assert seen.any(dim=side).nonzero().flatten().tolist() == list(range(25))


def test_a_shift_moves_each_picture_by_its_own_and_brings_in_black():
    torch.manual_seed(0)
    image = torch.rand(200, 1, 28, 28) + 0.1
    moved = shifted(image, 2)
    assert moved.shape == image.shape
    offsets = set()
    for before, after in zip(image[:, 0], moved[:, 0], strict=True):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(after, nn.functional.pad(before, (2, 2, 2, 2))[2 + dy : 30 + dy, 2 + dx : 30 + dx])
        ]
        assert len(found) == 1
        offsets |= set(found)
    assert len(offsets) == 25


def test_spectral_norm_bounds_every_layer_of_the_discriminator():
    gan = system(spectral_norm=True).train()
    with torch.no_grad():
        for _ in range(50):  # the power iteration goes on at each forward pass
            gan.discriminator(torch.rand(4, 1, 28, 28))
    for layer in gan.discriminator.body:
        if isinstance(layer, nn.Conv2d):
            largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
            assert float(largest) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "options", [{"alpha": -1}, {"alpha": float("nan")}, {"alpha": float("inf")}, {"latent_size": 0}, {"r1": -1}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValidationError):
        aivaegan.Config(**options)


def test_a_new_decoder_begins_dark_as_mnist_is():
    with torch.no_grad():
        grey = system().generate(batch()["features"], batch()["noise"]).mean().item()
    assert 0.1 < grey < 0.35
    with torch.no_grad():
        assert 0.4 < system(dark_start=False).generate(batch()["features"], batch()["noise"]).mean().item() < 0.6


def test_logits_beyond_the_limit_cost_their_squared_excess():
    logits = torch.zeros(2, 1, 28, 28)
    logits[0, 0, 3, 4], logits[0, 0, 5, 6], logits[1, 0, 7, 8] = 9.0, -7.0, 6.0
    assert aivaegan._excess(logits, 6.0).item() == pytest.approx((3**2 + 1**2) / 2)


def test_a_pixel_that_is_white_for_ever_comes_back_with_a_limit_alone():
    """A sigmoid far out has no gradient: what the reconstruction says does not reach the pixel."""
    pulls = []
    for limit in (0.0, 6.0):
        gan = system(reconstruction="gaussian", logit_limit=limit, alpha=2.0)
        with torch.no_grad():
            gan.decoder.body[-1].bias.fill_(60.0)
        losses = gan.losses("generator", batch(), 0)
        assert ("saturation" in losses) is (limit > 0)
        torch.stack(list(losses.values())).sum().backward()
        pulls.append(gan.decoder.body[-1].bias.grad.item())
    assert abs(pulls[0]) < 1e-6
    assert pulls[1] == pytest.approx(0.01 * 2 * 54 * 784, rel=0.05)
