"""Show that the graph which ``torch.compile`` captures of a module ends at a flagged statement.

The pieces are captured and run as they are, with no code generated for them: where a graph ends is decided before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from mha_lint.validation.child import eager, stubs
from mha_lint.validation.child.imports import in_one_line, quiet
from mha_lint.validation.search.plan import in_eval
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.coverage import Statement


def graph_ends(
    module: Any, inputs: drawing.Inputs, positional: tuple[str, ...], file: str, statements: frozenset[Statement]
) -> tuple[str, str]:
    """Why a graph of one call ends at a flagged statement of ``file``, in one line; "" where none does.

    The second text says what else there is to tell: where graphs end instead, or what the capture raised.
    """
    named = dict(inputs.arguments)
    places = tuple(named.pop(name) for name in positional if name in named)
    trial.seed_everything(0)
    try:
        with eager.compilation(), quiet(), torch.no_grad():
            torch._dynamo.reset()
            explained: Any = torch._dynamo.explain(in_eval(module))(*places, **named)
            torch._dynamo.reset()
    except (Exception, stubs.StubTouched) as error:
        return "", f"torch.compile can't capture it: {in_one_line(error)}"
    elsewhere = []
    for each in explained.break_reasons:
        reason = each.reason.strip().partition("\n")[0]
        rows = _rows(each.user_stack, file)
        if any(statement.first <= row <= statement.last for row in rows for statement in statements):
            return reason, ""
        elsewhere += [f"row {rows[-1]}" if rows else "another file"]
    if elsewhere:
        return "", f"the graph of torch.compile ends elsewhere: {', '.join(dict.fromkeys(elsewhere))}"
    return "", "the graph of torch.compile does not end there"


def _rows(stack: Iterable[Any], file: str) -> list[int]:
    return [frame.lineno for frame in stack if frame.filename == file]
