"""Losses against torch.distributions, against sampling, against known values, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as reference_kl

from soundsight.losses import adversarial, contrastive
from soundsight.losses.cycle import cycle
from soundsight.losses.kl import free_bits, kl_divergence, warmup
from soundsight.losses.reconstruction import bernoulli
from soundsight.losses.reconstruction import gaussian as gaussian_likelihood

Tensor = torch.Tensor


def gaussian(seed: int = 0, num: int = 5, size: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, size, generator=generator), torch.randn(num, size, generator=generator)


def pictures(seed: int = 0, num: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(num, 1, 4, 5, generator=generator), torch.rand(num, 1, 4, 5, generator=generator)


def test_kl_is_that_of_torch_distributions():
    mean, log_variance = gaussian()
    q = Normal(mean, (log_variance / 2).exp())
    wanted = reference_kl(q, Normal(0.0, 1.0)).sum(dim=1).mean()
    torch.testing.assert_close(kl_divergence(mean, log_variance), wanted)


def test_kl_is_the_mean_log_ratio_of_samples():
    mean, log_variance = gaussian(1, num=1, size=3)
    torch.manual_seed(0)
    q, p = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    draws = q.sample((400_000,))
    ratio = (q.log_prob(draws) - p.log_prob(draws)).sum(dim=-1)
    error = float(ratio.std()) / math.sqrt(ratio.numel())
    assert abs(float(ratio.mean()) - float(kl_divergence(mean, log_variance))) < 5 * error


@pytest.mark.parametrize(
    ("mean", "log_variance", "wanted"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 0.5),
        (-2.0, 0.0, 2.0),
        (0.0, math.log(4), (4 - 1 - math.log(4)) / 2),
        (0.0, -math.log(4), (0.25 - 1 + math.log(4)) / 2),
    ],
)
def test_kl_of_one_dimension(mean, log_variance, wanted):
    value = kl_divergence(torch.tensor([[mean]]), torch.tensor([[log_variance]]))
    assert float(value) == pytest.approx(wanted, abs=1e-6)


def test_kl_sums_dimensions_and_averages_items():
    mean, log_variance = gaussian()
    one_by_one = torch.stack([kl_divergence(m[None], v[None]) for m, v in zip(mean, log_variance, strict=True)])
    torch.testing.assert_close(kl_divergence(mean, log_variance), one_by_one.mean())
    doubled = kl_divergence(torch.cat([mean, mean], 1), torch.cat([log_variance, log_variance], 1))
    torch.testing.assert_close(doubled, 2 * kl_divergence(mean, log_variance))


def test_kl_is_never_negative_and_zero_only_at_the_prior():
    mean, log_variance = gaussian(2, num=2000, size=1)
    each = torch.stack([kl_divergence(m[None], v[None]) for m, v in zip(0.1 * mean, 0.1 * log_variance, strict=True)])
    assert float(each.min()) >= 0
    assert float(each.max()) > 0


def test_kl_has_the_gradient_of_its_formula():
    mean, log_variance = (x.requires_grad_() for x in gaussian())
    kl_divergence(mean, log_variance).backward()
    torch.testing.assert_close(mean.grad, mean.detach() / len(mean))
    torch.testing.assert_close(log_variance.grad, (log_variance.detach().exp() - 1) / 2 / len(mean))


def test_kl_of_half_precision_is_computed_in_single():
    mean, log_variance = (x.to(torch.bfloat16) for x in gaussian(num=64, size=256))
    value = kl_divergence(mean, log_variance)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, kl_divergence(mean.float(), log_variance.float()))


def test_warmup_rises_in_a_line_from_0_to_1_and_stays():
    assert [warmup(step, 4) for step in range(7)] == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup(0, 0) == 1


def test_bernoulli_is_minus_the_log_likelihood_of_torch_distributions():
    logits, image = pictures()
    log_prob = Bernoulli(logits=logits, validate_args=False).log_prob(image)
    torch.testing.assert_close(bernoulli(logits, image), -log_prob.sum(dim=(1, 2, 3)).mean())
    whole = image.round()
    log_prob = Bernoulli(logits=logits).log_prob(whole)
    torch.testing.assert_close(bernoulli(logits, whole), -log_prob.sum(dim=(1, 2, 3)).mean())


def test_bernoulli_of_indifference_is_one_bit_a_pixel():
    _, image = pictures()
    value = bernoulli(torch.zeros_like(image), image)
    assert float(value) == pytest.approx(image[0].numel() * math.log(2), rel=1e-6)


def test_bernoulli_is_least_where_the_sigmoid_is_the_picture():
    _, image = pictures()
    best = bernoulli(torch.logit(image), image)
    entropy = Bernoulli(probs=image).entropy().sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(best, entropy)
    generator = torch.Generator().manual_seed(3)
    for size in (1e-2, 0.1, 1.0, 10.0):
        other = torch.logit(image) + size * torch.randn(image.shape, generator=generator)
        assert float(bernoulli(other, image)) > float(best)


def test_bernoulli_has_the_gradient_of_its_formula():
    logits, image = pictures()
    logits.requires_grad_()
    bernoulli(logits, image).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - image) / len(image))


def test_bernoulli_stays_finite_for_logits_without_doubt():
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4]).reshape(1, 1, 2, 2)
    image = torch.tensor([1.0, 0.0, 0.0, 1.0]).reshape(1, 1, 2, 2)
    assert float(bernoulli(logits, image)) == pytest.approx(2e4)


@pytest.mark.parametrize("loss", [kl_divergence, bernoulli])
def test_gradients_agree_with_finite_differences(loss):
    # The losses compute in float32: a step of 1e-2 leaves differences of some 1e-4, and the check its teeth.
    inputs = gaussian(4, 2, 3) if loss is kl_divergence else tuple(x[:, :, :2, :2] for x in pictures(4, 2))
    assert torch.autograd.gradcheck(
        loss, [x.double().requires_grad_() for x in inputs], eps=1e-2, atol=2e-3, rtol=1e-2, nondet_tol=0.0
    )


def answers(seed: int) -> Tensor:
    """Of a discriminator, none of them near the kinks of a hinge."""
    return torch.linspace(-1.45, 1.45, 6) + 0.05 * seed


def places(seed: int) -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))


TOGETHER = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])
GRADIENTS = {
    "discriminator": (adversarial.discriminator, answers),
    "saturating": (lambda x, _: adversarial.saturating(x), answers),
    "non-saturating": (lambda x, _: adversarial.non_saturating(x), answers),
    "hinge": (adversarial.hinge_discriminator, answers),
    "least squares, discriminator": (adversarial.least_squares_discriminator, answers),
    "least squares, generator": (lambda x, _: adversarial.least_squares_generator(x), answers),
    "wasserstein, discriminator": (adversarial.wasserstein_discriminator, answers),
    "wasserstein, generator": (lambda x, _: adversarial.wasserstein_generator(x), answers),
    "feature matching": (lambda x, _: adversarial.feature_matching([places(3)], [x]), places),
    "InfoNCE": (lambda x, y: contrastive.info_nce(x, y, 0.5), places),
    "InfoNCE with labels": (lambda x, y: contrastive.info_nce(x, y, 0.5, torch.tensor([0, 1, 0, 1, 2])), places),
    "margin": (lambda x, y: contrastive.margin(x, y, TOGETHER, least=6.0), places),
    "free bits": (lambda x, y: free_bits(x, y, 0.3), places),
    "cycle": (lambda x, y: cycle(x.view(1, 2, 3), y.view(1, 2, 3)), answers),
    "gaussian": (lambda x, y: gaussian_likelihood(x[None, None], y[None, None]), places),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_every_gradient_agrees_with_finite_differences(name):
    loss, inputs = GRADIENTS[name]
    first, second = inputs(1), inputs(2)
    assert torch.autograd.gradcheck(
        loss, [x.double().requires_grad_() for x in (first, second)], eps=1e-2, atol=2e-3, rtol=2e-2, nondet_tol=0.0
    ), name
