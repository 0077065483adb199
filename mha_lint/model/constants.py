"""Tells which expressions of a method have the same value in each call, and which are told by lengths alone."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from mha_lint.model.values import Const, Function, Int, Layer, Number, Tensor, Unknown, Value
from mha_lint.syntax.nodes import FUNCTIONS, children, every_parameter, last_name, receiver, walk

if TYPE_CHECKING:
    from mha_lint.model.attention import ClassModel
    from mha_lint.syntax.names import ModuleNames
    from mha_lint.syntax.nodes import Function as Node

_MAKING = frozenset(
    "ones zeros full eye arange tril triu where finfo logical_not generate_square_subsequent_mask".split()
)  # functions of torch that draw no random numbers and read no state
_METHODS = frozenset(
    "tril triu tril_ triu_ bool int long float to type view reshape unsqueeze transpose t logical_not masked_fill "
    "masked_fill_ eq ne lt le gt ge repeat".split()
)
_BUILTINS = frozenset(each.__name__ for each in (float, int, bool, max, min, len))
_OWN_LINES = (*FUNCTIONS, ast.Lambda, ast.ClassDef)


class Constants:
    """Knows the local names of one method, and what its object holds."""

    def __init__(self, function: Node, cls: ClassModel, names: ModuleNames) -> None:
        self.own, self.cls, self.names = receiver(function), cls, names
        arguments = function.args
        given = [*every_parameter(function), *filter(None, (arguments.vararg, arguments.kwarg))]
        self.given = {each.arg for each in given}
        self.locals: dict[str, list[ast.AST | None]] = {}  # what names are given; None for what is not one expression
        self.unpacked: set[str] = set()  # names that are given one size each: ``b, t, c = x.shape``
        for node in walk(*function.body):
            self._read(node)

    def _read(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.locals.setdefault(name, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.locals.setdefault(name, []).append(value)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value) if _is_shape(value):
                for target in targets:
                    inner = target.value if isinstance(target, ast.Starred) else target
                    self.locals.setdefault(last_name(inner), []).append(None)
                    if inner is target:
                        self.unpacked.add(last_name(inner))
            case ast.FunctionDef(name=name):
                self.locals.setdefault(name, []).append(node)
            case ast.Name(id=name, ctx=ast.Store()):
                self.locals.setdefault(name, [])
                self.locals[name].append(_ELSEWHERE)

    def value_of(self, name: str) -> ast.AST | None:
        """The one expression, or function, that the method gives a name; None where there is no such."""
        if name in self.given:
            return None
        values = [each for each in self.locals.get(name, ()) if each is not _ELSEWHERE]
        stores = sum(each is _ELSEWHERE for each in self.locals.get(name, ()))
        named = [each for each in values if not isinstance(each, FUNCTIONS)]
        return values[0] if len(values) == 1 and stores <= len(named) else None

    def within(self, node: ast.expr, wanted: Callable[[ast.expr], bool], depth: int = 8) -> ast.expr | None:
        """The largest expression that is the same in each call and is ``wanted``, among what an expression is made of.

        Local names lead on to what they were given.
        """
        if depth == 0:
            return None
        if not isinstance(node, ast.Name) and wanted(node) and self.is_fixed(node):
            return node
        parts: list[ast.AST | None] = []
        match node:
            case ast.Name(id=name):
                parts = [self.value_of(name)]
            case ast.Subscript(value=inner) | ast.UnaryOp(operand=inner):
                parts = [inner]
            case ast.Call(func=ast.Attribute(value=inner)):
                parts = [inner]
            case ast.BinOp(left=left, right=right):
                parts = [left, right]
            case ast.Compare(left=left, comparators=others):
                parts = [left, *others]
        for part in parts:
            found = self.within(part, wanted, depth - 1) if isinstance(part, ast.expr) else None
            if found is not None:
                return found
        return None

    def calls(self, node: ast.AST, depth: int = 4) -> frozenset[str]:
        """The names of the functions that an expression calls, or the values of its local names do."""
        found: set[str] = set()
        for each in walk(node):
            if isinstance(each, ast.Call):
                found.add(last_name(each.func))
            value = self.value_of(each.id) if isinstance(each, ast.Name) and depth else None
            if isinstance(value, ast.expr):
                found |= self.calls(value, depth - 1)
        return frozenset(found)

    def is_fixed(self, node: ast.AST | None, depth: int = 12) -> bool:
        """Tell whether an expression has the same value in each call, but for the device that it names."""
        if depth == 0:
            return False

        def fixed(*parts: ast.AST | None) -> bool:
            return all(part is None or self.is_fixed(part, depth - 1) for part in parts)

        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                if name in self.given or name in self.locals:
                    value = self.value_of(name)
                    return isinstance(value, ast.expr) and fixed(value)
                return name in _BUILTINS or self._is_of_the_module(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == self.own:
                return self.holds(attribute)
            case ast.Attribute(value=inner):
                return self.names.qualify(node) is not None or (isinstance(inner, ast.Call) and fixed(inner))
            case ast.Tuple() | ast.List() | ast.UnaryOp() | ast.BinOp() | ast.Compare() | ast.Subscript() | ast.Slice():
                return fixed(*(part for part in children(node)))
            case ast.Call(func=function, args=args, keywords=keywords):
                given = [*args, *(each.value for each in keywords if each.arg != "device")]
                return self._makes(function, depth) and all(each.arg for each in keywords) and fixed(*given)
            case _:
                return False

    def _makes(self, function: ast.expr, depth: int) -> bool:
        """Tell whether a function depends on its arguments alone; of a method, the tensor must be the same as well."""
        full = self.names.qualify(function)
        if full is not None:
            return full.startswith("torch.") and full.rpartition(".")[2] in _MAKING
        match function:
            case ast.Name(id=name):
                return name in _BUILTINS
            case ast.Attribute(value=inner, attr=method):
                return method in _METHODS and self.is_fixed(inner, depth - 1)
            case _:
                return False

    def holds(self, attribute: str) -> bool:
        """Tell whether the object holds a number, or a setting, that only its constructor sets."""
        values = [state.attributes.get(attribute) for state in self.cls.built]
        return bool(values) and all(map(_is_plain, values)) and not self.names.changes_of(self.cls.cls, attribute)

    def is_set_once(self, attribute: str) -> bool:
        """Tell whether the constructor alone sets an attribute, whatever it holds, but for tensors and layers."""
        values = [state.attributes.get(attribute) for state in self.cls.built]
        told = bool(values) and not any(value is None or isinstance(value, (Tensor, Layer)) for value in values)
        return told and not self.names.changes_of(self.cls.cls, attribute)

    def _is_of_the_module(self, name: str) -> bool:
        names = self.names
        known = names.imports.keys() | names.constants.keys() | names.functions.keys() | names.classes.keys()
        return name in known and name not in names.rebound

    # --- what lengths tell -----------------------------------------------------------------------------------------

    def is_size(self, node: ast.AST | None, depth: int = 8) -> bool:
        """Tell whether an expression is a number that the shapes of the arguments tell, or the object holds."""
        if depth == 0:
            return False
        match node:
            case ast.Subscript(value=of) if _is_shape(of):
                return True
            case ast.Call(func=ast.Attribute(attr="size"), args=[_]) | ast.Call(func=ast.Name(id="len"), args=[_]):
                return True
            case ast.Name(id=name) if name in self.unpacked and len(self.locals[name]) <= 2:
                return True
            case ast.Name(id=name) if name in self.locals:
                value = self.value_of(name)
                return value is not None and self.is_size(value, depth - 1)
            case ast.BinOp(left=left, right=right):
                return self.is_size(left, depth - 1) and self.is_size(right, depth - 1)
            case _:
                return self.is_fixed(node)

    def is_rule(self, node: ast.AST | None) -> bool:
        """Tell whether a function depends on its arguments alone, and on lengths."""
        match node:
            case ast.Name(id=name) if name in self.given or name in self.locals:
                value = self.value_of(name)
                return value is not None and not isinstance(value, ast.Name) and self.is_rule(value)
            case ast.Name(id=name):
                return self._is_of_the_module(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == self.own:
                return self.is_set_once(attribute)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._is_of_the_module(name) and all(map(self.is_size, args))
            case ast.Lambda() | ast.FunctionDef():
                return self._reads_lengths_alone(node)
            case _:
                return False

    def _reads_lengths_alone(self, function: ast.Lambda | ast.FunctionDef) -> bool:
        bound = {each.arg for each in every_parameter(function)}
        body = function.body if isinstance(function.body, list) else [function.body]
        inside = list(walk(*body))
        if any(isinstance(node, _OWN_LINES) for node in inside):
            return False
        bound |= {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        owners = {id(node.value): node.attr for node in inside if isinstance(node, ast.Attribute)}
        for node in inside:
            if not isinstance(node, ast.Name) or node.id in bound:
                continue
            if node.id == self.own and self.holds(owners.get(id(node), "")):
                continue
            if not self.is_size(node):
                return False
        return True


_ELSEWHERE = ast.Pass()  # stands for each place where a name is stored


def _is_plain(value: Value | None) -> bool:
    match value:
        case Int() | Const() | Number() | Function():
            return True
        case Unknown(key):
            return key is not None and not key.of_result
        case _:
            return False


def _is_shape(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="shape") | ast.Call(func=ast.Attribute(attr="size"), args=[]):
            return True
        case ast.Subscript(value=of, slice=ast.Slice()):
            return _is_shape(of)
        case _:
            return False
