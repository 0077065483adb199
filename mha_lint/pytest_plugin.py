"""The pytest fixture ``attention_probe``: asserts that properties of attention hold in a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mha_lint.observation import Observation

Probe = Callable[..., "tuple[Observation, ...]"]


@pytest.fixture(scope="session")
def attention_probe() -> Probe:
    """``attention_probe(module, inputs, holds=("causality",))``: fails, with the counterexample, unless they hold.

    Without ``holds``, no property that applies to the module may be violated. A property named there must hold, whether
    or not anything in the module says that it is meant to. ``inputs`` are as for :func:`mha_lint.probe`. Returns what
    was seen.
    """
    return _probe


def _probe(
    module: Callable[..., Any], inputs: Any = None, holds: Sequence[str] | None = None, *, seed: int = 0
) -> tuple[Observation, ...]:
    __tracebackhide__ = True
    from mha_lint.validation.probes import PROBES, arguments_of, observe

    if isinstance(holds, str):
        holds = (holds,)
    if unknown := sorted(set(holds or ()) - set(PROBES)):
        raise ValueError(f"unknown property {unknown[0]!r}: there are {', '.join(PROBES)}")
    arguments = arguments_of(module, inputs)
    seen = tuple(observe(name, module, arguments, seed=seed, insist=holds is not None) for name in holds or PROBES)
    wrong = [each for each in seen if each.outcome == "violated" or (holds and each.outcome != "holds")]
    if wrong:
        name = getattr(module, "__qualname__", type(module).__qualname__)
        lines = [
            f"{each.probe} {'is ' if each.outcome == 'violated' else ''}{each.outcome}: {each.words}" for each in wrong
        ]
        pytest.fail("\n".join([f"of {name},", *(f"  {line}" for line in lines)]), pytrace=False)
    return seen
