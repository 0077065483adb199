"""Follow the numbers by which queries, keys and scores are multiplied, one after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from mha_lint.validation.probes.facts import Fact, Factor

_CLOSE = 0.02  # relative


def factor_of(func: Any, name: str, args: tuple[Any, ...], other: Fact) -> Factor | None:
    """Return the number that an operation multiplies by; None where it is no multiplication by a constant.

    ``other`` is what is known of a second operand that is a tensor. torch's own attention multiplies queries and keys
    each by the root of its scale, in an overload of its own that Python code does not come by.
    """
    if name not in ("mul", "div") or len(args) < 2:
        return None
    value = args[1]
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex() or other.learned or other.sources:
            return None
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value == 0:
        return None
    return Factor(float(value) if name == "mul" else 1 / value, is_fused=func._overloadname == "Scalar")


def of_product(left: Sequence[Factor], right: Sequence[Factor], alpha: float) -> tuple[Factor, ...]:
    """Return the factors of a product: what torch's own attention multiplied both sides by is one of them."""
    own = [factor for factor in (*left, *right) if not factor.is_fused]
    fused = [factor.value for factor in (*left, *right) if factor.is_fused]
    if fused:
        own.append(Factor(math.prod(fused)))
    if alpha != 1:
        own.append(Factor(float(alpha)))
    return tuple(own)


def is_scaled_twice(factors: Sequence[Factor], width: int) -> bool:
    """Tell whether two of the factors are each the root of one over the width."""
    root = width**-0.5
    return sum(abs(factor.value - root) <= _CLOSE * root for factor in factors) > 1
