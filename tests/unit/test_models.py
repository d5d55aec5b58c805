"""The published networks: their sizes from the papers, not from the code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from soundsight.models import aivae, cvae, lenet5
from soundsight.models.layers import count_parameters, reparameterise


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel * kernel + outputs


def output_shapes(module: nn.Sequential, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes behind every layer with weights, without the batch."""
    shapes, hidden = [], torch.zeros(2, *input_shape)
    for layer in module:
        hidden = layer(hidden)
        if any(True for _ in layer.parameters()):
            shapes.append(tuple(hidden.shape[1:]))
    return shapes


@pytest.fixture(scope="module")
def table_1() -> aivae.System:
    torch.manual_seed(0)
    return aivae.System(aivae.Config()).eval()


def test_aivae_has_the_parameters_of_table_1(table_1):
    encoder = (
        convolution(1, 64, 4)
        + convolution(64, 128, 4)
        + dense(128 * 12 * 12, 1024)
        + dense(1024, 512)
        + 2 * dense(512, 64)
    )
    decoder = (
        dense(64, 512) + dense(512, 1024) + dense(1024, 7 * 7 * 128) + convolution(128, 64, 4) + convolution(64, 1, 4)
    )
    assert (encoder, decoder) == (19_598_144, 7_119_553)
    assert count_parameters(table_1.encoder) == encoder
    assert count_parameters(table_1.decoder) == decoder
    assert count_parameters(table_1) == 26_717_697


def test_aivae_layer_by_layer(table_1):
    assert output_shapes(table_1.encoder.convolutions, (1, 48, 48)) == [(64, 24, 24), (128, 12, 12)]
    assert output_shapes(table_1.encoder.dense, (128 * 12 * 12,)) == [(1024,), (512,)]
    assert output_shapes(nn.Sequential(table_1.encoder.mean), (512,)) == [(64,)]
    assert output_shapes(nn.Sequential(table_1.encoder.log_variance), (512,)) == [(64,)]
    assert output_shapes(table_1.decoder.dense, (64,)) == [(512,), (1024,), (7 * 7 * 128,)]
    assert output_shapes(table_1.decoder.convolutions, (128, 7, 7)) == [(64, 14, 14), (1, 28, 28)]


def test_aivae_has_a_relu_behind_every_layer_but_the_outputs(table_1):
    kinds = [type(layer).__name__ for layer in table_1.encoder.modules() if not list(layer.children())]
    assert kinds == ["Conv2d", "ReLU", "Conv2d", "ReLU", "Linear", "ReLU", "Linear", "ReLU", "Linear", "Linear"]
    kinds = [type(layer).__name__ for layer in table_1.decoder.modules() if not list(layer.children())]
    assert kinds == [*(["Linear", "ReLU"] * 3), "ConvTranspose2d", "ReLU", "ConvTranspose2d"]


@torch.no_grad()
def test_aivae_log_variance_can_be_below_zero(table_1):
    """Behind the ReLU that Table 1 prints, σ would be at least 1."""
    _, log_variance = table_1.encoder(torch.rand(8, 48, 48))
    assert float(log_variance.min()) < 0 < float(log_variance.max())


def test_aivae_loss_is_equation_3(table_1):
    """Minus log-likelihood plus KL, written down anew with torch.distributions."""
    torch.manual_seed(1)
    batch = {"features": torch.rand(3, 48, 48), "image": torch.rand(3, 1, 28, 28), "noise": torch.randn(3, 64)}
    with torch.no_grad():
        mean, log_variance = table_1.encoder(batch["features"])
        q = torch.distributions.Normal(mean, (log_variance / 2).exp())
        logits = table_1.decoder(mean + q.scale * batch["noise"])
        likelihood = torch.distributions.Bernoulli(logits=logits, validate_args=False).log_prob(batch["image"])
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        losses = table_1.losses("autoencoder", batch, step=1000)
    torch.testing.assert_close(losses["reconstruction"], -likelihood.sum(dim=(1, 2, 3)).mean())
    torch.testing.assert_close(losses["kl"], kl)


@torch.no_grad()
def test_kl_warmup_weighs_the_kl_alone(table_1):
    torch.manual_seed(1)
    batch = {"features": torch.rand(3, 48, 48), "image": torch.rand(3, 1, 28, 28), "noise": torch.randn(3, 64)}
    start, half, full, later = (table_1.losses("autoencoder", batch, step) for step in (0, 500, 1000, 9000))
    assert float(start["kl"]) == 0
    assert float(half["kl"]) == pytest.approx(float(full["kl"]) / 2)
    assert float(full["kl"]) == float(later["kl"]) > 0
    assert len({float(losses["reconstruction"]) for losses in (start, half, full, later)}) == 1


