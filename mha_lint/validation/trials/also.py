"""Check for ``--also`` that a fix does not cost a module ``torch.compile(fullgraph=True)`` or ``torch.export``.

The graphs are captured and run as they are, with no code generated for them: whether a graph breaks is decided before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mha_lint.validation.child import eager, stubs
from mha_lint.validation.child.imports import in_one_line, quiet
from mha_lint.validation.search.plan import in_eval
from mha_lint.validation.trials import drawing, trial


def prepare() -> None:
    """Use what captures graphs once: it replaces functions of torch, which code under trial must not be blamed for."""
    for kind in ("compile", "export"):
        run(kind, torch.nn.Linear(1, 1), drawing.Inputs({"input": torch.zeros(1, 1)}), ())


def run(kind: str, module: Any, inputs: drawing.Inputs, positional: tuple[str, ...]) -> tuple[trial.Seen, str]:
    """The outputs of ``module`` under "compile" or "export" in eval mode, and why there are none, in one line."""
    seen = trial.Seen()
    named = dict(inputs.arguments)
    places = tuple(named.pop(name) for name in positional if name in named)
    trial.seed_everything(0)
    try:
        with eager.compilation() as compiled, quiet(), torch.no_grad():
            torch._dynamo.reset()
            captured: Callable[..., Any]
            if kind == "compile":
                captured = compiled(in_eval(module), backend="eager", fullgraph=True)
            else:
                captured = torch.export.export(in_eval(module), places, named).module()
            seen.outputs = trial.flatten(captured(*places, **named), "output")
    except (Exception, stubs.StubTouched) as error:
        seen.error = error
    return seen, in_one_line(seen.error) if seen.error is not None else ""
