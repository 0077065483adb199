"""Check what must hold between before and after: values under a view that was copied, and what may be gained."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from msgspec import Struct, field

from mha_lint.validation.trials.coverage import Statement


def raised_at(error: BaseException, file: str, statements: frozenset[Statement]) -> Statement | None:
    """The flagged statement of ``file`` that the innermost frame of that file was in when ``error`` was raised."""
    rows = [row.lineno or 0 for row in traceback.extract_tb(error.__traceback__) if row.filename == file]
    return _containing(rows[-1], statements) if rows else None


def _containing(row: int, statements: frozenset[Statement]) -> Statement | None:
    return next((statement for statement in statements if statement.first <= row <= statement.last), None)


class Copies(Struct):
    """Record what was copied under :func:`copied_views`: each receiver, its version at that moment, and its copy."""

    made: list[tuple[Any, int, Any]] = field(default_factory=list)

    def stand_apart(self) -> bool:
        """Tell if nobody wrote into a receiver after it was copied, or into its copy: else the memory was shared."""
        return bool(self.made) and all(
            receiver._version == version and copy._version == 0 for receiver, version, copy in self.made
        )


@contextlib.contextmanager
def copied_views(file: str, statements: frozenset[Statement], copies: Copies) -> Iterator[None]:
    """Let ``Tensor.view`` at the flagged statements of ``file`` give the same values, laid out contiguously.

    A view that works on strided storage leaves its strides to the matmul behind it, which may then add up in another
    order. What a repair promises is the values, and these are the ones of a contiguous copy.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Copied(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            if getattr(func, "__name__", "") != "view" or asking(file, statements) is None:
                return func(*args, **named)
            receiver = args[0]
            copy = receiver.clone(memory_format=torch.contiguous_format)
            copies.made.append((receiver, receiver._version, copy))
            return func(copy, *args[1:], **named)

    with Copied():
        yield


def asking(file: str, statements: frozenset[Statement]) -> Statement | None:
    """The flagged statement of ``file`` that a TorchFunctionMode, which calls this, was entered from."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == file:
            return _containing(frame.f_lineno, statements)
        frame = frame.f_back
    return None


def calling_row(file: str) -> int | None:
    """The row that the innermost frame of ``file`` is in; None outside of it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == file:
            return frame.f_lineno
        frame = frame.f_back
    return None


def names_within(module: Any, owners: frozenset[str], names: tuple[str, ...]) -> frozenset[str]:
    """The ``state_dict`` names of ``names``, relative to each submodule of ``module`` that is one of ``owners``.

    ``owners`` are qualified class names; a subclass of one counts as it. The bias of a layer built without one is none.
    """
    found: set[str] = set()
    for path, child in module.named_modules(remove_duplicate=False):
        if any(base.__qualname__ in owners for base in type(child).__mro__):
            present = [name for name in names if not _is_absent_bias(child, name)]
            found.update(f"{path}.{name}" if path else name for name in present)
    return frozenset(found)


def _is_absent_bias(module: Any, name: str) -> bool:
    layer, _, last = name.rpartition(".")
    for part in layer.split(".") if layer else ():
        module = getattr(module, part, None)
    return last == "bias" and hasattr(module, "bias") and module.bias is None


def put_at_identity(module: Any, names: frozenset[str]) -> bool:
    """Set matrices to ``eye`` and vectors to zero, in place; whether all of them were there already."""
    import torch

    state = module.state_dict(keep_vars=True)
    already = True
    with torch.no_grad():
        for name in sorted(names & set(state)):
            value = state[name]
            if value.dim() not in (1, 2):
                continue  # nothing is the identity of other ranks; the trials then show a difference
            wanted = torch.eye(*value.shape) if value.dim() == 2 else torch.zeros(value.shape)
            already = already and bool(torch.equal(value.detach().to(wanted), wanted))
            value.copy_(wanted)
    return already
