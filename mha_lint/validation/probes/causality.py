"""Causality: the output at a token does not change when tokens after it do."""

from __future__ import annotations

import inspect
import re

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.masks import is_triangular
from mha_lint.validation.probes.sequence import Axis, axes, influence, mixes, rounding
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "causality"
_FLAG = re.compile(r"(is_|use_)?causal(_mask(ing)?|_attention|_attn)?")


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    output = subject.run()
    names, why = _meant(subject, seen, insist)
    tolerance = rounding(output)
    effects: dict[int, torch.Tensor] = {}
    candidates = [axis for axis in axes(subject, output, seen) if not names or names & set(axis.dims)]
    for axis in candidates:
        effects = influence(subject, _among(axis, names), output)
        if mixes(effects, tolerance):
            return _judged(effects, tolerance, why)
    if not candidates:
        raise NotApplicable("no input has a dim of tokens that the output has too")
    if not any(bool((effect > tolerance).any()) for effect in effects.values()):
        raise NotApplicable("the output doesn't depend on the tokens")
    if not insist:
        raise NotApplicable("no output at a token depends on another token")
    return Observation(NAME, "holds", "no output at a token depends on another token")


def _judged(effects: dict[int, torch.Tensor], tolerance: float, why: str) -> Observation:
    """The counterexample with the largest difference among all pairs of a token and one before it."""
    largest, at = 0.0, (0, 0)
    for place, effect in effects.items():
        for before, change in enumerate(effect[:place].tolist()):
            if change > largest:
                largest, at = change, (place, before)
    if largest <= tolerance:
        tried = f"{len(effects)} tokens were changed, one after the other; no output before them moved"
        return Observation(NAME, "holds", tried)
    change = "from a number to NaN" if largest == float("inf") else f"by {largest:.3g}"
    words = f"changing token {at[0]} changes the output at token {at[1]} {change}, though the attention is causal"
    return Observation(NAME, "violated", f"{words} ({why})" if why else words, largest)


def _among(axis: Axis, names: frozenset[str]) -> Axis:
    dims = {name: dim for name, dim in axis.dims.items() if not names or name in names}
    return Axis(dims, axis.output, axis.length)


def _meant(subject: Subject, seen: Seen | None, insist: bool) -> tuple[frozenset[str], str]:
    """The inputs in which the attention is causal (none for all of them), and what says so.

    Raises NotApplicable where nothing does.
    """
    applied = seen.applied if seen is not None else []
    causal = [each for each in applied if each.weights.scores.causal]
    if causal:
        return min((each.sources for each in causal), key=len), "it applies a triangular mask"
    if insist:
        return min((each.sources for each in applied), key=len, default=frozenset()), ""
    flag = _flag(subject)
    if not flag:
        raise NotApplicable("nothing says that it is causal: no such attribute, no triangular mask")
    if _takes_mask(subject):
        raise NotApplicable(f"{flag}, but its mask is an argument, and no causal one was given")
    inputs = [name for name, value in subject.tensors.items() if value.is_floating_point() and value.dim() > 1]
    if len(inputs) > 1 and subject.owner is not None:
        raise NotApplicable(f"{flag}, but it can't be told in which of the inputs {', '.join(inputs)}")
    return frozenset(), flag


def _flag(subject: Subject) -> str:
    """The attribute, or the tensor kept in one, that says that the attention is causal; "" for none."""
    for part in subject.owner.modules() if subject.owner is not None else ():
        for name, value in {**vars(part), **part._buffers}.items():
            if _FLAG.fullmatch(name.strip("_")) and value is True:
                return f"its attribute {name} is True"
            if isinstance(value, torch.Tensor) and is_triangular(value):
                return f"its attribute {name} is triangular"
    for name, value in subject.inputs.items():
        if _FLAG.fullmatch(name) and value is True:
            return f"it is called with {name}=True"
    return ""


def _takes_mask(subject: Subject) -> bool:
    module = subject.module
    function = module.forward if isinstance(module, torch.nn.Module) else module
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any("mask" in item.name or item.kind is item.VAR_KEYWORD for item in parameters)
