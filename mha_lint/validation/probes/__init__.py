"""Properties that any attention must have, each tried on a module by running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mha_lint.findings import Axes
from mha_lint.observation import Observation
from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.probes import (
    batch,
    cached,
    causality,
    constant_value,
    determinism,
    equal_tokens,
    equal_values,
    half,
    learning,
    masked_key,
    permutation,
    relative_positions,
    score_variance,
    tokens_meet,
    whole_weights,
)
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.subject import NotApplicable, Subject, prepared
from mha_lint.validation.probes.trace import traced

__all__ = ["PROBES", "Observation", "arguments_of", "observe", "observe_all"]

Probe = Callable[[Subject, Seen | None, bool], Observation]
_PROBES: Mapping[str, Probe] = {
    each.NAME: each.observe
    for each in (
        causality,
        permutation,
        constant_value,
        score_variance,
        determinism,
        batch,
        tokens_meet,
        masked_key,
        relative_positions,
        cached,
        learning,
        half,
    )
}
PROBES: tuple[str, ...] = tuple(_PROBES)
_OF_CORRECTIONS: Mapping[str, Probe] = {each.NAME: each.observe for each in (equal_tokens, equal_values, whole_weights)}


def observe(
    probe: str,
    module: Callable[..., Any],
    inputs: Mapping[str, Any],
    *,
    seed: int = 0,
    insist: bool = False,
    axes: Mapping[str, Axes] | None = None,
) -> Observation:
    """Try one of :data:`PROBES` on ``module``, called with ``inputs``; or one of those that corrections alone ask.

    ``module`` may be a function. ``inputs`` are keyword arguments by name; positional ones stand under "0", "1", …
    They are copied, and put on the device of the module's parameters and, floats, in their dtype. With ``insist`` the
    caller says that the property must hold: no evidence is asked for that it is meant to. ``axes`` say of an input,
    under the name that it has in ``inputs``, which dimension is the batch and which are the tokens. The module, its
    mode, its gradients and all random states are afterwards as they were. Raises KeyError for an unknown probe; what
    the module raises is *not applicable*.
    """
    run = _PROBES.get(probe) or _OF_CORRECTIONS[probe]
    try:
        with prepared(module, inputs, seed, axes or {}) as subject:
            return run(subject, _followed(subject), insist)
    except NotApplicable as reason:
        return Observation(probe, "not applicable", str(reason))
    except (Exception, StubTouched) as error:  # the user's code may raise anything
        lines = str(error).strip().splitlines()
        words = f"it raises {type(error).__name__}: {lines[0][:200] if lines else ''}"
        return Observation(probe, "not applicable", words)


def _followed(subject: Subject) -> Seen | None:
    """Trace one call, step by step; return None where it does not run while it is watched."""
    try:
        return traced(subject)
    except (Exception, StubTouched):  # some kernels and some subclasses of Tensor can't be watched
        return None


def observe_all(module: Callable[..., Any], inputs: Any = None, *, seed: int = 0) -> tuple[Observation, ...]:
    """Try all of :data:`PROBES`. ``inputs`` may be a mapping, a tuple, one tensor, or None, to be searched for.

    Raises ValueError where they are not found.
    """
    arguments = arguments_of(module, inputs)
    return tuple(observe(name, module, arguments, seed=seed) for name in PROBES)


def arguments_of(module: Callable[..., Any], inputs: Any) -> Mapping[str, Any]:
    """The inputs of one call as :func:`observe` takes them. Raises ValueError where None are given and none found."""
    if inputs is None:
        from mha_lint.validation.probes.probed import NoInputs, found_inputs

        if not isinstance(module, torch.nn.Module):
            raise ValueError("no inputs are given, and they can be found for a torch.nn.Module only")
        try:
            return found_inputs(module)
        except NoInputs as error:
            raise ValueError(f"{error}; give them as the second argument") from error
    if isinstance(inputs, Mapping):
        return inputs
    if isinstance(inputs, (tuple, list)):
        return {str(place): value for place, value in enumerate(inputs)}
    return {"0": inputs}
