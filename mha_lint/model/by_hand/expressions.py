"""Expressions of attention by hand are unwrapped: which steps lead from scores, or from their product, to them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model.by_hand import products
from mha_lint.model.by_hand.adders import Adder
from mha_lint.model.by_hand.steps import (
    Added,
    Cast,
    Context,
    Dropped,
    Filled,
    Normalised,
    Product,
    Scaled,
    Shifted,
    Step,
    Turned,
    Viewed,
)
from mha_lint.model.operations import TABLE, casts, copies_alike, reshapes
from mha_lint.syntax.names import ModuleNames
from mha_lint.syntax.nodes import argument, is_starred

_LARGEST = frozenset({"max", "amax"})


class Read(Struct, frozen=True):
    """An expression: the product, or the name of scores or weights, that it begins with, and the steps behind that."""

    leaf: Product | ast.Name
    steps: tuple[Step, ...] = ()

    def then(self, *steps: Step) -> Read:
        return replace(self, steps=(*self.steps, *steps))


class Reader(Struct, frozen=True):
    """Reads expressions of one function.

    ``softmaxes`` are the calls that make weights, with the places of dropouts where a call is one of a sequence of
    layers; ``drops`` tells whether a call is that of a dropout, and ``adder`` what a call adds to one of its arguments.
    """

    names: ModuleNames
    softmaxes: Mapping[ast.expr, tuple[int, ...]]
    drops: Callable[[ast.Call], bool]
    adder: Callable[[ast.Call, ast.expr], Adder | None] = lambda _, __: None

    def read(self, node: ast.expr, name: str) -> Read | None:
        """Unwrap an expression down to ``name``, or to a product; None where something else is done on the way."""
        factors = products.factors_of(node, self.names)
        if factors is not None:
            product = products.scores_of(factors)
            return None if product is None else Read(product, factors.after)
        match node:
            case ast.Name(id=used):
                return Read(node) if used == name else None
            case ast.BinOp():
                return self._combined(node, name)
            case ast.Call() if not is_starred(node):
                return self._called(node, name)
            case ast.Attribute(value=inner, attr="mT"):
                return self._then(inner, name, Turned(node))
            case _:
                return None

    def context(
        self, node: ast.expr, name: str, *, weights: bool = False, turned: bool = False
    ) -> tuple[Read, Context] | None:
        """The product of weights and values, and how its weights are read; None for any other expression.

        ``weights`` says that ``name`` stands for weights already, not for scores, and ``turned`` that their last two
        dimensions have changed places.
        """
        factors = products.factors_of(node, self.names)
        if factors is None or factors.after:
            return None
        for side in (factors.left, factors.right):
            read = self.read(side, name)
            if read is None or not (_are_weights(read) or (weights and isinstance(read.leaf, ast.Name))):
                continue
            turns = sum(isinstance(step, Turned) for step in read.steps) + turned
            left = side is factors.left
            found = products.context_of(factors, weights_left=left, turned=turns % 2 == 1)
            if found is not None:
                return read, found
        return None

    def _then(self, inner: ast.expr, name: str, *steps: Step) -> Read | None:
        read = self.read(inner, name)
        return None if read is None else read.then(*steps)

    def _combined(self, node: ast.BinOp, name: str) -> Read | None:
        """``scores * s``, ``scores / s``, ``scores + mask``, ``scores - scores.amax(-1, keepdim=True)``."""
        for scores, other in ((node.left, node.right), (node.right, node.left)):
            read = self.read(scores, name)
            if read is None:
                continue
            step = self._step(node, scores, other)
            return None if step is None else read.then(step)
        return None

    def _step(self, node: ast.BinOp, scores: ast.expr, other: ast.expr) -> Step | None:
        is_left = scores is node.left
        match node.op:
            case ast.Mult():
                return Scaled(other, divides=False, node=node)
            case ast.Div() if is_left:
                return Scaled(other, divides=True, node=node)
            case ast.Add():
                return Added(other, node)
            case ast.Sub() if is_left and self._is_largest_of(scores, other):
                return Shifted(other)
            case ast.Sub() if is_left:
                return Added(other, node, subtracts=True)
            case _:
                return None

    def _is_largest_of(self, scores: ast.expr, other: ast.expr) -> bool:
        """Tell whether an expression gives the largest score of each row, as a column."""
        match other:
            case ast.Call(func=ast.Attribute(value=inner, attr="detach"), args=[]):
                return self._is_largest_of(scores, inner)
            case ast.Attribute(value=inner, attr="values"):
                return self._is_largest_of(scores, inner)
            case ast.Subscript(value=inner, slice=ast.Constant(value=0)):
                return self._is_largest_of(scores, inner)
            case ast.Call():
                name, arguments = products.operation(other, self.names)
                keeps = argument(other, 99, "keepdim")
                is_of_scores = bool(arguments) and ast.dump(arguments[0]) == ast.dump(scores)
                return name in _LARGEST and is_of_scores and _is_true(keeps) and _is_last(other, arguments)
            case _:
                return False

    def _called(self, node: ast.Call, name: str) -> Read | None:
        if node in self.softmaxes:
            given = _normalised(node, self.names)
            dropped = [Dropped(node, place) for place in self.softmaxes[node]]
            return None if given is None else self._then(given, name, Normalised(node), *dropped)
        if self.drops(node):
            given = node.args[0] if node.args else argument(node, 0, "input")
            return None if given is None else self._then(given, name, Dropped(node))
        return self._operated(node, name) or self._added_by(node, name)

    def _added_by(self, node: ast.Call, name: str) -> Read | None:
        """A function of the project that adds something to scores."""
        for given in (*node.args, *(keyword.value for keyword in node.keywords)):
            read = self.read(given, name)
            adder = None if read is None or _are_weights(read) else self.adder(node, given)
            if read is not None and adder is not None:
                return read.then(Added(node, node, given=given, of_any_shape=adder.of_any_shape))
        return None

    def _operated(self, node: ast.Call, name: str) -> Read | None:
        operation, arguments = products.operation(node, self.names)
        if not arguments:
            return None
        scores, rest = arguments[0], arguments[1:]
        row = TABLE.get(operation.removesuffix("_"))
        match None if row is None else row.sign, rest:
            case ast.Mult, [factor]:
                return self._then(scores, name, Scaled(factor, divides=False, node=node))
            case ast.Div, [factor] if not node.keywords:
                return self._then(scores, name, Scaled(factor, divides=True, node=node))
            case ast.Add, [term] if not node.keywords:
                return self._then(scores, name, Added(term, node))
        match operation.removesuffix("_"), rest:
            case "masked_fill", [condition, value]:
                return self._then(scores, name, Filled(condition, value, keeps=False, node=node))
            case "where", _:
                return self._chosen(node, name, arguments)
            case view, _ if reshapes(view) and isinstance(node.func, ast.Attribute):
                return self._then(scores, name, Viewed(node))
            case copy, [] if copies_alike(copy):
                return self.read(scores, name)
            case cast, _ if casts(cast) and isinstance(node.func, ast.Attribute):
                return self._then(scores, name, Cast(node))
            case _:
                inner = products.untransposed(node, None)
                return None if inner is None else self._then(inner, name, Turned(node))

    def _chosen(self, node: ast.Call, name: str, arguments: list[ast.expr]) -> Read | None:
        """``torch.where(condition, scores, value)``, ``scores.where(condition, value)``, and the other way round."""
        if len(arguments) != 3 or node.keywords:
            return None
        is_method = self.names.qualify(node.func) is None
        kept, condition, value = arguments if is_method else (arguments[1], arguments[0], arguments[2])
        read = self._then(kept, name, Filled(condition, value, keeps=True, node=node))
        if read is None:
            read = self._then(value, name, Filled(condition, kept, keeps=False, node=node))
        return read


def _are_weights(read: Read) -> bool:
    return any(isinstance(step, Normalised) for step in read.steps)


def _normalised(node: ast.Call, names: ModuleNames) -> ast.expr | None:
    """The scores that a softmax is given: of a method, a function or a layer."""
    named = argument(node, 99, "input")
    if named is not None:
        return named
    is_method = isinstance(node.func, ast.Attribute) and node.func.attr == "softmax"
    if is_method and names.qualify(node.func) is None and not _is_layer(node):
        assert isinstance(node.func, ast.Attribute)
        return node.func.value
    return node.args[0] if node.args else None


def _is_layer(node: ast.Call) -> bool:
    """Tell whether ``self.softmax(scores)`` calls a layer: ``x.softmax(-1)`` is given a dimension."""
    first = node.args[0] if node.args else argument(node, 99, "dim")
    if first is None:
        return False
    match first:
        case ast.Constant() | ast.UnaryOp(operand=ast.Constant()):
            return False
        case _:
            return isinstance(node.func, ast.Attribute) and not any(each.arg == "dim" for each in node.keywords)


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_last(call: ast.Call, arguments: list[ast.expr]) -> bool:
    dim = arguments[1] if len(arguments) > 1 else argument(call, 99, "dim")
    match dim:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
            return True
        case _:
            return False
