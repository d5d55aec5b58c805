"""InfoNCE and retrieval: known values, plain loops, and what ties and labels must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor

from soundsight.losses.contrastive import info_nce
from soundsight.metrics.retrieval import chance, cosines, recall_at


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_nothing_told_apart_costs_the_logarithm_of_the_batch():
    same = torch.ones(8, 5)
    assert float(info_nce(same, same, 0.1)) == pytest.approx(math.log(8), rel=1e-6)


def test_every_pair_alone_in_its_direction_costs_nothing():
    axes = torch.eye(6)
    assert float(info_nce(axes, 3 * axes, 0.01)) == pytest.approx(0, abs=1e-6)
    assert float(info_nce(axes, axes.roll(1, 0), 0.01)) == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 0, 2, 2])])
def test_its_formula_written_as_loops(labels):
    sound, image, temperature = normal(5, 4), normal(5, 4, seed=1), 0.3

    def one_way(queries: Tensor, items: Tensor) -> float:
        total = 0.0
        for i in range(5):
            near = [math.exp(float(torch.cosine_similarity(queries[i], x, dim=0)) / temperature) for x in items]
            own = [i] if labels is None else [j for j in range(5) if labels[j] == labels[i]]
            total += sum(-math.log(near[j] / sum(near)) for j in own) / len(own)
        return total / 5

    expected = 0.5 * (one_way(sound, image) + one_way(image, sound))
    assert float(info_nce(sound, image, temperature, labels)) == pytest.approx(expected, rel=1e-5)


def test_neither_length_nor_side_matters():
    sound, image = normal(7, 4), normal(7, 4, seed=1)
    value = info_nce(sound, image, 0.2)
    torch.testing.assert_close(info_nce(5 * sound, 0.1 * image, 0.2), value)
    torch.testing.assert_close(info_nce(image, sound, 0.2), value)


def test_learning_by_it_brings_pairs_together():
    sound, image = normal(6, 8).float(), normal(6, 8, seed=1).float().requires_grad_(True)
    optimizer = torch.optim.Adam([image], 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        info_nce(sound, image, 0.1).backward()
        optimizer.step()
    similarity = cosines(sound.numpy(), image.detach().numpy())
    assert recall_at(similarity, np.eye(6, dtype=bool)) == {1: 1, 5: 1, 10: 1}


def test_the_temperature_can_be_learned():
    temperature = torch.tensor(0.5, requires_grad=True)
    info_nce(normal(4, 3), normal(4, 3, seed=1), temperature).backward()
    assert temperature.grad is not None
    assert float(temperature.grad) != 0


def test_recall_is_top_k_accuracy_where_one_item_is_relevant():
    similarity, wanted = normal(50, 12).numpy(), np.arange(50) % 12
    found = recall_at(similarity, wanted[:, None] == np.arange(12), ks=(1, 3, 7))
    for k, value in found.items():
        assert value == pytest.approx(top_k_accuracy_score(wanted, similarity, k=k, labels=np.arange(12)))


def test_recall_with_several_relevant_items_by_sorting():
    similarity, relevant = normal(40, 15).numpy(), normal(40, 15, seed=1).numpy() > 0.8
    relevant[:, 3] = True
    for k, value in recall_at(similarity, relevant, ks=(1, 2, 5, 15, 99)).items():
        first = np.argsort(-similarity, axis=1)[:, :k]
        assert value == np.take_along_axis(relevant, first, 1).any(1).mean()


def test_one_embedding_for_everything_finds_nothing():
    relevant = np.eye(9, dtype=bool)
    assert recall_at(np.ones((9, 9)), relevant, ks=(1, 8, 9)) == {1: 0, 8: 0, 9: 1}


@pytest.mark.parametrize("num", [2, 7, 29, 49, 120])
def test_who_finds_as_much_as_chance_has_its_very_score(num):
    """A model at chance must be marked as reached by it, and no last bit may save it."""
    together = np.eye(num, dtype=bool)
    for k, value in chance(together, (1, 5, 10, 200)).items():
        num_found = min(k, num)
        assert value == np.mean(np.arange(num) < num_found) == num_found / num


def test_chance_is_what_random_orders_reach():
    relevant = np.zeros((3, 20), bool)
    relevant[0, :1] = relevant[1, :4] = relevant[2, :20] = True
    rng = np.random.default_rng(0)
    tried = [recall_at(rng.random((3, 20)), relevant) for _ in range(4000)]
    for k, value in chance(relevant).items():
        assert value == pytest.approx(np.mean([found[k] for found in tried]), abs=0.01)


def test_cosines():
    np.testing.assert_allclose(cosines([[3, 0], [1, 1]], [[2, 0], [0, -5]]), [[1, 0], [2**-0.5, -(2**-0.5)]])
    with pytest.raises(ValueError, match="length 0"):
        cosines([[0, 0]], [[1, 0]])


@pytest.mark.parametrize(
    ("similarity", "relevant", "ks"),
    [
        ([1.0], [True], (1,)),
        ([[1.0]], [[True, False]], (1,)),
        ([[1.0, 2.0]], [[False, False]], (1,)),
        ([[1.0, 2.0]], [[0, 1]], (1,)),
        ([[1.0, np.nan]], [[True, False]], (1,)),
        ([[1.0, 2.0]], [[True, False]], (0,)),
    ],
)
def test_what_cannot_be_ranked_is_refused(similarity, relevant, ks):
    with pytest.raises(ValueError, match=r"must be|needs|at least 1"):
        recall_at(similarity, relevant, ks)
