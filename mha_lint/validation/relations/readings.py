"""Define what a call at a flagged statement may mean instead: the readings an oracle of *corrected* chooses from.

A reading is put in at run time, in the place of the call, and no text of a fixer takes part in it.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

Change = tuple[Any, ...]  # the name of a reading, and what it is told

_MASKING = -1e3  # what is added to scores to mask them is below this
_FEW = 4  # dims of which all orders are tried; of more, those that move three at most


class Call(Struct, frozen=True):
    """A call of a function of torch; ``training`` is the mode of the module around it, None where there is none."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    named: Mapping[str, Any]
    training: bool | None

    @property
    def name(self) -> str:
        return str(getattr(self.func, "__name__", ""))

    def run(self) -> Any:
        """The result; of an assignment, which has none, what was assigned to."""
        result = self.func(*self.args, **self.named)
        return self.args[0] if self.name == "__setitem__" else result

    def argument(self, place: int, *names: str) -> Any:
        """The argument at a place, or of one of these names; None where it is not given."""
        for name in names:
            if name in self.named:
                return self.named[name]
        return self.args[place] if place < len(self.args) else None

    def giving(self, value: Any, place: int, *names: str) -> Call:
        """The call with another value for that argument."""
        given = next((name for name in names if name in self.named), None)
        if given is None and place < len(self.args):
            return replace(self, args=(*self.args[:place], value, *self.args[place + 1 :]))
        return replace(self, named={**self.named, given or names[0]: value})


class Reading(Struct, frozen=True):
    """One kind of operation, the probes that ask for it, and what its calls may mean instead.

    ``ranks`` tell calls of one statement apart; ``read`` computes what one of the ``changes`` means, or None where it
    does not apply to this call. ``alone`` is for calls that are statements of their own, which have no other reading.
    """

    name: str
    probes: frozenset[str]
    functions: frozenset[str]
    ranks: Callable[[Call], tuple[int, ...]]
    changes: Callable[[Call], Iterator[Change]]
    read: Callable[[Call, Change], Any]
    alone: bool = False


def _rank(call: Call) -> tuple[int, ...]:
    return (call.args[0].dim(),) if call.args and isinstance(call.args[0], torch.Tensor) else ()


# --- the softmax, over another dim


def _other_dims(call: Call) -> Iterator[Change]:
    rank, dim = call.args[0].dim(), call.argument(1, "dim", "axis")
    for other in range(rank):
        if dim is None or other != dim % rank:
            yield ("over dim", other - rank)


def _over_dim(call: Call, change: Change) -> Any:
    return call.giving(change[1], 1, "dim").run()


# --- dropout, off in eval mode


def _as_in_eval(call: Call) -> Iterator[Change]:
    yield ("no dropout in eval mode",)


def _without_dropout(call: Call, change: Change) -> Any:
    if call.training:
        return call.run()
    if call.name == "scaled_dot_product_attention":
        return call.giving(0.0, 4, "dropout_p").run()
    if call.name == "multi_head_attention_forward":
        return _bound(call, training=False)
    if call.name == "dropout_":
        return call.args[0]
    return call.giving(False, 2, "train" if call.func is torch.dropout else "training").run()


def _bound(call: Call, **changed: Any) -> Any:
    """Run a function that is written in Python with some of its arguments changed, by name."""
    arguments = inspect.signature(call.func).bind(*call.args, **call.named).arguments
    return call.func(**{**arguments, **changed})


# --- masks: inverted, boolean, or of another value


def _masks(call: Call) -> dict[str, Any]:
    """The masks of a call, by the name of the argument."""
    match call.name:
        case "scaled_dot_product_attention":
            return {"attn_mask": call.argument(3, "attn_mask")}
        case "multi_head_attention_forward":
            given = inspect.signature(call.func).bind(*call.args, **call.named).arguments
            return {name: given.get(name) for name in ("attn_mask", "key_padding_mask")}
        case "masked_fill" | "masked_fill_":
            return {"mask": call.argument(1, "mask")}
        case "__setitem__":
            return {"indices": call.args[1]} if _sets_by_mask(call) else {}
        case "where":
            return {"condition": call.argument(0, "condition")} if len(call.args) == 3 else {}
    return {}


