"""What shows a rebuilt incident to be wrong, and its mended twin right: small experiments in torch.

None of this asks the tool or its probes, which the incidents are there to measure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_PRODUCTS = ("matmul", "bmm", "einsum", "__matmul__", "__rmatmul__", "scaled_dot_product_attention")
_SOFTMAXES = ("softmax",)


def random_in_eval(module: nn.Module, *inputs: Any) -> bool:
    """Two calls in eval mode, with the same inputs, give different results."""
    module.eval()
    with torch.no_grad():
        return not torch.equal(module(*inputs), module(*inputs))


def future_reaches_past(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> bool:
    """A change of the last token of ``x``, (b, t, c), changes the result of an earlier one."""
    changed = x.clone()
    changed[:, -1] += 1.0
    with torch.no_grad():
        before, after = call(x), call(changed)
    return not torch.allclose(before[:, :-1], after[:, :-1], atol=1e-5)


def order_matters(call: Callable[..., torch.Tensor], x: torch.Tensor) -> bool:
    """A permutation of the tokens of ``x``, (b, t, c), does more than permute the result."""
    order = torch.arange(x.size(1)).roll(1)
    if isinstance(call, nn.Module):
        call.eval()
    with torch.no_grad():
        before, after = call(x), call(x[:, order])
    return not torch.allclose(before[:, order], after, atol=1e-5)


def raises(message: str, call: Callable[[], Any]) -> bool:
    """The call raises a RuntimeError that says ``message``."""
    try:
        call()
    except RuntimeError as error:
        return message in str(error)
    return False


def raises_on_the_reference_kernel(message: str, call: Callable[[], Any]) -> bool:
    """As ``raises``, where torch may use the reference implementation of attention alone."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        return raises(message, call)


def score_factor(call: Callable[[], Any]) -> float:
    """By which number the product of queries and keys is multiplied before the first softmax."""
    watch = _Watch()
    with torch.no_grad(), watch:
        call()
    assert watch.scores is not None and watch.product is not None, "no softmax of a product was seen"
    seen = watch.scores.isfinite()
    return (watch.scores[seen] / watch.product[seen]).median().item()


def average_of_ones(call: Callable[[], Any]) -> torch.Tensor:
    """What the weights of the first softmax make of values that are all one: one, where they sum to one."""
    watch = _Watch(ones=True)
    with torch.no_grad(), watch:
        call()
    assert watch.average is not None, "no product of weights with values was seen"
    return watch.average


class _Watch(TorchFunctionMode):
    """Sees the product that goes into the first softmax, and what is made of its result."""

    def __init__(self, *, ones: bool = False) -> None:
        super().__init__()
        self.product: torch.Tensor | None = None
        self.scores: torch.Tensor | None = None
        self.average: torch.Tensor | None = None
        self._ones = ones

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        multiplies = name in _PRODUCTS
        if multiplies and self._ones and self.scores is not None and self.average is None:
            *others, values = _operands(args)
            self.average = func(*_with_operands(args, [*others, torch.ones_like(values)]), **kwargs)
        result = func(*args, **kwargs)
        if multiplies and self.scores is None:
            self.product = result.clone()
        if name in _SOFTMAXES and self.scores is None:
            self.scores = args[0].clone()
        return result


def _operands(args: tuple[Any, ...]) -> list[torch.Tensor]:
    """The tensors of a product; an einsum has its equation first, and may have them in a list."""
    found = []
    for argument in args:
        found.extend(argument if isinstance(argument, (list, tuple)) else [argument])
    return [argument for argument in found if isinstance(argument, torch.Tensor)]


def _with_operands(args: tuple[Any, ...], operands: list[torch.Tensor]) -> tuple[Any, ...]:
    return (args[0], *operands) if isinstance(args[0], str) else tuple(operands)
