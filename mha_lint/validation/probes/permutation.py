"""Permutation equivariance: with no mask and no positions, permuted tokens give the output permuted alike.

Who insists may have positions that are learned: they are then put at zero, for the time of the probe.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from msgspec.structs import replace

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.sequence import Axis, axes, differences, flat, rounding
from mha_lint.validation.probes.subject import NotApplicable, State, Subject

NAME = "permutation equivariance"
_SLACK = 8  # a permuted sum rounds otherwise, in every layer
_POSITIONS = re.compile(
    r"(?<![a-z])(pos|position|positions|positional|rel|relative|rope|rotary|alibi|mask|masks|causal|freqs?|freqs_cis|"
    r"inv_freq|sin|cos|conv|dwconv|bias_table|pos_?embed\w*|pe|grid|window\w*|shift\w*|order|h|w|height|width|"
    r"n_?tokens|cls_token|hw_?shapes?|num_frames|x_?size|spatial\w*)(?![a-z])"
)


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    found = _observed(subject, seen, insist)
    learned = _learned_positions(subject) if insist and found.outcome == "violated" else {}
    if not learned:
        return found
    with _at_zero(subject, learned.values()) as placeless:
        again = _observed(placeless, seen, insist)
    return replace(again, words=f"{again.words} (with {', '.join(learned)} at zero)")


def _learned_positions(subject: Subject) -> dict[str, torch.Tensor]:
    """Parameters, by name, that tell places apart: tables of biases, embeddings of positions."""
    found: dict[str, torch.Tensor] = {}
    for path, part in subject.owner.named_modules() if subject.owner is not None else ():
        if type(part).__module__.startswith("torch.nn."):
            continue
        for name, value in part._parameters.items():
            if value is not None and value.dim() > 1 and (_POSITIONS.search(name) or "bias" in name):
                found[f"{path}.{name}" if path else name] = value
    return found


@contextlib.contextmanager
def _at_zero(subject: Subject, tensors: Iterable[torch.Tensor]) -> Iterator[Subject]:
    values = [(each, each.detach().clone()) for each in tensors]
    try:
        with torch.no_grad():
            for each, _ in values:
                each.zero_()
        yield replace(subject, state=State(subject.owner))
    finally:
        with torch.no_grad():
            for each, value in values:
                each.copy_(value)


def _observed(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    output = subject.run()
    if not bool(torch.isfinite(output).any()):
        raise NotApplicable("the output is not finite")
    found = axes(subject, output, seen)
    memory = _memory(subject, found, seen)
    if not found and not memory:
        raise NotApplicable("no input has a dim of tokens that the output has too")
    if len({axis.output for axis in found}) > 1 and _others(subject, {name for axis in found for name in axis.dims}):
        raise NotApplicable("the input has as many tokens as sequences, which what else is given can't tell apart")
    changes = {axis: _difference(subject, axis, output) for axis in [*found, *memory]}
    wrong = [axis for axis, change in changes.items() if float(change.max()) > _SLACK * rounding(output)]
    judged = found  # dims of one length: any may be that of the tokens
    if insist and output.dim() == 3:  # neither tokens nor the entries of a batch may be mixed up
        judged = [axis for axis in found if axis.output != (2,)] or found
    if (not insist or output.dim() != 3) and not set(judged) <= set(wrong):
        judged = []
    wrong = [axis for axis in wrong if axis in judged or axis in memory]
    worst = max(wrong, key=lambda axis: float(changes[axis].max()), default=None)
    if worst is None:
        return Observation(NAME, "holds", f"{(found or memory)[0].length} tokens were permuted")
    alike = [each for each in found if not worst.output or each.output == worst.output]
    tokens = {name for each in [*alike, *memory] for name in each.dims}
    if not insist and (why := _positions(subject, seen, worst, tokens)):
        raise NotApplicable(why)
    size = float(changes[worst].max())
    what = f"does not just permute the output: at token {int(changes[worst].argmax())} it differs by {size:.3g}"
    if not worst.output:
        what = f"changes the output by {size:.3g}"
    words = f"permuting the {worst.length} tokens of {', '.join(worst.dims)} {what}"
    more = _others(subject, set(worst.dims))
    why = "all that is given of them is permuted alike" if more else "they have no positions and no mask"
    return Observation(NAME, "violated", f"{words}, though {why}", size)


def _memory(subject: Subject, found: list[Axis], seen: Seen | None) -> list[Axis]:
    """The inputs whose tokens are attended to by others alone, in any order: they have another length."""
    lengths = {each.keys for each in seen.applied} if seen is not None else set()
    known = {name for axis in found for name in axis.dims}
    grouped: dict[int, Axis] = {}
    for name, value in subject.tensors.items():
        if name not in known and value.dim() == 3 and value.is_floating_point() and value.shape[1] in lengths - {1}:
            length = value.shape[1]
            grouped.setdefault(length, Axis({}, (), length)).dims[name] = (1,)
    return list(grouped.values())


def _difference(subject: Subject, axis: Axis, output: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(subject.seed + 3)
    order = torch.randperm(axis.length, generator=generator)
    if bool((order == torch.arange(axis.length)).all()):
        order = order.flip(0)
    changed: dict[str, Any]
    changed = {name: _permuted(subject.tensors[name], dims, order) for name, dims in axis.dims.items()}
    if axis.output:
        changed |= _alike(subject, axis, order, (*output.shape, 0)[:2])
    after = subject.with_inputs(changed).run()
    if not axis.output:
        return differences(after, output, tuple(range(output.dim())))
    return differences(after, _permuted(output, axis.output, order), axis.output)


def _others(subject: Subject, tokens: set[str]) -> bool:
    """Tell whether tensors are given besides the tokens."""
    return any(isinstance(v, (torch.Tensor, tuple, list)) for n, v in subject.inputs.items() if n not in tokens)


def _alike(subject: Subject, axis: Axis, order: torch.Tensor, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Masks and positions: what is given of each token, or of each pair of them, permuted as the tokens are."""

    def permuted(value: Any, least: int) -> Any:
        if type(value) in (tuple, list):  # sines and cosines
            return type(value)(permuted(each, 1) for each in value)
        if not isinstance(value, torch.Tensor) or value.is_complex():
            return value
        dims = [dim for dim, size in enumerate(value.shape) if size == axis.length]
        sequences = 1 if axis.output == (0,) else 0
        if sizes[sequences] == axis.length and (value.dim() > 2 or not sequences):
            dims = [dim for dim in dims if dim != sequences]  # as many tokens as sequences: one of the two at a time
        for dim in dims if len(dims) >= least else ():
            value = value.index_select(dim, order.to(value.device))
        return value

    changed: dict[str, Any] = {}
    for name, value in subject.inputs.items():
        whole = type(value) in (tuple, list) or (isinstance(value, torch.Tensor) and value.dtype == torch.bool)
        if name in axis.dims or whole:
            changed[name] = permuted(value, 2 if name in axis.dims else 1)
    return {name: value for name, value in changed.items() if value is not subject.inputs[name]}


