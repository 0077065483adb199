"""Functions that add something to the scores they are given, and return them: ``scores + bias``, also in parts.

What such a function adds is what it returns for scores of zeros. That holds however the sum is written, as long as the
scores are only viewed, cut and added to.
"""

from __future__ import annotations

import ast

from msgspec import Struct

from mha_lint.model.by_hand.mentions import mentions, reads_numbers
from mha_lint.model.held import Held, Place, class_named, function_named
from mha_lint.model.operations import copies_alike, reshapes
from mha_lint.syntax.names import ClassInfo, ModuleNames
from mha_lint.syntax.nodes import Block, Function, is_simple, is_starred, walk

_ENDS = (ast.Return, ast.Raise, ast.Yield, ast.YieldFrom, ast.Await)


class Adder(Struct, frozen=True):
    """A function that adds to scores. ``of_any_shape`` where it neither views them nor asks for their sizes."""

    of_any_shape: bool


class _Carried(Struct, frozen=True):
    """A value that is the scores, or the part of them that a subscript takes, and something that was added."""

    part: str = ""


class _Unknown(Exception):
    """Something else is done with the scores."""


def adder_called(call: ast.Call, scores: ast.expr, place: Place, held: Held) -> Adder | None:
    """What a call adds to one of its arguments; None where it does, or may do, anything else with it."""
    if is_starred(call):
        return None
    read = [_adder(callee, call, scores) for callee in _called(call.func, place, held)]
    known = [each for each in read if each is not None]
    return Adder(all(each.of_any_shape for each in known)) if known and len(known) == len(read) else None


class _Callee(Struct, frozen=True):
    """A function that a call may run, the module that it stands in, and whether it is called with an object."""

    function: Function | None
    home: ModuleNames
    is_method: bool


def _called(node: ast.expr, place: Place, held: Held) -> list[_Callee]:
    """Every function that a call may run: a function, a method, or what a layer does; empty where that is not known."""
    home = place.home
    match node:
        case ast.Name(id=name) if name not in place.bound and name not in place.parameters:
            function = function_named(home, name)
            return [_Callee(function, _home_of(function, home), is_method=False)]
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if place.cls is not None and name == place.receiver:
            method = place.cls.method(attr)
            if method is None:
                return _called_layer(place.cls, attr, home, held)
            heirs = [each for each in home.every_class if place.cls in each.lineage[1:]]
            methods = [method, *(each.methods[attr] for each in heirs if attr in each.methods)]
            return [_Callee(each, _home_of(each, home), is_method=True) for each in methods]
        case _:
            return []


def _called_layer(cls: ClassInfo, attribute: str, home: ModuleNames, held: Held) -> list[_Callee]:
    """What the layers of the project do that a constructor gives an attribute to."""
    if home.changes_of(cls, attribute):
        return []
    found: list[_Callee] = []
    for value, where in held.attributes(cls).get(attribute, ()):
        match value:
            case ast.Constant(value=None):
                continue
            case ast.Call(func=ast.Name(id=name)):
                layer = class_named(where.home, name)
                if layer is None or layer.method("__call__") is not None:
                    return []
                found.append(_Callee(layer.method("forward"), layer.home, is_method=True))
            case _:
                return []
    return found


def _home_of(function: Function | None, home: ModuleNames) -> ModuleNames:
    """The module that a function stands in."""
    owner = None if home.program is None or function is None else home.program.owners.get(function)
    return home if owner is None else owner.home


def _adder(callee: _Callee, call: ast.Call, scores: ast.expr) -> Adder | None:
    function = callee.function
    if not isinstance(function, ast.FunctionDef):
        return None
    parameter = _parameter(call, scores, function, callee.is_method)
    if parameter is None or not all(_gives_back(each, callee.home) for each in function.decorator_list):
        return None
    reading = _Reading({parameter: _Carried()})
    try:
        ended = reading.block(function.body)
    except _Unknown:
        return None
    return Adder(reading.of_any_shape) if ended else None


def _parameter(call: ast.Call, scores: ast.expr, function: Function, is_method: bool) -> str | None:
    """The name by which a function knows an argument of a call."""
    named = next((each.arg for each in call.keywords if each.value is scores), None)
    if named is not None:
        return named
    taken = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    index = next((index for index, each in enumerate(call.args) if each is scores), len(taken)) + is_method
    return taken[index] if index < len(taken) else None


