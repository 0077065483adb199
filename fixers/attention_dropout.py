"""The rate of the dropout on weights, as fused attention takes it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mha_lint.fixers.unread import class_around
from mha_lint.model.by_hand.steps import ByHand, Choice, Dropped, Link
from mha_lint.model.values import Layer, Value
from mha_lint.syntax.nodes import argument, dotted

if TYPE_CHECKING:
    from mha_lint.fixers import Context

NOT_KNOWN = "the dropout of the weights is not known to be `nn.Dropout`"


def rate_text(found: ByHand, context: Context) -> str | None:
    """The text of ``dropout_p``: empty where nothing is dropped, None where the rate can't be told."""
    dropped = [step for step in found.steps() if isinstance(step, Dropped)]
    if not dropped:
        return ""
    if len(dropped) > 1:
        return None
    test = _asked_first(found, dropped[0])
    text = _rate(dropped[0], context, optional=test is not None)
    if text is None or test is None:
        return text
    condition = context.places.source(test)
    return f"({text}) if {condition} else 0.0" if " if " in text else f"{text} if {condition} else 0.0"


def _asked_first(found: ByHand, dropped: Dropped) -> ast.expr | None:
    """The condition under which weights are dropped at all, where there is one."""
    asked = (choice.statement.test for choice in found.choices if any(dropped in each.steps for each in choice.body))
    return next(asked, None)


def drops(link: Link | Choice) -> bool:
    """Tell whether a link, or one of the links under a condition, drops weights."""
    links = (link,) if isinstance(link, Link) else link.links
    return any(isinstance(step, Dropped) for each in links for step in each.steps)


def _rate(dropped: Dropped, context: Context, *, optional: bool) -> str | None:
    places, node = context.places, dropped.node
    name = dotted(node.func) or ""
    if name.startswith("self.") and name.count(".") == 1:
        layer = name if dropped.place is None else f"{name}[{dropped.place}]"
        return f"{layer}.p if {layer}.training else 0.0" if _is_dropout(dropped, context, optional=optional) else None
    if context.model.names.qualify(node.func) not in ("torch.nn.functional.dropout", "torch.dropout"):
        return None
    rate, flag = argument(node, 1, "p"), argument(node, 2, "training", "train")
    if argument(node, 3, "inplace") is not None:
        return None
    text = "0.5" if rate is None else places.source(rate)
    if isinstance(rate, (ast.IfExp, ast.Lambda, ast.NamedExpr)):
        text = f"({text})"
    if flag is None or (isinstance(flag, ast.Constant) and flag.value is True):
        return text
    return f"{text} if {places.source(flag)} else 0.0"


def _is_dropout(dropped: Dropped, context: Context, *, optional: bool) -> bool:
    """Tell whether every way of building the object gives the attribute a dropout of single numbers."""
    node = dropped.node
    assert isinstance(node.func, ast.Attribute)
    cls = class_around(node, context)
    if cls is None or context.model.names.changes_of(cls, node.func.attr):
        return False
    kept = [state.attributes.get(node.func.attr) for state in context.model.model_of(cls).built]
    layers = [value if dropped.place is None else _item(value, dropped.place) for value in kept]
    known = [layer for layer in layers if isinstance(layer, Layer) and layer.kind == "Dropout"]
    return bool(known) and len(known) == len(layers) and (optional or not any(layer.optional for layer in known))


def _item(value: Value | None, place: int) -> Value | None:
    """The layer at a place of a sequence of layers."""
    if not isinstance(value, Layer) or value.kind != "Sequential" or place >= len(value.items):
        return None
    return value.items[place]
