"""The errors that *repaired* repairs, and what the code that raises one means: found without the fixer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from msgspec import Struct
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from mha_lint.findings import Expected
from mha_lint.validation.relations.holding import asking, raised_at
from mha_lint.validation.trials.coverage import Statement

_Named = dict[str, Any]
_Function = Callable[..., Any]


class Intention(Struct, frozen=True):
    """An error told by ``is_error``, and what the call of a function that raises it means."""

    is_error: Callable[[BaseException], bool]
    meant: Callable[[_Function, tuple[Any, ...], _Named], Any]
    functions: tuple[str, ...] = ()  # the only ones that it is about; () for any


def raises_expected(expected: Expected, error: BaseException, file: str, statements: frozenset[Statement]) -> bool:
    """Tell if this is the error that a repair is about, raised at one of the flagged ``statements`` of ``file``."""
    return INTENTIONS[expected].is_error(error) and raised_at(error, file, statements) is not None


def overflows_half(error: BaseException) -> bool:
    """Tell whether torch was given a number that the dtype of a tensor can't hold."""
    return INTENTIONS["half overflow"].is_error(error)


def forbids_gradients(error: BaseException | None) -> bool:
    """Tell whether torch could not go backward, since the code wrote into what a gradient is computed from."""
    return isinstance(error, RuntimeError) and "modified by an inplace operation" in str(error)


@contextlib.contextmanager
def intended(expected: Expected, file: str, statements: frozenset[Statement], met: set[Statement]) -> Iterator[None]:
    """Give calls that fail at the flagged ``statements`` of ``file`` as ``expected`` the meaning that they intend.

    The call itself is tried first, so where it works nothing changes; where it raises, its statement joins ``met``.
    Nothing of the fixer takes part in this.
    """
    intention = INTENTIONS[expected]

    class Intended(TorchFunctionMode):
        def __torch_function__(
            self, func: _Function, types: Any, args: tuple[Any, ...] = (), kwargs: _Named | None = None
        ) -> Any:
            named = kwargs or {}
            if intention.functions and getattr(func, "__name__", "") not in intention.functions:
                return func(*args, **named)
            try:
                return func(*args, **named)
            except RuntimeError as error:
                statement = asking(file, statements) if intention.is_error(error) else None
                if statement is None:
                    raise
                met.add(statement)
                return intention.meant(func, args, named)

    with Intended():
        yield


def _says(*parts: str) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, RuntimeError) and all(part in str(error) for part in parts)


def _reshaped(func: _Function, args: tuple[Any, ...], named: _Named) -> Any:
    """A view that strides cannot express means ``reshape``."""
    shape = named.get("size", named.get("shape", args[1:]))
    return args[0].reshape(*shape)


def _within_range(func: _Function, args: tuple[Any, ...], named: _Named) -> Any:
    """A value beyond a dtype's range means the least, or the largest, that the dtype has."""
    tensors = [value for value in args if isinstance(value, torch.Tensor) and value.is_floating_point()]
    dtype = named.get("dtype") or (tensors[0].dtype if tensors else torch.get_default_dtype())
    limits = torch.finfo(dtype)

    def clipped(value: Any) -> Any:
        is_tensor = isinstance(value, torch.Tensor) and value.dim() == 0 and value.is_floating_point()
        if not is_tensor and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            return value
        return min(max(float(value), limits.min), limits.max) if abs(float(value)) > limits.max else value

    return func(*map(clipped, args), **{name: clipped(value) for name, value in named.items()})


def _brought_together(func: _Function, args: tuple[Any, ...], named: _Named) -> Any:
    """A tensor that stayed on the CPU means the same values on the device of the others."""
    leaves = [value for value in pytree.tree_leaves((args, named)) if isinstance(value, torch.Tensor)]
    device = next((value.device for value in leaves if value.device.type != "cpu"), None)
    writes = getattr(func, "__name__", "").endswith("_") and args and args[0].device.type == "cpu"
    if device is None or writes:  # what is written into a copy would be lost
        return func(*args, **named)
    moved_args, moved = pytree.tree_map_only(torch.Tensor, lambda value: value.to(device), (args, named))
    return func(*moved_args, **moved)


INTENTIONS: dict[Expected, Intention] = {
    # ATen's complaints: at::native::view; c10::Scalar's conversions; TensorIterator, indexing and masked_fill.
    "view": Intention(_says("view size is not compatible"), _reshaped, ("view",)),
    "half overflow": Intention(_says("value cannot be converted to type", "without overflow"), _within_range),
    "device": Intention(_says("same device"), _brought_together),
}
