"""Permutation equivariance: with no mask and no positions, permuted tokens give the output permuted alike."""

from __future__ import annotations

import re

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.sequence import Axis, axes, differences, rounding
from mha_lint.validation.probes.subject import NotApplicable, Subject
from mha_lint.validation.probes.trace import Seen

NAME = "permutation equivariance"
_SLACK = 8  # a permuted sum rounds otherwise, in every layer
_POSITIONS = re.compile(
    r"(?<![a-z])(pos|position|positions|positional|rel|relative|rope|rotary|alibi|mask|masks|causal|freqs?|freqs_cis|"
    r"inv_freq|sin|cos|conv|dwconv|bias_table|pos_?embed\w*|pe|grid|window\w*|shift\w*|order|h|w|height|width|"
    r"n_?tokens|cls_token|hw_?shapes?|num_frames|x_?size|spatial\w*)(?![a-z])"
)


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    output = subject.run()
    if not bool(torch.isfinite(output).any()):
        raise NotApplicable("the output is not finite")
    found = axes(subject, output, seen)
    if not found:
        raise NotApplicable("no input has a dim of tokens that the output has too")
    tolerance = _SLACK * rounding(output)
    worst: tuple[float, int, Axis] | None = None
    for axis in found[:1] if output.dim() != 3 else found:
        difference = _difference(subject, axis, output)
        largest = float(difference.max())
        if largest > tolerance and (worst is None or largest > worst[0]):
            worst = largest, int(difference.argmax()), axis
    if worst is None:
        return Observation(NAME, "holds", f"{found[0].length} tokens were permuted")
    if not insist and (why := _positions(subject, seen, worst[2])):
        raise NotApplicable(why)
    words = (
        f"permuting the {worst[2].length} tokens does more than permute the output: "
        f"it differs by {worst[0]:.3g} at token {worst[1]}, though there are no positions and no mask"
    )
    return Observation(NAME, "violated", words, worst[0])


def _difference(subject: Subject, axis: Axis, output: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(subject.seed + 3)
    order = torch.randperm(axis.length, generator=generator)
    if bool((order == torch.arange(axis.length)).all()):
        order = order.flip(0)
    changed = {
        name: subject.tensors[name].index_select(dim, order.to(subject.tensors[name].device))
        for name, dim in axis.dims.items()
    }
    after = subject.with_inputs(changed).run()
    return differences(after, output.index_select(axis.output, order.to(output.device)), axis.output)


def _positions(subject: Subject, seen: Seen | None, axis: Axis) -> str:
    """What says that places in the sequence, or the batch, are meant to matter; "" where nothing does."""
    if seen is None or not seen.applied:
        return "it can't be seen whether places matter: no weights were seen"
    if seen.placed:
        return f"the place of a token matters: {seen.placed[0]} runs"
    if seen.drawn:
        return f"random numbers are drawn: {seen.drawn[0]} runs"
    for each in seen.softmaxes:
        if each.masked:
            return "a mask or bias is applied to the scores"
    if any(axis.length not in (each.queries, each.keys) for each in seen.applied):
        return "not every attention is over all tokens"
    if axis.length in seen.cuts:
        return "some tokens are treated apart from others"
    if axis.output == 0 and any(_splits(before, after, axis.length) for before, after in seen.views):
        return "it splits the dim into parts"
    for name in subject.inputs:
        if name not in axis.dims and (
            _POSITIONS.search(name.lower()) or isinstance(subject.inputs[name], torch.Tensor)
        ):
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
