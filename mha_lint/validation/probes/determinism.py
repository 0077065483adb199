"""Eval determinism: in eval mode two calls agree, and draw no random numbers."""

from __future__ import annotations

from typing import Any

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.subject import Subject, output_of
from mha_lint.validation.trials import trial

NAME = "eval determinism"


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    """The second call goes on from the random state that the first left; the module's own state is put back between."""
    trial.seed_everything(subject.seed)
    states = _states()
    one = _outputs(subject)
    advanced = any(not torch.equal(left, right) for left, right in zip(states, _states(), strict=True))
    other = _outputs(subject)
    difference = max((trial.differ(left, right)[1] for left, right in zip(one, other, strict=True)), default=0.0)
    drawing = sorted(set(seen.drawn)) if seen is not None else []
    if difference > 0.0:
        from_what = f" ({', '.join(drawing)} runs)" if drawing else ""
        words = f"in eval mode two calls with the same input differ by {difference:.3g}{from_what}"
        return Observation(NAME, "violated", words, difference)
    if advanced:
        by_what = f": {', '.join(drawing)} runs" if drawing else ""
        return Observation(NAME, "violated", f"a call in eval mode advances the random state{by_what}")
    return Observation(NAME, "holds", "two calls agree to the last bit")


def _outputs(subject: Subject) -> list[Any]:
    try:
        result = subject.call(subject.fresh())
        leaves = [value for _, value in trial.flatten(result, "output") if isinstance(value, torch.Tensor)]
        if not leaves:
            output_of(result)  # raises, and says why
        return [value.detach().clone() for value in leaves]
    finally:
        subject.state.restore()


def _states() -> list[torch.Tensor]:
    cuda: Any = torch.cuda
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if cuda.is_initialized() else ())]
