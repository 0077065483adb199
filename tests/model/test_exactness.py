"""The layout model against torch: on any chain of operations it says what torch does, or that it does not know."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from hypothesis import HealthCheck, given, settings

from tests.model.chains import Chain, chains, disagreement, is_known

_SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@_SETTINGS
@given(chains())
def test_model_agrees_with_torch_or_does_not_know(chain: Chain) -> None:
    assert disagreement(chain) is None, chain.source


def test_sizes_that_the_chain_does_not_settle_are_no_disagreement() -> None:
    chain = Chain([2, 2])
    chain.apply("x[0]", ["d1"])
    chain.apply("x.reshape(d1)", ["d1"])
    chain.apply("x.view(-1)", ["d1"])
    chain.apply("x.unsqueeze(0)", ["1", "d1"])
    chain.apply("torch.cat([x, x], dim=1).split(d1, dim=1)[1]", ["1", "d1"])
    assert disagreement(chain) is None


def test_model_knows_nearly_every_chain() -> None:
    known: list[bool] = []

    @settings(_SETTINGS, database=None, derandomize=True)
    @given(chains())
    def ask(chain: Chain) -> None:
        known.append(is_known(chain))

    ask()
    assert sum(known) > 0.9 * len(known)
