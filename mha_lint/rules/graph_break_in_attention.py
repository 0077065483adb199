"""MHA206: Python that needs a tensor's number, in what the forward of an attention runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.attention import is_module
from mha_lint.model.tensor_names import given_tensors, is_tensor, laid_out_as_tensors
from mha_lint.model.values import Tensor
from mha_lint.rules.asking import attends, run_by_forward
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import Function, dotted, every_parameter, last_name, receiver, walk
from mha_lint.syntax.words import names_in, names_said
from mha_lint.vocabulary import ASKS_WHO_RUNS, LEFT_OUT_OF_GRAPHS, MASKS, TALKS, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.names import ModuleNames
    from mha_lint.syntax.places import Places

_READS = frozenset({"item", "tolist"})  # methods that hand a tensor's numbers to Python
_NUMBERS = frozenset({"float", "int", "bool"})  # builtins that do
_SUMS_UP = frozenset({"all", "any", "sum", "max", "min", "amax", "amin", "mean", "count_nonzero"})
_ANSWERS = frozenset({"isnan", "isinf", "isfinite", "isclose", "isin"})
_OF_TORCH = _SUMS_UP | _ANSWERS
_BREAKING = _READS | _NUMBERS | _SUMS_UP
_TORCH = ("torch.", "torch.nn.functional.")


class GraphBreakInAttention(Rule):
    """## What it does

    Flags Python that needs to know a number of a tensor, in the `forward` of a class that computes attention, or in
    what that calls: `.item()`, `.tolist()`, `int(lengths.max())`, and branches such as `if mask.all():`.

    ## Why it matters

    `torch.compile` does not know the number when it captures the graph. The graph ends there, Python runs, and another
    graph begins: nothing is fused across, `fullgraph=True` raises, and CUDA graphs and `torch.export` are out. Without
    compilation too, the CPU waits there until the GPU has computed the number.

    ## Example

    ```python
    if mask.all():                      # no key is masked
        mask = None
    longest = lengths.max().item()
    ```

    Use instead a number that the caller has, or one that sizes tell, and apply the mask whatever it holds:

    ```python
    scores = scores.masked_fill(~mask, float("-inf"))
    longest = keys.shape[1]
    ```

    ## Fix

    There is none: what to compute without the number is up to you. `--verify`, `--fix` and `--diff` capture the module
    with `torch.compile`, and show that the graph breaks in that row.

    ## When it stays silent

    - The rule is off unless it is selected: code that is never compiled may branch on purpose, such as to leave out a
      mask that masks nothing.
    - The function asks `torch.compiler.is_compiling()`, `torch.jit.is_tracing()` or the like, or is decorated with
      `torch.compiler.disable`.
    - Nothing that the `forward` of an attention runs reaches the code: generation, training steps, plots.
    - What is read is not known to be a tensor: numbers, sizes, arrays.
    - It is an `assert`, which goes into the graph, or stands where the code prints or debugs.

    ## References

    - [torch.compile: graph breaks](https://docs.pytorch.org/docs/stable/compile/programming_model.common_graph_breaks.html)
    - [`torch.cond`](https://docs.pytorch.org/docs/stable/generated/torch.cond.html)
    """

    code = "MHA206"
    name = "graph-break-in-attention"
    severity = "info"
    default = False
    finds = "`.item()`, `.tolist()` or `if mask.all()` in an attention's forward"
    why = "`torch.compile` ends its graph there, and the CPU waits for the GPU."
    shown_by = ("graph break",)
    no_fix = "what to compute without the number is not known"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Attention(nn.Module):\n    def forward(self, q, k, v, mask):\n"
        "        scores = q @ k.transpose(-2, -1)\n        if not mask.all():\n"
        "            scores = scores.masked_fill(mask == 0, -1e9)\n        return scores.softmax(-1) @ v\n",
        "from torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def forward(self, q, k, v, lengths: torch.Tensor):\n        n = lengths.max().item()\n"
        "        k, v = k[:, :n], v[:, :n]\n"
        "        return (q @ k.transpose(-2, -1)).softmax(-1) @ v\n",
    )
    valid: ClassVar = (
        invalid[0].replace("if not mask.all()", "if mask is not None"),
        invalid[0].replace("not mask.all()", "torch.compiler.is_compiling() or not mask.all()"),
        invalid[0].replace("class Attention(nn.Module):\n    def forward", "class Attention:\n    def attend"),
        invalid[1].replace("lengths.max().item()", "int(k.shape[1])"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        told: set[ast.AST] = set()
        for each in model.classes:
            cls = each.cls
            run = run_by_forward(cls, model, leaves_out=_is_left_out) if is_module(cls) else []
            if not attends(run, model):
                continue
            held = {
                name for state in each.built for name, value in state.attributes.items() if isinstance(value, Tensor)
            }
            for function, symbol in run:
                if function in told:
                    continue
                told.add(function)
                for node, message in _breaks(function, frozenset(held), model.names, places):
                    yield Hit(node, node, message, symbol)


def _is_left_out(function: Function) -> bool:
    """Tell whether the code takes care of compilation itself."""
    return names_said(ASKS_WHO_RUNS, function) or names_said(LEFT_OUT_OF_GRAPHS, *function.decorator_list)


def _breaks(
    function: Function, held: frozenset[str], names: ModuleNames, places: Places
) -> Iterator[tuple[ast.expr, str]]:
    """Yield the expressions at which a graph ends, with what is to be said of them."""
    if _BREAKING.isdisjoint(names_in(function)):
        return
    known = given_tensors(function, laid_out_as_tensors(function) | _annotated(function) | _masks(function))
    tensors = _Tensors(known, receiver(function), held, names)
    told: set[ast.expr] = set()
    for node in walk(function):
        for each, message in _breaks_at(node, tensors):
            if each not in told and not _is_aside(each, function, places):
                told.add(each)
                yield each, message


def _annotated(function: Function) -> set[str]:
    """The parameters whose annotation is a tensor, which may also be None."""
    return {each.arg for each in every_parameter(function) if _is_of_tensor(each.annotation)}


def _masks(function: Function) -> set[str]:
    """The names that say where something is filled: ``mask`` in ``scores.masked_fill(mask == 0, -1e9)``."""
    found: set[str] = set()
    for node in walk(function):
        match node:
            case ast.Call(func=ast.Attribute(attr="masked_fill" | "masked_fill_"), args=[where, *_]):
                found |= {each.id for each in walk(where) if isinstance(each, ast.Name) and is_said(MASKS, each.id)}
    return found


def _is_of_tensor(annotation: ast.expr | None) -> bool:
    match annotation:
        case ast.Subscript(value=wrapper, slice=inner) if last_name(wrapper) == "Optional":
            return _is_of_tensor(inner)
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _is_of_tensor(left)
        case _:
            return dotted(annotation) in ("torch.Tensor", "Tensor")


def _is_aside(node: ast.expr, function: Function, places: Places) -> bool:
    """Tell whether an expression stands in an assertion, in a function of its own, or where the code debugs."""
    for parent in places.parents(node):
        if parent is function:
            return False
        if isinstance(parent, (ast.Assert, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return True
        if isinstance(parent, ast.If) and names_said(TALKS, parent.test):
            return True
        if isinstance(parent, ast.Call) and names_said(TALKS, parent.func):
            return True
    return False


class _Tensors:
    """Tells which expressions of a function are tensors."""

    def __init__(self, known: frozenset[str] | set[str], own: str, held: frozenset[str], names: ModuleNames) -> None:
        self.known, self.own, self.held, self.names = known, own, held, names

    def has(self, node: ast.expr) -> bool:
        """Tell whether an expression is a tensor: nothing else can stand there."""
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == self.own:
                return attribute in self.held
            case ast.Call(func=ast.Attribute(value=owner, attr=method)):
                full = self.names.qualify(node.func) or ""
                if full.startswith(_TORCH) and full.removeprefix("torch.") in _OF_TORCH:
                    return True
                return (method in _OF_TORCH or method in _KEEPS) and self.has(owner)
            case ast.Compare(left=left, ops=ops, comparators=others):
                plain = (ast.Is, ast.IsNot, ast.In, ast.NotIn)
                return not any(isinstance(op, plain) for op in ops) and any(map(self.has, (left, *others)))
            case ast.BinOp(left=left, right=right):
                return self.has(left) or self.has(right)
            case ast.UnaryOp(op=ast.USub() | ast.Invert(), operand=inner) | ast.Subscript(value=inner):
                return self.has(inner)
            case _:
                return is_tensor(node, self.known)


_KEEPS = frozenset(
    "eq ne lt le gt ge logical_not logical_and logical_or bitwise_not bool long int float detach cpu abs diff".split()
)


def _breaks_at(node: ast.AST, tensors: _Tensors) -> Iterator[tuple[ast.expr, str]]:
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr=method), args=[]) if method in _READS:
            if tensors.has(owner):
                yield node, f"`.{method}()` of a tensor ends the graph of `torch.compile`"
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _NUMBERS:
            if tensors.has(inner):
                yield node, f"`{name}()` of a tensor ends the graph of `torch.compile`"
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            for each in _asked(test):
                if _is_answer(each) and tensors.has(each):
                    yield each, "a branch on what a tensor holds ends the graph of `torch.compile`"


def _asked(test: ast.expr) -> Iterator[ast.expr]:
    match test:
        case ast.BoolOp(values=values):
            for value in values:
                yield from _asked(value)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            yield from _asked(inner)
        case _:
            yield test


def _is_answer(node: ast.expr) -> bool:
    """Tell whether a test is more than a name, which may stand for a tensor or None."""
    return isinstance(node, (ast.Call, ast.Compare))
