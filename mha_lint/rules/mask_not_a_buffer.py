"""MHA110: a mask, or another tensor, that stays behind when the module moves to a device."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.attention import is_module
from mha_lint.model.values import Tensor
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import FUNCTIONS, walk
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import BUILDS, DEVICE, MOVES, SETS_DEFAULT, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.operations.devices import Meeting
    from mha_lint.syntax.names import ClassInfo
    from mha_lint.syntax.nodes import Function
    from mha_lint.syntax.places import Places


class Kept(Struct, frozen=True):
    """An attribute of the object, and the statement that gives it its value."""

    attribute: str
    statement: ast.Assign | ast.AnnAssign


class Stray(Struct, frozen=True):
    """A call that makes a tensor on the default device; the statement of the constructor that keeps it, if one does."""

    call: ast.Call
    kept: Kept | None
    meetings: tuple[Meeting, ...]


class MaskNotABuffer(Rule):
    """## What it does

    Flags a tensor, such as a causal mask, that is used with scores, weights, projections or parameters, although the
    constructor keeps it as a plain attribute, or it is made with no `device=`.

    ## Why it matters

    `module.to("cuda")` moves parameters and buffers, nothing else. Such a tensor stays on the CPU, and the first
    `masked_fill`, sum or product with one on the GPU raises "Expected all tensors to be on the same device". Tests that
    run on the CPU never see it.

    ## Example

    ```python
    self.mask = torch.tril(torch.ones(n, n))             # in __init__
    future = torch.ones(t, t, dtype=torch.bool).triu(1)  # in forward
    ```

    Use instead:

    ```python
    self.register_buffer("mask", torch.tril(torch.ones(n, n)), persistent=False)
    future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
    ```

    ## Fix

    Registers a buffer that is not part of the `state_dict`, so that old checkpoints load, or names the device of the
    tensor that it is used with. Relation *repaired*: where before raises because of the device, after computes what
    before would if the tensor had been moved; elsewhere both compute the same. Only a GPU can show the error; on the
    CPU validation shows that nothing changes.

    ## When it stays silent

    - The tensor is moved, by `.to(…)`, `type_as`, `.cuda()`, on every path, or a condition asks for the device.
    - The tensor has no dimension, or the code only indexes with it or copies from it: torch takes it from any device.
    - A function outside of a module computes no attention, or makes all its tensors itself, as tests do.
    - The file sets a default device, or makes the tensor inside `with torch.device(…)`; the class has a `to`, `cuda` or
      `_apply` of its own.

    ## References

    - [OpenNMT/OpenNMT-py#240](https://github.com/OpenNMT/OpenNMT-py/pull/240)
    - [`register_buffer`](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer)
    """

    code = "MHA110"
    name = "mask-not-a-buffer"
    severity = "warning"
    finds = "a mask that stays on the CPU when the module moves"
    why = "It stays on the CPU when the module moves: the first operation with a tensor on the GPU raises."
    applicability = "safe"
    relation = "repaired"
    invalid: ClassVar = (
        "def attend(q, k, v):\n    t = q.shape[-2]\n    future = torch.ones(t, t, dtype=torch.bool).triu(1)\n"
        "    w = (q @ k.transpose(-2, -1)).masked_fill(future, float('-inf')).softmax(-1)\n    return w @ v\n",
    )
    valid: ClassVar = (
        "def attend(q, k, v):\n    t = q.shape[-2]\n"
        "    future = torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1)\n"
        "    w = (q @ k.transpose(-2, -1)).masked_fill(future, float('-inf')).softmax(-1)\n    return w @ v\n",
        "def shares(ids, allowed):\n    seen = torch.zeros(4, 4)\n    seen.scatter_(1, ids, 1.0)\n"
        "    return seen @ allowed @ seen.T\n",
        "def attend(q, k, v):\n    t = q.shape[-2]\n    future = torch.ones(t, t).triu(1).bool().to(q.device)\n"
        "    w = (q @ k.transpose(-2, -1)).masked_fill(future, float('-inf')).softmax(-1)\n    return w @ v\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Stray]]:
        if model.meetings and names_said(SETS_DEFAULT, model.module.tree):
            return
        told: set[Kept] = set()
        for home, meetings in model.meetings.items():
            raising = tuple(each for each in meetings if _raises(each) and _is_of_a_module(each, model, places))
            if not raising or not isinstance(home, ast.Call) or _is_told_around(home, places):
                continue
            function, cls = places.function(home), _class_around(home, model, places)
            init = cls.methods.get("__init__") if cls is not None and is_module(cls) else None
            kept = None if cls is None or init is None else _kept(home, cls, init, model, places)
            if kept is None and (function is None or function.name != "__init__"):
                what = "a tensor is made on the default device, and used with one of the module's"
                yield Hit(home.func, home, what, raising[0].symbol, evidence=Stray(home, None, raising))
                continue
            if cls is None or kept is None or kept in told or _moves_itself(cls, kept.attribute, model.module.tree):
                continue
            told.add(kept)
            what = f"`self.{kept.attribute}` is no buffer: it stays where it is when the module moves"
            symbol = f"{cls.name}.__init__"
            yield Hit(kept.statement, kept.statement, what, symbol, evidence=Stray(home, kept, raising))


def _raises(meeting: Meeting) -> bool:
    """Tell whether no condition asks for the device, and the function is none that builds the module."""
    name = meeting.function.name if isinstance(meeting.function, FUNCTIONS) else ""
    return not is_said(BUILDS, name) and not any(asked.says(DEVICE) for asked, _ in meeting.conditions)


def _is_of_a_module(meeting: Meeting, model: FileModel, places: Places) -> bool:
    """Tell whether the other tensor may be on a GPU: it is a module's, or an argument of a function that attends."""
    cls = _class_around(meeting.function, model, places)
    attends = bool(meeting.inputs) and meeting.symbol in model.scored
    return attends or (cls is not None and is_module(cls))


def _is_told_around(home: ast.Call, places: Places) -> bool:
    """Tell whether the call stands inside ``with torch.device(…)``."""
    return any(
        isinstance(parent, (ast.With, ast.AsyncWith))
        and names_said(DEVICE, *(item.context_expr for item in parent.items))
        for parent in places.parents(home)
    )


def _class_around(node: ast.AST, model: FileModel, places: Places) -> ClassInfo | None:
    return model.names.class_of(places.class_(node))


def _kept(home: ast.Call, cls: ClassInfo, init: Function, model: FileModel, places: Places) -> Kept | None:
    """The one statement of the constructor that keeps the tensor, on its own or made into another one."""
    built = (each.built for each in model.classes if each.cls is cls)
    holding = {
        name
        for states in built
        for state in states
        for name, value in state.attributes.items()
        if isinstance(value, Tensor) and home in value.homes
    }
    statements = (node for node in walk(init) if isinstance(node, (ast.Assign, ast.AnnAssign)))
    keeping = [Kept(name, each) for each in statements if (name := _attribute(each)) in holding]
    if len(keeping) != 1 or not places.stands_alone(keeping[0].statement):
        return None
    return keeping[0]


def _attribute(statement: ast.Assign | ast.AnnAssign) -> str:
    """The attribute that a statement assigns; empty where it assigns anything else as well."""
    match statement:
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(), attr=name)]):
            return name
        case ast.AnnAssign(target=ast.Attribute(value=ast.Name(), attr=name), value=ast.expr()):
            return name
        case _:
            return ""


def _moves_itself(cls: ClassInfo, name: str, tree: ast.Module) -> bool:
    """Tell whether the class, or other code of the file, moves the attribute in a way of its own."""
    if any(cls.method(method) is not None for method in ("to", "cuda", "_apply")):
        return True
    return any(names_said(MOVES, value) for value in _given(name, tree))


def _given(name: str, tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the values that the code of a file assigns to an attribute of that name, of any object."""
    for node in walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                pass
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                targets = [target]
            case _:
                continue
        if any(isinstance(target, ast.Attribute) and target.attr == name for target in targets):
            yield value
