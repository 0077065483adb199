"""Compiles modules with ``torch.compile`` inside a child, where trials leave compilation out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from mha_lint.validation.child import eager, imports, isolation

Compile = Callable[[Any], Any]


@contextlib.contextmanager
def compilation() -> Iterator[Compile]:
    """Hand out what compiles a module for one size. The code is generated when the result is called first."""
    with imports.without_stand_ins(), eager.compilation() as compiled:
        import torch._dynamo
        import torch._inductor.config as inductor

        settings: Any = inductor
        settings.compile_threads = 1  # a pool of processes would outlive the child
        torch._dynamo.reset()
        try:
            yield lambda module: compiled(module, dynamic=False)
        finally:
            torch._dynamo.reset()


def warm_up(call: Callable[[], object]) -> None:
    """Call for the first time: torch may run its compilers, as processes that are as confined as this one.

    The code of the user has run without them in every trial.
    """
    with isolation.permitted():
        call()
        call()
