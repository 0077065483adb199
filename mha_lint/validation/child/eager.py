"""Trials run code as it is written: what a decorator of compilation is put on is given back as it is.

Compiling takes seconds and another process, patches torch, and hides from a tracer which lines run. torch says itself
that compiled code means what the code means when it runs eagerly.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

# The settings by which torch leaves compilation out; they have to stand in the environment when it is imported.
ENVIRONMENT = {
    "PYTORCH_JIT": "0",  # torch.jit.script and torch.jit.trace give back what they are given
    "TORCHDYNAMO_DISABLE": "1",  # torch._dynamo.optimize does
    "TORCH_COMPILE_DISABLE": "1",  # what was compiled all the same runs uncompiled
}


def leave_compilation_out() -> None:
    """Let ``torch.compile`` give back what it is given, in this process and in those forked from it."""
    import torch

    original = torch.compile

    @functools.wraps(original)
    def given_back(model: Any = None, **options: Any) -> Any:
        return _same if model is None else model

    torch.compile = given_back


@contextlib.contextmanager
def compilation() -> Iterator[Callable[..., Any]]:
    """Switch compilation on, and hand out the ``torch.compile`` that compiles."""
    import torch
    import torch._dynamo

    off = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
    config: Any = torch._dynamo.config
    was_disabled = config.disable
    config.disable = False
    try:
        yield getattr(torch.compile, "__wrapped__", torch.compile)
    finally:
        config.disable = was_disabled
        os.environ.update(off)


def _same(model: Any) -> Any:
    return model
