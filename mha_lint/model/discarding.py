"""Calls of torch whose result nobody takes, where it is known that they are given a tensor."""

from __future__ import annotations

import ast

from mha_lint.model.events import Meant
from mha_lint.model.keys import Key
from mha_lint.model.marks import BEFORE
from mha_lint.model.operations import TABLE
from mha_lint.model.run import Call, Run
from mha_lint.model.tensor_names import laid_out_as_tensors
from mha_lint.model.values import Const, State, Tensor, Unknown, Value
from mha_lint.syntax.nodes import argument
from mha_lint.vocabulary import MASKS, OF_TENSORS_ALONE, is_said

_IN_PLACE = ("out", "inplace", "**")


def called_as_method(run: Run, receiver: Value, name: str, call: Call, result: Value) -> None:
    """``x.op(…)`` is a statement of its own."""
    node = call.node
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    meant = _meant(name, call)
    written = node.func.value
    if meant is None or not is_tensor(run, receiver, name, written, call.state):
        return
    run.saw_discarded(node, meant, written, masks=_masks(meant, node, receiver, result))


def called_as_function(run: Run, name: str, call: Call, result: Value) -> None:
    """``torch.op(x, …)`` is a statement of its own: whatever it is given is a tensor."""
    node = call.node
    meant = _meant(name, call)
    if not isinstance(node, ast.Call) or meant is None:
        return
    index, word = _chosen(call) if name == "where" else (0, "input")
    written = argument(node, index, word)
    if written is None:
        return  # ``torch.where(mask)`` asks where it is true
    receiver = call.args[index] if index < len(call.args) else None
    run.saw_discarded(node, meant, written, masks=_masks(meant, node, receiver, result))


def _chosen(call: Call) -> tuple[int, str]:
    """Which argument of ``torch.where(mask, x, number)`` is the tensor of which a copy is made."""
    other = call.args[2] if len(call.args) == 3 else None
    return (2, "other") if isinstance(other, Tensor) and "scores" in other.roles else (1, "input")


def called_with_pattern(run: Run, call: Call) -> None:
    """``rearrange(x, …)`` or ``repeat(x, …)`` is a statement of its own."""
    if isinstance(call.node, ast.Call):
        run.saw_discarded(call.node, Meant.MOVES, argument(call.node, 0, "tensor"), masks=False)


def _meant(name: str, call: Call) -> Meant | None:
    """What the call was meant to do; None where it does something, or may, or was not meant to."""
    row = TABLE.get(name)
    if row is None or row.meant is Meant.NOTHING:
        return None
    if any(word in call.keywords for word in _IN_PLACE):
        return None
    if any(value == Const(True) for value in call.args):  # ``F.relu(x, True)`` works in place
        return None
    return row.meant


def _masks(meant: Meant, node: ast.Call, receiver: Value | None, result: Value) -> bool:
    """Tell whether the call was meant to mask: it fills, or the scores that it gives were masked by it."""
    before = receiver.masked if isinstance(receiver, Tensor) else frozenset()
    if meant is Meant.MASKS:
        return BEFORE not in before  # of weights whose scores were masked: little is left to be hidden
    after = result.masked if isinstance(result, Tensor) and "scores" in result.roles else frozenset()
    return any(masking.node is node for masking in after - before)


def is_tensor(run: Run, value: Value, name: str, written: ast.expr, state: State) -> bool:
    """Tell whether what a method is called on is known to be a tensor.

    Modules, batches and cards have methods such as ``to``, ``float`` and ``half``, which work in place. So a value
    that some such method gave is not known to be a tensor by that alone: its shape or its meaning must be known, or
    the code does with its name what only a tensor allows.
    """
    if isinstance(value, Tensor) and (value.shape is not None or value.roles):
        return True
    if not isinstance(value, (Tensor, Unknown)):
        return False
    if _has_rank(value.key, state):
        return True
    root = _root(written)
    if root is None:
        return False
    own = any(name in cls.methods for cls in run.names.every_class)
    if name in OF_TENSORS_ALONE or (TABLE[name].in_place and TABLE[name].meant is Meant.MASKS):
        return not own  # nothing else has a method of this name
    return is_said(MASKS, root) or root in laid_out_as_tensors(run.function)


def _root(written: ast.expr) -> str | None:
    """The name ``x`` of ``x``, and of ``x.op(…).op(…)`` with operations of torch."""
    while isinstance(written, ast.Call) and isinstance(written.func, ast.Attribute) and written.func.attr in TABLE:
        written = written.func.value
    return written.id if isinstance(written, ast.Name) else None


def _has_rank(key: Key | None, state: State) -> bool:
    return key is not None and key in state.ranks
