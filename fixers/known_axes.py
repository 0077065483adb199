"""What a rule knows of the dimensions of a forward's parameters, for the probes that try its fix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mha_lint.findings import Axes
from mha_lint.model import keys
from mha_lint.model.axes import axes_of
from mha_lint.syntax.nodes import every_parameter

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.axes import Front


def known_axes(fronts: Iterable[Front], symbol: str, context: Context) -> tuple[Axes, ...]:
    """Return which dimensions of the parameters are the batch and the tokens; ``fronts`` are tensors (b, t, ...)."""
    name, _, method = symbol.partition(".")
    cls = next((each for each in context.model.names.every_class if each.name == name), None)
    function = None if cls is None else cls.method(method)
    if function is None:
        return ()
    parameters = {keys.named(each.arg): each.arg for each in every_parameter(function)}
    parameters |= {keys.parameter(method, each.arg): each.arg for each in every_parameter(function)}
    known: dict[str, Axes] = {}
    for axes in (axes for front in fronts for axes in axes_of(front, parameters)):
        before = known.get(axes.parameter, axes)
        batch = before.batch if axes.batch is None else axes.batch
        tokens = before.tokens if axes.tokens is None else axes.tokens
        known[axes.parameter] = Axes(axes.parameter, batch, tokens)
    return tuple(known.values())
