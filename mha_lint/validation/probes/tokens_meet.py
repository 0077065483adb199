"""Tokens meet: what comes out for a token depends on other tokens of the same entry.

Where tokens and heads are swapped, each token attends over its own heads, and to no other token: the influence of the
others is exactly zero, and so is it where attention runs over the batch.
"""

from __future__ import annotations

import re

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.sequence import differences, redrawn
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "tokens meet"
# Names of classes whose tokens are meant not to meet in what is attended to.
_ON_PURPOSE = re.compile(
    r"channel|xca|cross_?covariance|across_?heads|head_?mix|mix_?heads|(?<!multi)heads?(attn|attention)"
)


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if seen is None or not seen.applied:
        raise NotApplicable("no attention was seen to run")
    output = subject.run()
    known = _known(subject)
    dims = known or _sequences(subject, seen)
    length, place = _tokens(subject, output, dims)
    own = {name: dim for name, dim in dims.items() if subject.tensors[name].shape[dim] == length}
    memories = {} if known else {name: dim for name, dim in dims.items() if name not in own}
    everything = subject.with_inputs(_changed(subject, {**own, **memories}, None))
    if not float(differences(output, everything.run(), (place,)).max()):
        raise NotApplicable("the output does not depend on the tokens")
    held = sorted({0, length // 2, length - 1})
    largest = 0.0
    for token in held:
        changed = _changed(subject, own, token) | _changed(subject, memories, None)
        effect = differences(output, subject.with_inputs(changed).run(), (place,))
        largest = max(largest, float(effect[token]))
    if largest > 0.0:
        change = "from a number to NaN" if largest == float("inf") else f"by up to {largest:.3g}"
        return Observation(NAME, "holds", f"changing all other tokens changes the output at a token {change}")
    if length in seen.lengths and any(each.masked for each in seen.softmaxes):
        raise NotApplicable("a mask or bias may hide all other tokens")
    if not known and not insist:
        _ask_for_evidence(subject, seen, length)
    over = ", ".join(f"{queries} by {keys}" for queries, keys in sorted({(a.queries, a.keys) for a in seen.applied}))
    words = f"changing all other tokens changes nothing at token {', '.join(map(str, held))} of {length}"
    return Observation(NAME, "violated", f"{words}, though attention runs (its weights are {over})")


def _known(subject: Subject) -> dict[str, int]:
    """Return the dim of the tokens of each input of which it is told."""
    dims: dict[str, int] = {}
    for name, axes in subject.axes.items():
        value = subject.tensors.get(name)
        if value is not None and axes.tokens is not None and -value.dim() <= axes.tokens < value.dim():
            dims[name] = axes.tokens % value.dim()
    return dims


def _sequences(subject: Subject, seen: Seen) -> dict[str, int]:
    """Return the dim of the tokens of each input (b, t, c) or (b, h, t, d), and of each (b, t) of indices."""
    dims: dict[str, int] = {}
    for name, value in subject.tensors.items():
        is_index = not value.is_floating_point() and value.dtype != torch.bool
        if "mask" in name or (value.dim() != 2 and is_index):
            continue
        if (value.dim() == 2 and is_index) or (value.dim() == 3 and value.is_floating_point()):
            dims[name] = 1
        elif value.dim() == 4 and value.shape[2] in seen.lengths:
            dims[name] = 2
    return dims


def _tokens(subject: Subject, output: torch.Tensor, dims: dict[str, int]) -> tuple[int, int]:
    """Return how many tokens there are, and the dim of the output that has them. Raises NotApplicable without any."""
    sizes = [subject.tensors[name].shape[dim] for name, dim in dims.items()]
    for size in sizes:
        places = [dim for dim, each in enumerate(output.shape) if each == size]
        if size > 1 and len(places) == 1:
            return size, places[0]
    if sizes and max(sizes) == 1:
        raise NotApplicable("there is one token")
    raise NotApplicable("it can't be told which dim of inputs and output has the tokens")


def _changed(subject: Subject, dims: dict[str, int], held: int | None) -> dict[str, torch.Tensor]:
    """Return the inputs with all tokens changed but the one that is held."""
    changed: dict[str, torch.Tensor] = {}
    for number, (name, dim) in enumerate(dims.items()):
        value = subject.tensors[name]
        others = [token for token in range(value.shape[dim]) if token != held]
        changed[name] = redrawn(value, (dim,), others, subject.seed + 13 * number + 1)
    return changed


def _ask_for_evidence(subject: Subject, seen: Seen, length: int) -> None:
    """Raise NotApplicable unless the weights are seen to be between heads that were split off the width.

    Attention between channels sums over tokens, and is meant. Between heads, it sums over the width of a head, and
    its result is merged as that of heads is.
    """
    for part in subject.owner.modules() if subject.owner is not None else ():
        if _ON_PURPOSE.search(type(part).__name__.lower()):
            raise NotApplicable(f"its tokens may be meant not to meet: it has a part {type(part).__name__}")
    if length in seen.lengths:
        raise NotApplicable("attention is over as many as there are tokens, and nothing of it reaches the output")
    counts = _head_counts(subject)
    merged = {before[-2:] for before, after in seen.views if _merges(before, after, length)}
    for each in seen.applied:
        heads, width = each.queries, each.weights.scores.width
        if each.keys != heads or (heads, width) not in merged or heads not in counts:
            raise NotApplicable("what is attended to are no tokens: it may be channels, or the batch")


def _head_counts(subject: Subject) -> set[int]:
    """Return the numbers of heads that the module and its settings have under such a name."""
    counts: set[int] = set()
    for part in subject.owner.modules() if subject.owner is not None else ():
        settings = [value for value in vars(part).values() if hasattr(value, "__dict__") and not callable(value)]
        for name, value in [item for each in (part, *settings) for item in vars(each).items()]:
            if isinstance(value, int) and "head" in name and "dim" not in name:
                counts.add(value)
    return counts


def _merges(before: tuple[int, ...], after: tuple[int, ...], length: int) -> bool:
    """Tell whether a view makes (b, t, h·d) of (b, t, h, d)."""
    if len(before) < 3 or before[-3] != length or len(after) != len(before) - 1:
        return False
    return after[-1] in (-1, before[-2] * before[-1]) and after[-2] in (-1, length)