def _mask_changes(call: Call) -> Iterator[Change]:
    for name, mask in _masks(call).items():
        if isinstance(mask, torch.Tensor):
            if mask.dtype == torch.bool or bool((mask <= _MASKING).any()):
                yield ("mask inverted", name)
            if mask.dtype != torch.bool:
                yield ("mask made boolean", name)
                yield ("mask made boolean and inverted", name)
    fills = call.name in ("masked_fill", "masked_fill_", "where") or _added_mask(call) is not None
    fills |= _sets_by_mask(call)
    if fills or _weighed_mask(call) is not None:
        yield ("masked with the least number",)
    if fills:
        yield ("masked with minus infinity",)
    if _added_mask(call) is not None:
        yield ("mask inverted", "added")


def _masked(call: Call, change: Change) -> Any:
    if change[0].startswith("masked with"):
        return _with_value(call, lowest=change[0].endswith("number"))
    if change[1] == "added":
        added = _added_mask(call)
        return None if added is None else added[1] + torch.where(added[0] == 0, _low(added[1], lowest=False), 0.0)
    mask = _masks(call).get(change[1])
    if not isinstance(mask, torch.Tensor):
        return None
    other = _changed_mask(mask, change[0])
    if call.name == "multi_head_attention_forward":
        return _bound(call, **{change[1]: other})
    place = {"attn_mask": 3, "mask": 1, "indices": 1, "condition": 0}[change[1]]
    return call.giving(other, place, change[1]).run()


def _sets_by_mask(call: Call) -> bool:
    """Tell whether it is ``scores[mask] = value``."""
    is_set = call.name == "__setitem__" and isinstance(call.args[1], torch.Tensor)
    return is_set and call.args[1].dtype == torch.bool


def _changed_mask(mask: torch.Tensor, change: str) -> torch.Tensor:
    if change == "mask made boolean":
        return mask != 0
    if change == "mask made boolean and inverted":
        return mask == 0
    if mask.dtype == torch.bool:
        return ~mask
    return torch.where(mask == 0, _low(mask, lowest=False), 0.0).to(mask.dtype)


def _low(like: torch.Tensor, *, lowest: bool) -> torch.Tensor:
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    return torch.tensor(torch.finfo(dtype).min if lowest else float("-inf"), dtype=dtype, device=like.device)


def _with_value(call: Call, *, lowest: bool) -> Any:
    """Fill with the least number, or with minus infinity, what the call fills with another."""
    if call.name in ("masked_fill", "masked_fill_", "__setitem__"):
        return call.giving(float(_low(call.args[0], lowest=lowest)), 2, "value").run()
    if call.name == "where" and len(call.args) == 3:
        places = [place for place in (1, 2) if _is_constant(call.args[place])]
        others = [value for value in call.args[1:] if isinstance(value, torch.Tensor)]
        if len(places) != 1 or not others:
            return None
        return call.giving(_low(others[-1], lowest=lowest), places[0], "other").run()
    if call.name == "mul":
        weighed = _weighed_mask(call)
        return None if weighed is None else torch.where(weighed != 0, _low(weighed, lowest=True), 0.0)
    added = _added_mask(call)
    return None if added is None else added[1] + torch.where(added[0] != 0, _low(added[1], lowest=lowest), 0.0)


def _added_mask(call: Call) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The mask that is added to scores, negative where it masks, and the scores; None where there is none."""
    if call.name not in ("add", "sub", "add_", "sub_", "iadd") or len(call.args) < 2:
        return None
    one, other = call.args[:2]
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return None
    other = -other if call.name.startswith("sub") else other
    pairs = [(other, one)] if call.name != "add" else [(other, one), (one, other)]
    for mask, scores in pairs:
        if not mask.requires_grad and mask.is_floating_point() and _is_switch(mask) and mask.shape != ():
            return mask, scores
    return None


def _weighed_mask(call: Call) -> torch.Tensor | None:
    """The mask that is multiplied by a negative number, to be added to scores; None where there is none."""
    if call.name != "mul" or not any(isinstance(value, float) and value < 0 for value in call.args):
        return None
    return next((value for value in call.args if isinstance(value, torch.Tensor) and _is_switch(value)), None)


def _is_switch(value: torch.Tensor) -> bool:
    """It has one value other than zero at most."""
    if value.requires_grad or not value.numel():
        return False
    other = value[value != 0]
    return not other.numel() or bool((other == other.flatten()[0]).all())


def _is_constant(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.requires_grad and bool((value == value.flatten()[0]).all()) if value.numel() else False
    return isinstance(value, (int, float))


# --- masks of zeros and ones that are added to scores: meant to fill them


def _number_changes(call: Call) -> Iterator[Change]:
    if _added_numbers(call) is not None:
        yield ("filled where the mask is one",)
        yield ("filled where the mask is zero",)


def _number_filled(call: Call, change: Change) -> Any:
    found = _added_numbers(call)
    if found is None:
        return None
    mask, scores = found
    where = mask != 0 if change[0].endswith("one") else mask == 0
    return torch.where(where, _low(scores, lowest=True), scores)


def _added_numbers(call: Call) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The mask of zeros and ones that a sum adds, and what it adds it to; None where it adds none."""
    if len(call.args) < 2:
        return None
    for mask, scores in (call.args[:2], call.args[1::-1]):
        both = isinstance(mask, torch.Tensor) and isinstance(scores, torch.Tensor)
        if not both or not scores.is_floating_point() or mask.numel() >= scores.numel():
            continue
        if mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all()):
            return mask, scores
    return None


