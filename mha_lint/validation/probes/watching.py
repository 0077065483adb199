"""Watching the operations that a call runs, one after another."""

from __future__ import annotations

import os

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
