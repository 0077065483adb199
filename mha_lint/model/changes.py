"""Reads which names of a module, and which attributes of its objects, get a value at more than one place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import libcst as cst

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
    """What a module binds more than once, and what it changes in its objects."""

    rebound: frozenset[str] = frozenset()  # names of the module, of which no one value is known
    attributes: dict[str, list[Change]] = field(default_factory=dict)


def read(module: cst.Module) -> Changes:
    """Read the changes of a whole module."""
    reader = _Reader()
    module.visit(reader)
    twice = {name for name, count in reader.bound.items() if count > 1}
    return Changes(frozenset(twice | reader.rebound), reader.attributes)


def rebound_in(body: cst.BaseSuite) -> frozenset[str]:
    """The names that the body of a class binds more than once."""
    reader = _Reader()
    body.visit(reader)
    return frozenset(name for name, count in reader.bound.items() if count > 1)


class _Reader(cst.CSTVisitor):
    """Counts bindings at the top level, and collects changes of attributes at any level."""

    def __init__(self) -> None:
        self.bound: Counter[str] = Counter()
        self.rebound: set[str] = set()
        self.attributes: dict[str, list[Change]] = {}
        self._around: list[cst.ClassDef | cst.FunctionDef | cst.Lambda] = []

    # --- where the code stands -----------------------------------------------------------------------------------

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._binds(node.name.value)
        self._around.append(node)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self._around.pop()

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        if not any(_is_named(each.decorator, "overload") for each in node.decorators):
            self._binds(node.name.value)
        self._around.append(node)

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self._around.pop()

    def visit_Lambda(self, node: cst.Lambda) -> None:
        self._around.append(node)

    def leave_Lambda(self, original_node: cst.Lambda) -> None:
        self._around.pop()

    def _method(self) -> tuple[cst.ClassDef, cst.FunctionDef] | None:
        """The method around, and its class."""
        match self._around:
            case [*_, cst.ClassDef() as owner, cst.FunctionDef() as method]:
                return owner, method
            case [*_, cst.ClassDef() as owner, cst.FunctionDef() as method, cst.FunctionDef() | cst.Lambda()]:
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
        if not self._around:
            self.bound[name] += 1

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

    def visit_Assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            self._target(target.target, node.value)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self._target(node.target, node.value)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        self._target(node.target, None)
        if isinstance(node.target, cst.Name) and not self._around:
            self.rebound.add(node.target.value)

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self._target(node.target, node.value)

    def visit_For(self, node: cst.For) -> None:
        self._target(node.target, None)

    def visit_AsName(self, node: cst.AsName) -> None:
        self._target(node.name, None)

    def visit_Del(self, node: cst.Del) -> None:
        self._target(node.target, None)

    def visit_MatchAs(self, node: cst.MatchAs) -> None:
        if node.name is not None:
            self._target(node.name, None)

    def visit_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            if alias.asname is None and isinstance(alias.name, cst.Name):
                self._binds(alias.name.value)

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if isinstance(node.names, cst.ImportStar):
            if not self._around:
                self.rebound |= self.bound.keys()  # it may hold any of the names that were bound before
            return
        for alias in node.names:
            if alias.asname is None and isinstance(alias.name, cst.Name):
                self._binds(alias.name.value)

    def visit_Global(self, node: cst.Global) -> None:
        self.rebound |= {item.name.value for item in node.names}

    # --- changes of attributes -----------------------------------------------------------------------------------

    def _changes(self, of: cst.BaseExpression, name: str, value: cst.BaseExpression | None) -> None:
        method = self._method()
        own = method is not None and _is_first_parameter(of, method[1])
        if own and self._constructs() and name != ANY:
            return
        owner = method[0] if own and method is not None else None
        self.attributes.setdefault(name, []).append(Change(name, owner, value))

    def visit_Call(self, node: cst.Call) -> None:
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
