"""Watching the operations that a call runs, one after another."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Watching(TorchDispatchMode):
    """A mode that sees each operation of ATen.

    torch guards such a mode against its own compiler, which it imports for that when the first operation runs: two
    seconds in every child. Where nothing is compiled, there is nothing to guard against.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return os.environ.get("TORCH_COMPILE_DISABLE") != "1"

    def in_parts(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operations that one is made of, where a mode would not see them; NotImplemented where it does.

        In inference mode a mode sees ``linear`` or ``matmul`` whole, and elsewhere the products that they come to.
        """
        if not torch.is_inference_mode_enabled():
            return NotImplemented
        with self:
            return operation.decompose(*args, **kwargs)