def _gives_back(decorator: ast.expr, home: ModuleNames) -> bool:
    """Tell whether a decorator is a function of the project that returns the function as it is."""
    function = function_named(home, decorator.id) if isinstance(decorator, ast.Name) else None
    if function is None or not function.args.args:
        return False
    returned = [node.value for node in walk(function) if isinstance(node, ast.Return)]
    first = function.args.args[0].arg
    return bool(returned) and all(isinstance(value, ast.Name) and value.id == first for value in returned)


class _Reading:
    """Follows scores through the body of a function; raises :class:`_Unknown`."""

    def __init__(self, carried: dict[str, _Carried]) -> None:
        self.carried = carried
        self.of_any_shape = True

    def block(self, block: Block) -> bool:
        """Read statements; True where all paths end in a return of the scores, or in an error."""
        return any(self._statement(statement) for statement in block)

    def _statement(self, statement: ast.stmt) -> bool:
        match statement:
            case ast.Return(value=ast.expr() as value):
                if self._value(value) != _Carried():
                    raise _Unknown
                return True
            case ast.Raise():
                self._leave_alone(statement)
                return True
            case ast.Assign(targets=[target], value=value):
                self._bind(target, self._value(value))
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind(target, self._value(value))
            case ast.AugAssign(target=target, op=op, value=value):
                self._add_in_place(target, op, value)
            case ast.If():
                return self._branches(statement)
            case _:
                self._leave_alone(statement)
                if not is_simple(statement) and any(isinstance(node, _ENDS) for node in walk(statement)):
                    raise _Unknown
        return False

    def _branches(self, statement: ast.If) -> bool:
        self._leave_alone(statement.test)
        before, left = dict(self.carried), []
        for branch in (statement.body, statement.orelse):
            self.carried = dict(before)
            if not self.block(branch):
                left.append(self.carried)
        if len(left) == 2 and left[0] != left[1]:
            raise _Unknown
        self.carried = left[0] if left else before
        return not left

    def _bind(self, target: ast.expr, value: _Carried | None) -> None:
        match target:
            case ast.Name(id=name) if value is not None:
                self.carried[name] = value
            case ast.Name(id=name):
                self.carried.pop(name, None)
            case ast.Subscript(value=ast.Name(id=name), slice=part) if name in self.carried:
                self._leave_alone(part)
                if self.carried[name] != _Carried() or value != _Carried(ast.dump(part)):
                    raise _Unknown
            case _:
                if value is not None:
                    raise _Unknown
                self._leave_alone(target)

    def _add_in_place(self, target: ast.expr, op: ast.operator, value: ast.expr) -> None:
        if self._value(value) is not None:
            raise _Unknown
        match target:
            case ast.Name(id=name) if name in self.carried:
                pass
            case ast.Subscript(value=ast.Name(id=name), slice=part) if name in self.carried:
                self._leave_alone(part)
            case _:
                self._leave_alone(target)
                return
        if not isinstance(op, (ast.Add, ast.Sub)):
            raise _Unknown
        self.of_any_shape = False  # a single number has no room for more

    def _value(self, node: ast.expr) -> _Carried | None:
        """What an expression carries of the scores; None where it is computed without their numbers."""
        if not reads_numbers(node, self.carried):
            self._leave_alone(node)
            return None
        match node:
            case ast.Name(id=name) if name in self.carried:
                return self.carried[name]
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                sides = self._value(left), self._value(right)
                if sides[1] is None:
                    return sides[0]
                if sides[0] is None and isinstance(op, ast.Add):
                    return sides[1]
            case ast.Call(func=ast.Attribute(value=inner, attr=name)) if reshapes(name) or copies_alike(name):
                for each in (*node.args, *(keyword.value for keyword in node.keywords)):
                    self._leave_alone(each)
                self.of_any_shape = False
                return self._value(inner)
            case ast.Subscript(value=inner, slice=part):
                self._leave_alone(part)
                self.of_any_shape = False
                if self._value(inner) == _Carried():
                    return _Carried(ast.dump(part))
        raise _Unknown

    def _leave_alone(self, node: ast.AST) -> None:
        """Raise where code reads the scores, or binds their name; it may ask for their sizes."""
        if reads_numbers(node, self.carried):
            raise _Unknown
        if mentions(node, self.carried):
            self.of_any_shape = False
