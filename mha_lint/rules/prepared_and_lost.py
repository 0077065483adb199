"""MHA122: masks, queries and values that are prepared and reach no score."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.values import NONE, Const, Layer, Tensor, Unknown, Value
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.mask_uses import ARGUMENTS, ATTENDS
from mha_lint.syntax.applied_layers import applications, disagree
from mha_lint.syntax.nodes import Function, argument, children, defaults, last_name, walk
from mha_lint.syntax.reaching import Definition, Flow, flow_of
from mha_lint.syntax.words import names_in
from mha_lint.vocabulary import ATTENDS_TO, BUILDS, MASKS, OF_KEYS, OF_QUERIES, OF_VALUES, SOFT_MASKS, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import ClassModel, FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places

_ROLES = {"query": OF_QUERIES, "key": OF_KEYS, "value": OF_VALUES}
LEARNS = ("every projection learns",)
_PLURAL = {"query": "queries", "key": "keys", "value": "values"}


class PreparedAndLost(Rule):
    """## What it does

    Flags what an attention prepares and then loses:

    - a mask that is worked on (expanded, inverted, combined), where neither it nor anything that is made of it reaches
      a score, and the scores of that function are not masked at all;
    - a query (or a value) that is overwritten by what the key becomes, and was not read before;
    - keys or values that are made by another one's layer, while a layer of their own was built, and is never applied,
      or on other paths alone;
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

    There is none: the code does not say where the lost value was meant to go. It is shown wrong by execution: a key
    that the mask hides, or a token of the future, has an influence; or the layer that was meant gets no gradient, and
    what it holds changes nothing, while the others of the three learn.

    ## When it stays silent

    - A parameter is merely never read: many are there for a common signature.
    - Any part of the value is returned, stored, or handed to other code, or something else masks the scores.
    - The scores are computed by code that is not known.
    - The name is only another one for the same tensor: `key = value = query`.
    - One layer may be meant for two: a branch asks a setting for it, or applies both layers to the same tensor; a
      subclass leaves out a layer of its base class.

    ## References

    - [lucidrains/alphafold3-pytorch#57](https://github.com/lucidrains/alphafold3-pytorch/issues/57)
    - [huggingface/transformers#30652](https://github.com/huggingface/transformers/pull/30652)
    """

    code = "MHA122"
    name = "prepared-and-lost"
    severity = "error"
    finds = "a mask, a query or values that are prepared and reach no score"
    why = "What was prepared reaches no score: the attention computes something without it."
    shown_by = ("masked key", "causality", *LEARNS)
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
            if _are_unmasked(seen):
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


def _are_unmasked(seen: list[OperationSeen]) -> bool:
    """Tell whether nothing masks the scores, wherever weights are computed; on some paths they may not be known."""
    known = {operation.node for operation in seen if _is_unmasked(operation)}
    unknown = [operation for operation in seen if operation.node in known and not _is_unmasked(operation)]
    return known == {operation.node for operation in seen} and all(map(_is_of_unknown_scores, unknown))


def _is_of_unknown_scores(operation: OperationSeen) -> bool:
    """Tell whether a softmax is given what may be scores, such as those of the layer before, and is not seen masked."""
    scores = operation.args[0] if operation.name == "softmax" and operation.args else None
    return isinstance(scores, Unknown) or (isinstance(scores, Tensor) and not scores.masked)


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
        if later or not (origins or _is_triangle(mask.value) or _is_made_causal(mask.value)):
            continue
        if not origins <= lost and not _is_for_scores(mask, origins, lost):
            continue
        message = f"`{mask.name}` is prepared here, and no score is masked with it, nor with anything else"
        yield Hit(mask.value, mask.value, message, symbol, shown_by=_ways(mask.value, origins))


def _ways(value: ast.expr, origins: set[Definition]) -> tuple[str, ...]:
    """The ways to show that a mask is lost: by a key that it hides, or by the future, where it hides just that.

    What a function of a name such as ``causal_mask`` makes may hide the future in blocks: no probe knows of these.
    """
    steps = [value, *(each.value for each in origins if each.value is not None)]
    triangles = [each for each in steps if _is_triangle(each)]
    if not triangles and _is_made_causal(value):
        return ()
    given = not triangles or any(each.is_parameter for each in origins)
    future = bool(triangles) and all(map(_hides_the_future, triangles)) and not any(map(_opens, steps))
    return (("masked key",) if given else ()) + (("causality",) if future else ())


def _hides_the_future(value: ast.expr) -> bool:
    """A triangle ends at the diagonal, or one beside it; that of a window ends elsewhere."""
    for node in walk(value):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch" | "np" | "numpy"), attr="tril" | "triu")):
                diagonal = argument(node, 1, "diagonal", "k")
            case ast.Call(func=ast.Attribute(attr="tril" | "triu" | "tril_" | "triu_")):
                diagonal = argument(node, 0, "diagonal")
            case _:
                continue
        if diagonal is not None and not (isinstance(diagonal, ast.Constant) and diagonal.value in (0, 1)):
            return False
    return True


def _opens(value: ast.expr) -> bool:
    """An expression joins masks by ``|``: what one hides, another may show."""
    return any(isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) for node in walk(value))


def _is_mask(definition: Definition) -> bool:
    return is_said(MASKS, definition.name) and not is_said(SOFT_MASKS, definition.name)


def _is_worked_on(value: ast.expr) -> bool:
    """An expression makes another mask of one: it calls a method, calculates, or lays it out anew."""
    return isinstance(value, (ast.Call, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Subscript))


def _is_triangle(value: ast.expr) -> bool:
    return not {"tril", "triu", "tril_", "triu_"}.isdisjoint(names_in(value))


def _is_made_causal(value: ast.expr) -> bool:
    """A function makes the mask whose name says that it does: ``self.causal_mask(length)``."""
    name = last_name(value.func) if isinstance(value, ast.Call) else ""
    return is_said(MASKS, name) and "causal" in name.lower()


def _is_for_scores(mask: Definition, origins: set[Definition], lost: set[Definition]) -> bool:
    """A mask of which something else is made, too, was laid out for scores, and is named after what it was to mask."""
    if not is_said(ATTENDS_TO, mask.name) or not all(each.is_parameter for each in origins - lost):
        return False
    return any(_adds_dims(each.value) for each in (mask, *origins) if each.value is not None)


def _adds_dims(value: ast.expr) -> bool:
    """An expression says ``x[:, None, None, :]``, which is how a mask of keys meets scores (b, h, t, s)."""
    for node in walk(value):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            added = [each for each in node.slice.elts if isinstance(each, ast.Constant) and each.value is None]
            if len(added) > 1:
                return True
    return False


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
            yield Hit(after.value, after.value, message, symbol, shown_by=LEARNS)
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
            yield Hit(node, node, message, symbol, shown_by=LEARNS)
            return


# --- layers ----------------------------------------------------------------------------------------------------------


def _made_by_another(cls: ClassModel, model: FileModel) -> Iterator[Hit[None]]:
    """Keys, or values, that another one's layer makes, while their own layer makes none, or those of other paths."""
    if not cls.built:
        return
    attributes = [pair for state in cls.built for pair in state.attributes.items()]
    layers = {name: value for name, value in attributes if isinstance(value, Layer)}
    named = {name: role for name in layers if layers[name].kind == "Linear" and (role := _role(name)) is not None}
    if len(named) < 2:
        return
    inherited = {name for each in cls.cls.lineage for name in each.methods}
    for name, method in cls.cls.methods.items():
        if is_said(BUILDS, name) or method in model.abroad:
            continue
        applied = applications(method, layers, inherited)
        for each in applied:
            role = _role(each.target)
            if role is None or each.layer not in named or named[each.layer] == role:
                continue
            own = next((layer for layer, of in named.items() if of == role), None)
            if own is None or not any(_are_alike(state.attributes, own, each.layer) for state in cls.built):
                continue
            others = [other for other in applied if other.layer == own and _role(other.target) == role]
            uses = _uses(own, cls, name, model)
            if uses.elsewhere or uses.here != len(others) or not all(disagree(each, other) for other in others):
                continue
            what = (
                "makes them on other paths alone" if others else "is not applied" if uses.below else "is never applied"
            )
            message = f"the {_PLURAL[role]} are made by `self.{each.layer}`, and `self.{own}` {what}"
            yield Hit(each.call, each.call, message, f"{cls.cls.name}.{name}", shown_by=LEARNS)


def _are_alike(built: Mapping[str, Value], name: str, another: str) -> bool:
    """Tell whether one way to build the class makes two layers of the same widths, and not one under two names."""
    match built.get(name), built.get(another):
        case Layer() as layer, Layer() as other:
            widths = (layer.width_in, layer.width_out), (other.width_in, other.width_out)
            return layer.node is not other.node and widths[0] == widths[1]
        case _:
            return False


class _Uses(Struct, frozen=True):
    """The number of times that code asks for a layer of a class, where it is not set up, and not another class's own.

    ``here`` is in the method that is looked at, ``below`` in what subclasses have in its place.
    """

    here: int
    below: int
    elsewhere: int


def _uses(layer: str, cls: ClassModel, method: str, model: FileModel) -> _Uses:
    said = _times_asked_for(layer, model.module.tree)
    here = _times_asked_for(layer, cls.cls.methods[method])
    below = 0
    for other in model.names.every_class:
        if other is cls.cls:
            built = [function for each, function in other.methods.items() if is_said(BUILDS, each)]
            said -= sum(_times_asked_for(layer, each) for each in built)
        elif cls.cls in other.lineage:
            below += _times_asked_for(layer, other.methods[method]) if method in other.methods else 0
        elif other not in cls.cls.lineage:
            said -= _times_asked_for(layer, other.node, of_self=True)
    return _Uses(here, below, said - here - below)


def _times_asked_for(name: str, node: ast.AST, *, of_self: bool = False) -> int:
    """The number of times that code says ``x.name``, or spells the name in a string, but to put another layer there."""
    found = 0
    pending = [node]
    while pending:
        each = pending.pop()
        match each:
            case ast.Assign(targets=[ast.Attribute(attr=said)]) if said == name:
                continue  # ``x.name = pruned(x.name, heads)``
            case ast.Attribute(value=ast.Name(id="self"), attr=said):
                found += said == name
            case ast.Attribute(attr=said) | ast.Constant(value=str(said)):
                found += said == name and not of_self
        pending += children(each)
    return found
