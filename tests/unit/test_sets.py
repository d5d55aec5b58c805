"""Comparisons of two sets of feature vectors against SciPy, scikit-learn and plain loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.stats import ortho_group
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from soundsight.metrics.frechet import frechet_distance
from soundsight.metrics.kernel import kernel_distance
from soundsight.metrics.neighbours import Neighbours, neighbours

Set = NDArray[np.float64]
DISTANCES = [frechet_distance, kernel_distance]
COMPARISONS = [frechet_distance, kernel_distance, neighbours]


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def cloud(seed: int, num: int = 200, size: int = 6) -> Set:
    """Correlated, skewed, away from the origin."""
    random = rng(seed)
    return np.exp(0.5 * random.normal(size=(num, size)) @ random.normal(size=(size, size))) + 3


def test_frechet_equals_its_formula_with_scipys_root() -> None:
    one, other = cloud(0), cloud(1, num=150)
    first, second = np.cov(one.T), np.cov(other.T)
    root = sqrtm(first @ second)
    step = one.mean(0) - other.mean(0)
    expected = step @ step + np.trace(first + second - 2 * root.real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-8)


def test_frechet_between_gaussians_that_are_known() -> None:
    """In one dimension (μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    one, other = rng(2).normal(1, 2, (200_000, 1)), rng(3).normal(4, 7, (200_000, 1))
    assert frechet_distance(one, other) == pytest.approx(9 + 25, rel=0.02)


def test_frechet_of_sets_that_lie_in_a_plane() -> None:
    """Singular covariances, as of a unit that never fires."""
    one, other = cloud(4), cloud(5)
    flat, other_flat = (np.hstack([x, np.zeros((len(x), 2))]) for x in (one, other))
    assert frechet_distance(flat, other_flat) == pytest.approx(frechet_distance(one, other), rel=1e-6)
    constant = np.tile(other.mean(0), (10, 1))
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(np.cov(one.T))
    assert frechet_distance(one, constant) == pytest.approx(expected, rel=1e-9)


def test_kernel_equals_scikit_learns_kernel_over_all_pairs() -> None:
    one, other = cloud(6, num=40), cloud(7, num=33)

    def kernel(x: Set, y: Set) -> Set:
        return polynomial_kernel(x, y, degree=3, gamma=1 / 6, coef0=1)

    def mean_off_the_diagonal(matrix: Set) -> float:
        return float(np.mean([matrix[i, j] for i, j in itertools.permutations(range(len(matrix)), 2)]))

    expected = mean_off_the_diagonal(kernel(one, one)) + mean_off_the_diagonal(kernel(other, other))
    expected -= 2 * kernel(one, other).mean()
    assert kernel_distance(one, other) == pytest.approx(expected, rel=1e-5)


def test_kernel_has_no_bias() -> None:
    values = [kernel_distance(rng(i).normal(size=(30, 4)), rng(1000 + i).normal(size=(20, 4))) for i in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert min(values) < 0 < max(values)


def test_sets_larger_than_a_block() -> None:
    one, other = cloud(8, num=1500, size=3), cloud(9, num=2300, size=3)
    kernels = [[polynomial_kernel(x, y, degree=3, gamma=1 / 3, coef0=1) for y in (one, other)] for x in (one, other)]
    within = sum((m.sum() - np.trace(m)) / (len(m) * (len(m) - 1)) for m in (kernels[0][0], kernels[1][1]))
    assert kernel_distance(one, other) == pytest.approx(within - 2 * kernels[0][1].mean(), rel=1e-4)
    assert neighbours(one, other) == reference(one, other, 5)


def reference(features: Set, real: Set, k: int) -> Neighbours:
    """Naeem et al., equations (3) to (5), and Kynkäänniemi et al., with scikit-learn's search."""

    def reach(x: Set) -> Set:
        distances, _ = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(x).kneighbors(x)
        return distances[:, k]

    def inside(points: Set, centres: Set) -> NDArray[np.bool_]:
        distances = np.sqrt(np.square(points[:, None] - centres[None]).sum(2))
        return distances < reach(centres)

    held = inside(features, real)
    return Neighbours(
        precision=float(held.any(1).mean()),
        recall=float(inside(real, features).any(1).mean()),
        density=float(held.sum() / (k * len(features))),
        coverage=float(held.any(0).mean()),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 0.7, 5.0])
def test_neighbours_equal_their_definition(k: int, shift: float) -> None:
    one, other = cloud(10), cloud(11, num=170) + shift
    found, expected = neighbours(one, other, k=k), reference(one, other, k)
    for name in Neighbours.__slots__:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12), name


