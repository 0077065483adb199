"""Equal tokens: from tokens that are all alike, whatever attends to them makes tokens that are all alike.

Asked by corrections alone. It holds with masks, windows and relative positions, which change the weights: values that
are all the same have the same mean under any. For the same reason it is blind to queries and keys in the wrong order.
It does not hold where positions are added to the tokens.
"""

from __future__ import annotations

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.sequence import Axis, alike, axes, differences, rounding
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "equal tokens"
_SLACK = 8  # sums over tokens round otherwise from row to row, in every layer


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if not insist:
        raise NotApplicable("its tokens may have positions")
    output = subject.run()
    found = [axis for axis in axes(subject, output, seen) if axis.output != (2,)] or _in_rows(subject, output)
    if not found:
        raise NotApplicable("no input has a dim of tokens")
    apart = {axis: _apart(subject, axis) for axis in found}
    worst = max(found, key=lambda axis: float(apart[axis].max()))
    size, names = float(apart[worst].max()), ", ".join(worst.dims)
    if size <= _SLACK * rounding(output):
        return Observation(NAME, "holds", f"{worst.length} equal tokens gave equal ones")
    what = f"what becomes of token {int(apart[worst].argmax())} differs by {size:.3g} from token 0"
    return Observation(NAME, "violated", f"all {worst.length} tokens of {names} are the same, but {what}", size)


def _in_rows(subject: Subject, output: torch.Tensor) -> list[Axis]:
    """Sequences (b, t, c), of which come others of another length."""
    dims = _sequences(subject)
    length = subject.tensors[next(iter(dims))].shape[1] if dims else 0
    return [Axis(dims, (1,), length)] if dims and output.dim() == 3 and output.shape[1] > 1 else []


def _sequences(subject: Subject) -> dict[str, tuple[int, ...]]:
    """The dim of tokens of each input (b, t, c)."""
    sequences = (n for n, value in subject.tensors.items() if value.dim() == 3 and value.is_floating_point())
    return {name: (1,) for name in sequences if subject.tensors[name].shape[1] > 1}


def _apart(subject: Subject, axis: Axis) -> torch.Tensor:
    """Return the distance of each token of the output from the first, once all tokens that go in are alike."""
    equal = {n: alike(subject.tensors[n], dims) for n, dims in (_sequences(subject) | axis.dims).items()}
    output = subject.with_inputs(equal).run()
    if not bool(torch.isfinite(output).all()):
        raise NotApplicable("the output is not finite")
    return differences(output, alike(output, axis.output), axis.output)
