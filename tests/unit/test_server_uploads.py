"""What the bodies of all requests may hold together."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

pytest.importorskip("fastapi")

from served import check_told
from soundsight.server.problems import Problem
from soundsight.server.uploads import Budget


def test_one_address_cannot_keep_the_others_out() -> None:
    budget = Budget(100)
    with budget.share("10.0.0.1") as one, budget.share("10.0.0.1") as two, budget.share("10.0.0.2") as other:
        one.take(30)
        two.take(20)
        for share in (one, two):
            with pytest.raises(Problem) as refused:
                share.take(1)
            check_told(refused.value.to_json(), 503, "too many sounds")
        other.take(50)
        with budget.share("10.0.0.3") as third, pytest.raises(Problem):
            third.take(1)
    assert budget.num_left == 100


def test_what_is_taken_comes_back_whatever_happens() -> None:
    rng = random.Random(0)
    budget = Budget(1000)
    for _ in range(300):
        shares = [budget.share(f"10.0.0.{rng.randrange(4)}") for _ in range(3)]
        with suppress(KeyError), shares[0], shares[1], shares[2]:
            for _ in range(20):
                with suppress(Problem):
                    rng.choice(shares).take(rng.randrange(200))
                assert 0 <= budget.num_left <= 1000
            raise KeyError
        assert budget.num_left == 1000
    # After all that, each address may have its half again.
    with budget.share("10.0.0.0") as one, budget.share("10.0.0.1") as other:
        one.take(500)
        other.take(500)
