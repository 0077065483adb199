"""What must hold between before and after: the intended meaning of a failing view, and what may be gained."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from mha_lint.validation.coverage import Statement


def is_view_error(error: BaseException) -> bool:
    """ATen's complaint that strides cannot express a view (``at::native::view``, "view size is not compatible")."""
    return isinstance(error, RuntimeError) and "view size is not compatible" in str(error)


def raised_at(error: BaseException, file: str, statements: frozenset[Statement]) -> Statement | None:
    """The flagged statement of ``file`` that the innermost frame of that file was in when ``error`` was raised."""
    rows = [row.lineno or 0 for row in traceback.extract_tb(error.__traceback__) if row.filename == file]
    return _containing(rows[-1], statements) if rows else None


def _containing(row: int, statements: frozenset[Statement]) -> Statement | None:
    return next((statement for statement in statements if statement.first <= row <= statement.last), None)


@contextlib.contextmanager
def intended_views(file: str, statements: frozenset[Statement], met: set[Statement]) -> Iterator[None]:
    """Give failing views at the flagged statements of ``file`` the meaning that they intend: that of ``reshape``.

    The view itself is tried first, so where it works nothing changes; where it raises, its statement joins ``met``.
    Nothing of the fixer takes part in this.
    """
    from torch.overrides import TorchFunctionMode

    class Intended(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            if getattr(func, "__name__", "") != "view":
                return func(*args, **named)
            try:
                return func(*args, **named)
            except RuntimeError as error:
                statement = _asking(file, statements) if is_view_error(error) else None
                if statement is None:
                    raise
                met.add(statement)
                shape = named.get("size", named.get("shape", args[1:]))
                return args[0].reshape(*shape)

    with Intended():
        yield


def _asking(file: str, statements: frozenset[Statement]) -> Statement | None:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == file:
            return _containing(frame.f_lineno, statements)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def gained_names(module: Any, owners: frozenset[str], added: tuple[str, ...]) -> frozenset[str]:
    """The ``state_dict`` names that ``module`` must gain: ``added``, under each submodule that is one of ``owners``.

    ``owners`` are qualified class names; a subclass of one counts as it.
    """
    gained: set[str] = set()
    for path, child in module.named_modules(remove_duplicate=False):
        if any(base.__qualname__ in owners for base in type(child).__mro__):
            gained.update(f"{path}.{name}" if path else name for name in added)
    return frozenset(gained)
