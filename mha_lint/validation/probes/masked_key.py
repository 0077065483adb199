"""Masked key: a key that is masked gets no weight, and has no influence on the results at other tokens.

Weights show what the code itself masks; a mask that is an input, and padding, are shown by hiding a key.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from mha_lint.observation import Observation
from mha_lint.validation.probes import hidden_keys
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "masked key"


class _Watch(TorchFunctionMode):
    """Follows which scores were filled where a mask says so, up to the softmax.

    Unless all fills are followed, one with zero, which may be no mask, is not. Where they are, a fix says that a fill
    must mask: the scores themselves count as masked, and not their filled copy alone.
    """

    def __init__(self, every: bool) -> None:
        super().__init__()
        self._every = every
        self.filled: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id: the scores (kept alive), and where
        self.weights: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").rstrip("_")  # in place as well
        if name == "__setitem" and len(args) == 3 and _is_boolean(args[1]) and not isinstance(args[2], torch.Tensor):
            out, name = args[0], "masked_fill"
            self._note(name, args, {}, out)
            return None
        if isinstance(out, torch.Tensor) and out.is_floating_point():
            self._note(name, args, kwargs or {}, out)
        return out

    def _note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: torch.Tensor) -> None:
        values = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        known = [self.filled[id(value)][1] for value in values if id(value) in self.filled]
        known = [where for where in known if where.shape == out.shape]
        if name == "masked_fill":
            mask = args[1] if len(args) > 1 else kwargs.get("mask")
            value = args[2] if len(args) > 2 else kwargs.get("value")
            is_below = isinstance(value, torch.Tensor) or (isinstance(value, (int, float)) and value < 0)
            if isinstance(mask, torch.Tensor) and _is_boolean(mask) and (self._every or is_below):
                filled = out == torch.as_tensor(value, dtype=out.dtype, device=out.device)
                known.append(mask.expand(out.shape) & filled)  # the call may have been read in another way
                if self._every:
                    self.filled[id(args[0])] = args[0], mask.expand(out.shape)
        if not known:
            return
        where = torch.stack(known).any(0)
        if name == "softmax":
            self.weights.append((out.detach().clone(), where))
        else:
            self.filled[id(out)] = out, where


def _is_boolean(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bool


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    looked_at, worst = _weights(subject, every=insist)
    if worst is not None:
        value, place = worst
        query = f"query {place[-2]}" if len(place) > 1 else "the query"
        words = f"{query} gives a weight of {value:.3g} to key {place[-1]}, which is masked"
        return Observation(NAME, "violated", words, value)
    hidden = hidden_keys.judged(subject, seen, insist=insist)
    leaks = [each for each in hidden if each.leaks]
    if leaks:
        return Observation(NAME, "violated", leaks[0].words, leaks[0].influence)
    told = [f"each of {looked_at} masked keys has no weight"] if looked_at else []
    told += [each.words for each in hidden]
    if not told:
        raise NotApplicable("no score is masked, and no mask that is an input is seen to meet scores")
    return Observation(NAME, "holds", "; ".join(told))


def _weights(subject: Subject, *, every: bool) -> tuple[int, tuple[float, tuple[int, ...]] | None]:
    """Return how many masked keys were looked at, and the largest weight that one has with its place, if any has.

    Rows all of whose keys are masked have nothing else to attend to.
    """
    watch = _Watch(every)
    with watch:
        subject.run()
    looked_at = 0
    worst: tuple[float, tuple[int, ...]] | None = None
    for weights, where in watch.weights:
        hidden = where & ~where.all(-1, keepdim=True)
        looked_at += int(hidden.sum())
        given = torch.where(hidden, weights, torch.zeros_like(weights)).nan_to_num()
        largest = float(given.max()) if given.numel() else 0.0
        if largest > torch.finfo(weights.dtype).eps and (worst is None or largest > worst[0]):
            worst = largest, _place(int(given.argmax()), tuple(given.shape))
    return looked_at, worst


def _place(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The indices of an element, of which only its number in order is known."""
    indices: list[int] = []
    for size in reversed(shape):
        flat, index = divmod(flat, size)
        indices.append(index)
    return tuple(reversed(indices))
