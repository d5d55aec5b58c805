"""What an adapter says beside what a text encoder says: known values, laws, and the published numbers' arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from soundsight.losses.conditioning import combined, cosine, cosines, info_nce, mse


def parts(seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What is said of 4, what is wanted of them, and 6 prompts: one vector each, and three tokens each."""
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(num, *shape, generator=generator, dtype=torch.float64) for num in (4, 4, 6))  # type: ignore[misc]
        for shape in ((5,), (3, 5))
    ]


def test_known_values() -> None:
    said, wanted = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert mse(said, wanted) == pytest.approx((4 + 0 + 4 + 4) / 4)
    assert cosine(said, wanted) == pytest.approx(0.5), "one points the same way, one is at right angles"
    assert cosine(said, -said) == pytest.approx(2)
    assert combined(said, wanted) == pytest.approx(0.3 * 3 + 0.7 * 0.5)
    assert combined(said, wanted, mse_weight=1, cosine_weight=1) == pytest.approx(3.5)


@pytest.mark.parametrize(("said", "wanted", "_"), parts())
def test_they_are_means_over_all_that_is_there(said: Tensor, wanted: Tensor, _: Tensor) -> None:
    a, b = said.numpy().reshape(-1, 5), wanted.numpy().reshape(-1, 5)
    by_hand = [u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in zip(a, b, strict=True)]
    assert float(mse(said, wanted)) == pytest.approx(((a - b) ** 2).mean(), rel=1e-6)
    assert float(cosine(said, wanted)) == pytest.approx(1 - np.mean(by_hand), rel=1e-5)
    assert float(cosine(7 * said, wanted)) == pytest.approx(float(cosine(said, wanted)), rel=1e-5)
    assert float(mse(said, said)) == 0
    assert float(cosine(said, said)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("said", "_", "prompts"), parts(1))
def test_cosines_of_each_with_each(said: Tensor, _: Tensor, prompts: Tensor) -> None:
    found_BC = cosines(said, prompts)
    for i, j in ((0, 0), (3, 5), (2, 1)):
        assert float(found_BC[i, j]) == pytest.approx(1 - float(cosine(said[i : i + 1], prompts[j : j + 1])), abs=1e-6)


@pytest.mark.parametrize(("said", "_", "prompts"), parts(2))
def test_info_nce_is_the_surprise_by_the_right_prompt(said: Tensor, _: Tensor, prompts: Tensor) -> None:
    labels, temperature, smoothing = [5, 0, 0, 3], 0.2, 0.1
    logits_BC = cosines(said, prompts).double().numpy() / temperature
    share_BC = np.exp(logits_BC) / np.exp(logits_BC).sum(axis=1, keepdims=True)
    wanted_BC = np.full((4, 6), smoothing / 6)
    wanted_BC[range(4), labels] += 1 - smoothing
    one_hot_BC = torch.nn.functional.one_hot(torch.tensor(labels), 6)
    found = info_nce(said, prompts, one_hot_BC, temperature, smoothing)
    assert float(found) == pytest.approx(-(wanted_BC * np.log(share_BC)).sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize(("_", "__", "prompts"), parts(3))
def test_info_nce_is_log_c_where_nothing_is_told_apart_and_has_its_floor(
    _: Tensor, __: Tensor, prompts: Tensor
) -> None:
    same = prompts[:1].expand_as(prompts)
    one_hot_CC = torch.eye(6)
    assert float(info_nce(prompts, same, one_hot_CC, 0.3)) == pytest.approx(math.log(6), rel=1e-6)
    right, wrong = info_nce(prompts, prompts, one_hot_CC, 0.1), info_nce(prompts, prompts.flip(0), one_hot_CC, 0.1)
    assert math.log1p(5 * math.exp(-2 / 0.1)) <= float(right) < math.log(6) < float(wrong)


def test_info_nce_of_mixed_sounds_is_least_between_their_prompts() -> None:
    prompts, half = torch.eye(4), torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    between, one = (info_nce(torch.tensor([row]), prompts, half, 0.1) for row in ([1.0, 1, 0, 0], [1.0, 0, 0, 0]))
    assert float(between) < float(one)


# Combined, MSE and cosine as V2D prints them, and the digits to which it does.
PUBLISHED = [
    ("main", 0.225, 0.31, 0.81, (0.3, 0.7), 0.3 * 0.005 + 0.7 * 0.005 + 0.0005),
    ("novelty 1", 0.9863, 0.5342, 0.5479, (1, 1), 1.5e-4),
    ("novelty 2", 0.4360, 0.5462, 0.5640, (0, 1), 1e-4),
    ("novelty 3", 0.2311, 0.9653, 0.7689, (0, 1), 1e-4),
]


@pytest.mark.parametrize(("row", "total", "squared", "cos", "weights", "rounding"), PUBLISHED)
def test_the_published_numbers_fit_these_weights_and_no_others_fit_all(
    row: str, total: float, squared: float, cos: float, weights: tuple[float, float], rounding: float
) -> None:
    """Vectors with exactly the published MSE and cosine have the published combined loss."""
    # Of two numbers: (1, 0) said, wanted at the published angle, and as long as the published error asks.
    length = cos + math.sqrt(cos**2 - 1 + 2 * squared) if cos**2 - 1 + 2 * squared >= 0 else math.nan
    said = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    wanted = length * torch.tensor([[cos, math.sqrt(1 - cos**2)]], dtype=torch.float64)
    assert float(mse(said, wanted)) == pytest.approx(squared, abs=1e-6)
    assert 1 - float(cosine(said, wanted)) == pytest.approx(cos, abs=1e-6)
    found = combined(said, wanted, mse_weight=weights[0], cosine_weight=weights[1])
    assert float(found) == pytest.approx(total, abs=rounding)
    others = {other for _, _, _, _, other, _ in PUBLISHED} - {weights}
    for other in others:
        assert abs(float(combined(said, wanted, mse_weight=other[0], cosine_weight=other[1])) - total) > rounding, row
