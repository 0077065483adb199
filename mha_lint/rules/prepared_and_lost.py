"""MHA122: masks, queries and values that are prepared and reach no score."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.values import NONE, Const, Layer, Tensor
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.mask_uses import ARGUMENTS, ATTENDS
from mha_lint.syntax.nodes import Function, defaults, walk
from mha_lint.syntax.reaching import Definition, Flow, flow_of
from mha_lint.syntax.words import names_in
from mha_lint.vocabulary import BUILDS, MASKS, OF_KEYS, OF_QUERIES, OF_VALUES, SOFT_MASKS, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import ClassModel, FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places

_ROLES = {"query": OF_QUERIES, "key": OF_KEYS, "value": OF_VALUES}
_PLURAL = {"query": "queries", "key": "keys", "value": "values"}


class PreparedAndLost(Rule):
    """## What it does

    Flags what an attention prepares and then loses:

    - a mask that is worked on (expanded, inverted, combined), where neither it nor anything that is made of it reaches
      a score, and the scores of that function are not masked at all;
    - a query (or a value) that is overwritten by what the key becomes, and was not read before;
    - keys or values that are made by another one's layer, while a layer of their own was built and is never applied;
    - weights whose heads are merged in place of those of the context, while the values are never weighted.

    ## Why it matters

    Nothing raises. The model attends to padding or to the future, compares keys with themselves, or leaves out a
    part of what it was meant to learn.

    ## Example

    ```python
    def forward(self, q, k, v, mask=None):
        if mask is not None:
            mask = mask[:, None, None, :].expand(-1, self.heads, q.size(-2), -1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None)
    ```

    Use instead:

    ```python
    def forward(self, q, k, v, mask=None):
        if mask is not None:
            mask = mask[:, None, None, :].expand(-1, self.heads, q.size(-2), -1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    ```

    ## Fix

    There is none: the code does not say where the lost value was meant to go.

    ## When it stays silent

    - A parameter is merely never read: many are there for a common signature.
    - Any part of the value is returned, stored, or handed to other code, or something else masks the scores.
    - The scores are computed by code that is not known.
    - The name is only another one for the same tensor: `key = value = query`.

    ## References

    - [lucidrains/alphafold3-pytorch#57](https://github.com/lucidrains/alphafold3-pytorch/issues/57)
    - [huggingface/transformers#30652](https://github.com/huggingface/transformers/pull/30652)
    """

    code = "MHA122"
    name = "prepared-and-lost"
    severity = "error"
    finds = "a mask, a query or values that are prepared and reach no score"
    why = "What was prepared reaches no score: the attention computes something without it."
    shown_by = ("masked key",)
    no_fix = "the code does not say where it was meant to go"
    invalid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v, mask):\n"
        "    mask = mask[:, None, None, :].expand(-1, q.size(1), q.size(2), -1)\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=None)\n",
        "def attend(query, key, value, heads):\n    b, t, c = query.shape\n"
        "    key = key.view(b, -1, heads, c // heads).transpose(1, 2)\n"
        "    query = key.view(b, -1, heads, c // heads).transpose(1, 2)\n"
        "    value = value.view(b, -1, heads, c // heads).transpose(1, 2)\n"
        "    return (query @ key.transpose(-2, -1) * 0.1).softmax(-1) @ value\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v, mask):\n"
        "    return F.scaled_dot_product_attention(q, k, v)\n",
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v, mask):\n"
        "    mask = mask[:, None, None, :].expand(-1, q.size(1), q.size(2), -1)\n"
        "    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        for function, symbol in model.defined_in.items():
            if function in model.abroad:
                continue
            seen = _attention(function, symbol, model)
            if not seen:
                continue
            flow = flow_of(function)
            if not flow.certain:
                continue
            lost = flow.lost()
            if all(map(_is_unmasked, seen)):
                yield from _lost_masks(flow, lost, symbol)
            yield from _overwritten(function, flow, lost, symbol)
            yield from _unweighted(flow, lost, symbol, model)
        for each in model.classes:
            yield from _made_by_another(each, model)


# --- masks -----------------------------------------------------------------------------------------------------------


def _attention(function: Function, symbol: str, model: FileModel) -> list[OperationSeen]:
    """What computes weights in a function, or in a function that it calls."""
    found = []
    for seen in model.operations.values():
        for operation in seen:
            if operation.name != "softmax" and operation.name not in ARGUMENTS:
                continue
            caller = operation.caller
            inside = caller is not None and function.lineno <= caller.lineno <= (function.end_lineno or 0)
            if operation.symbol == symbol or inside:
                found.append(operation)
    return found


def _is_unmasked(operation: OperationSeen) -> bool:
    """Tell whether weights are computed of scores that nothing masks."""
    if operation.name == "softmax":
        scores = operation.args[0] if operation.args else None
        return isinstance(scores, Tensor) and "scores" in scores.roles and not scores.masked
    if any(name == "**" for name, _ in operation.keywords):
        return False
    masks = [operation.argument(index, name) for index, name in ARGUMENTS[operation.name]]
    flags = [value for name, value in operation.keywords if name in ("is_causal", "tgt_is_causal", "memory_is_causal")]
    causal = operation.argument(5) if operation.name == ATTENDS else None
    return all(mask in (None, NONE) for mask in masks) and all(
        flag in (None, NONE, Const(False)) for flag in (*flags, causal)
    )


def _lost_masks(flow: Flow, lost: set[Definition], symbol: str) -> Iterator[Hit[None]]:
    masks = {each for each in flow.definitions if _is_mask(each)}
    for mask in flow.definitions:
        if mask not in masks or mask not in lost or mask.value is None or not _is_worked_on(mask.value):
            continue
        origins = {each for each in masks if each is not mask and mask in flow.made_of(each)}
        later = {each for each in flow.made_of(mask) & masks if each is not mask}
        if later or not (origins or _is_made_a_mask(mask.value)) or not origins <= lost:
            continue
        message = f"`{mask.name}` is prepared here, and no score is masked with it, nor with anything else"
        yield Hit(mask.value, mask.value, message, symbol)


def _is_mask(definition: Definition) -> bool:
    return is_said(MASKS, definition.name) and not is_said(SOFT_MASKS, definition.name)


def _is_worked_on(value: ast.expr) -> bool:
    """An expression makes another mask of one: it calls a method, calculates, or lays it out anew."""
    return isinstance(value, (ast.Call, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Subscript))


def _is_made_a_mask(value: ast.expr) -> bool:
    return not {"tril", "triu"}.isdisjoint(names_in(value))


# --- queries and values that are overwritten -----------------------------------------------------------------------


def _role(name: str) -> str | None:
    return next((role for role, said in _ROLES.items() if is_said(said, name)), None)


def _overwritten(function: Function, flow: Flow, lost: set[Definition], symbol: str) -> Iterator[Hit[None]]:
    """Queries, or values, of which nothing was read, that are given what the keys become."""
    for before in flow.definitions:
        role = _role(before.name)
        if before not in lost or role in (None, "key") or not _was_given(before, function):
            continue
        for after in flow.definitions:
            same = after is not before and after.name == before.name and after.statement in function.body
            if not same or after in lost or after in before.feeds or after.value is None:
                continue
            taken = _taken_from(after, flow)
            if taken is None:
                continue
            message = f"`{before.name}` is overwritten by what is made of `{taken}`, and was not read before"
            yield Hit(after.value, after.value, message, symbol)
            break


def _was_given(definition: Definition, function: Function) -> bool:
    """Tell whether it is a parameter that callers must give, or was projected."""
    if definition.is_parameter:
        return definition.name not in defaults(function)
    return isinstance(definition.value, ast.Call) and definition.statement in function.body


def _taken_from(definition: Definition, flow: Flow) -> str | None:
    """The keys that a definition is made of, where the keys themselves are laid out by the same method."""
    match definition.value:
        case ast.Call(func=ast.Attribute(attr=method)):
            pass
        case _:
            return None
    made_of = {each.name for each in flow.definitions if definition in each.feeds and _role(each.name) is not None}
    others = {name for name in made_of if _role(name) == "key"}
    if len(others) != 1 or len(made_of) != 1:
        return None
    other = others.pop()
    for each in flow.definitions:
        match each.value:
            case ast.Call(func=ast.Attribute(attr=name)) if each.name == other and name == method:
                return other
    return None


# --- weights in place of the context ---------------------------------------------------------------------------------


def _unweighted(flow: Flow, lost: set[Definition], symbol: str, model: FileModel) -> Iterator[Hit[None]]:
    """Weights whose heads are merged, where the values are lost, and no weights were multiplied with any."""
    values = [
        each for each in flow.definitions if each in lost and _role(each.name) == "value" and each.value is not None
    ]
    if not values or not isinstance(values[-1].value, ast.Call):
        return
    for node, seen in model.views.items():
        merges = [view for view in seen if view.symbol == symbol and "weights" in view.tensor.roles]
        for view in merges:
            made = view.tensor.normalised
            shape = view.tensor.shape
            if made is None or shape is None or len(shape) != 4 or len(view.target) != 3:
                continue
            if made.node in model.weightings or view.target[:2] != shape[:2]:
                continue
            message = "the heads of the weights are merged, not those of the context: the values are never weighted"
            yield Hit(node, node, message, symbol)
            return


# --- layers ----------------------------------------------------------------------------------------------------------


def _made_by_another(cls: ClassModel, model: FileModel) -> Iterator[Hit[None]]:
    """Keys, or values, that another one's layer makes, while their own layer is never applied."""
    if not cls.built:
        return
    attributes = [pair for state in cls.built for pair in state.attributes.items()]
    layers = {name: value for name, value in attributes if isinstance(value, Layer)}
    named = {name: role for name in layers if layers[name].kind == "Linear" and (role := _role(name)) is not None}
    if len(named) < 2:
        return
    for name, method in cls.cls.methods.items():
        if is_said(BUILDS, name) or method in model.abroad:
            continue
        for target, applied, call in _applications(method):
            role = _role(target)
            if role is None or applied not in named or named[applied] == role:
                continue
            own = next((each for each, of in named.items() if of == role), None)
            if own is None or not _are_alike(layers[own], layers[applied]) or _is_mentioned(own, cls, model):
                continue
            message = f"the {_PLURAL[role]} are made by `self.{applied}`, and `self.{own}` is never applied"
            yield Hit(call, call, message, f"{cls.cls.name}.{name}")


def _are_alike(layer: Layer, other: Layer) -> bool:
    same = layer.node is other.node  # one layer under two names
    return not same and (layer.width_in, layer.width_out) == (other.width_in, other.width_out)


def _applications(method: Function) -> Iterator[tuple[str, str, ast.Call]]:
    """Each ``name = self.layer(…)`` of a method: the name, the layer's and the call, with what is called of it then."""
    for node in walk(*method.body):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = list(zip(targets, values, strict=False))
            case ast.Assign(targets=[target], value=value):
                pairs = [(target, value)]
            case _:
                continue
        for target, value in pairs:
            while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                owner = value.func.value
                if isinstance(owner, ast.Name) and owner.id == "self" and isinstance(target, ast.Name):
                    yield target.id, value.func.attr, value
                value = owner


def _is_mentioned(name: str, cls: ClassModel, model: FileModel) -> bool:
    """Tell whether anything asks for a layer but functions that set it up, and other classes for their own."""
    said = _times_asked_for(name, model.module.tree)
    for other in model.names.every_class:
        if other is cls.cls:
            built = [method for each, method in other.methods.items() if is_said(BUILDS, each)]
            said -= sum(_times_asked_for(name, method) for method in built)
        elif other not in cls.cls.lineage and cls.cls not in other.lineage:
            said -= _times_asked_for(name, other.node, of_self=True)
    return said > 0


def _times_asked_for(name: str, node: ast.AST, *, of_self: bool = False) -> int:
    """The number of times that code says ``x.name``, or spells the name in a string."""
    found = 0
    for each in walk(node):
        match each:
            case ast.Attribute(value=ast.Name(id="self"), attr=said):
                found += said == name
            case ast.Attribute(attr=said) | ast.Constant(value=str(said)):
                found += said == name and not of_self
    return found
