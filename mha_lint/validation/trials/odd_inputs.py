"""The axes of calls at the edges of what a module takes, and the inputs with odd values and storage that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mha_lint.validation.search.vocabulary import input_kind
from mha_lint.validation.trials import drawing, trial

Row = Mapping[str, str]  # the level of each axis

ALL_ONE = "b = t = s = 1"  # gradients of a softmax over one key cancel, and what is left of large ones is noise
_LARGE, _TINY = 1e4, 1e-5
WEIGHTS = {"large weights": _LARGE, "larger weights in float64": 16.0}  # by what parameters are multiplied
_WIDE_VALUES = ("spike in float64", "larger weights in float64")
PLAIN = {"sizes": "as found", "values": "drawn", "storage": "plain", "dtype": "float32", "mode": "eval"}
NOT_FINITE = ("nan", "inf")  # values of one element
MASKS = ("masks of zeros", "masks of ones", "masks of zeros and ones")
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def conditions_of(row: Row) -> drawing.Conditions:
    """The dtype and the mode of the call, on CPU."""
    dtype = torch.float64 if row["values"] in _WIDE_VALUES else _HALF.get(row["dtype"], torch.float32)
    return drawing.Conditions("cpu", dtype, row["mode"] == "train", seed=5000)


def way_of(row: Row) -> trial.Way:
    """Gradients are compared in train mode, where they are no differences of huge numbers, and with odd masks."""
    weight = _LARGE if row["values"] == "drawn" and row["sizes"] != ALL_ONE else 1.0
    is_learning = row["values"] in MASKS or (row["mode"] == "train" and row["values"] in ("drawn", "zeros", "ones"))
    return trial.Way(backward=is_learning, weight=weight)


def in_words(row: Row) -> str:
    """The sizes of the call, and all else in it that is odd."""
    odd = [row["sizes"], *(row[name] for name in ("values", "storage", "dtype") if row[name] != PLAIN[name])]
    return f"with inputs ({', '.join(odd)})"


class Valued:
    """Gives the float inputs their values; NaN and infinity come in the first of them alone."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_first = True

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        is_first, self.is_first = self.is_first, False
        match self.kind:
            case "zeros":
                return value * 0
            case "ones":
                return value * 0 + 1
            case "tiny":
                return value * _TINY
            case "large":
                return value * _LARGE
            case "spike" | "spike in float64" if value.dim() >= 2 and value.shape[-2] > 1:
                factors = torch.ones(value.shape[-2], 1, dtype=value.dtype, device=value.device)
                factors[-1] = _LARGE
                return value * factors
            case "nan" | "inf" if is_first and value.numel():
                changed = value.clone()
                changed[(0,) * value.dim()] = float(self.kind)
                return changed
        return value


def masks_of(inputs: drawing.Inputs) -> tuple[str, ...]:
    """The names of the tensors that are masks: those of booleans, and those that are called so."""
    return tuple(
        name
        for name, value in inputs.arguments.items()
        if isinstance(value, torch.Tensor) and (value.dtype == torch.bool or input_kind(name) == "mask")
    )


def masked(inputs: drawing.Inputs, kind: str) -> drawing.Inputs:
    """The inputs with other masks: nothing but zeros, nothing but ones, or both in each row."""
    changed = {name: _mask(inputs.arguments[name], kind) for name in masks_of(inputs)}
    return drawing.Inputs({**inputs.arguments, **changed}, inputs.leaves, inputs.shapes)


def _mask(value: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "masks of zeros":
        return torch.zeros_like(value)
    if kind == "masks of ones":
        return torch.ones_like(value)
    places = torch.arange(value.numel(), device=value.device).view(value.shape)
    return (places % 3 != 0).to(value.dtype)


def stored(value: torch.Tensor, storage: str) -> torch.Tensor:
    """The same values, lying otherwise in memory; ``expanded`` repeats the first along the second dim."""
    if not value.dim():
        return value
    match storage:
        case "offset":
            larger = value.new_zeros(len(value) + 1, *value.shape[1:])
            larger[1:] = value
            return larger[1:]
        case "strided":
            larger = value.new_zeros(*value.shape[:-1], value.shape[-1] + 2)
            larger[..., 1:-1] = value
            return larger[..., 1:-1]
        case "expanded" if value.dim() >= 3 and value.shape[1] > 1:
            return value[:, :1].expand_as(value)
        case "expanded" if value.dim() == 2 and value.shape[0] > 1:
            return value[:1].expand_as(value)
        case "channels last" if value.dim() == 4:
            return value.contiguous(memory_format=torch.channels_last)
    return value


def one_for_all(inputs: drawing.Inputs) -> drawing.Inputs:
    """The inputs, with one and the same tensor for all of one shape and dtype, as self-attention is called."""
    first: dict[Any, torch.Tensor] = {}
    shared = {
        name: first.setdefault((value.shape, value.dtype), value)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for name, value in inputs.arguments.items()
    }
    return drawing.Inputs(shared, inputs.leaves, inputs.shapes)
