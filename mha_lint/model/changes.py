"""Reads which names of a module, and which attributes of its objects, get a value at more than one place."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import libcst as cst

from mha_lint.model.places import children

MUTATING = frozenset("append extend insert remove pop clear add discard update setdefault".split())
ANY = "*"  # in place of a name: the code computes which attribute it sets


@dataclass(frozen=True, slots=True)
class Change:
    """An attribute that is set outside of constructors.

    ``owner`` is the class whose method sets it on its own object, None where the object may be of any class.
    ``value`` is None where it is not an expression that the code spells out.
    """

    name: str
    owner: cst.ClassDef | None
    value: cst.BaseExpression | None


@dataclass(slots=True)
class Changes:
    """Names that a module binds more than once, and attributes that it changes in its objects."""

    rebound: frozenset[str] = frozenset()  # names of the module, of which no one value is known
    rebound_in: dict[cst.ClassDef | None, frozenset[str]] = field(default_factory=dict)  # names of a class's body
    attributes: dict[str, list[Change]] = field(default_factory=dict)


def read(module: cst.Module) -> Changes:
    """Read the changes of a whole module."""
    reader = _Reader()
    reader.block(module.body)
    twice = {name for name, count in reader.bound[None].items() if count > 1}
    return Changes(
        frozenset(twice | reader.rebound),
        {cls: frozenset(name for name, count in bound.items() if count > 1) for cls, bound in reader.bound.items()},
        reader.attributes,
    )


class _Reader:
    """Counts the bindings of the module and of each class, and collects the changes of attributes.

    It goes from statement to statement: LibCST's visitors take as long as the parser for all that is in expressions.
    """

    def __init__(self) -> None:
        self.bound: defaultdict[cst.ClassDef | None, Counter[str]] = defaultdict(Counter)
        self.rebound: set[str] = set()
        self.attributes: dict[str, list[Change]] = {}
        self._around: list[cst.ClassDef | cst.FunctionDef] = []

    # --- where the code stands -----------------------------------------------------------------------------------

    def block(self, body: Sequence[cst.CSTNode]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: cst.CSTNode) -> None:
        match statement:
            case cst.SimpleStatementLine(body=parts) | cst.SimpleStatementSuite(body=parts):
                for part in parts:
                    self._small(part)
                return
            case cst.ClassDef():
                self._binds(statement.name.value)
                self._within(statement)
                return
            case cst.FunctionDef():
                if not any(_is_named(each.decorator, "overload") for each in statement.decorators):
                    self._binds(statement.name.value)
                self._within(statement)
                return
            case cst.For(target=target):
                self._target(target, None)
            case cst.If(test=test) | cst.While(test=test):
                self._expression(test)
            case cst.With(items=items):
                for item in items:
                    if item.asname is not None:
                        self._target(item.asname.name, None)
            case cst.ExceptHandler(name=cst.AsName(name=name)):
                self._target(name, None)
            case cst.MatchCase(pattern=pattern):
                self._pattern(pattern)
        self._inside(statement)

    def _inside(self, statement: cst.CSTNode) -> None:
        """Read the blocks of a compound statement."""
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            part = getattr(statement, name, None)
            if isinstance(part, (list, tuple)):
                self.block(part)
            elif isinstance(part, cst.CSTNode):
                self._statement(part)

    def _within(self, statement: cst.ClassDef | cst.FunctionDef) -> None:
        self._around.append(statement)
        self._inside(statement)
        self._around.pop()

    def _method(self) -> tuple[cst.ClassDef, cst.FunctionDef] | None:
        """The method around, and its class."""
        match self._around:
            case [*_, cst.ClassDef() as owner, cst.FunctionDef() as method]:
                return owner, method
            case [*_, cst.ClassDef() as owner, cst.FunctionDef() as method, cst.FunctionDef()]:
                return owner, method  # a function made in it
            case _:
                return None

    def _constructs(self) -> bool:
        """Return True right inside of a constructor, which the interpreter runs."""
        match self._around:
            case [*_, cst.ClassDef(), cst.FunctionDef(name=cst.Name("__init__"))]:
                return True
            case _:
                return False

    # --- bindings ------------------------------------------------------------------------------------------------

    def _binds(self, name: str) -> None:
        match self._around:
            case []:
                self.bound[None][name] += 1
            case [*_, cst.ClassDef() as cls]:
                self.bound[cls][name] += 1

    def _small(self, part: cst.BaseSmallStatement) -> None:
        match part:
            case cst.Assign(targets=targets, value=value):
                for target in targets:
                    self._target(target.target, value)
                if not self._around:
                    self._expression(value)
            case cst.AnnAssign(target=only, value=value) if value is not None:
                self._target(only, value)
            case cst.AugAssign(target=only):
                self._target(only, None)
                self._target(only, None)  # it had a value before
            case cst.Del(target=only):
                self._target(only, None)
            case cst.Import(names=aliases) | cst.ImportFrom(names=[*aliases]):
                for alias in aliases:
                    name = alias.name if alias.asname is None else alias.asname.name
                    if isinstance(name, cst.Name):
                        self._binds(name.value)
            case cst.ImportFrom(names=cst.ImportStar()) if not self._around:
                self.rebound |= self.bound[None].keys()  # it may hold any of the names that were bound before
            case cst.Global(names=names):
                self.rebound |= {item.name.value for item in names}
            case cst.Expr(value=value):
                self._expression(value)

    def _expression(self, node: cst.BaseExpression) -> None:
        """Read the calls and bindings that an expression, which is not assigned, may be there for."""
        pending: list[cst.CSTNode] = [node]
        while pending:
            current = pending.pop()
            match current:
                case cst.Call():
                    self._call(current)
                case cst.NamedExpr(target=target, value=value):
                    self._target(target, value)
            pending += children(current)

    def _pattern(self, node: cst.CSTNode) -> None:
        """``case {"name": value}`` binds what it names."""
        pending = [node]
        while pending:
            current = pending.pop()
            if isinstance(current, cst.MatchAs) and current.name is not None:
                self._binds(current.name.value)
            pending += children(current)

    def _target(self, node: cst.BaseExpression, value: cst.BaseExpression | None) -> None:
        match node:
            case cst.Name(name):
                self._binds(name)
            case cst.Attribute(value=of, attr=cst.Name(name)):
                self._changes(of, name, value)
            case cst.Tuple(elements=elements) | cst.List(elements=elements):
                for element in elements:
                    self._target(element.value, None)
            case cst.Subscript(value=cst.Attribute(value=of, attr=cst.Name(name))):
                self._changes(of, name, None)
            case cst.Subscript(value=cst.Call(func=cst.Name("globals"))):
                self._binds_by_text(node)

    def _binds_by_text(self, node: cst.Subscript) -> None:
        """``globals()["NAME"] = value``"""
        match node.slice:
            case [cst.SubscriptElement(slice=cst.Index(value=cst.SimpleString() as name))]:
                self.rebound.add(str(name.evaluated_value))

    # --- changes of attributes -----------------------------------------------------------------------------------

    def _changes(self, of: cst.BaseExpression, name: str, value: cst.BaseExpression | None) -> None:
        method = self._method()
        own = method is not None and _is_first_parameter(of, method[1])
        if own and self._constructs() and name != ANY:
            return
        owner = method[0] if own and method is not None else None
        self.attributes.setdefault(name, []).append(Change(name, owner, value))

    def _call(self, node: cst.Call) -> None:
        match node.func:
            case cst.Name("setattr") | cst.Attribute(attr=cst.Name("__setattr__")):
                self._sets(node)
            case cst.Attribute(value=cst.Attribute(value=of, attr=cst.Name("__dict__")), attr=cst.Name("update")):
                self._sets_any(of)
            case cst.Attribute(value=cst.Attribute(value=of, attr=cst.Name(name)), attr=cst.Name(method)):
                if method in MUTATING and not self._constructs():
                    self._changes(of, name, None)

    def _sets(self, node: cst.Call) -> None:
        """``setattr(module, "name", value)``, in a constructor as well: the interpreter does not follow it."""
        match [arg.value for arg in node.args]:
            case [_, cst.SimpleString() as name, value]:
                change = Change(str(name.evaluated_value), None, value)
                self.attributes.setdefault(change.name, []).append(change)
            case [of, _, _]:
                self._sets_any(of)

    def _sets_any(self, of: cst.BaseExpression) -> None:
        """An attribute is set whose name is computed: of the method's own object, as nothing else is known."""
        method = self._method()
        if method is not None and _is_first_parameter(of, method[1]):
            self._changes(of, ANY, None)


def _is_first_parameter(node: cst.BaseExpression, method: cst.FunctionDef) -> bool:
    parameters = [*method.params.posonly_params, *method.params.params]
    return bool(parameters) and isinstance(node, cst.Name) and node.value == parameters[0].name.value


def _is_named(node: cst.BaseExpression, name: str) -> bool:
    match node:
        case cst.Name(value) | cst.Attribute(attr=cst.Name(value)):
            return value == name
        case _:
            return False
