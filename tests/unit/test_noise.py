"""Latent noise: independent rows, a normal distribution, one stream for ever."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from soundsight.noise import MAX_SEED, draw


@given(st.integers(0, MAX_SEED), st.integers(1, 40), st.integers(1, 40), st.integers(1, 33))
def test_a_row_depends_on_seed_and_index_alone(seed: int, few: int, more: int, latent_size: int) -> None:
    short, long = sorted((few, more))
    np.testing.assert_array_equal(draw(seed, short, latent_size), draw(seed, long, latent_size)[:short])


@given(st.integers(0, MAX_SEED), st.integers(0, 40), st.integers(1, 9), st.integers(1, 33))
def test_rows_can_be_drawn_from_any_on(seed: int, first: int, num: int, latent_size: int) -> None:
    wanted = draw(seed, first + num, latent_size)[first:]
    np.testing.assert_array_equal(draw(seed, num, latent_size, first=first), wanted)


def test_it_is_standard_normal() -> None:
    values = draw(1, 1000, 64).ravel().astype(np.float64)
    assert stats.kstest(values, "norm").pvalue > 0.01
    # Neighbours in a row come from one pair of uniforms, and neighbours in a column from one stream.
    correlation = np.corrcoef(draw(2, 20_000, 8).T)
    assert np.abs(correlation - np.eye(8)).max() < 4 / math.sqrt(20_000)


def test_seeds_and_rows_differ() -> None:
    rows = np.concatenate([draw(seed, 50, 16) for seed in (0, 1, 2**32, MAX_SEED)])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_raw_stream_is_philox_as_published() -> None:
    """Salmon et al. (2011), known-answer test of Philox4x64-10: what the first row is made of can never change."""
    raw = np.random.Philox(key=0, counter=0).random_raw(4)
    # NumPy counts up before the first block, so its first four numbers are those of counter 1.
    assert [f"{int(x):016x}" for x in raw] == [_philox(1, i) for i in range(4)]


def _philox(counter: int, word: int) -> str:
    """Philox4x64-10 with key 0, written down from the paper."""
    mask, k0, k1 = 2**64 - 1, 0, 0
    c = [counter, 0, 0, 0]
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(p1 >> 64) ^ c[1] ^ k0, p1 & mask, (p0 >> 64) ^ c[3] ^ k1, p0 & mask]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return f"{c[word]:016x}"


def test_normals_are_box_mullers() -> None:
    first, second = (((int(_philox(1, i), 16) >> 11) + 0.5) / 2**53 for i in (0, 1))
    radius = math.sqrt(-2 * math.log(first))
    expected = [radius * math.cos(2 * math.pi * second), radius * math.sin(2 * math.pi * second)]
    np.testing.assert_allclose(draw(0, 1, 2)[0], expected, rtol=1e-6)


def test_no_noise_for_a_model_without() -> None:
    assert draw(0, 3, 0).shape == (3, 0)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        draw(seed, 1, 1)