def test_without_warmup_the_kl_counts_from_the_first_step():
    system = aivae.System(aivae.Config(latent_size=4, kl_warmup_steps=0))
    batch = {"features": torch.rand(2, 48, 48), "image": torch.rand(2, 1, 28, 28), "noise": torch.randn(2, 4)}
    assert float(system.losses("autoencoder", batch, step=0)["kl"].detach()) > 0


def test_lenet5_has_the_layers_of_the_paper():
    """C1, C3 (fully connected to all maps, as everyone builds it), C5, F6 and the output of section II.B."""
    system = lenet5.System(lenet5.Config())
    wanted = convolution(1, 6, 5) + convolution(6, 16, 5) + dense(16 * 5 * 5, 120) + dense(120, 84) + dense(84, 10)
    assert wanted == 61_706
    assert count_parameters(system) == wanted
    assert output_shapes(system.body, (1, 28, 28)) == [(6, 28, 28), (16, 10, 10), (120,), (84,)]


@torch.no_grad()
def test_lenet5_gives_logits_and_what_they_are_made_of():
    system = lenet5.System(lenet5.Config(dropout=0.5)).eval()
    image = torch.rand(5, 1, 28, 28)
    logits, features = system(image)
    assert features.shape == (5, 84)
    assert float(features.min()) >= 0
    torch.testing.assert_close(system.head(features), logits)
    wanted = nn.functional.nll_loss(logits.log_softmax(1), torch.arange(5))
    torch.testing.assert_close(
        system.losses("classifier", {"image": image, "label": torch.arange(5)}, 0)["cross_entropy"], wanted
    )


@torch.no_grad()
def test_reparameterise_draws_from_the_gaussian_it_is_given():
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 2.0]])
    draws = reparameterise(mean, log_variance, torch.randn(200_000, 2))
    torch.testing.assert_close(draws.mean(0), mean[0], rtol=0, atol=0.03)
    torch.testing.assert_close(draws.var(0), log_variance.exp()[0], rtol=0.02, atol=0)


@torch.no_grad()
def test_cvae_in_use_scales_its_noise_by_variation():
    torch.manual_seed(0)
    half = cvae.System(cvae.Config(variation=0.5)).eval()
    full = cvae.System(cvae.Config(variation=1.0)).eval()
    full.load_state_dict(half.state_dict())
    features, noise = torch.rand(2, 48, 48), torch.randn(2, half.latent_size)
    torch.testing.assert_close(half.generate(features, noise), full.generate(features, noise / 2))


@torch.no_grad()
def test_cvae_reads_the_picture_in_training_only():
    torch.manual_seed(0)
    system = cvae.System(cvae.Config(kl_warmup_steps=0)).eval()
    batch = {
        "features": torch.rand(2, 48, 48),
        "image": torch.rand(2, 1, 28, 28),
        "noise": torch.randn(2, system.latent_size),
        "label": torch.tensor([3, 4]),
    }
    before = system.losses("autoencoder", batch, 0), system.generate(batch["features"], batch["noise"])
    for parameter in system.reader.parameters():
        parameter.add_(0.1)
    after = system.losses("autoencoder", batch, 0), system.generate(batch["features"], batch["noise"])
    assert float(before[0]["kl"]) != float(after[0]["kl"])
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=0)


def cvae_batch(system: cvae.System) -> dict[str, torch.Tensor]:
    return {
        "features": torch.rand(4, 48, 48),
        "image": torch.rand(4, 1, 28, 28),
        "noise": torch.randn(4, system.latent_size),
        "label": torch.tensor([0, 3, 4, 9]),
    }


@torch.no_grad()
def test_cvae_learns_what_is_heard_from_the_label():
    torch.manual_seed(0)
    system = cvae.System(cvae.Config(label_smoothing=0.0)).eval()
    batch = cvae_batch(system)
    heard = system.listener(batch["features"]).log_softmax(1)[torch.arange(4), batch["label"]]
    torch.testing.assert_close(system.losses("autoencoder", batch, 0)["heard"], -heard.mean())


def test_cvae_classifier_judges_written_pictures_and_learns_from_real_ones_only():
    torch.manual_seed(0)
    system = cvae.System(cvae.Config()).eval()
    losses = system.losses("autoencoder", cvae_batch(system), 0)
    losses["legibility"].backward()
    assert all(parameter.grad is None for parameter in system.classifier.parameters())
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in system.writer.parameters())
    losses["read"].backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in system.classifier.parameters())


@torch.no_grad()
def test_cvae_writes_what_it_heard_with_certainty_as_in_training():
    """The sharper the heard logits, the nearer is the picture to that of the label itself."""
    torch.manual_seed(0)
    system = cvae.System(cvae.Config(sharpness=1e6, variation=1.0)).eval()
    batch = cvae_batch(system)
    label = system.listener(batch["features"]).argmax(1)
    written = system.writer(nn.functional.one_hot(label, 10).float(), batch["noise"]).sigmoid()
    torch.testing.assert_close(system.generate(batch["features"], batch["noise"]), written)
