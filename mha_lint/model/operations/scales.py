"""These rules set the scale of an operation's result, once its shape function has told what the scale was before."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model.factors import Factor
from mha_lint.model.run import Call
from mha_lint.model.values import Tensor, as_factor


def kept(call: Call, result: Tensor) -> Tensor:
    """The scale is what the shape function says."""
    return result


def lost(call: Call, result: Tensor) -> Tensor:
    """The numbers are others: nothing is known of their scale."""
    return replace(result, scale=None)


def unsure(call: Call, result: Tensor) -> Tensor:
    """Nearly all numbers stay what they are."""
    return replace(result, scale=None if result.scale is None else result.scale.unsure)


def cast(call: Call, result: Tensor) -> Tensor:
    """The numbers are the same. Code that casts queries or keys to float32 expects large scores."""
    return unsure(call, result) if result.scale is not None and result.scale.product is None else result


def times(call: Call, result: Tensor) -> Tensor:
    if len(call.args) < 2:
        return result
    first, second = call.args[:2]
    return scaled_by(call, result, as_factor(second if isinstance(first, Tensor) else first))


def over(call: Call, result: Tensor) -> Tensor:
    if len(call.args) < 2:
        return result
    factor = as_factor(call.args[1])
    return scaled_by(call, result, None if factor is None else factor.power(-1.0))


def by_alpha(call: Call, result: Tensor) -> Tensor:
    """``torch.baddbmm(bias, q, k, alpha=scale)``."""
    alpha = call.keywords.get("alpha")
    return result if alpha is None else scaled_by(call, result, as_factor(alpha))


def scaled_by(call: Call, result: Tensor, factor: Factor | None) -> Tensor:
    """The product with a number; with a tensor, or what is not known, no scale is known either."""
    if result.scale is None:
        return result
    known = None if factor is None else factor.substitute(call.state.definitions)
    return replace(result, scale=result.scale.by(known, call.node))
