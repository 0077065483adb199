"""mha-lint: a linter and autofixer for PyTorch attention code whose fixes are validated by execution."""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; importing typing would slow the console script down
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mha_lint.observation import Observation

__version__ = "0.2.0"


def probe(module: Callable[..., Any], inputs: Any = None, *, seed: int = 0) -> tuple[Observation, ...]:
    """Try which properties of attention hold in ``module``, a module or a function that is called with ``inputs``.

    ``inputs`` are keyword arguments by name, a tuple of positional ones, or one tensor; where a module is given none,
    they are searched for. The module is called in eval mode, many times, and left as it was. ``docs/probes.md`` says
    what each property is. Raises ValueError where no inputs are found.
    """
    from mha_lint.validation.probes import observe_all  # torch is imported here, not with mha_lint

    return observe_all(module, inputs, seed=seed)
