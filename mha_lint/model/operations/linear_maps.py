"""Learned maps of the last dimension."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model import folds
from mha_lint.model.operations.open import leading
from mha_lint.model.run import Call, normal
from mha_lint.model.scale import Scale
from mha_lint.model.sizes import Size, equate
from mha_lint.model.values import NOTHING, Tensor, Value, fresh


def mapped_roles(roles: frozenset[str]) -> frozenset[str]:
    """Roles after a learned linear map."""
    if roles & {"merged", "context", "projected"}:
        return frozenset({"projection", "projected"})
    return frozenset({"projection"})


def of_weight(call: Call) -> Value:
    tensor, weight = call.tensor(0, "input"), call.tensor(1, "weight")
    if tensor is None:
        return NOTHING
    width = weight.shape[0] if weight is not None and weight.shape is not None and len(weight.shape) == 2 else None
    return linear(call, tensor, None, width)


def linear(call: Call, tensor: Tensor, width_in: Size | None, width_out: Size | None) -> Tensor:
    """A learned map of the last dimension (..., c) -> (..., e); the result is newly allocated."""
    roles = mapped_roles(tensor.roles)
    width_out = width_out if width_out is not None else call.fresh_size("width")
    scale = Scale(maps=frozenset({width_out, width_in or tensor.last or width_out}))
    if tensor.shape is None:
        lead = tensor.lead if tensor.suffix else leading(tensor)
        suffix = (*tensor.suffix[:-1], width_out)
        call.interpreter.axes.alike_to(call.interpreter.key(call.node), tensor)
        return Tensor(
            contiguous=True,
            suffix=suffix,
            lead=lead,
            key=call.interpreter.key(call.node),
            roles=roles,
            inputs=tensor.inputs,
            scale=scale,
        )
    if width_in is not None:
        equate(tensor.shape[-1], width_in, call.state.definitions)
    shape = (*tensor.shape[:-1], width_out)
    there = folds.but(tensor.folds, -1) if tensor.folds else ()
    result = fresh(shape, roles=roles, inputs=tensor.inputs, scale=scale, folds=there)
    return normal(mixed(tensor, result) if width_in == width_out else result, call.state)


def mixed(before: Tensor, after: Tensor) -> Tensor:
    """Scores or weights that a map from one dim to as many mixes, as talking heads do: they still are such."""
    about = before.roles & {"scores", "weights"}
    return replace(after, roles=about, masked=before.masked, scale=None) if about else after
