"""Masks and positions that are made of nothing but numbers and sizes."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from mha_lint.model.marks import LOWEST, ZERO, Mask, Positions, constant
from mha_lint.model.masks import Known, number_of, second
from mha_lint.model.run import Call
from mha_lint.model.sizes import Size
from mha_lint.model.values import Const, Qualified, Sequence, Tensor, Value, as_int, as_size

Rule = Callable[[Call], Known]


def positions(call: Call) -> Known:
    """``torch.arange(n)``."""
    start = as_int(call.args[0]) if len(call.args) == 2 else 0
    if start not in (0, None) or len(call.args) > 2:
        return None
    if start is None or not call.args or call.keywords.keys() & {"start", "end", "step", "**"}:
        return Positions()  # it may begin as far along as a cache is long
    size = as_size(call.args[-1])
    return Positions(count=None if size is None else call.state.normal(size), rank=1)


def made(number: float) -> Rule:
    """``torch.ones(t, s)``, on its own or as a method: the same number everywhere."""
    return lambda call: _full(call, number, _is_of_a_tensor(call))


def made_like(number: float) -> Rule:
    """``torch.ones_like(x)``, ``x.new_ones(t, s)``."""
    return lambda call: _full(call, number, True)


def made_full(call: Call) -> Known:
    """``torch.full((t, s), value)``."""
    return _full(call, None, _is_of_a_tensor(call))


def made_full_like(call: Call) -> Known:
    """``x.new_full((t, s), value)``."""
    return _full(call, None, True)


def made_as_full(call: Call) -> Known:
    """``torch.full_like(x, value)``."""
    fill = number_of(second(call, "fill_value"), call.interpreter)
    return None if fill is None else constant(*fill)


def made_causal(call: Call) -> Known:
    """``nn.Transformer.generate_square_subsequent_mask(t)``: minus infinity over the future, and 0 elsewhere."""
    size = as_size(call.args[0] if call.args else call.keywords.get("sz"))
    if size is None:
        return None
    normal = call.state.normal(size)
    return Mask(ZERO, LOWEST, False, 0, (normal, normal), grid=(normal, normal))


def _is_of_a_tensor(call: Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], Tensor)


def _full(call: Call, number: float | None, of_a_tensor: bool) -> Mask | None:
    """One number everywhere: ``number``, or else that which the call names."""
    sizes = call.args[1:] if of_a_tensor else call.args
    if "size" in call.keywords:
        sizes = (call.keywords["size"], *sizes)
    kind = call.keywords.get("dtype")
    boolean = kind == Qualified("torch.bool")
    if number is None:
        value = sizes[1] if len(sizes) > 1 else call.keywords.get("fill_value")
        fill = number_of(value, call.interpreter)
        if fill is None:
            return None
        (number,) = fill
        sizes, boolean = sizes[:1], boolean or (kind is None and isinstance(value, Const))
    known = [as_size(value) for value in written_sizes(sizes)]
    last = known[-2:] if len(known) > 1 and None not in known[-2:] else []
    normal = tuple(call.state.normal(size) for size in last if size is not None)
    written: tuple[Size, Size] | None = (normal[0], normal[1]) if len(normal) == 2 else None
    return replace(constant(number, boolean=boolean, sizes=written), grid=written)


def written_sizes(values: tuple[Value, ...]) -> tuple[Value, ...]:
    return values[0].items if len(values) == 1 and isinstance(values[0], Sequence) else values