def _permuted(value: torch.Tensor, dims: tuple[int, ...], order: torch.Tensor) -> torch.Tensor:
    return flat(value, dims).index_select(dims[0], order.to(value.device)).reshape(value.shape)


def _positions(subject: Subject, seen: Seen | None, axis: Axis, tokens: set[str]) -> str:
    """Return a sign that places in the sequence, or the batch, may be meant to matter; "" where there is none."""
    if seen is None or not seen.applied:
        return "it can't be seen whether places matter: no weights were seen"
    if seen.placed:
        return f"the place of a token matters: {seen.placed[0]} runs"
    if seen.drawn:
        return f"random numbers are drawn: {seen.drawn[0]} runs"
    for each in seen.softmaxes:
        if each.masked:
            return "a mask or bias is applied to the scores"
    if axis.output and any(axis.length not in (each.queries, each.keys) for each in seen.applied):
        return "not every attention is over all tokens"
    if axis.length in seen.cuts:
        return "some tokens are treated apart from others"
    if axis.output == (0,) and any(_splits(before, after, axis.length) for before, after in seen.views):
        return "it splits the dim into parts"
    for name, value in subject.inputs.items():
        told = isinstance(value, torch.Tensor) or _POSITIONS.search(name.lower())
        if name not in tokens and value is not None and value is not False and told:
            return f"it is called with {name}"
    for part in subject.owner.modules() if subject.owner is not None else ():
        tensors = {**part._parameters, **part._buffers, **vars(part)}
        for name, value in tensors.items():
            if isinstance(value, torch.Tensor):
                if _POSITIONS.search(name.lower().strip("_")):
                    return f"it has a tensor {name}"
                if axis.length in value.shape and not isinstance(part, torch.nn.LayerNorm):
                    return f"its {name} {tuple(value.shape)} has a dim of as many as there are tokens"
    return ""


def _splits(before: tuple[int, ...], after: tuple[int, ...], size: int) -> bool:
    return bool(before) and before[0] == size and len(after) > 1 and 1 < after[0] < size and size % after[0] == 0
