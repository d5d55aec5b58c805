"""Laws that every registered metric keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from soundsight import registry

LABELS = 5
NAMES = registry.names("metrics")


def inputs(name: str, seed: int = 3, num: int = 60) -> dict[str, np.ndarray]:
    """Arrays of every kind that a metric may ask for, those that it asks for."""
    rng = np.random.Generator(np.random.Philox(seed))
    known = {
        "images": rng.random((num, 1, 6, 6)).astype(np.float32),
        "labels": rng.integers(0, LABELS, num),
        "logits": rng.normal(size=(num, LABELS)).astype(np.float32),
        "features": rng.normal(size=(num, 7)).astype(np.float32),
    }
    return {key: known[key] for key in registry.find("metrics", name).Metric.inputs}


def score(name: str, batches: list[dict[str, np.ndarray]]) -> Any:
    metric = registry.find("metrics", name).Metric(LABELS)
    for batch in batches:
        metric.update(**batch)
    return metric.compute()


def test_the_room_has_components() -> None:
    assert {"accuracy", "diversity", "feature_diversity"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_is_a_finite_float(name: str) -> None:
    value = score(name, [inputs(name)])
    assert isinstance(value, float)
    assert np.isfinite(value)


@pytest.mark.parametrize("name", NAMES)
def test_batches_do_not_matter(name: str) -> None:
    whole = inputs(name)
    parts = [{key: array[a:b] for key, array in whole.items()} for a, b in ((0, 1), (1, 38), (38, 38), (38, 60))]
    assert score(name, parts) == pytest.approx(score(name, [whole]), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_order_does_not_matter(name: str) -> None:
    whole = inputs(name)
    order = np.random.Generator(np.random.Philox(1)).permutation(60)
    shuffled = {key: array[order] for key, array in whole.items()}
    assert score(name, [shuffled]) == pytest.approx(score(name, [whole]), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_labels_do_not_matter(name: str) -> None:
    whole = inputs(name)
    new = np.array([3, 0, 4, 1, 2])
    renamed = dict(whole)
    renamed["labels"] = new[whole["labels"]]
    if "logits" in whole:
        renamed["logits"] = whole["logits"][:, np.argsort(new)]
    assert score(name, [renamed]) == pytest.approx(score(name, [whole]), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_depends_on_its_inputs(name: str) -> None:
    whole = inputs(name)
    changed = {key: array if key == "labels" else inputs(name, seed=8)[key] for key, array in whole.items()}
    assert score(name, [changed]) != pytest.approx(score(name, [whole]), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_changes_none_of_its_inputs(name: str) -> None:
    whole = inputs(name)
    before = {key: array.copy() for key, array in whole.items()}
    score(name, [whole, whole])
    for key, array in whole.items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("name", NAMES)
def test_has_no_score_without_data(name: str) -> None:
    with pytest.raises(ValueError, match="no "):
        registry.find("metrics", name).Metric(LABELS).compute()
