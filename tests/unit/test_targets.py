"""How near an adapter is to its target: known values, laws, independent references."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import top_k_accuracy_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler, normalize

from soundsight.losses import conditioning
from soundsight.metrics.retrieval import recall_at
from soundsight.metrics.targets import errors, nearest_class_mean, prompt_cosines
from soundsight.training.adapter_evaluation import linear_probe


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.Generator(np.random.Philox(seed)).normal(size=shape)


@pytest.mark.parametrize("shape", [(7, 5), (7, 3, 5)])
def test_errors_are_those_of_the_losses_and_of_scikit_learn(shape: tuple[int, ...]) -> None:
    said, wanted = draw(*shape, seed=1), draw(*shape, seed=2)
    found = errors(said, wanted, mse_weight=0.2, cosine_weight=3)
    tensors = torch.from_numpy(said), torch.from_numpy(wanted)
    assert found["mse"] == pytest.approx(float(conditioning.mse(*tensors)), rel=1e-6)
    assert found["cosine"] == pytest.approx(1 - float(conditioning.cosine(*tensors)), rel=1e-5)
    by_hand = np.diagonal(cosine_similarity(said.reshape(-1, 5), wanted.reshape(-1, 5))).mean()
    assert found["cosine"] == pytest.approx(by_hand, rel=1e-9)
    combined = conditioning.combined(*tensors, mse_weight=0.2, cosine_weight=3)
    assert found["combined"] == pytest.approx(float(combined), rel=1e-5)
    assert errors(said, said) == pytest.approx({"mse": 0, "cosine": 1, "combined": 0}, abs=1e-12)


def test_the_mean_is_the_best_constant_for_the_squared_error() -> None:
    wanted = draw(40, 6)
    mean, other = (np.broadcast_to(row, wanted.shape) for row in (wanted.mean(axis=0), wanted.mean(axis=0) + 0.1))
    assert errors(mean, wanted)["mse"] == pytest.approx(wanted.var(axis=0).mean())
    assert errors(other, wanted)["mse"] == pytest.approx(errors(mean, wanted)["mse"] + 0.01)


@pytest.mark.parametrize("shape", [(5,), (3, 5)])
def test_cosines_with_all_prompts(shape: tuple[int, ...]) -> None:
    said, prompts = draw(7, *shape, seed=3), draw(4, *shape, seed=4)
    found_NC = prompt_cosines(said, prompts)
    for n, c in ((0, 0), (6, 3), (2, 1)):
        assert found_NC[n, c] == pytest.approx(errors(said[n : n + 1], prompts[c : c + 1])["cosine"], rel=1e-9)
    np.testing.assert_allclose(prompt_cosines(9 * said, prompts), found_NC, atol=1e-12)


def test_retrieval_is_top_k_accuracy_and_ties_count_against_it() -> None:
    near_NC, labels_N = draw(60, 8, seed=5), np.arange(60) % 8
    own_NC = labels_N[:, None] == np.arange(8)
    for k, share in recall_at(near_NC, own_NC, (1, 3)).items():
        assert share == pytest.approx(top_k_accuracy_score(labels_N, near_NC, k=k, labels=np.arange(8)))
    assert recall_at(np.ones((60, 8)), own_NC, (1, 7, 8)) == {1: 0, 7: 0, 8: 1}


def test_the_nearest_class_mean_is_that_of_scikit_learn() -> None:
    labels_M, centres = np.arange(90) % 3, 2 * draw(3, 4, seed=6)
    train, test = centres[labels_M] + draw(90, 4, seed=7), centres[labels_M] + draw(90, 4, seed=8)
    near_NC = nearest_class_mean(train * [1, 9, 1, 1] + 5, labels_M, test * [1, 9, 1, 1] + 5, 3)
    scaler = StandardScaler().fit(train)
    means = NearestCentroid().fit(scaler.transform(train), labels_M).centroids_
    np.testing.assert_allclose(near_NC, cosine_similarity(scaler.transform(test), means), atol=1e-9)
    assert near_NC.shape == (90, 3)


@pytest.mark.parametrize("penalty", [1.0, 20.0])
def test_the_linear_probe_is_that_of_scikit_learn(penalty: float) -> None:
    labels_M, centres = np.arange(90) % 3, draw(3, 4, seed=6)
    train, test = centres[labels_M] + draw(90, 4, seed=7), centres[labels_M] + draw(90, 4, seed=8)
    tensors = torch.from_numpy(train), torch.from_numpy(labels_M), torch.from_numpy(test)
    logits_NC = linear_probe(*tensors, 3, penalty=penalty)
    scaler = StandardScaler().fit(train)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1000).fit(scaler.transform(train), labels_M)
    share_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(share_NC, theirs.predict_proba(scaler.transform(test)), atol=1e-4)


def test_what_clap_knows_of_esc50_needs_no_adapter(data_root: Path) -> None:
    """On a fold that trained nothing, class means of the real embeddings name 19 of 20 recordings."""
    with (data_root / "esc50" / "esc50.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    fold_N, label_N = (np.array([int(row[key]) for row in rows]) for key in ("fold", "target"))
    x_ND = normalize(np.load(data_root / "esc50" / "clap.npy").astype(np.float64))
    train, test = fold_N < 3, fold_N == 3
    near_NC = nearest_class_mean(x_ND[train], label_N[train], x_ND[test], 50)
    own_NC = label_N[test][:, None] == np.arange(50)
    assert recall_at(near_NC, own_NC)[1] > 0.95
    shuffled = np.random.Generator(np.random.Philox(0)).permutation(label_N[train])
    assert recall_at(nearest_class_mean(x_ND[train], shuffled, x_ND[test], 50), own_NC)[1] < 0.1


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones((2, 3)), np.ones((3, 3))),
        (np.ones(3), np.ones(3)),
        (np.ones((0, 3)), np.ones((0, 3))),
        (np.full((2, 3), np.nan), np.ones((2, 3))),
        (np.zeros((2, 3)), np.ones((2, 3))),
    ],
)
def test_what_cannot_be_scored_is_refused(said: Any, wanted: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|no direction"):
        errors(said, wanted)


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in more than their number"):
        prompt_cosines(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="class 1 has no training item"):
        nearest_class_mean(np.ones((2, 3)), [0, 2], np.ones((1, 3)), 3)