# --- results that nobody takes: kept by the tensor that they were meant for


def _receivers(call: Call) -> Iterator[Change]:
    """The tensors among the arguments that could hold the result."""
    out = call.run()
    for place, value in enumerate(call.args):
        if not isinstance(value, torch.Tensor) or not isinstance(out, torch.Tensor):
            continue
        if value.shape == out.shape and value.dtype == out.dtype and not (value.is_leaf and value.requires_grad):
            yield ("its result kept", place)


def _kept_result(call: Call, change: Change) -> Any:
    """The result, which the tensor holds from now on: no gradient needs what it held before."""
    result, receiver = call.run(), call.args[change[1]]
    receiver.copy_(result)
    return result


# --- masks of padding: along the keys, not the queries


def _columns(call: Call) -> Iterator[Change]:
    out = call.run()
    if isinstance(out, torch.Tensor) and out.dim() > 1 and out.shape[-1] == 1 and not out.requires_grad:
        yield ("mask laid along the keys",)


def _turned(call: Call, change: Change) -> Any:
    return call.run().transpose(-1, -2)


# --- views: dims transposed before they are merged, or after they were split


def _view_ranks(call: Call) -> tuple[int, ...]:
    """The ranks, and whether the first dim is taken apart or put together with others."""
    value, out = call.args[0], call.run()
    if not isinstance(out, torch.Tensor) or not value.dim() or not out.dim():
        return ()
    return value.dim(), out.dim(), (value.shape[0] > out.shape[0]) - (value.shape[0] < out.shape[0])


def _orders(rank: int) -> Iterator[tuple[int, ...]]:
    for order in itertools.permutations(range(rank)):
        moved = sum(place != dim for place, dim in enumerate(order))
        if moved and (rank <= _FEW or moved <= 3):
            yield order


def moved(change: Change) -> int:
    """The dims that a reading of a view moves; 0 for other readings."""
    order = change[-1] if isinstance(change[-1], tuple) else ()
    return sum(place != dim for place, dim in enumerate(order))


def _view_changes(call: Call) -> Iterator[Change]:
    value, out = call.args[0], call.run()
    if not isinstance(value, torch.Tensor) or not isinstance(out, torch.Tensor) or not value.dim() or not out.dim():
        return
    if value.dim() >= out.dim():
        yield from (("dims moved before", order) for order in _orders(value.dim()))
    if value.dim() <= out.dim():
        yield from (("dims moved after", order) for order in _orders(out.dim()))
    for name, folded, other in (("unfolded before", value, out), ("unfolded after", out, value)):
        if folded.dim() == 3 and folded.shape[0] > other.shape[0]:
            yield from ((name, outer, order) for outer in (True, False) for order in _orders(4))


def _viewed(call: Call, change: Change) -> Any:
    value, out = call.args[0], call.run()
    order = change[-1]
    match change[0]:
        case "dims moved before":
            return value.permute(order).reshape(out.shape) if value.dim() == len(order) else None
        case "dims moved after":
            return _split(value, out.shape, order) if out.dim() == len(order) else None
        case "unfolded before":
            shape = _unfolded(value.shape, out.shape[0], outer=change[1])
            return None if shape is None else value.reshape(shape).permute(order).reshape(out.shape)
        case _:
            shape = _unfolded(out.shape, value.shape[0], outer=change[1])
            return None if shape is None else _split(value, shape, order).reshape(out.shape)