def test_neighbours_of_one_distribution() -> None:
    """Naeem et al., section 3: density 1, coverage 1 − (M − 1) … (M − k) / ((2M − 1) … (2M − k)) for N = M."""
    num, k = 2000, 5
    found = neighbours(rng(12).normal(size=(num, 8)), rng(13).normal(size=(num, 8)), k=k)
    expected = 1 - np.prod([(num - i) / (2 * num - i) for i in range(1, k + 1)])
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(expected, abs=0.02)
    assert found.precision > 0.9
    assert found.recall > 0.9


def test_neighbours_tell_fidelity_and_variety_apart() -> None:
    real = rng(14).normal(size=(600, 4))
    narrow = neighbours(0.1 * rng(15).normal(size=(600, 4)), real)
    wide = neighbours(20 * rng(16).normal(size=(600, 4)), real)
    constant = neighbours(np.zeros((600, 4)), real)
    assert narrow.precision == 1 > narrow.coverage + 0.5 > narrow.recall
    assert wide.precision < 0.1 < 0.9 < wide.recall, "recall trusts outliers"
    assert wide.coverage < 0.1, "coverage does not"
    assert constant.recall == 0
    assert neighbours(real + 100, real) == Neighbours(0, 0, 0, 0)


def value(compare: Callable[..., float | Neighbours], one: Set, other: Set) -> tuple[float, ...]:
    found = compare(one, other)
    return tuple(getattr(found, name) for name in Neighbours.__slots__) if isinstance(found, Neighbours) else (found,)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_neither_order_nor_rotation_matters(compare: Callable[..., float | Neighbours]) -> None:
    one, other = cloud(17), cloud(18)
    turn = ortho_group.rvs(6, random_state=0)
    wanted = value(compare, one, other)
    assert value(compare, rng(0).permutation(one), rng(1).permutation(other)) == pytest.approx(wanted, rel=1e-5)
    assert value(compare, one @ turn, other @ turn) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_what_is_passed_in_stays_as_it_was(compare: Callable[..., float | Neighbours]) -> None:
    one, other = cloud(17), cloud(18)
    copies = one.copy(), other.copy()
    compare(one, other)
    np.testing.assert_array_equal(one, copies[0])
    np.testing.assert_array_equal(other, copies[1])


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_symmetric_grow_and_vanish(distance: Callable[[Set, Set], float]) -> None:
    one, other = cloud(19), cloud(20)
    assert distance(one, other) == pytest.approx(distance(other, one), rel=1e-5)
    assert distance(one, one + 0.1) < distance(one, one + 1) < distance(one, one + 2)
    # The unbiased kernel distance of a set to itself is a little below 0.
    assert distance(one, one) < 1e-9


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.zeros(9), np.zeros((9, 2)), r"features must be \(N, D\), not \(9,\)"),
        (np.zeros((9, 2)), np.zeros((9, 3)), "size 2 cannot be compared with a reference of 3"),
        (np.zeros((1, 2)), np.zeros((9, 2)), "features must hold at least"),
        (np.zeros((9, 2)), np.zeros((0, 2)), "reference must hold at least"),
        (np.zeros((9, 0)), np.zeros((9, 0)), "reference must be"),
        (np.zeros((9, 2)), np.full((9, 2), np.nan), "reference must be finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    compare: Callable[..., float | Neighbours], one: Set, other: Set, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compare(one, other)


def test_a_neighbour_must_exist() -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        neighbours(cloud(0), cloud(1), k=0)
    with pytest.raises(ValueError, match="at least 6 vectors, not 5"):
        neighbours(cloud(0)[:5], cloud(1))