def _split(value: torch.Tensor, shape: Sequence[int], order: tuple[int, ...]) -> torch.Tensor:
    """Split the value in the order in which its elements lie, then bring the dims to their places in ``shape``."""
    return value.reshape([shape[dim] for dim in order]).permute([order.index(place) for place in range(len(order))])


def _unfolded(shape: Sequence[int], size: int, *, outer: bool) -> list[int] | None:
    """The shape with its first dim taken apart into one of ``size`` and the rest; None where it is no multiple."""
    if not size or shape[0] % size:
        return None
    parts = [size, shape[0] // size]
    return [*(parts if outer else parts[::-1]), *shape[1:]]


# --- repeated rows: the whole again and again, or each row


def _repeat_changes(call: Call) -> Iterator[Change]:
    if _repeated(call) is not None:
        yield ("repeated the other way",)


def _repeated(call: Call) -> tuple[int, int] | None:
    """The number of times that a call repeats, and the only dim along which it does; None where there are several."""
    if not call.args or not isinstance(call.args[0], torch.Tensor):
        return None
    if call.name == "repeat_interleave":
        times, dim = call.argument(1, "repeats"), call.argument(2, "dim")
        return (times, dim % call.args[0].dim()) if isinstance(times, int) and isinstance(dim, int) else None
    written = call.args[1:] or tuple(call.named.values())
    counts = list(written[0]) if len(written) == 1 and isinstance(written[0], (tuple, list)) else list(written)
    more = [(int(times), dim) for dim, times in enumerate(counts) if times != 1]
    return more[0] if len(more) == 1 and len(counts) == call.args[0].dim() else None


def _repeated_otherwise(call: Call, change: Change) -> Any:
    found = _repeated(call)
    if found is None:
        return None
    times, dim = found
    value = call.args[0]
    if call.name != "repeat_interleave":
        return value.repeat_interleave(times, dim)
    return value.repeat(*(times if place == dim else 1 for place in range(value.dim())))


_OF_MASKS = frozenset({"causality", "masked key"})
_OF_ORDER = frozenset({"causality", "permutation equivariance", "equal tokens", "equal values"})
_VIEWS = frozenset({"view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "_unsafe_view"})
_MASKS = frozenset(
    {"scaled_dot_product_attention", "multi_head_attention_forward", "masked_fill", "masked_fill_", "where", "add"}
    | {"__setitem__", "sub", "add_", "sub_", "mul"}
)
_KEEPABLE = frozenset(
    "masked_fill masked_scatter where add sub mul div neg softmax log_softmax transpose permute swapaxes"
    " clamp clip exp log sqrt tanh sigmoid relu to float half bfloat16 double type_as".split()
)
_OF_RESULTS = _OF_MASKS | {
    "tokens meet",
    "unit score variance",
    "constant value",
    "batch independence",
    "permutation equivariance",
}
_LAYING_OUT = frozenset({"unsqueeze", "__getitem__"})
_DROPOUTS = frozenset(
    {"dropout", "dropout_", "alpha_dropout", "feature_dropout", "dropout1d", "dropout2d", "dropout3d"}
    | {"scaled_dot_product_attention", "multi_head_attention_forward"}
)
READINGS: tuple[Reading, ...] = (
    Reading("dropout", frozenset({"eval determinism"}), _DROPOUTS, lambda call: (), _as_in_eval, _without_dropout),
    Reading("softmax", frozenset({"constant value"}), frozenset({"softmax", "log_softmax"}), _rank, _other_dims,
            _over_dim),
    Reading("mask", _OF_MASKS, _MASKS, _rank, _mask_changes, _masked),
    Reading("sum", _OF_MASKS, frozenset({"add", "add_", "iadd"}), _rank, _number_changes, _number_filled),
    Reading("result", _OF_RESULTS, _KEEPABLE, _rank, _receivers, _kept_result, alone=True),
    Reading("padding", frozenset({"masked key"}), _LAYING_OUT, _rank, _columns, _turned),
    Reading("repeat", frozenset({"batch independence"}), frozenset({"repeat", "tile", "repeat_interleave"}), _rank,
            _repeat_changes, _repeated_otherwise),
    Reading("view", _OF_ORDER, _VIEWS, _view_ranks, _view_changes, _viewed),
)  # fmt: skip
